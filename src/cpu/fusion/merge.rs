//! The Kalman update of the picture: each pixel is fused with its memory as far as that is believed.

use super::innovation::{CELL, CODES};
use super::motion::BLOCK;
use super::pyramid::{Small, halve_rgb};
use super::trust::Trust;
use super::warp::{CHUNK, Moved, Past, prefetch_ahead};
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::colour::Planes;
use crate::cpu::threads::{Disjoint, Pool};

/// Between which squared innovations, in variances of the noise, a single pixel's memory is given up.
const PIXEL: (f32, f32) = (4.0, 9.0);

/// What a frame is fused with.
pub(super) struct Memory<'a> {
    /// The fused picture of the frame before.
    pub past: &'a Past<'a>,
    /// One for each cell, row by row.
    pub trust: &'a [Trust],
    /// The most frames that a pixel may have in it, 1 or more.
    pub most: f32,
}

/// Fuses `image` in place, counts the frames in each pixel, and makes the half-size copy of the result, but for its border.
#[allow(unsafe_code)]
pub(super) fn merge(
    pool: &Pool,
    capabilities: Capabilities,
    memory: &Memory<'_>,
    image: &mut Planes,
    count: &mut Planes,
    half: &mut Small,
) {
    let (width, height, plane) = (image.width, image.height, image.plane_len());
    let (half_width, half_height) = (half.width, half.height);
    let places = half.places();
    let (out, count) = (Disjoint::new(&mut image.data), Disjoint::new(&mut count.data));
    let half = Disjoint::new(half.data_mut());
    pool.run(height.div_ceil(BLOCK), &|row| {
        let (from, to) = (row * BLOCK * width, height.min((row + 1) * BLOCK) * width);
        // SAFETY: each task has its own rows, and the three channels lie apart.
        let (image, count) = unsafe {
            let image = [0, 1, 2].map(|c| out.part(c * plane + from..c * plane + to));
            (image, count.part(from..to))
        };
        let [red, green, blue] = image;
        merge_row(capabilities, memory, row, [red, green, blue], count);
        let last = (to - from) / width - 1;
        for y in row * BLOCK / 2..half_height.min((row + 1) * BLOCK / 2) {
            // SAFETY: as above.
            let copy = unsafe { half.part(places(y)..places(y) + half_width) };
            let at = 2 * y - row * BLOCK;
            let rows = [at, (at + 1).min(last)];
            let image = [&*red, &*green, &*blue];
            halve_rgb(
                capabilities,
                image.map(|plane| rows.map(|y| &plane[y * width..][..width])),
                copy,
            );
        }
    });
}

vectorised! {
    fn merge_row(memory: &Memory<'_>, row: usize, image: [&mut [f32]; 3], count: &mut [f32]) = merge_blocks
}

#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn merge_blocks(memory: &Memory<'_>, row: usize, image: [&mut [f32]; 3], count: &mut [f32]) {
    let past = memory.past;
    let (width, height) = (past.picture.width, past.picture.height);
    let [red, green, blue] = image;
    let mut beliefs = Beliefs::NONE;
    let mut room: [Moved; 4] = [[[0.0; CHUNK]; BLOCK]; 4];
    let top = row * BLOCK;
    let mut left = 0;
    while left < width {
        let n = CHUNK.min(width - left);
        let rests = past.rests(row, left, n);
        if !rests {
            past.expect(row, left, n, &mut room);
        }
        beliefs.look(memory, row, left, n);
        for y in 0..BLOCK.min(height - top) {
            let ([above, below], t, precision) = beliefs.row(y);
            for row in [&red[..], &green[..], &blue[..]] {
                prefetch_ahead(&row[y * width..(y + 1) * width], left + n);
            }
            if rests {
                for c in 0..3 {
                    prefetch_ahead(past.picture.row(c, top + y), left + n);
                }
                prefetch_ahead(past.count.row(0, top + y), left + n);
            }
            let at = y * width + left..y * width + left + n;
            let (r, g, b) = (&mut red[at.clone()], &mut green[at.clone()], &mut blue[at.clone()]);
            let count = &mut count[at];
            let (r_old, g_old, b_old, counts) = match rests {
                true => (
                    &past.picture.row(0, top + y)[left..left + n],
                    &past.picture.row(1, top + y)[left..left + n],
                    &past.picture.row(2, top + y)[left..left + n],
                    &past.count.row(0, top + y)[left..left + n],
                ),
                false => (&room[0][y][..n], &room[1][y][..n], &room[2][y][..n], &room[3][y][..n]),
            };
            let (above, below, precision) = (&above[..n], &below[..n], &precision[..n]);
            for i in 0..n {
                let (dr, dg, db) = (r_old[i] - r[i], g_old[i] - g[i], b_old[i] - b[i]);
                let before = counts[i].max(1.0);
                let variances = (dr * dr + dg * dg + db * db) * (CODES / 3.0) * precision[i] * before / (before + 1.0);
                let pixel = ((PIXEL.1 - variances) / (PIXEL.1 - PIXEL.0)).clamp(0.0, 1.0);
                let share = above[i] + (below[i] - above[i]) * t;
                let frames = (before * share * pixel).min(memory.most - 1.0);
                // A memory that is no number fails this comparison, and is given up.
                let believed = variances < PIXEL.1 && frames > 0.0;
                let keep = frames / (frames + 1.0);
                r[i] = if believed { r[i] + keep * dr } else { r[i] };
                g[i] = if believed { g[i] + keep * dg } else { g[i] };
                b[i] = if believed { b[i] + keep * db } else { b[i] };
                count[i] = if believed { frames + 1.0 } else { 1.0 };
            }
        }
        left += n;
    }
}

/// Cells of a chunk's row.
const CELLS: usize = CHUNK / CELL;
/// Rows of cells in a row of blocks.
const CELL_ROWS: usize = BLOCK / CELL;

/// What share of the memory is believed, and one over the variance, for the pixels of a chunk of a row of blocks.
struct Beliefs {
    /// Along the middles of rows of cells, the one above and the one below the blocks included: between the cells' middles.
    shares: [[f32; CHUNK]; CELL_ROWS + 2],
    /// For each row of cells.
    precisions: [[f32; CHUNK]; CELL_ROWS],
}

impl Beliefs {
    const NONE: Self = Self {
        shares: [[0.0; CHUNK]; CELL_ROWS + 2],
        precisions: [[0.0; CHUNK]; CELL_ROWS],
    };

    /// For `n` pixels from `left` on of row `row` of blocks.
    #[inline(always)]
    fn look(&mut self, memory: &Memory<'_>, row: usize, left: usize, n: usize) {
        let columns = memory.past.picture.width.div_ceil(CELL);
        let rows = memory.past.picture.height.div_ceil(CELL);
        let (first, cells) = (left / CELL, n.div_ceil(CELL));
        for (i, out) in self.shares.iter_mut().enumerate() {
            let y = (row * CELL_ROWS + i).saturating_sub(1).min(rows - 1);
            let trust = &memory.trust[y * columns..][..columns];
            // The cell to the left of the chunk, its own, and the one to the right.
            let mut shares = [0.0f32; CELLS + 2];
            for (x, share) in shares.iter_mut().enumerate().take(cells + 2) {
                *share = trust[(first + x).saturating_sub(1).min(columns - 1)].share;
            }
            for (cell, out) in out.chunks_exact_mut(CELL).enumerate().take(cells) {
                let [before, own, after] = [shares[cell], shares[cell + 1], shares[cell + 2]];
                out[0] = before + (own - before) * 0.625;
                out[1] = before + (own - before) * 0.875;
                out[2] = own + (after - own) * 0.125;
                out[3] = own + (after - own) * 0.375;
            }
        }
        for (i, out) in self.precisions.iter_mut().enumerate() {
            let y = (row * CELL_ROWS + i).min(rows - 1);
            let trust = &memory.trust[y * columns + first..][..cells];
            for (out, trust) in out.chunks_exact_mut(CELL).zip(trust) {
                out.fill(trust.precision);
            }
        }
    }

    /// For row `y` of the blocks: the rows of shares that it lies between, how far from the first to the second, and the
    /// precisions.
    #[inline(always)]
    fn row(&self, y: usize) -> ([&[f32; CHUNK]; 2], f32, &[f32; CHUNK]) {
        let row = y / CELL;
        let part = (y % CELL) as f32 / CELL as f32 + 0.125;
        let (above, t) = match part < 0.5 {
            true => (row, part + 0.5),
            false => (row + 1, part - 0.5),
        };
        ([&self.shares[above], &self.shares[above + 1]], t, &self.precisions[row])
    }
}
