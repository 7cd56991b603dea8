//! Whether a frame is the one before once more.

use crate::frame::{Frame, FrameSpec};

/// A copy of the last frame in system memory.
#[derive(Default)]
pub(crate) struct LastFrame {
    spec: Option<FrameSpec>,
    rows: Vec<u8>,
}

impl LastFrame {
    /// Whether `frame` is the last one, byte for byte; it is the last one from here on.
    pub fn is_repeated_by(&mut self, frame: &Frame<'_>) -> bool {
        let spec = frame.spec();
        let rows =
            || (0..spec.format.planes()).flat_map(|i| (0..spec.format.rows(i, spec.height)).map(move |y| (i, y)));
        let mut left = &self.rows[..];
        let same = self.spec == Some(*spec)
            && rows().all(|(i, y)| {
                let row = frame.row(i, y);
                let (before, rest) = left.split_at(row.len());
                left = rest;
                before == row
            });
        if !same {
            self.spec = Some(*spec);
            self.rows.clear();
            rows().for_each(|(i, y)| self.rows.extend_from_slice(frame.row(i, y)));
        }
        same
    }

    /// The next frame repeats none.
    pub fn forget(&mut self) {
        self.spec = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;
    use crate::testing::{Picture, spec};

    #[test]
    fn one_byte_makes_another_frame() {
        for format in PixelFormat::ALL {
            let spec = spec(format, (33, 17));
            let picture = Picture::dark(spec, 1);
            let mut last = LastFrame::default();
            assert!(!last.is_repeated_by(&picture.frame()), "{}", format.name());
            assert!(last.is_repeated_by(&picture.frame()), "{}", format.name());
            // What lies between the rows is no part of the frame.
            assert!(last.is_repeated_by(&picture.spread(4).frame()), "{}", format.name());
            for plane in 0..format.planes() {
                let mut other = picture.spread(0);
                let last_row = format.rows(plane, spec.height) - 1;
                *other.frame_mut().row_mut(plane, last_row).last_mut().unwrap() ^= 1;
                assert!(!last.is_repeated_by(&other.frame()), "{} plane {plane}", format.name());
                assert!(last.is_repeated_by(&other.frame()), "{} plane {plane}", format.name());
            }
            last.forget();
            assert!(!last.is_repeated_by(&picture.frame()), "{}", format.name());
        }
    }
}
