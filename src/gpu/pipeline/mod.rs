//! Frames on an NVIDIA GPU: memory for a size, slots for pending frames, the graph of a frame.

mod backend;
mod buffer;
mod engines;
mod executor;
#[cfg(test)]
mod frame_tests;
#[cfg(test)]
mod order_tests;
mod own;
#[cfg(test)]
mod own_tests;
mod slot;
mod thumbnail;
mod timings;
mod workspace;

pub(crate) use backend::GpuBackend;
pub(crate) use engines::EngineSource;
#[cfg(test)]
pub(crate) use executor::GpuExecutor;
pub(crate) use own::KernelSource;
