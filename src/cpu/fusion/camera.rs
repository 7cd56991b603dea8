//! The motion of the camera: one affine map for the whole picture, by least squares on the change of brightness (Lucas,
//! Kanade 1981; Baker, Matthews 2004), robust against what moves by itself.

use super::pyramid::Small;
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::threads::{Disjoint, Pool};

/// Where pixel (x, y), counted from the picture's middle, was in the frame before: an offset of
/// (a0 + a1·x + a2·y, a3 + a4·x + a5·y) pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Affine(pub [f64; 6]);

impl Affine {
    /// The offset of pixel (x, y).
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let a = &self.0;
        (a[0] + a[1] * x + a[2] * y, a[3] + a[4] * x + a[5] * y)
    }

    /// The least squares fit of offsets at places, each with a weight; `None` where they do not determine one. Sums are
    /// made of [`LANES`] partial ones, so that a GPU can make the same.
    pub fn fit(samples: impl Iterator<Item = ([f32; 2], [f32; 2], f32)>) -> Option<Self> {
        let mut lanes = [[0.0f32; LANES]; 12];
        for (i, ([x, y], [dx, dy], w)) in samples.enumerate() {
            let (wx, wy) = (w * x, w * y);
            let terms = [
                w,
                wx,
                wy,
                wx * x,
                wx * y,
                wy * y,
                w * dx,
                wx * dx,
                wy * dx,
                w * dy,
                wx * dy,
                wy * dy,
            ];
            for (lanes, term) in lanes.iter_mut().zip(terms) {
                lanes[i % LANES] += term;
            }
        }
        let [w, x, y, xx, xy, yy, dx, xdx, ydx, dy, xdy, ydy] = lanes.map(|lanes| f64::from(halved(lanes)));
        let a = solve([[w, x, y, dx], [x, xx, xy, xdx], [y, xy, yy, ydx]])?;
        let b = solve([[w, x, y, dy], [x, xx, xy, xdy], [y, xy, yy, ydy]])?;
        Some(Self([a[0], a[1], a[2], b[0], b[1], b[2]]))
    }
}

/// Partial sums of a fit.
const LANES: usize = 256;

/// The sum of partial sums, a power of 2 of them: the second half is added to the first until one is left.
#[inline(always)]
fn halved<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Solves N linear equations, the right side in the last column, by elimination; `None` for a singular system.
fn solve<const N: usize, const M: usize>(mut m: [[f64; M]; N]) -> Option<[f64; N]> {
    for i in 0..N {
        let pivot = (i..N).max_by(|&a, &b| m[a][i].abs().total_cmp(&m[b][i].abs()))?;
        m.swap(i, pivot);
        // Not a number, too, is singular.
        if m[i][i].abs().partial_cmp(&1e-12) != Some(std::cmp::Ordering::Greater) {
            return None;
        }
        for row in 0..N {
            if row != i {
                let factor = m[row][i] / m[i][i];
                let pivot = m[i];
                for (value, pivot) in m[row].iter_mut().zip(pivot).skip(i) {
                    *value -= factor * pivot;
                }
            }
        }
    }
    let mut x = [0.0; N];
    for i in 0..N {
        x[i] = m[i][M - 1] / m[i][i];
    }
    Some(x)
}

/// Products of the six derivatives with each other and with the difference, summed: the upper triangle, then the right
/// side.
const SUMS: usize = 27;
/// Partial sums of a row, made of every 32nd pixel each: the threads of a GPU's warp.
const WARP: usize = 32;
/// Rows that one task takes.
const STRIP: usize = 16;
/// About so many pixels of a copy are looked at.
const SAMPLES: usize = 8192;

/// Sums of each strip of rows: one for each [`STRIP`] of the largest copy.
pub(super) type Sums = [f64; SUMS];

/// Of a copy, one pixel of so many in each direction is looked at; a power of 2, which [`STRIP`] is a multiple of.
fn stride(copy: &Small) -> usize {
    match copy.width * copy.height / SAMPLES {
        0..4 => 1,
        4..16 => 2,
        _ => 4,
    }
}

/// How many [`Sums`] a copy of `height` rows takes.
pub(super) fn strips(height: usize) -> usize {
    height.div_ceil(STRIP)
}

/// One step of Gauss–Newton for `start`, on the copy `now` and the copy of the frame before, each pixel `scale` pixels of
/// the picture wide. Differences far above `noise` count little. `sums` is room for as many as [`strips`] says.
#[allow(unsafe_code, clippy::too_many_arguments)]
pub(super) fn refine(
    pool: &Pool,
    capabilities: Capabilities,
    now: &Small,
    before: &Small,
    scale: f64,
    noise: f32,
    start: Affine,
    sums: &mut [Sums],
) -> Affine {
    let stride = stride(now);
    let sums = &mut sums[..strips(now.height)];
    let out = Disjoint::new(sums);
    pool.run(strips(now.height), &|strip| {
        // SAFETY: each task has its own sums.
        let out = unsafe { &mut out.part(strip..strip + 1)[0] };
        *out = [0.0; SUMS];
        for y in (strip * STRIP..now.height.min((strip + 1) * STRIP)).step_by(stride) {
            let mut row = [[0.0f32; WARP]; SUMS];
            collect(
                capabilities,
                now,
                before,
                scale as f32,
                noise,
                &start.0,
                y,
                stride,
                &mut row,
            );
            for (sum, value) in out.iter_mut().zip(per_pixel(now, scale as f32, row)) {
                *sum += f64::from(value);
            }
        }
    });
    // In the order of the strips, so that the result does not depend on the threads.
    let mut total = [0.0; SUMS];
    for strip in sums.iter() {
        for (total, sum) in total.iter_mut().zip(strip) {
            *total += sum;
        }
    }
    let sums = total;
    let mut system = [[0.0; 7]; 6];
    let mut next = 0;
    #[allow(clippy::needless_range_loop)]
    for i in 0..6 {
        for j in i..6 {
            system[i][j] = sums[next];
            system[j][i] = sums[next];
            next += 1;
        }
        // Where the picture says nothing, nothing changes.
        system[i][i] *= 1.0 + 1e-6;
        system[i][i] += 1e-6;
        system[i][6] = sums[21 + i];
    }
    let Some(step) = solve(system) else { return start };
    let mut refined = start;
    for (value, step) in refined.0.iter_mut().zip(step) {
        *value += step;
    }
    match refined.0.iter().all(|v| v.is_finite()) {
        true => refined,
        false => start,
    }
}

vectorised! {
    fn collect(now: &Small, before: &Small, scale: f32, noise: f32, affine: &[f64; 6], y: usize, stride: usize, sums: &mut [[f32; WARP]; SUMS]) = collect_row
}

#[inline(always)]
#[allow(clippy::too_many_arguments, clippy::needless_range_loop)]
fn collect_row(
    now: &Small,
    before: &Small,
    scale: f32,
    noise: f32,
    affine: &[f64; 6],
    y: usize,
    stride: usize,
    sums: &mut [[f32; WARP]; SUMS],
) {
    let (width, height) = (now.width, now.height);
    let mut a = [0.0f32; 6];
    for (a, v) in a.iter_mut().zip(affine) {
        *a = *v as f32;
    }
    let unit = unit(now, scale);
    let inverse = 1.0 / (noise * noise).max(1e-8);
    let py = (y as f32 + 0.5 - 0.5 * height as f32) * scale;
    let uy = py * unit;
    let here = now.from(0, y as isize);
    // Pixels 0, stride, 2·stride, … of a row are the lanes of one group after the other.
    for first in (0..width).step_by(WARP * stride) {
        let (mut px, mut fx, mut fy) = ([0.0f32; WARP], [0.0f32; WARP], [0.0f32; WARP]);
        for lane in 0..WARP {
            let x = (first + lane * stride) as f32;
            px[lane] = (x + 0.5 - 0.5 * width as f32) * scale;
            fx[lane] = x + (a[0] + a[1] * px[lane] + a[2] * py) / scale;
            fy[lane] = y as f32 + (a[3] + a[4] * px[lane] + a[5] * py) / scale;
        }
        // What is left out has zeros, which add nothing.
        let mut taps = [[0.0f32; WARP]; 13];
        let (mut tx, mut ty) = ([0.0f32; WARP], [0.0f32; WARP]);
        for lane in 0..WARP.min((width - first).div_ceil(stride)) {
            let (fx, fy) = (fx[lane], fy[lane]);
            if fx >= 1.0 && fx < width as f32 - 2.0 && fy >= 1.0 && fy < height as f32 - 2.0 {
                let (ix, iy) = (fx as i32, fy as i32);
                (tx[lane], ty[lane]) = (fx - ix as f32, fy - iy as f32);
                let four = before.from(ix as isize - 1, iy as isize - 1);
                let four = &four[..3 * before.stride() + 4];
                let (r0, r1) = (&four[..4], &four[before.stride()..][..4]);
                let (r2, r3) = (&four[2 * before.stride()..][..4], &four[3 * before.stride()..][..4]);
                let found = [
                    r0[1], r0[2], r1[0], r1[1], r1[2], r1[3], r2[0], r2[1], r2[2], r2[3], r3[1], r3[2],
                ];
                for k in 0..12 {
                    taps[k][lane] = found[k];
                }
                taps[12][lane] = here[first + lane * stride];
            }
        }
        let [b0, c0, a1, b1, c1, d1, a2, b2, c2, d2, b3, c3, now] = &taps;
        let (mut derivatives, mut scaled) = ([[0.0f32; WARP]; 6], [[0.0f32; WARP]; 6]);
        let mut differences = [0.0f32; WARP];
        for lane in 0..WARP {
            let (tx, ty) = (tx[lane], ty[lane]);
            let value = lerp(lerp(b1[lane], c1[lane], tx), lerp(b2[lane], c2[lane], tx), ty);
            let left = lerp(lerp(a1[lane], b1[lane], tx), lerp(a2[lane], b2[lane], tx), ty);
            let right = lerp(lerp(c1[lane], d1[lane], tx), lerp(c2[lane], d2[lane], tx), ty);
            let above = lerp(lerp(b0[lane], c0[lane], tx), lerp(b1[lane], c1[lane], tx), ty);
            let below = lerp(lerp(b2[lane], c2[lane], tx), lerp(b3[lane], c3[lane], tx), ty);
            let difference = now[lane] - value;
            let weight = 1.0 / (1.0 + difference * difference * inverse);
            let (gx, gy) = (0.5 * (right - left) / scale, 0.5 * (below - above) / scale);
            let ux = px[lane] * unit;
            let d = [gx, gx * ux, gx * uy, gy, gy * ux, gy * uy];
            differences[lane] = difference;
            for i in 0..6 {
                derivatives[i][lane] = d[i];
                scaled[i][lane] = weight * d[i];
            }
        }
        let mut next = 0;
        for i in 0..6 {
            for j in i..6 {
                for lane in 0..WARP {
                    sums[next][lane] += scaled[i][lane] * derivatives[j][lane];
                }
                next += 1;
            }
            for lane in 0..WARP {
                sums[21 + i][lane] += scaled[i][lane] * differences[lane];
            }
        }
    }
}

/// `t` of the way from `a` to `b`.
#[inline(always)]
fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// A row's sums without the scale of its derivatives.
#[allow(clippy::needless_range_loop)]
fn per_pixel(now: &Small, scale: f32, sums: [[f32; WARP]; SUMS]) -> [f32; SUMS] {
    let unit = unit(now, scale);
    let units = [1.0, unit, unit, 1.0, unit, unit];
    let mut sums = sums.map(halved);
    let mut next = 0;
    for i in 0..6 {
        for j in i..6 {
            sums[next] /= units[i] * units[j];
            next += 1;
        }
        sums[21 + i] /= units[i];
    }
    sums
}

/// What coordinates are multiplied by: derivatives by a1, a2, a4 and a5 are scaled to the picture's half width, to keep the
/// system well conditioned in 32-bit sums.
#[inline(always)]
fn unit(now: &Small, scale: f32) -> f32 {
    1.0 / (0.5 * now.width as f32 * scale)
}
