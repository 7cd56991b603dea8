//! Reads a frame as I: R'G'B' planes at the working size, with edges repeated up to the padded size.

use std::sync::atomic::{AtomicU64, Ordering};

use super::block::{BLOCK, Rgb};
use super::luma::{luma_mean, luma_sum};
use super::planes::Planes;
use super::reduce::Reduce;
use super::unpack::{LINES, Unpack};
use crate::backend::Geometry;
use crate::cpu::capabilities::{Capabilities, vectorised};
use crate::cpu::threads::{Disjoint, Pool};
use crate::frame::Frame;

/// Rows that one task takes.
const STRIP: usize = 16;

/// Fills `image` (3 channels of the padded size) from `frame`, reduced by `reduce` if that is the geometry's; returns the mean
/// luma of what the networks see.
pub(crate) fn ingest(
    pool: &Pool,
    capabilities: Capabilities,
    frame: &Frame<'_>,
    geometry: &Geometry,
    reduce: Option<&Reduce>,
    image: &mut Planes,
) -> f32 {
    let (width, height) = geometry.working;
    let (padded_width, padded_height) = geometry.padded;
    let task = Task {
        frame,
        unpack: Unpack::new(frame.spec()),
        reduce,
        weights: frame.spec().colorimetry.matrix.weights(),
        working: geometry.working,
        padded_width,
        plane: image.plane_len(),
        capabilities,
    };
    let sum = AtomicU64::new(0);
    let out = Disjoint::new(&mut image.data);
    pool.run(height.div_ceil(STRIP), &|i| {
        let luma = strip(capabilities, &task, i * STRIP, height.min((i + 1) * STRIP), &out);
        sum.fetch_add(luma, Ordering::Relaxed);
    });
    // The rows below the working size repeat the last one.
    for c in 0..3 {
        let start = c * image.plane_len();
        let last = start + (height - 1) * padded_width;
        for y in height..padded_height {
            image
                .data
                .copy_within(last..last + padded_width, start + y * padded_width);
        }
    }
    luma_mean(sum.into_inner(), width * height)
}

struct Task<'a> {
    frame: &'a Frame<'a>,
    unpack: Unpack,
    reduce: Option<&'a Reduce>,
    weights: (f32, f32),
    working: (usize, usize),
    padded_width: usize,
    plane: usize,
    capabilities: Capabilities,
}

vectorised! {
    fn strip(task: &Task<'_>, from: usize, to: usize, out: &Disjoint<'_, f32>) -> u64 = strip_rows
}

#[inline(always)]
#[allow(unsafe_code)]
fn strip_rows(task: &Task<'_>, from: usize, to: usize, out: &Disjoint<'_, f32>) -> u64 {
    let (width, padded) = (task.working.0, task.padded_width);
    // SAFETY: each task has its own rows, and the three channels lie apart.
    let mut rows = [0, 1, 2].map(|c| unsafe {
        let start = c * task.plane;
        out.part(start + from * padded..start + to * padded)
    });
    let mut rgb: Rgb = [[0.0; BLOCK + 4]; 3];
    let mut lines = LINES;
    let mut sum = 0;
    let mut x = 0;
    while x < width {
        let mut piece = task.reduce.map(|reduce| reduce.piece(task.capabilities, x));
        let n = piece.as_ref().map_or(BLOCK.min(width - x), |piece| piece.n);
        for y in from..to {
            match &mut piece {
                None => task.unpack.read(task.frame, y, x, n, &mut lines, &mut rgb),
                Some(piece) => piece.read(&task.unpack, task.frame, y, &mut rgb),
            }
            sum += luma_sum(&rgb[0][..n], &rgb[1][..n], &rgb[2][..n], task.weights);
            for (rows, block) in rows.iter_mut().zip(&rgb) {
                rows[(y - from) * padded + x..][..n].copy_from_slice(&block[..n]);
            }
        }
        x += n;
    }
    for row in rows.into_iter().flat_map(|rows| rows.chunks_exact_mut(padded)) {
        let last = row[width - 1];
        row[width..].fill(last);
    }
    sum
}
