//! The Kalman update of the picture: each pixel is fused with its memory as far as that is believed.

use super::innovation::{CELL, CODES};
use super::motion::{BLOCK, Motion};
use super::trust::Trust;
use super::warp::{Row, Shift, moved};
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::colour::Planes;
use crate::cpu::threads::{Disjoint, Pool};

/// Between which squared innovations, in variances of the noise, a single pixel's memory is given up.
const PIXEL: (f32, f32) = (4.0, 9.0);

/// What a frame is fused with.
pub(super) struct Memory<'a> {
    /// The fused picture of the frame before.
    pub past: &'a Planes,
    /// How many frames are in each of its pixels.
    pub count: &'a Planes,
    pub motion: &'a Motion,
    /// One for each cell, row by row.
    pub trust: &'a [Trust],
    /// The most frames that a pixel may have in it, 1 or more.
    pub most: f32,
}

/// Fuses `image` in place, and counts the frames in each pixel.
#[allow(unsafe_code)]
pub(super) fn merge(
    pool: &Pool,
    capabilities: Capabilities,
    memory: &Memory<'_>,
    image: &mut Planes,
    count: &mut Planes,
) {
    let (width, height, plane) = (image.width, image.height, image.plane_len());
    let (out, count) = (Disjoint::new(&mut image.data), Disjoint::new(&mut count.data));
    pool.run(height.div_ceil(BLOCK), &|row| {
        let (from, to) = (row * BLOCK * width, height.min((row + 1) * BLOCK) * width);
        // SAFETY: each task has its own rows, and the three channels lie apart.
        let (image, count) = unsafe {
            let image = [0, 1, 2].map(|c| out.part(c * plane + from..c * plane + to));
            (image, count.part(from..to))
        };
        merge_row(capabilities, memory, row, image, count);
    });
}

vectorised! {
    fn merge_row(memory: &Memory<'_>, row: usize, image: [&mut [f32]; 3], count: &mut [f32]) = merge_blocks
}

#[inline(always)]
fn merge_blocks(memory: &Memory<'_>, row: usize, image: [&mut [f32]; 3], count: &mut [f32]) {
    let (width, height) = (memory.past.width, memory.past.height);
    let plane = width * height;
    let channels = [0, 1, 2].map(|c| &memory.past.data[c * plane..(c + 1) * plane]);
    let [red, green, blue] = image;
    let from = row * BLOCK;
    for column in 0..width.div_ceil(BLOCK) {
        let left = column * BLOCK;
        let n = BLOCK.min(width - left);
        let shift = Shift::new(memory.motion.vector(column, row));
        let whole = shift.whole();
        for y in 0..BLOCK.min(height - from) {
            let r_old = moved(channels[0], width, height, left, from + y, &shift);
            let g_old = moved(channels[1], width, height, left, from + y, &shift);
            let b_old = moved(channels[2], width, height, left, from + y, &shift);
            let remembered = moved(&memory.count.data, width, height, left, from + y, &whole);
            let (share, precision) = beliefs(memory, width, height, column, from + y);
            let row = y * width + left..y * width + left + n;
            let (r, g, b) = (&mut red[row.clone()], &mut green[row.clone()], &mut blue[row.clone()]);
            let count = &mut count[row];
            for i in 0..n {
                let (dr, dg, db) = (r_old[i] - r[i], g_old[i] - g[i], b_old[i] - b[i]);
                let before = remembered[i].max(1.0);
                let variances = (dr * dr + dg * dg + db * db) * (CODES / 3.0) * precision[i] * before / (before + 1.0);
                let pixel = ((PIXEL.1 - variances) / (PIXEL.1 - PIXEL.0)).clamp(0.0, 1.0);
                let frames = (before * share[i] * pixel).min(memory.most - 1.0);
                // A memory that is no number fails this comparison, and is given up.
                let believed = variances < PIXEL.1 && frames > 0.0;
                let keep = frames / (frames + 1.0);
                r[i] = if believed { r[i] + keep * dr } else { r[i] };
                g[i] = if believed { g[i] + keep * dg } else { g[i] };
                b[i] = if believed { b[i] + keep * db } else { b[i] };
                count[i] = if believed { frames + 1.0 } else { 1.0 };
            }
        }
    }
}

/// For a row of a block, what share of the memory is believed, between the cells' middles, and one over the variance.
#[inline(always)]
fn beliefs(memory: &Memory<'_>, width: usize, height: usize, column: usize, y: usize) -> (Row, Row) {
    let (columns, rows) = (width.div_ceil(CELL), height.div_ceil(CELL));
    let row = y / CELL;
    let part = (y % CELL) as f32 / CELL as f32 + 0.125;
    let (above, below, t) = match part < 0.5 {
        true => (row.saturating_sub(1), row, part + 0.5),
        false => (row, (row + 1).min(rows - 1), part - 0.5),
    };
    // The cell to the left of the block, its own two, and the one to the right.
    let mut shares = [0.0f32; 4];
    let mut precisions = [0.0f32; 4];
    for i in 0..4 {
        let x = (column * (BLOCK / CELL) + i).saturating_sub(1).min(columns - 1);
        let (a, b) = (
            memory.trust[above * columns + x].share,
            memory.trust[below * columns + x].share,
        );
        shares[i] = a + (b - a) * t;
        precisions[i] = memory.trust[row * columns + x].precision;
    }
    let mut share = [0.0f32; BLOCK];
    let mut precision = [0.0f32; BLOCK];
    for i in 0..BLOCK {
        let at = (i as f32 + 0.5) / CELL as f32 + 0.5;
        let cell = at as usize;
        share[i] = shares[cell] + (shares[cell + 1] - shares[cell]) * (at - cell as f32);
        precision[i] = precisions[1 + i / CELL];
    }
    (share, precision)
}
