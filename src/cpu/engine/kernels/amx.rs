//! Convolutions in bfloat16 by AMX, whose tiles are matrices of 16 rows of 64 bytes.
//!
//! ```text
//! C[pixel][output] += Σ_pair A[pixel][pair] · B[pair][output]     pairs of input channels, products and sums in FP32
//! ```
//! A is 16 neighbouring pixels of a unit, read where they lie; B the weights of a tap, a unit and 16 outputs; C the sums
//! of 16 pixels and 16 outputs. Four sums are made at once: 32 pixels × 32 outputs, or 64 × 16, over all taps and units.
//! They go through scratch memory to bias, residual, activation and gate.

#![allow(unsafe_code)]

mod tiles;

use std::arch::x86_64::*;

use half::bf16;

use self::tiles::{Operands, Tiles, permitted, product_2x2, product_4x1};
use super::avx512::Avx512;
use super::generic::sigmoid;
use super::matrices::{MatrixConv, MatrixKernel, PackedMatrices, Rounding};
use crate::cpu::capabilities::{Capabilities, Extensions};
use crate::cpu::memory::Floats;
use crate::error::Result;
use crate::network::{Filter, Gate, LANES, PAIRED_LANES};
use crate::pack::Precision;

/// Floats of a tile.
const TILE: usize = 16 * LANES;
/// Tiles of sums at once.
const SUMS: usize = 4;
/// Blocks of output channels at once, at most.
const GROUP: usize = 2;

/// The kernel for AMX with bfloat16.
pub struct AmxBf16(());

impl AmxBf16 {
    /// The kernel, if the processor has what it needs and the system lets the process use tiles.
    pub fn available(capabilities: Capabilities) -> Option<&'static dyn MatrixKernel> {
        let needs = Extensions::VECTORS_512
            .with(Extensions::AVX512BF16)
            .with(Extensions::AMX_TILE)
            .with(Extensions::AMX_BF16);
        (capabilities.has(needs) && permitted()).then_some(&Self(()) as _)
    }
}

/// The lanes of a unit that hold channels, if `channels` are left from its first one on.
fn lanes(channels: usize) -> __mmask32 {
    if channels >= PAIRED_LANES {
        !0
    } else {
        (1 << channels) - 1
    }
}

// SAFETY: a value is made only where the extensions that the methods are compiled for are there, and tiles permitted.
unsafe impl MatrixKernel for AmxBf16 {
    fn name(&self) -> &'static str {
        "amx"
    }

    fn precision(&self) -> Precision {
        Precision::Bf16
    }

    /// For each group of one or two blocks `[tap][unit][block][pair of input channels][output channel][2]`.
    fn pack(&self, filter: &Filter) -> Result<PackedMatrices> {
        let taps = filter.kernel * filter.kernel;
        let (units, blocks) = (filter.inputs.div_ceil(PAIRED_LANES), filter.outputs.div_ceil(LANES));
        let weight = |tap: usize, i: usize, o: usize| {
            let there = i < filter.inputs && o < filter.outputs;
            let weight = there.then(|| filter.weights[(o * filter.inputs + i) * taps + tap]);
            bf16::from_f32(weight.unwrap_or(0.0)).to_bits()
        };
        let mut weights = Floats::try_zeroed(blocks * taps * units * TILE)?;
        let mut at = 0;
        for first in (0..blocks).step_by(GROUP) {
            for tap in 0..taps {
                for unit in 0..units {
                    for o in (first..blocks.min(first + GROUP)).map(|block| block * LANES) {
                        for pair in 0..PAIRED_LANES / 2 {
                            for lane in 0..LANES {
                                let [a, b] = [0, 1].map(|k| weight(tap, unit * PAIRED_LANES + 2 * pair + k, o + lane));
                                weights[at] = f32::from_bits(u32::from(a) | u32::from(b) << 16);
                                at += 1;
                            }
                        }
                    }
                }
            }
        }
        let mut bias = Floats::try_zeroed(blocks * LANES)?;
        bias[..filter.outputs].copy_from_slice(&filter.bias);
        Ok(PackedMatrices { weights, bias })
    }

    fn scratch_len(&self, side: usize, units: usize) -> usize {
        // Sums, and offsets of the size of two floats.
        SUMS * TILE + 2 * side * side * units
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
    unsafe fn rows(&self, a: &MatrixConv<'_>, width: usize, y0: usize, y1: usize, scratch: *mut f32) {
        let blocks = a.channels.div_ceil(LANES);
        // SAFETY: the caller guarantees inputs, outputs and scratch memory; a value of this type, the rest.
        unsafe {
            let offsets = scratch.add(SUMS * TILE).cast::<isize>();
            let half = (a.kernel / 2) as isize;
            let mut count = 0;
            for ky in -half..=half {
                for kx in -half..=half {
                    for &input in a.inputs {
                        let tap = 4 * (ky * a.input.y as isize + kx * a.input.x as isize);
                        offsets
                            .add(count)
                            .write((input as isize).wrapping_sub(a.inputs[0] as isize) + tap);
                        count += 1;
                    }
                }
            }
            let _tiles = Tiles::configure();
            for y in y0..y1 {
                let mut weights = a.packed.weights.as_ptr();
                for first in (0..blocks).step_by(GROUP) {
                    let group = GROUP.min(blocks - first);
                    // Pixels at once.
                    let step = SUMS / group * LANES;
                    for x in (0..width).step_by(step) {
                        let operands = Operands {
                            pixels: a.inputs[0].add(y * a.input.y + x * a.input.x),
                            stride: 4 * a.input.x,
                            offsets,
                            count,
                            weights,
                            sums: scratch,
                        };
                        let valid = step.min(width - x);
                        if group == GROUP {
                            product_2x2(operands);
                        } else {
                            product_4x1(operands);
                        }
                        if a.planes.is_empty() {
                            finish_blocks(a, y, x, valid, first, scratch, step * LANES);
                        } else {
                            finish_planes(a, y, x, valid, scratch);
                        }
                    }
                    weights = weights.add(group * count * TILE);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
    unsafe fn round_rows(&self, a: &Rounding<'_>, width: usize, y0: usize, y1: usize) {
        // SAFETY: the caller guarantees the rows; a value of this type, the features.
        unsafe {
            for y in y0..y1 {
                for (u, &output) in a.outputs.iter().enumerate() {
                    let first = a.inputs[2 * u];
                    let second = a.inputs.get(2 * u + 1).copied().unwrap_or(first);
                    let there = lanes(a.channels - u * PAIRED_LANES);
                    let (from, to) = (y * a.input.y, output.add(y * a.output.y));
                    let (first, second) = (first.add(from), second.add(from));
                    let (mut f0, mut f1) = (_mm512_set1_ps(1.0), _mm512_set1_ps(1.0));
                    if !a.factors.is_null() {
                        f0 = _mm512_loadu_ps(a.factors.add(2 * u * LANES));
                        if 2 * u + 1 < a.inputs.len() {
                            f1 = _mm512_loadu_ps(a.factors.add((2 * u + 1) * LANES));
                        }
                    }
                    for x in 0..width {
                        let v0 = _mm512_mul_ps(_mm512_loadu_ps(first.add(x * a.input.x)), f0);
                        let v1 = _mm512_mul_ps(_mm512_loadu_ps(second.add(x * a.input.x)), f1);
                        store_unit(to.add(x * a.output.x), v0, v1, there);
                    }
                }
            }
        }
    }
}

/// Rounds two vectors to a unit's pixel; lanes that are not `there` become zeros, whatever they were.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn store_unit(to: *mut f32, v0: __m512, v1: __m512, there: __mmask32) {
    // SAFETY: the caller guarantees room for 64 bytes. Both types are 512 bits of any content.
    unsafe {
        let rounded = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(v1, v0));
        _mm512_storeu_si512(to.cast(), _mm512_maskz_mov_epi16(there, rounded));
    }
}

/// Bias, residual, activation and gate of the sums of one or two blocks from `first` on, `next` floats from one block's
/// sums to the other's, and the results to blocks and units.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn finish_blocks(
    a: &MatrixConv<'_>,
    y: usize,
    x: usize,
    valid: usize,
    first: usize,
    sums: *const f32,
    next: usize,
) {
    // SAFETY: the caller guarantees images and sums.
    unsafe {
        let group = GROUP.min(a.channels.div_ceil(LANES) - first);
        let slope = _mm512_set1_ps(a.slope);
        let at = |images: &[*const f32], strides: super::generic::Strides| {
            let mut found = [std::ptr::null::<f32>(); GROUP];
            for (slot, image) in found.iter_mut().zip(images.get(first..).unwrap_or_default()) {
                *slot = image.add(y * strides.y + x * strides.x);
            }
            found
        };
        let residuals = at(a.residuals, a.residual);
        let gated = at(a.gated, a.gated_strides);
        let blocks = at(super::generic::constant(a.blocks), a.block);
        let unit = match a.units.get(first / GROUP) {
            Some(unit) => unit.add(y * a.unit.y + x * a.unit.x),
            None => std::ptr::null_mut(),
        };
        let there = lanes(a.channels - first * LANES);
        let mut bias = [_mm512_setzero_ps(); GROUP];
        for (n, slot) in bias.iter_mut().enumerate().take(group) {
            *slot = _mm512_loadu_ps(a.packed.bias.as_ptr().add((first + n) * LANES));
        }
        // Most results go to a whole unit and nowhere else: no pointer is looked at for every pixel.
        let alone = a.residuals.is_empty() && a.gated.is_empty() && a.blocks.is_empty();
        if alone && group == GROUP && !unit.is_null() && there == !0 {
            for p in 0..valid {
                let v0 = _mm512_add_ps(_mm512_load_ps(sums.add(p * LANES)), bias[0]);
                let v1 = _mm512_add_ps(_mm512_load_ps(sums.add(next + p * LANES)), bias[1]);
                let v0 = _mm512_max_ps(v0, _mm512_mul_ps(v0, slope));
                let v1 = _mm512_max_ps(v1, _mm512_mul_ps(v1, slope));
                let rounded = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(v1, v0));
                _mm512_storeu_si512(unit.add(p * a.unit.x).cast(), rounded);
            }
            return;
        }
        for p in 0..valid {
            let mut values = [_mm512_setzero_ps(); GROUP];
            for n in 0..group {
                let mut v = _mm512_add_ps(_mm512_load_ps(sums.add(n * next + p * LANES)), bias[n]);
                if !residuals[n].is_null() {
                    v = _mm512_add_ps(v, _mm512_loadu_ps(residuals[n].add(p * a.residual.x)));
                }
                if gated[n].is_null() {
                    v = _mm512_max_ps(v, _mm512_mul_ps(v, slope));
                } else {
                    v = match a.gate {
                        Gate::Slope => _mm512_max_ps(v, _mm512_mul_ps(v, slope)),
                        Gate::Sigmoid => sigmoid::<Avx512>(v),
                        Gate::Clip(low, high) => {
                            _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(low)), _mm512_set1_ps(high))
                        }
                    };
                    v = _mm512_mul_ps(v, _mm512_loadu_ps(gated[n].add(p * a.gated_strides.x)));
                }
                if !blocks[n].is_null() {
                    _mm512_storeu_ps(blocks[n].add(p * a.block.x).cast_mut(), v);
                }
                values[n] = v;
            }
            if !unit.is_null() {
                store_unit(unit.add(p * a.unit.x), values[0], values[1], there);
            }
        }
    }
}

/// The same for the sums of one block, of which the first channels go to planes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
unsafe fn finish_planes(a: &MatrixConv<'_>, y: usize, x: usize, valid: usize, sums: *const f32) {
    // SAFETY: the caller guarantees images and sums.
    unsafe {
        let slope = _mm512_set1_ps(a.slope);
        let pixels = _mm512_slli_epi32::<4>(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
        for (c, &plane) in a.planes.iter().enumerate() {
            let bias = _mm512_set1_ps(a.packed.bias[c]);
            for p in (0..valid).step_by(LANES) {
                let there = if valid - p >= LANES { !0 } else { (1 << (valid - p)) - 1 };
                let mut v = _mm512_add_ps(_mm512_i32gather_ps::<4>(pixels, sums.add(p * LANES + c)), bias);
                if let Some(residual) = a.residuals.get(c) {
                    v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(there, residual.add(y * a.residual.y + x + p)));
                }
                let v = _mm512_max_ps(v, _mm512_mul_ps(v, slope));
                _mm512_mask_storeu_ps(plane.add(y * a.plane.y + x + p), there, v);
            }
        }
    }
}

#[cfg(test)]
mod tests;
