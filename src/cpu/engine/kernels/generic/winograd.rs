//! Convolution 3×3 and 5×5 by Winograd's minimal filtering: tiles of 4×4 results, transformed, multiplied point by
//! point, transformed back ([`points`](super::points)).
//!
//! A strip of [`STRIP`] tiles passes through all three steps before the next one, so that its transformed values
//! `[block][point][tile][16]` stay in the second-level cache. The products overwrite them if there are no more output
//! than input channels. Inputs are read outside the frame, where they have to be zero: up to whole tiles and half a
//! kernel beyond.

#![allow(unsafe_code)]

use super::points::{Five, Points, TILE, Three};
use super::product::{MAX_CHUNK, Product, Strides, pixels, products_alone};
use super::simd::Simd;
use crate::network::{Gate, LANES, MAX_BLOCKS};

/// Tiles in a strip: a multiple of the pixels that the product kernel takes at once.
pub const STRIP: usize = 48;

/// Numbers from one point to the next in a transformed strip; not a multiple of a page.
pub const POINT: usize = STRIP * LANES + LANES;

/// Numbers from one block to the next in a transformed strip of `points` points.
pub const fn block_stride(points: usize) -> usize {
    points * POINT
}

/// Floats of scratch memory that a strip needs, for one thread.
pub fn scratch_len(kernel: usize, inputs: usize, outputs: usize) -> usize {
    let points = (kernel + TILE - 1).pow(2);
    block_stride(points) * (inputs + outputs)
}

/// A convolution of one frame. Pointers point to pixel (0, 0) of the first channel of their block.
///
/// Inputs have zeros around the frame: half a kernel before it, whole tiles and half a kernel behind it.
#[derive(Clone, Copy)]
pub struct Winograd<'a> {
    /// Side of the kernel, 3 or 5.
    pub kernel: usize,
    /// Whole blocks of input channels.
    pub inputs: &'a [*const f32],
    /// Strides of every input block.
    pub input: Strides,
    /// Transformed weights, chunk by chunk: where each begins, its first block, its number of blocks.
    pub weights: *const f32,
    /// Blocks of output channels in each chunk.
    pub chunks: &'a [usize],
    /// One for each output channel.
    pub bias: *const f32,
    /// Blocks of output channels.
    pub outputs: &'a [*mut f32],
    /// Strides of every output block.
    pub output: Strides,
    /// Added before the activation: one for each output block, or empty.
    pub residuals: &'a [*const f32],
    /// Strides of every residual block.
    pub residual: Strides,
    /// The activation max(x, slope · x); 1 for none.
    pub slope: f32,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Winograd<'_> {
    /// Tiles side by side.
    pub fn across(&self) -> usize {
        self.width.div_ceil(TILE)
    }
}

/// Computes one strip.
///
/// # Safety
/// Pointers and strides cover the frame, inputs with the margin that the module describes; `scratch` holds
/// [`scratch_len`] floats; no other thread writes the pixels of the strip or the scratch; the processor has the
/// features of `S`.
#[inline(always)]
pub unsafe fn strip<S: Simd>(w: &Winograd<'_>, index: usize, scratch: *mut f32) {
    let across = w.across();
    let first = index * STRIP;
    let last = (first + STRIP).min(across * w.height.div_ceil(TILE));
    let points = (w.kernel + TILE - 1).pow(2);
    // With one chunk, nothing reads the values of a tile and point after its products are computed.
    let in_place = w.chunks.len() == 1 && w.outputs.len() <= w.inputs.len();
    let products = match in_place {
        true => scratch,
        // SAFETY: inside the scratch memory, whose length counts both.
        false => unsafe { scratch.add(w.inputs.len() * block_stride(points)) },
    };
    // SAFETY: the caller guarantees the frame; scratch memory by its length.
    unsafe {
        let runs = Runs::new(first, last, across);
        for run in runs {
            match w.kernel {
                3 => transform_all_in::<S, Three>(w, run, scratch),
                _ => transform_all_in::<S, Five>(w, run, scratch),
            }
        }
        multiply::<S>(w, points, last - first, scratch, products);
        for run in runs {
            match w.kernel {
                3 => transform_all_out::<S, Three>(w, run, products),
                _ => transform_all_out::<S, Five>(w, run, products),
            }
        }
    }
}

/// Transforms a run of tiles of all input blocks.
#[inline(always)]
unsafe fn transform_all_in<S: Simd, P: Points>(w: &Winograd<'_>, run: Run, values: *mut f32) {
    for (b, &input) in w.inputs.iter().enumerate() {
        for lane in (0..LANES).step_by(S::N) {
            // SAFETY: as for `strip`.
            unsafe {
                let out = values.add(b * block_stride(P::N * P::N) + run.tile * LANES + lane);
                transform_in::<S, P, Float32>(input.add(lane), w.input, run, S::splat(1.0), out);
            }
        }
    }
}

/// Transforms the products of a run of tiles back, and writes them to all output blocks.
///
/// # Safety
/// As for [`strip`].
#[inline(always)]
pub unsafe fn transform_all_out<S: Simd, P: Points>(w: &Winograd<'_>, run: Run, products: *const f32) {
    for b in 0..w.outputs.len() {
        for lane in (0..LANES).step_by(S::N) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let from = products.add(b * block_stride(P::N * P::N) + run.tile * LANES + lane);
                transform_out::<S, P>(w, b, lane, run, from);
            }
        }
    }
}

/// How many tiles ahead memory is prefetched.
const AHEAD: usize = 4;

/// Tiles side by side.
#[derive(Clone, Copy)]
pub struct Run {
    /// The index of the first tile in the strip.
    pub tile: usize,
    /// Its row, in tiles.
    pub ty: usize,
    /// Its column, in tiles.
    pub tx: usize,
    /// The number of tiles.
    pub count: usize,
}

/// The runs of tiles in a strip, one for each row that it touches.
#[derive(Clone, Copy)]
pub struct Runs {
    first: usize,
    tile: usize,
    last: usize,
    across: usize,
}

impl Runs {
    /// For tiles `first` up to `last` of a frame with `across` tiles side by side.
    #[inline(always)]
    pub fn new(first: usize, last: usize, across: usize) -> Self {
        Self {
            first,
            tile: first,
            last,
            across,
        }
    }
}

/// The number format of transformed values in scratch memory.
pub trait ValueFormat<S: Simd> {
    /// One number.
    type Number;
    /// Reads inputs, multiplied by `factor` if the format needs it.
    ///
    /// # Safety
    /// `p` is valid for a vector, and the processor has the features of `S`.
    unsafe fn read(p: *const f32, factor: S::V) -> S::V;
    /// Writes transformed values.
    ///
    /// # Safety
    /// `p` is valid for a vector, and the processor has the features of `S`.
    unsafe fn write(p: *mut Self::Number, v: S::V);
}

/// 32-bit floats, which need no factor.
pub struct Float32;

impl<S: Simd> ValueFormat<S> for Float32 {
    type Number = f32;

    #[inline(always)]
    unsafe fn read(p: *const f32, _: S::V) -> S::V {
        // SAFETY: guaranteed by the caller.
        unsafe { S::load(p) }
    }

    #[inline(always)]
    unsafe fn write(p: *mut f32, v: S::V) {
        // SAFETY: guaranteed by the caller.
        unsafe { S::store(p, v) }
    }
}

impl Iterator for Runs {
    type Item = Run;

    #[inline(always)]
    fn next(&mut self) -> Option<Run> {
        if self.tile >= self.last {
            return None;
        }
        let (ty, tx) = (self.tile / self.across, self.tile % self.across);
        let count = (self.across - tx).min(self.last - self.tile);
        let tile = self.tile - self.first;
        self.tile += count;
        Some(Run { tile, ty, tx, count })
    }
}

/// Bᵀ d B of `count` tiles side by side, for one vector of channels.
///
/// Columns of neighbouring tiles overlap, so each column is transformed once. A tile needs four columns of its own and
/// the first of the next four.
///
/// # Safety
/// As for [`strip`]; `out` is the place of the run's first tile.
#[inline(always)]
pub unsafe fn transform_in<S: Simd, P: Points, F: ValueFormat<S>>(
    input: *const f32,
    strides: Strides,
    run: Run,
    factor: S::V,
    out: *mut F::Number,
) {
    // SAFETY: the caller guarantees the margin of the input and the length of `out`.
    unsafe {
        let Run { ty, tx, count, .. } = run;
        let half = (P::KERNEL / 2) as isize;
        let corner = (ty * TILE) as isize - half;
        let corner = input.offset(corner * strides.y as isize + ((tx * TILE) as isize - half) * strides.x as isize);
        // Columns `4 i..4 i + 4` of the run lie in half `i % 2`.
        let mut columns = [[P::line(S::splat(0.0)); TILE]; 2];
        for (i, slot) in columns[0].iter_mut().enumerate() {
            *slot = column::<S, P, F>(corner.add(i * strides.x), strides.y, factor);
        }
        for t in 0..count {
            let rest = if t + 1 < count { TILE } else { P::N - TILE };
            for y in 0..P::N {
                for x in 0..TILE {
                    S::prefetch(corner.wrapping_add(y * strides.y + ((t + AHEAD) * TILE + x) * strides.x));
                }
            }
            for (i, slot) in columns[(t + 1) % 2].iter_mut().enumerate().take(rest) {
                *slot = column::<S, P, F>(corner.add(((t + 1) * TILE + i) * strides.x), strides.y, factor);
            }
            let (now, next) = (&columns[t % 2], &columns[(t + 1) % 2]);
            let out = out.add(t * LANES);
            for i in 0..P::N {
                let mut d = P::line(S::splat(0.0));
                for (j, slot) in d.as_mut().iter_mut().enumerate() {
                    *slot = if j < TILE {
                        now[j].as_ref()[i]
                    } else {
                        next[j - TILE].as_ref()[i]
                    };
                }
                for (j, &v) in P::input::<S>(&d).as_ref().iter().enumerate() {
                    F::write(out.add((i * P::N + j) * POINT), v);
                }
            }
        }
    }
}

/// Bᵀ of one column of a tile.
#[inline(always)]
unsafe fn column<S: Simd, P: Points, F: ValueFormat<S>>(top: *const f32, row: usize, factor: S::V) -> P::Line<S::V> {
    // SAFETY: the caller guarantees the margin of the input.
    unsafe {
        let mut d = P::line(S::splat(0.0));
        for (y, slot) in d.as_mut().iter_mut().enumerate() {
            *slot = F::read(top.add(y * row), factor);
        }
        P::input::<S>(&d)
    }
}

/// The product of values and weights at every point.
#[inline(always)]
unsafe fn multiply<S: Simd>(w: &Winograd<'_>, points: usize, tiles: usize, values: *mut f32, products: *mut f32) {
    // SAFETY: scratch memory by its length; weights by their packing.
    unsafe {
        let strides = Strides { x: LANES, y: 0 };
        let channels = w.inputs.len() * LANES;
        let mut inputs = [std::ptr::null(); MAX_BLOCKS];
        let inputs = &mut inputs[..w.inputs.len()];
        for (b, slot) in inputs.iter_mut().enumerate() {
            *slot = values.add(b * block_stride(points)).cast_const();
        }
        for p in 0..points {
            let (mut weights, mut first) = (w.weights, 0);
            for &chunk in w.chunks {
                let mut outputs = [std::ptr::null_mut(); MAX_CHUNK];
                let outputs = &mut outputs[..chunk];
                for (b, slot) in outputs.iter_mut().enumerate() {
                    *slot = products.add((first + b) * block_stride(points) + p * POINT);
                }
                let matrix = channels * chunk * LANES;
                let args = Product {
                    inputs,
                    input: strides,
                    lanes: LANES,
                    last_lanes: LANES,
                    weights: weights.add(p * matrix),
                    kernel: 1,
                    bias: std::ptr::null(),
                    outputs,
                    output: strides,
                    residuals: &[],
                    residual: strides,
                    slope: 1.0,
                    gated: &[],
                    gated_strides: strides,
                    gate: Gate::Slope,
                };
                let step = pixels::<S>(chunk);
                for x in (0..tiles).step_by(step) {
                    // Strips have room for whole steps.
                    products_alone::<S>(&args, x);
                }
                weights = weights.add(points * matrix);
                first += chunk;
            }
            for slot in inputs.iter_mut() {
                *slot = slot.wrapping_add(POINT);
            }
        }
    }
}

/// Aᵀ m A of `count` tiles side by side for one vector of channels, with bias, residual and activation.
#[inline(always)]
unsafe fn transform_out<S: Simd, P: Points>(w: &Winograd<'_>, b: usize, lane: usize, run: Run, from: *const f32) {
    // SAFETY: the caller guarantees the frame; only pixels inside it are touched.
    unsafe {
        let bias = S::load(w.bias.add(b * LANES + lane));
        let y0 = run.ty * TILE;
        let rows = TILE.min(w.height - y0);
        let output = w.outputs.get_unchecked(b).add(lane + y0 * w.output.y);
        for t in 0..run.count {
            let from = from.add(t * LANES);
            let x0 = (run.tx + t) * TILE;
            for y in 0..TILE {
                for x in 0..TILE {
                    S::prefetch(output.wrapping_add(y * w.output.y + (x0 + AHEAD * TILE + x) * w.output.x));
                }
            }
            let mut lines = [P::line(S::splat(0.0)); TILE];
            for j in 0..P::N {
                let mut m = P::line(S::splat(0.0));
                for (i, slot) in m.as_mut().iter_mut().enumerate() {
                    *slot = S::load(from.add((i * P::N + j) * POINT));
                }
                let y = P::output::<S>(&m);
                for (line, v) in lines.iter_mut().zip(y) {
                    line.as_mut()[j] = v;
                }
            }
            let output = output.add(x0 * w.output.x);
            let residual = match w.residuals.get(b) {
                Some(r) => r.add(lane + y0 * w.residual.y + x0 * w.residual.x),
                None => std::ptr::null(),
            };
            let columns = TILE.min(w.width - x0);
            if rows == TILE && columns == TILE {
                // The same with constants, which the compiler unrolls.
                finish::<S, P>(w, &lines, bias, output, residual, TILE, TILE);
            } else {
                finish::<S, P>(w, &lines, bias, output, residual, rows, columns);
            }
        }
    }
}

/// The second half of the transform, bias, residual and activation, for the part of a tile that lies in the frame.
#[inline(always)]
unsafe fn finish<S: Simd, P: Points>(
    w: &Winograd<'_>,
    lines: &[P::Line<S::V>; TILE],
    bias: S::V,
    output: *mut f32,
    residual: *const f32,
    rows: usize,
    columns: usize,
) {
    // SAFETY: the caller guarantees the frame.
    unsafe {
        let slope = S::splat(w.slope);
        for (i, line) in lines.iter().enumerate().take(rows) {
            let y = P::output::<S>(line);
            for (x, &v) in y.iter().enumerate().take(columns) {
                let mut v = S::add(v, bias);
                if !residual.is_null() {
                    v = S::add(v, S::load(residual.add(i * w.residual.y + x * w.residual.x)));
                }
                S::store(output.add(i * w.output.y + x * w.output.x), S::max(v, S::mul(v, slope)));
            }
        }
    }
}
