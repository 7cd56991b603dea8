//! A subnetwork: loaded from its ONNX file, run on planes.

use super::execute::{Workspace, run};
use super::kernels::Kernels;
use super::packing::{Plan, pack};
use crate::cpu::threads::Pool;
use crate::error::{Error, ErrorKind, Result};
use crate::network::{Graph, MAX_PORTS, Space, Target, invalid, lower};
#[cfg(test)]
use crate::{network::Port, pack::onnx::Onnx};

/// Memory for frames of one size and at most `threads` threads. `networks` share it, since they run one after the
/// other.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if the sides are not the multiples that the models need; [`ErrorKind::OutOfMemory`].
pub fn workspace(networks: &[&Network], width: usize, height: usize, threads: usize) -> Result<Workspace> {
    let plans: Vec<_> = networks.iter().map(|n| &n.plan).collect();
    Workspace::new(&plans, width, height, threads)
}

/// The operators that an ONNX file uses, one for each node.
#[cfg(test)]
pub fn operators(onnx: &[u8]) -> Result<Vec<String>> {
    Ok(Onnx::parse(onnx)?
        .nodes
        .iter()
        .map(|node| node.op.to_string())
        .collect())
}

/// A network with its weights packed for kernels; several streams may share it.
pub struct Network {
    plan: Plan,
    kernels: Kernels,
    /// Channels of each port, and whether it extends over the frame.
    inputs: Vec<(usize, bool)>,
    outputs: Vec<usize>,
}

/// What plans are made for: a processor whose kernels multiply matrices reads 16-bit floating point.
fn target(kernels: Kernels) -> Target {
    match kernels.matrices {
        Some(_) => Target::Paired,
        None => Target::Margins,
    }
}

impl Network {
    /// Reads an ONNX model that takes `inputs` and gives `outputs`, each `[1, channels, height, width]` or, for inputs,
    /// `[1, channels, 1, 1]`.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`] if the file is damaged, has weights that are no finite numbers, other inputs or
    /// outputs, or an operator or form of operator that the engine does not know; [`ErrorKind::OutOfMemory`].
    #[cfg(test)]
    pub fn load(onnx: &[u8], inputs: &[Port<'_>], outputs: &[Port<'_>], kernels: Kernels) -> Result<Self> {
        Self::of(&Graph::new(&Onnx::parse(onnx)?, inputs, outputs)?, kernels)
    }

    /// Makes a network of a graph.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`] for too many inputs or outputs, or a combination of operators that no plan has;
    /// [`ErrorKind::OutOfMemory`].
    pub fn of(graph: &Graph, kernels: Kernels) -> Result<Self> {
        if graph.inputs.len().max(graph.outputs.len()) > MAX_PORTS {
            return Err(invalid(format!("expected at most {MAX_PORTS} inputs and outputs")));
        }
        let port = |&id: &usize| {
            let value = &graph.values[id];
            (value.channels, value.space != Space::Pooled)
        };
        Ok(Self {
            plan: pack(lower(graph, target(kernels))?, kernels)?,
            kernels,
            inputs: graph.inputs.iter().map(port).collect(),
            outputs: graph.outputs.iter().map(|id| port(id).0).collect(),
        })
    }

    /// Channels of each output.
    #[cfg(test)]
    pub fn output_channels(&self) -> &[usize] {
        &self.outputs
    }

    /// Runs the network on planes, which lie channel by channel and row by row without gaps. `part` is the network's
    /// index among those that the workspace was made for. Allocates nothing.
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
        run(&self.plan, self.kernels, pool, workspace, part, inputs, outputs);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
