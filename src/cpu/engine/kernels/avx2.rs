//! Vectors of 256 bits: AVX2 and FMA.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::floats::float_kernels;
use super::generic::{SQRT_HALF_BITS, Simd, intrinsic};
use crate::cpu::capabilities::Extensions;

/// Eight lanes.
#[derive(Clone, Copy)]
pub struct Avx2;

impl Simd for Avx2 {
    type V = __m256;
    const N: usize = 8;

    intrinsic!(splat(x: f32) -> __m256 = _mm256_set1_ps(x));
    intrinsic!(load(p: *const f32) -> __m256 = _mm256_loadu_ps(p));
    intrinsic!(store(p: *mut f32, v: __m256) = _mm256_storeu_ps(p, v));
    intrinsic!(add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b));
    intrinsic!(sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b));
    intrinsic!(mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b));
    intrinsic!(div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b));
    intrinsic!(max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b));
    intrinsic!(min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b));
    intrinsic!(fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c));
    intrinsic!(fnma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fnmadd_ps(a, b, c));
    intrinsic!(round(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a));
    intrinsic!(pow2(n: __m256) -> __m256 = {
        let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
    });
    intrinsic!(frexp(x: __m256) -> (__m256, __m256) = {
        let bits = _mm256_castps_si256(x);
        let k = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(SQRT_HALF_BITS)));
        let m = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(k));
        (_mm256_cvtepi32_ps(k), _mm256_castsi256_ps(m))
    });
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        // SAFETY: a prefetch touches no memory that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    intrinsic!(sums(v: [__m256; 4]) -> [f32; 4] = {
        let [a, b, c, d] = v;
        let sum = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        std::mem::transmute::<__m128, [f32; 4]>(sum)
    });
}

float_kernels! {
    /// Kernels for AVX2, FMA and F16C.
    pub Avx2Kernels: Avx2, "avx2", blocks 1, needs Extensions::VECTORS_256, features "avx2,fma,f16c"
}
