//! Counts what a thread allocates, for tests that nothing is allocated for a frame.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    /// How many of [`Uncounted`] live.
    static PAUSES: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    if PAUSES.get() == 0 {
        COUNT.set(COUNT.get() + 1);
    }
}

// SAFETY: all is the system's allocator's; the counters are plain numbers, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: passed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: passed on to the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: passed on to the caller.
        unsafe { System.realloc(start, layout, bytes) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { System.dealloc(start, layout) }
    }
}

/// How often this thread has allocated memory so far.
pub(crate) fn allocations() -> usize {
    COUNT.get()
}

/// While it lives, what this thread allocates is not counted: for what stands in for a device.
pub(crate) struct Uncounted(());

impl Uncounted {
    pub fn new() -> Self {
        PAUSES.set(PAUSES.get() + 1);
        Self(())
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        PAUSES.set(PAUSES.get() - 1);
    }
}

#[test]
fn allocations_are_counted_unless_that_is_paused() {
    let before = allocations();
    let mut kept = vec![1];
    assert_eq!(allocations() - before, 1);
    {
        let _uncounted = Uncounted::new();
        kept.extend([2; 100]);
    }
    assert_eq!(allocations() - before, 1);
    kept.extend([3; 1000]);
    assert_eq!(allocations() - before, 2);
}
