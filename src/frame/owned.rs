//! A frame's bytes kept beyond the borrow.

use super::{Frame, FrameSpec, MAX_PLANES, Plane};
use crate::error::Result;

/// Room for a frame, kept from one frame to the next.
#[derive(Debug, Default)]
pub(crate) struct OwnedFrame {
    spec: Option<FrameSpec>,
    planes: [Vec<u8>; MAX_PLANES],
}

impl OwnedFrame {
    /// Copies a frame. Allocates only if none of this size was here before.
    pub fn fill(&mut self, frame: &Frame<'_>) {
        let spec = *frame.spec();
        self.spec = Some(spec);
        for (i, plane) in self.planes.iter_mut().enumerate() {
            plane.clear();
            if i < spec.format.planes() {
                for y in 0..spec.format.rows(i, spec.height) {
                    plane.extend_from_slice(frame.row(i, y));
                }
            }
        }
    }

    /// The frame copied last, if there is one.
    pub fn frame(&self) -> Option<Result<Frame<'_>>> {
        let spec = self.spec?;
        let planes: [_; MAX_PLANES] = std::array::from_fn(|i| Plane {
            data: &self.planes[i],
            stride: spec.format.row_bytes(i, spec.width),
        });
        Some(Frame::new(spec, &planes[..spec.format.planes()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Colorimetry, PixelFormat};

    #[test]
    fn keeps_rows_and_leaves_padding_out() {
        for format in PixelFormat::ALL {
            let spec = FrameSpec {
                format,
                width: 17,
                height: 19,
                colorimetry: Colorimetry::default(),
            };
            let stride = |i| format.row_bytes(i, spec.width) + 5;
            let bytes: Vec<Vec<u8>> = (0..format.planes())
                .map(|i| {
                    (0..stride(i) * format.rows(i, spec.height))
                        .map(|b| (b * 3 + i) as u8)
                        .collect()
                })
                .collect();
            let planes: Vec<_> = bytes
                .iter()
                .enumerate()
                .map(|(i, data)| Plane {
                    data,
                    stride: stride(i),
                })
                .collect();
            let frame = Frame::new(spec, &planes).unwrap();
            let mut owned = OwnedFrame::default();
            assert!(owned.frame().is_none());
            owned.fill(&frame);
            let kept = owned.frame().unwrap().unwrap();
            for i in 0..format.planes() {
                for y in 0..format.rows(i, spec.height) {
                    assert_eq!(kept.row(i, y), frame.row(i, y), "{} plane {i} row {y}", format.name());
                }
            }
        }
    }
}
