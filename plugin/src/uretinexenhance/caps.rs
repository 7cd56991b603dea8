//! From caps to the core's description of a frame.

use std::str::FromStr;

use gst_video::{VideoCapsBuilder, VideoChromaSite, VideoColorMatrix, VideoColorRange, VideoFormat, VideoInfo};
use gst_video::{VideoInterlaceMode, VideoTransferFunction};
use uretinex::{ChromaSite, Colorimetry, Error, ErrorKind, FrameSpec, Matrix, PixelFormat, Range};

use super::CAT;

/// What both pads offer: every format of the core, in system memory.
///
/// Sizes and interlacing are left open: no upstream element can change them by itself, so frames that are too small
/// or interlaced are refused when they arrive, with a message that says what to put before the element.
pub(super) fn template() -> gst::Caps {
    let formats = PixelFormat::ALL
        .iter()
        .filter_map(|f| VideoFormat::from_str(f.name()).ok());
    VideoCapsBuilder::new().format_list(formats).build()
}

/// A negotiated stream: what GStreamer and what the core call its frames.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub info: VideoInfo,
    pub spec: FrameSpec,
}

impl Stream {
    /// Reads fixed caps.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for anything that the element does not take; the message names the remedy.
    pub fn new(caps: &gst::CapsRef) -> Result<Self, Error> {
        let unsupported = |message: String| Error::new(ErrorKind::Unsupported, message);
        let structure = caps.structure(0).map(|s| s.to_string()).unwrap_or_default();
        if caps
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
                "'{structure}' is no raw video: decode it first, for example with decodebin"
            ))
        })?;
        let format = PixelFormat::from_name(info.format().to_str()).ok_or_else(|| {
            let known: Vec<_> = PixelFormat::ALL.iter().map(|f| f.name()).collect();
            unsupported(format!(
                "format {} is none of {}: put videoconvert before uretinexenhance",
                info.format().to_str(),
                known.join(", ")
            ))
        })?;
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
        Ok(Self { info, spec })
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
            "interlaced video (interlace-mode={mode}) cannot be enhanced, its rows are of two moments: \
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
