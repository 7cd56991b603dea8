//! Weights of a convolution in the order in which the product kernel reads them.

use super::graph::Filter;
use super::memory::Floats;
use super::product::{LANES, chunks};
use crate::simd::Level;

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
    /// Packs `taps` matrices of weights; `weight(tap, input, output)` gives them.
    pub fn new(level: Level, filter: &Filter, taps: usize, weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        let blocks = filter.outputs.div_ceil(LANES);
        let chunks = chunks(level, blocks);
        let mut weights = Floats::zeroed(blocks * LANES * taps * filter.inputs);
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
        let mut bias = Floats::zeroed(blocks * LANES);
        bias[..filter.outputs].copy_from_slice(&filter.bias);
        Self {
            weights,
            bias,
            chunks,
            inputs: filter.inputs,
            taps,
        }
    }

    /// Packs the weights as they are, tap by tap.
    pub fn direct(level: Level, filter: &Filter) -> Self {
        let taps = filter.kernel * filter.kernel;
        Self::new(level, filter, taps, |tap, i, o| {
            filter.weights[(o * filter.inputs + i) * taps + tap]
        })
    }

    /// The chunks: where the weights of each begin, its first block, its number of blocks.
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
