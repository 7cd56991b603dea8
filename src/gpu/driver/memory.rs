//! Memory that goes back when its owner does: on the device, and page-locked on the host.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::error::Result;
use crate::gpu::driver::device::{Device, Entered, PinnedMemory};
use crate::gpu::driver::stream::Stream;

/// Device memory.
pub(crate) struct Buffer {
    stream: Arc<Stream>,
    address: u64,
    bytes: usize,
}

impl Buffer {
    /// Zeroed memory of `bytes`, usable on `stream` at once, and on others after an event of it.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory), which says how much was asked for and is free.
    pub fn new(stream: &Arc<Stream>, bytes: usize) -> Result<Self> {
        let _entered = Entered::new(stream.device())?;
        Ok(Self {
            address: stream.device().allocate(stream.handle(), bytes)?,
            stream: stream.clone(),
            bytes,
        })
    }

    pub fn address(&self) -> u64 {
        self.address
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies all of it to `to`, which is no shorter, after what was issued on `stream` before.
    pub fn download(&self, stream: &Stream, to: &mut Pinned) -> Result<()> {
        assert!(self.bytes <= to.bytes, "{} into {} bytes", self.bytes, to.bytes);
        // SAFETY: the lengths have been compared; both owners outlive the copy, because they wait for it before they
        // free (`Buffer` frees in stream order, `Pinned` is dropped after its slot's last event has been waited for).
        unsafe {
            self.stream
                .device()
                .download(stream.handle(), to.start(), self.address, self.bytes)
        }
    }

    /// Copies all of `from`, another buffer and no longer, after what was issued on `stream` before.
    pub fn copy(&self, stream: &Stream, from: &Buffer) -> Result<()> {
        assert!(from.bytes <= self.bytes, "{} into {} bytes", from.bytes, self.bytes);
        // SAFETY: the lengths have been compared; two buffers do not overlap, and free in stream order.
        unsafe {
            self.stream
                .device()
                .copy(stream.handle(), self.address, from.address, from.bytes)
        }
    }

    /// Copies all of `from`, which is no longer, after what was issued on `stream` before.
    pub fn upload(&self, stream: &Stream, from: &Pinned) -> Result<()> {
        assert!(from.bytes <= self.bytes, "{} into {} bytes", from.bytes, self.bytes);
        // SAFETY: as in `download`; whoever writes `from` next waits for an event after this copy first.
        unsafe {
            self.stream
                .device()
                .upload(stream.handle(), self.address, from.start(), from.bytes)
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Ok(_entered) = Entered::new(self.stream.device()) {
            self.stream.device().free(self.stream.handle(), self.address);
        }
    }
}

/// Page-locked host memory.
pub(crate) struct Pinned {
    device: Arc<dyn Device>,
    /// `None` while it is dropped.
    memory: Option<Box<dyn PinnedMemory>>,
    bytes: usize,
}

impl Pinned {
    /// Zeroed memory of `bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(device: &Arc<dyn Device>, bytes: usize) -> Result<Self> {
        let _entered = Entered::new(device)?;
        Ok(Self {
            memory: Some(device.allocate_pinned(bytes)?),
            device: device.clone(),
            bytes,
        })
    }

    fn start(&self) -> *mut u8 {
        self.memory
            .as_ref()
            .map_or(std::ptr::null_mut(), |memory| memory.start())
    }

    /// The bytes. No copy from the device is under way.
    pub fn read(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| memory.read())
    }

    /// The bytes. No copy is under way.
    pub fn write(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], |memory| memory.write())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Ok(_entered) = Entered::new(&self.device) {
            self.memory = None;
        }
    }
}
