//! The enumerations of the element's properties.

use gst::glib;
use gst::prelude::*;

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
    /// An NVIDIA GPU through the element's own kernels.
    #[enum_value(
        name = "An NVIDIA GPU through the element's own kernels, with the driver alone",
        nick = "cuda"
    )]
    Cuda,
}

impl From<Backend> for uretinex::BackendChoice {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Cpu => Self::Cpu,
            Backend::Cuda => Self::Cuda,
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
        name = "On a GPU 16 bits where their results come near those of 32 bits, on a CPU 32 bits",
        nick = "auto"
    )]
    Auto,
    /// 32-bit floating point.
    #[enum_value(name = "32-bit floating point", nick = "fp32")]
    Fp32,
    /// 16-bit floating point.
    #[enum_value(name = "16-bit floating point, on a GPU", nick = "fp16")]
    Fp16,
    /// 16-bit block floating point.
    #[enum_value(name = "16-bit block floating point, on a CPU with AVX-512 VNNI", nick = "bfp16")]
    Bfp16,
    /// bfloat16.
    #[enum_value(name = "bfloat16, on a CPU with AMX", nick = "bf16")]
    Bf16,
}

impl From<Precision> for Option<uretinex::Precision> {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Auto => None,
            Precision::Fp32 => Some(uretinex::Precision::Fp32),
            Precision::Fp16 => Some(uretinex::Precision::Fp16),
            Precision::Bfp16 => Some(uretinex::Precision::Bfp16),
            Precision::Bf16 => Some(uretinex::Precision::Bf16),
        }
    }
}

/// Property `on-engine-build`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstURetinexOnEngineBuild")]
#[repr(i32)]
pub enum OnEngineBuild {
    /// Frames wait.
    #[enum_value(name = "Frames wait until the engines are ready", nick = "wait")]
    Wait,
    /// Frames go through untouched.
    #[enum_value(name = "Frames go through untouched", nick = "passthrough")]
    Passthrough,
    /// The processor does the work.
    #[enum_value(name = "The processor does the work", nick = "cpu")]
    Cpu,
    /// The GPU does the work with the element's own kernels; where it cannot, frames wait.
    #[default]
    #[enum_value(
        name = "The GPU does the work with the element's own kernels; where it cannot, frames wait",
        nick = "cuda"
    )]
    Cuda,
}

/// Property `compare`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstURetinexCompare")]
#[repr(i32)]
pub enum Compare {
    /// The result alone.
    #[default]
    #[enum_value(name = "The result alone", nick = "off")]
    Off,
    /// What came in on the left of a divider.
    #[enum_value(name = "What came in, and the result on the right of the divider", nick = "split")]
    Split,
    /// The middle of both.
    #[enum_value(
        name = "The middle half of what came in, and that of the result beside it",
        nick = "side-by-side"
    )]
    SideBySide,
}

/// Property `regions-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstURetinexRegionsMode")]
#[repr(i32)]
pub enum RegionsMode {
    /// Regions stay as they came.
    #[default]
    #[enum_value(name = "Regions stay as they came", nick = "leave")]
    Leave,
    /// All but regions stays as it came.
    #[enum_value(name = "Regions alone are enhanced", nick = "enhance")]
    Enhance,
}

/// Makes the enumerations part of the plugin's documented interface.
pub(super) fn register() {
    for kind in [
        Backend::static_type(),
        Precision::static_type(),
        OnEngineBuild::static_type(),
        Compare::static_type(),
        RegionsMode::static_type(),
    ] {
        kind.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
}
