//! TensorRT's objects: the only place that calls through their virtual tables.
//!
//! A public object has its own virtual table at offset 0 and the address of its implementation at offset 8; the
//! implementation's virtual table is at its offset 0. Methods are called on the implementation, destructors (slot 1)
//! on the public object; arguments and results that are objects are public ones. The parser has no implementation: it
//! is called directly.
//!
//! Every call takes its slot from the table of the library's version. What says so below with the C++ signature is
//! the whole of a SAFETY argument together with two facts that hold for all of them: an object lives as long as what
//! holds it here, and what an object needs is held beside it and dropped after it.

mod builder;
mod config;
mod context;
mod dims;
mod engine;
mod factory;
mod monitor;
mod network;
mod object;
mod parser;

pub(crate) use config::{Config, Profile, Selector};
pub(crate) use context::Context;
#[cfg(test)]
pub(crate) use dims::{NarrowDims, WideDims};
pub(crate) use engine::{Element, Engine, Memory, Runtime, Tensor};
pub(crate) use monitor::Monitor;
pub(crate) use network::Network;
pub use parser::ParseError;
