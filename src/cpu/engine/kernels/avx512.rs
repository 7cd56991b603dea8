//! Vectors of 512 bits: AVX-512 F and DQ.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::floats::float_kernels;
use super::generic::{MAX_CHUNK, SQRT_HALF_BITS, Simd, intrinsic};
use crate::cpu::capabilities::Extensions;

/// Sixteen lanes.
#[derive(Clone, Copy)]
pub struct Avx512;

impl Simd for Avx512 {
    type V = __m512;
    const N: usize = 16;

    intrinsic!(splat(x: f32) -> __m512 = _mm512_set1_ps(x));
    intrinsic!(load(p: *const f32) -> __m512 = _mm512_loadu_ps(p));
    intrinsic!(store(p: *mut f32, v: __m512) = _mm512_storeu_ps(p, v));
    intrinsic!(add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b));
    intrinsic!(sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b));
    intrinsic!(mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b));
    intrinsic!(div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b));
    intrinsic!(reciprocal(a: __m512) -> __m512 = {
        // 14 bits, and twice as many after a step of Newton's.
        let guess = _mm512_rcp14_ps(a);
        let rest = _mm512_fnmadd_ps(a, guess, _mm512_set1_ps(1.0));
        _mm512_fmadd_ps(guess, rest, guess)
    });
    intrinsic!(max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b));
    intrinsic!(min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b));
    intrinsic!(fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c));
    intrinsic!(fnma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c));
    intrinsic!(round(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a));
    intrinsic!(pow2(n: __m512) -> __m512 = {
        let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
        _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
    });
    intrinsic!(frexp(x: __m512) -> (__m512, __m512) = {
        let bits = _mm512_castps_si512(x);
        let k = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(SQRT_HALF_BITS)));
        let m = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(k));
        (_mm512_cvtepi32_ps(k), _mm512_castsi512_ps(m))
    });
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        // SAFETY: a prefetch touches no memory that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    intrinsic!(quarters(v: [__m512; 4]) -> [__m512; 4] = {
        let [a, b, c, d] = v;
        let (ab, cd) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0x44>(c, d));
        let (ba, dc) = (_mm512_shuffle_f32x4::<0xee>(a, b), _mm512_shuffle_f32x4::<0xee>(c, d));
        [
            _mm512_shuffle_f32x4::<0x88>(ab, cd),
            _mm512_shuffle_f32x4::<0xdd>(ab, cd),
            _mm512_shuffle_f32x4::<0x88>(ba, dc),
            _mm512_shuffle_f32x4::<0xdd>(ba, dc),
        ]
    });
    intrinsic!(sums(v: [__m512; 4]) -> [f32; 4] = {
        let [a, b, c, d] = v;
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let sum = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd));
        let sum = _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps::<1>(sum));
        let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        std::mem::transmute::<__m128, [f32; 4]>(sum)
    });
}

float_kernels! {
    /// Kernels for AVX-512 F, BW, DQ and VL, whose 32 registers hold sums of four blocks.
    pub Avx512Kernels: Avx512, "avx512", blocks MAX_CHUNK, needs Extensions::VECTORS_512,
        features "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"
}
