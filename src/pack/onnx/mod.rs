//! ONNX files: the wire format beneath them, reading them as they stand, and editing their inputs and outputs.

mod edit;
mod read;
mod wire;

pub(crate) use edit::widen;
pub(crate) use read::{Node, Onnx, Tensor};
#[cfg(any(test, fuzzing))]
pub(crate) use wire::{Value, fields, push};
