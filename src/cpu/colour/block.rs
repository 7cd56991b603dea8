//! The piece of a row that colour conversion works on. It is small enough that everything between a frame's codes and
//! the networks' planes stays on the stack and in the first-level cache.

/// Pixels of a row that are worked on at once.
pub(crate) const BLOCK: usize = 512;

/// A block with two more pixels on either side, for filters.
pub(crate) type Block = [f32; BLOCK + 4];

/// R', G', B' of a block.
pub(crate) type Rgb = [Block; 3];

/// Limits a value to 0 to 1. NaN remains NaN, which is stored as black.
#[inline(always)]
pub(crate) fn clamp(v: f32) -> f32 {
    v.clamp(0.0, 1.0)
}
