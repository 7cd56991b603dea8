//! A frame borrowed from whoever owns its memory, checked once.

use crate::error::{Error, ErrorKind, Result};
use crate::frame::colorimetry::Colorimetry;
use crate::frame::format::PixelFormat;

/// The most planes that a format has.
pub const MAX_PLANES: usize = 4;
/// The shortest side of a frame, in pixels.
pub const MIN_SIDE: usize = 16;
/// The longest side of a frame, in pixels.
pub const MAX_SIDE: usize = 8192;

/// What a stream's frames have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSpec {
    /// How pixels lie in memory.
    pub format: PixelFormat,
    /// Pixels in a row, [`MIN_SIDE`] to [`MAX_SIDE`].
    pub width: usize,
    /// Rows, [`MIN_SIDE`] to [`MAX_SIDE`].
    pub height: usize,
    /// What the codes mean.
    pub colorimetry: Colorimetry,
}

impl FrameSpec {
    /// Checks the size.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if a side is outside [`MIN_SIDE`] to [`MAX_SIDE`].
    pub fn validate(&self) -> Result<()> {
        let sides = MIN_SIDE..=MAX_SIDE;
        if sides.contains(&self.width) && sides.contains(&self.height) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "a frame of {}x{} pixels is outside {MIN_SIDE}x{MIN_SIDE} to {MAX_SIDE}x{MAX_SIDE}; \
                 scale it first, for example with videoscale",
                self.width, self.height
            ),
        ))
    }

    pub(crate) fn check(&self, planes: impl ExactSizeIterator<Item = (usize, usize)>) -> Result<()> {
        self.validate()?;
        let name = self.format.name();
        let wanted = self.format.planes();
        if planes.len() != wanted {
            return Err(Error::new(
                ErrorKind::InvalidFrame,
                format!("{name} has {wanted} planes, the frame has {}", planes.len()),
            ));
        }
        for (i, (len, stride)) in planes.enumerate() {
            let row = self.format.row_bytes(i, self.width);
            if stride < row {
                return Err(Error::new(
                    ErrorKind::InvalidFrame,
                    format!(
                        "plane {i} of {name}: a row of {} pixels needs {row} bytes, the stride is {stride}",
                        self.width
                    ),
                ));
            }
            let needed = stride
                .saturating_mul(self.format.rows(i, self.height) - 1)
                .saturating_add(row);
            if len < needed {
                return Err(Error::new(
                    ErrorKind::InvalidFrame,
                    format!(
                        "plane {i} of {name} {}x{} needs {needed} bytes, the buffer has {len}: \
                         it is shorter than its caps say",
                        self.width, self.height
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// One plane to read.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// The plane's bytes from its first row on.
    pub data: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// One plane to write.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// The plane's bytes from its first row on.
    pub data: &'a mut [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// A frame to read.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    spec: FrameSpec,
    planes: [Plane<'a>; MAX_PLANES],
}

impl<'a> Frame<'a> {
    /// A frame over `planes`, in the order of the format.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a size outside the limits, [`ErrorKind::InvalidFrame`] if the planes do not
    /// hold a frame of `spec`.
    pub fn new(spec: FrameSpec, planes: &[Plane<'a>]) -> Result<Self> {
        spec.check(planes.iter().map(|p| (p.data.len(), p.stride)))?;
        let mut all = [Plane { data: &[], stride: 0 }; MAX_PLANES];
        all[..planes.len()].copy_from_slice(planes);
        Ok(Self { spec, planes: all })
    }

    /// What the frame is.
    pub fn spec(&self) -> &FrameSpec {
        &self.spec
    }

    /// The bytes of row `y` of `plane`, without the padding behind them.
    ///
    /// # Panics
    /// If the format has no such plane, or the plane no such row.
    pub fn row(&self, plane: usize, y: usize) -> &'a [u8] {
        let p = &self.planes[plane];
        &p.data[y * p.stride..][..self.spec.format.row_bytes(plane, self.spec.width)]
    }
}

/// A frame to write.
#[derive(Debug)]
pub struct FrameMut<'a> {
    spec: FrameSpec,
    planes: [PlaneMut<'a>; MAX_PLANES],
}

impl<'a> FrameMut<'a> {
    /// A frame over `planes`, in the order of the format.
    ///
    /// # Errors
    /// As [`Frame::new`].
    pub fn new<const N: usize>(spec: FrameSpec, planes: [PlaneMut<'a>; N]) -> Result<Self> {
        Self::from_iter(spec, planes.into_iter())
    }

    /// The same for planes whose number is known only at run time.
    ///
    /// # Errors
    /// As [`Frame::new`].
    pub fn from_iter(spec: FrameSpec, planes: impl ExactSizeIterator<Item = PlaneMut<'a>>) -> Result<Self> {
        let mut all = [(); MAX_PLANES].map(|()| PlaneMut {
            data: &mut [],
            stride: 0,
        });
        let count = planes.len();
        for (slot, plane) in all.iter_mut().zip(planes) {
            *slot = plane;
        }
        let held = &all[..count.min(MAX_PLANES)];
        spec.check(held.iter().map(|p| (p.data.len(), p.stride)))?;
        Ok(Self { spec, planes: all })
    }

    /// What the frame is.
    pub fn spec(&self) -> &FrameSpec {
        &self.spec
    }

    /// The bytes of row `y` of `plane`, without the padding behind them.
    ///
    /// # Panics
    /// As [`Frame::row`].
    pub fn row_mut(&mut self, plane: usize, y: usize) -> &mut [u8] {
        let p = &mut self.planes[plane];
        &mut p.data[y * p.stride..][..self.spec.format.row_bytes(plane, self.spec.width)]
    }

    /// The planes, for whoever cuts them into strips.
    pub(crate) fn planes_mut(&mut self) -> &mut [PlaneMut<'a>; MAX_PLANES] {
        &mut self.planes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(format: PixelFormat, width: usize, height: usize) -> FrameSpec {
        FrameSpec {
            format,
            width,
            height,
            colorimetry: Colorimetry::default(),
        }
    }

    #[test]
    fn rows_are_without_their_padding() {
        let (spec, mut bytes) = (spec(PixelFormat::Nv12, 16, 16), [vec![1u8; 20 * 16], vec![1u8; 20 * 8]]);
        let planes = bytes.iter_mut().map(|data| PlaneMut { data, stride: 20 });
        let mut frame = FrameMut::from_iter(spec, planes).unwrap();
        frame.row_mut(0, 15).fill(7);
        frame.row_mut(1, 3).fill(9);
        let planes = [&bytes[0], &bytes[1]].map(|data| Plane { data, stride: 20 });
        let frame = Frame::new(spec, &planes).unwrap();
        for (plane, y, value) in [(0, 15, 7), (0, 14, 1), (1, 3, 9), (1, 4, 1)] {
            assert_eq!(frame.row(plane, y), [value; 16], "plane {plane}, row {y}");
        }
        assert_eq!(bytes[1][3 * 20 + 16..][..4], [1; 4]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let bytes = vec![0u8; 64 * 64];
        let plane = |len: usize, stride| Plane {
            data: &bytes[..len],
            stride,
        };
        let gray = PixelFormat::Gray8;
        let nv12 = PixelFormat::Nv12;
        for (what, spec, planes, kind) in [
            (
                "15 wide",
                spec(gray, 15, 16),
                vec![plane(512, 16)],
                ErrorKind::Unsupported,
            ),
            (
                "15 high",
                spec(gray, 16, 15),
                vec![plane(512, 16)],
                ErrorKind::Unsupported,
            ),
            (
                "8193 wide",
                spec(gray, 8193, 16),
                vec![plane(512, 16)],
                ErrorKind::Unsupported,
            ),
            (
                "stride",
                spec(gray, 17, 16),
                vec![plane(512, 16)],
                ErrorKind::InvalidFrame,
            ),
            (
                "short",
                spec(gray, 16, 16),
                vec![plane(255, 16)],
                ErrorKind::InvalidFrame,
            ),
            (
                "planes",
                spec(nv12, 16, 16),
                vec![plane(256, 16)],
                ErrorKind::InvalidFrame,
            ),
            (
                "short chroma",
                spec(nv12, 17, 17),
                vec![plane(17 * 17, 17), plane(18 * 9 - 1, 18)],
                ErrorKind::InvalidFrame,
            ),
        ] {
            assert_eq!(Frame::new(spec, &planes).unwrap_err().kind(), kind, "{what}");
        }
        // The last row needs no padding behind it.
        assert!(Frame::new(spec(gray, 16, 16), &[plane(15 * 32 + 16, 32)]).is_ok());
    }
}
