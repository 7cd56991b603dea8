//! The coders of H.264 that a served stream can be made with, and how each is told to make video without delay.

use gst::prelude::*;
use serde::{Deserialize, Serialize};

/// A coder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// On the processor.
    X264,
    /// On a GPU of NVIDIA.
    Nvh264,
    /// On a GPU behind VA-API.
    Vah264,
    /// On a video unit behind V4L2, as small boards have.
    V4l2h264,
}

/// What the configuration says: `auto`, one coder, or several in the order of preference.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "\"auto\", or one or a list of \"x264\", \"nvh264\", \"vah264\", \"v4l2h264\""
)]
pub enum Choice {
    Word(Automatic),
    One(Encoder),
    Several(Vec<Encoder>),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Automatic {
    Auto,
}

impl Default for Choice {
    fn default() -> Self {
        Self::Word(Automatic::Auto)
    }
}

impl Choice {
    /// The coders in the order in which they are tried. The processor's is the last resort of every choice.
    pub fn order(self) -> Vec<Encoder> {
        let mut order = match self {
            Self::Word(Automatic::Auto) => vec![Encoder::Nvh264, Encoder::Vah264, Encoder::V4l2h264],
            Self::One(encoder) => vec![encoder],
            Self::Several(encoders) => encoders,
        };
        if !order.contains(&Encoder::X264) {
            order.push(Encoder::X264);
        }
        order
    }
}

impl Encoder {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::X264 => "x264",
            Self::Nvh264 => "nvh264",
            Self::Vah264 => "vah264",
            Self::V4l2h264 => "v4l2h264",
        }
    }

    fn factory(self) -> &'static str {
        match self {
            Self::X264 => "x264enc",
            Self::Nvh264 => "nvh264enc",
            Self::Vah264 => "vah264enc",
            Self::V4l2h264 => "v4l2h264enc",
        }
    }

    /// Why the coder does not work here, if it does not: it is missing, or its device cannot be opened.
    pub fn trouble(self) -> Option<String> {
        let factory = self.factory();
        let Ok(element) = gst::ElementFactory::make(factory).build() else {
            return Some(format!("GStreamer has no {factory}"));
        };
        let opened = element.set_state(gst::State::Ready);
        let _ = element.set_state(gst::State::Null);
        opened
            .is_err()
            .then(|| format!("{factory} finds no device that it can open"))
    }

    /// The first of `order` that works here, and what is wrong with those before it.
    ///
    /// # Errors
    /// None works; the message says why.
    pub fn first_of(order: &[Encoder]) -> Result<(Encoder, Vec<String>), String> {
        let mut troubles = vec![];
        for encoder in order {
            match encoder.trouble() {
                None => return Ok((*encoder, troubles)),
                Some(trouble) => troubles.push(trouble),
            }
        }
        Err(format!(
            "no coder of H.264 works: {}; install gstreamer1.0-plugins-ugly for x264",
            troubles.join(", ")
        ))
    }

    /// The part of a pipeline from raw frames to H.264 in the profile that players take. Key frames are asked for by time
    /// ([`crate::relay`]), so the coder's own distance is long.
    pub fn launch(self, kilobits: u32) -> String {
        let coder = match self {
            Self::X264 => {
                format!("x264enc name=coder tune=zerolatency speed-preset=veryfast key-int-max=600 bitrate={kilobits}")
            }
            Self::Nvh264 => format!("nvh264enc name=coder zerolatency=true gop-size=600 bitrate={kilobits}"),
            Self::Vah264 => format!("vah264enc name=coder b-frames=0 key-int-max=600 bitrate={kilobits}"),
            Self::V4l2h264 => format!(
                "v4l2h264enc name=coder extra-controls=\"controls,video_bitrate={},h264_i_frame_period=600\"",
                u64::from(kilobits) * 1000
            ),
        };
        let level = if self == Self::V4l2h264 { ",level=(string)4" } else { "" };
        format!("{coder} ! video/x-h264,profile=high{level}")
    }
}

/// Kilobits per second for a stream of that size and rate: a tenth of a bit for a pixel, within reason.
pub fn bitrate(width: u32, height: u32, rate: f64) -> u32 {
    let kilobits = f64::from(width) * f64::from(height) * rate.clamp(1.0, 60.0) / 10_000.0;
    (kilobits as u32).clamp(500, 12_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_the_last_resort() {
        use Encoder::*;
        for (choice, order) in [
            (Choice::default(), vec![Nvh264, Vah264, V4l2h264, X264]),
            (Choice::One(X264), vec![X264]),
            (Choice::One(Vah264), vec![Vah264, X264]),
            (Choice::Several(vec![X264, Nvh264]), vec![X264, Nvh264]),
        ] {
            assert_eq!(choice.clone().order(), order, "{choice:?}");
        }
    }

    #[test]
    fn the_first_that_works_is_taken() {
        gst::init().unwrap();
        let (encoder, troubles) = Encoder::first_of(&[Encoder::X264, Encoder::Nvh264]).unwrap();
        assert_eq!((encoder, troubles.len()), (Encoder::X264, 0));
        gst::parse::bin_from_description(&format!("{} ! identity", encoder.launch(500)), true).unwrap();
        assert_eq!(
            [
                bitrate(1280, 720, 25.0),
                bitrate(160, 96, 5.0),
                bitrate(8192, 8192, 30.0)
            ],
            [2304, 500, 12_000]
        );
    }
}
