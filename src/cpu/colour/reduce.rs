//! A reduced copy of the frame by area averaging: each working pixel is the mean of the pixels that it covers.

use super::block::{BLOCK, Rgb};
use super::unpack::{LINES, Unpack};
use crate::backend::Geometry;
use crate::frame::Frame;

/// The reduction from the frame's size to the working size.
pub(crate) struct Reduce {
    across: Axis,
    down: Axis,
}

/// One direction: `working` intervals over `full` pixels.
struct Axis {
    full: usize,
    working: usize,
    /// Frame pixels that a working pixel covers, at least 1.
    scale: f64,
}

/// The pixels under a working pixel, and how much of the first and of the last one it covers.
struct Cover {
    first: usize,
    last: usize,
    head: f32,
    tail: f32,
}

impl Axis {
    fn new(full: usize, working: usize) -> Self {
        Self {
            full,
            working,
            scale: full as f64 / working as f64,
        }
    }

    #[inline(always)]
    fn cover(&self, i: usize) -> Cover {
        let (a, b) = (i as f64 * self.scale, (i + 1) as f64 * self.scale);
        let last = ((b.ceil() as usize).saturating_sub(1)).min(self.full - 1);
        let first = (a as usize).min(last);
        if first == last {
            return Cover {
                first,
                last,
                head: 1.0,
                tail: 0.0,
            };
        }
        Cover {
            first,
            last,
            head: (first as f64 + 1.0 - a) as f32,
            tail: (b - last as f64) as f32,
        }
    }
}

impl Cover {
    #[inline(always)]
    fn weight(&self, i: usize) -> f32 {
        if i == self.first {
            self.head
        } else if i == self.last {
            self.tail
        } else {
            1.0
        }
    }

    #[inline(always)]
    fn total(&self) -> f32 {
        self.head + self.tail + (self.last - self.first).saturating_sub(1) as f32
    }
}

impl Reduce {
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            across: Axis::new(geometry.spec.width, geometry.working.0),
            down: Axis::new(geometry.spec.height, geometry.working.1),
        }
    }

    /// Working pixels `x..x + n` of row `y` to `out[_][..n]`; returns `n`, at least 1.
    #[inline(always)]
    pub fn read(&self, unpack: &Unpack, frame: &Frame<'_>, y: usize, x: usize, out: &mut Rgb) -> usize {
        // As many working pixels as one block of the frame covers; blocks begin at even pixels.
        let start = self.across.cover(x).first & !1;
        let fits = |i: usize| self.across.cover(i).last < start + BLOCK;
        let mut n = 1;
        while x + n < self.across.working && fits(x + n) {
            n += 1;
        }
        let span = self.across.cover(x + n - 1).last + 1 - start;
        let mut sum: Rgb = [[0.0; BLOCK + 4]; 3];
        let mut row: Rgb = [[0.0; BLOCK + 4]; 3];
        let mut lines = LINES;
        let rows = self.down.cover(y);
        for line in rows.first..=rows.last {
            let weight = rows.weight(line);
            unpack.read(frame, line, start, span, &mut lines, &mut row);
            for (sum, row) in sum.iter_mut().zip(&row) {
                for (s, v) in sum[..span].iter_mut().zip(&row[..span]) {
                    *s += weight * v;
                }
            }
        }
        for i in 0..n {
            let columns = self.across.cover(x + i);
            let area = columns.total() * rows.total();
            for (out, sum) in out.iter_mut().zip(&sum) {
                let covered = (columns.first..=columns.last).map(|j| columns.weight(j) * sum[j - start]);
                out[i] = covered.sum::<f32>() / area;
            }
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_share_out_every_pixel() {
        for (full, working) in [(100, 100), (100, 33), (8192, 16), (17, 16), (1920, 641)] {
            let axis = Axis::new(full, working);
            let mut seen = vec![0f32; full];
            for i in 0..working {
                let c = axis.cover(i);
                (c.first..=c.last).for_each(|j| seen[j] += c.weight(j));
                assert!(
                    (c.total() as f64 - axis.scale).abs() < 1e-3,
                    "{full} to {working}, {i}: {}",
                    c.total()
                );
            }
            assert!(seen.iter().all(|s| (s - 1.0).abs() < 1e-3), "{full} to {working}");
        }
    }
}
