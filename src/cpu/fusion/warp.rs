//! Blocks of the frame before, moved along the motion.

use super::motion::{BLOCK, PARTS, Vector};

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

    /// Whether all pixels are there that `n` pixels and up to one block's rows at a place come from, in a plane of `size`.
    #[inline(always)]
    pub fn is_inside(&self, size: (usize, usize), (x, y): (usize, usize), n: usize) -> bool {
        let (from_x, from_y) = (x as isize + self.x, y as isize + self.y);
        let (w, h) = (size.0 as isize, size.1 as isize);
        let rows = BLOCK.min(size.1 - y) as isize;
        from_x >= 1 && from_x + n as isize + 2 <= w && from_y >= 1 && from_y + rows + 2 <= h
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

/// The most pixels that are moved at once: blocks side by side that move alike.
pub(super) const RUN: usize = 16 * BLOCK;

/// Writes a strip of `plane` (`width` × `height`) of `n` pixels, at most [`RUN`], and up to one block's rows at (x, y),
/// moved, to column `x` of `out`, rows of `width`; places outside take the nearest pixel.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) fn moved(
    plane: &[f32],
    width: usize,
    height: usize,
    x: usize,
    y: usize,
    n: usize,
    shift: &Shift,
    out: &mut [f32],
) {
    let (from_x, from_y) = (x as isize + shift.x, y as isize + shift.y);
    let (w, h) = (width as isize, height as isize);
    let rows = BLOCK.min(height - y);
    if n > RUN || !shift.is_inside((width, height), (x, y), n) {
        // At the picture's edges the whole pixel will do.
        for j in 0..rows {
            let start = (from_y + j as isize).clamp(0, h - 1) as usize * width;
            for (i, out) in out[j * width + x..][..n].iter_mut().enumerate() {
                *out = plane[start + (from_x + i as isize).clamp(0, w - 1) as usize];
            }
        }
        return;
    }
    // One row above and two below, for the weights down.
    let first = (from_y as usize - 1) * width + from_x as usize;
    let Some(down) = &shift.vertical else {
        for j in 0..rows {
            along(
                plane,
                first + (j + 1) * width,
                &shift.horizontal,
                &mut out[j * width + x..][..n],
            );
        }
        return;
    };
    let mut across = [[0.0; RUN]; BLOCK + 3];
    for (j, row) in across.iter_mut().enumerate().take(rows + 3) {
        along(plane, first + j * width, &shift.horizontal, &mut row[..n]);
    }
    for j in 0..rows {
        let four = [
            &across[j][..n],
            &across[j + 1][..n],
            &across[j + 2][..n],
            &across[j + 3][..n],
        ];
        weigh(four, down, &mut out[j * width + x..][..n]);
    }
}

/// A row that begins at `at`, between its pixels if there are weights.
#[inline(always)]
fn along(plane: &[f32], at: usize, weights: &Option<[f32; 4]>, out: &mut [f32]) {
    let n = out.len();
    match weights {
        None => out.copy_from_slice(&plane[at..at + n]),
        Some(weights) => {
            let from = &plane[at - 1..at + n + 2];
            weigh(
                [&from[..n], &from[1..n + 1], &from[2..n + 2], &from[3..n + 3]],
                weights,
                out,
            );
        }
    }
}

#[inline(always)]
fn weigh(four: [&[f32]; 4], weights: &[f32; 4], out: &mut [f32]) {
    let n = out.len();
    let [a, b, c, d] = four;
    let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
    for i in 0..n {
        out[i] = weights[0] * a[i] + weights[1] * b[i] + weights[2] * c[i] + weights[3] * d[i];
    }
}
