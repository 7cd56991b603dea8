//! What the pipeline asks of a GPU, in the driver's terms: streams, events, memory, launches, capture.
//!
//! `cuda` implements it with the driver; tests have implementations that need no GPU.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::error::Result;
use crate::gpu::kernels::Launch;

/// A stream: operations on it run in the order in which they were issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StreamHandle(pub usize);

/// A point in a stream that another stream, or the host, can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EventHandle(pub usize);

/// A captured graph that can be launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct GraphHandle(pub usize);

/// Page-locked host memory: the only kind that copies run beside. Freed when it is dropped, with the context current.
pub(crate) trait PinnedMemory: Send {
    /// The bytes. No copy from the device is under way.
    fn read(&self) -> &[u8];
    /// The bytes. No copy from or to the device is under way.
    fn write(&mut self) -> &mut [u8];
    /// Where the bytes are, for copies.
    fn start(&self) -> *mut u8;
}

/// One GPU with one context.
///
/// Handles and addresses belong to the device that gave them. Every call but `enter` and `leave` is made between
/// those two. Nothing waits for the GPU but `synchronize`.
pub(crate) trait Device: Send + Sync {
    /// Makes the context the thread's current one, over whatever was current.
    fn enter(&self) -> Result<()>;
    /// Gives the thread the context back that it had before.
    fn leave(&self);

    fn create_stream(&self) -> Result<StreamHandle>;
    fn destroy_stream(&self, stream: StreamHandle);
    /// An event; only a `timed` one can be asked for the time between it and another.
    fn create_event(&self, timed: bool) -> Result<EventHandle>;
    fn destroy_event(&self, event: EventHandle);

    /// Device memory of `bytes`, aligned to 256, zeroed before anything issued on `stream` afterwards.
    fn allocate(&self, stream: StreamHandle, bytes: usize) -> Result<u64>;
    /// Gives it back once all that was issued on `stream` before is done.
    fn free(&self, stream: StreamHandle, address: u64);
    /// Page-locked host memory of `bytes`, zeroed.
    fn allocate_pinned(&self, bytes: usize) -> Result<Box<dyn PinnedMemory>>;

    /// Copies `bytes` from page-locked memory at `from`.
    ///
    /// # Safety
    /// Both ranges are inside allocations of this device that live, and the host's is not written, until the copy is
    /// done.
    unsafe fn upload(&self, stream: StreamHandle, to: u64, from: *const u8, bytes: usize) -> Result<()>;
    /// Copies `bytes` to page-locked memory at `to`.
    ///
    /// # Safety
    /// As [`Device::upload`]; the host's range is not read either.
    unsafe fn download(&self, stream: StreamHandle, to: *mut u8, from: u64, bytes: usize) -> Result<()>;
    /// Copies `bytes` within the device's memory.
    ///
    /// # Safety
    /// Both ranges are inside allocations of this device that live until the copy is done, and do not overlap.
    unsafe fn copy(&self, stream: StreamHandle, to: u64, from: u64, bytes: usize) -> Result<()>;

    /// Runs a kernel of the shipped modules.
    ///
    /// # Safety
    /// The launch is one that this library's launchers made for memory of this device that lives until it is done.
    unsafe fn launch(&self, stream: StreamHandle, launch: &Launch) -> Result<()>;

    fn record(&self, event: EventHandle, stream: StreamHandle) -> Result<()>;
    fn wait(&self, stream: StreamHandle, event: EventHandle) -> Result<()>;
    /// Blocks the host until the event has happened.
    fn synchronize(&self, event: EventHandle) -> Result<()>;
    /// Milliseconds between two timed events that have happened.
    fn elapsed(&self, from: EventHandle, to: EventHandle) -> Result<f32>;

    /// From here on what is issued on `stream`, and on streams that wait for it, is recorded and not run.
    fn begin_capture(&self, stream: StreamHandle) -> Result<()>;
    /// What was recorded since, ready to be launched.
    fn end_capture(&self, stream: StreamHandle) -> Result<GraphHandle>;
    fn launch_graph(&self, graph: GraphHandle, stream: StreamHandle) -> Result<()>;
    fn destroy_graph(&self, graph: GraphHandle);

    /// Bytes of device memory that are free.
    fn free_memory(&self) -> Result<u64>;
}

/// The time for which a device's context is the thread's current one.
pub(crate) struct Entered<'a>(&'a dyn Device);

impl<'a> Entered<'a> {
    pub fn new(device: &'a Arc<dyn Device>) -> Result<Self> {
        device.enter()?;
        Ok(Self(&**device))
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}
