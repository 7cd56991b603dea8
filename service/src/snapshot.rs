//! Frames as JPEG pictures.

use gst_video::{VideoConverter, VideoConverterConfig, VideoFormat, VideoFrame, VideoInfo};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

/// JPEG quality, 1 to 100.
const QUALITY: u8 = 80;

/// A frame as it was, and as it became.
#[derive(Debug, Clone)]
pub struct Pair {
    pub before: gst::Sample,
    pub after: gst::Sample,
}

/// Codes a raw frame as JPEG, at most `width` pixels wide.
///
/// # Errors
/// The frame is no raw video, or lies in memory that cannot be read.
pub fn jpeg(sample: &gst::Sample, width: Option<u32>) -> Result<Vec<u8>, String> {
    let caps = sample.caps_owned().ok_or("a frame without caps")?;
    let info = VideoInfo::from_caps(&caps).map_err(|e| e.to_string())?;
    let buffer = sample.buffer_owned().ok_or("a sample without a frame")?;
    let frame = VideoFrame::from_buffer_readable(buffer, &info).map_err(|_| "the frame's memory cannot be read")?;
    let out_width = width.unwrap_or(info.width()).clamp(2, info.width().max(2));
    // What is shown of pixels that are not square.
    let par = info.par();
    let height = u64::from(info.height()) * u64::from(out_width) * par.denom().max(1) as u64;
    let height = height
        .div_ceil(u64::from(info.width().max(1)) * par.numer().max(1) as u64)
        .clamp(2, 65_535) as u32;
    // The converter refuses to change the rate.
    let out = VideoInfo::builder(VideoFormat::Rgb, out_width, height)
        .fps(info.fps())
        .build()
        .map_err(|e| e.to_string())?;
    let converter = VideoConverter::new(&info, &out, Some(VideoConverterConfig::new())).map_err(|e| e.to_string())?;
    let buffer = gst::Buffer::with_size(out.size()).map_err(|e| e.to_string())?;
    let mut rgb = VideoFrame::from_buffer_writable(buffer, &out).map_err(|_| "no memory for a picture")?;
    converter.frame(&frame, &mut rgb);
    let (stride, row) = (out.stride()[0] as usize, out_width as usize * 3);
    let plane = rgb.plane_data(0).map_err(|e| e.to_string())?;
    let pixels: Vec<u8> = plane
        .chunks(stride)
        .take(height as usize)
        .flat_map(|line| &line[..row])
        .copied()
        .collect();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode(&pixels, out_width, height, ExtendedColorType::Rgb8)
        .map_err(|e| e.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_any_format_become_pictures() {
        gst::init().unwrap();
        for (format, width, expected) in [
            (VideoFormat::I420, None, (321, 241)),
            (VideoFormat::P01010le, Some(160), (160, 121)),
            (VideoFormat::Gray8, Some(5000), (321, 241)),
            (VideoFormat::Rgba, Some(0), (2, 2)),
        ] {
            let info = VideoInfo::builder(format, 321, 241)
                .fps(gst::Fraction::new(5, 1))
                .build()
                .unwrap();
            let buffer = gst::Buffer::from_mut_slice(vec![100; info.size()]);
            let sample = gst::Sample::builder()
                .buffer(&buffer)
                .caps(&info.to_caps().unwrap())
                .build();
            let bytes = jpeg(&sample, width).unwrap_or_else(|e| panic!("{format}: {e}"));
            let picture = image::load_from_memory(&bytes).unwrap();
            assert_eq!((picture.width(), picture.height()), expected, "{format}, {width:?}");
        }
        let caps = gst::Caps::builder("audio/x-raw").build();
        let sample = gst::Sample::builder().buffer(&gst::Buffer::new()).caps(&caps).build();
        assert!(jpeg(&sample, None).is_err());
    }
}
