//! Between frames in memory and the networks' planes: I from a frame, and a frame from L'·R.
//!
//! Work goes in blocks of [`BLOCK`] pixels of a row, small enough that everything between the two stays in the
//! first-level cache and on the stack.

mod compose;
mod guided;
mod ingest;
mod planes;
mod reduce;
mod store;
mod unpack;

pub(crate) use compose::{Relit, compose};
pub(crate) use guided::Guide;
pub(crate) use ingest::ingest;
pub(crate) use planes::Planes;
pub(crate) use store::Store;
pub(crate) use unpack::Unpack;

/// Pixels of a row that are worked on at once.
const BLOCK: usize = 512;

/// A block with two more pixels on either side, for filters.
type Block = [f32; BLOCK + 4];

/// R', G', B' of a block.
type Rgb = [Block; 3];

/// Luma is summed in whole numbers of this fraction, so that the sum does not depend on the order of strips.
const LUMA_ONE: f32 = 65536.0;

/// Sum of `kr·r + kg·g + kb·b` over a row, in units of 1 / [`LUMA_ONE`].
#[inline(always)]
fn luma_sum(r: &[f32], g: &[f32], b: &[f32], (kr, kb): (f32, f32)) -> u64 {
    let kg = 1.0 - kr - kb;
    let (r, r_rest) = r.as_chunks::<16>();
    let (g, g_rest) = g.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut lanes = [0f32; 16];
    for ((r, g), b) in r.iter().zip(g).zip(b) {
        for j in 0..16 {
            lanes[j] += kr * r[j] + kg * g[j] + kb * b[j];
        }
    }
    let rest = r_rest.iter().zip(g_rest).zip(b_rest);
    let sum = lanes.iter().sum::<f32>() + rest.map(|((r, g), b)| kr * r + kg * g + kb * b).sum::<f32>();
    // NaN counts as 0.
    (sum.max(0.0) * LUMA_ONE) as u64
}

/// Mean of `pixels` values summed by [`luma_sum`].
pub(crate) fn luma_mean(sum: u64, pixels: usize) -> f32 {
    (sum as f64 / LUMA_ONE as f64 / pixels as f64) as f32
}

/// Between 0 and 1; NaN stays, and is stored as black.
#[inline(always)]
fn clamp(v: f32) -> f32 {
    v.clamp(0.0, 1.0)
}
