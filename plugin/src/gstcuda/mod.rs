//! GStreamer's CUDA library (`libgstcuda-1.0`), opened at run time: contexts that elements share, memory on the GPU,
//! buffer pools. All calls into it are here, behind a safe interface; nothing is linked.
//!
//! The functions are those of `gst/cuda/*.h` in gst-plugins-bad. 1.22 brought the library; 1.24 brought streams, with
//! which work on a buffer may still be pending when it arrives; 1.26 added nothing that is used here. The public parts
//! of `GstCudaMemory` and `GstCudaBufferPool` have been the same in all of them.
#![allow(unsafe_code)]

mod context;
mod enhancer;
mod library;
mod memory;
mod pool;
mod shared_context;
mod stream;

pub(crate) use context::CudaContext;
pub(crate) use enhancer::EnhancerInContext;
pub(crate) use library::Library;
pub(crate) use memory::MappedCudaMemory;
pub(crate) use shared_context::SharedContext;
pub(crate) use stream::CudaStream;

/// The caps feature of frames in CUDA memory.
pub(crate) const FEATURE: &str = "memory:CUDAMemory";
/// The type of a GStreamer context that holds a `GstCudaContext`.
pub(crate) const CONTEXT_TYPE: &str = "gst.cuda.context";

#[cfg(test)]
pub(crate) mod tests;
