//! The weights of a convolution, in the order in which the product kernel reads them.

use super::product::chunks;
use crate::cpu::memory::Floats;
use crate::error::Result;
use crate::network::{Filter, LANES};

/// Packed weights: for each chunk of output channels, `[tap][input channel][output channel of the chunk]`.
pub struct Packed {
    /// All chunks, one after the other.
    pub weights: Floats,
    /// One for each output channel, zeros behind the last.
    pub bias: Floats,
    /// Blocks of output channels in each chunk.
    pub chunks: Vec<usize>,
    /// Input channels.
    pub inputs: usize,
    /// Taps of the kernel, or points of the transform.
    pub taps: usize,
}

impl Packed {
    /// Packs `taps` matrices of weights, which `weight(tap, input, output)` gives, in chunks of at most `chunk_blocks`
    /// blocks.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
    pub fn new(
        chunk_blocks: usize,
        filter: &Filter,
        taps: usize,
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Result<Self> {
        let blocks = filter.outputs.div_ceil(LANES);
        let chunks = chunks(chunk_blocks, blocks);
        let mut weights = Floats::try_zeroed(blocks * LANES * taps * filter.inputs)?;
        let (mut at, mut first) = (0, 0);
        for &chunk in &chunks {
            for tap in 0..taps {
                for input in 0..filter.inputs {
                    for o in 0..chunk * LANES {
                        if first + o < filter.outputs {
                            weights[at] = weight(tap, input, first + o);
                        }
                        at += 1;
                    }
                }
            }
            first += chunk * LANES;
        }
        let mut bias = Floats::try_zeroed(blocks * LANES)?;
        bias[..filter.outputs].copy_from_slice(&filter.bias);
        Ok(Self {
            weights,
            bias,
            chunks,
            inputs: filter.inputs,
            taps,
        })
    }

    /// Packs the weights as they are, tap by tap.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn direct(chunk_blocks: usize, filter: &Filter) -> Result<Self> {
        let taps = filter.kernel * filter.kernel;
        Self::new(chunk_blocks, filter, taps, |tap, i, o| {
            filter.weights[(o * filter.inputs + i) * taps + tap]
        })
    }

    /// For each chunk: the index of its first weight, its first block, its number of blocks.
    pub fn layout(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let per_block = self.taps * self.inputs * LANES;
        self.chunks.iter().scan(0, move |block, &chunk| {
            let first = *block;
            *block += chunk;
            Some((first * per_block, first, chunk))
        })
    }

    /// Writes the weights to `out`, those of each input channel multiplied by `scale`.
    pub fn scale(&self, scale: &[f32], out: &mut [f32]) {
        for (at, _, chunk) in self.layout() {
            let width = chunk * LANES;
            let range = at..at + width * self.taps * self.inputs;
            let rows = self.weights[range.clone()]
                .chunks_exact(width)
                .zip(out[range].chunks_exact_mut(width));
            for ((from, to), &s) in rows.zip(scale[..self.inputs].iter().cycle()) {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = from * s;
                }
            }
        }
    }
}
