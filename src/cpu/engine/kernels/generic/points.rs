//! Winograd's minimal filtering F(4×4, k×k): `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` with a tile d of (k+3)×(k+3) pixels, a
//! filter g and 4×4 results Y (Lavin and Gray, 2016; matrices after Toom and Cook).
//!
//! The points are 0, ±0.625, ±1.25, ∞ for 3×3 and 0, ±½, ±1, ±2, ∞ for 5×5: their rounding errors are those of a
//! direct convolution. The transforms of data use that points come in pairs ±a: even and odd parts are computed once.

#![allow(unsafe_code)]

use super::simd::Simd;

/// Results per side of a tile.
pub const TILE: usize = 4;

/// The transforms for one kernel size.
pub trait Points {
    /// Side of the kernel.
    const KERNEL: usize;
    /// Points, which is also the side of an input tile.
    const N: usize;
    /// The finite points.
    const FINITE: &'static [f64];
    /// The most that the transform multiplies the largest magnitude of a tile by.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    const GAIN: f32;
    /// `[T; N]`
    type Line<T: Copy>: Copy + AsRef<[T]> + AsMut<[T]>;

    /// All entries `value`.
    fn line<T: Copy>(value: T) -> Self::Line<T>;
    /// A line with Bᵀ applied.
    ///
    /// # Safety
    /// The processor has the features of `S`.
    unsafe fn input<S: Simd>(d: &Self::Line<S::V>) -> Self::Line<S::V>;
    /// A line with Aᵀ applied.
    ///
    /// # Safety
    /// The processor has the features of `S`.
    unsafe fn output<S: Simd>(m: &Self::Line<S::V>) -> [S::V; TILE];
}

/// F(4×4, 3×3)
pub struct Three;
/// F(4×4, 5×5)
pub struct Five;

impl Points for Three {
    const KERNEL: usize = 3;
    const N: usize = 6;
    const FINITE: &'static [f64] = &[0.0, 0.625, -0.625, 1.25, -1.25];
    // (1.25² + 1)(1 + 0.625), squared.
    const GAIN: f32 = 17.339_417;
    type Line<T: Copy> = [T; 6];

    #[inline(always)]
    fn line<T: Copy>(value: T) -> [T; 6] {
        [value; 6]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>(d: &[S::V; 6]) -> [S::V; 6] {
        const A: f32 = 0.625;
        const B: f32 = 1.25;
        // SAFETY: arithmetic on registers; the caller guarantees the features.
        unsafe {
            let (a, b) = (S::splat(A), S::splat(B));
            let (a2, b2) = (S::splat(A * A), S::splat(B * B));
            let (sum, product) = (S::splat(A * A + B * B), S::splat(A * A * B * B));
            let even_a = S::fnma(b2, d[2], d[4]);
            let odd_a = S::fnma(b2, d[1], d[3]);
            let even_b = S::fnma(a2, d[2], d[4]);
            let odd_b = S::fnma(a2, d[1], d[3]);
            [
                S::fma(product, d[0], S::fnma(sum, d[2], d[4])),
                S::fma(a, odd_a, even_a),
                S::fnma(a, odd_a, even_a),
                S::fma(b, odd_b, even_b),
                S::fnma(b, odd_b, even_b),
                S::fma(product, d[1], S::fnma(sum, d[3], d[5])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: &[S::V; 6]) -> [S::V; 4] {
        const A: f32 = 0.625;
        const B: f32 = 1.25;
        // SAFETY: as above.
        unsafe {
            let (sa, da) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
            let (sb, db) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
            [
                S::add(m[0], S::add(sa, sb)),
                S::fma(S::splat(B), db, S::mul(S::splat(A), da)),
                S::fma(S::splat(B * B), sb, S::mul(S::splat(A * A), sa)),
                S::fma(S::splat(B * B * B), db, S::fma(S::splat(A * A * A), da, m[5])),
            ]
        }
    }
}

impl Points for Five {
    const KERNEL: usize = 5;
    const N: usize = 8;
    const FINITE: &'static [f64] = &[0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0];
    // (4 + 5 + 1)(1 + ½), squared.
    const GAIN: f32 = 225.0;
    type Line<T: Copy> = [T; 8];

    #[inline(always)]
    fn line<T: Copy>(value: T) -> [T; 8] {
        [value; 8]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>(d: &[S::V; 8]) -> [S::V; 8] {
        // SAFETY: arithmetic on registers; the caller guarantees the features.
        unsafe {
            let k = S::splat(5.25);
            // Even and odd parts at ±½ (from 1 and 4), ±1 (¼ and 4), ±2 (¼ and 1): x⁴ − (q + r) x² + q r.
            let (five, four) = (S::splat(5.0), S::splat(4.0));
            let (s17, quarter5, quarter) = (S::splat(4.25), S::splat(1.25), S::splat(0.25));
            let even_h = S::fma(four, d[2], S::fnma(five, d[4], d[6]));
            let odd_h = S::fma(four, d[1], S::fnma(five, d[3], d[5]));
            let even_1 = S::add(d[2], S::fnma(s17, d[4], d[6]));
            let odd_1 = S::add(d[1], S::fnma(s17, d[3], d[5]));
            let even_2 = S::fma(quarter, d[2], S::fnma(quarter5, d[4], d[6]));
            let odd_2 = S::fma(quarter, d[1], S::fnma(quarter5, d[3], d[5]));
            let (half, two) = (S::splat(0.5), S::splat(2.0));
            [
                S::fma(k, S::sub(d[2], d[4]), S::sub(d[6], d[0])),
                S::fma(half, odd_h, even_h),
                S::fnma(half, odd_h, even_h),
                S::add(even_1, odd_1),
                S::sub(even_1, odd_1),
                S::fma(two, odd_2, even_2),
                S::fnma(two, odd_2, even_2),
                S::fma(k, S::sub(d[3], d[5]), S::sub(d[7], d[1])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: &[S::V; 8]) -> [S::V; 4] {
        // SAFETY: as above.
        unsafe {
            let (sh, dh) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
            let (s1, d1) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
            let (s2, d2) = (S::add(m[5], m[6]), S::sub(m[5], m[6]));
            [
                S::add(S::add(m[0], sh), S::add(s1, s2)),
                S::fma(S::splat(0.5), dh, S::fma(S::splat(2.0), d2, d1)),
                S::fma(S::splat(0.25), sh, S::fma(S::splat(4.0), s2, s1)),
                S::fma(S::splat(0.125), dh, S::fma(S::splat(8.0), d2, S::add(d1, m[7]))),
            ]
        }
    }
}

/// G: row i are the filter's weights of point i.
pub fn filter_matrix<P: Points>() -> Vec<Vec<f64>> {
    let powers = |a: f64| (0..P::KERNEL).map(move |k| a.powi(k as i32));
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for &a in P::FINITE {
        let norm: f64 = P::FINITE.iter().filter(|&&b| b != a).map(|b| a - b).product();
        rows.push(powers(a).map(|p| p / norm).collect());
    }
    rows.push(
        (0..P::KERNEL)
            .map(|k| f64::from(u8::from(k + 1 == P::KERNEL)))
            .collect(),
    );
    rows
}

/// `G g Gᵀ`, row by row, for a filter of `KERNEL` × `KERNEL` weights.
pub fn transform_filter<P: Points>(g: &[f32]) -> Vec<f32> {
    let matrix = filter_matrix::<P>();
    let at = |i: usize, j: usize| {
        let mut sum = 0.0;
        for (y, row) in g.chunks_exact(P::KERNEL).enumerate() {
            for (x, &w) in row.iter().enumerate() {
                sum += matrix[i][y] * matrix[j][x] * f64::from(w);
            }
        }
        sum as f32
    };
    (0..P::N * P::N).map(|p| at(p / P::N, p % P::N)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::engine::kernels::portable::Portable;

    /// Filtering of one line: the transforms compared with the sums that they replace.
    fn one_line<P: Points>() {
        let d: Vec<f32> = (0..P::N).map(|i| ((i * 7 + 3) % 11) as f32 - 5.0).collect();
        let g: Vec<f32> = (0..P::KERNEL).map(|i| ((i * 5 + 1) % 7) as f32 - 3.0).collect();
        let mut line = P::line([0.0f32; 4]);
        for (v, &d) in line.as_mut().iter_mut().zip(&d) {
            *v = [d; 4];
        }
        // SAFETY: portable vectors need no features.
        let mut t = unsafe { P::input::<Portable>(&line) };
        for (v, row) in t.as_mut().iter_mut().zip(filter_matrix::<P>()) {
            let w: f64 = row.iter().zip(&g).map(|(a, &b)| a * f64::from(b)).sum();
            *v = v.map(|x| x * w as f32);
        }
        // SAFETY: as above.
        let y = unsafe { P::output::<Portable>(&t) };
        for (i, y) in y.iter().enumerate() {
            let expected: f32 = (0..P::KERNEL).map(|k| d[i + k] * g[k]).sum();
            assert!(
                (y[0] - expected).abs() < 1e-4,
                "kernel {}, result {i}: {} for {expected}",
                P::KERNEL,
                y[0]
            );
        }
    }

    /// The gain is that of the row of Bᵀ with the largest sum of magnitudes, in both directions.
    fn gain<P: Points>() {
        let mut sums = vec![0.0; P::N];
        for k in 0..P::N {
            let mut line = P::line([0.0f32; 4]);
            line.as_mut()[k] = [1.0; 4];
            // SAFETY: portable vectors need no features.
            let row = unsafe { P::input::<Portable>(&line) };
            sums.iter_mut().zip(row.as_ref()).for_each(|(s, v)| *s += v[0].abs());
        }
        let largest = sums.iter().fold(0f32, |m, &s| m.max(s));
        assert!(
            (largest * largest / P::GAIN - 1.0).abs() < 1e-5,
            "{} for {}",
            largest * largest,
            P::GAIN
        );
    }

    #[test]
    fn gains_are_those_of_the_transforms() {
        gain::<Three>();
        gain::<Five>();
    }

    #[test]
    fn transforms_filter_a_line() {
        one_line::<Three>();
        one_line::<Five>();
    }
}
