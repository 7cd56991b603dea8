//! From caps to the core's description of a frame.

use std::str::FromStr;

use gst_video::{VideoCapsBuilder, VideoChromaSite, VideoColorMatrix, VideoColorRange, VideoFormat, VideoInfo};
use gst_video::{VideoInterlaceMode, VideoTransferFunction};
use uretinex::{ChromaSite, Colorimetry, Error, ErrorKind, FrameSpec, Matrix, PixelFormat, Range};

use super::category::CAT;
use super::memory_features;
use crate::gstcuda::FEATURE;

/// The formats of frames in CUDA memory: those that GStreamer's CUDA elements have and the kernels read and write.
const CUDA_FORMATS: [PixelFormat; 10] = [
    PixelFormat::Nv12,
    PixelFormat::P010_10le,
    PixelFormat::Rgba,
    PixelFormat::Bgra,
    PixelFormat::Rgb,
    PixelFormat::Rgbx,
    PixelFormat::Bgrx,
    PixelFormat::Y444,
    PixelFormat::P016le,
    PixelFormat::Y444_16le,
];

/// What both pads can do on a machine that has all: ten formats in CUDA memory, every format of the core in system
/// memory.
///
/// The template is the class's, and GStreamer keeps it in its registry, so it says the same on every machine. What an
/// element offers is in the answers to caps queries.
///
/// Sizes and interlacing are left open: no upstream element can change them by itself, so frames that are too small
/// or interlaced are refused when their caps arrive, with a message that says what to put before the element.
pub(super) fn template() -> gst::Caps {
    let named = |formats: &[PixelFormat]| {
        let names = formats.iter().map(|f| VideoFormat::from_str(f.name()));
        names.filter_map(Result::ok).collect::<Vec<_>>()
    };
    let mut caps = VideoCapsBuilder::new()
        .features([FEATURE])
        .format_list(named(&CUDA_FORMATS))
        .build();
    caps.merge(VideoCapsBuilder::new().format_list(named(&PixelFormat::ALL)).build());
    caps
}

/// The frames of a negotiated stream, in GStreamer's terms and in the core's.
#[derive(Debug, Clone)]
pub(super) struct VideoStream {
    pub info: VideoInfo,
    pub spec: FrameSpec,
    /// Whether its frames are in CUDA memory.
    pub in_cuda_memory: bool,
}

impl VideoStream {
    /// Reads fixed caps. `why_no_cuda` says why frames in CUDA memory are not taken, if they are not.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for anything that the element does not take; the message names the remedy.
    pub fn new(caps: &gst::CapsRef, why_no_cuda: impl FnOnce() -> Option<String>) -> Result<Self, Error> {
        let unsupported = |message: String| Error::new(ErrorKind::Unsupported, message);
        let structure = caps.structure(0).map(|s| s.to_string()).unwrap_or_default();
        let in_cuda_memory = memory_features::is_cuda(caps);
        if in_cuda_memory {
            if let Some(reason) = why_no_cuda() {
                return Err(unsupported(format!(
                    "frames in {FEATURE} cannot be read: {reason}; bring them to system memory first, for example \
                     with cudadownload"
                )));
            }
        } else if caps
            .features(0)
            .is_some_and(|f| !f.contains("memory:SystemMemory") && !f.is_any() && f.size() > 0)
        {
            let features = caps.features(0).map(|f| f.to_string()).unwrap_or_default();
            if features.contains("format:Interlaced") {
                return Err(interlaced("alternate"));
            }
            return Err(unsupported(format!(
                "frames in {features} cannot be read: bring them to system memory first, for example with gldownload, \
                 cudadownload or vapostproc"
            )));
        }
        let info = VideoInfo::from_caps(caps).map_err(|_| {
            unsupported(format!(
                "'{structure}' is not raw video: decode it first, for example with decodebin"
            ))
        })?;
        let format = PixelFormat::from_name(info.format().to_str()).ok_or_else(|| {
            let known: Vec<_> = PixelFormat::ALL.iter().map(|f| f.name()).collect();
            unsupported(format!(
                "format {} is not one of {}: put videoconvert before uretinexenhance",
                info.format().to_str(),
                known.join(", ")
            ))
        })?;
        if in_cuda_memory && !CUDA_FORMATS.contains(&format) {
            return Err(unsupported(format!(
                "format {} is not taken in {FEATURE}, only {}: put cudaconvert before uretinexenhance",
                format.name(),
                CUDA_FORMATS.map(|f| f.name()).join(", ")
            )));
        }
        if info.interlace_mode() != VideoInterlaceMode::Progressive {
            return Err(interlaced(info.interlace_mode().to_str().as_str()));
        }
        let spec = FrameSpec {
            format,
            width: info.width() as usize,
            height: info.height() as usize,
            colorimetry: colorimetry(&info),
        };
        spec.validate()?;
        Ok(Self {
            info,
            spec,
            in_cuda_memory,
        })
    }

    /// The time from one frame to the next, if the caps tell it.
    pub fn frame_time(&self) -> Option<gst::ClockTime> {
        let fps = self.info.fps();
        let [frames, seconds] = [fps.numer(), fps.denom()].map(|n| n.max(0) as u64);
        let second = gst::ClockTime::SECOND.nseconds();
        (frames > 0 && seconds > 0).then(|| gst::ClockTime::from_nseconds((second * seconds).div_ceil(frames)))
    }

    /// The name of a transfer function that the networks were not trained on.
    pub fn high_dynamic_range(&self) -> Option<&'static str> {
        match self.info.colorimetry().transfer() {
            VideoTransferFunction::Smpte2084 => Some("PQ (SMPTE ST 2084)"),
            VideoTransferFunction::AribStdB67 => Some("HLG (ARIB STD-B67)"),
            _ => None,
        }
    }
}

fn interlaced(mode: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "interlaced video (interlace-mode={mode}) cannot be enhanced, because its rows are of two moments: \
             put deinterlace before uretinexenhance"
        ),
    )
}

fn colorimetry(info: &VideoInfo) -> Colorimetry {
    let c = info.colorimetry();
    let matrix = match c.matrix() {
        VideoColorMatrix::Bt601 | VideoColorMatrix::Fcc => Matrix::Bt601,
        VideoColorMatrix::Bt2020 => Matrix::Bt2020,
        VideoColorMatrix::Bt709 | VideoColorMatrix::Smpte240m | VideoColorMatrix::Rgb => Matrix::Bt709,
        other => {
            let matrix = if info.height() > 576 {
                Matrix::Bt709
            } else {
                Matrix::Bt601
            };
            gst::debug!(CAT, "colour matrix {other:?}: taken as {matrix:?}");
            matrix
        }
    };
    let range = match c.range() {
        VideoColorRange::Range0_255 => Range::Full,
        VideoColorRange::Range16_235 => Range::Limited,
        _ if info.is_yuv() => Range::Limited,
        _ => Range::Full,
    };
    let site = info.chroma_site();
    let site = if site.is_empty() {
        ChromaSite::default()
    } else {
        ChromaSite {
            cosited_x: site.contains(VideoChromaSite::H_COSITED),
            cosited_y: site.contains(VideoChromaSite::V_COSITED),
        }
    };
    Colorimetry { matrix, range, site }
}
