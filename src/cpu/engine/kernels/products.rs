//! Kernels for the products inside Winograd's filtering, which are most of a network's work, in number formats other
//! than 32-bit floats. Each is an object, made only where the processor has what it needs.

#![allow(unsafe_code)]

use super::generic::Winograd;
use crate::cpu::memory::Floats;
use crate::error::Result;
use crate::network::Filter;
use crate::pack::Precision;

/// The weights of one convolution, in the format and order of the kernel that packed them.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub struct PackedProducts {
    /// Transformed weights: memory for numbers of any format.
    pub weights: Floats,
    /// `[point][output channel]`: the factor by which the format's products become those of the weights.
    pub steps: Floats,
    /// One for each output channel.
    pub bias: Floats,
    /// Blocks of output channels in each chunk.
    pub chunks: Vec<usize>,
}

/// Winograd's filtering with products in one number format.
///
/// # Safety
/// A value of an implementation exists only where the processor has the extensions that its methods are compiled for.
pub unsafe trait ProductKernel: Send + Sync {
    /// The instruction set.
    fn name(&self) -> &'static str;

    /// The number format.
    fn precision(&self) -> Precision;

    /// Packs transformed weights; `weight(point, input, output)` gives them. Input channels are whole blocks.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
    fn pack(
        &self,
        filter: &Filter,
        points: usize,
        weight: &dyn Fn(usize, usize, usize) -> f32,
    ) -> Result<PackedProducts>;

    /// Computes one strip. `factors`, if not null, has one for each input channel, which inputs are multiplied by.
    /// `w.weights` is not used.
    ///
    /// # Safety
    /// As for [`FloatKernels::strip`](super::floats::FloatKernels::strip); `packed` was packed by this kernel for the
    /// convolution that `w` describes.
    unsafe fn strip(
        &self,
        w: &Winograd<'_>,
        packed: &PackedProducts,
        factors: *const f32,
        index: usize,
        scratch: *mut f32,
    );
}
