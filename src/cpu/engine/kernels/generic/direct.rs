//! Direct convolution, row by row: for 1×1 kernels, inputs of a few planes, outputs of a few planes.

#![allow(unsafe_code)]

use super::product::{MAX_CHUNK, Product, Strides, pixels, product};
use super::simd::Simd;
use crate::network::LANES;

/// Computes rows `y0` to `y1` of one chunk of output channels, `width` pixels each.
///
/// # Safety
/// As for [`product`], for all pixels of the rows; no other thread writes them.
#[inline(always)]
pub unsafe fn rows<S: Simd>(a: &Product<'_>, width: usize, y0: usize, y1: usize) {
    let step = pixels::<S>(a.outputs.len());
    for y in y0..y1 {
        for x in (0..width).step_by(step) {
            // SAFETY: guaranteed by the caller.
            unsafe { product::<S>(a, y, x, step.min(width - x)) };
        }
    }
}

/// The same for one block of output channels of which the first go to `planes`, for any input.
///
/// # Safety
/// As for [`rows`], with `a.outputs`, `a.residuals` and `a.gated` left out; `residuals` is empty or has one plane for
/// each output plane.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn rows_to_planes<S: Simd>(
    a: &Product<'_>,
    planes: &[*mut f32],
    output: Strides,
    residuals: &[*const f32],
    residual: Strides,
    width: usize,
    y0: usize,
    y1: usize,
) {
    let step = pixels::<S>(1);
    let mut buffer = [0.0f32; LANES * 16];
    for y in y0..y1 {
        for x in (0..width).step_by(step) {
            let valid = step.min(width - x);
            // SAFETY: the buffer has room for 16 pixels, and the kernel takes at most that many. Its output pointer
            // is moved back by `x` pixels, which the kernel adds again.
            unsafe {
                let outputs = [buffer.as_mut_ptr().wrapping_sub(x * LANES)];
                let args = Product {
                    outputs: &outputs,
                    output: Strides { x: LANES, y: 0 },
                    residuals: &[],
                    slope: 1.0,
                    ..*a
                };
                product::<S>(&args, y, x, valid);
            }
            for (c, &plane) in planes.iter().enumerate() {
                for p in 0..valid {
                    let mut v = buffer[p * LANES + c];
                    // SAFETY: the caller guarantees the planes.
                    unsafe {
                        if !residuals.is_empty() {
                            v += *residuals.get_unchecked(c).add(y * residual.y + (x + p) * residual.x);
                        }
                        *plane.add(y * output.y + (x + p) * output.x) = v.max(v * a.slope);
                    }
                }
            }
        }
    }
}

/// A convolution into a few planes that sums over input channels in vectors: `out[o] = Σ_tap Σ_b Σ_lane in · w`.
#[derive(Clone, Copy)]
pub struct Tail<'a> {
    /// Whole blocks of input channels.
    pub inputs: &'a [*const f32],
    /// Strides of every input block.
    pub input: Strides,
    /// `[tap y][tap x][block][output][16]`
    pub weights: *const f32,
    /// Side of the kernel.
    pub kernel: usize,
    /// One for each output plane.
    pub bias: *const f32,
    /// Output planes, at most [`TAIL_OUTPUTS`].
    pub outputs: &'a [*mut f32],
    /// Strides of every output plane.
    pub output: Strides,
    /// Added before the activation: one for each output plane, or empty.
    pub residuals: &'a [*const f32],
    /// Strides of every residual plane.
    pub residual: Strides,
    /// The activation max(x, slope · x); 1 for none.
    pub slope: f32,
}

/// The most planes that [`tail_rows`] computes.
pub const TAIL_OUTPUTS: usize = MAX_CHUNK;

/// Computes rows `y0` to `y1` of `width` pixels.
///
/// # Safety
/// Pointers and strides cover the rows, inputs with a margin of half a kernel and 16 pixels; no other thread writes the
/// rows.
#[inline(always)]
pub unsafe fn tail_rows<S: Simd>(a: &Tail<'_>, width: usize, y0: usize, y1: usize) {
    // SAFETY: guaranteed by the caller. Accumulators fill the registers: 24 of 32, or 12 of 16.
    unsafe {
        for y in y0..y1 {
            match (S::N, a.outputs.len()) {
                (16, 1) => tail_row::<S, 16, 1>(a, width, y),
                (16, 2) => tail_row::<S, 12, 2>(a, width, y),
                (16, 3) => tail_row::<S, 8, 3>(a, width, y),
                (16, _) => tail_row::<S, 6, 4>(a, width, y),
                (_, 1) => tail_row::<S, 8, 1>(a, width, y),
                (_, 2) => tail_row::<S, 6, 2>(a, width, y),
                (_, 3) => tail_row::<S, 4, 3>(a, width, y),
                _ => tail_row::<S, 3, 4>(a, width, y),
            }
        }
    }
}

#[inline(always)]
unsafe fn tail_row<S: Simd, const P: usize, const O: usize>(a: &Tail<'_>, width: usize, y: usize) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let half = (a.kernel / 2) as isize;
        for x in (0..width).step_by(P) {
            let mut sums = [[S::splat(0.0); O]; P];
            let mut w = a.weights;
            for ky in 0..a.kernel as isize {
                for kx in 0..a.kernel as isize {
                    let (dy, dx) = (y as isize + ky - half, x as isize + kx - half);
                    let offset = dy * a.input.y as isize + dx * a.input.x as isize;
                    for &input in a.inputs {
                        let pixel = input.offset(offset);
                        for lane in (0..LANES).step_by(S::N) {
                            let mut weight = [S::splat(0.0); O];
                            for (o, slot) in weight.iter_mut().enumerate() {
                                *slot = S::load(w.add(o * LANES + lane));
                            }
                            for (p, row) in sums.iter_mut().enumerate() {
                                let d = S::load(pixel.add(p * a.input.x + lane));
                                for (sum, &weight) in row.iter_mut().zip(&weight) {
                                    *sum = S::fma(d, weight, *sum);
                                }
                            }
                        }
                        w = w.add(O * LANES);
                    }
                }
            }
            let mut totals = [[0.0f32; O]; P];
            let (from, to) = (sums.as_flattened(), totals.as_flattened_mut());
            for i in (0..P * O).step_by(4) {
                to[i..i + 4].copy_from_slice(&S::sums([from[i], from[i + 1], from[i + 2], from[i + 3]]));
            }
            for (p, row) in totals.iter().enumerate().take(width - x) {
                for (o, &sum) in row.iter().enumerate() {
                    let mut v = sum + *a.bias.add(o);
                    if !a.residuals.is_empty() {
                        v += *a
                            .residuals
                            .get_unchecked(o)
                            .add(y * a.residual.y + (x + p) * a.residual.x);
                    }
                    *a.outputs.get_unchecked(o).add(y * a.output.y + (x + p) * a.output.x) = v.max(v * a.slope);
                }
            }
        }
    }
}
