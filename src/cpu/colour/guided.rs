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

use super::block::{BLOCK, Block, Rgb, clamp};
use super::planes::Planes;
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

/// The fitted lines, and where each frame pixel lies among them.
pub(crate) struct Guide {
    /// a of three channels, then b of three channels.
    fitted: Planes,
    smooth: Planes,
    columns: Vec<(u32, f32)>,
    rows: Vec<(u32, f32)>,
}

impl Guide {
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(geometry: &Geometry) -> Result<Self> {
        Ok(Self {
            fitted: Planes::new(6, geometry.working)?,
            smooth: Planes::new(6, geometry.working)?,
            columns: positions(geometry.spec.width, geometry.working.0)?,
            rows: positions(geometry.spec.height, geometry.working.1)?,
        })
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        4 * (self.fitted.data.len() + self.smooth.data.len()) + 8 * (self.columns.len() + self.rows.len())
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
        let (width, height) = (self.fitted.width, self.fitted.height);
        let strips = height.div_ceil(STRIP);
        let plane = self.fitted.plane_len();
        let out = Disjoint::new(&mut self.fitted.data);
        pool.run(strips, &|i| {
            for y in i * STRIP..height.min((i + 1) * STRIP) {
                for c in 0..3 {
                    // SAFETY: each task has its own rows, and the planes lie apart.
                    #[allow(unsafe_code)]
                    let (a, b) = unsafe {
                        let at = |p: usize| p * plane + y * width..p * plane + (y + 1) * width;
                        (out.part(at(c)), out.part(at(c + 3)))
                    };
                    fit_row(capabilities, image, reflectance, illumination, c, y, a, b);
                }
            }
        });
        let fitted = &self.fitted;
        let out = Disjoint::new(&mut self.smooth.data);
        pool.run(strips * 6, &|i| {
            let p = i / strips;
            for y in i % strips * STRIP..height.min((i % strips + 1) * STRIP) {
                // SAFETY: as above.
                #[allow(unsafe_code)]
                let row = unsafe { out.part(p * plane + y * width..p * plane + (y + 1) * width) };
                smooth_row(capabilities, fitted, p, y, row);
            }
        });
    }

    /// The bright picture at frame pixels `x..x + n` of row `y`, from their input colours.
    #[inline(always)]
    pub fn apply(&self, y: usize, x: usize, n: usize, input: &Rgb, out: &mut Rgb) {
        let s = &self.smooth;
        let (top, down) = self.rows[y];
        let top = top as usize;
        let bottom = (top + 1).min(s.height - 1);
        let columns = &self.columns[x..x + n];
        let first = columns[0].0 as usize;
        let held = (columns[n - 1].0 as usize + 2).min(s.width) - first;
        let mut line: Block = [0.0; BLOCK + 4];
        let mut terms: Rgb = [[0.0; BLOCK + 4]; 3];
        for (out, b) in [(&mut terms, 0), (&mut *out, 3)] {
            for (c, out) in out.iter_mut().enumerate() {
                let (upper, lower) = (
                    &s.row(b + c, top)[first..][..held],
                    &s.row(b + c, bottom)[first..][..held],
                );
                for ((line, upper), lower) in line.iter_mut().zip(upper).zip(lower) {
                    *line = upper + down * (lower - upper);
                }
                // Past the last column both neighbours are that column.
                line[held] = line[held - 1];
                for (out, (column, across)) in out.iter_mut().zip(columns) {
                    let k = *column as usize - first;
                    *out = line[k] + across * (line[k + 1] - line[k]);
                }
            }
        }
        for ((out, a), input) in out.iter_mut().zip(&terms).zip(input) {
            for ((out, a), i) in out[..n].iter_mut().zip(&a[..n]).zip(&input[..n]) {
                *out = clamp(a * i + *out);
            }
        }
    }
}

/// For each of `full` pixels the working pixel to its left and the way to the next one, 0 to 1.
fn positions(full: usize, working: usize) -> Result<Vec<(u32, f32)>> {
    let scale = working as f64 / full as f64;
    let place = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, working as f64 - 1.0);
        (at.floor() as u32, at.fract() as f32)
    };
    let mut positions = try_filled((0, 0.0), full)?;
    for (i, slot) in positions.iter_mut().enumerate() {
        *slot = place(i);
    }
    Ok(positions)
}

vectorised! {
    fn fit_row(image: &Planes, r: &Planes, l: Option<&Planes>, c: usize, y: usize, a: &mut [f32], b: &mut [f32]) = fit_row_body
}

#[inline(always)]
fn fit_row_body(image: &Planes, r: &Planes, l: Option<&Planes>, c: usize, y: usize, a: &mut [f32], b: &mut [f32]) {
    const SIDE: usize = 2 * RADIUS + 1;
    const SHARE: f32 = 1.0 / (SIDE * SIDE) as f32;
    let (width, height) = (a.len(), image.height.min(r.height));
    for x in (0..width).step_by(BLOCK) {
        let n = BLOCK.min(width - x);
        // Sums down the window's columns: I, E, I², I·E.
        let mut sums = [[0f32; 4]; BLOCK + 2 * RADIUS];
        for j in 0..SIDE {
            let row = (y + j).saturating_sub(RADIUS).min(height - 1);
            let (i, r, l) = (image.row(c, row), r.row(c, row), l.map(|l| l.row(0, row)));
            for (k, sums) in sums[..n + 2 * RADIUS].iter_mut().enumerate() {
                let at = (x + k).saturating_sub(RADIUS).min(width - 1);
                let lit = match l {
                    Some(l) => r[at] * l[at],
                    None => r[at],
                };
                let (i, e) = (i[at], clamp(lit));
                let terms = [i, e, i * i, i * e];
                sums.iter_mut().zip(terms).for_each(|(s, t)| *s += t);
            }
        }
        for k in 0..n {
            let mut window = [0f32; 4];
            for sums in &sums[k..k + SIDE] {
                window.iter_mut().zip(sums).for_each(|(w, s)| *w += s);
            }
            let [i, e, ii, ie] = window.map(|sum| sum * SHARE);
            let slope = (ie - i * e) / ((ii - i * i).max(0.0) + FLAT_CONTRAST * i * i + FLAT_LEAST);
            a[x + k] = slope;
            b[x + k] = e - slope * i;
        }
    }
}

vectorised! {
    fn smooth_row(from: &Planes, p: usize, y: usize, out: &mut [f32]) = smooth_row_body
}

/// The mean of 3 × 3.
#[inline(always)]
fn smooth_row_body(from: &Planes, p: usize, y: usize, out: &mut [f32]) {
    let rows = [y.saturating_sub(1), y, (y + 1).min(from.height - 1)].map(|y| from.row(p, y));
    let last = out.len() - 1;
    let column = |x: usize| rows[0][x] + rows[1][x] + rows[2][x];
    for (x, out) in out.iter_mut().enumerate() {
        *out = (column(x.saturating_sub(1)) + column(x) + column((x + 1).min(last))) / 9.0;
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
        let mut guide = Guide::new(&geometry).unwrap();
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
            input.iter_mut().for_each(|c| c.fill(0.2));
            for y in [0, 30, 60] {
                guide.apply(y, 0, 97, &input, &mut out);
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
