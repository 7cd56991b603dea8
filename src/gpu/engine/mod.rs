//! The engine that runs subnetworks on a GPU with the project's own kernels. It takes the plans that the processor's
//! engine takes.
//!
//! ```text
//! network::Plan → prepare (constants: weights, instructions, descriptions of steps; what is launched for each step)
//! steps + size → memory (where images lie in scratch memory)
//! steps + memory + addresses of the ports → launches → context (a gpu::networks::Inference)
//! ```

mod constants;
mod context;
mod launches;
mod memory;
mod prepare;
#[cfg(test)]
mod tests;

pub(crate) use context::{KernelContext, KernelNetwork, Way};
