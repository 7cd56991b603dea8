//! The stages on an NVIDIA GPU: our own kernels, the driver, TensorRT, and the pipeline that puts frames through them.

mod driver;
mod engine;
mod kernels;
mod networks;
mod pipeline;
mod precision;
mod probe;
mod tensorrt;

pub use driver::{Driver, Gpu, SharedLibrary, search_path};
#[cfg(test)]
pub(crate) use for_tests::*;
pub(crate) use pipeline::{EngineSource, GpuBackend, KernelSource};
pub use probe::{Probe, probe};
#[cfg(any(test, fuzzing))]
pub(crate) use tensorrt::file as cache_file;
pub use tensorrt::{
    CACHE_VARIABLE, CacheContents, CacheEntry, EngineCache, FOLDER_VARIABLE, ParseError, TensorRt, Version,
    try_tensorrt,
};

/// What stand-ins for a GPU and for TensorRT implement and look at.
#[cfg(test)]
mod for_tests {
    pub(crate) use super::driver::{Device, EventHandle, GraphHandle, PinnedMemory, StreamHandle, load, symbol};
    pub(crate) use super::kernels::{
        ComposeArguments, ConvolutionArguments, FusionArguments, IngestArguments, Launch, MeanArguments, MoveArguments,
        PointsArguments, PooledArguments, ScaleArguments, Settings, Storage, Surface, UpdateArguments,
    };
    pub(crate) use super::networks::{Inference, Loaded, Source};
    pub(crate) use super::pipeline::GpuExecutor;
    pub(crate) use super::precision::night;
    pub(crate) use super::tensorrt::{
        Context, Functions, Generation, Library, Memory, Monitor, NarrowDims, Network, Profile, Selector, Table,
        WideDims, complaints, forget, logger,
    };
}
