//! The product kernel that all convolutions share, for a few pixels p in a row:
//!
//! ```text
//! out[p][o] = act(bias[o] + residual[p][o] + Σ_tap Σ_i in[p + tap][i] · w[tap][i][o]) · gated[p][o]
//! ```
//! A convolution has a residual or a gated image or neither, but not both.
//!
//! Activations lie in blocks of 16 channels, pixel by pixel; inputs may also be planes, which are blocks of one
//! channel. Accumulators stay in registers: 6 pixels × 64 channels, 8 × 48, 12 × 32 or 16 × 16 with AVX-512.

#![allow(unsafe_code)]

use super::pointwise::sigmoid;
use super::simd::Simd;
use crate::network::{Gate, LANES};

/// Blocks of one chunk of output channels, at most.
pub const MAX_CHUNK: usize = 4;

/// Divides `blocks` blocks of output channels into chunks of at most `most`, and at most [`MAX_CHUNK`], blocks.
pub fn chunks(most: usize, blocks: usize) -> Vec<usize> {
    let most = most.clamp(1, MAX_CHUNK);
    let count = blocks.div_ceil(most);
    (0..count).map(|i| (blocks - i * most).min(most)).collect()
}

/// The number of pixels that the kernel computes at once for a chunk of `blocks` blocks.
pub const fn pixels<S: Simd>(blocks: usize) -> usize {
    match (S::N, blocks) {
        (16, 1) => 16,
        (16, 2) => 12,
        (16, 3) => 8,
        (16, _) => 6,
        (8, _) => 6,
        // aarch64 has 32 registers, others 16.
        _ => {
            if cfg!(target_arch = "aarch64") {
                6
            } else {
                2
            }
        }
    }
}

/// Pixels of one channel block, or of one plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strides {
    /// Floats from a pixel to the next in its row.
    pub x: usize,
    /// Floats from a row to the next.
    pub y: usize,
}

/// Where the operands of a chunk lie. Pointers point to the pixel (0, 0) of the image.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// The first channel of each input block.
    pub inputs: &'a [*const f32],
    /// Strides of every input block.
    pub input: Strides,
    /// Channels in every input block: 16, or 1 for planes.
    pub lanes: usize,
    /// Channels in the last input block.
    pub last_lanes: usize,
    /// `[tap y][tap x][input channel][output channel of the chunk]`
    pub weights: *const f32,
    /// Side of the kernel.
    pub kernel: usize,
    /// One for each output channel of the chunk; none if null.
    pub bias: *const f32,
    /// The first channel of each output block of the chunk.
    pub outputs: &'a [*mut f32],
    /// Strides of every output block.
    pub output: Strides,
    /// Added before the activation: one for each output block, or empty.
    pub residuals: &'a [*const f32],
    /// Strides of every residual block.
    pub residual: Strides,
    /// The activation max(x, slope · x); 1 for none.
    pub slope: f32,
    /// Blocks that the results are multiplied by after the activation: one for each output block, or empty.
    pub gated: &'a [*const f32],
    /// Strides of every such block.
    pub gated_strides: Strides,
    /// With `gated`: the activation.
    pub gate: Gate,
}

/// Calls a function of `S`, pixels and vectors with those that the registers of `S` hold for a chunk of so many blocks;
/// the pixels are those of [`pixels`].
///
/// What does not suit `S` is not compiled: its constant is compared by itself.
macro_rules! for_chunk {
    ($blocks:expr, $function:ident($($argument:expr),*)) => {
        match S::N {
            16 => match $blocks {
                1 => $function::<S, 16, 1>($($argument),*),
                2 => $function::<S, 12, 2>($($argument),*),
                3 => $function::<S, 8, 3>($($argument),*),
                _ => $function::<S, 6, 4>($($argument),*),
            },
            8 => $function::<S, 6, 2>($($argument),*),
            _ if cfg!(target_arch = "aarch64") => $function::<S, 6, 4>($($argument),*),
            _ => $function::<S, 2, 4>($($argument),*),
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use for_chunk;

/// Computes `valid` pixels of row `y` from `x` on, at most [`pixels`] of them.
///
/// # Safety
/// Pointers and strides cover the pixels, inputs with a margin of half a kernel around all [`pixels`] pixels; the
/// processor has the features of `S`.
#[inline(always)]
pub unsafe fn product<S: Simd>(a: &Product<'_>, y: usize, x: usize, valid: usize) {
    // SAFETY: guaranteed by the caller.
    unsafe { for_chunk!(a.outputs.len(), block(a, y, x, valid)) }
}

/// Computes [`pixels`] pixels of row 0 from `x` on, which are sums of products and nothing else: inputs and outputs lie
/// pixel by pixel, and bias, residuals, activation and gate are left out.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
pub unsafe fn products_alone<S: Simd>(a: &Product<'_>, x: usize) {
    // SAFETY: guaranteed by the caller.
    unsafe { for_chunk!(a.outputs.len(), sums(a, x)) }
}

/// [`products_alone`] for `P` pixels and `V` vectors of output channels.
#[inline(always)]
unsafe fn sums<S: Simd, const P: usize, const V: usize>(a: &Product<'_>, x: usize) {
    // SAFETY: as for `product`.
    unsafe {
        let mut acc = [[S::splat(0.0); V]; P];
        accumulate::<S, P, V, LANES>(a, 0, x, &mut acc);
        let outputs = vectors::<S, V>(constant(a.outputs), a.output, 0, x);
        for (p, row) in acc.iter().enumerate() {
            for v in 0..V {
                S::store(outputs[v].add(p * LANES).cast_mut(), row[v]);
            }
        }
    }
}

/// The kernel for `P` pixels and `V` vectors of output channels.
#[inline(always)]
unsafe fn block<S: Simd, const P: usize, const V: usize>(a: &Product<'_>, y: usize, x: usize, valid: usize) {
    // SAFETY: as for `product`.
    unsafe {
        let mut acc = [[S::splat(0.0); V]; P];
        if !a.bias.is_null() {
            for v in 0..V {
                let b = S::load(a.bias.add(v * S::N));
                for row in &mut acc {
                    row[v] = b;
                }
            }
        }
        match a.input.x {
            16 => accumulate::<S, P, V, 16>(a, y, x, &mut acc),
            32 => accumulate::<S, P, V, 32>(a, y, x, &mut acc),
            _ => accumulate::<S, P, V, 0>(a, y, x, &mut acc),
        }
        finish::<S, P, V>(a, y, x, valid, &acc);
    }
}

/// Where the vectors of a pixel lie in `blocks`, from pixel (x, y) on.
#[inline(always)]
unsafe fn vectors<S: Simd, const V: usize>(
    blocks: &[*const f32],
    strides: Strides,
    y: usize,
    x: usize,
) -> [*const f32; V] {
    let mut found = [std::ptr::null(); V];
    for (v, slot) in found.iter_mut().enumerate() {
        // SAFETY: there are as many blocks as `V` vectors fill, and they cover the pixel.
        unsafe {
            let block = blocks.get_unchecked(v * S::N / LANES);
            *slot = block.add(y * strides.y + x * strides.x + v * S::N % LANES);
        }
    }
    found
}

/// Residual, activation and gate of the sums, which go to the outputs.
///
/// The usual combinations have loops of their own, through which the sums stay in registers. Pointers are found before
/// the first result is stored: after it, the compiler would have to load them again.
#[inline(always)]
unsafe fn finish<S: Simd, const P: usize, const V: usize>(
    a: &Product<'_>,
    y: usize,
    x: usize,
    valid: usize,
    acc: &[[S::V; V]; P],
) {
    /// Stores an expression of a sum and the vectors of other images at its place. A macro, since features do not reach
    /// into closures.
    macro_rules! store {
        ($outputs:ident, |$sum:ident $(, $other:ident: $from:ident[$step:expr])*| $value:expr) => {
            for (p, row) in acc.iter().enumerate() {
                if p >= valid {
                    break;
                }
                for v in 0..V {
                    let $sum = row[v];
                    $(let $other = S::load($from[v].add(p * $step));)*
                    S::store($outputs[v].add(p * a.output.x).cast_mut(), $value);
                }
            }
        };
    }
    // SAFETY: as for `product`.
    unsafe {
        let outputs = vectors::<S, V>(constant(a.outputs), a.output, y, x);
        let (zero, slope) = (S::splat(0.0), S::splat(a.slope));
        match (a.residuals.is_empty(), a.gated.is_empty()) {
            (true, true) if a.slope == 1.0 => store!(outputs, |sum| sum),
            (true, true) if a.slope == 0.0 => store!(outputs, |sum| S::max(sum, zero)),
            (true, true) => store!(outputs, |sum| S::max(sum, S::mul(sum, slope))),
            (false, true) => {
                let from = vectors::<S, V>(a.residuals, a.residual, y, x);
                if a.slope == 0.0 {
                    store!(outputs, |sum, r: from[a.residual.x]| S::max(S::add(sum, r), zero));
                } else {
                    store!(outputs, |sum, r: from[a.residual.x]| {
                        let sum = S::add(sum, r);
                        S::max(sum, S::mul(sum, slope))
                    });
                }
            }
            // A gate has no residual.
            (_, false) => {
                let from = vectors::<S, V>(a.gated, a.gated_strides, y, x);
                let step = a.gated_strides.x;
                match a.gate {
                    Gate::Slope => store!(outputs, |sum, g: from[step]| S::mul(S::max(sum, S::mul(sum, slope)), g)),
                    Gate::Sigmoid => store!(outputs, |sum, g: from[step]| S::mul(sigmoid::<S>(sum), g)),
                    Gate::Clip(low, high) => {
                        let (low, high) = (S::splat(low), S::splat(high));
                        store!(outputs, |sum, g: from[step]| S::mul(S::min(S::max(sum, low), high), g));
                    }
                }
            }
        }
    }
}

/// The same pointers, for reading.
#[inline(always)]
pub fn constant(pointers: &[*mut f32]) -> &[*const f32] {
    // SAFETY: pointers to mutable and to constant floats have the same layout.
    unsafe { std::slice::from_raw_parts(pointers.as_ptr().cast(), pointers.len()) }
}

/// Adds all products; `X` is the pixel stride of the inputs, 0 if it is known at run time only.
#[inline(always)]
unsafe fn accumulate<S: Simd, const P: usize, const V: usize, const X: usize>(
    a: &Product<'_>,
    y: usize,
    x: usize,
    acc: &mut [[S::V; V]; P],
) {
    // SAFETY: as for `product`.
    unsafe {
        let step = if X > 0 { X } else { a.input.x };
        let mut sums = *acc;
        let mut w = a.weights;
        let half = (a.kernel / 2) as isize;
        for ky in 0..a.kernel as isize {
            for kx in 0..a.kernel as isize {
                let (dy, dx) = (y as isize + ky - half, x as isize + kx - half);
                let offset = dy * a.input.y as isize + dx * step as isize;
                for (i, &input) in a.inputs.iter().enumerate() {
                    let lanes = if i + 1 == a.inputs.len() { a.last_lanes } else { a.lanes };
                    let mut pixel = input.offset(offset);
                    for _ in 0..lanes {
                        let mut weight = [S::splat(0.0); V];
                        for (v, slot) in weight.iter_mut().enumerate() {
                            *slot = S::load(w.add(v * S::N));
                        }
                        for (p, row) in sums.iter_mut().enumerate() {
                            let b = S::splat(*pixel.add(p * step));
                            for (sum, &weight) in row.iter_mut().zip(&weight) {
                                *sum = S::fma(b, weight, *sum);
                            }
                        }
                        w = w.add(V * S::N);
                        pixel = pixel.add(1);
                    }
                }
            }
        }
        *acc = sums;
    }
}
