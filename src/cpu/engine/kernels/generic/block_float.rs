//! Winograd's filtering with products in 16-bit block floating point (`precision=bfp16`).
//!
//! In block floating point a block of numbers shares one factor, and each number is a 16-bit integer times that factor:
//!
//! ```text
//! input[b][t] ≈ i16 · step            one step for all inputs of a strip of tiles
//! weight[p][i][o] ≈ i16 · steps[p][o] one step for each point p and output channel o
//! Σ_i input · weight ≈ (Σ_i i16 · i16) · step · steps[p][o]
//! ```
//! Sums are 32-bit integers. Both transforms of the filtering are in 32-bit floats.

#![allow(unsafe_code)]

use super::points::{Five, Points, TILE, Three};
use super::product::{chunks, for_chunk};
use super::simd::Simd;
use super::winograd::{POINT, Run, Runs, STRIP, ValueFormat, Winograd, block_stride, transform_all_out, transform_in};
use crate::cpu::engine::kernels::products::PackedProducts;
use crate::cpu::memory::Floats;
use crate::error::Result;
use crate::network::{Filter, LANES};

/// The sum of the magnitudes of a point's weights for one output channel. Inputs of half the largest magnitude in
/// every channel, all of one sign, then just fit in a 32-bit sum; what does not is limited to the largest that does.
const LARGEST_SUM: f32 = (1 << 17) as f32;

/// A strip whose largest magnitude is below this counts as zeros, so that the factor of every strip is finite.
const LEAST_MAGNITUDE: f32 = 1e-30;

/// Vectors with what block floating point needs of integers.
///
/// # Safety
/// As for [`Simd`].
pub trait IntegerProducts: Simd {
    /// A register of [`N`](Simd::N) 32-bit integers, or as many pairs of 16-bit integers.
    type I: Copy;

    /// Magnitudes.
    unsafe fn abs(v: Self::V) -> Self::V;
    /// The largest lane.
    unsafe fn largest(v: Self::V) -> f32;
    /// Stores the nearest 16-bit integers.
    unsafe fn store_i16(p: *mut i16, v: Self::V);
    /// Sums of zero.
    unsafe fn zero() -> Self::I;
    /// Pairs from memory, of which `p` points to the first.
    unsafe fn load_pairs(p: *const f32) -> Self::I;
    /// The pair at `p` in all lanes.
    unsafe fn splat_pair(p: *const i16) -> Self::I;
    /// `sum + a₀·b₀ + a₁·b₁`, limited to 32 bits.
    unsafe fn add_products(sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// Sums as floats.
    unsafe fn to_floats(sum: Self::I) -> Self::V;
}

/// Packs transformed weights, which `weight(point, input, output)` gives, in chunks of at most `chunk_blocks` blocks:
/// for each chunk `[point][pair of input channels][output channel][2]`. Input channels are whole blocks.
///
/// # Errors
/// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
pub fn pack(
    chunk_blocks: usize,
    filter: &Filter,
    points: usize,
    weight: &dyn Fn(usize, usize, usize) -> f32,
) -> Result<PackedProducts> {
    let (inputs, outputs) = (filter.inputs, filter.outputs.next_multiple_of(LANES));
    let chunks = chunks(chunk_blocks, outputs / LANES);
    let weight = |p: usize, i: usize, o: usize| if o < filter.outputs { weight(p, i, o) } else { 0.0 };
    let mut steps = Floats::try_zeroed(points * outputs)?;
    for p in 0..points {
        for o in 0..outputs {
            let magnitudes = (0..inputs).map(|i| weight(p, i, o).abs());
            let (largest, sum) = magnitudes.fold((0f32, 0f32), |(l, s), m| (l.max(m), s + m));
            steps[p * outputs + o] = (largest / f32::from(i16::MAX)).max(sum / LARGEST_SUM);
        }
    }
    // Two integers take the room of a float.
    let mut weights = Floats::try_zeroed(points * inputs * outputs / 2)?;
    let (mut at, mut first) = (0, 0);
    for &chunk in &chunks {
        for p in 0..points {
            for i in (0..inputs).step_by(2) {
                for o in first..first + chunk * LANES {
                    let step = steps[p * outputs + o].max(f32::MIN_POSITIVE);
                    let [a, b] = [0, 1].map(|k| (weight(p, i + k, o) / step).round() as i16 as u16);
                    weights[at] = f32::from_bits(u32::from(a) | u32::from(b) << 16);
                    at += 1;
                }
            }
        }
        first += chunk * LANES;
    }
    let mut bias = Floats::try_zeroed(outputs)?;
    bias[..filter.outputs].copy_from_slice(&filter.bias);
    Ok(PackedProducts {
        weights,
        steps,
        bias,
        chunks,
    })
}

/// 16-bit integers: inputs are multiplied by their factor, and results rounded.
struct Integers;

impl<S: IntegerProducts> ValueFormat<S> for Integers {
    type Number = i16;

    #[inline(always)]
    unsafe fn read(p: *const f32, factor: S::V) -> S::V {
        // SAFETY: guaranteed by the caller.
        unsafe { S::mul(S::load(p), factor) }
    }

    #[inline(always)]
    unsafe fn write(p: *mut i16, v: S::V) {
        // SAFETY: guaranteed by the caller.
        unsafe { S::store_i16(p, v) }
    }
}

/// Computes one strip.
///
/// # Safety
/// As for [`ProductKernel::strip`](crate::cpu::engine::kernels::products::ProductKernel::strip), with weights packed by
/// [`pack`]; the processor has the features of `S`.
#[inline(always)]
pub unsafe fn strip<S: IntegerProducts>(
    w: &Winograd<'_>,
    packed: &PackedProducts,
    factors: *const f32,
    index: usize,
    scratch: *mut f32,
) {
    let across = w.across();
    let first = index * STRIP;
    let last = (first + STRIP).min(across * w.height.div_ceil(TILE));
    let points = (w.kernel + TILE - 1).pow(2);
    // SAFETY: the caller guarantees the frame and the scratch memory; integers take half the room of floats.
    unsafe {
        let values = scratch.cast::<i16>();
        let products = scratch.add(w.inputs.len() * block_stride(points) / 2);
        let runs = Runs::new(first, last, across);
        let scale = match w.kernel {
            3 => transform_all_in::<S, Three>(w, factors, runs, values),
            _ => transform_all_in::<S, Five>(w, factors, runs, values),
        };
        multiply::<S>(w, packed, points, last - first, values, products, 1.0 / scale);
        for run in runs {
            match w.kernel {
                3 => transform_all_out::<S, Three>(w, run, products),
                _ => transform_all_out::<S, Five>(w, run, products),
            }
        }
    }
}

/// Transforms all input blocks; returns what they were multiplied by beside the factors of their channels.
#[inline(always)]
unsafe fn transform_all_in<S: IntegerProducts, P: Points>(
    w: &Winograd<'_>,
    factors: *const f32,
    runs: Runs,
    values: *mut i16,
) -> f32 {
    // SAFETY: as for `strip`.
    unsafe {
        let mut largest = S::splat(0.0);
        for run in runs {
            for (b, &input) in w.inputs.iter().enumerate() {
                for lane in (0..LANES).step_by(S::N) {
                    let factor = S::abs(factor::<S>(factors, b * LANES + lane));
                    let found = S::mul(magnitude::<S, P>(w, input.add(lane), run), factor);
                    largest = S::max(largest, found);
                }
            }
        }
        let scale = scale(S::largest(largest), P::GAIN);
        for run in runs {
            for (b, &input) in w.inputs.iter().enumerate() {
                for lane in (0..LANES).step_by(S::N) {
                    let factor = S::mul(factor::<S>(factors, b * LANES + lane), S::splat(scale));
                    let out = values.add(b * block_stride(P::N * P::N) + run.tile * LANES + lane);
                    transform_in::<S, P, Integers>(input.add(lane), w.input, run, factor, out);
                }
            }
        }
        scale
    }
}

/// What the inputs of a strip are multiplied by, so that the largest transformed one is the largest 16-bit integer.
/// `largest` is the largest magnitude before the transform, `gain` the most that the transform multiplies it by.
#[inline(always)]
fn scale(largest: f32, gain: f32) -> f32 {
    f32::from(i16::MAX) / (largest.max(LEAST_MAGNITUDE) * gain)
}

/// The factors of the input channels from `channel` on.
#[inline(always)]
unsafe fn factor<S: Simd>(factors: *const f32, channel: usize) -> S::V {
    // SAFETY: guaranteed by the caller.
    unsafe {
        match factors.is_null() {
            true => S::splat(1.0),
            false => S::load(factors.add(channel)),
        }
    }
}

/// The largest magnitudes, lane by lane, of what a run of tiles reads of a block.
#[inline(always)]
unsafe fn magnitude<S: IntegerProducts, P: Points>(w: &Winograd<'_>, input: *const f32, run: Run) -> S::V {
    // SAFETY: the caller guarantees the margin of the input.
    unsafe {
        let half = (P::KERNEL / 2) as isize;
        let (y, x) = ((run.ty * TILE) as isize - half, (run.tx * TILE) as isize - half);
        let corner = input.offset(y * w.input.y as isize + x * w.input.x as isize);
        let mut largest = [S::splat(0.0); 2];
        for x in 0..run.count * TILE + P::N - TILE {
            for y in 0..P::N {
                let v = S::abs(S::load(corner.add(y * w.input.y + x * w.input.x)));
                largest[y % 2] = S::max(largest[y % 2], v);
            }
        }
        S::max(largest[0], largest[1])
    }
}

#[inline(always)]
unsafe fn multiply<S: IntegerProducts>(
    w: &Winograd<'_>,
    packed: &PackedProducts,
    points: usize,
    tiles: usize,
    values: *const i16,
    products: *mut f32,
    step: f32,
) {
    let (block, outputs) = (block_stride(points), w.outputs.len());
    for p in 0..points {
        let mut first = 0;
        for &chunk in &packed.chunks {
            let pairs = w.inputs.len() * LANES / 2;
            // SAFETY: scratch memory by its length; weights by their packing.
            unsafe {
                let weights = packed.weights.as_ptr();
                let weights = weights.add((first * points + p * chunk) * pairs * LANES);
                let steps = packed.steps.as_ptr().add((p * outputs + first) * LANES);
                let to = products.add(first * block + p * POINT);
                let from = values.add(p * POINT);
                let inputs = w.inputs.len();
                for_chunk!(chunk, product(from, inputs, block, weights, steps, step, to, tiles));
            }
            first += chunk;
        }
    }
}

/// One point and one chunk that `V` vectors fill, `P` tiles at a time; strips have room for whole steps.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn product<S: IntegerProducts, const P: usize, const V: usize>(
    values: *const i16,
    inputs: usize,
    block: usize,
    weights: *const f32,
    steps: *const f32,
    step: f32,
    products: *mut f32,
    tiles: usize,
) {
    for tile in (0..tiles).step_by(P) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut sums = [[S::zero(); V]; P];
            let mut w = weights;
            for b in 0..inputs {
                let mut pair = values.add(b * block + tile * LANES);
                for _ in 0..LANES / 2 {
                    let mut weight = [S::zero(); V];
                    for (v, slot) in weight.iter_mut().enumerate() {
                        *slot = S::load_pairs(w.add(v * S::N));
                    }
                    for (t, row) in sums.iter_mut().enumerate() {
                        let value = S::splat_pair(pair.add(t * LANES));
                        for (sum, &weight) in row.iter_mut().zip(&weight) {
                            *sum = S::add_products(*sum, value, weight);
                        }
                    }
                    w = w.add(V * S::N);
                    pair = pair.add(2);
                }
            }
            for v in 0..V {
                let step = S::mul(S::load(steps.add(v * S::N)), S::splat(step));
                let to = products.add(v * S::N / LANES * block + v * S::N % LANES);
                for (t, row) in sums.iter().enumerate() {
                    S::store(to.add((tile + t) * LANES), S::mul(S::to_floats(row[v]), step));
                }
            }
        }
    }
}
