//! Where a JPEG file ends.

use std::io::{BufRead, Seek};

/// Refuses a JPEG file that ends before its picture does: the decoder would fill what is missing with grey. The position
/// is the start again.
pub fn refuse_cut(file: &mut (impl BufRead + Seek)) -> std::io::Result<()> {
    if !file.fill_buf()?.starts_with(&[0xff, 0xd8, 0xff]) {
        return Ok(());
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    file.rewind()?;
    match jpeg_ends(&bytes) {
        true => Ok(()),
        false => Err(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "the JPEG data end in the middle of the picture: the file is cut short, copy it again",
        )),
    }
}

/// Whether the markers of a JPEG file (ITU-T T.81, annex B) come to the end of the image. What follows it is not looked at.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut rest = &bytes[2..];
    loop {
        // Between segments, and after a scan's coded data, in which a 0 follows each 0xff unless it is a restart.
        let marker = rest
            .windows(2)
            .position(|two| two[0] == 0xff && !matches!(two[1], 0x00 | 0x01 | 0xd0..=0xd7 | 0xff));
        let Some(at) = marker else { return false };
        if rest[at + 1] == 0xd9 {
            return true;
        }
        let length = match rest.get(at + 2..at + 4) {
            Some(length) => usize::from(u16::from_be_bytes([length[0], length[1]])),
            None => return false,
        };
        match rest.get(at + 2 + length.max(2)..) {
            Some(after) => rest = after,
            None => return false,
        }
    }
}
