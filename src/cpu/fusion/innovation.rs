//! Innovations: how the new frame differs from what the memory expects of it, cell by cell.

use super::motion::{BLOCK, Motion};
use super::warp::{RUN, Shift, moved};
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::colour::Planes;
use crate::cpu::threads::{Disjoint, Pool};

/// Side of a cell in pixels.
pub(super) const CELL: usize = 4;
/// Squared codes of 8 bits in the square of a value from 0 to 1.
pub(super) const CODES: f32 = 255.0 * 255.0;

/// Pixels of a row whose sums are made together: a multiple of [`CELL`].
const CHUNK: usize = 256;

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

/// The memory of the frame before, and how it moved.
pub(super) struct Past<'a> {
    pub picture: &'a Planes,
    /// How many frames are in each pixel of it.
    pub count: &'a Planes,
    pub motion: &'a Motion,
}

/// Moves the memory to where it is expected in `image`, and fills `cells` with what `image` differs by, `columns` in a row.
#[allow(unsafe_code, clippy::too_many_arguments)]
pub(super) fn innovations(
    pool: &Pool,
    capabilities: Capabilities,
    image: &Planes,
    past: &Past<'_>,
    expected: &mut Planes,
    expected_count: &mut Planes,
    columns: usize,
    cells: &mut [Cell],
) {
    let (width, height, plane) = (image.width, image.height, image.plane_len());
    let work = Work { image, past, columns };
    let of_block = BLOCK / CELL * columns;
    let len = cells.len();
    let cells = Disjoint::new(cells);
    let (picture, count) = (
        Disjoint::new(&mut expected.data),
        Disjoint::new(&mut expected_count.data),
    );
    pool.run(height.div_ceil(BLOCK), &|row| {
        let (from, to) = (row * BLOCK * width, height.min((row + 1) * BLOCK) * width);
        // SAFETY: each task has its own rows and cells, and the three channels lie apart.
        let (cells, expected) = unsafe {
            let cells = cells.part(row * of_block..len.min((row + 1) * of_block));
            let channel = |c: usize| picture.part(c * plane + from..c * plane + to);
            (cells, [channel(0), channel(1), channel(2), count.part(from..to)])
        };
        measure(capabilities, &work, row, expected, cells);
    });
}

struct Work<'a> {
    image: &'a Planes,
    past: &'a Past<'a>,
    columns: usize,
}

vectorised! {
    fn measure(work: &Work<'_>, row: usize, expected: [&mut [f32]; 4], cells: &mut [Cell]) = measure_blocks
}

#[inline(always)]
fn measure_blocks(work: &Work<'_>, row: usize, mut expected: [&mut [f32]; 4], cells: &mut [Cell]) {
    let (width, height) = (work.image.width, work.image.height);
    let (plane, top) = (width * height, row * BLOCK);
    for (c, expected) in expected.iter_mut().enumerate() {
        let (from, whole) = match c {
            3 => (&work.past.count.data[..], true),
            c => (&work.past.picture.data[c * plane..(c + 1) * plane], false),
        };
        let mut left = 0;
        while left < width {
            // Blocks that move alike are moved together, those that come from the picture's edges on their own.
            let vector = work.past.motion.vector(left / BLOCK, row);
            let shift = Shift::new(vector);
            let inside = |left: usize| shift.is_inside((width, height), (left, top), BLOCK.min(width - left));
            let alike = |left: usize| work.past.motion.vector(left / BLOCK, row) == vector && inside(left);
            let mut right = left + BLOCK;
            while right < width && right - left < RUN && inside(left) && alike(right) {
                right += BLOCK;
            }
            let n = right.min(width) - left;
            let shift = if whole { shift.whole() } else { shift };
            moved(from, width, height, left, top, n, &shift, expected);
            left += n;
        }
    }
    for half in 0..BLOCK / CELL {
        let from = top + half * CELL;
        if from >= height {
            break;
        }
        let rows = CELL.min(height - from);
        let mut left = 0;
        while left < width {
            let n = CHUNK.min(width - left);
            // Sums down the columns of the cells: squares, means of the channels, intensity, detail.
            let mut columns = [[0.0f32; CHUNK]; 6];
            let [squares, red, green, blue, intensity, detail] = &mut columns;
            for y in from..from + rows {
                for (c, means) in [&mut *red, &mut *green, &mut *blue].into_iter().enumerate() {
                    let new = &work.image.row(c, y)[left..left + n];
                    let old = &expected[c][(y - top) * width + left..][..n];
                    add(new, old, means, squares, intensity, detail);
                }
            }
            let counts = &expected[3][(from - top + rows / 2) * width + left..][..n];
            let cells = &mut cells[half * work.columns + left / CELL..];
            for (cell, out) in cells.iter_mut().take(n.div_ceil(CELL)).enumerate() {
                let (a, b) = (cell * CELL, n.min((cell + 1) * CELL));
                let sum = |column: &[f32; CHUNK], to: usize| column[a..to].iter().sum::<f32>();
                let pixels = ((b - a) * rows) as f32;
                let pairs = (((b - a).max(2) - 1) * rows) as f32;
                *out = Cell {
                    energy: CODES * sum(squares, b) / (3.0 * pixels),
                    means: [sum(red, b) / pixels, sum(green, b) / pixels, sum(blue, b) / pixels],
                    detail: CODES * sum(detail, (b - 1).max(a)) / (6.0 * pairs),
                    intensity: sum(intensity, b) / (3.0 * pixels),
                    spread: 1.0 / counts[(a + b) / 2].max(1.0),
                };
            }
            left += n;
        }
    }
}

/// Adds a row of the new frame and of what was expected to the sums down the columns.
#[inline(always)]
fn add(
    new: &[f32],
    old: &[f32],
    means: &mut [f32; CHUNK],
    squares: &mut [f32; CHUNK],
    intensity: &mut [f32; CHUNK],
    detail: &mut [f32; CHUNK],
) {
    let n = new.len().min(CHUNK);
    let (new, old) = (&new[..n], &old[..n]);
    for i in 0..n {
        let innovation = new[i] - old[i];
        squares[i] += innovation * innovation;
        means[i] += innovation;
        intensity[i] += old[i];
    }
    for i in 1..n {
        let difference = new[i] - new[i - 1];
        detail[i - 1] += difference * difference;
    }
}
