//! Rows of another length: each new number lies between two neighbours of a row, or is made of a few.

use super::block::BLOCK;
use crate::cpu::capabilities::Capabilities;
#[cfg(target_arch = "x86_64")]
use crate::cpu::capabilities::Extensions;

/// Numbers of a row that is stretched, and as many more as a vector may reach past its end.
pub(super) const LINE: usize = BLOCK + 4 + 32;
/// The row, from `before[0]` on.
pub(super) type Line = [f32; LINE];

/// `out[i]` becomes `part[i]` of the way from number `before[i] − before[0]` of `line` to the next one. `before` rises by
/// 1 at most from one to the next.
#[inline(always)]
pub(super) fn stretch(capabilities: Capabilities, line: &Line, before: &[u32], part: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if capabilities.has(Extensions::VECTORS_512) {
            // SAFETY: the processor has what its capabilities say.
            #[allow(unsafe_code)]
            return unsafe { stretch_512(line, before, part, out) };
        }
        if capabilities.has(Extensions::VECTORS_256) {
            // SAFETY: as above.
            #[allow(unsafe_code)]
            return unsafe { stretch_256(line, before, part, out) };
        }
    }
    let _ = capabilities;
    stretch_from(0, line, before, part, out);
}

/// The same for the numbers from `from` on, one by one.
#[inline(always)]
fn stretch_from(from: usize, line: &Line, before: &[u32], part: &[f32], out: &mut [f32]) {
    for i in from..out.len() {
        let k = (before[i] - before[0]) as usize;
        out[i] = line[k] + part[i] * (line[k + 1] - line[k]);
    }
}

/// Of a vector's numbers the first lies between two neighbours, and no other lies further on than it is itself from the
/// first: all are in one vector from the left neighbour on, and in one from the right neighbour on.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
#[allow(unsafe_code)]
fn stretch_512(line: &Line, before: &[u32], part: &[f32], out: &mut [f32]) {
    use std::arch::x86_64::*;
    const N: usize = 16;
    let n = out.len() / N * N;
    let (before_all, part_all) = (before, part);
    for ((out, before), part) in out
        .chunks_exact_mut(N)
        .zip(before.chunks_exact(N))
        .zip(part.chunks_exact(N))
    {
        let k = (before[0] - before_all[0]) as usize;
        let (left, right) = (&line[k..k + N], &line[k + 1..k + 1 + N]);
        // SAFETY: all slices have N numbers.
        unsafe {
            let at = _mm512_sub_epi32(
                _mm512_loadu_si512(before.as_ptr().cast()),
                _mm512_set1_epi32(before[0] as i32),
            );
            let left = _mm512_permutexvar_ps(at, _mm512_loadu_ps(left.as_ptr()));
            let right = _mm512_permutexvar_ps(at, _mm512_loadu_ps(right.as_ptr()));
            let step = _mm512_mul_ps(_mm512_loadu_ps(part.as_ptr()), _mm512_sub_ps(right, left));
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(left, step));
        }
    }
    stretch_from(n, line, before_all, part_all, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
#[allow(unsafe_code)]
fn stretch_256(line: &Line, before: &[u32], part: &[f32], out: &mut [f32]) {
    use std::arch::x86_64::*;
    const N: usize = 8;
    let n = out.len() / N * N;
    let (before_all, part_all) = (before, part);
    for ((out, before), part) in out
        .chunks_exact_mut(N)
        .zip(before.chunks_exact(N))
        .zip(part.chunks_exact(N))
    {
        let k = (before[0] - before_all[0]) as usize;
        let (left, right) = (&line[k..k + N], &line[k + 1..k + 1 + N]);
        // SAFETY: all slices have N numbers.
        unsafe {
            let at = _mm256_sub_epi32(
                _mm256_loadu_si256(before.as_ptr().cast()),
                _mm256_set1_epi32(before[0] as i32),
            );
            let left = _mm256_permutevar8x32_ps(_mm256_loadu_ps(left.as_ptr()), at);
            let right = _mm256_permutevar8x32_ps(_mm256_loadu_ps(right.as_ptr()), at);
            let step = _mm256_mul_ps(_mm256_loadu_ps(part.as_ptr()), _mm256_sub_ps(right, left));
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_add_ps(left, step));
        }
    }
    stretch_from(n, line, before_all, part_all, out);
}

/// `out[i]` gains `shares[i]` of number `first[i] − first[0]` of `line`.
#[inline(always)]
pub(super) fn add_shares(capabilities: Capabilities, line: &[f32], first: &[u32], shares: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if capabilities.has(Extensions::VECTORS_512) {
            // SAFETY: the processor has what its capabilities say.
            #[allow(unsafe_code)]
            return unsafe { add_shares_512(line, first, shares, out) };
        }
        if capabilities.has(Extensions::VECTORS_256) {
            // SAFETY: as above.
            #[allow(unsafe_code)]
            return unsafe { add_shares_256(line, first, shares, out) };
        }
    }
    let _ = capabilities;
    add_shares_from(0, line, first, shares, out);
}

/// The same for the numbers from `from` on, one by one.
#[inline(always)]
fn add_shares_from(from: usize, line: &[f32], first: &[u32], shares: &[f32], out: &mut [f32]) {
    for i in from..out.len() {
        out[i] += shares[i] * line[(first[i] - first[0]) as usize];
    }
}

/// Where the numbers of a vector of N come from two vectors of the line, as they do at up to twice the size, both are
/// permuted at once.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
#[allow(unsafe_code)]
fn add_shares_512(line: &[f32], first: &[u32], shares: &[f32], out: &mut [f32]) {
    use std::arch::x86_64::*;
    const N: usize = 16;
    let n = out.len() / N * N;
    for i in (0..n).step_by(N) {
        let (at, share, out) = (&first[i..i + N], &shares[i..i + N], &mut out[i..i + N]);
        let k = (at[0] - first[0]) as usize;
        if (at[N - 1] - at[0]) as usize >= 2 * N || k + 2 * N > line.len() {
            for j in 0..N {
                out[j] += share[j] * line[(at[j] - first[0]) as usize];
            }
            continue;
        }
        let (low, high) = (&line[k..k + N], &line[k + N..k + 2 * N]);
        // SAFETY: all slices have N numbers.
        unsafe {
            let at = _mm512_sub_epi32(_mm512_loadu_si512(at.as_ptr().cast()), _mm512_set1_epi32(at[0] as i32));
            let found = _mm512_permutex2var_ps(_mm512_loadu_ps(low.as_ptr()), at, _mm512_loadu_ps(high.as_ptr()));
            let part = _mm512_mul_ps(_mm512_loadu_ps(share.as_ptr()), found);
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(_mm512_loadu_ps(out.as_ptr()), part));
        }
    }
    add_shares_from(n, line, first, shares, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
#[allow(unsafe_code)]
fn add_shares_256(line: &[f32], first: &[u32], shares: &[f32], out: &mut [f32]) {
    use std::arch::x86_64::*;
    const N: usize = 8;
    let n = out.len() / N * N;
    for i in (0..n).step_by(N) {
        let (at, share, out) = (&first[i..i + N], &shares[i..i + N], &mut out[i..i + N]);
        let k = (at[0] - first[0]) as usize;
        if (at[N - 1] - at[0]) as usize >= 2 * N || k + 2 * N > line.len() {
            for j in 0..N {
                out[j] += share[j] * line[(at[j] - first[0]) as usize];
            }
            continue;
        }
        let (low, high) = (&line[k..k + N], &line[k + N..k + 2 * N]);
        // SAFETY: all slices have N numbers.
        unsafe {
            let at = _mm256_sub_epi32(_mm256_loadu_si256(at.as_ptr().cast()), _mm256_set1_epi32(at[0] as i32));
            let low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(low.as_ptr()), at);
            let high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(high.as_ptr()), at);
            let in_high = _mm256_castsi256_ps(_mm256_cmpgt_epi32(at, _mm256_set1_epi32(N as i32 - 1)));
            let part = _mm256_mul_ps(_mm256_loadu_ps(share.as_ptr()), _mm256_blendv_ps(low, high, in_high));
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_add_ps(_mm256_loadu_ps(out.as_ptr()), part));
        }
    }
    add_shares_from(n, line, first, shares, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::capabilities::Level;

    /// Every level stretches as one by one, for rows of every length and from a half to the same number.
    #[test]
    fn all_levels_stretch_alike() {
        let mut line: Line = [0.0; LINE];
        for (i, v) in line.iter_mut().enumerate() {
            *v = ((i * 7919) % 97) as f32 / 97.0;
        }
        for (n, scale) in [
            (1, 0.5),
            (15, 0.5),
            (64, 0.71),
            (97, 0.333),
            (516, 1.0),
            (516, 0.99),
            (33, 0.002),
        ] {
            let at = |i: usize| 3.4 + i as f64 * scale;
            let before: Vec<u32> = (0..n).map(|i| at(i) as u32).collect();
            let part: Vec<f32> = (0..n).map(|i| at(i).fract() as f32).collect();
            let mut expected = vec![0.0; n];
            stretch_from(0, &line, &before, &part, &mut expected);
            for &level in Level::available() {
                let mut out = vec![0.0; n];
                stretch(Capabilities::at(level), &line, &before, &part, &mut out);
                assert_eq!(out, expected, "{level}, {n} numbers, {scale}");
            }
        }
    }

    /// Every level takes the same shares, at any scale.
    #[test]
    fn all_levels_take_the_same_shares() {
        let line: Vec<f32> = (0..LINE).map(|i| ((i * 7919) % 97) as f32 / 97.0).collect();
        for (n, scale) in [
            (1, 1.5),
            (17, 1.0),
            (64, 1.41),
            (250, 2.0),
            (100, 2.03),
            (99, 3.7),
            (7, 60.0),
        ] {
            let first: Vec<u32> = (0..n).map(|i| (5.3 + i as f64 * scale) as u32).collect();
            let shares: Vec<f32> = (0..n).map(|i| (i % 7) as f32 / 7.0).collect();
            let mut expected = vec![0.5; n];
            add_shares_from(0, &line, &first, &shares, &mut expected);
            for &level in Level::available() {
                let mut out = vec![0.5; n];
                add_shares(Capabilities::at(level), &line, &first, &shares, &mut out);
                assert_eq!(out, expected, "{level}, {n} numbers, {scale}");
                // The line may end with the last number that is taken.
                let end = (first[n - 1] - first[0]) as usize + 1;
                let mut out = vec![0.5; n];
                add_shares(Capabilities::at(level), &line[..end], &first, &shares, &mut out);
                assert_eq!(out, expected, "{level}, {n} numbers, {scale}, of a short line");
            }
        }
    }
}
