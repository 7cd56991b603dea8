//! How far the memory is believed: innovations against the noise that the stream has shown.

use std::sync::atomic::{AtomicU64, Ordering};

use super::innovation::{CELL, CODES, CellRow, Cells, square};
use super::noise::{Curve, Histogram, Pace, Place, bins};
use super::pyramid::Small;
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::memory::try_filled;
use crate::cpu::threads::{Disjoint, Pool};
use crate::error::Result;

/// How far a cell's memory is believed, from 0 to 1, and one over the variance of its noise, in squared codes of 8 bits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trust {
    pub share: f32,
    pub precision: f32,
}

/// Between which multiples of what noise explains the belief falls from 1 to 0: for the squares of pixels, for those of
/// cells' means, and for those of means over 3 × 3 cells. Each is averaged over 3 × 3 cells.
const ENERGY: (f32, f32) = (1.0, 1.55);
const OFFSET: (f32, f32) = (1.1, 2.1);
const BROAD: (f32, f32) = (1.3, 3.2);
/// How much wider they are where an encoder has shaped the noise, which then differs from cell to cell.
const ENCODED: f32 = 0.2;

/// The share of cells, those with the least texture, whose innovations are taken for noise: where little is to be seen,
/// motion changes little.
const FLAT: f32 = 0.25;
/// Half the squared difference of neighbours is the variance of white noise. An encoder leaves changes that are smooth over
/// blocks: innovations whose variance is more than so often that are smooth.
const RATIO: f32 = 2.0;
/// Between these shares that are smooth of the cells that have changed, the noise is an encoder's. (On the bench of camera
/// footage it is at most 0.1 of white noise and of none, 0.2 to 0.9 with an encoder.)
const SMOOTH: (f32, f32) = (0.3, 0.5);
/// How far that rises from a frame to the next at most; it falls at once: a stream is encoded or not, and motion passes.
const RISE: f32 = 0.15;
/// Fewer cells that have changed tell nothing.
const LEAST_CHANGED: u64 = 24;
/// The share of the noise that a cell changes by at least where it counts as changed.
const LEAST_CHANGE: f32 = 0.25;
/// Which quantile of the flat cells' innovations is taken, in standard deviations of a normal distribution. An encoder
/// leaves most cells as they are and changes few: there it is a high one.
const DEVIATIONS: (f32, f32) = (0.25, 1.28);
/// What counts as detail at least, in squared codes: what changes by less than rounding does is not smooth.
const LEAST_DETAIL: f32 = 0.2;
/// Units of the sum of shares: whole numbers, whose sum does not depend on their order.
const SHARE_UNITS: f32 = 65536.0;
/// The least variances, in squared codes: those of rounding to 8 bits, averaged over ever larger areas.
const LEAST: [f32; 3] = [0.1, 0.02, 0.01];
/// Samples in the mean of a cell's squares, and in that of three channels' means.
const SAMPLES: [f32; 2] = [(3 * CELL * CELL) as f32, 3.0];

/// Of so many rows of cells, one is looked at for the noise.
const SAMPLED: usize = 2;
/// Rows of cells that one task takes.
const STRIP: usize = 8;
/// Cells of a row that are worked on together.
const CHUNK: usize = 64;

/// What one task counts of its rows of cells, all in whole numbers: their sums do not depend on how rows are divided.
#[derive(Default)]
struct Tally {
    /// Texture at first, then what each of the curves is learnt from.
    histograms: [Histogram; 3],
    /// The cells that the noise is learnt from.
    flat: Vec<u32>,
    /// How many of them are smooth, of how many that have changed.
    smooth: u64,
    changed: u64,
}

/// Into how many parts the rows of cells are divided for that.
const TALLIES: usize = 4;

/// What is known of a stream's noise.
pub(super) struct Judge {
    /// How far the noise is an encoder's, from 0 to 1.
    encoded: f32,
    histogram: Histogram,
    tallies: [Tally; TALLIES],
    /// Of pixels, of cells' means, of means over 3 × 3 cells.
    curves: [Curve; 3],
    /// For each cell the squared gradient of the memory, then the mean square over 3 × 3 cells.
    pub texture: Vec<f32>,
    pub broad: Vec<f32>,
    /// For each cell its intensity in bins.
    bins: Vec<f32>,
    /// For each row of cells their squares over their variances, `columns` of each kind: of pixels, of the cell's means, of
    /// means over 3 × 3 cells; and the variances of pixels.
    ratios: Vec<f32>,
    columns: usize,
    rows: usize,
}

impl Judge {
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(columns: usize, rows: usize) -> Result<Self> {
        let cells = columns * rows;
        let tally = || {
            let rows = rows.div_ceil(TALLIES).div_ceil(SAMPLED) + 1;
            Ok(Tally {
                flat: try_filled(0, rows * columns)?,
                ..Tally::default()
            })
        };
        Ok(Self {
            encoded: 0.0,
            histogram: Histogram::default(),
            tallies: [tally()?, tally()?, tally()?, tally()?],
            curves: LEAST.map(Curve::new),
            texture: try_filled(0.0, cells)?,
            broad: try_filled(0.0, cells)?,
            bins: try_filled(0.0, cells)?,
            ratios: try_filled(0.0, 4 * cells)?,
            columns,
            rows,
        })
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let histograms = 1 + self.tallies.iter().map(|t| t.histograms.len()).sum::<usize>();
        let flat: usize = self.tallies.iter().map(|t| 4 * t.flat.capacity()).sum();
        self.texture.len() * (4 + 4 + 4 + 16) + flat + histograms * Histogram::BYTES
    }

    /// Whether a stream's noise was seen.
    pub fn knows(&self) -> bool {
        self.curves[0].known()
    }

    /// The standard deviation of a pixel's noise at an intensity from 0 to 1, in codes of 8 bits.
    pub fn deviation(&self, intensity: f32) -> f32 {
        self.curves[0].at(Place::of(intensity)).sqrt()
    }

    /// Learns the noise from `cells` and fills `trust`; `half` is the half-size copy of the memory. Returns the mean share
    /// that is believed.
    #[allow(unsafe_code)]
    pub fn judge(
        &mut self,
        pool: &Pool,
        capabilities: Capabilities,
        cells: &Cells,
        half: &Small,
        trust: &mut [Trust],
    ) -> f32 {
        self.look(pool, capabilities, cells, half);
        let encoded = self.find_flat(pool, cells);
        let noise = self.learn(pool, cells, encoded);
        let wider = 1.0 + ENCODED * encoded;
        let (columns, rows, broad, bins) = (self.columns, self.rows, &self.broad, &self.bins);
        let out = Disjoint::new(&mut self.ratios);
        pool.run(rows.div_ceil(STRIP), &|strip| {
            for y in strip * STRIP..rows.min((strip + 1) * STRIP) {
                let part = y * columns..(y + 1) * columns;
                // SAFETY: each task has its own rows.
                let out = unsafe { out.part(4 * part.start..4 * part.end) };
                ratios(
                    capabilities,
                    &cells.row(y),
                    &broad[part.clone()],
                    &bins[part],
                    &noise,
                    out,
                );
            }
        });
        let ratios = &self.ratios;
        let sum = AtomicU64::new(0);
        let out = Disjoint::new(trust);
        pool.run(rows.div_ceil(STRIP), &|strip| {
            for row in strip * STRIP..rows.min((strip + 1) * STRIP) {
                // SAFETY: each task has its own rows.
                let out = unsafe { out.part(row * columns..(row + 1) * columns) };
                // At the edges the row itself stands for the one outside.
                let around = [row.saturating_sub(1), row, (row + 1).min(rows - 1)];
                let around = around.map(|y| &ratios[4 * y * columns..][..4 * columns]);
                sum.fetch_add(believe(capabilities, around, wider, out), Ordering::Relaxed);
            }
        });
        sum.into_inner() as f32 / (SHARE_UNITS * trust.len() as f32)
    }

    /// Fills `texture`, `broad` and `bins`.
    #[allow(unsafe_code)]
    fn look(&mut self, pool: &Pool, capabilities: Capabilities, cells: &Cells, half: &Small) {
        let (columns, rows) = (self.columns, self.rows);
        let texture = Disjoint::new(&mut self.texture);
        let broad = Disjoint::new(&mut self.broad);
        let bins = Disjoint::new(&mut self.bins);
        pool.run(rows.div_ceil(STRIP), &|strip| {
            for row in strip * STRIP..rows.min((strip + 1) * STRIP) {
                let part = row * columns..(row + 1) * columns;
                // SAFETY: each task has its own rows.
                let (texture, broad, bins) =
                    unsafe { (texture.part(part.clone()), broad.part(part.clone()), bins.part(part)) };
                gradients(capabilities, half, row, texture);
                let own = cells.row(row);
                let (above, below) = (row.saturating_sub(1), (row + 1).min(rows - 1));
                let around = [cells.row(above), own, cells.row(below)];
                let from = usize::from(above == row);
                let to = 2 + usize::from(below != row);
                average(capabilities, &around[from..to], broad);
                places(capabilities, own.intensity, bins);
            }
        });
    }

    /// Marks the cells with the least texture for their intensity. Returns how far their noise is an encoder's, from 0 to 1.
    fn find_flat(&mut self, pool: &Pool, cells: &Cells) -> f32 {
        let (columns, rows, texture, bins) = (self.columns, self.rows, &self.texture, &self.bins);
        // A part of the rows will do for what the histograms tell.
        let looked_at = |part: usize| {
            let first = (part * rows / TALLIES).next_multiple_of(SAMPLED);
            (first..(part + 1) * rows / TALLIES).step_by(SAMPLED)
        };
        count(pool, &mut self.tallies, |part, tally| {
            let [histogram, ..] = &mut tally.histograms;
            histogram.clear();
            for row in looked_at(part) {
                let row = row * columns..(row + 1) * columns;
                for (&bin, &texture) in bins[row.clone()].iter().zip(&texture[row]) {
                    histogram.add(bin, texture);
                }
            }
        });
        self.histogram.sum(self.tallies.iter().map(|t| &t.histograms[0]));
        let mut limit = Curve::new(0.0);
        limit.learn(&self.histogram, FLAT, 1.0, Pace::of(0.0));
        let noise = &self.curves[0];
        count(pool, &mut self.tallies, |part, tally| {
            (tally.smooth, tally.changed) = (0, 0);
            tally.flat.clear();
            for y in looked_at(part) {
                let row = cells.row(y);
                for x in 0..columns {
                    let i = y * columns + x;
                    let place = Place::at(bins[i]);
                    if texture[i] <= limit.at(place) {
                        tally.flat.push(i as u32);
                        let own = 1.0 + row.spread[x];
                        let (energy, detail) = (row.energy[x] / own, row.detail[x] / own);
                        // What an encoder has not touched tells nothing.
                        let touched = energy > LEAST_CHANGE * noise.at(place);
                        tally.changed += u64::from(touched);
                        tally.smooth += u64::from(touched && energy > RATIO * (detail + LEAST_DETAIL));
                    }
                }
            }
        });
        let sum = |of: fn(&Tally) -> u64| self.tallies.iter().map(of).sum::<u64>();
        let (smooth, changed) = (sum(|t| t.smooth), sum(|t| t.changed));
        if changed >= LEAST_CHANGED {
            let share = smooth as f32 / changed as f32;
            let now = ((share - SMOOTH.0) / (SMOOTH.1 - SMOOTH.0)).clamp(0.0, 1.0);
            self.encoded = now.min(self.encoded + RISE);
        }
        self.encoded
    }

    /// Learns the noise from the flat cells, where it is so far an encoder's; returns what this very frame is judged by.
    fn learn(&mut self, pool: &Pool, cells: &Cells, encoded: f32) -> [Curve; 3] {
        let deviations = DEVIATIONS.0 + (DEVIATIONS.1 - DEVIATIONS.0) * encoded;
        let pace = Pace::of(encoded);
        // The normal distribution by a logistic one, and χ² by the cube of a normal one (Wilson, Hilferty 1931).
        let quantile = 1.0 / (1.0 + (-1.702 * deviations).exp());
        let of_mean = |samples: f32| {
            let variance = 2.0 / (9.0 * samples);
            (1.0 - variance + deviations * variance.sqrt()).powi(3)
        };
        let shares = [of_mean(SAMPLES[0]), of_mean(SAMPLES[1]), of_mean(SAMPLES[1])];
        let (columns, broad, bins) = (self.columns, &self.broad, &self.bins);
        count(pool, &mut self.tallies, |_, tally| {
            let [pixels, means, broads] = &mut tally.histograms;
            [&mut *pixels, means, broads].into_iter().for_each(Histogram::clear);
            for &i in &tally.flat {
                let (i, x) = (i as usize, i as usize % columns);
                let row = cells.row(i / columns);
                let own = 1.0 + row.spread[x];
                pixels.add(bins[i], row.energy[x] / own);
                means.add(bins[i], square(&row.means.map(|means| means[x])) / own);
                broads.add(bins[i], broad[i]);
            }
        });
        [0, 1, 2].map(|which| {
            self.histogram.sum(self.tallies.iter().map(|t| &t.histograms[which]));
            self.curves[which].learn(&self.histogram, quantile, shares[which], pace)
        })
    }
}

/// Has each task count in its own tally.
#[allow(unsafe_code)]
fn count(pool: &Pool, tallies: &mut [Tally; TALLIES], work: impl Fn(usize, &mut Tally) + Sync) {
    let tallies = Disjoint::new(&mut tallies[..]);
    pool.run(TALLIES, &|part| {
        // SAFETY: each task has its own.
        let tally = unsafe { tallies.part(part..part + 1) };
        work(part, &mut tally[0]);
    });
}

vectorised! {
    fn places(intensity: &[f32], out: &mut [f32]) = places_row
}

#[inline(always)]
fn places_row(intensity: &[f32], out: &mut [f32]) {
    for (out, intensity) in out.iter_mut().zip(intensity) {
        *out = bins(*intensity);
    }
}

vectorised! {
    fn gradients(half: &Small, row: usize, out: &mut [f32]) = gradients_row
}

/// The squared gradient of a row of cells, each of which is 2 × 2 pixels of the half-size copy.
#[inline(always)]
fn gradients_row(half: &Small, row: usize, out: &mut [f32]) {
    let mut first = 0;
    while first < out.len() {
        let n = CHUNK.min(out.len() - first);
        let mut sums = [[0.0f32; 2 * CHUNK]; 2];
        for (y, sums) in sums.iter_mut().enumerate() {
            let (x, y) = (2 * first as isize, (2 * row + y) as isize);
            let (above, below) = (&half.from(x, y - 1)[..2 * n], &half.from(x, y + 1)[..2 * n]);
            let beside = &half.from(x - 1, y)[..2 * n + 2];
            let (left, right) = (&beside[..2 * n], &beside[2..]);
            for (i, sum) in sums[..2 * n].iter_mut().enumerate() {
                *sum = (right[i] - left[i]).abs() + (below[i] - above[i]).abs();
            }
        }
        let [upper, lower] = &sums;
        for (i, out) in out[first..first + n].iter_mut().enumerate() {
            let sum = upper[2 * i] + upper[2 * i + 1] + lower[2 * i] + lower[2 * i + 1];
            *out = sum * sum * CODES;
        }
        first += n;
    }
}

vectorised! {
    fn average(around: &[CellRow<'_>], out: &mut [f32]) = average_row
}

/// The mean square of the mean innovation over 3 × 3 cells, without the memory's own noise; `around` are the rows above,
/// at and below the cells, as far as they exist.
#[inline(always)]
fn average_row(around: &[CellRow<'_>], out: &mut [f32]) {
    let columns = out.len();
    let mut first = 0;
    while first < columns {
        let n = CHUNK.min(columns - first);
        let mut sums = [[0.0f32; CHUNK]; 4];
        for row in around {
            for (sums, values) in sums
                .iter_mut()
                .zip([row.means[0], row.means[1], row.means[2], row.spread])
            {
                // The row with a zero at either end, so that what lies outside adds nothing.
                let mut wide = [0.0f32; CHUNK + 2];
                let (from, to) = (first.saturating_sub(1), (first + n + 1).min(columns));
                wide[from + 1 - first..][..to - from].copy_from_slice(&values[from..to]);
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = *sum + wide[i] + wide[i + 1] + wide[i + 2];
                }
            }
        }
        let [red, green, blue, spread] = &sums;
        for (i, out) in out[first..first + n].iter_mut().enumerate() {
            let x = first + i;
            let beside = 1 + usize::from(x > 0) + usize::from(x + 1 < columns);
            let count = (beside * around.len()) as f32;
            *out = square(&[red[i] / count, green[i] / count, blue[i] / count]) / (1.0 + spread[i] / count);
        }
        first += n;
    }
}

vectorised! {
    fn ratios(cells: &CellRow<'_>, broad: &[f32], bins: &[f32], noise: &[Curve; 3], out: &mut [f32]) = ratios_row
}

/// The squares of a row of cells over their variances, and the variances of its pixels.
#[inline(always)]
fn ratios_row(cells: &CellRow<'_>, broad: &[f32], bins: &[f32], noise: &[Curve; 3], out: &mut [f32]) {
    let columns = broad.len();
    let (energies, out) = out.split_at_mut(columns);
    let (offsets, out) = out.split_at_mut(columns);
    let (broads, variances) = out.split_at_mut(columns);
    for x in 0..columns {
        let place = Place::at(bins[x]);
        variances[x] = noise[0].at(place);
        offsets[x] = noise[1].at(place);
        broads[x] = noise[2].at(place);
    }
    let (energy, spread, [red, green, blue]) = (cells.energy, cells.spread, cells.means);
    let (energy, spread, variances) = (&energy[..columns], &spread[..columns], &variances[..columns]);
    let (red, green, blue) = (&red[..columns], &green[..columns], &blue[..columns]);
    for x in 0..columns {
        let own = 1.0 / (1.0 + spread[x]);
        energies[x] = own * energy[x] / variances[x];
        offsets[x] = own * square(&[red[x], green[x], blue[x]]) / offsets[x];
        broads[x] = broad[x] / broads[x];
    }
}

vectorised! {
    fn believe(around: [&[f32]; 3], wider: f32, out: &mut [Trust]) -> u64 = believe_row
}

/// The trust in a row of cells, from the ratios of the rows above, at and below it; returns the sum of its shares.
#[inline(always)]
fn believe_row(around: [&[f32]; 3], wider: f32, out: &mut [Trust]) -> u64 {
    let columns = out.len();
    let [above, own, below] = around;
    let variances = &own[3 * columns..];
    let mut sum = 0;
    let mut first = 0;
    while first < columns {
        let n = CHUNK.min(columns - first);
        let mut shares = [f32::INFINITY; CHUNK];
        for (kind, (from, to)) in [ENERGY, OFFSET, BROAD].into_iter().enumerate() {
            // Sums down the columns, and of one more on either side; at the edges the column itself stands for it.
            let mut down = [0.0f32; CHUNK + 2];
            let at = kind * columns;
            let (start, end) = (first.saturating_sub(1), (first + n + 1).min(columns));
            let (a, b) = (&above[at + start..at + end], &below[at + start..at + end]);
            let own = &own[at + start..at + end];
            for (i, down) in down[start + 1 - first..][..end - start].iter_mut().enumerate() {
                *down = a[i] + 2.0 * own[i] + b[i];
            }
            if first == 0 {
                down[0] = down[1];
            }
            if first + n == columns {
                down[n + 1] = down[n];
            }
            for (i, share) in shares.iter_mut().enumerate() {
                let mean = (down[i] + 2.0 * down[i + 1] + down[i + 2]) * (1.0 / 16.0);
                let fall = ((to * wider - mean) / ((to - from) * wider)).clamp(0.0, 1.0);
                *share = if kind == 0 { fall } else { share.min(fall) };
            }
        }
        let out = &mut out[first..first + n];
        for (i, out) in out.iter_mut().enumerate() {
            *out = Trust {
                share: shares[i],
                precision: 1.0 / variances[first + i],
            };
        }
        for share in &shares[..n] {
            sum += u64::from((share * SHARE_UNITS + 0.5) as u32);
        }
        first += n;
    }
    sum
}
