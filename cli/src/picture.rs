//! Picture files: PNG and JPEG in, pixels of 8 or 16 bits through the network, PNG and JPEG out.

#[path = "picture/exif.rs"]
mod exif;
#[path = "picture/jpeg.rs"]
mod jpeg;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ColorType, DynamicImage, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader};
use uretinex::{
    Colorimetry, Enhancer, Frame, FrameMut, FrameSpec, MAX_SIDE, MIN_SIDE, Parameters, PixelFormat, Plane, PlaneMut,
    Report, Reset,
};

const JPEG_QUALITY: u8 = 95;

/// A decoded picture: grey or RGB of 8 or 16 bits, with or without alpha, the right way up.
pub struct Picture {
    pixels: DynamicImage,
    icc_profile: Option<Vec<u8>>,
    /// A TIFF structure that describes the pixels as they are.
    exif: Option<Vec<u8>>,
    /// What was lost of the file, in words.
    pub notes: Vec<&'static str>,
}

/// The longest EXIF data that a JPEG file holds: a segment's length counts itself and a header of 6 bytes.
const MAX_JPEG_EXIF: usize = 0xffff - 2 - 6;

/// The format that a file name stands for.
pub fn format_of(path: &Path) -> Option<ImageFormat> {
    ImageFormat::from_path(path)
        .ok()
        .filter(|f| matches!(f, ImageFormat::Png | ImageFormat::Jpeg))
}

impl Picture {
    /// Reads a PNG or JPEG file, whatever its name. The camera's EXIF orientation is applied.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::decode(BufReader::new(file)).map_err(|e| format!("{}: {e}{}", path.display(), remedy(&e)))
    }

    /// Decodes a PNG or JPEG file. Decoders have panicked on damaged ones.
    fn decode(file: impl BufRead + Seek) -> image::ImageResult<Self> {
        without_panic(|| Self::decode_checked(file))
    }

    fn decode_checked(mut file: impl BufRead + Seek) -> image::ImageResult<Self> {
        jpeg::refuse_cut(&mut file)?;
        let mut decoder = ImageReader::new(file).with_guessed_format()?.into_decoder()?;
        refuse_size(decoder.dimensions())?;
        let orientation = decoder.orientation()?;
        let icc_profile = decoder.icc_profile()?;
        let exif = decoder.exif_metadata()?;
        let mut pixels = DynamicImage::from_decoder(decoder)?;
        pixels.apply_orientation(orientation);
        let pixels = match pixels.color() {
            ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => pixels,
            ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => pixels,
            colour if colour.has_alpha() => pixels.into_rgba16().into(),
            _ => pixels.into_rgb16().into(),
        };
        let mut notes = Vec::new();
        // A profile of another colour space, as in a CMYK file, does not describe what was decoded.
        let space: &[u8] = if pixels.color().has_color() { b"RGB " } else { b"GRAY" };
        let had_profile = icc_profile.is_some();
        let icc_profile = icc_profile.filter(|profile| profile.get(16..20) == Some(space));
        if had_profile && icc_profile.is_none() {
            notes.push("its colour profile is of another colour space and was dropped");
        }
        let size = (pixels.width(), pixels.height());
        let had_exif = exif.is_some();
        let exif = exif.and_then(|mut exif| exif::set_upright(&mut exif, size).then_some(exif));
        if had_exif && exif.is_none() {
            notes.push("its EXIF data are damaged and were dropped");
        }
        Ok(Self {
            pixels,
            icc_profile,
            exif,
            notes,
        })
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.pixels.width(), self.pixels.height())
    }

    /// Whether there is an alpha channel.
    pub fn has_alpha(&self) -> bool {
        self.pixels.color().has_alpha()
    }

    /// Takes the pixels through the network; grey stays grey, alpha and the number of bits stay as they are. The time is that
    /// of the frame: what its size needs is prepared before.
    pub fn enhance(&mut self, enhancer: &mut Enhancer, parameters: Parameters) -> uretinex::Result<(Report, Duration)> {
        let (width, height) = (self.pixels.width() as usize, self.pixels.height() as usize);
        let mut run = |format: PixelFormat, bytes: &mut [u8]| {
            let spec = FrameSpec {
                format,
                width,
                height,
                colorimetry: Colorimetry::FULL,
            };
            let stride = format.row_bytes(0, width);
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
            DynamicImage::ImageLuma8(p) => run(PixelFormat::Gray8, p),
            DynamicImage::ImageRgb8(p) => run(PixelFormat::Rgb, p),
            DynamicImage::ImageRgba8(p) => run(PixelFormat::Rgba, p),
            DynamicImage::ImageLumaA8(p) => {
                let mut grey: Vec<_> = p.pixels().map(|pixel| pixel[0]).collect();
                let outcome = run(PixelFormat::Gray8, &mut grey)?;
                p.pixels_mut().zip(grey).for_each(|(pixel, bright)| pixel[0] = bright);
                Ok(outcome)
            }
            DynamicImage::ImageLuma16(p) => words(p, 1, 1, |bytes| run(PixelFormat::Gray16le, bytes)),
            DynamicImage::ImageLumaA16(p) => words(p, 2, 1, |bytes| run(PixelFormat::Gray16le, bytes)),
            // There is no format of three words a pixel.
            DynamicImage::ImageRgb16(p) => words(p, 3, 4, |bytes| run(PixelFormat::Rgba64le, bytes)),
            DynamicImage::ImageRgba16(p) => words(p, 4, 4, |bytes| run(PixelFormat::Rgba64le, bytes)),
            _ => unreachable!("`read` makes one of the eight"),
        }
    }

    /// The bytes of a PNG or JPEG file, with ICC profile and EXIF data.
    pub fn encode(&mut self, format: ImageFormat) -> image::ImageResult<Vec<u8>> {
        let mut bytes = Vec::new();
        match format {
            ImageFormat::Jpeg => {
                self.make_8_bits();
                if self.exif.take_if(|exif| exif.len() > MAX_JPEG_EXIF).is_some() {
                    self.notes.push("its EXIF data are too long for JPEG and were dropped");
                }
                self.encode_with(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))?;
            }
            _ => self.encode_with(PngEncoder::new(&mut bytes))?,
        }
        Ok(bytes)
    }

    /// Rounds samples to what JPEG holds. It takes no alpha.
    fn make_8_bits(&mut self) {
        let pixels = std::mem::take(&mut self.pixels);
        self.pixels = match pixels.color() {
            ColorType::L16 => pixels.into_luma8().into(),
            ColorType::Rgb16 => pixels.into_rgb8().into(),
            _ => pixels,
        };
    }

    fn encode_with(&self, mut encoder: impl ImageEncoder) -> image::ImageResult<()> {
        // Both encoders take both.
        if let Some(profile) = self.icc_profile.clone() {
            encoder.set_icc_profile(profile).map_err(ImageError::Unsupported)?;
        }
        if let Some(exif) = self.exif.clone() {
            encoder.set_exif_metadata(exif).map_err(ImageError::Unsupported)?;
        }
        let (width, height) = self.size();
        encoder.write_image(self.pixels.as_bytes(), width, height, self.pixels.color().into())
    }
}

/// Has `work` change the first samples of each pixel, at most `taken`, as little-endian words: `taken` of them a pixel.
fn words<T>(
    samples: &mut [u16],
    channels: usize,
    taken: usize,
    work: impl FnOnce(&mut [u8]) -> uretinex::Result<T>,
) -> uretinex::Result<T> {
    let mut bytes = Vec::with_capacity(samples.len() / channels * taken * 2);
    for pixel in samples.chunks(channels) {
        let padded = pixel.iter().chain(std::iter::repeat(&0)).take(taken);
        bytes.extend(padded.flat_map(|sample| sample.to_le_bytes()));
    }
    let outcome = work(&mut bytes)?;
    for (pixel, bright) in samples.chunks_mut(channels).zip(bytes.chunks(2 * taken)) {
        for (sample, word) in pixel.iter_mut().zip(bright.as_chunks::<2>().0) {
            *sample = u16::from_le_bytes(*word);
        }
    }
    Ok(outcome)
}

/// What to do about an error of a decoder.
fn remedy(error: &ImageError) -> &'static str {
    match error {
        ImageError::Decoding(_) => ": the file is damaged or cut short, copy it again",
        ImageError::Unsupported(_) => ": only PNG and JPEG files are read, convert it first",
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof && e.get_ref().is_none() => {
            ": the file is cut short, copy it again"
        }
        _ => "",
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
fn refuse_size((width, height): (u32, u32)) -> std::io::Result<()> {
    let sides = MIN_SIDE..=MAX_SIDE;
    if sides.contains(&(width as usize)) && sides.contains(&(height as usize)) {
        return Ok(());
    }
    Err(std::io::Error::new(
        ErrorKind::InvalidData,
        format!("{width}x{height} is outside {MIN_SIDE}x{MIN_SIDE} to {MAX_SIDE}x{MAX_SIDE}: scale the picture first"),
    ))
}

/// What must hold of any file, for fuzzers and tests: a picture that is decoded has all samples of one of eight formats.
#[cfg(any(test, fuzzing))]
pub fn check(bytes: &[u8]) {
    let Ok(picture) = Picture::decode(std::io::Cursor::new(bytes)) else {
        return;
    };
    let (width, height) = picture.size();
    let colour = picture.pixels.color();
    let sample = usize::from(colour.bytes_per_pixel() / colour.channel_count());
    assert!(sample == 1 || sample == 2, "{colour:?}");
    let pixel = sample * usize::from(colour.channel_count());
    assert_eq!(
        picture.pixels.as_bytes().len(),
        width as usize * height as usize * pixel
    );
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
#[path = "picture/tests.rs"]
mod tests;
