//! How far the memory is believed: innovations against the noise that the stream has shown.

use super::innovation::{CELL, Cell, square};
use super::noise::{Curve, Histogram, Place};
use super::pyramid::Small;
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
/// Half the squared difference of neighbours is the variance of white noise. An encoder takes that away and leaves changes
/// over time: between these ratios of variance over time to that, the noise is an encoder's.
const RATIO: (f32, f32) = (1.0, 1.6);
/// Which quantile of the flat cells' innovations is taken, in standard deviations of a normal distribution. An encoder
/// leaves most cells as they are and changes few: there it is a high one.
const DEVIATIONS: (f32, f32) = (0.25, 1.28);
/// What a ratio counts as noise at least, in squared codes: less than rounding to 8 bits leaves.
const LEAST_DETAIL: f32 = 0.05;
/// The most that a square counts as in that ratio, in squared codes, and the units of the sums.
const MOST_SQUARE: f32 = 4095.0;
const SQUARE_UNITS: f32 = 4096.0;
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

/// What is known of a stream's noise.
pub(super) struct Judge {
    histogram: Histogram,
    /// Of pixels, of cells' means, of means over 3 × 3 cells.
    curves: [Curve; 3],
    /// For each cell the squared gradient of the memory, then the mean square over 3 × 3 cells.
    pub texture: Vec<f32>,
    pub broad: Vec<f32>,
    /// For each cell its squares over their variances: of pixels, of the cell's means, of means over 3 × 3 cells.
    ratios: Vec<[f32; 3]>,
    /// The cells that the noise is learnt from.
    flat: Vec<u32>,
    columns: usize,
    rows: usize,
}

impl Judge {
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(columns: usize, rows: usize) -> Result<Self> {
        let cells = columns * rows;
        Ok(Self {
            histogram: Histogram::default(),
            curves: LEAST.map(Curve::new),
            texture: try_filled(0.0, cells)?,
            broad: try_filled(0.0, cells)?,
            ratios: try_filled([0.0; 3], cells)?,
            flat: try_filled(0, rows.div_ceil(SAMPLED) * columns)?,
            columns,
            rows,
        })
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.texture.len() * (4 + 4 + 12) + 4 * self.flat.capacity()
    }

    /// The standard deviation of a pixel's noise at an intensity from 0 to 1, in codes of 8 bits.
    pub fn deviation(&self, intensity: f32) -> f32 {
        self.curves[0].at(Place::of(intensity)).sqrt()
    }

    /// Learns the noise from `cells` and fills `trust`; `half` is the half-size copy of the memory. Returns the mean share
    /// that is believed.
    #[allow(unsafe_code)]
    pub fn judge(&mut self, pool: &Pool, cells: &[Cell], half: &Small, trust: &mut [Trust]) -> f32 {
        self.find_flat(pool, cells, half);
        self.average(pool, cells);
        let encoded = self.encoded(cells);
        let noise = self.learn(cells, DEVIATIONS.0 + (DEVIATIONS.1 - DEVIATIONS.0) * encoded);
        let wider = 1.0 + ENCODED * encoded;
        let (columns, rows, broad) = (self.columns, self.rows, &self.broad);
        let out = Disjoint::new(&mut self.ratios);
        pool.run(rows.div_ceil(STRIP), &|strip| {
            let part = strip * STRIP * columns..rows.min((strip + 1) * STRIP) * columns;
            // SAFETY: each task has its own rows.
            let out = unsafe { out.part(part.clone()) };
            for ((out, cell), broad) in out.iter_mut().zip(&cells[part.clone()]).zip(&broad[part]) {
                let place = Place::of(cell.intensity);
                let own = 1.0 / (1.0 + cell.spread);
                *out = [
                    own * cell.energy / noise[0].at(place),
                    own * cell.offset() / noise[1].at(place),
                    broad / noise[2].at(place),
                ];
            }
        });
        let ratios = &self.ratios;
        let out = Disjoint::new(trust);
        pool.run(rows.div_ceil(STRIP), &|strip| {
            for row in strip * STRIP..rows.min((strip + 1) * STRIP) {
                // SAFETY: each task has its own rows.
                let out = unsafe { out.part(row * columns..(row + 1) * columns) };
                // At the edges the row itself stands for the one outside.
                let around = [row.saturating_sub(1), row, (row + 1).min(rows - 1)];
                let [above, own, below] = around.map(|y| &ratios[y * columns..][..columns]);
                let down = |x: usize| [0, 1, 2].map(|k| above[x][k] + 2.0 * own[x][k] + below[x][k]);
                let (mut before, mut here) = (down(0), down(0));
                for (column, out) in out.iter_mut().enumerate() {
                    let after = down((column + 1).min(columns - 1));
                    let mean = [0, 1, 2].map(|k| (before[k] + 2.0 * here[k] + after[k]) * (1.0 / 16.0));
                    let fall = |mean: f32, (from, to): (f32, f32)| {
                        ((to * wider - mean) / ((to - from) * wider)).clamp(0.0, 1.0)
                    };
                    let share = fall(mean[0], ENERGY)
                        .min(fall(mean[1], OFFSET))
                        .min(fall(mean[2], BROAD));
                    let variance = noise[0].at(Place::of(cells[row * columns + column].intensity));
                    *out = Trust {
                        share,
                        precision: 1.0 / variance,
                    };
                    (before, here) = (here, after);
                }
            }
        });
        let sum: u64 = trust
            .iter()
            .map(|trust| u64::from((trust.share * SHARE_UNITS + 0.5) as u32))
            .sum();
        sum as f32 / (SHARE_UNITS * trust.len() as f32)
    }

    /// Marks the cells with the least texture for their intensity.
    #[allow(unsafe_code)]
    fn find_flat(&mut self, pool: &Pool, cells: &[Cell], half: &Small) {
        let columns = self.columns;
        let texture = Disjoint::new(&mut self.texture);
        let rows = self.rows;
        pool.run(rows, &|row| {
            // SAFETY: each task has its own row.
            let texture = unsafe { texture.part(row * columns..(row + 1) * columns) };
            for (column, texture) in texture.iter_mut().enumerate() {
                let mut sum = 0.0;
                for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let (x, y) = ((2 * column + x) as isize, (2 * row + y) as isize);
                    let (beside, above, below) = (half.from(x - 1, y), half.from(x, y - 1), half.from(x, y + 1));
                    sum += (beside[2] - beside[0]).abs() + (below[0] - above[0]).abs();
                }
                *texture = sum * sum * super::innovation::CODES;
            }
        });
        self.histogram.clear();
        // A part of the rows will do for what the histograms tell.
        let looked_at = (0..self.rows)
            .step_by(SAMPLED)
            .flat_map(|row| row * columns..(row + 1) * columns);
        for i in looked_at.clone() {
            self.histogram.add(cells[i].intensity, self.texture[i]);
        }
        let mut limit = Curve::new(0.0);
        limit.learn(&self.histogram, FLAT, 1.0);
        self.flat.clear();
        for i in looked_at {
            if self.texture[i] <= limit.at(Place::of(cells[i].intensity)) {
                self.flat.push(i as u32);
            }
        }
    }

    /// The mean square of the mean innovation over 3 × 3 cells, without the memory's own noise.
    #[allow(unsafe_code)]
    fn average(&mut self, pool: &Pool, cells: &[Cell]) {
        let (columns, rows) = (self.columns, self.rows);
        let broad = Disjoint::new(&mut self.broad);
        pool.run(rows, &|row| {
            // SAFETY: each task has its own row.
            let broad = unsafe { broad.part(row * columns..(row + 1) * columns) };
            for (column, broad) in broad.iter_mut().enumerate() {
                let (mut means, mut spread, mut count) = ([0.0f32; 3], 0.0, 0.0);
                for y in row.saturating_sub(1)..(row + 2).min(rows) {
                    for cell in &cells[y * columns..][column.saturating_sub(1)..(column + 2).min(columns)] {
                        for (mean, own) in means.iter_mut().zip(cell.means) {
                            *mean += own;
                        }
                        spread += cell.spread;
                        count += 1.0;
                    }
                }
                *broad = square(&means.map(|mean| mean / count)) / (1.0 + spread / count);
            }
        });
    }

    /// How far the noise is an encoder's, from 0 to 1.
    fn encoded(&self, cells: &[Cell]) -> f32 {
        // In whole numbers, whose sum does not depend on their order.
        let fixed = |square: f32| u64::from((square.min(MOST_SQUARE) * SQUARE_UNITS + 0.5) as u32);
        let (mut temporal, mut spatial) = (0, 0);
        for cell in self.flat.iter().map(|&i| &cells[i as usize]) {
            let most = 4.0 * self.curves[0].at(Place::of(cell.intensity));
            temporal += fixed((cell.energy / (1.0 + cell.spread)).min(most));
            spatial += fixed(cell.detail + LEAST_DETAIL);
        }
        let ratio = (temporal as f64 / spatial.max(1) as f64) as f32;
        ((ratio - RATIO.0) / (RATIO.1 - RATIO.0)).clamp(0.0, 1.0)
    }

    /// Learns the noise from the flat cells; returns what this very frame is judged by.
    fn learn(&mut self, cells: &[Cell], deviations: f32) -> [Curve; 3] {
        // The normal distribution by a logistic one, and χ² by the cube of a normal one (Wilson, Hilferty 1931).
        let quantile = 1.0 / (1.0 + (-1.702 * deviations).exp());
        let of_mean = |samples: f32| {
            let variance = 2.0 / (9.0 * samples);
            (1.0 - variance + deviations * variance.sqrt()).powi(3)
        };
        let shares = [of_mean(SAMPLES[0]), of_mean(SAMPLES[1]), of_mean(SAMPLES[1])];
        [0, 1, 2].map(|which| {
            self.histogram.clear();
            for &i in &self.flat {
                let (cell, broad) = (&cells[i as usize], self.broad[i as usize]);
                let square = match which {
                    0 => cell.energy / (1.0 + cell.spread),
                    1 => cell.offset() / (1.0 + cell.spread),
                    _ => broad,
                };
                self.histogram.add(cell.intensity, square);
            }
            self.curves[which].learn(&self.histogram, quantile, shares[which])
        })
    }
}
