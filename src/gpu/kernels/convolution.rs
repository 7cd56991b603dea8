//! Convolutions: on tensor cores (`tensor.cu`), and with 32-bit products on any GPU (`convolve.cu`); which weights each of
//! the two reads, and in what order.
#![allow(unsafe_code)]

use crate::gpu::kernels::images::Image;
use crate::gpu::kernels::launch::{Arguments, Launch, Module, Plain};
use crate::gpu::kernels::storage::Storage;
use crate::network::{Filter, LANES};

/// `convolve.cu`.
pub(crate) static CONVOLVE: Module = Module {
    name: "convolve",
    ptx: include_str!("ptx/convolve.ptx"),
    kernels: &["convolve_f32", "convolve_f16"],
    since: (7, 0),
};

/// `tensor.cu`.
pub(crate) static TENSOR: Module = Module {
    name: "tensor",
    ptx: include_str!("ptx/tensor.ptx"),
    kernels: &[
        "tensor_64",
        "tensor_32",
        "tensor_16",
        "tensor_8",
        "tensor_64_low",
        "tensor_32_low",
        "tensor_16_low",
    ],
    since: (8, 0),
};

/// Bits of [`ConvolutionArguments::flags`].
pub(crate) mod flags {
    pub const FROM_PLANES: u32 = 1;
    pub const TO_PLANES: u32 = 2;
    pub const WIDE_PLANES: u32 = 4;
    pub const RESIDUAL: u32 = 8;
    pub const GATED: u32 = 16;
    pub const SIGMOID: u32 = 32;
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConvolutionArguments {
    pub input: Image,
    pub output: Image,
    pub residual: Image,
    pub gated: Image,
    pub weights: u64,
    pub bias: u64,
    /// Of the images, in pixels.
    pub width: u32,
    pub height: u32,
    /// Of the filter.
    pub side: u32,
    pub chunks: u32,
    /// Channels of the input.
    pub inputs: u32,
    /// Channels of the output.
    pub outputs: u32,
    pub flags: u32,
    pub slope: f32,
    pub low: f32,
    pub high: f32,
}

// SAFETY: four images of 136 bytes, two numbers of 8 and ten of 4.
unsafe impl Plain for ConvolutionArguments {}

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Products {
    /// Of 32 bits, with blocks of this type.
    Scalar(Storage),
    /// Of 16 bits on tensor cores, with blocks of 16 bits.
    Tensor,
}

impl Products {
    /// The type of blocks.
    pub fn blocks(self) -> Storage {
        match self {
            Products::Scalar(storage) => storage,
            Products::Tensor => Storage::F16,
        }
    }

    /// The type of weights.
    pub fn weights(self) -> Storage {
        match self {
            Products::Scalar(_) => Storage::F32,
            Products::Tensor => Storage::F16,
        }
    }
}

/// How the weights of a convolution are divided: groups of output channels, chunks of 16 input lanes, steps of the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Division {
    pub products: Products,
    /// Whether lanes are planes beside each other, each moved by every column of the filter.
    pub planes: bool,
    /// Channels of a group.
    pub group: usize,
    pub groups: usize,
    pub chunks: usize,
    /// Steps of a chunk: rows and columns of the filter, or rows alone.
    pub taps: usize,
}

/// 16 × 8 values of B as the lanes of a warp have them (PTX ISA, m16n8k16): the row of value `i` of a lane.
fn row_of(lane: usize, i: usize) -> usize {
    2 * (lane % 4) + i % 2 + i / 2 * 8
}

/// The channel of a pair of column tiles that column `n` of tile `tile` is: a lane then has four neighbouring ones.
fn channel_of(tile: usize, n: usize) -> usize {
    n / 2 * 4 + tile * 2 + n % 2
}

impl Division {
    /// For a filter between images of planes or blocks.
    pub fn new(products: Products, filter: &Filter, from_planes: bool, to_planes: bool) -> Self {
        let group = match (products, filter.outputs.div_ceil(LANES)) {
            (Products::Scalar(_), _) => LANES,
            _ if to_planes => 8,
            (_, 1) => 16,
            (_, 2) => 32,
            _ => 64,
        };
        let side = filter.kernel;
        let (lanes, taps) = match from_planes {
            true => (filter.inputs * side, side),
            false => (filter.inputs, side * side),
        };
        Self {
            products,
            planes: from_planes,
            group,
            groups: filter.outputs.div_ceil(group),
            chunks: lanes.div_ceil(LANES),
            taps,
        }
    }

    /// Weights of one step.
    pub fn step(&self) -> usize {
        LANES * self.group
    }

    /// All weights.
    pub fn count(&self) -> usize {
        self.groups * self.chunks * self.taps * self.step()
    }

    /// Weights that a lane of a warp has side by side; 0 without warps.
    pub fn side_by_side(&self) -> usize {
        match (self.products, self.group) {
            (Products::Scalar(_), _) => 0,
            (_, 8) => 4,
            _ => 8,
        }
    }

    /// Where weight `i` of a step belongs: input lane of the chunk, channel of the group.
    fn place(&self, i: usize) -> (usize, usize) {
        match self.side_by_side() {
            0 => (i / LANES, i % LANES),
            4 => (row_of(i / 4, i % 4), i / 4 / 4),
            _ => {
                let (pair, lane, tile) = (i / 256, i / 8 % 32, i / 4 % 2);
                (row_of(lane, i % 4), pair * 16 + channel_of(tile, lane / 4))
            }
        }
    }

    /// The weights in the kernel's order, and one more step of zeros, which the kernel reads ahead.
    pub fn weights(&self, filter: &Filter) -> Vec<f32> {
        let (side, inputs) = (filter.kernel, filter.inputs);
        let mut weights = Vec::with_capacity(self.count() + self.step());
        for group in 0..self.groups {
            for chunk in 0..self.chunks {
                for tap in 0..self.taps {
                    for i in 0..self.step() {
                        let (lane, channel) = self.place(i);
                        let (lane, channel) = (chunk * LANES + lane, group * self.group + channel);
                        let (input, y, x) = match self.planes {
                            true => (lane / side, tap, lane % side),
                            false => (lane, tap / side, tap % side),
                        };
                        weights.push(match input < inputs && channel < filter.outputs {
                            true => filter.weights[((channel * inputs + input) * side + y) * side + x],
                            false => 0.0,
                        });
                    }
                }
            }
        }
        weights.resize(self.count() + self.step(), 0.0);
        weights
    }

    /// Biases of whole groups.
    pub fn bias(&self, filter: &Filter) -> Vec<f32> {
        let mut bias = filter.bias.clone();
        bias.resize(self.groups * self.group, 0.0);
        bias
    }

    /// The launch on a GPU with so many multiprocessors.
    pub fn launch(&self, arguments: &ConvolutionArguments, multiprocessors: u32) -> Launch {
        let (width, height) = (arguments.width, arguments.height);
        let grid = |rows: u32| [width.div_ceil(32), height.div_ceil(rows), self.groups as u32];
        let (module, kernel, grid) = match (self.products, self.group) {
            (Products::Scalar(Storage::F32), _) => (&CONVOLVE, "convolve_f32", grid(8)),
            (Products::Scalar(Storage::F16), _) => (&CONVOLVE, "convolve_f16", grid(8)),
            (Products::Tensor, group) => {
                let tall = grid(16);
                // Two blocks for each multiprocessor, or else smaller ones.
                let few = tall.iter().product::<u32>() < 2 * multiprocessors;
                let (kernel, grid) = match (group, few) {
                    (8, _) => ("tensor_8", tall),
                    (16, false) => ("tensor_16", tall),
                    (16, true) => ("tensor_16_low", grid(4)),
                    (32, false) => ("tensor_32", tall),
                    (32, true) => ("tensor_32_low", grid(4)),
                    (_, false) => ("tensor_64", tall),
                    (_, true) => ("tensor_64_low", grid(4)),
                };
                (&TENSOR, kernel, grid)
            }
        };
        Launch {
            module,
            kernel,
            grid,
            block: [256, 1, 1],
            shared: 0,
            arguments: Arguments::new(arguments),
        }
    }
}

/// All kernels of convolutions.
#[cfg(test)]
pub(crate) const KERNELS: [&str; 9] = [
    "convolve_f32",
    "convolve_f16",
    "tensor_64",
    "tensor_32",
    "tensor_16",
    "tensor_8",
    "tensor_64_low",
    "tensor_32_low",
    "tensor_16_low",
];
