//! The sizes of a frame on its way through the network.

use crate::frame::{FrameSpec, MIN_SIDE};

/// The most pixels of a thumbnail.
const THUMBNAIL: usize = 160 * 90;

/// The sizes that an executor is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The frames that come in and go out.
    pub spec: FrameSpec,
    /// Width and height on which the networks work, at most the frame's own.
    pub working: (usize, usize),
    /// The working size with each side rounded up to the pack's multiple, by edge replication.
    pub padded: (usize, usize),
}

impl Geometry {
    /// Sizes for frames of `spec`, at most `max_pixels` of which (0: all) go through the networks, padded to whole
    /// multiples of `multiple` pixels. The aspect ratio is kept to the nearest pixel.
    pub fn new(spec: FrameSpec, max_pixels: usize, multiple: usize) -> Self {
        let (w, h) = (spec.width, spec.height);
        let working = if max_pixels == 0 || w * h <= max_pixels {
            (w, h)
        } else {
            let scale = (max_pixels as f64 / (w * h) as f64).sqrt();
            let side = |s: usize| ((s as f64 * scale).floor() as usize).clamp(MIN_SIDE.min(s), s);
            (side(w), side(h))
        };
        Self {
            spec,
            working,
            padded: (
                working.0.next_multiple_of(multiple),
                working.1.next_multiple_of(multiple),
            ),
        }
    }

    /// Sizes of a frame's thumbnail, by which an automatic ratio is found, padded to whole multiples of `multiple` pixels.
    pub fn thumbnail(spec: FrameSpec, multiple: usize) -> Self {
        Self::new(spec, THUMBNAIL, multiple)
    }

    /// Whether the networks see a reduced copy of the frame.
    pub fn is_reduced(&self) -> bool {
        self.working != (self.spec.width, self.spec.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Colorimetry, PixelFormat};

    #[test]
    fn working_sizes() {
        for (w, h, max, multiple, working, padded) in [
            (1920, 1080, 0, 1, (1920, 1080), (1920, 1080)),
            (1921, 1081, 0, 4, (1921, 1081), (1924, 1084)),
            (1920, 1080, 960 * 540, 4, (960, 540), (960, 540)),
            (1920, 1080, 1, 4, (16, 16), (16, 16)),
            (100, 100, 10_000, 8, (100, 100), (104, 104)),
        ] {
            let spec = FrameSpec {
                format: PixelFormat::Rgb,
                width: w,
                height: h,
                colorimetry: Colorimetry::FULL,
            };
            let g = Geometry::new(spec, max, multiple);
            assert_eq!((g.working, g.padded), (working, padded), "{w}x{h} {max} {multiple}");
        }
    }
}
