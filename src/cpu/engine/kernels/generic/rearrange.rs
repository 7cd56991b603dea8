//! Moves numbers between planes and blocks, and sums rows.

#![allow(unsafe_code)]

use super::product::Strides;
use super::simd::Simd;
use crate::network::LANES;

/// Rows `y0` to `y1` of a block, whose channel `4 dy + dx` is pixel (4 y + dy, 4 x + dx) of a plane; from the plane to
/// the block, or back.
///
/// # Safety
/// Pointers and strides cover the rows; no other thread writes them; the processor has the features of `S`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn shuffle_rows<S: Simd>(
    plane: *mut f32,
    plane_strides: Strides,
    block: *mut f32,
    strides: Strides,
    width: usize,
    y0: usize,
    y1: usize,
    back: bool,
) {
    for y in y0..y1 {
        // SAFETY: the caller guarantees pointers and features.
        unsafe {
            let row = |dy: usize, x: usize| plane.add((4 * y + dy) * plane_strides.y + 4 * x);
            let pixel = |x: usize| block.add(y * strides.y + x * strides.x);
            let mut done = 0;
            if S::N == LANES {
                // Four pixels of the block are four rows of a register each.
                while done + 4 <= width {
                    let at = [0, 1, 2, 3].map(|i| (row(i, done), pixel(done + i)));
                    let mut quarters = [S::splat(0.0); 4];
                    for (q, (row, pixel)) in quarters.iter_mut().zip(at) {
                        *q = S::load(if back { pixel } else { row });
                    }
                    for (q, (row, pixel)) in S::quarters(quarters).into_iter().zip(at) {
                        S::store(if back { row } else { pixel }, q);
                    }
                    done += 4;
                }
            }
            for x in done..width {
                for dy in 0..4 {
                    let (p, b) = (row(dy, x).cast::<[f32; 4]>(), pixel(x).add(4 * dy).cast::<[f32; 4]>());
                    if back {
                        p.write_unaligned(b.read_unaligned());
                    } else {
                        b.write_unaligned(p.read_unaligned());
                    }
                }
            }
        }
    }
}

/// Copies rows `y0` to `y1` of one channel.
///
/// # Safety
/// As for [`shuffle_rows`].
pub unsafe fn move_rows(from: *const f32, a: Strides, to: *mut f32, b: Strides, width: usize, y0: usize, y1: usize) {
    for y in y0..y1 {
        for x in 0..width {
            // SAFETY: guaranteed by the caller.
            unsafe { *to.add(y * b.y + x * b.x) = *from.add(y * a.y + x * a.x) };
        }
    }
}

/// Sums groups of 16, `step` floats from one to the next, lane by lane.
///
/// # Safety
/// `row` covers the groups, `out` 16 floats; the processor has the features of `S`.
#[inline(always)]
pub unsafe fn sum_row<S: Simd>(row: *const f32, step: usize, groups: usize, out: *mut f32) {
    for lane in (0..LANES).step_by(S::N) {
        // SAFETY: the caller guarantees pointers and features.
        unsafe {
            let mut sum = S::splat(0.0);
            for i in 0..groups {
                sum = S::add(sum, S::load(row.add(i * step + lane)));
            }
            S::store(out.add(lane), sum);
        }
    }
}
