//! The plan of a network with its weights packed for the kernels of one processor.

use crate::cpu::engine::kernels::{
    Five, Kernels, MatrixKernel, Packed, PackedMatrices, PackedProducts, ProductKernel, TAIL_OUTPUTS, Three,
    transform_filter,
};
use crate::cpu::memory::Floats;
use crate::error::Result;
use crate::network::{self, Filter, Kind, LANES};

/// A plan whose convolutions have packed weights.
pub type Plan = network::Plan<Kernel>;
/// A step of such a plan.
pub type Step = network::Step<Kernel>;
/// A convolution of such a plan.
pub type Conv = network::Conv<Kernel>;

/// Which kernel computes a convolution, with its weights.
pub enum Kernel {
    /// Row by row into blocks.
    Direct(Packed),
    /// Row by row into planes.
    Planes(Packed),
    /// Row by row into planes, with vectors along input channels.
    Tail(Vec<TailPart>),
    /// By Winograd's filtering.
    Winograd(Packed),
    /// The same with products in another number format.
    Products {
        kernel: &'static dyn ProductKernel,
        packed: PackedProducts,
    },
    /// Row by row from units in 16-bit floating point, to any kind of image.
    Matrices {
        kernel: &'static dyn MatrixKernel,
        packed: PackedMatrices,
    },
}

impl Kernel {
    /// Whether it works on tiles.
    pub fn is_tiled(&self) -> bool {
        matches!(self, Kernel::Winograd(_) | Kernel::Products { .. })
    }
}

/// Weights of at most [`TAIL_OUTPUTS`] planes, `[tap][block][output][16]`.
pub struct TailPart {
    /// Packed weights.
    pub weights: Floats,
    /// One for each plane.
    pub bias: Vec<f32>,
}

impl TailPart {
    /// Packs the weights of all outputs.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
    pub fn pack(filter: &Filter) -> Result<Vec<Self>> {
        let taps = filter.kernel * filter.kernel;
        let starts = (0..filter.outputs).step_by(TAIL_OUTPUTS);
        starts
            .map(|first| Self::part(filter, taps, first, TAIL_OUTPUTS.min(filter.outputs - first)))
            .collect()
    }

    fn part(filter: &Filter, taps: usize, first: usize, count: usize) -> Result<Self> {
        let mut weights = Floats::try_zeroed(taps * filter.inputs * count)?;
        let mut at = 0;
        for tap in 0..taps {
            for block in 0..filter.inputs / 16 {
                for o in first..first + count {
                    for lane in 0..16 {
                        weights[at] = filter.weights[(o * filter.inputs + block * 16 + lane) * taps + tap];
                        at += 1;
                    }
                }
            }
        }
        Ok(Self {
            weights,
            bias: filter.bias[first..first + count].to_vec(),
        })
    }
}

/// Packs the weights of all convolutions.
///
/// # Errors
/// [`ErrorKind::OutOfMemory`](crate::error::ErrorKind::OutOfMemory).
pub fn pack(plan: network::Plan<Filter>, kernels: Kernels) -> Result<Plan> {
    let mut plan = plan.try_map(|conv| kernel(conv, kernels))?;
    let mut scaled = 0;
    for step in &mut plan.steps {
        if let network::Step::Conv(conv) = step
            && let Some((_, at)) = &mut conv.scale
        {
            *at = scaled;
            if let Kernel::Direct(p) | Kernel::Planes(p) | Kernel::Winograd(p) = &conv.kernel {
                scaled += p.weights.len().next_multiple_of(LANES);
            }
        }
    }
    plan.scaled = scaled;
    Ok(plan)
}

/// The kernel that computes a convolution.
fn kernel(conv: &network::Conv<Filter>, kernels: Kernels) -> Result<Kernel> {
    let (filter, chunk_blocks) = (&conv.kernel, kernels.floats.chunk_blocks());
    if let (Kind::Paired, Some(kernel)) = (conv.input.kind, kernels.matrices) {
        let packed = kernel.pack(filter)?;
        return Ok(Kernel::Matrices { kernel, packed });
    }
    let whole = conv.input.kind == Kind::Block && filter.inputs.is_multiple_of(LANES);
    Ok(match (conv.output.kind, filter.kernel) {
        (Kind::Plane, _) if whole && conv.scale.is_none() => Kernel::Tail(TailPart::pack(filter)?),
        (Kind::Plane, _) => Kernel::Planes(Packed::direct(chunk_blocks, filter)?),
        (Kind::Block, 3) if whole => winograd(filter, kernels, 6, transform_filter::<Three>)?,
        (Kind::Block, 5) if whole => winograd(filter, kernels, 8, transform_filter::<Five>)?,
        _ => Kernel::Direct(Packed::direct(chunk_blocks, filter)?),
    })
}

fn winograd(filter: &Filter, kernels: Kernels, n: usize, transform: fn(&[f32]) -> Vec<f32>) -> Result<Kernel> {
    let taps = filter.kernel * filter.kernel;
    let transformed: Vec<f32> = filter.weights.chunks_exact(taps).flat_map(transform).collect();
    let points = n * n;
    let weight = |p: usize, i: usize, o: usize| transformed[(o * filter.inputs + i) * points + p];
    Ok(match kernels.products {
        None => Kernel::Winograd(Packed::new(kernels.floats.chunk_blocks(), filter, points, weight)?),
        Some(kernel) => Kernel::Products {
            kernel,
            packed: kernel.pack(filter, points, &weight)?,
        },
    })
}
