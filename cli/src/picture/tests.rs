//! Pictures in memory: damaged, cut short, of sizes and with profiles of every kind.

use std::path::Path;

use super::replay::replay;
use super::*;

#[test]
fn fuzz_seeds_of_picture() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/picture");
    replay(&seeds, &[], 300, check);
}

#[test]
fn a_jpeg_file_ends_with_its_picture() {
    let mut jpeg = Vec::new();
    image::RgbImage::from_fn(40, 30, |x, y| [x as u8 * 6, y as u8 * 8, (x * y) as u8].into())
        .write_to(&mut std::io::Cursor::new(&mut jpeg), image::ImageFormat::Jpeg)
        .unwrap();
    let read = |bytes: &[u8]| {
        Picture::decode(std::io::Cursor::new(bytes))
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert_eq!(read(&jpeg), Ok(()));
    // A film may be appended to a photograph, with bytes of any kind.
    assert_eq!(read(&[&jpeg[..], &[0xff, 0xda, 0, 9, 1]].concat()), Ok(()));
    for length in [jpeg.len() - 2, jpeg.len() / 2, jpeg.len() / 2 + 1] {
        assert!(read(&jpeg[..length]).unwrap_err().contains("cut short"), "{length}");
    }
}

#[test]
fn a_size_out_of_range_is_refused_before_the_pixels() {
    for (width, height) in [(17, 0x7fff_ff03), (30_000, 30_000), (8193, 16), (15, 40)] {
        let error = decode_error_of_size(width, height);
        assert!(
            error.starts_with(&format!("{width}x{height} is outside 16x16 to 8192x8192")),
            "{error}"
        );
        assert!(!error.contains("videoscale"), "{error}");
    }
}

/// What a PNG file of this size, with the pixels of a smaller one, is told.
fn decode_error_of_size(width: u32, height: u32) -> String {
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&[9; 256], 16, 16, ColorType::L8.into())
        .unwrap();
    // Width and height stand at the same place in every PNG file; their checksum follows 17 bytes after the name IHDR.
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let mut sum = !0u32;
    for &byte in &png[12..29] {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    png[29..33].copy_from_slice(&(!sum).to_be_bytes());
    Picture::decode(std::io::Cursor::new(&png))
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

#[test]
fn a_decoder_that_panics_is_an_error() {
    let error = super::without_panic::<()>(|| panic!("as decoders do")).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert_eq!(super::without_panic(|| Ok(5)).unwrap(), 5);
}

#[test]
fn a_profile_of_another_colour_space_is_dropped() {
    for (colour, space, kept) in [
        (ColorType::Rgb8, b"RGB ", true),
        (ColorType::Rgb8, b"CMYK", false),
        (ColorType::Rgb8, b"GRAY", false),
        (ColorType::L8, b"RGB ", false),
        (ColorType::L8, b"GRAY", true),
    ] {
        let profile = [&[0; 16][..], space, &[0; 108]].concat();
        let mut png = Vec::new();
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_icc_profile(profile.clone()).unwrap();
        let samples = vec![9; 256 * usize::from(colour.channel_count())];
        encoder.write_image(&samples, 16, 16, colour.into()).unwrap();
        let read = Picture::decode(std::io::Cursor::new(&png)).unwrap();
        assert_eq!(
            read.icc_profile,
            kept.then_some(profile),
            "{colour:?} {}",
            String::from_utf8_lossy(space)
        );
        assert_eq!(read.notes.is_empty(), kept);
    }
}
