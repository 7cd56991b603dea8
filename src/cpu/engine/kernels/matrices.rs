//! Convolutions as products of matrices in 16-bit floating point, for processors with a unit that multiplies small
//! matrices. Each kernel is an object, made only where the processor has what it needs.
//!
//! ```text
//! out[pixel][o] = act(bias[o] + residual[pixel][o] + Σ_tap Σ_i in[pixel + tap][i] · w[tap][i][o]) · gated[pixel][o]
//! ```
//! Inputs lie in units of 32 channels, a pixel's channels side by side, so that 16 neighbouring pixels of a unit are a
//! matrix, whichever tap reads them. A unit has the strides of a block of 16 floats, since its numbers have half the size.
//! Channels behind the last one are zeros.

#![allow(unsafe_code)]

use super::generic::Strides;
use crate::cpu::memory::Floats;
use crate::error::Result;
use crate::network::{Filter, Gate};
use crate::pack::Precision;

/// The weights of one convolution, in the format and order of the kernel that packed them.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub struct PackedMatrices {
    /// Memory for numbers of any format.
    pub weights: Floats,
    /// One for each output channel, zeros behind the last.
    pub bias: Floats,
}

/// A convolution of one frame. Pointers point to pixel (0, 0) of the first channel of their unit, block or plane.
///
/// The results go to blocks, to units in 16-bit floating point, to both, or to planes.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub struct MatrixConv<'a> {
    /// Side of the kernel.
    pub kernel: usize,
    /// Units of input channels in 16-bit floating point, with zeros around the frame.
    pub inputs: &'a [*const f32],
    /// Strides of every input unit.
    pub input: Strides,
    /// The weights.
    pub packed: &'a PackedMatrices,
    /// Output channels.
    pub channels: usize,
    /// Blocks of output channels, or empty.
    pub blocks: &'a [*mut f32],
    /// Strides of every output block.
    pub block: Strides,
    /// Units of output channels in 16-bit floating point, or empty.
    pub units: &'a [*mut f32],
    /// Strides of every output unit.
    pub unit: Strides,
    /// Output planes, at most 16, or empty. Their pixels are neighbours in memory.
    pub planes: &'a [*mut f32],
    /// Strides of every output plane.
    pub plane: Strides,
    /// Added before the activation: blocks, or planes where the output is planes, or empty.
    pub residuals: &'a [*const f32],
    /// Strides of every residual block or plane.
    pub residual: Strides,
    /// The activation max(x, slope · x); 1 for none.
    pub slope: f32,
    /// Blocks that the results are multiplied by after the activation, or empty.
    pub gated: &'a [*const f32],
    /// Strides of every such block.
    pub gated_strides: Strides,
    /// With `gated`: the activation.
    pub gate: Gate,
}

/// Blocks of 32-bit floats that become units in 16-bit floating point. Pointers as in [`MatrixConv`].
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub struct Rounding<'a> {
    /// Blocks of 16 channels.
    pub inputs: &'a [*const f32],
    /// Strides of every block.
    pub input: Strides,
    /// Factors, one for each channel and for what fills the last block, or null.
    pub factors: *const f32,
    /// Units of 32 channels.
    pub outputs: &'a [*mut f32],
    /// Strides of every unit.
    pub output: Strides,
    /// Channels; what lies behind them in the last block is not read as a number, and becomes zeros.
    pub channels: usize,
}

/// Convolutions by products of matrices in one number format.
///
/// # Safety
/// A value of an implementation exists only where the processor has the extensions that its methods are compiled for, and
/// where the operating system lets the process use them.
pub unsafe trait MatrixKernel: Send + Sync {
    /// The instruction set.
    fn name(&self) -> &'static str;

    /// The number format.
    fn precision(&self) -> Precision;

    /// Packs weights.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
    fn pack(&self, filter: &Filter) -> Result<PackedMatrices>;

    /// Floats of scratch memory that [`rows`](Self::rows) needs, for a kernel of that side and so many input units.
    fn scratch_len(&self, side: usize, units: usize) -> usize;

    /// Computes rows `y0` to `y1` of `width` pixels.
    ///
    /// # Safety
    /// Pointers and strides cover the rows, inputs with a margin of half a kernel, and 64 pixels more behind the last row;
    /// `scratch` begins on a cache line and holds [`scratch_len`](Self::scratch_len) floats; the weights were packed by
    /// this kernel for this convolution; no other thread writes the rows or the scratch memory.
    unsafe fn rows(&self, a: &MatrixConv<'_>, width: usize, y0: usize, y1: usize, scratch: *mut f32);

    /// Rounds rows `y0` to `y1` of `width` pixels.
    ///
    /// # Safety
    /// Pointers and strides cover the rows; no other thread writes them.
    unsafe fn round_rows(&self, a: &Rounding<'_>, width: usize, y0: usize, y1: usize);
}
