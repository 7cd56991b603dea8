//! Small copies of a picture's luma, each half the size of the one before, with a border of repeated edges.

use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::colour::Planes;
use crate::cpu::memory::Floats;
use crate::cpu::threads::{Disjoint, Pool};
use crate::error::Result;

/// Levels: a half, a quarter, an eighth and a sixteenth of the picture's sides.
pub(super) const LEVELS: usize = 4;
/// Pixels of the border on each side.
pub(super) const BORDER: usize = 16;
/// Rows that one task takes.
const STRIP: usize = 16;

/// One small copy.
pub(super) struct Small {
    pub width: usize,
    pub height: usize,
    stride: usize,
    data: Floats,
}

impl Small {
    fn new(width: usize, height: usize) -> Result<Self> {
        let stride = width + 2 * BORDER;
        Ok(Self {
            width,
            height,
            stride,
            data: Floats::try_zeroed(stride * (height + 2 * BORDER))?,
        })
    }

    /// Values between one row and the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Everything from pixel (x, y) on; both may lie in the border.
    #[inline(always)]
    pub fn from(&self, x: isize, y: isize) -> &[f32] {
        let border = BORDER as isize;
        &self.data[(y + border) as usize * self.stride + (x + border) as usize..]
    }

    /// Repeats the edges into the border.
    fn extend(&mut self) {
        let (stride, width, height) = (self.stride, self.width, self.height);
        for row in self.data.chunks_exact_mut(stride).skip(BORDER).take(height) {
            let (first, last) = (row[BORDER], row[BORDER + width - 1]);
            row[..BORDER].fill(first);
            row[BORDER + width..].fill(last);
        }
        let (top, bottom) = (BORDER * stride, (BORDER + height - 1) * stride);
        for y in 0..BORDER {
            self.data.copy_within(top..top + stride, y * stride);
            self.data
                .copy_within(bottom..bottom + stride, (BORDER + height + y) * stride);
        }
    }
}

/// The small copies of one picture, the largest first.
pub(super) struct Pyramid {
    pub levels: [Small; LEVELS],
}

impl Pyramid {
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new((width, height): (usize, usize)) -> Result<Self> {
        let level = |i: usize| Small::new(width.div_ceil(2 << i), height.div_ceil(2 << i));
        Ok(Self {
            levels: [level(0)?, level(1)?, level(2)?, level(3)?],
        })
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.levels.iter().map(|level| 4 * level.data.len()).sum()
    }

    /// Makes the copies of `image`, whose luma is taken as (R + 2·G + B) / 4.
    #[allow(unsafe_code)]
    pub fn fill(&mut self, pool: &Pool, capabilities: Capabilities, image: &Planes) {
        let [half, smaller @ ..] = &mut self.levels;
        let (width, height, stride) = (half.width, half.height, half.stride);
        let out = Disjoint::new(&mut half.data);
        pool.run(height.div_ceil(STRIP), &|task| {
            for y in task * STRIP..height.min((task + 1) * STRIP) {
                let start = (y + BORDER) * stride + BORDER;
                // SAFETY: each task has its own rows.
                let row = unsafe { out.part(start..start + width) };
                let rows = [2 * y, (2 * y + 1).min(image.height - 1)];
                halve_rgb(capabilities, [0, 1, 2].map(|c| rows.map(|y| image.row(c, y))), row);
            }
        });
        half.extend();
        let mut above = half;
        for level in smaller {
            for y in 0..level.height {
                let start = (y + BORDER) * level.stride + BORDER;
                let row = &mut level.data[start..start + level.width];
                let rows = [2 * y, 2 * y + 1].map(|y| above.from(0, y.min(above.height) as isize));
                halve(capabilities, rows, row);
            }
            level.extend();
            above = level;
        }
    }
}

vectorised! {
    fn halve_rgb(rows: [[&[f32]; 2]; 3], out: &mut [f32]) = halve_rgb_row
}

#[inline(always)]
fn halve_rgb_row(rows: [[&[f32]; 2]; 3], out: &mut [f32]) {
    let [[r0, r1], [g0, g1], [b0, b1]] = rows;
    let whole = r0.len() / 2;
    for x in 0..out.len().min(whole) {
        let (i, j) = (2 * x, 2 * x + 1);
        let r = r0[i] + r0[j] + r1[i] + r1[j];
        let g = g0[i] + g0[j] + g1[i] + g1[j];
        let b = b0[i] + b0[j] + b1[i] + b1[j];
        out[x] = (r + 2.0 * g + b) * (1.0 / 16.0);
    }
    if whole < out.len() {
        // A single column is left.
        let i = 2 * whole;
        out[whole] = (r0[i] + r1[i] + 2.0 * (g0[i] + g1[i]) + b0[i] + b1[i]) * (1.0 / 8.0);
    }
}

vectorised! {
    fn halve(rows: [&[f32]; 2], out: &mut [f32]) = halve_row
}

#[inline(always)]
fn halve_row(rows: [&[f32]; 2], out: &mut [f32]) {
    let [above, below] = rows;
    for (x, out) in out.iter_mut().enumerate() {
        *out = (above[2 * x] + above[2 * x + 1] + below[2 * x] + below[2 * x + 1]) * 0.25;
    }
}
