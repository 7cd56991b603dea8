//! Means, the few numbers that come of them, and weights multiplied by such numbers (`pooled.cu`).
#![allow(unsafe_code)]

use crate::gpu::kernels::convolution::{Division, Products};
use crate::gpu::kernels::images::Image;
use crate::gpu::kernels::launch::{Arguments, Launch, Module, Plain};
use crate::gpu::kernels::storage::Storage;
use crate::network::Filter;

/// `pooled.cu`.
pub(crate) static MODULE: Module = Module {
    name: "pooled",
    ptx: include_str!("ptx/pooled.ptx"),
    kernels: &["mean_f32", "mean_f16", "pooled_steps", "scale_weights"],
    since: (7, 0),
};

/// Parts of a picture whose sums are made side by side.
pub(crate) const PARTS: usize = 64;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeanArguments {
    pub input: Image,
    /// `[PARTS, units, 16]` of 32 bits.
    pub sums: u64,
    pub width: u32,
    pub height: u32,
    /// 1: values lie in blocks.
    pub blocks: u32,
    /// 1: planes are of 32 bits.
    pub wide: u32,
}

// SAFETY: an image of 136 bytes, a number of 8 and four of 4.
unsafe impl Plain for MeanArguments {}

impl MeanArguments {
    /// The launch for an image of so many units.
    pub fn launch(&self, blocks: Storage, units: usize) -> Launch {
        Launch {
            module: &MODULE,
            kernel: blocks.choose("mean_f32", "mean_f16"),
            grid: [PARTS as u32, units as u32, 1],
            block: [256, 1, 1],
            shared: 0,
            arguments: Arguments::new(self),
        }
    }
}

/// Words of a step's description.
pub(crate) const STEP_WORDS: usize = 12;

/// Work on pooled values; places are counted in values, and in constants for `first`, `weights` and `bias`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PooledStep {
    Constants {
        to: usize,
        count: usize,
        first: usize,
    },
    /// Numbers of a pooled input of the network.
    Input {
        to: usize,
        count: usize,
        input: usize,
    },
    /// Of an image whose sides are the frame's divided by `down`, with `lanes` channels in each unit.
    Mean {
        to: usize,
        count: usize,
        units: usize,
        lanes: usize,
        down: usize,
    },
    Dense {
        to: usize,
        count: usize,
        from: usize,
        inputs: usize,
        weights: usize,
        bias: usize,
    },
    /// Operands begin at a place and go on in steps of 0 or 1.
    Each {
        to: usize,
        count: usize,
        code: (u32, [f32; 2]),
        a: (usize, usize),
        b: (usize, usize),
    },
    Move {
        to: usize,
        count: usize,
        from: usize,
    },
}

impl PooledStep {
    /// The step as the kernel reads it.
    pub fn words(&self) -> [u32; STEP_WORDS] {
        let mut words = [0; STEP_WORDS];
        let mut set = |all: &[usize]| words.iter_mut().zip(all).for_each(|(word, v)| *word = *v as u32);
        match *self {
            PooledStep::Constants { to, count, first } => set(&[0, to, count, first]),
            PooledStep::Input { to, count, input } => set(&[1, to, count, input]),
            PooledStep::Mean {
                to,
                count,
                units,
                lanes,
                down,
            } => set(&[2, to, count, PARTS, units, lanes, down * down]),
            PooledStep::Dense {
                to,
                count,
                from,
                inputs,
                weights,
                bias,
            } => set(&[3, to, count, from, inputs, weights, bias]),
            PooledStep::Each {
                to,
                count,
                code: (code, [p, q]),
                a,
                b,
            } => {
                set(&[4, to, count, code as usize, a.0, a.1, b.0, b.1]);
                (words[8], words[9]) = (p.to_bits(), q.to_bits());
            }
            PooledStep::Move { to, count, from } => set(&[5, to, count, from]),
        }
        words
    }
}

/// The most pooled inputs of a network.
pub(crate) const POOLED_INPUTS: usize = 2;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct PooledArguments {
    /// Descriptions of the steps.
    pub steps: u64,
    pub constants: u64,
    pub values: u64,
    pub sums: u64,
    pub inputs: [u64; POOLED_INPUTS],
    /// Steps.
    pub count: u32,
    /// 1: inputs are of 32 bits.
    pub wide: u32,
    /// Of the frame.
    pub pixels: u32,
    pub reserved: u32,
}

// SAFETY: six numbers of 8 bytes, then four of 4.
unsafe impl Plain for PooledArguments {}

impl PooledArguments {
    /// The launch.
    pub fn launch(&self) -> Launch {
        Launch {
            module: &MODULE,
            kernel: "pooled_steps",
            grid: [1, 1, 1],
            block: [256, 1, 1],
            shared: 0,
            arguments: Arguments::new(self),
        }
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScaleArguments {
    /// Of 32 bits, in the kernel's order.
    pub weights: u64,
    pub factors: u64,
    pub to: u64,
    pub count: u32,
    pub step: u32,
    pub taps: u32,
    pub chunks: u32,
    pub fold: u32,
    pub side_by_side: u32,
    /// Input channels.
    pub channels: u32,
    pub reserved: u32,
}

// SAFETY: three numbers of 8 bytes, then eight of 4.
unsafe impl Plain for ScaleArguments {}

impl ScaleArguments {
    /// Weights at `weights`, of 32 bits, times factors, written to `to` in the type that the convolution reads.
    pub fn new(division: &Division, filter: &Filter, weights: u64, factors: u64, to: u64) -> Self {
        Self {
            weights,
            factors,
            to,
            count: division.count() as u32,
            step: division.step() as u32,
            taps: division.taps as u32,
            chunks: division.chunks as u32,
            fold: if division.planes { filter.kernel as u32 } else { 1 },
            side_by_side: division.side_by_side() as u32,
            channels: filter.inputs as u32,
            reserved: 0,
        }
    }

    /// The launch.
    pub fn launch(&self) -> Launch {
        Launch {
            module: &MODULE,
            kernel: "scale_weights",
            grid: [self.count.div_ceil(256), 1, 1],
            block: [256, 1, 1],
            shared: 0,
            arguments: Arguments::new(self),
        }
    }
}

/// Bytes of a convolution's weights multiplied by factors, and of the step behind them that the kernel reads ahead.
pub(crate) fn scaled_bytes(division: &Division) -> usize {
    let values = division.count() + division.step();
    match division.products {
        Products::Scalar(_) => 4 * values,
        Products::Tensor => 2 * values,
    }
}
