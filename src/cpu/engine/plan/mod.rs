//! How a subnetwork is computed: steps on images, with weights packed for the kernels of one processor.

mod fuse;
mod lower;
mod program;
mod structure;
mod views;

pub(crate) use lower::{lcm, lower};
pub(crate) use structure::*;
