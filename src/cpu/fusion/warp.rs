//! Blocks of the frame before, moved along the motion.

use super::motion::{BLOCK, PARTS, Vector};

/// A row of a block.
pub(super) type Row = [f32; BLOCK];

/// How far a block is moved: whole pixels, and the weights of the four pixels around a place between pixels
/// (Catmull–Rom), `None` where no part of a pixel is left.
#[derive(Clone, Copy)]
pub(super) struct Shift {
    pub x: isize,
    pub y: isize,
    horizontal: Option<[f32; 4]>,
    vertical: Option<[f32; 4]>,
}

impl Shift {
    #[inline(always)]
    pub fn new(vector: Vector) -> Self {
        let whole = |v: i16| (v as i32).div_euclid(PARTS);
        Self {
            x: whole(vector.x) as isize,
            y: whole(vector.y) as isize,
            horizontal: weights((vector.x as i32).rem_euclid(PARTS)),
            vertical: weights((vector.y as i32).rem_euclid(PARTS)),
        }
    }

    /// The same without the part of a pixel.
    #[inline(always)]
    pub fn whole(self) -> Self {
        Self {
            horizontal: None,
            vertical: None,
            ..self
        }
    }
}

/// The weights of four neighbours at `part` of the way between the middle two.

#[inline(always)]
fn weights(part: i32) -> Option<[f32; 4]> {
    if part == 0 {
        return None;
    }
    let t = part as f32 / PARTS as f32;
    let (t2, t3) = (t * t, t * t * t);
    Some([
        0.5 * (-t + 2.0 * t2 - t3),
        0.5 * (2.0 - 5.0 * t2 + 3.0 * t3),
        0.5 * (t + 4.0 * t2 - 3.0 * t3),
        0.5 * (t3 - t2),
    ])
}

/// The row of `plane` (`width` × `height`) at (x, y), moved; places outside take the nearest pixel.
#[inline(always)]
pub(super) fn moved(plane: &[f32], width: usize, height: usize, x: usize, y: usize, shift: &Shift) -> Row {
    let (x, y) = (x as isize + shift.x, y as isize + shift.y);
    let (w, h) = (width as isize, height as isize);
    let inside = x >= 1 && x + BLOCK as isize + 2 <= w && y >= 1 && y + 3 <= h;
    if inside {
        let at = y as usize * width + x as usize;
        return match (&shift.horizontal, &shift.vertical) {
            (None, None) => row(plane, at),
            (Some(k), None) => across(plane, at, k),
            (None, Some(k)) => {
                let rows = [
                    row(plane, at - width),
                    row(plane, at),
                    row(plane, at + width),
                    row(plane, at + 2 * width),
                ];
                down(&rows, k)
            }
            (Some(h), Some(v)) => {
                let rows = [
                    across(plane, at - width, h),
                    across(plane, at, h),
                    across(plane, at + width, h),
                    across(plane, at + 2 * width, h),
                ];
                down(&rows, v)
            }
        };
    }
    // At the picture's edges the whole pixel will do.
    let mut out = [0.0; BLOCK];
    let start = y.clamp(0, h - 1) as usize * width;
    for (i, out) in out.iter_mut().enumerate() {
        *out = plane[start + (x + i as isize).clamp(0, w - 1) as usize];
    }
    out
}

#[inline(always)]
fn row(plane: &[f32], at: usize) -> Row {
    let mut out = [0.0; BLOCK];
    out.copy_from_slice(&plane[at..at + BLOCK]);
    out
}

#[inline(always)]
fn across(plane: &[f32], at: usize, k: &[f32; 4]) -> Row {
    let from = &plane[at - 1..at + BLOCK + 2];
    let mut out = [0.0; BLOCK];
    for i in 0..BLOCK {
        out[i] = k[0] * from[i] + k[1] * from[i + 1] + k[2] * from[i + 2] + k[3] * from[i + 3];
    }
    out
}

#[inline(always)]
fn down(rows: &[Row; 4], k: &[f32; 4]) -> Row {
    let mut out = [0.0; BLOCK];
    for i in 0..BLOCK {
        out[i] = k[0] * rows[0][i] + k[1] * rows[1][i] + k[2] * rows[2][i] + k[3] * rows[3][i];
    }
    out
}
