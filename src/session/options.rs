//! How an enhancer is made.

use std::path::PathBuf;

use crate::frame::RawContext;
use crate::pack::Precision;

/// The backend to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// The fastest that works on this machine.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU through the project's own kernels: needs the driver alone.
    Cuda,
    /// An NVIDIA GPU through TensorRT.
    TensorRt,
    /// No network: frames go through colour conversion and back, to measure what conversion costs.
    Identity,
}

/// How an [`Enhancer`](crate::Enhancer) is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// `auto` (`video`), the name of an embedded pack, or a pack's folder.
    pub model: String,
    /// The backend.
    pub backend: BackendChoice,
    /// The number format of the networks' arithmetic. `None` is the fastest whose results are right: on a GPU FP16 for
    /// each subnetwork whose results are near the processor's, on the processor FP32.
    pub precision: Option<Precision>,
    /// Threads for the work on the processor; 0 is one for every core.
    pub threads: usize,
    /// The GPU, counted from 0.
    pub device_id: u32,
    /// At most this many pixels of a frame go through the networks; 0 is all of them.
    pub max_pixels: usize,
    /// The folder of the engine cache; `None` is the one that [`EngineCache::new`](crate::EngineCache::new) names.
    pub engine_cache: Option<PathBuf>,
    /// A CUDA context of the caller's to work in; `None` is the GPU's primary one.
    pub cuda_context: Option<RawContext>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: "auto".into(),
            backend: BackendChoice::Auto,
            precision: None,
            threads: 0,
            device_id: 0,
            max_pixels: 0,
            engine_cache: None,
            cuda_context: None,
        }
    }
}
