//! How a subnetwork is computed: steps on images.

mod fuse;
mod lower;
mod program;
mod structure;
mod views;

pub(crate) use lower::{Target, lcm, lower};
pub(crate) use structure::*;
