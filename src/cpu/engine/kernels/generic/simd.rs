//! Vectors of 32-bit floats, so that a kernel is written once and compiled for each instruction set.
//!
//! A kernel is an `#[inline(always)]` function generic over [`Simd`]. A function with the instruction set's features
//! enabled calls it. Loads and stores are unaligned unless a method says otherwise.

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
        // SAFETY: the caller guarantees the features.
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
pub const SQRT_HALF_BITS: i32 = 0x3f35_04f3;

/// A method of [`Simd`] that consists of an intrinsic or two.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! intrinsic {
    ($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:expr) => {
        #[inline(always)]
        unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: the caller guarantees features and pointers, as the trait demands.
            unsafe { $body }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use intrinsic;
