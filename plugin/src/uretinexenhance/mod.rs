//! The element `uretinexenhance` and the enumerations of its properties.

mod buffers;
mod building;
mod caps;
mod counters;
mod device;
mod errors;
mod imp;
mod latency;
mod qos;
mod settings;

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

/// The category of the element in the debug log.
static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "uretinexenhance",
        gst::DebugColorFlags::empty(),
        Some("URetinex-Net enhancement"),
    )
});

glib::wrapper! {
    /// Makes night video bright and clean with URetinex-Net.
    ///
    /// ```text
    /// gst-launch-1.0 filesrc location=night.mp4 ! decodebin ! uretinexenhance ratio=4 ! videoconvert ! autovideosink
    /// ```
    ///
    /// The properties and what the element does with bad input are in `docs/element.md`.
    ///
    /// Since: 0.1.0
    pub struct URetinexEnhance(ObjectSubclass<imp::URetinexEnhance>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Property `backend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstURetinexBackend")]
#[repr(i32)]
pub enum Backend {
    /// The best that works on this machine.
    #[default]
    #[enum_value(name = "The best that works on this machine", nick = "auto")]
    Auto,
    /// The processor.
    #[enum_value(name = "The processor", nick = "cpu")]
    Cpu,
    /// An NVIDIA GPU through TensorRT.
    #[enum_value(name = "An NVIDIA GPU through TensorRT", nick = "tensorrt")]
    TensorRt,
    /// Colour conversion there and back.
    #[enum_value(name = "No network, to measure what colour conversion costs", nick = "identity")]
    Identity,
}

impl From<Backend> for uretinex::BackendChoice {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Cpu => Self::Cpu,
            Backend::TensorRt => Self::TensorRt,
            Backend::Identity => Self::Identity,
        }
    }
}

/// Property `precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstURetinexPrecision")]
#[repr(i32)]
pub enum Precision {
    /// The fastest whose numbers are right.
    #[default]
    #[enum_value(
        name = "On a GPU 16 bits if their numbers come near those of 32 bits, on a CPU 32 bits",
        nick = "auto"
    )]
    Auto,
    /// 32-bit floating point.
    #[enum_value(name = "32-bit floating point", nick = "fp32")]
    Fp32,
    /// 16-bit floating point.
    #[enum_value(name = "16-bit floating point", nick = "fp16")]
    Fp16,
}

impl From<Precision> for Option<uretinex::Precision> {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Auto => None,
            Precision::Fp32 => Some(uretinex::Precision::Fp32),
            Precision::Fp16 => Some(uretinex::Precision::Fp16),
        }
    }
}

/// Property `on-engine-build`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstURetinexOnEngineBuild")]
#[repr(i32)]
pub enum OnEngineBuild {
    /// Frames wait.
    #[default]
    #[enum_value(name = "Frames wait until the engines are ready", nick = "wait")]
    Wait,
    /// Frames go through untouched.
    #[enum_value(name = "Frames go through untouched", nick = "passthrough")]
    Passthrough,
    /// The processor does the work.
    #[enum_value(name = "The processor does the work", nick = "cpu")]
    Cpu,
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    Backend::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    Precision::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    OnEngineBuild::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(
        Some(plugin),
        "uretinexenhance",
        gst::Rank::NONE,
        URetinexEnhance::static_type(),
    )
}
