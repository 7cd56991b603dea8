//! The engine that runs subnetworks on the processor.
//!
//! ```text
//! ONNX bytes → onnx (form) → check, operators → graph (meaning)
//! graph → lower, fuse, views, program → plan (steps, packed weights)
//! plan + size → workspace (memory)
//! plan + workspace + planes → run, schedule, step → winograd, direct, pointwise, rearrange (kernels)
//! ```
//! Activations lie in blocks of 16 channels, pixel by pixel, with zeros around the frame; values of fewer than 8
//! channels lie in planes. Convolutions 3×3 and 5×5 of whole blocks go by Winograd's minimal filtering, all others
//! through the same product kernel directly.

mod check;
mod direct;
mod filter;
mod fixed;
mod fuse;
mod graph;
mod lower;
mod memory;
mod onnx;
mod operators;
mod plan;
mod points;
mod pointwise;
mod product;
mod program;
mod rearrange;
#[cfg(test)]
mod reference;
mod run;
mod schedule;
mod step;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vector;
mod views;
mod winograd;
mod workspace;

use crate::error::{Error, ErrorKind, Result};
use crate::pool::Pool;
use crate::simd::Level;
use graph::Port;
pub use workspace::Workspace;

/// The most blocks or planes of one image.
const MAX_BLOCKS: usize = graph::MAX_CHANNELS / product::LANES;
/// The most inputs or outputs of a network.
const MAX_PORTS: usize = 8;

/// What the products inside Winograd's filtering are made of, which is most of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Products {
    /// 32-bit floats.
    Float,
    /// 16-bit block floating point, which takes a level that [has it](Level::has_fixed_point).
    Fixed,
}

/// Memory for frames of one size, for at most `threads` threads, that `networks` share: they run one after the other.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if the sides are not multiples of what the models take, [`ErrorKind::BackendFailed`] if
/// memory is short.
pub fn workspace(networks: &[&Network], width: usize, height: usize, threads: usize) -> Result<Workspace> {
    let plans: Vec<_> = networks.iter().map(|n| &n.plan).collect();
    Workspace::new(&plans, width, height, threads)
}

/// The operators that an ONNX file uses, one for each node.
#[cfg(test)]
pub fn operators(onnx: &[u8]) -> Result<Vec<String>> {
    Ok(onnx::Onnx::parse(onnx)?
        .nodes
        .iter()
        .map(|node| node.op.to_string())
        .collect())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::ModelInvalid, message)
}

/// A network with its weights packed for a level; several streams may share it.
pub struct Network {
    plan: plan::Plan,
    level: Level,
    /// Channels of each port, and whether it extends over the frame.
    inputs: Vec<(usize, bool)>,
    outputs: Vec<usize>,
}

impl Network {
    /// Reads an ONNX model that takes `inputs` and gives `outputs`, each `[1, channels, height, width]` or, for inputs,
    /// `[1, channels, 1, 1]`.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`] if the file is damaged, has other inputs or outputs, or an operator or form of
    /// operator that the engine does not know.
    pub fn load(
        onnx: &[u8],
        inputs: &[Port<'_>],
        outputs: &[Port<'_>],
        level: Level,
        products: Products,
    ) -> Result<Self> {
        if inputs.len().max(outputs.len()) > MAX_PORTS {
            return Err(invalid(format!("expected at most {MAX_PORTS} inputs and outputs")));
        }
        let onnx = onnx::Onnx::parse(onnx)?;
        let graph = graph::Graph::new(&onnx, inputs, outputs)?;
        let port = |id: usize| {
            let value = &graph.values[id];
            (value.channels, value.space != graph::Space::Pooled)
        };
        Ok(Self {
            plan: lower::lower(&graph, level, products)?,
            level,
            inputs: graph.inputs.iter().map(|&id| port(id)).collect(),
            outputs: outputs.iter().map(|o| o.1).collect(),
        })
    }

    /// Takes planes through the network: channel by channel, row by row, without gaps. `part` is the network's place
    /// among those that the workspace was made for. Allocates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if an operand has another length than its port and the workspace's size say.
    pub fn run(
        &self,
        pool: &Pool,
        workspace: &mut Workspace,
        part: usize,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
    ) -> Result<()> {
        let area = workspace.width * workspace.height;
        let wrong = |what: &str, expected: usize, found: usize| {
            Err(Error::new(
                ErrorKind::BackendFailed,
                format!("{what}: expected {expected} numbers, found {found}"),
            ))
        };
        if inputs.len() != self.inputs.len() || outputs.len() != self.outputs.len() {
            return wrong(
                "ports",
                self.inputs.len() + self.outputs.len(),
                inputs.len() + outputs.len(),
            );
        }
        for (input, &(channels, frame)) in inputs.iter().zip(&self.inputs) {
            let expected = channels * if frame { area } else { 1 };
            if input.len() != expected {
                return wrong("input", expected, input.len());
            }
        }
        for (output, &channels) in outputs.iter().zip(&self.outputs) {
            if output.len() != channels * area {
                return wrong("output", channels * area, output.len());
            }
        }
        if workspace.threads < pool.threads() {
            return wrong("threads of the workspace", pool.threads(), workspace.threads);
        }
        let steps = workspace.parts.get(part).map_or(0, |p| p.steps.len());
        if steps != self.plan.steps.len() {
            return wrong("steps of the workspace", self.plan.steps.len(), steps);
        }
        run::run(&self.plan, self.level, pool, workspace, part, inputs, outputs);
        Ok(())
    }
}
