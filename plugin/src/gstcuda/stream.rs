//! CUDA streams that GStreamer's elements share.

use std::ptr::NonNull;

use super::library::RawCudaStream;

/// A CUDA stream that GStreamer's elements share.
pub(crate) struct CudaStream(pub(super) NonNull<RawCudaStream>);

// SAFETY: a mini object counts its references atomically, and the driver takes streams from any thread.
unsafe impl Send for CudaStream {}
// SAFETY: as above.
unsafe impl Sync for CudaStream {}

impl Clone for CudaStream {
    fn clone(&self) -> Self {
        // SAFETY: the stream is a live mini object.
        unsafe { gst::ffi::gst_mini_object_ref(self.0.as_ptr().cast()) };
        Self(self.0)
    }
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        // SAFETY: gives back the reference of this value.
        unsafe { gst::ffi::gst_mini_object_unref(self.0.as_ptr().cast()) };
    }
}
