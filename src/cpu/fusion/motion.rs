//! Motion from the frame before, by block matching on small copies of the luma, from coarse to fine.

use super::camera::{Affine, Sums, refine, strips};
use super::pyramid::{BORDER, LEVELS, Pyramid, Small};
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::memory::try_filled;
use crate::cpu::threads::{Disjoint, Pool};
use crate::error::Result;

/// Side of a block in pixels of the picture: one vector for each.
pub(super) const BLOCK: usize = 8;
/// Pixels between blocks, at every level.
const STEP: usize = 4;
/// Side of the window that is compared.
const WINDOW: usize = 8;
/// Half the side of the window.
const REACH: isize = WINDOW as isize / 2;
/// How far the coarsest level searches, in its pixels.
const SEARCH: isize = 4;
/// Parts of a pixel that vectors are given in.
pub(super) const PARTS: i32 = 16;
/// How much better than the camera's motion, or none, another place must be, in standard deviations for each pixel ...
const BIAS: f32 = 0.1;
/// ... and as a share of the difference.
const SHARE: f32 = 0.95;
/// The difference that is left where nothing moves, in standard deviations for each pixel: the mean of |x| is 0.8.
const QUIET: f32 = 0.85;
/// The levels that the camera's motion is refined on, and how often.
const REFINEMENT: [(usize, usize); 2] = [(1, 2), (0, 3)];
/// Differences of one code are small in any case.
const LEAST_NOISE: f32 = 1.0 / 255.0;
/// What the corners of the picture move by at most while the camera stands still, in pixels: they are taken twice as far
/// out as they are.
const STANDS: f64 = 0.12;

/// Where a block was in the frame before: an offset in sixteenths of a pixel in the picture's vectors, in pixels elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Vector {
    pub x: i16,
    pub y: i16,
}

/// The vectors of one level.
struct Field {
    columns: usize,
    rows: usize,
    vectors: Vec<Vector>,
}

impl Field {
    fn new(level: &Small) -> Result<Self> {
        let (columns, rows) = (level.width.div_ceil(STEP), level.height.div_ceil(STEP));
        Ok(Self {
            columns,
            rows,
            vectors: try_filled(Vector::default(), columns * rows)?,
        })
    }

    /// The median of one of the vectors' numbers.
    fn median(&self, number: impl Fn(&Vector) -> i16) -> f64 {
        const MOST: i32 = 128;
        let mut counts = [0usize; 2 * MOST as usize + 1];
        for vector in &self.vectors {
            counts[(i32::from(number(vector)).clamp(-MOST, MOST) + MOST) as usize] += 1;
        }
        let mut below = 0;
        let median = counts.iter().position(|&count| {
            below += count;
            2 * below > self.vectors.len()
        });
        f64::from(median.map_or(0, |at| at as i32 - MOST))
    }

    /// The vector at a place that may lie outside.
    fn at(&self, x: isize, y: isize) -> Vector {
        let x = x.clamp(0, self.columns as isize - 1) as usize;
        let y = y.clamp(0, self.rows as isize - 1) as usize;
        self.vectors[y * self.columns + x]
    }
}

/// The motion of one frame.
pub(super) struct Motion {
    /// Those of the picture first; in pixels of their level but for the first.
    fields: [Field; LEVELS],
    sums: Vec<Sums>,
}

impl Motion {
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(pyramid: &Pyramid) -> Result<Self> {
        let [a, b, c, d] = &pyramid.levels;
        Ok(Self {
            fields: [Field::new(a)?, Field::new(b)?, Field::new(c)?, Field::new(d)?],
            sums: try_filled([0.0; _], strips(a.height))?,
        })
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let vectors: usize = self.fields.iter().map(|field| field.vectors.len()).sum();
        vectors * size_of::<Vector>() + self.sums.len() * size_of::<Sums>()
    }

    /// The vector of the block at `column`, `row`.
    #[inline(always)]
    pub fn vector(&self, column: usize, row: usize) -> Vector {
        let field = &self.fields[0];
        field.vectors[row * field.columns + column]
    }

    /// All vectors, those of the picture first.
    #[cfg(test)]
    pub fn vectors(&self) -> impl Iterator<Item = Vector> {
        self.fields.iter().flat_map(|field| field.vectors.iter().copied())
    }

    /// Forgets the motion of earlier frames.
    pub fn clear(&mut self) {
        for field in &mut self.fields {
            field.vectors.fill(Vector::default());
        }
    }

    /// Finds the motion from `before` to `now`. `noise` is the standard deviation of a pixel of the half-size copy, which
    /// another place must do better than to be preferred.
    #[allow(unsafe_code)]
    pub fn find(&mut self, pool: &Pool, capabilities: Capabilities, now: &Pyramid, before: &Pyramid, noise: f32) {
        for level in (0..LEVELS).rev() {
            let camera = (level == 0).then(|| self.camera(pool, capabilities, now, before, noise));
            let (fine, coarse) = self.fields.split_at_mut(level + 1);
            let field = &mut fine[level];
            let (columns, rows) = (field.columns, field.rows);
            let search = Search {
                now: &now.levels[level],
                before: &before.levels[level],
                coarse: coarse.first(),
                // Averages of four: the noise falls by half with each level.
                bias: BIAS * (WINDOW * WINDOW) as f32 * noise / (1 << level) as f32,
                quiet: QUIET * (WINDOW * WINDOW) as f32 * noise / (1 << level) as f32,
                camera,
            };
            let vectors = Disjoint::new(&mut field.vectors);
            pool.run(rows, &|row| {
                // SAFETY: each task has its own row.
                let vectors = unsafe { vectors.part(row * columns..(row + 1) * columns) };
                match_row(capabilities, &search, row, vectors);
            });
        }
    }

    /// The motion of the camera: that of most blocks of the quarter-size copy, refined on the picture.
    fn camera(
        &mut self,
        pool: &Pool,
        capabilities: Capabilities,
        now: &Pyramid,
        before: &Pyramid,
        noise: f32,
    ) -> Affine {
        const LEVEL: usize = 1;
        let scale = (2 << LEVEL) as f32;
        let field = &self.fields[LEVEL];
        let size = [now.levels[LEVEL].width, now.levels[LEVEL].height];
        let place = |i: usize| {
            let block = [i % field.columns, i / field.columns];
            [0, 1].map(|k| ((block[k] * STEP + STEP / 2) as f32 - 0.5 * size[k] as f32) * scale)
        };
        let offset = |i: usize| {
            let Vector { x, y } = field.vectors[i];
            [x, y].map(|v| f32::from(v) * scale)
        };
        // The median is right as long as half of the blocks move with the camera; the fit is of those near it.
        let mut camera = Affine([
            field.median(|v| v.x) * f64::from(scale),
            0.0,
            0.0,
            field.median(|v| v.y) * f64::from(scale),
            0.0,
            0.0,
        ]);
        for _ in 0..2 {
            let a = camera.0.map(|v| v as f32);
            let samples = (0..field.vectors.len()).map(|i| {
                let ([x, y], [dx, dy]) = (place(i), offset(i));
                let (ex, ey) = (dx - (a[0] + a[1] * x + a[2] * y), dy - (a[3] + a[4] * x + a[5] * y));
                let far = (ex * ex + ey * ey) / (scale * scale);
                ([x, y], [dx, dy], 1.0 / (1.0 + far * far))
            });
            camera = Affine::fit(samples).unwrap_or(camera);
        }
        for (level, steps) in REFINEMENT {
            for _ in 0..steps {
                let noise = (2.0 * noise / (1 << level) as f32).max(LEAST_NOISE);
                let (now, before) = (&now.levels[level], &before.levels[level]);
                camera = refine(
                    pool,
                    capabilities,
                    now,
                    before,
                    (2 << level) as f64,
                    noise,
                    camera,
                    &mut self.sums,
                );
            }
        }
        // A camera that stands still stands still exactly.
        let (w, h) = (now.levels[0].width as f64, now.levels[0].height as f64);
        let corners = [(w, h), (-w, h), (w, -h), (-w, -h)].map(|(x, y)| camera.at(x, y));
        match corners.iter().all(|(dx, dy)| dx.abs() < STANDS && dy.abs() < STANDS) {
            true => Affine::default(),
            false => camera,
        }
    }
}

struct Search<'a> {
    now: &'a Small,
    before: &'a Small,
    /// The level that is half as large; `None` at the coarsest.
    coarse: Option<&'a Field>,
    bias: f32,
    /// A difference that is no more than noise.
    quiet: f32,
    /// The camera's motion, at the largest copy alone: its vectors are those of the picture.
    camera: Option<Affine>,
}

vectorised! {
    fn match_row(search: &Search<'_>, row: usize, vectors: &mut [Vector]) = match_blocks
}

#[inline(always)]
fn match_blocks(search: &Search<'_>, row: usize, vectors: &mut [Vector]) {
    let Search { now, before, .. } = *search;
    let (width, height, border) = (now.width as isize, now.height as isize, BORDER as isize);
    // The window's upper left corner; it may reach into the border.
    let top = (row * STEP) as isize + STEP as isize / 2 - REACH;
    for (column, vector) in vectors.iter_mut().enumerate() {
        let left = (column * STEP) as isize + STEP as isize / 2 - REACH;
        let window = now.from(left, top);
        // Where a window may begin in the copy before.
        let (least_x, most_x) = (-border - left, width + border - WINDOW as isize - left);
        let (least_y, most_y) = (-border - top, height + border - WINDOW as isize - top);
        let none = distance(window, before.from(left, top), now.stride());
        let (mut best, mut x, mut y) = (none, 0, 0);
        // Written out: closures are compiled without the vectors that are enabled here.
        macro_rules! attempt {
            ($dx:expr, $dy:expr) => {
                let (dx, dy) = ($dx.clamp(least_x, most_x), $dy.clamp(least_y, most_y));
                if (dx, dy) != (x, y) {
                    let d = distance(window, before.from(left + dx, top + dy), now.stride());
                    if d < best {
                        (best, x, y) = (d, dx, dy);
                    }
                }
            };
        }
        // Where what is left is noise there is nothing to be found.
        let camera = match &search.camera {
            None => None,
            Some(camera) => {
                let along = along_camera(camera, column, row, width, height);
                let (hx, hy) = (along.x as f32 / UNIT, along.y as f32 / UNIT);
                let (ix, iy) = (hx.floor() as isize, hy.floor() as isize);
                let inside = (least_x..most_x).contains(&ix) && (least_y..most_y).contains(&iy);
                let left = match inside {
                    _ if along == Vector::default() => none,
                    true => {
                        let place = before.from(left + ix, top + iy);
                        between(window, place, now.stride(), hx - ix as f32, hy - iy as f32)
                    }
                    false => f32::INFINITY,
                };
                Some((along, left))
            }
        };
        let explained = none.min(camera.map_or(none, |(_, left)| left)) < search.quiet;
        match search.coarse {
            _ if explained => {}
            None => {
                for dy in -SEARCH..=SEARCH {
                    for dx in -SEARCH..=SEARCH {
                        attempt!(dx, dy);
                    }
                }
            }
            Some(coarse) => {
                // What this place had a frame ago, and what the coarse level says of it and its neighbours.
                let last = *vector;
                let unit = if search.camera.is_some() { 2 * PARTS as isize } else { 1 };
                let round = |v: i16| (v as isize + (unit / 2) * (v as isize).signum()) / unit;
                attempt!(round(last.x), round(last.y));
                let (cx, cy) = (column as isize / 2, row as isize / 2);
                let (sx, sy) = (column as isize % 2 * 2 - 1, row as isize % 2 * 2 - 1);
                for (ox, oy) in [(0, 0), (sx, 0), (0, sy), (sx, sy)] {
                    let v = coarse.at(cx + ox, cy + oy);
                    attempt!(2 * v.x as isize, 2 * v.y as isize);
                }
                let (mx, my) = (x, y);
                for (ox, oy) in [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)] {
                    attempt!(mx + ox, my + oy);
                }
            }
        }
        // No motion, or the camera's, wins ties.
        let stays = best + search.bias > none * SHARE;
        let Some((along, with_camera)) = camera else {
            let (x, y) = if stays { (0, 0) } else { (x, y) };
            *vector = Vector {
                x: x as i16,
                y: y as i16,
            };
            continue;
        };
        *vector = if with_camera <= none + search.bias && best + search.bias > with_camera * SHARE {
            along
        } else if stays || (x, y) == (0, 0) {
            Vector::default()
        } else {
            // Between the pixels, where both neighbours can be looked at.
            let mut parts = [0.0f32; 2];
            if (least_x + 1..most_x).contains(&x) {
                let a = distance(window, before.from(left + x - 1, top + y), now.stride());
                let b = distance(window, before.from(left + x + 1, top + y), now.stride());
                parts[0] = minimum(a, best, b);
            }
            if (least_y + 1..most_y).contains(&y) {
                let a = distance(window, before.from(left + x, top + y - 1), now.stride());
                let b = distance(window, before.from(left + x, top + y + 1), now.stride());
                parts[1] = minimum(a, best, b);
            }
            Vector {
                x: ((x as f32 + parts[0]) * UNIT).round() as i16,
                y: ((y as f32 + parts[1]) * UNIT).round() as i16,
            }
        };
    }
}

/// Parts in a pixel of the half-size copy.
const UNIT: f32 = (2 * PARTS) as f32;

/// The camera's motion at a block of the half-size copy.
#[inline(always)]
fn along_camera(camera: &Affine, column: usize, row: usize, width: isize, height: isize) -> Vector {
    let middle = |at: usize, size: isize| 2.0 * ((at * STEP + STEP / 2) as f64 - 0.5 * size as f64);
    let (x, y) = camera.at(middle(column, width), middle(row, height));
    // Numbers out of range are cut off, and what is no number becomes 0.
    let parts = |offset: f64| (offset * f64::from(PARTS)).round() as i16;
    Vector {
        x: parts(x),
        y: parts(y),
    }
}

/// Where three sums of absolute differences at −1, 0 and 1 have their minimum: two lines of equal slope (such sums fall
/// and rise as |x|, not as a parabola).
#[inline(always)]
fn minimum(a: f32, middle: f32, b: f32) -> f32 {
    let slope = a.max(b) - middle;
    match slope > 1e-9 {
        true => (0.5 * (a - b) / slope).clamp(-0.5, 0.5),
        false => 0.0,
    }
}

/// The sum of absolute differences of a window and one between pixels, (tx, ty) of a pixel on.
#[inline(always)]
fn between(a: &[f32], b: &[f32], stride: usize, tx: f32, ty: f32) -> f32 {
    let mut sums = [0.0f32; WINDOW];
    let (k00, k10, k01, k11) = ((1.0 - tx) * (1.0 - ty), tx * (1.0 - ty), (1.0 - tx) * ty, tx * ty);
    for y in 0..WINDOW {
        let a = &a[y * stride..y * stride + WINDOW];
        let (b, c) = (
            &b[y * stride..y * stride + WINDOW + 1],
            &b[(y + 1) * stride..(y + 1) * stride + WINDOW + 1],
        );
        for i in 0..WINDOW {
            sums[i] += (a[i] - (k00 * b[i] + k10 * b[i + 1] + k01 * c[i] + k11 * c[i + 1])).abs();
        }
    }
    let mut sum = 0.0;
    for v in sums {
        sum += v;
    }
    sum
}

/// The sum of absolute differences of two windows.
#[inline(always)]
fn distance(a: &[f32], b: &[f32], stride: usize) -> f32 {
    let mut sums = [0.0f32; WINDOW];
    let last = (WINDOW - 1) * stride + WINDOW;
    let (a, b) = (&a[..last], &b[..last]);
    for y in 0..WINDOW {
        let (a, b) = (&a[y * stride..y * stride + WINDOW], &b[y * stride..y * stride + WINDOW]);
        for i in 0..WINDOW {
            sums[i] += (a[i] - b[i]).abs();
        }
    }
    let mut sum = 0.0;
    for v in sums {
        sum += v;
    }
    sum
}
