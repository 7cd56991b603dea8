//! The memory of the frame before, moved along the motion, block by block.

use super::motion::{BLOCK, Motion, PARTS, Vector};
use crate::cpu::colour::Planes;
use crate::cpu::memory::prefetch;

/// How far a block is moved: whole pixels, and the weights of the four pixels around a place between pixels
/// (Catmull–Rom), `None` where no part of a pixel is left.
#[derive(Clone, Copy)]
struct Shift {
    x: isize,
    y: isize,
    horizontal: Option<[f32; 4]>,
    vertical: Option<[f32; 4]>,
}

impl Shift {
    #[inline(always)]
    fn new(vector: Vector) -> Self {
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
    fn is_inside(&self, size: (usize, usize), (x, y): (usize, usize), n: usize) -> bool {
        let (from_x, from_y) = (x as isize + self.x, y as isize + self.y);
        let (w, h) = (size.0 as isize, size.1 as isize);
        let rows = BLOCK.min(size.1 - y) as isize;
        from_x >= 1 && from_x + n as isize + 2 <= w && from_y >= 1 && from_y + rows + 2 <= h
    }

    /// The same without the part of a pixel.
    #[inline(always)]
    fn whole(self) -> Self {
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
const RUN: usize = 16 * BLOCK;

/// Pixels of a row that are worked on together: a multiple of [`BLOCK`].
pub(super) const CHUNK: usize = 256;

/// A chunk of a row of blocks.
pub(super) type Moved = [[f32; CHUNK]; BLOCK];

/// Asks for the pixels of a chunk that begins at `from`, as far as the row goes. Rows lie apart, and there are too many of
/// them in a row of blocks for the processor to see where each goes on.
#[inline(always)]
pub(super) fn prefetch_ahead(row: &[f32], from: usize) {
    for line in row[from..].chunks(LINE).take(CHUNK / LINE) {
        prefetch(line.as_ptr());
    }
}

/// Numbers of a line of a cache.
const LINE: usize = 16;

/// The memory of the frame before, and how it moved.
pub(super) struct Past<'a> {
    pub picture: &'a Planes,
    /// How many frames are in each pixel of it.
    pub count: &'a Planes,
    pub motion: &'a Motion,
}

impl Past<'_> {
    /// Whether none of `n` pixels from `left` on in a row of blocks moves.
    #[inline(always)]
    pub fn rests(&self, row: usize, left: usize, n: usize) -> bool {
        for column in left / BLOCK..(left + n).div_ceil(BLOCK) {
            if self.motion.vector(column, row) != Vector::default() {
                return false;
            }
        }
        true
    }

    /// The memory of `n` pixels, at most [`CHUNK`], from `left` on in a row of blocks, moved to where it is expected: the
    /// first of `out` are channels of the picture, a fourth is the counts.
    #[inline(always)]
    pub fn expect(&self, row: usize, left: usize, n: usize, out: &mut [Moved]) {
        let size = (self.picture.width, self.picture.height);
        let (top, end) = (row * BLOCK, left + n);
        let mut x = left;
        while x < end {
            // Blocks that move alike are moved together, those that come from the picture's edges on their own.
            let vector = self.motion.vector(x / BLOCK, row);
            let shift = Shift::new(vector);
            let mut right = x + BLOCK;
            if shift.is_inside(size, (x, top), BLOCK.min(size.0 - x)) {
                while right < end
                    && right - x < RUN
                    && self.motion.vector(right / BLOCK, row) == vector
                    && shift.is_inside(size, (right, top), BLOCK.min(size.0 - right))
                {
                    right += BLOCK;
                }
            }
            let n = right.min(end) - x;
            for (c, out) in out.iter_mut().enumerate() {
                match c {
                    3 => moved(&self.count.data, size, (x, top), n, &shift.whole(), out, x - left),
                    c => {
                        let plane = &self.picture.data[c * size.0 * size.1..][..size.0 * size.1];
                        moved(plane, size, (x, top), n, &shift, out, x - left);
                    }
                }
            }
            x += n;
        }
    }

    /// How many frames are in the pixel that is expected at (x, y).
    #[inline(always)]
    pub fn count_at(&self, x: usize, y: usize) -> f32 {
        let shift = Shift::new(self.motion.vector(x / BLOCK, y / BLOCK));
        let x = (x as isize + shift.x).clamp(0, self.count.width as isize - 1) as usize;
        let y = (y as isize + shift.y).clamp(0, self.count.height as isize - 1) as usize;
        self.count.data[y * self.count.width + x]
    }
}

/// Writes a strip of `plane` of `n` pixels, at most [`RUN`], and up to one block's rows at (x, y), moved, to column `at` of
/// `out`; places outside take the nearest pixel.
#[inline(always)]
fn moved(
    plane: &[f32],
    (width, height): (usize, usize),
    (x, y): (usize, usize),
    n: usize,
    shift: &Shift,
    out: &mut Moved,
    at: usize,
) {
    let (from_x, from_y) = (x as isize + shift.x, y as isize + shift.y);
    let (w, h) = (width as isize, height as isize);
    let rows = BLOCK.min(height - y);
    if n > RUN || !shift.is_inside((width, height), (x, y), n) {
        // At the picture's edges the whole pixel will do.
        for (j, row) in out.iter_mut().enumerate().take(rows) {
            let start = (from_y + j as isize).clamp(0, h - 1) as usize * width;
            for (i, out) in row[at..at + n].iter_mut().enumerate() {
                *out = plane[start + (from_x + i as isize).clamp(0, w - 1) as usize];
            }
        }
        return;
    }
    // One row above and two below, for the weights down.
    let first = (from_y as usize - 1) * width + from_x as usize;
    let Some(down) = &shift.vertical else {
        for (j, row) in out.iter_mut().enumerate().take(rows) {
            along(plane, first + (j + 1) * width, &shift.horizontal, &mut row[at..at + n]);
        }
        return;
    };
    let mut across = [[0.0; RUN]; BLOCK + 3];
    for (j, row) in across.iter_mut().enumerate().take(rows + 3) {
        along(plane, first + j * width, &shift.horizontal, &mut row[..n]);
    }
    for (j, row) in out.iter_mut().enumerate().take(rows) {
        let four = [
            &across[j][..n],
            &across[j + 1][..n],
            &across[j + 2][..n],
            &across[j + 3][..n],
        ];
        weigh(four, down, &mut row[at..at + n]);
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
