//! Innovations: how the new frame differs from what the memory expects of it, cell by cell.

use super::motion::{BLOCK, Motion};
use super::warp::{Shift, moved};
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::colour::Planes;
use crate::cpu::threads::{Disjoint, Pool};

/// Side of a cell in pixels.
pub(super) const CELL: usize = 4;
/// Squared codes of 8 bits in the square of a value from 0 to 1.
pub(super) const CODES: f32 = 255.0 * 255.0;

/// The innovations of one cell. Squares are in codes of 8 bits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    /// The mean square of all samples.
    pub energy: f32,
    /// The mean of each channel, from 0 to 1.
    pub means: [f32; 3],
    /// Half the mean squared difference of neighbours in a row of the new frame: what white noise has as its variance.
    pub detail: f32,
    /// The memory's mean intensity, from 0 to 1.
    pub intensity: f32,
    /// One over the number of frames in memory: how much of the noise is the memory's own.
    pub spread: f32,
}

impl Cell {
    /// The mean square of the channels' means.
    pub fn offset(&self) -> f32 {
        square(&self.means)
    }
}

/// The mean of three squares, in squared codes.
#[inline(always)]
pub(super) fn square(means: &[f32; 3]) -> f32 {
    (means[0] * means[0] + means[1] * means[1] + means[2] * means[2]) * (CODES / 3.0)
}

/// Fills `cells`, `columns` in a row, for `image` against the memory `past`, of which `count` says how many frames are in
/// each pixel.
#[allow(unsafe_code, clippy::too_many_arguments)]
pub(super) fn innovations(
    pool: &Pool,
    capabilities: Capabilities,
    image: &Planes,
    past: &Planes,
    count: &Planes,
    motion: &Motion,
    columns: usize,
    cells: &mut [Cell],
) {
    let work = Work {
        image,
        past,
        count,
        motion,
        columns,
    };
    let of_block = BLOCK / CELL * columns;
    let len = cells.len();
    let cells = Disjoint::new(cells);
    pool.run(image.height.div_ceil(BLOCK), &|row| {
        // SAFETY: each task has its own cells.
        let cells = unsafe { cells.part(row * of_block..len.min((row + 1) * of_block)) };
        measure(capabilities, &work, row, cells);
    });
}

struct Work<'a> {
    image: &'a Planes,
    past: &'a Planes,
    count: &'a Planes,
    motion: &'a Motion,
    columns: usize,
}

vectorised! {
    fn measure(work: &Work<'_>, row: usize, cells: &mut [Cell]) = measure_blocks
}

#[inline(always)]
fn measure_blocks(work: &Work<'_>, row: usize, cells: &mut [Cell]) {
    let (width, height) = (work.image.width, work.image.height);
    let plane = width * height;
    let channels = [0, 1, 2].map(|c| &work.past.data[c * plane..(c + 1) * plane]);
    for column in 0..width.div_ceil(BLOCK) {
        let left = column * BLOCK;
        let n = BLOCK.min(width - left);
        let shift = Shift::new(work.motion.vector(column, row));
        for half in 0..BLOCK / CELL {
            let top = row * BLOCK + half * CELL;
            if top >= height {
                break;
            }
            let rows = CELL.min(height - top);
            let mut squares = [0.0f32; BLOCK];
            let mut sums = [[0.0f32; BLOCK]; 3];
            let mut intensity = [0.0f32; BLOCK];
            let mut detail = [0.0f32; BLOCK];
            for y in top..top + rows {
                for c in 0..3 {
                    let old = moved(channels[c], width, height, left, y, &shift);
                    let new = &work.image.row(c, y)[left..left + n];
                    let mut innovation = [0.0f32; BLOCK];
                    for i in 0..n {
                        innovation[i] = new[i] - old[i];
                    }
                    for i in 0..n - 1 {
                        let difference = new[i + 1] - new[i];
                        detail[i] += difference * difference;
                    }
                    for i in 0..BLOCK {
                        squares[i] += innovation[i] * innovation[i];
                        sums[c][i] += innovation[i];
                        intensity[i] += old[i];
                    }
                }
            }
            let inside = |at: isize, size: usize| at.clamp(0, size as isize - 1) as usize;
            let middle = inside((top + rows / 2) as isize + shift.y, height);
            for cell in 0..n.div_ceil(CELL) {
                let (a, b) = (cell * CELL, n.min((cell + 1) * CELL));
                let mut total = [0.0f32; 6];
                for i in a..b {
                    total[0] += squares[i];
                    total[1] += sums[0][i];
                    total[2] += sums[1][i];
                    total[3] += sums[2][i];
                    total[4] += intensity[i];
                    total[5] += if i + 1 < b { detail[i] } else { 0.0 };
                }
                let pixels = ((b - a) * rows) as f32;
                let pairs = (((b - a).max(2) - 1) * rows) as f32;
                let x = inside((left + (a + b) / 2) as isize + shift.x, width);
                cells[half * work.columns + (left + a) / CELL] = Cell {
                    energy: CODES * total[0] / (3.0 * pixels),
                    means: [total[1] / pixels, total[2] / pixels, total[3] / pixels],
                    detail: CODES * total[5] / (6.0 * pairs),
                    intensity: total[4] / (3.0 * pixels),
                    spread: 1.0 / work.count.row(0, middle)[x].max(1.0),
                };
            }
        }
    }
}
