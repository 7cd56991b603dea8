//! The seam between the pipeline and what runs the networks: four networks in device memory.
#![allow(unsafe_code)]

use crate::backend::PreparationJob;
use crate::error::Result;
use crate::gpu::driver::StreamHandle;
use crate::gpu::kernels::Storage;
use crate::pack::{Precision, Precisions, Subnetwork};

/// A subnetwork's execution context: one use at a time.
pub(crate) trait Inference: Send {
    /// Fixes an input's shape, NCHW.
    fn shape(&mut self, name: &'static str, shape: [usize; 4]) -> Result<()>;

    /// Sets where an input or output is in device memory.
    fn address(&mut self, name: &'static str, address: u64) -> Result<()>;

    /// Bytes of scratch memory on the device, for the shapes fixed.
    fn scratch_bytes(&mut self) -> Result<usize>;

    /// Sets the scratch memory, aligned to 256 bytes.
    ///
    /// # Safety
    /// The memory lives, and nothing else uses it at the same time, for as long as this runs.
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
    /// The number format of each subnetwork's arithmetic.
    pub precisions: Precisions,
}

impl Loaded {
    /// The type of their inputs and outputs, the same for all.
    pub fn storage(&self) -> Storage {
        match self.precisions.planes() {
            Precision::Fp16 => Storage::F16,
            Precision::Fp32 | Precision::Bfp16 | Precision::Bf16 => Storage::F32,
        }
    }
}

/// Where networks come from.
pub(crate) trait Source: Send {
    /// The name of the backend that users see.
    fn name(&self) -> &'static str;

    /// Networks for planes of `padded` pixels. The device's context is the thread's current one, here and where they
    /// are dropped.
    fn load(&mut self, padded: (usize, usize)) -> Result<Loaded>;

    /// The work that [`load`](Self::load) would wait for, if any.
    fn preparation(&self, _padded: (usize, usize)) -> Option<PreparationJob> {
        None
    }
}

/// The index of a subnetwork's context.
pub(crate) const fn index(which: Subnetwork) -> usize {
    which as usize
}
