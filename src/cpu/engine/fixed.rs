//! Winograd's filtering with products of 16-bit numbers, for `precision=fp16`: inputs and weights of the products in
//! block floating point, that is as 16-bit integers with one factor for a strip of tiles (inputs) or for a point and
//! output channel (weights). Sums are 32-bit integers; both transforms are in 32-bit floats.
//!
//! AVX-512 VNNI multiplies and adds twice as many of them in an instruction as of 32-bit floats.

#![allow(unsafe_code)]

use super::graph::Filter;
use super::memory::Floats;
use super::product::{LANES, chunks};
use super::winograd::Winograd;
use crate::simd::Level;

/// Weights as integers: for each chunk of output channels `[point][pair of input channels][output channel][2]`.
pub struct PackedFixed {
    /// Two to a float.
    weights: Floats,
    /// `[point][output channel]`: what an integer stands for.
    steps: Floats,
    /// One for each output channel.
    pub bias: Floats,
    /// Blocks of output channels in each chunk.
    pub chunks: Vec<usize>,
}

/// The sum of the magnitudes of a point's weights for one output channel. Inputs of half the largest magnitude in
/// every channel, all of one sign, then just fit in a 32-bit sum; what does not is limited to the largest that does.
const LARGEST_SUM: f32 = (1 << 17) as f32;

impl PackedFixed {
    /// Packs transformed weights; `weight(point, input, output)` gives them. Inputs and outputs are whole blocks.
    pub fn new(level: Level, filter: &Filter, points: usize, weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        let (inputs, outputs) = (filter.inputs, filter.outputs.next_multiple_of(LANES));
        let chunks = chunks(level, outputs / LANES);
        let weight = |p: usize, i: usize, o: usize| if o < filter.outputs { weight(p, i, o) } else { 0.0 };
        let mut steps = Floats::zeroed(points * outputs);
        for p in 0..points {
            for o in 0..outputs {
                let magnitudes = (0..inputs).map(|i| weight(p, i, o).abs());
                let (largest, sum) = magnitudes.fold((0f32, 0f32), |(l, s), m| (l.max(m), s + m));
                steps[p * outputs + o] = (largest / f32::from(i16::MAX)).max(sum / LARGEST_SUM);
            }
        }
        let mut weights = Floats::zeroed(points * inputs * outputs / 2);
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
        let mut bias = Floats::zeroed(outputs);
        bias[..filter.outputs].copy_from_slice(&filter.bias);
        Self {
            weights,
            steps,
            bias,
            chunks,
        }
    }
}

/// Computes one strip. `factors`, if not null, has one for each input channel, which inputs are multiplied by.
/// `w.weights` is not used.
///
/// # Safety
/// As for [`winograd::strip`](super::winograd::strip); the processor has what [`Level::has_fixed_point`] stands for.
pub unsafe fn strip(w: &Winograd<'_>, packed: &PackedFixed, factors: *const f32, index: usize, scratch: *mut f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's word.
    unsafe {
        x86::strip(w, packed, factors, index, scratch)
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (w, packed, &packed.weights, &packed.steps, factors, index, scratch);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::points::{Five, Points, TILE, Three};
    use super::super::product::LANES;
    use super::super::vector::{Avx512, Simd};
    use super::super::winograd::{
        Kept, POINT, Run, Runs, STRIP, Winograd, block_stride, transform_all_out, transform_in,
    };
    use super::PackedFixed;

    /// As 16-bit integers.
    struct Fixed;

    impl Kept<Avx512> for Fixed {
        type Number = i16;

        #[inline(always)]
        unsafe fn read(p: *const f32, factor: __m512) -> __m512 {
            // SAFETY: the caller's word.
            unsafe { _mm512_mul_ps(_mm512_loadu_ps(p), factor) }
        }

        #[inline(always)]
        unsafe fn keep(p: *mut i16, v: __m512) {
            // SAFETY: the caller's word.
            unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v))) }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    pub unsafe fn strip(w: &Winograd<'_>, packed: &PackedFixed, factors: *const f32, index: usize, scratch: *mut f32) {
        // SAFETY: the caller's word.
        unsafe {
            match w.kernel {
                3 => strip_with::<Three>(w, packed, factors, index, scratch),
                _ => strip_with::<Five>(w, packed, factors, index, scratch),
            }
        }
    }

    #[inline(always)]
    unsafe fn strip_with<P: Points>(
        w: &Winograd<'_>,
        packed: &PackedFixed,
        factors: *const f32,
        index: usize,
        scratch: *mut f32,
    ) {
        let across = w.across();
        let first = index * STRIP;
        let last = (first + STRIP).min(across * w.height.div_ceil(TILE));
        let block = block_stride(P::N * P::N);
        // SAFETY: the caller's word on the frame; integers take half the room of floats.
        unsafe {
            let values = scratch.cast::<i16>();
            let products = scratch.add(w.inputs.len() * block / 2);
            let factor = |b: usize| match factors.is_null() {
                true => _mm512_set1_ps(1.0),
                false => _mm512_loadu_ps(factors.add(b * LANES)),
            };
            let mut largest = _mm512_setzero_ps();
            for run in Runs::new(first, last, across) {
                for (b, &input) in w.inputs.iter().enumerate() {
                    let found = _mm512_mul_ps(magnitude::<P>(w, input, run), _mm512_abs_ps(factor(b)));
                    largest = _mm512_max_ps(largest, found);
                }
            }
            let largest = _mm512_reduce_max_ps(largest).max(f32::MIN_POSITIVE);
            let scale = f32::from(i16::MAX) / (largest * P::GAIN);
            for run in Runs::new(first, last, across) {
                for (b, &input) in w.inputs.iter().enumerate() {
                    let factor = _mm512_mul_ps(factor(b), _mm512_set1_ps(scale));
                    let out = values.add(b * block + run.tile * LANES);
                    transform_in::<Avx512, P, Fixed>(input, w.input, run, factor, out);
                }
            }
            multiply(w, packed, P::N * P::N, last - first, values, products, 1.0 / scale);
            for run in Runs::new(first, last, across) {
                transform_all_out::<Avx512, P>(w, run, products);
            }
        }
    }

    /// The largest magnitudes, lane by lane, of what a run of tiles reads of a block.
    #[inline(always)]
    unsafe fn magnitude<P: Points>(w: &Winograd<'_>, input: *const f32, run: Run) -> __m512 {
        // SAFETY: the caller's word on the margin of the input.
        unsafe {
            let half = (P::KERNEL / 2) as isize;
            let (y, x) = ((run.ty * TILE) as isize - half, (run.tx * TILE) as isize - half);
            let corner = input.offset(y * w.input.y as isize + x * w.input.x as isize);
            let mut largest = [_mm512_setzero_ps(); 2];
            for x in 0..run.count * TILE + P::N - TILE {
                for y in 0..P::N {
                    let v = _mm512_abs_ps(_mm512_loadu_ps(corner.add(y * w.input.y + x * w.input.x)));
                    largest[y % 2] = _mm512_max_ps(largest[y % 2], v);
                }
            }
            _mm512_max_ps(largest[0], largest[1])
        }
    }

    #[inline(always)]
    unsafe fn multiply(
        w: &Winograd<'_>,
        packed: &PackedFixed,
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
                    let weights = packed
                        .weights
                        .as_ptr()
                        .add((first * points + p * chunk) * pairs * LANES);
                    let steps = packed.steps.as_ptr().add((p * outputs + first) * LANES);
                    let to = products.add(first * block + p * POINT);
                    let from = values.add(p * POINT);
                    let inputs = w.inputs.len();
                    match chunk {
                        1 => product::<16, 1>(from, inputs, block, weights, steps, step, to, tiles),
                        2 => product::<12, 2>(from, inputs, block, weights, steps, step, to, tiles),
                        3 => product::<8, 3>(from, inputs, block, weights, steps, step, to, tiles),
                        _ => product::<6, 4>(from, inputs, block, weights, steps, step, to, tiles),
                    }
                }
                first += chunk;
            }
        }
    }

    /// One point and one chunk of `V` blocks, `P` tiles at a time; strips have room for whole steps.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn product<const P: usize, const V: usize>(
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
            // SAFETY: the caller's word.
            unsafe {
                let mut sums = [[_mm512_setzero_si512(); V]; P];
                let mut w = weights;
                for b in 0..inputs {
                    let mut pair = values.add(b * block + tile * LANES).cast::<i32>();
                    for _ in 0..LANES / 2 {
                        let mut weight = [_mm512_setzero_si512(); V];
                        for (v, slot) in weight.iter_mut().enumerate() {
                            *slot = _mm512_loadu_si512(w.add(v * LANES).cast());
                        }
                        for (t, row) in sums.iter_mut().enumerate() {
                            let value = _mm512_set1_epi32(pair.add(t * LANES / 2).read_unaligned());
                            for (sum, &weight) in row.iter_mut().zip(&weight) {
                                *sum = _mm512_dpwssds_epi32(*sum, value, weight);
                            }
                        }
                        w = w.add(V * LANES);
                        pair = pair.add(1);
                    }
                }
                for v in 0..V {
                    let step = _mm512_mul_ps(_mm512_loadu_ps(steps.add(v * LANES)), _mm512_set1_ps(step));
                    for (t, row) in sums.iter().enumerate() {
                        let out = products.add(v * block + (tile + t) * LANES);
                        Avx512::store(out, _mm512_mul_ps(_mm512_cvtepi32_ps(row[v]), step));
                    }
                }
            }
        }
    }
}
