//! What a subnetwork computes, for whoever executes it: ONNX operators, checked and reduced to a few, and the steps that they
//! become.
//!
//! ```text
//! ONNX bytes → pack::onnx (form) → check, operators → graph (meaning)
//! graph → lower, fuse, views, program → plan (steps on images, with the weights as they are in the file)
//! plan → cpu::engine, gpu::engine (weights packed, memory, execution)
//! ```
//! Both executors have the same images: planes of one channel, and blocks of 16 channels that lie side by side.

mod graph;
mod limits;
mod plan;

#[cfg(test)]
pub(crate) use graph::Op;
pub(crate) use graph::{Binary, Filter, Graph, Port, Space, Unary};
pub(crate) use limits::{LANES, MAX_BLOCKS, MAX_PORTS, PAIRED_LANES, invalid};
pub(crate) use plan::{
    Channel, Class, Code, Conv, Gate, Image, Kind, Plan, Pooled, Program, Ref, Step, Target, Unit, lcm, lower,
};
