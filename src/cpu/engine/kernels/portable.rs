//! Vectors in plain Rust, and kernels for every processor: SSE2 on x86-64, elsewhere whatever the compiler makes of it.

#![allow(unsafe_code)]

use super::floats::{FloatKernels, float_kernels};
use super::generic::{SQRT_HALF_BITS, Simd};

/// Four lanes.
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
        // SAFETY: valid for four floats, as the trait demands.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 4]) {
        // SAFETY: valid for four floats, as the trait demands.
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

float_kernels! {
    /// Kernels that every processor runs.
    pub PortableKernels: Portable, "portable", blocks 1
}

impl PortableKernels {
    /// The kernels, which need no extension.
    pub const ANYWHERE: &'static dyn FloatKernels = &Self(());
}
