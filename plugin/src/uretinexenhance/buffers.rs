//! Buffers as the core's frames: whatever strides and offsets they have, nothing is read or written outside them.

use gst::buffer::{BufferMap, Readable, Writable};
use gst_video::{VideoInfo, VideoMeta};
use uretinex::{Error, ErrorKind, Frame, FrameMut, FrameSpec, MAX_PLANES, Plane, PlaneMut, Result};

/// Where the planes of a buffer begin, and their strides, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Layout {
    planes: [(usize, usize); MAX_PLANES],
    count: usize,
}

impl Layout {
    /// The layout that the buffer's video meta gives, or else the one that follows from the caps.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the meta does not describe a frame of the caps.
    pub fn of(buffer: &gst::BufferRef, info: &VideoInfo) -> Result<Self> {
        Self::of_meta(buffer, info)?.map_or_else(|| Self::new(info.offset(), info.stride()), Ok)
    }

    /// The layout that the buffer's video meta gives, if it has one.
    ///
    /// # Errors
    /// As [`Layout::of`].
    pub fn of_meta(buffer: &gst::BufferRef, info: &VideoInfo) -> Result<Option<Self>> {
        match buffer.meta::<VideoMeta>() {
            None => Ok(None),
            Some(meta) => {
                if meta.format() != info.format() || meta.width() < info.width() || meta.height() < info.height() {
                    return Err(Error::new(
                        ErrorKind::InvalidFrame,
                        format!(
                            "the buffer's video meta says {} {}x{}, its caps say {} {}x{}",
                            meta.format().to_str(),
                            meta.width(),
                            meta.height(),
                            info.format().to_str(),
                            info.width(),
                            info.height()
                        ),
                    ));
                }
                Self::new(meta.offset(), meta.stride()).map(Some)
            }
        }
    }

    /// The layout of planes that begin at `offsets`, with these strides.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] for a negative stride.
    pub fn new(offsets: &[usize], strides: &[i32]) -> Result<Self> {
        let mut planes = [(0, 0); MAX_PLANES];
        let count = strides.len().min(MAX_PLANES);
        for (plane, (&offset, &stride)) in planes.iter_mut().zip(offsets.iter().zip(strides)) {
            let stride = usize::try_from(stride).map_err(|_| {
                Error::new(
                    ErrorKind::InvalidFrame,
                    format!("a stride of {stride} bytes cannot be read: rows have to go from top to bottom"),
                )
            })?;
            *plane = (offset, stride);
        }
        Ok(Self { planes, count })
    }

    /// Offset and stride of each plane.
    pub fn planes(&self) -> &[(usize, usize)] {
        &self.planes[..self.count]
    }

    /// The frame in `map`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the buffer is shorter than a frame of `spec`.
    pub fn frame<'a>(&self, map: &'a BufferMap<'_, Readable>, spec: FrameSpec) -> Result<Frame<'a>> {
        let mut planes = [Plane { data: &[], stride: 0 }; MAX_PLANES];
        for (plane, &(offset, stride)) in planes.iter_mut().zip(&self.planes[..self.count]) {
            let data = map.as_slice().get(offset..).unwrap_or_default();
            *plane = Plane { data, stride };
        }
        Frame::new(spec, &planes[..self.count])
    }

    /// The frame in `map`, to be written.
    ///
    /// # Errors
    /// As [`Layout::frame`].
    pub fn frame_mut<'a>(&self, map: &'a mut BufferMap<'_, Writable>, spec: FrameSpec) -> Result<FrameMut<'a>> {
        // Planes may lie in any order: cut the memory from its end, so that each begins where it should.
        let mut order = [0, 1, 2];
        order.sort_unstable_by_key(|&i| self.planes[i].0);
        let mut planes = std::array::from_fn::<_, MAX_PLANES, _>(|_| PlaneMut {
            data: &mut [],
            stride: 0,
        });
        let mut rest = map.as_mut_slice();
        for &i in order.iter().rev().filter(|&&i| i < self.count) {
            let (offset, stride) = self.planes[i];
            let (head, data) = rest.split_at_mut(offset.min(rest.len()));
            planes[i] = PlaneMut { data, stride };
            rest = head;
        }
        FrameMut::from_iter(spec, planes.into_iter().take(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gst_video::{VideoFormat, VideoFrameFlags};
    use uretinex::{Colorimetry, PixelFormat};

    #[test]
    fn planes_in_any_order_and_padded() {
        gst::init().unwrap();
        let info = VideoInfo::builder(VideoFormat::I420, 16, 16).build().unwrap();
        let spec = FrameSpec {
            format: PixelFormat::I420,
            width: 16,
            height: 16,
            colorimetry: Colorimetry::default(),
        };
        for (what, size, offsets, strides, fits) in [
            ("in order", 256 + 128, [0, 256, 320], [16, 8, 8], true),
            ("padded", 32 * 16 + 2 * 16 * 8, [0, 512, 640], [32, 16, 16], true),
            ("chroma first", 384, [128, 0, 64], [16, 8, 8], true),
            ("exchanged", 384, [0, 320, 256], [16, 8, 8], true),
            ("short", 383, [0, 256, 320], [16, 8, 8], false),
            ("overlapping", 384, [0, 250, 320], [16, 8, 8], false),
            ("beyond", 384, [0, 256, 400], [16, 8, 8], false),
            ("upside down", 384, [240, 256, 320], [-16, 8, 8], false),
        ] {
            let mut buffer = gst::Buffer::with_size(size).unwrap();
            let r = buffer.get_mut().unwrap();
            VideoMeta::add_full(
                r,
                VideoFrameFlags::empty(),
                VideoFormat::I420,
                16,
                16,
                &offsets,
                &strides,
            )
            .map(|_| ())
            .unwrap_or_else(|e| assert!(!fits, "{what}: {e}"));
            if r.meta::<VideoMeta>().is_none() {
                continue;
            }
            let written = Layout::of(r, &info).and_then(|layout| {
                let mut map = r.map_writable().unwrap();
                layout.frame_mut(&mut map, spec).map(|_| ())
            });
            assert_eq!(written.is_ok(), fits, "{what}: {written:?}");
        }
    }
}
