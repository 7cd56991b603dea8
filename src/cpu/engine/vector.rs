//! Vectors of 32-bit floats, so that a kernel is written once and compiled for each level.
//!
//! A kernel is an `#[inline(always)]` function generic over [`Simd`]; the function that the level's features are
//! enabled for calls it. Loads and stores are unaligned unless a method says otherwise.

#![allow(unsafe_code)]

/// Operations on one vector register of floats.
///
/// # Safety
/// Every method may be called only where the processor has the features of the implementation, and pointers have to
/// be valid for [`N`](Simd::N) floats.
pub trait Simd: Copy {
    /// The register.
    type V: Copy;
    /// Floats in a register; divides 16.
    const N: usize;

    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self::V;
    /// Lanes from memory.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Lanes to memory.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// `a + b`
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `1 / a` to within 2 units in the last place, for `a` from 1 to where the result is no normal number.
    #[inline(always)]
    unsafe fn reciprocal(a: Self::V) -> Self::V {
        // SAFETY: the caller's word on the features.
        unsafe { Self::div(Self::splat(1.0), a) }
    }
    /// The greater of the two.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller of the two.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the processor can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a · b`, rounded once where the processor can.
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The nearest whole numbers.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2 to the power of `n`, whole numbers from -126 to 127.
    unsafe fn pow2(n: Self::V) -> Self::V;
    /// Exponent and mantissa of positive normal numbers: `x = m · 2^e`, m from √½ to √2.
    unsafe fn frexp(x: Self::V) -> (Self::V, Self::V);
    /// Asks for the cache line at `p`, which need not be valid.
    unsafe fn prefetch(p: *const f32);
    /// The sums of the lanes of four registers.
    unsafe fn sums(v: [Self::V; 4]) -> [f32; 4];
    /// With 16 lanes: quarter j of register i goes to quarter i of register j. With fewer: the same registers.
    #[inline(always)]
    unsafe fn quarters(v: [Self::V; 4]) -> [Self::V; 4] {
        v
    }
}

/// The bits of √½, below which a mantissa counts to the next lower exponent.
const SQRT_HALF_BITS: i32 = 0x3f35_04f3;

/// Four lanes in plain Rust: SSE2, or whatever the compiler makes of it.
#[derive(Clone, Copy)]
pub struct Portable;

/// Applies a function of floats lane by lane.
macro_rules! lanes {
    ($f:expr, $($v:ident),+) => {{
        let mut out = [0.0f32; 4];
        for i in 0..4 {
            out[i] = $f($($v[i]),+);
        }
        out
    }};
}

impl Simd for Portable {
    type V = [f32; 4];
    const N: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 4] {
        // SAFETY: valid for four floats, by the contract of the trait.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 4]) {
        // SAFETY: valid for four floats, by the contract of the trait.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes!(|a: f32, b| a + b, a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes!(|a: f32, b| a - b, a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes!(|a: f32, b| a * b, a, b)
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes!(|a: f32, b| a / b, a, b)
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes!(|a: f32, b| if a > b { a } else { b }, a, b)
    }
    #[inline(always)]
    unsafe fn min(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        lanes!(|a: f32, b| if a < b { a } else { b }, a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        lanes!(|a: f32, b, c| a * b + c, a, b, c)
    }
    #[inline(always)]
    unsafe fn fnma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        lanes!(|a: f32, b, c: f32| c - a * b, a, b, c)
    }
    #[inline(always)]
    unsafe fn round(a: [f32; 4]) -> [f32; 4] {
        // Adding 1.5 · 2^23 leaves no bits for the fraction; enough for |a| < 2^22.
        const BIG: f32 = 12_582_912.0;
        lanes!(|a: f32| (a + BIG) - BIG, a)
    }
    #[inline(always)]
    unsafe fn pow2(n: [f32; 4]) -> [f32; 4] {
        lanes!(|n: f32| f32::from_bits(((n as i32 + 127) << 23) as u32), n)
    }
    #[inline(always)]
    unsafe fn frexp(x: [f32; 4]) -> ([f32; 4], [f32; 4]) {
        let (mut e, mut m) = ([0.0; 4], [0.0; 4]);
        for i in 0..4 {
            let bits = x[i].to_bits() as i32;
            let k = (bits - SQRT_HALF_BITS) >> 23;
            e[i] = k as f32;
            m[i] = f32::from_bits((bits - (k << 23)) as u32);
        }
        (e, m)
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn sums([a, b, c, d]: [[f32; 4]; 4]) -> [f32; 4] {
        [
            (a[0] + a[1]) + (a[2] + a[3]),
            (b[0] + b[1]) + (b[2] + b[3]),
            (c[0] + c[1]) + (c[2] + c[3]),
            (d[0] + d[1]) + (d[2] + d[3]),
        ]
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{SQRT_HALF_BITS, Simd};
    use std::arch::x86_64::*;

    /// One method: an intrinsic or two.
    macro_rules! method {
        ($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $body:expr) => {
            #[inline(always)]
            unsafe fn $name($($arg: $ty),*) -> $ret {
                // SAFETY: features and pointers by the contract of the trait.
                unsafe { $body }
            }
        };
    }

    /// Eight lanes: AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub struct Avx2;

    impl Simd for Avx2 {
        type V = __m256;
        const N: usize = 8;

        method!(splat(x: f32) -> __m256 = _mm256_set1_ps(x));
        method!(load(p: *const f32) -> __m256 = _mm256_loadu_ps(p));
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            // SAFETY: features and pointers by the contract of the trait.
            unsafe { _mm256_storeu_ps(p, v) }
        }
        method!(add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b));
        method!(sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b));
        method!(mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b));
        method!(div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b));
        method!(max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b));
        method!(min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b));
        method!(fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c));
        method!(fnma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fnmadd_ps(a, b, c));
        method!(round(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a));
        method!(pow2(n: __m256) -> __m256 = {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        });
        method!(frexp(x: __m256) -> (__m256, __m256) = {
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
        method!(sums(v: [__m256; 4]) -> [f32; 4] = {
            let [a, b, c, d] = v;
            let sum = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
            std::mem::transmute::<__m128, [f32; 4]>(sum)
        });
    }

    /// Sixteen lanes: AVX-512 F and DQ.
    #[derive(Clone, Copy)]
    pub struct Avx512;

    impl Simd for Avx512 {
        type V = __m512;
        const N: usize = 16;

        method!(splat(x: f32) -> __m512 = _mm512_set1_ps(x));
        method!(load(p: *const f32) -> __m512 = _mm512_loadu_ps(p));
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            // SAFETY: features and pointers by the contract of the trait.
            unsafe { _mm512_storeu_ps(p, v) }
        }
        method!(add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b));
        method!(sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b));
        method!(mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b));
        method!(div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b));
        method!(reciprocal(a: __m512) -> __m512 = {
            // 14 bits, and twice as many after a step of Newton's.
            let guess = _mm512_rcp14_ps(a);
            let rest = _mm512_fnmadd_ps(a, guess, _mm512_set1_ps(1.0));
            _mm512_fmadd_ps(guess, rest, guess)
        });
        method!(max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b));
        method!(min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b));
        method!(fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c));
        method!(fnma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c));
        method!(round(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a));
        method!(pow2(n: __m512) -> __m512 = {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        });
        method!(frexp(x: __m512) -> (__m512, __m512) = {
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
        method!(quarters(v: [__m512; 4]) -> [__m512; 4] = {
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
        method!(sums(v: [__m512; 4]) -> [f32; 4] = {
            let [a, b, c, d] = v;
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let sum = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd));
            let sum = _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps::<1>(sum));
            let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
            std::mem::transmute::<__m128, [f32; 4]>(sum)
        });
    }
}
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Portable, Simd};
    use std::arch::aarch64::*;

    /// Four lanes: NEON, which every aarch64 processor has.
    #[derive(Clone, Copy)]
    pub struct Neon;

    /// A method in intrinsics.
    macro_rules! method {
        ($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $body:expr) => {
            #[inline(always)]
            unsafe fn $name($($arg: $ty),*) -> $ret {
                // SAFETY: pointers by the contract of the trait.
                unsafe { $body }
            }
        };
    }

    /// A method that the compiler finds the instructions for.
    macro_rules! plain {
        ($name:ident($($arg:ident),*)) => {
            #[inline(always)]
            unsafe fn $name($($arg: float32x4_t),*) -> float32x4_t {
                // SAFETY: vectors and arrays of four floats have the same layout.
                unsafe { vld1q_f32(Portable::$name($(std::mem::transmute::<float32x4_t, [f32; 4]>($arg)),*).as_ptr()) }
            }
        };
    }

    impl Simd for Neon {
        type V = float32x4_t;
        const N: usize = 4;

        method!(splat(x: f32) -> float32x4_t = vdupq_n_f32(x));
        method!(load(p: *const f32) -> float32x4_t = vld1q_f32(p));
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: float32x4_t) {
            // SAFETY: valid for four floats, by the contract of the trait.
            unsafe { vst1q_f32(p, v) }
        }
        method!(add(a: float32x4_t, b: float32x4_t) -> float32x4_t = vaddq_f32(a, b));
        method!(sub(a: float32x4_t, b: float32x4_t) -> float32x4_t = vsubq_f32(a, b));
        method!(mul(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmulq_f32(a, b));
        method!(div(a: float32x4_t, b: float32x4_t) -> float32x4_t = vdivq_f32(a, b));
        method!(max(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmaxq_f32(a, b));
        method!(min(a: float32x4_t, b: float32x4_t) -> float32x4_t = vminq_f32(a, b));
        method!(fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = vfmaq_f32(c, a, b));
        method!(fnma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = vfmsq_f32(c, a, b));
        method!(round(a: float32x4_t) -> float32x4_t = vrndnq_f32(a));
        plain!(pow2(n));
        #[inline(always)]
        unsafe fn frexp(x: float32x4_t) -> (float32x4_t, float32x4_t) {
            // SAFETY: vectors and arrays of four floats have the same layout.
            unsafe {
                let (e, m) = Portable::frexp(std::mem::transmute::<float32x4_t, [f32; 4]>(x));
                (vld1q_f32(e.as_ptr()), vld1q_f32(m.as_ptr()))
            }
        }
        #[inline(always)]
        unsafe fn prefetch(_: *const f32) {}
        method!(sums(v: [float32x4_t; 4]) -> [f32; 4] = {
            let [a, b, c, d] = v;
            std::mem::transmute::<float32x4_t, [f32; 4]>(vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)))
        });
    }
}

#[cfg(not(target_arch = "aarch64"))]
pub use Portable as Base;
/// The vectors that every processor of the architecture has.
#[cfg(target_arch = "aarch64")]
pub use arm::Neon as Base;

/// Defines `fn $name(level, …)`, which calls `$body::<S>(…)` with the vectors of the level, and its features enabled.
///
/// The body is an unsafe `#[inline(always)]` function generic over [`Simd`]; its contract is the caller's. Each level
/// may be given its own constants after `S`.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(level: $crate::simd::Level, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn avx512($($arg: $ty),*) {
                    // SAFETY: the features are enabled; the rest is the caller's word.
                    unsafe { $body::<$crate::cpu::engine::vector::Avx512>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn avx2($($arg: $ty),*) {
                    // SAFETY: the features are enabled; the rest is the caller's word.
                    unsafe { $body::<$crate::cpu::engine::vector::Avx2>($($arg),*) }
                }
                match level {
                    // SAFETY: `Level::available` lists a level only if the processor has its features.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::Level::Portable => {}
                }
            }
            let _ = level;
            // SAFETY: every processor has the portable level; the rest is the caller's word.
            unsafe { $body::<$crate::cpu::engine::vector::Base>($($arg),*) }
        }
    };
}
pub(crate) use dispatch;
