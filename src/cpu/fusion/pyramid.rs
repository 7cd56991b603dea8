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
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(width: usize, height: usize) -> Result<Self> {
        let stride = width + 2 * BORDER;
        Ok(Self {
            width,
            height,
            stride,
            data: Floats::try_zeroed(stride * (height + 2 * BORDER))?,
        })
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        4 * self.data.len()
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

    /// Where the rows of pixels begin in [`data_mut`](Self::data_mut).
    pub fn places(&self) -> impl Fn(usize) -> usize + Sync + use<> {
        let stride = self.stride;
        move |y| (y + BORDER) * stride + BORDER
    }

    /// All values, the border included.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Makes the copy of `image`, which is twice as large and whose luma is taken as (R + 2·G + B) / 4, but for its border.
    #[allow(unsafe_code)]
    pub fn halve(&mut self, pool: &Pool, capabilities: Capabilities, image: &Planes) {
        let (width, height, places) = (self.width, self.height, self.places());
        let out = Disjoint::new(&mut self.data);
        pool.run(height.div_ceil(STRIP), &|task| {
            for y in task * STRIP..height.min((task + 1) * STRIP) {
                // SAFETY: each task has its own rows.
                let row = unsafe { out.part(places(y)..places(y) + width) };
                let rows = [2 * y, (2 * y + 1).min(image.height - 1)];
                halve_rgb(capabilities, [0, 1, 2].map(|c| rows.map(|y| image.row(c, y))), row);
            }
        });
    }

    /// Becomes the same as another copy of the same size.
    pub fn copy(&mut self, other: &Small) {
        self.data.copy_from_slice(&other.data);
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
        self.levels.iter().map(Small::bytes).sum()
    }

    /// Makes the border of the largest copy, and the smaller ones.
    pub fn complete(&mut self, capabilities: Capabilities) {
        let [above, smaller @ ..] = &mut self.levels;
        let mut above = above;
        above.extend();
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
    /// Half a row from two rows of R, G and B.
    pub(super) fn halve_rgb(rows: [[&[f32]; 2]; 3], out: &mut [f32]) = halve_rgb_row
}

#[inline(always)]
fn halve_rgb_row(rows: [[&[f32]; 2]; 3], out: &mut [f32]) {
    const PIECE: usize = 256;
    let [[r0, r1], [g0, g1], [b0, b1]] = rows;
    let width = r0.len();
    let mut sums = [0.0f32; PIECE];
    let mut from = 0;
    while from < width {
        let n = PIECE.min(width - from);
        let (r0, r1) = (&r0[from..from + n], &r1[from..from + n]);
        let (g0, g1) = (&g0[from..from + n], &g1[from..from + n]);
        let (b0, b1) = (&b0[from..from + n], &b1[from..from + n]);
        for x in 0..n {
            sums[x] = (r0[x] + r1[x]) + 2.0 * (g0[x] + g1[x]) + (b0[x] + b1[x]);
        }
        if n % 2 == 1 {
            // The last column stands for the one that is missing, too.
            sums[n] = sums[n - 1];
        }
        for (out, pair) in out[from / 2..]
            .iter_mut()
            .zip(sums[..n.next_multiple_of(2)].chunks_exact(2))
        {
            *out = (pair[0] + pair[1]) * (1.0 / 16.0);
        }
        from += n;
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
