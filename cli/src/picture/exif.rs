//! EXIF data of a picture that has been turned upright (CIPA DC-008; the structure is that of TIFF 6.0).

/// Tags of IFD 0 and of the Exif IFD.
const IMAGE_WIDTH: u16 = 0x0100;
const IMAGE_LENGTH: u16 = 0x0101;
const ORIENTATION: u16 = 0x0112;
const EXIF_IFD: u16 = 0x8769;
const PIXEL_X_DIMENSION: u16 = 0xa002;
const PIXEL_Y_DIMENSION: u16 = 0xa003;

/// Types of values.
const SHORT: u16 = 3;
const LONG: u16 = 4;

const ENTRY: usize = 12;

/// Makes `data` describe the picture as it is written: orientation 1, this width and height, and no link to the
/// thumbnail, which shows the dark picture as the camera lay. Nothing moves, so that offsets in a maker's note still hold.
/// False if `data` is no TIFF structure.
pub fn set_upright(data: &mut [u8], (width, height): (u32, u32)) -> bool {
    let Some(big) = byte_order(data) else {
        return false;
    };
    let mut tiff = Tiff { data, big };
    let Some(first) = tiff.long(4).and_then(|at| tiff.entries(at)) else {
        return false;
    };
    let mut exif = None;
    for at in first.clone().step_by(ENTRY) {
        match tiff.short(at) {
            Some(ORIENTATION) => tiff.set(at, 1),
            Some(IMAGE_WIDTH) => tiff.set(at, width),
            Some(IMAGE_LENGTH) => tiff.set(at, height),
            Some(EXIF_IFD) => exif = tiff.long(at + 8).and_then(|at| tiff.entries(at)),
            _ => {}
        }
    }
    tiff.put(first.end, &[0; 4]);
    for at in exif.into_iter().flatten().step_by(ENTRY) {
        match tiff.short(at) {
            Some(PIXEL_X_DIMENSION) => tiff.set(at, width),
            Some(PIXEL_Y_DIMENSION) => tiff.set(at, height),
            _ => {}
        }
    }
    true
}

/// Whether numbers begin with their highest byte.
fn byte_order(data: &[u8]) -> Option<bool> {
    match data.get(..4)? {
        b"II*\0" => Some(false),
        b"MM\0*" => Some(true),
        _ => None,
    }
}

/// Numbers in a TIFF structure; outside of it there are none.
struct Tiff<'a> {
    data: &'a mut [u8],
    big: bool,
}

impl Tiff<'_> {
    fn short(&self, at: usize) -> Option<u16> {
        let bytes = self.data.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn long(&self, at: usize) -> Option<usize> {
        let bytes = self.data.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        } as usize)
    }

    /// Where the entries of the IFD at `at` stand.
    fn entries(&self, at: usize) -> Option<std::ops::Range<usize>> {
        let count = usize::from(self.short(at)?);
        let range = at + 2..at + 2 + count * ENTRY;
        (range.end <= self.data.len()).then_some(range)
    }

    /// Sets the value of the entry at `at`, if it is one number that can hold it.
    fn set(&mut self, at: usize, value: u32) {
        if self.long(at + 4) != Some(1) {
            return;
        }
        match (self.short(at + 2), u16::try_from(value)) {
            (Some(SHORT), Ok(v)) => self.put(at + 8, &if self.big { v.to_be_bytes() } else { v.to_le_bytes() }),
            (Some(LONG), _) => self.put(
                at + 8,
                &if self.big {
                    value.to_be_bytes()
                } else {
                    value.to_le_bytes()
                },
            ),
            _ => {}
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.data.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure of IFD 0 (orientation 6, a date, the Exif IFD), a link to a thumbnail's IFD, and the Exif IFD with the size.
    fn structure(big: bool) -> Vec<u8> {
        let short = |v: u16| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let long = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let entry = |tag, kind, count, value: [u8; 4]| [&short(tag)[..], &short(kind), &long(count), &value].concat();
        let padded = |v: u16| [short(v)[0], short(v)[1], 0, 0];
        [
            if big { &b"MM\0*"[..] } else { b"II*\0" },
            &long(8),
            &short(3),
            &entry(ORIENTATION, SHORT, 1, padded(6)),
            &entry(0x0132, 2, 4, *b"now\0"),
            &entry(EXIF_IFD, LONG, 1, long(50)),
            &long(80),
            &short(2),
            &entry(PIXEL_X_DIMENSION, SHORT, 1, padded(32)),
            &entry(PIXEL_Y_DIMENSION, LONG, 1, long(20)),
            &long(0),
            &short(0),
            &long(0),
        ]
        .concat()
    }

    #[test]
    fn what_the_picture_changes_is_set() {
        for big in [false, true] {
            let mut data = structure(big);
            let before = data.clone();
            assert!(set_upright(&mut data, (20, 32)), "{big}");
            let mut tiff = Tiff { data: &mut data, big };
            let value = |at: usize| tiff.long(at + 8).unwrap();
            let half = |at: usize| usize::from(tiff.short(at + 8).unwrap());
            assert_eq!(
                [half(10), value(34), tiff.long(46).unwrap(), half(52), value(64)],
                [1, 50, 0, 20, 32],
                "{big}"
            );
            // All else stays.
            for (at, n) in [(18, 2), (46, 4), (60, 2), (72, 4)] {
                tiff.put(at, &before[at..at + n]);
            }
            assert_eq!(data, before, "{big}");
        }
    }

    #[test]
    fn what_is_cut_off_stays_as_it_is() {
        let whole = structure(false);
        for length in 0..whole.len() {
            let mut data = whole[..length].to_vec();
            set_upright(&mut data, (20, 32));
        }
        for bad in [&b""[..], b"Exif", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"] {
            assert!(!set_upright(&mut bad.to_vec(), (20, 32)), "{bad:?}");
        }
    }
}
