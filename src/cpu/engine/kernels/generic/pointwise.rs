//! Element-wise operations, a whole chain of them in one pass over memory.
//!
//! A program is a list of instructions on units, which are planes or blocks of 16 channels. It runs on pieces of rows
//! that fit in the first-level cache. Results that nothing reads after the program never leave it.

#![allow(unsafe_code)]

use super::simd::Simd;
use crate::network::{Binary, Code, Unary};

/// Floats that a piece consists of, in groups of 16.
pub const PIECE: usize = 512;

/// An operand of one instruction for one piece.
#[derive(Debug, Clone, Copy)]
pub struct Operand {
    /// The first group.
    pub at: *mut f32,
    /// Floats from one group to the next: 16, more for pixels of a larger image, 0 for numbers that are the same
    /// everywhere.
    pub step: usize,
}

/// Applies an expression of one or two vectors to all groups. A macro, since features do not reach into closures.
macro_rules! each {
    ($S:ident, $out:ident, $a:ident, $b:ident, $groups:ident, |$x:ident, $y:pat_param| $value:expr) => {
        for i in 0..$groups {
            for lane in (0..16).step_by($S::N) {
                let $x = $S::load($a.at.add(i * $a.step + lane));
                let $y = $S::load($b.at.add(i * $b.step + lane));
                $S::store($out.at.add(i * $out.step + lane), $value);
            }
        }
    };
}

/// Applies an instruction to `groups` groups of 16.
///
/// # Safety
/// All operands hold that many groups; the result overlaps an operand only if both are the same; the processor has the
/// features of `S`.
#[inline(always)]
pub unsafe fn apply<S: Simd>(code: Code, out: Operand, a: Operand, b: Operand, groups: usize) {
    // SAFETY: the caller guarantees pointers and features.
    unsafe {
        match code {
            Code::Unary(Unary::Copy) => each!(S, out, a, b, groups, |x, _| x),
            Code::Unary(Unary::Leaky(slope)) => {
                each!(S, out, a, b, groups, |x, _| S::max(x, S::mul(x, S::splat(slope))))
            }
            Code::Unary(Unary::Clip(low, high)) => {
                each!(S, out, a, b, groups, |x, _| S::min(
                    S::max(x, S::splat(low)),
                    S::splat(high)
                ))
            }
            Code::Unary(Unary::Sigmoid) => each!(S, out, a, b, groups, |x, _| sigmoid::<S>(x)),
            Code::Unary(Unary::Exp) => each!(S, out, a, b, groups, |x, _| exp::<S>(x)),
            Code::Unary(Unary::Log) => each!(S, out, a, b, groups, |x, _| log::<S>(x)),
            Code::Reciprocal => each!(S, out, a, b, groups, |x, _| S::div(S::splat(1.0), x)),
            Code::Binary(Binary::Add) => each!(S, out, a, b, groups, |x, y| S::add(x, y)),
            Code::Binary(Binary::Sub) => each!(S, out, a, b, groups, |x, y| S::sub(x, y)),
            Code::Binary(Binary::Mul) => each!(S, out, a, b, groups, |x, y| S::mul(x, y)),
            Code::Binary(Binary::Div) => each!(S, out, a, b, groups, |x, y| S::div(x, y)),
            Code::Binary(Binary::Max) => each!(S, out, a, b, groups, |x, y| S::max(x, y)),
            Code::Binary(Binary::Min) => each!(S, out, a, b, groups, |x, y| S::min(x, y)),
            Code::Binary(Binary::Pow) => each!(S, out, a, b, groups, |x, y| exp::<S>(S::mul(y, log::<S>(x)))),
        }
    }
}

/// 1 / (1 + e^-x)
///
/// # Safety
/// The processor has the features of `S`.
#[inline(always)]
pub unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic on registers; the caller guarantees the features.
    unsafe { S::reciprocal(S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)))) }
}

/// e^x to within 2 units in the last place. Results are limited to normal numbers.
#[inline(always)]
unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic on registers; the caller guarantees the features.
    unsafe {
        let x = S::min(S::max(x, S::splat(-87.3)), S::splat(88.0));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts, the first of few digits.
        let r = S::fnma(n, S::splat(-2.121_944_4e-4), S::fnma(n, S::splat(0.693_359_4), x));
        let mut p = S::splat(1.987_569_1e-4);
        for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = S::fma(p, r, S::splat(c));
        }
        let p = S::add(S::fma(S::mul(p, r), r, r), S::splat(1.0));
        S::mul(p, S::pow2(n))
    }
}

/// ln x to within 2 units in the last place. Anything below the smallest normal number counts as that number.
#[inline(always)]
unsafe fn log<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic on registers; the caller guarantees the features.
    unsafe {
        let (e, m) = S::frexp(S::max(x, S::splat(f32::MIN_POSITIVE)));
        let r = S::sub(m, S::splat(1.0));
        let r2 = S::mul(r, r);
        let mut p = S::splat(7.037_683_6e-2);
        for c in [
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ] {
            p = S::fma(p, r, S::splat(c));
        }
        let tail = S::fma(
            S::mul(p, r),
            r2,
            S::fma(e, S::splat(-2.121_944_4e-4), S::mul(r2, S::splat(-0.5))),
        );
        S::fma(e, S::splat(0.693_359_4), S::add(r, tail))
    }
}

/// The plain reference; also computes pooled values.
pub fn scalar(code: Code, x: f32, y: f32) -> f32 {
    match code {
        Code::Unary(Unary::Copy) => x,
        Code::Unary(Unary::Leaky(slope)) => x.max(x * slope),
        Code::Unary(Unary::Clip(low, high)) => x.max(low).min(high),
        Code::Unary(Unary::Sigmoid) => 1.0 / (1.0 + (-x).exp()),
        Code::Unary(Unary::Exp) => x.exp(),
        Code::Unary(Unary::Log) => x.max(f32::MIN_POSITIVE).ln(),
        Code::Reciprocal => 1.0 / x,
        Code::Binary(Binary::Add) => x + y,
        Code::Binary(Binary::Sub) => x - y,
        Code::Binary(Binary::Mul) => x * y,
        Code::Binary(Binary::Div) => x / y,
        Code::Binary(Binary::Max) => x.max(y),
        Code::Binary(Binary::Min) => x.min(y),
        Code::Binary(Binary::Pow) => x.powf(y),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::capabilities::Capabilities;
    use crate::cpu::engine::kernels::Kernels;

    #[test]
    fn every_operation_in_every_instruction_set() {
        let mut a: Vec<f32> = (0..64).map(|i| (i as f32 - 30.0) * 0.31).collect();
        let mut b: Vec<f32> = (0..64).map(|i| ((i * 37) % 64) as f32 * 0.05 + 0.01).collect();
        let unary = [
            Unary::Copy,
            Unary::Leaky(0.0),
            Unary::Leaky(0.2),
            Unary::Clip(-1.0, 2.0),
            Unary::Sigmoid,
            Unary::Exp,
        ];
        let binary = [
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Max,
            Binary::Min,
        ];
        let codes = unary.map(Code::Unary).into_iter().chain(binary.map(Code::Binary));
        for kernels in Kernels::all(Capabilities::detected()) {
            let check = |code, a: &mut [f32], b: &mut [f32]| {
                let mut out = vec![0.0; 64];
                let operand = |v: &mut [f32]| Operand {
                    at: v.as_mut_ptr(),
                    step: 16,
                };
                // SAFETY: three slices of four groups.
                unsafe { kernels.floats.apply(code, operand(&mut out), operand(a), operand(b), 4) };
                for i in 0..64 {
                    let expected = scalar(code, a[i], b[i]);
                    let error = (out[i] - expected).abs();
                    assert!(
                        error <= 3e-6 * expected.abs().max(0.1),
                        "{kernels} {code:?} {} {}: {} for {expected}",
                        a[i],
                        b[i],
                        out[i]
                    );
                }
            };
            for code in codes.clone() {
                check(code, &mut a, &mut b);
            }
            let mut positive = b.clone();
            check(Code::Unary(Unary::Log), &mut positive, &mut b);
            check(Code::Reciprocal, &mut positive, &mut b);
            check(Code::Binary(Binary::Pow), &mut positive, &mut b);
        }
    }
}
