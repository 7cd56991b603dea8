//! Memory for floats, aligned for vectors and backed by large pages where the system gives them.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::error::{Error, ErrorKind, Result};

/// From here on, memory asks for large pages.
const LARGE: usize = 2 << 20;

/// A fixed number of floats that begins on a cache line.
pub struct Floats {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: it owns its memory as a `Box<[f32]>` does.
unsafe impl Send for Floats {}
// SAFETY: as above.
unsafe impl Sync for Floats {}

impl Floats {
    fn layout(len: usize) -> Option<Layout> {
        let bytes = len.max(1).checked_mul(4)?;
        Layout::from_size_align(bytes, if bytes >= LARGE { LARGE } else { 64 }).ok()
    }

    /// Zeros.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn try_zeroed(len: usize) -> Result<Self> {
        let short = || {
            Error::new(
                ErrorKind::BackendFailed,
                format!(
                    "no memory for {} MiB of activations; set max-pixels or use a smaller model",
                    len >> 18
                ),
            )
        };
        let layout = Self::layout(len).ok_or_else(short)?;
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<f32>()).ok_or_else(short)?;
        if layout.size() >= LARGE {
            advise_large_pages(start.as_ptr().cast(), layout.size());
        }
        Ok(Self { start, len })
    }

    /// Zeros, for a few that the program cannot go on without.
    pub fn zeroed(len: usize) -> Self {
        match Self::try_zeroed(len) {
            Ok(floats) => floats,
            Err(_) => handle_alloc_error(Self::layout(len).unwrap_or(Layout::new::<f32>())),
        }
    }
}

/// Asks Linux for large pages; a wish that it may not grant.
#[cfg(target_os = "linux")]
fn advise_large_pages(start: *mut std::ffi::c_void, bytes: usize) {
    use std::ffi::{c_int, c_void};
    // SAFETY: the signature of madvise(2).
    unsafe extern "C" {
        fn madvise(addr: *mut c_void, length: usize, advice: c_int) -> c_int;
    }
    const MADV_HUGEPAGE: c_int = 14;
    // SAFETY: the range is an allocation of ours that begins on a page; the advice changes no contents.
    unsafe { madvise(start, bytes & !4095, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_large_pages(_: *mut std::ffi::c_void, _: usize) {}

impl Deref for Floats {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `len` floats, all of them initialised, for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Floats {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}
