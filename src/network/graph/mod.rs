//! What a subnetwork computes: ONNX operators, checked and reduced to a few.

mod check;
mod operators;
mod round;
mod structure;

pub(crate) use structure::{Binary, Filter, Graph, MAX_CHANNELS, Node, Op, Port, Space, Unary, ValueId};
