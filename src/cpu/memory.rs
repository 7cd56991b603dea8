//! Memory for floats, aligned for vectors and backed by large pages where the system gives them. A shortage is an
//! error.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
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
    /// [`ErrorKind::OutOfMemory`] if there is not enough memory.
    pub fn try_zeroed(len: usize) -> Result<Self> {
        let short = || out_of_memory(len.saturating_mul(4));
        let layout = Self::layout(len).ok_or_else(short)?;
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<f32>()).ok_or_else(short)?;
        advise_large_pages(start.as_ptr().cast(), layout.size());
        Ok(Self { start, len })
    }
}

/// `len` times `value`.
///
/// # Errors
/// [`ErrorKind::OutOfMemory`] if there is not enough memory.
pub fn try_filled<T: Clone>(value: T, len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let reserved = values.try_reserve_exact(len);
    reserved.map_err(|_| out_of_memory(len.saturating_mul(size_of::<T>())))?;
    values.resize(len, value);
    Ok(values)
}

/// Asks for the cache line at an address, which need not be valid. Does nothing where the processor is not known.
#[inline(always)]
pub fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches no memory that the program sees.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The error of an allocation that failed.
fn out_of_memory(bytes: usize) -> Error {
    Error::new(
        ErrorKind::OutOfMemory,
        format!(
            "no memory for {} MiB: set max-pixels, or take smaller frames or a smaller model",
            bytes.div_ceil(1 << 20)
        ),
    )
}

/// Asks Linux for large pages, which it may not grant.
fn advise_large_pages(start: *mut std::ffi::c_void, bytes: usize) {
    #[cfg(target_os = "linux")]
    if bytes >= LARGE {
        // SAFETY: the range is an allocation of ours that begins on a page; the advice changes no contents.
        unsafe { libc::madvise(start, bytes & !4095, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_an_error() {
        for len in [1 << 45, usize::MAX / 4 - 64, usize::MAX / 4, usize::MAX] {
            let error = Floats::try_zeroed(len).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{len}");
            assert!(error.to_string().contains("max-pixels"), "{error}");
            assert_eq!(
                try_filled(0.0f64, len).unwrap_err().kind(),
                ErrorKind::OutOfMemory,
                "{len}"
            );
        }
    }

    #[test]
    fn floats_are_zeros_on_a_cache_line() {
        for len in [0, 1, 100, LARGE / 4, LARGE / 4 + 1] {
            let mut floats = Floats::try_zeroed(len).unwrap();
            assert_eq!(floats.len(), len);
            assert!(floats.iter().all(|&v| v == 0.0), "{len}");
            assert!(floats.as_ptr().addr().is_multiple_of(64), "{len}");
            floats.fill(1.0);
        }
        assert_eq!(try_filled(2, 3).unwrap(), [2, 2, 2]);
    }
}
