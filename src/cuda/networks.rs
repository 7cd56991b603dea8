//! The seam between the backend and TensorRT: four networks in device memory, whoever runs them.
#![allow(unsafe_code)]

use super::device::StreamHandle;
use super::engines::EngineJob;
use super::launch::Storage;
use crate::error::Result;
use crate::pack::{Precision, Precisions, Subnetwork};

/// A subnetwork's execution context: one stream of frames, one use at a time.
pub(crate) trait Inference: Send {
    /// Fixes an input's shape, NCHW.
    fn shape(&mut self, name: &'static str, shape: [usize; 4]) -> Result<()>;

    /// Says where an input or output is in device memory.
    fn address(&mut self, name: &'static str, address: u64) -> Result<()>;

    /// Bytes of device memory that it works in, for the shapes fixed.
    fn scratch_bytes(&mut self) -> Result<usize>;

    /// Gives it that memory, aligned to 256 bytes.
    ///
    /// # Safety
    /// It lives, and nobody else uses it at the same time, for as long as this runs.
    unsafe fn lend(&mut self, address: u64, bytes: usize) -> Result<()>;

    /// Puts one run on `stream`.
    ///
    /// # Safety
    /// All inputs and outputs lie in live device memory of the shapes fixed.
    unsafe fn enqueue(&mut self, stream: StreamHandle) -> Result<()>;
}

/// The networks of a pack, ready for planes of one size.
pub(crate) struct Loaded {
    /// In the order of [`Subnetwork::ALL`].
    pub contexts: Vec<Box<dyn Inference>>,
    /// What they work in.
    pub precisions: Precisions,
}

impl Loaded {
    /// The type of their inputs and outputs, the same for all.
    pub fn storage(&self) -> Storage {
        match self.precisions.planes() {
            Precision::Fp32 => Storage::F32,
            Precision::Fp16 => Storage::F16,
        }
    }
}

/// Where networks come from: engines in a cache, built if they are not there, or in tests a recorder.
pub(crate) trait Source: Send {
    /// Networks for planes of `padded` pixels. The device's context is the thread's current one, here and where they
    /// are dropped.
    fn load(&mut self, padded: (usize, usize)) -> Result<Loaded>;

    /// What has to be done first, and takes long, if anything does.
    fn job(&self, _padded: (usize, usize)) -> Option<EngineJob> {
        None
    }
}

/// The index of a subnetwork's context.
pub(super) const fn index(which: Subnetwork) -> usize {
    which as usize
}
