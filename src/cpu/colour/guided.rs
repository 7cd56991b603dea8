//! Brings the result from the working size to the frame's size along the frame's own edges: the guided filter (He, Sun,
//! Tang: Guided Image Filtering, 2013; He, Sun: Fast Guided Filter, 2015).
//!
//! In a window ω of the working size each channel of the bright picture E is fitted as a line over the input I:
//!
//! ```text
//! E ≈ a·I + b      a = cov_ω(I, E) / (var_ω(I) + ε)      b = mean_ω(E) − a·mean_ω(I)
//! ```
//! a and b, averaged over neighbouring windows, are interpolated to the frame's size and applied to its own pixels.
//! Where the input is flat apart from noise, a is near 0 and the result is the networks' clean picture; at an edge the
//! result follows the input.

use std::ops::Range;

use super::block::{BLOCK, Block, Rgb, clamp};
use super::planes::Planes;
use super::stretch::{LINE, Line, stretch};
use crate::backend::Geometry;
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::memory::try_filled;
use crate::cpu::threads::{Disjoint, Pool};
use crate::error::Result;

/// Half the side of a fitted window, without the middle pixel.
const RADIUS: usize = 2;
/// ε is this share of mean_ω(I)², so that in the dark, too, a contrast of a tenth is an edge ...
const FLAT_CONTRAST: f32 = 0.01;
/// ... and never less than this, a quarter of an 8-bit step squared.
const FLAT_LEAST: f32 = 1e-6;
/// Rows that one task takes.
const STRIP: usize = 16;
/// Columns that are summed together, in registers.
const LANES: usize = 16;
/// Pixels of a row of the working size that are worked on together.
const PIECE: usize = 8 * LANES - 2 * RADIUS;

/// The fitted lines, and where each frame pixel lies among them.
pub(crate) struct Guide {
    /// a of three channels, then b of three channels, each window's own.
    fitted: Planes,
    columns: Positions,
    rows: Positions,
    capabilities: Capabilities,
}

/// Where each of a row's or a column's frame pixels lies among working pixels: the one before it, and how far it is from
/// there to the next one, 0 to 1.
struct Positions {
    before: Vec<u32>,
    part: Vec<f32>,
}

/// Rows of the fitted lines at the frame's columns, of the two working rows that a frame row lies between: most frame rows
/// lie between the same ones as the row above them.
pub(crate) struct Between {
    /// What is in each: the working row, the first frame column and how many.
    held: [(usize, usize, usize); 2],
    lines: [[Block; 6]; 2],
}

impl Between {
    pub const NONE: Self = Self {
        held: [(usize::MAX, 0, 0); 2],
        lines: [[[0.0; BLOCK + 4]; 6]; 2],
    };
}

impl Guide {
    /// None where the networks see the frame at its own size.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(geometry: &Geometry) -> Result<Option<Self>> {
        let guide = || {
            Ok(Self {
                fitted: Planes::new(6, geometry.working)?,
                columns: Positions::new(geometry.spec.width, geometry.working.0)?,
                rows: Positions::new(geometry.spec.height, geometry.working.1)?,
                capabilities: Capabilities::current(),
            })
        };
        geometry.is_reduced().then(guide).transpose()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        4 * self.fitted.data.len() + 8 * (self.columns.part.len() + self.rows.part.len())
    }

    /// Fits the lines from `image` (I) to `clamp(illumination · reflectance)` (E); without an illumination the reflectance is
    /// lit already.
    pub fn fit(
        &mut self,
        pool: &Pool,
        capabilities: Capabilities,
        image: &Planes,
        reflectance: &Planes,
        illumination: Option<&Planes>,
    ) {
        self.capabilities = capabilities;
        let (width, height) = (self.fitted.width, self.fitted.height);
        let strips = height.div_ceil(STRIP);
        let plane = self.fitted.plane_len();
        let out = Disjoint::new(&mut self.fitted.data);
        pool.run(strips, &|i| {
            let rows = i * STRIP..height.min((i + 1) * STRIP);
            for c in 0..3 {
                // SAFETY: each task has its own rows, and the planes lie apart.
                #[allow(unsafe_code)]
                let (a, b) = unsafe {
                    let at = |p: usize| p * plane + rows.start * width..p * plane + rows.end * width;
                    (out.part(at(c)), out.part(at(c + 3)))
                };
                fit_rows(capabilities, image, reflectance, illumination, c, rows.clone(), a, b);
            }
        });
    }

    /// The bright picture at frame pixels `x..x + n` of row `y`, from their input colours.
    #[inline(always)]
    pub fn apply(&self, y: usize, x: usize, n: usize, between: &mut Between, input: &Rgb, out: &mut Rgb) {
        let n = n.min(BLOCK + 4);
        let (top, down) = (self.rows.before[y] as usize, self.rows.part[y]);
        let bottom = (top + 1).min(self.fitted.height - 1);
        for row in [top, bottom] {
            let slot = row % 2;
            if between.held[slot] != (row, x, n) {
                between.held[slot] = (row, x, n);
                self.spread(row, x, n, &mut between.lines[slot]);
            }
        }
        let (upper, lower) = (&between.lines[top % 2], &between.lines[bottom % 2]);
        for (c, (out, input)) in out.iter_mut().zip(input).enumerate() {
            let (a, b) = (
                (&upper[c][..n], &lower[c][..n]),
                (&upper[c + 3][..n], &lower[c + 3][..n]),
            );
            let (out, input) = (&mut out[..n], &input[..n]);
            for i in 0..n {
                let slope = a.0[i] + down * (a.1[i] - a.0[i]);
                let offset = b.0[i] + down * (b.1[i] - b.0[i]);
                out[i] = clamp(slope * input[i] + offset);
            }
        }
    }

    /// The fitted lines of working row `row`, averaged over neighbours, at frame columns `x..x + n`.
    #[inline(always)]
    fn spread(&self, row: usize, x: usize, n: usize, lines: &mut [Block; 6]) {
        let (before, part) = (&self.columns.before[x..x + n], &self.columns.part[x..x + n]);
        let first = before[0] as usize;
        let held = (before[n - 1] as usize + 2).min(self.fitted.width) - first;
        let last = self.fitted.height - 1;
        let around = [row.saturating_sub(1), row, (row + 1).min(last)];
        let mut room = [[0.0f32; BLOCK + 6]; 3];
        let mut columns = [0.0f32; BLOCK + 6];
        let mut line: Line = [0.0; LINE];
        for (p, out) in lines.iter_mut().enumerate() {
            // The mean of 3 × 3.
            let [above, own, below] = &mut room;
            let above = &window::<1>(self.fitted.row(p, around[0]), first, held, above)[..held + 2];
            let own = &window::<1>(self.fitted.row(p, around[1]), first, held, own)[..held + 2];
            let below = &window::<1>(self.fitted.row(p, around[2]), first, held, below)[..held + 2];
            for (k, column) in columns[..held + 2].iter_mut().enumerate() {
                *column = above[k] + own[k] + below[k];
            }
            for k in 0..held {
                line[k] = (columns[k] + columns[k + 1] + columns[k + 2]) * (1.0 / 9.0);
            }
            // Past the last column both neighbours are that column.
            line[held] = line[held - 1];
            stretch(self.capabilities, &line, before, part, &mut out[..n]);
        }
    }
}

impl Positions {
    fn new(full: usize, working: usize) -> Result<Self> {
        let scale = working as f64 / full as f64;
        let mut positions = Self {
            before: try_filled(0, full)?,
            part: try_filled(0.0, full)?,
        };
        for (i, (before, part)) in positions.before.iter_mut().zip(&mut positions.part).enumerate() {
            let at = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, working as f64 - 1.0);
            (*before, *part) = (at.floor() as u32, at.fract() as f32);
        }
        Ok(positions)
    }
}

/// Numbers `x` to `x + n` of a row and `R` more on either side, the row's ends repeated: the row's own, or a copy in `room`.
#[inline(always)]
fn window<'a, const R: usize>(row: &'a [f32], x: usize, n: usize, room: &'a mut [f32]) -> &'a [f32] {
    if x >= R && x + n + R <= row.len() {
        return &row[x - R..x + n + R];
    }
    let (from, to) = (x.saturating_sub(R), (x + n + R).min(row.len()));
    let lead = R + from - x;
    let room = &mut room[..n + 2 * R];
    room[..lead].fill(row[0]);
    room[lead..lead + to - from].copy_from_slice(&row[from..to]);
    room[lead + to - from..].fill(row[row.len() - 1]);
    room
}

/// The side of a fitted window.
const SIDE: usize = 2 * RADIUS + 1;
/// Sums down the columns of a piece's windows.
type Sums = [f32; PIECE + 2 * RADIUS];

vectorised! {
    fn fit_rows(image: &Planes, r: &Planes, l: Option<&Planes>, c: usize, rows: Range<usize>, a: &mut [f32], b: &mut [f32]) = fit_rows_of
}

/// Fits channel `c` of rows, all of which `a` and `b` are.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn fit_rows_of(
    image: &Planes,
    r: &Planes,
    l: Option<&Planes>,
    c: usize,
    rows: Range<usize>,
    a: &mut [f32],
    b: &mut [f32],
) {
    let width = a.len() / rows.len();
    let mut room = [[[0.0; PIECE + 2 * RADIUS]; SIDE]; 3];
    for (y, (a, b)) in rows.zip(a.chunks_exact_mut(width).zip(b.chunks_exact_mut(width))) {
        fit_row(image, r, l, c, y, &mut room, a, b);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn fit_row(
    image: &Planes,
    r: &Planes,
    l: Option<&Planes>,
    c: usize,
    y: usize,
    room: &mut [[Sums; SIDE]; 3],
    a: &mut [f32],
    b: &mut [f32],
) {
    const SHARE: f32 = 1.0 / (SIDE * SIDE) as f32;
    let (width, height) = (a.len(), image.height.min(r.height));
    for x in (0..width).step_by(PIECE) {
        let n = PIECE.min(width - x);
        let wide = n + 2 * RADIUS;
        // Sums down the window's columns: I, E, I², I·E.
        let mut sums: [Sums; 4] = [[0.0; PIECE + 2 * RADIUS]; 4];
        let [of_i, of_r, of_l] = &mut *room;
        let at = |j: usize| (y + j).saturating_sub(RADIUS).min(height - 1);
        let (mut i, mut lit): ([&[f32]; SIDE], [&[f32]; SIDE]) = ([&[]; SIDE], [&[]; SIDE]);
        for (j, ((i, lit), (of_i, of_r))) in i.iter_mut().zip(&mut lit).zip(of_i.iter_mut().zip(of_r)).enumerate() {
            *i = &window::<RADIUS>(&image.row(c, at(j))[..width], x, n, of_i)[..wide];
            *lit = &window::<RADIUS>(&r.row(c, at(j))[..width], x, n, of_r)[..wide];
        }
        match l {
            Some(l) => {
                let mut light: [&[f32]; SIDE] = [&[]; SIDE];
                for (j, (light, of_l)) in light.iter_mut().zip(of_l).enumerate() {
                    *light = &window::<RADIUS>(&l.row(0, at(j))[..width], x, n, of_l)[..wide];
                }
                sum_down(&mut sums, wide, &i, &lit, |j, k| light[j][k]);
            }
            None => sum_down(&mut sums, wide, &i, &lit, |_, _| 1.0),
        }
        // Along the rows.
        let mut means: [[f32; PIECE]; 4] = [[0.0; PIECE]; 4];
        for (mean, sums) in means.iter_mut().zip(&sums) {
            for k in 0..n {
                mean[k] = (sums[k] + sums[k + 1] + sums[k + 2] + sums[k + 3] + sums[k + 4]) * SHARE;
            }
        }
        let [i, e, ii, ie] = &means;
        let (a, b) = (&mut a[x..x + n], &mut b[x..x + n]);
        for k in 0..n {
            let variance = (ii[k] - i[k] * i[k]).max(0.0);
            let slope = (ie[k] - i[k] * e[k]) / (variance + FLAT_CONTRAST * i[k] * i[k] + FLAT_LEAST);
            a[k] = slope;
            b[k] = e[k] - slope * i[k];
        }
    }
}

/// Sums I, E, I² and I·E down `n` columns of rows; E is `r` times `light`.
#[inline(always)]
fn sum_down<const N: usize, const ROWS: usize>(
    sums: &mut [[f32; N]; 4],
    n: usize,
    i: &[&[f32]; ROWS],
    r: &[&[f32]; ROWS],
    light: impl Fn(usize, usize) -> f32,
) {
    let whole = n / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        sum_lanes(sums, at, LANES, i, r, &light);
    }
    if whole < n {
        sum_lanes(sums, whole, n - whole, i, r, &light);
    }
}

/// The same for columns `at` to `at + n`, [`LANES`] at most.
#[inline(always)]
fn sum_lanes<const N: usize, const ROWS: usize>(
    sums: &mut [[f32; N]; 4],
    at: usize,
    n: usize,
    i: &[&[f32]; ROWS],
    r: &[&[f32]; ROWS],
    light: &impl Fn(usize, usize) -> f32,
) {
    let (mut s, mut t, mut u, mut v) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
    for j in 0..ROWS {
        let (i, r) = (&i[j][at..at + n], &r[j][at..at + n]);
        for k in 0..n {
            let (i, e) = (i[k], clamp(r[k] * light(j, at + k)));
            s[k] += i;
            t[k] += e;
            u[k] += i * i;
            v[k] += i * e;
        }
    }
    for (sums, lanes) in sums.iter_mut().zip([&s, &t, &u, &v]) {
        sums[at..at + n].copy_from_slice(&lanes[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::capabilities::Level;
    use crate::frame::{Colorimetry, FrameSpec, PixelFormat};

    /// Where the bright picture is a line of the input, the guide finds that line at any size.
    #[test]
    fn a_line_is_found_again() {
        let spec = FrameSpec {
            format: PixelFormat::Rgb,
            width: 97,
            height: 61,
            colorimetry: Colorimetry::FULL,
        };
        let geometry = Geometry::new(spec, 40 * 25, 1);
        let planes = |channels| Planes::new(channels, geometry.working).unwrap();
        let (mut image, mut reflectance, mut illumination) = (planes(3), planes(3), planes(1));
        illumination.data.fill(1.0);
        for (i, (v, r)) in image.data.iter_mut().zip(reflectance.data.iter_mut()).enumerate() {
            *v = ((i * 7919) % 97) as f32 / 250.0;
            *r = 2.0 * *v + 0.1;
        }
        let mut guide = Guide::new(&geometry).unwrap().unwrap();
        let pool = Pool::new(0);
        for &level in Level::available() {
            guide.fit(
                &pool,
                Capabilities::at(level),
                &image,
                &reflectance,
                Some(&illumination),
            );
            let mut input: Rgb = [[0.0; BLOCK + 4]; 3];
            let mut out = input;
            let mut between = Between::NONE;
            input.iter_mut().for_each(|c| c.fill(0.2));
            for y in [0, 30, 60] {
                guide.apply(y, 0, 97, &mut between, &input, &mut out);
                let worst = out
                    .iter()
                    .flat_map(|c| &c[..97])
                    .map(|v| (v - 0.5).abs())
                    .fold(0.0, f32::max);
                assert!(worst < 0.02, "{level}, row {y}: off by {worst}");
            }
        }
    }
}
