//! Vectors of 128 bits on 64-bit Arm: NEON.

#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::floats::float_kernels;
use super::generic::{Simd, intrinsic};
use super::portable::Portable;
use crate::cpu::capabilities::Extensions;

/// Four lanes.
#[derive(Clone, Copy)]
pub struct Neon;

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

    intrinsic!(splat(x: f32) -> float32x4_t = vdupq_n_f32(x));
    intrinsic!(load(p: *const f32) -> float32x4_t = vld1q_f32(p));
    intrinsic!(store(p: *mut f32, v: float32x4_t) = vst1q_f32(p, v));
    intrinsic!(add(a: float32x4_t, b: float32x4_t) -> float32x4_t = vaddq_f32(a, b));
    intrinsic!(sub(a: float32x4_t, b: float32x4_t) -> float32x4_t = vsubq_f32(a, b));
    intrinsic!(mul(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmulq_f32(a, b));
    intrinsic!(div(a: float32x4_t, b: float32x4_t) -> float32x4_t = vdivq_f32(a, b));
    intrinsic!(max(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmaxq_f32(a, b));
    intrinsic!(min(a: float32x4_t, b: float32x4_t) -> float32x4_t = vminq_f32(a, b));
    intrinsic!(fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = vfmaq_f32(c, a, b));
    intrinsic!(fnma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = vfmsq_f32(c, a, b));
    intrinsic!(round(a: float32x4_t) -> float32x4_t = vrndnq_f32(a));
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
    intrinsic!(sums(v: [float32x4_t; 4]) -> [f32; 4] = {
        let [a, b, c, d] = v;
        std::mem::transmute::<float32x4_t, [f32; 4]>(vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)))
    });
}

float_kernels! {
    /// Kernels for NEON.
    pub NeonKernels: Neon, "neon", blocks 1, needs Extensions::NEON, features "neon"
}
