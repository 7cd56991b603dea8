//! Device memory for programs that have none of their own.

use crate::error::Result;
use crate::frame::{DeviceFrame, Frame, FrameMut, FrameSpec};

/// Identifies a device and its context within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId(pub(crate) usize);

/// Memory for one frame on a backend's device, zeroed when it is made.
pub trait DeviceBuffer: Send {
    /// What the frame is.
    fn spec(&self) -> &FrameSpec;

    /// The device that the memory is of.
    fn device(&self) -> DeviceId;

    /// The frame's planes, valid for as long as the buffer lives.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`](crate::ErrorKind::InvalidFrame) if the planes cannot hold the frame.
    fn frame(&self) -> Result<DeviceFrame>;

    /// Copies a frame of system memory to the device, and waits for the copy.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`](crate::ErrorKind::InvalidFrame) for a frame of another kind,
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory),
    /// [`ErrorKind::BackendFailed`](crate::ErrorKind::BackendFailed).
    fn upload(&mut self, frame: &Frame<'_>) -> Result<()>;

    /// Copies the frame on the device to system memory, and waits for the copy.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    fn download(&mut self, frame: &mut FrameMut<'_>) -> Result<()>;
}
