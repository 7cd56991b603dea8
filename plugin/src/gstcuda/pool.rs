//! Pools of buffers in CUDA memory.

use std::ptr::NonNull;

use gst::glib;
use gst::glib::translate::{from_glib, from_glib_full};
use gst::prelude::*;
use uretinex::Result;

use super::context::CudaContext;
use super::library::{RawCudaBufferPool, failed};
use super::stream::CudaStream;

const OPTION_VIDEO_META: &str = "GstBufferPoolOptionVideoMeta";

impl CudaContext {
    /// Whether `pool` gives memory of this context.
    pub fn owns(&self, pool: &gst::BufferPool) -> bool {
        // SAFETY: takes no arguments.
        let cuda_pool: glib::Type = unsafe { from_glib((self.library.functions.buffer_pool_get_type)()) };
        // SAFETY: the pool is a `GstCudaBufferPool`, whose public part is read.
        pool.type_().is_a(cuda_pool) && unsafe { (*pool.as_ptr().cast::<RawCudaBufferPool>()).context } == self.as_ptr()
    }

    /// A new pool of buffers in this context.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`](uretinex::ErrorKind::BackendFailed) if GStreamer makes none.
    pub fn pool(&self) -> Result<gst::BufferPool> {
        // SAFETY: the context is live. The pool is handed over with its reference, or is null.
        let pool: Option<gst::BufferPool> =
            unsafe { from_glib_full((self.library.functions.buffer_pool_new)(self.as_ptr())) };
        pool.ok_or_else(|| failed("GStreamer made no pool of CUDA buffers".into()))
    }

    /// Sets a pool of this context up for frames of `caps`. Returns the size of its buffers, which is the GPU's choice,
    /// and the stream of their memory, which is `stream` unless the pool has one already.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`](uretinex::ErrorKind::BackendFailed) if the pool refuses, for example because GPU
    /// memory is exhausted.
    pub fn configure(
        &self,
        pool: &gst::BufferPool,
        caps: &gst::Caps,
        size: u32,
        (min, max): (u32, u32),
        stream: Option<&CudaStream>,
    ) -> Result<(u32, Option<CudaStream>)> {
        let mut config = pool.config();
        config.set_params(Some(caps), size, min, max);
        config.add_option(OPTION_VIDEO_META);
        let mut used = None;
        if let Some(streams) = &self.library.streams {
            // SAFETY: the configuration is a live structure; the stream comes with a reference, or is null.
            let configured = NonNull::new(unsafe { (streams.config_get_stream)(config.as_mut_ptr()) });
            used = configured.map(CudaStream).or_else(|| stream.cloned());
            if let (None, Some(stream)) = (configured, &used) {
                // SAFETY: both are live; the structure takes a reference of its own.
                unsafe { (streams.config_set_stream)(config.as_mut_ptr(), stream.0.as_ptr()) };
            }
        }
        pool.set_config(config).map_err(|e| {
            failed(format!(
                "the pool {} of CUDA buffers takes no frames of {caps}: GPU memory may be exhausted (nvidia-smi)",
                pool.name()
            ))
            .with_source(e)
        })?;
        let size = pool.config().params().map_or(size, |(_, size, _, _)| size);
        Ok((size, used))
    }
}
