//! How the C library's heap is set, from which GStreamer takes its memory.

#![allow(unsafe_code)] // A foreign function.

/// Heaps of the C library, at most. By itself it makes eight for each core.
#[cfg(target_env = "gnu")]
const HEAPS: std::ffi::c_int = 2;

/// Keeps the number of heaps small. Each call of a camera brings threads of its own, and what is freed in a heap that they
/// no longer use is not given back: with many heaps, memory grows for as long as cameras come and go.
pub fn set_up() {
    // SAFETY: the function takes two numbers and keeps no reference; it changes how later allocations are served and is
    // called before there is a second thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}
