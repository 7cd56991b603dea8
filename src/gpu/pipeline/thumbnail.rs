//! The thumbnail of a frame in device memory, by which an automatic ratio is found on the host.

use std::sync::Arc;

use crate::backend::Geometry;
use crate::error::Result;
use crate::frame::FrameSpec;
use crate::gpu::driver::{Buffer, Device, Event, Pinned, Stream};
use crate::gpu::kernels::Storage;

/// The thumbnail's planes on the device and on their way to the host.
pub(crate) struct Thumbnail {
    /// Without padding.
    pub geometry: Geometry,
    /// R'G'B' `[3, h, w]`, 32 bits.
    pub image: Buffer,
    copy: Pinned,
    copied: Event,
    values: Vec<f32>,
}

impl Thumbnail {
    /// `stream` is the one whose work the planes are first written after.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory), and those of the device.
    pub fn new(device: &Arc<dyn Device>, stream: &Arc<Stream>, spec: &FrameSpec) -> Result<Self> {
        let geometry = Geometry::thumbnail(*spec, 1);
        let values = 3 * geometry.working.0 * geometry.working.1;
        let bytes = values * Storage::F32.bytes();
        Ok(Self {
            geometry,
            image: Buffer::new(stream, bytes)?,
            copy: Pinned::new(device, bytes)?,
            copied: Event::new(device, false)?,
            values: Vec::with_capacity(values),
        })
    }

    /// Has the planes sent back after what was issued on `compute`.
    pub fn request(&mut self, compute: &Stream) -> Result<()> {
        self.image.download(compute, &mut self.copy)?;
        self.copied.record(compute)
    }

    /// Waits for the planes that were requested.
    pub fn read(&mut self) -> Result<&[f32]> {
        self.copied.synchronize()?;
        self.values.clear();
        Storage::F32.decode(self.copy.read(), &mut self.values);
        Ok(&self.values)
    }
}
