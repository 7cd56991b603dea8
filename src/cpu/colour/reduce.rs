//! A reduced copy of the frame by area averaging: each working pixel is the mean of the pixels that it covers.

use super::block::{BLOCK, Rgb};
use super::stretch::{LINE, Line, add_shares};
use super::unpack::{LINES, Lines, Unpack};
use crate::backend::Geometry;
use crate::cpu::capabilities::Capabilities;
use crate::cpu::memory::try_filled;
use crate::error::Result;
use crate::frame::Frame;

/// The reduction from the frame's size to the working size.
pub(crate) struct Reduce {
    taps: Taps,
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

/// For each working pixel of a row the frame pixels under it: the first, and what share of the mean each of the same
/// number of pixels from there on has.
struct Taps {
    first: Vec<u32>,
    /// The shares of the first pixels of all working pixels, then of the second ones.
    shares: Vec<f32>,
    count: usize,
}

impl Taps {
    fn new(axis: &Axis) -> Result<Self> {
        let covers = || (0..axis.working).map(|i| axis.cover(i));
        let count = covers().map(|c| c.last - c.first + 1).max().unwrap_or(1);
        let mut taps = Self {
            first: try_filled(0, axis.working)?,
            shares: try_filled(0.0, axis.working * count)?,
            count,
        };
        for (i, cover) in covers().enumerate() {
            // All of them are in the row.
            let first = cover.first.min(axis.full - count);
            taps.first[i] = first as u32;
            for j in cover.first..=cover.last {
                taps.shares[(j - first) * axis.working + i] = cover.weight(j) / cover.total();
            }
        }
        Ok(taps)
    }
}

impl Reduce {
    /// None where the networks see the frame at its own size.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(geometry: &Geometry) -> Result<Option<Self>> {
        let across = Axis::new(geometry.spec.width, geometry.working.0);
        let reduce = || {
            Ok(Self {
                taps: Taps::new(&across)?,
                down: Axis::new(geometry.spec.height, geometry.working.1),
            })
        };
        geometry.is_reduced().then(reduce).transpose()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        4 * (self.taps.first.len() + self.taps.shares.len())
    }

    /// A piece of working rows that begins at column `x`: as much as one block of the frame covers.
    #[inline(always)]
    pub fn piece(&self, capabilities: Capabilities, x: usize) -> Piece<'_> {
        let first = &self.taps.first[x..];
        // Blocks begin at even pixels.
        let start = first[0] as usize & !1;
        let end = |first: &u32| *first as usize + self.taps.count;
        let n = first
            .iter()
            .take_while(|first| end(first) <= start + BLOCK)
            .count()
            .max(1);
        Piece {
            reduce: self,
            x,
            n,
            start,
            span: end(&first[n - 1]) - start,
            row: [[0.0; BLOCK + 4]; 3],
            held: None,
            lines: LINES,
            capabilities,
        }
    }
}

/// A piece of working rows, which are read from the top downwards.
pub(crate) struct Piece<'a> {
    reduce: &'a Reduce,
    x: usize,
    /// How many working pixels of a row it has.
    pub n: usize,
    /// The frame pixels under it.
    start: usize,
    span: usize,
    /// The frame's row that was read last: neighbouring working rows share one.
    row: Rgb,
    held: Option<usize>,
    lines: Lines,
    capabilities: Capabilities,
}

impl Piece<'_> {
    /// The piece of working row `y` to `out[_][..n]`.
    #[inline(always)]
    pub fn read(&mut self, unpack: &Unpack, frame: &Frame<'_>, y: usize, out: &mut Rgb) {
        let Reduce { taps, down } = self.reduce;
        let (x, n, start, span) = (self.x, self.n, self.start, self.span.min(BLOCK + 4));
        let mut sum: [Line; 3] = [[0.0; LINE]; 3];
        let rows = down.cover(y);
        for line in rows.first..=rows.last {
            let weight = rows.weight(line) / rows.total();
            if self.held != Some(line) {
                unpack.read(frame, line, start, span, &mut self.lines, &mut self.row);
                self.held = Some(line);
            }
            for (sum, row) in sum.iter_mut().zip(&self.row) {
                for (s, v) in sum[..span].iter_mut().zip(&row[..span]) {
                    *s += weight * v;
                }
            }
        }
        let first = &taps.first[x..x + n];
        let lead = first[0] as usize - start;
        for (out, sum) in out.iter_mut().zip(&sum) {
            let out = &mut out[..n];
            out.fill(0.0);
            for tap in 0..taps.count {
                let shares = &taps.shares[tap * taps.first.len()..][x..x + n];
                add_shares(self.capabilities, &sum[lead + tap..], first, shares, out);
            }
        }
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
