//! Products in 16-bit block floating point by AVX-512 VNNI, which multiplies and adds twice as many 16-bit integers in
//! an instruction as 32-bit floats.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512::Avx512;
use super::generic::{IntegerProducts, MAX_CHUNK, Winograd, block_float_strip, intrinsic, pack_block_float};
use super::products::{PackedProducts, ProductKernel};
use crate::cpu::capabilities::{Capabilities, Extensions};
use crate::error::Result;
use crate::network::Filter;
use crate::pack::Precision;

/// The kernel for AVX-512 VNNI.
pub struct Avx512Vnni(());

impl Avx512Vnni {
    /// The kernel, if the processor has what it needs.
    pub fn available(capabilities: Capabilities) -> Option<&'static dyn ProductKernel> {
        let needs = Extensions::VECTORS_512.with(Extensions::AVX512VNNI);
        capabilities.has(needs).then_some(&Self(()) as _)
    }
}

// SAFETY: a value is made only where the extensions that `strip` is compiled for are there.
unsafe impl ProductKernel for Avx512Vnni {
    fn name(&self) -> &'static str {
        "avx512vnni"
    }

    fn precision(&self) -> Precision {
        Precision::Bfp16
    }

    fn pack(
        &self,
        filter: &Filter,
        points: usize,
        weight: &dyn Fn(usize, usize, usize) -> f32,
    ) -> Result<PackedProducts> {
        pack_block_float(MAX_CHUNK, filter, points, weight)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn strip(
        &self,
        w: &Winograd<'_>,
        packed: &PackedProducts,
        factors: *const f32,
        index: usize,
        scratch: *mut f32,
    ) {
        // SAFETY: the features are enabled; the caller guarantees the rest.
        unsafe { block_float_strip::<Avx512>(w, packed, factors, index, scratch) }
    }
}

impl IntegerProducts for Avx512 {
    type I = __m512i;

    intrinsic!(abs(v: __m512) -> __m512 = _mm512_abs_ps(v));
    intrinsic!(largest(v: __m512) -> f32 = _mm512_reduce_max_ps(v));
    intrinsic!(store_i16(p: *mut i16, v: __m512) =
        _mm256_storeu_si256(p.cast(), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v))));
    intrinsic!(zero() -> __m512i = _mm512_setzero_si512());
    intrinsic!(load_pairs(p: *const f32) -> __m512i = _mm512_loadu_si512(p.cast()));
    intrinsic!(splat_pair(p: *const i16) -> __m512i = _mm512_set1_epi32(p.cast::<i32>().read_unaligned()));
    intrinsic!(add_products(sum: __m512i, a: __m512i, b: __m512i) -> __m512i = _mm512_dpwssds_epi32(sum, a, b));
    intrinsic!(to_floats(sum: __m512i) -> __m512 = _mm512_cvtepi32_ps(sum));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::engine::kernels::generic::{Strides, winograd_scratch_len};
    use crate::network::LANES;

    /// A strip of zeros has a finite factor: its values are zeros, not what an overflow gives.
    #[test]
    fn a_strip_of_zeros_stays_zeros() {
        let Some(kernel) = Avx512Vnni::available(Capabilities::detected()) else {
            println!("skipped: this processor has no AVX-512 VNNI");
            return;
        };
        for (side, points) in [(3, 36), (5, 64)] {
            for tiny in [0.0, 1e-44, 1e-38, 1e-31] {
                let filter = Filter {
                    kernel: side,
                    inputs: LANES,
                    outputs: LANES,
                    weights: vec![],
                    bias: vec![0.25; LANES],
                };
                let packed = kernel
                    .pack(&filter, points, &|p, i, o| ((p + i + o) % 7) as f32 - 3.0)
                    .unwrap();
                // 8 × 8 pixels with a margin of 8 on every side.
                let (row, at) = (24 * LANES, (8 * 24 + 8) * LANES);
                let input = vec![tiny; 24 * row];
                let mut output = vec![f32::NAN; 24 * row];
                let mut scratch = vec![0.0; winograd_scratch_len(side, 1, 1)];
                let strides = Strides { x: LANES, y: row };
                let chunks = packed.chunks.clone();
                let args = Winograd {
                    kernel: side,
                    inputs: &[input[at..].as_ptr()],
                    input: strides,
                    weights: std::ptr::null(),
                    chunks: &chunks,
                    bias: packed.bias.as_ptr(),
                    outputs: &[output[at..].as_mut_ptr()],
                    output: strides,
                    residuals: &[],
                    residual: strides,
                    slope: 1.0,
                    width: 8,
                    height: 8,
                };
                // SAFETY: the slices hold the frame with its margin, and the scratch memory.
                unsafe { kernel.strip(&args, &packed, std::ptr::null(), 0, scratch.as_mut_ptr()) };
                // SAFETY: integers take half the room of floats, and the values of the one input block half the memory.
                let values = unsafe { std::slice::from_raw_parts(scratch.as_ptr().cast::<i16>(), scratch.len() / 2) };
                let largest = values.iter().map(|v| v.unsigned_abs()).max();
                println!("{side}x{side}, {tiny:e}: {largest:?}");
                assert!(
                    values.iter().all(|&v| v != i16::MIN),
                    "{side}x{side}, {tiny:e}: an overflow"
                );
                for y in 0..8 {
                    for x in 0..8 {
                        let pixel = &output[at + y * row + x * LANES..][..LANES];
                        assert!(pixel.iter().all(|&v| v == 0.25), "{side}x{side}, {tiny:e}: {pixel:?}");
                    }
                }
            }
        }
    }
}
