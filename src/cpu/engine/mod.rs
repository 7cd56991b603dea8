//! The engine that runs subnetworks on the processor.
//!
//! ```text
//! network::Plan → packing → plan (weights packed for the kernels)
//! plan + size → workspace (memory)
//! plan + workspace + planes → run, schedule, step → kernels (of the best instruction set that the processor has)
//! ```
//! Activations lie in blocks of 16 channels, pixel by pixel, with zeros around the frame; values of fewer than 8
//! channels lie in planes. Convolutions 3×3 and 5×5 of whole blocks are computed by Winograd's minimal filtering, all
//! others directly by the same product kernel. In bfloat16, convolutions of blocks are computed by matrix products from
//! copies of their inputs in 16 bits.

#[cfg(test)]
pub(crate) mod cases;
mod execute;
mod kernels;
mod network;
mod packing;
#[cfg(test)]
mod reference;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use execute::Workspace;
pub(crate) use kernels::Kernels;
pub(crate) use network::{Network, workspace};
#[cfg(test)]
pub(crate) use {network::operators, reference::reference};
