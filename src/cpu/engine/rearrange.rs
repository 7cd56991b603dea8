//! Moving numbers between planes and blocks, and sums of rows.

#![allow(unsafe_code)]

use super::product::{LANES, Strides};
use super::vector::{Simd, dispatch};

/// Rows `y0` to `y1` of a block, whose channel `4 dy + dx` is pixel (4 y + dy, 4 x + dx) of a plane; from the plane to
/// the block, or back.
///
/// # Safety
/// Pointers and strides cover the rows; no other thread writes them.
#[allow(clippy::too_many_arguments)]
pub unsafe fn shuffle_rows(
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
        for x in 0..width {
            for dy in 0..4 {
                // SAFETY: the caller's word.
                unsafe {
                    let p = plane.add((4 * y + dy) * plane_strides.y + 4 * x).cast::<[f32; 4]>();
                    let b = block.add(y * strides.y + x * strides.x + 4 * dy).cast::<[f32; 4]>();
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
            // SAFETY: the caller's word.
            unsafe { *to.add(y * b.y + x * b.x) = *from.add(y * a.y + x * a.x) };
        }
    }
}

dispatch! {
    /// Sums groups of 16, `step` floats from one to the next, lane by lane.
    ///
    /// # Safety
    /// `row` covers the groups, `out` 16 floats.
    pub unsafe fn sum_row(row: *const f32, step: usize, groups: usize, out: *mut f32) = sum_row_of
}

#[inline(always)]
unsafe fn sum_row_of<S: Simd>(row: *const f32, step: usize, groups: usize, out: *mut f32) {
    for lane in (0..LANES).step_by(S::N) {
        // SAFETY: the caller's word, and the features of `S`.
        unsafe {
            let mut sum = S::splat(0.0);
            for i in 0..groups {
                sum = S::add(sum, S::load(row.add(i * step + lane)));
            }
            S::store(out.add(lane), sum);
        }
    }
}
