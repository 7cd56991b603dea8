//! The product kernel that all convolutions share:
//! `out[p][o] = act(bias[o] + residual[p][o] + Σ_tap Σ_i in[p + tap][i] · w[tap][i][o])` for a few pixels p in a row.
//!
//! Activations lie in blocks of 16 channels, pixel by pixel; inputs may also be planes, which are blocks of one
//! channel. Accumulators stay in registers: 6 pixels × 64 channels, 8 × 48, 12 × 32 or 16 × 16 with AVX-512.

#![allow(unsafe_code)]

use super::vector::Simd;
use crate::simd::Level;

/// Channels in a block.
pub const LANES: usize = 16;
/// Blocks of one chunk of output channels, at most.
pub const MAX_CHUNK: usize = 4;

/// How wide the chunks are into which `blocks` blocks of output channels are cut.
pub fn chunks(level: Level, blocks: usize) -> Vec<usize> {
    let most = if level == Level::Avx512 { MAX_CHUNK } else { 1 };
    let count = blocks.div_ceil(most);
    (0..count).map(|i| (blocks - i * most).min(most)).collect()
}

/// How many pixels the kernel computes at once for a chunk of `blocks` blocks.
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
#[derive(Debug, Clone, Copy)]
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
}

/// Computes `valid` pixels of row `y` from `x` on, at most [`pixels`] of them.
///
/// # Safety
/// Pointers and strides cover the pixels, inputs with a margin of half a kernel around all [`pixels`] pixels; the
/// processor has the features of `S`.
#[inline(always)]
pub unsafe fn product<S: Simd>(a: &Product<'_>, y: usize, x: usize, valid: usize) {
    // SAFETY: the caller's word; the constants are those of `pixels`.
    unsafe {
        match (S::N, a.outputs.len()) {
            (16, 1) => block::<S, 16, 1>(a, y, x, valid),
            (16, 2) => block::<S, 12, 2>(a, y, x, valid),
            (16, 3) => block::<S, 8, 3>(a, y, x, valid),
            (16, _) => block::<S, 6, 4>(a, y, x, valid),
            (8, _) => block::<S, 6, 2>(a, y, x, valid),
            _ if cfg!(target_arch = "aarch64") => block::<S, 6, 4>(a, y, x, valid),
            _ => block::<S, 2, 4>(a, y, x, valid),
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
        let slope = S::splat(a.slope);
        for (p, row) in acc.iter().enumerate() {
            if p >= valid {
                break;
            }
            for (v, &sum) in row.iter().enumerate() {
                let (b, lane) = (v * S::N / LANES, v * S::N % LANES);
                let mut sum = sum;
                if !a.residuals.is_empty() {
                    let r = a
                        .residuals
                        .get_unchecked(b)
                        .add(y * a.residual.y + (x + p) * a.residual.x + lane);
                    sum = S::add(sum, S::load(r));
                }
                let out = a
                    .outputs
                    .get_unchecked(b)
                    .add(y * a.output.y + (x + p) * a.output.x + lane);
                S::store(out, S::max(sum, S::mul(sum, slope)));
            }
        }
    }
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
