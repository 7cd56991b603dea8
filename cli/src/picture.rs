//! Picture files: PNG and JPEG in, 8-bit pixels through the network, PNG and JPEG out.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ColorType, DynamicImage, GrayImage, ImageDecoder, ImageEncoder, ImageFormat, ImageReader};
use uretinex::{
    Colorimetry, Enhancer, Frame, FrameMut, FrameSpec, MAX_SIDE, Parameters, PixelFormat, Plane, PlaneMut, Report,
    Reset,
};

const JPEG_QUALITY: u8 = 95;

/// A decoded picture: grey or RGB of 8 bits, with or without alpha, the right way up.
pub struct Picture {
    pixels: DynamicImage,
    icc_profile: Option<Vec<u8>>,
    /// What the picture lost of the file, in words.
    pub note: Option<&'static str>,
}

/// The format that a file name stands for.
pub fn format_of(path: &Path) -> Option<ImageFormat> {
    ImageFormat::from_path(path)
        .ok()
        .filter(|f| matches!(f, ImageFormat::Png | ImageFormat::Jpeg))
}

impl Picture {
    /// Reads a PNG or JPEG file, whatever its name. The camera's EXIF orientation is applied; 16-bit samples are
    /// rounded to 8 bits.
    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let file = File::open(path).map_err(|e| named(&e))?;
        Self::decode(BufReader::new(file)).map_err(|e| named(&e))
    }

    /// Decodes a PNG or JPEG file. Decoders have panicked on damaged ones.
    fn decode(file: impl BufRead + Seek) -> image::ImageResult<Self> {
        without_panic(|| Self::decode_checked(file))
    }

    fn decode_checked(mut file: impl BufRead + Seek) -> image::ImageResult<Self> {
        refuse_cut_jpeg(&mut file)?;
        let mut decoder = ImageReader::new(file).with_guessed_format()?.into_decoder()?;
        refuse_large(decoder.dimensions())?;
        let orientation = decoder.orientation()?;
        let icc_profile = decoder.icc_profile()?;
        let mut pixels = DynamicImage::from_decoder(decoder)?;
        pixels.apply_orientation(orientation);
        let deep = pixels.color().bytes_per_pixel() > pixels.color().channel_count();
        let pixels = match pixels.color() {
            ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => pixels,
            ColorType::L16 => pixels.into_luma8().into(),
            ColorType::La16 => pixels.into_luma_alpha8().into(),
            colour if colour.has_alpha() => pixels.into_rgba8().into(),
            _ => pixels.into_rgb8().into(),
        };
        // A profile of another colour space, as in a CMYK file, does not describe what was decoded.
        let space: &[u8] = if pixels.color().has_color() { b"RGB " } else { b"GRAY" };
        let icc_profile = icc_profile.filter(|profile| profile.get(16..20) == Some(space));
        Ok(Self {
            pixels,
            icc_profile,
            note: deep.then_some("16-bit samples were rounded to 8 bits"),
        })
    }

    /// The pixels as bytes, one for each sample; none if they are of another format than [`read`](Self::read) gives.
    #[cfg(any(test, fuzzing))]
    fn samples(&self) -> Option<&[u8]> {
        match self.pixels.color() {
            ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => Some(self.pixels.as_bytes()),
            _ => None,
        }
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.pixels.width(), self.pixels.height())
    }

    /// Whether there is an alpha channel.
    pub fn has_alpha(&self) -> bool {
        self.pixels.color().has_alpha()
    }

    /// Takes the pixels through the network; grey stays grey, alpha stays as it is. The time is that of the frame: what its
    /// size needs is prepared before.
    pub fn enhance(&mut self, enhancer: &mut Enhancer, parameters: Parameters) -> uretinex::Result<(Report, Duration)> {
        let (width, height) = (self.pixels.width() as usize, self.pixels.height() as usize);
        let mut run = |format, step: usize, bytes: &mut [u8]| {
            let spec = FrameSpec {
                format,
                width,
                height,
                colorimetry: Colorimetry::FULL,
            };
            let stride = width * step;
            let dark = bytes.to_vec();
            let input = Frame::new(spec, &[Plane { data: &dark, stride }])?;
            let mut output = FrameMut::new(spec, [PlaneMut { data: bytes, stride }])?;
            enhancer.prepare(&spec)?;
            // No picture continues the one before: an automatic ratio is its own.
            enhancer.reset(Reset::Discontinuity);
            let started = Instant::now();
            let report = enhancer.process(&input, &mut output, parameters)?;
            Ok((report, started.elapsed()))
        };
        match &mut self.pixels {
            DynamicImage::ImageLuma8(p) => run(PixelFormat::Gray8, 1, p),
            DynamicImage::ImageRgb8(p) => run(PixelFormat::Rgb, 3, p),
            DynamicImage::ImageRgba8(p) => run(PixelFormat::Rgba, 4, p),
            DynamicImage::ImageLumaA8(p) => {
                let mut grey = GrayImage::from_fn(p.width(), p.height(), |x, y| [p.get_pixel(x, y)[0]].into());
                let outcome = run(PixelFormat::Gray8, 1, &mut grey)?;
                for (pixel, bright) in p.pixels_mut().zip(grey.pixels()) {
                    pixel[0] = bright[0];
                }
                Ok(outcome)
            }
            _ => unreachable!("`read` makes one of the four"),
        }
    }

    /// Writes the picture in the format of the file name, with its ICC profile. The file appears whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let mut part = Part::create(path).map_err(|e| named(&e))?;
        let mut file = BufWriter::new(&part.file);
        let (pixels, colour) = (self.pixels.as_bytes(), self.pixels.color());
        let (width, height) = self.size();
        // Both encoders take a profile; one that does not leaves the picture itself as it is.
        let profile = self.icc_profile.clone();
        let encoded = match format_of(path) {
            Some(ImageFormat::Jpeg) => {
                let mut encoder = JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY);
                profile.map(|p| encoder.set_icc_profile(p).ok());
                encoder.write_image(pixels, width, height, colour.into())
            }
            _ => {
                let mut encoder = PngEncoder::new(&mut file);
                profile.map(|p| encoder.set_icc_profile(p).ok());
                encoder.write_image(pixels, width, height, colour.into())
            }
        };
        encoded.map_err(|e| named(&e))?;
        file.flush().map_err(|e| named(&e))?;
        drop(file);
        part.rename(path).map_err(|e| named(&e))
    }
}

/// Makes an error of a panic in `work`, without a message on standard error.
fn without_panic<T>(work: impl FnOnce() -> image::ImageResult<T>) -> image::ImageResult<T> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    outcome.unwrap_or_else(|_| {
        let damaged = "its decoder fails: the file is damaged, copy it again";
        Err(std::io::Error::new(std::io::ErrorKind::InvalidData, damaged).into())
    })
}

/// Refuses a picture before memory is taken for its pixels: its file may say any size.
fn refuse_large((width, height): (u32, u32)) -> std::io::Result<()> {
    match width.max(height) as usize <= MAX_SIDE {
        true => Ok(()),
        false => Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            format!("{width}x{height} is larger than {MAX_SIDE}x{MAX_SIDE}: scale it down first"),
        )),
    }
}

/// Refuses a JPEG file that ends before its picture does: the decoder would fill what is missing with grey. The position
/// is the start again.
fn refuse_cut_jpeg(file: &mut (impl BufRead + Seek)) -> std::io::Result<()> {
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

/// A file under a temporary name, renamed when it is whole and removed otherwise.
struct Part {
    file: File,
    path: Option<PathBuf>,
}

impl Part {
    fn create(goal: &Path) -> std::io::Result<Self> {
        let name = goal.file_name().unwrap_or_default().to_string_lossy();
        let path = goal.with_file_name(format!(".{name}.{}.part", std::process::id()));
        Ok(Self {
            file: File::create(&path)?,
            path: Some(path),
        })
    }

    fn rename(&mut self, goal: &Path) -> std::io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, goal)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// What must hold of any file, for fuzzers and tests: a picture that is decoded has all samples of one of four formats.
#[cfg(any(test, fuzzing))]
pub fn check(bytes: &[u8]) {
    let Ok(picture) = Picture::decode(std::io::Cursor::new(bytes)) else {
        return;
    };
    let (width, height) = picture.size();
    let channels = usize::from(picture.pixels.color().channel_count());
    let samples = picture.samples().expect("one of four formats");
    assert_eq!(samples.len(), width as usize * height as usize * channels);
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
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
    fn a_size_that_no_memory_holds_is_refused() {
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(&[9; 256], 16, 16, ColorType::L8.into())
            .unwrap();
        // Width and height stand at the same place in every PNG file; their checksum follows 17 bytes after the name IHDR.
        png[16..24].copy_from_slice(&[0, 0, 0, 17, 0x7f, 0xff, 0xff, 3]);
        let mut sum = !0u32;
        for &byte in &png[12..29] {
            sum ^= u32::from(byte);
            for _ in 0..8 {
                sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
            }
        }
        png[29..33].copy_from_slice(&(!sum).to_be_bytes());
        let error = Picture::decode(std::io::Cursor::new(&png))
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains("17x2147483395") && error.contains("8192"), "{error}");
    }

    #[test]
    fn a_decoder_that_panics_is_an_error() {
        let error = super::without_panic::<()>(|| panic!("as decoders do")).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert_eq!(super::without_panic(|| Ok(5)).unwrap(), 5);
    }

    #[test]
    fn a_profile_of_another_colour_space_is_dropped() {
        for (space, kept) in [(b"RGB ", true), (b"CMYK", false), (b"GRAY", false)] {
            let profile = [&[0; 16][..], space, &[0; 108]].concat();
            let mut png = Vec::new();
            let mut encoder = PngEncoder::new(&mut png);
            encoder.set_icc_profile(profile.clone()).unwrap();
            encoder
                .write_image(&[9; 3 * 256], 16, 16, ColorType::Rgb8.into())
                .unwrap();
            let read = Picture::decode(std::io::Cursor::new(&png)).unwrap();
            assert_eq!(
                read.icc_profile,
                kept.then_some(profile),
                "{}",
                String::from_utf8_lossy(space)
            );
        }
    }
}
