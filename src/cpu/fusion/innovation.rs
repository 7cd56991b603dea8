//! Innovations: how the new frame differs from what the memory expects of it, cell by cell.

use super::motion::BLOCK;
use super::warp::{CHUNK, Moved, Past, prefetch_ahead};
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::colour::Planes;
use crate::cpu::memory::try_filled;
use crate::cpu::threads::{Disjoint, Pool};
use crate::error::Result;

/// Side of a cell in pixels.
pub(super) const CELL: usize = 4;
/// Squared codes of 8 bits in the square of a value from 0 to 1.
pub(super) const CODES: f32 = 255.0 * 255.0;

/// Numbers of each cell.
const NUMBERS: usize = 7;

/// The innovations of all cells. Squares are in codes of 8 bits.
pub(super) struct Cells {
    pub columns: usize,
    pub rows: usize,
    /// For each row of cells the numbers of [`CellRow`] one after the other, `columns` each.
    data: Vec<f32>,
}

/// The innovations of a row of cells.
#[derive(Clone, Copy)]
pub(super) struct CellRow<'a> {
    /// The mean square of all samples.
    pub energy: &'a [f32],
    /// The mean of each channel, from 0 to 1.
    pub means: [&'a [f32]; 3],
    /// Half the mean squared difference of the innovations of neighbours in a row: the same as `energy` for white noise, less
    /// for what is smooth.
    pub detail: &'a [f32],
    /// The memory's mean intensity, from 0 to 1.
    pub intensity: &'a [f32],
    /// One over the number of frames in memory: how much of the noise is the memory's own.
    pub spread: &'a [f32],
}

impl Cells {
    /// The cells of a picture of `size`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(size: (usize, usize)) -> Result<Self> {
        let (columns, rows) = (size.0.div_ceil(CELL), size.1.div_ceil(CELL));
        Ok(Self {
            columns,
            rows,
            data: try_filled(0.0, columns * rows * NUMBERS)?,
        })
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        4 * self.data.len()
    }

    /// A row of cells.
    #[inline(always)]
    pub fn row(&self, y: usize) -> CellRow<'_> {
        let row = &self.data[y * NUMBERS * self.columns..][..NUMBERS * self.columns];
        let (energy, row) = row.split_at(self.columns);
        let (red, row) = row.split_at(self.columns);
        let (green, row) = row.split_at(self.columns);
        let (blue, row) = row.split_at(self.columns);
        let (detail, row) = row.split_at(self.columns);
        let (intensity, spread) = row.split_at(self.columns);
        CellRow {
            energy,
            means: [red, green, blue],
            detail,
            intensity,
            spread,
        }
    }
}

/// The mean of three squares, in squared codes.
#[inline(always)]
pub(super) fn square(means: &[f32; 3]) -> f32 {
    (means[0] * means[0] + means[1] * means[1] + means[2] * means[2]) * (CODES / 3.0)
}

/// Fills `cells` with what `image` differs by from the memory, where that is expected.
#[allow(unsafe_code)]
pub(super) fn innovations(pool: &Pool, capabilities: Capabilities, image: &Planes, past: &Past<'_>, cells: &mut Cells) {
    let work = Work {
        image,
        past,
        columns: cells.columns,
    };
    let of_block = BLOCK / CELL * NUMBERS * cells.columns;
    let len = cells.data.len();
    let cells = Disjoint::new(&mut cells.data);
    pool.run(image.height.div_ceil(BLOCK), &|row| {
        // SAFETY: each task has its own cells.
        let cells = unsafe { cells.part(row * of_block..len.min((row + 1) * of_block)) };
        measure(capabilities, &work, row, cells);
    });
}

struct Work<'a> {
    image: &'a Planes,
    past: &'a Past<'a>,
    columns: usize,
}

vectorised! {
    fn measure(work: &Work<'_>, row: usize, cells: &mut [f32]) = measure_blocks
}

/// Sums down the columns of a row of cells.
struct Sums {
    squares: [f32; CHUNK],
    means: [[f32; CHUNK]; 3],
    intensity: [f32; CHUNK],
    detail: [f32; CHUNK],
}

impl Sums {
    const NONE: Self = Self {
        squares: [0.0; CHUNK],
        means: [[0.0; CHUNK]; 3],
        intensity: [0.0; CHUNK],
        detail: [0.0; CHUNK],
    };
}

#[inline(always)]
fn measure_blocks(work: &Work<'_>, row: usize, cells: &mut [f32]) {
    let (width, height) = (work.image.width, work.image.height);
    let top = row * BLOCK;
    let mut room: [Moved; 3] = [[[0.0; CHUNK]; BLOCK]; 3];
    let mut sums = Sums::NONE;
    let mut left = 0;
    while left < width {
        let n = CHUNK.min(width - left);
        let rests = work.past.rests(row, left, n);
        if !rests {
            work.past.expect(row, left, n, &mut room);
        }
        for (half, cells) in cells.chunks_mut(NUMBERS * work.columns).enumerate() {
            let from = top + half * CELL;
            let rows = CELL.min(height - from);
            let mut pairs: [[(&[f32], &[f32]); 3]; CELL] = [[(&[], &[]); 3]; CELL];
            for (pairs, y) in pairs.iter_mut().zip(from..from + rows) {
                for (c, (pair, room)) in pairs.iter_mut().zip(&room).enumerate() {
                    let new = work.image.row(c, y);
                    prefetch_ahead(new, left + n);
                    let old = match rests {
                        true => {
                            let row = work.past.picture.row(c, y);
                            prefetch_ahead(row, left + n);
                            &row[left..left + n]
                        }
                        false => &room[y - top][..n],
                    };
                    *pair = (&new[left..left + n], old);
                }
            }
            sum_down(&pairs[..rows], n, &mut sums);
            let mut counts = [0.0f32; CHUNK / CELL];
            for (cell, count) in counts.iter_mut().enumerate().take(n.div_ceil(CELL)) {
                let x = (cell * CELL + n.min((cell + 1) * CELL)) / 2;
                *count = match rests {
                    true => work.past.count.row(0, from + rows / 2)[left + x],
                    false => work.past.count_at(left + x, from + rows / 2),
                };
            }
            conclude(&sums, &counts, n, rows, left / CELL, work.columns, cells);
        }
        left += n;
    }
}

/// Makes the numbers of the cells of `n` pixels and `rows` rows from `first` on of the sums down their columns.
#[inline(always)]
fn conclude(
    sums: &Sums,
    counts: &[f32; CHUNK / CELL],
    n: usize,
    rows: usize,
    first: usize,
    columns: usize,
    cells: &mut [f32],
) {
    let whole = n / CELL;
    let (pixels, pairs) = ((CELL * rows) as f32, ((CELL - 1) * rows) as f32);
    let [red, green, blue] = &sums.means;
    let of_three = 3.0 * pixels;
    let rows_of = [
        (&sums.squares, 0, CODES, of_three),
        (red, 1, 1.0, pixels),
        (green, 2, 1.0, pixels),
        (blue, 3, 1.0, pixels),
        (&sums.intensity, 5, 1.0, of_three),
    ];
    for (column, number, factor, divisor) in rows_of {
        let out = &mut cells[number * columns + first..][..whole];
        for (cell, out) in out.iter_mut().enumerate() {
            let four = &column[cell * CELL..][..CELL];
            *out = factor * (four[0] + four[1] + four[2] + four[3]) / divisor;
        }
    }
    for (cell, out) in cells[4 * columns + first..][..whole].iter_mut().enumerate() {
        let three = &sums.detail[cell * CELL..][..CELL - 1];
        *out = CODES * (three[0] + three[1] + three[2]) / (6.0 * pairs);
    }
    let all = n.div_ceil(CELL);
    for (out, count) in cells[6 * columns + first..][..all].iter_mut().zip(counts) {
        *out = 1.0 / count.max(1.0);
    }
    if all > whole {
        // The last cell of the row is narrower.
        let (a, b) = (whole * CELL, n);
        let pixels = ((b - a) * rows) as f32;
        let pairs = (((b - a).max(2) - 1) * rows) as f32;
        let sum = |column: &[f32; CHUNK], to: usize| column[a..to].iter().sum::<f32>();
        let mut put = |number: usize, value: f32| cells[number * columns + first + whole] = value;
        put(0, CODES * sum(&sums.squares, b) / (3.0 * pixels));
        for (c, means) in sums.means.iter().enumerate() {
            put(1 + c, sum(means, b) / pixels);
        }
        put(4, CODES * sum(&sums.detail, (b - 1).max(a)) / (6.0 * pairs));
        put(5, sum(&sums.intensity, b) / (3.0 * pixels));
    }
}

/// Columns that are summed together, in registers.
const LANES: usize = 16;

/// Sums down `n` columns of the rows' channels, of the new frame and of what was expected.
#[inline(always)]
fn sum_down(rows: &[[(&[f32], &[f32]); 3]], n: usize, sums: &mut Sums) {
    let mut at = 0;
    while at + LANES <= n {
        let columns = |row: &[f32]| -> [f32; LANES] { std::array::from_fn(|i| row[at..at + LANES][i]) };
        sum_lanes(rows, at, columns, sums);
        at += LANES;
    }
    if at < n {
        // What is beyond the row's end is nothing.
        let columns = |row: &[f32]| -> [f32; LANES] { std::array::from_fn(|i| row[at..n].get(i).map_or(0.0, |v| *v)) };
        sum_lanes(rows, at, columns, sums);
    }
}

/// The sums of columns `at` to `at` + [`LANES`], which `columns` takes out of a row.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn sum_lanes(rows: &[[(&[f32], &[f32]); 3]], at: usize, columns: impl Fn(&[f32]) -> [f32; LANES], sums: &mut Sums) {
    let (mut squares, mut intensity, mut detail) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
    let mut means = [[0.0f32; LANES]; 3];
    for row in rows {
        for ((new, old), mean) in row.iter().zip(&mut means) {
            let (new, old) = (columns(new), columns(old));
            let mut innovations = [0.0f32; LANES];
            for i in 0..LANES {
                innovations[i] = new[i] - old[i];
                squares[i] += innovations[i] * innovations[i];
                mean[i] += innovations[i];
                intensity[i] += old[i];
            }
            // Neighbours to the right, in the same cell: what the last of a cell is compared with is not looked at.
            for i in 0..LANES {
                let right = i / CELL * CELL + (i + 1) % CELL;
                let difference = innovations[right] - innovations[i];
                detail[i] += difference * difference;
            }
        }
    }
    let part = at..at + LANES;
    sums.squares[part.clone()].copy_from_slice(&squares);
    sums.intensity[part.clone()].copy_from_slice(&intensity);
    sums.detail[part.clone()].copy_from_slice(&detail);
    for (sums, means) in sums.means.iter_mut().zip(&means) {
        sums[part.clone()].copy_from_slice(means);
    }
}
