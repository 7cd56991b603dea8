//! The stages between the networks on an NVIDIA GPU.

// Nothing launches the kernels yet but the tests.
#![allow(dead_code, unused_imports)]

mod backend;
mod compose;
mod device;
mod format;
mod graph;
mod ingest;
mod launch;
mod memory;
mod networks;
#[cfg(test)]
mod order;
#[cfg(test)]
mod recording;
mod slot;
mod update;
mod values;

pub(crate) use compose::Compose;
pub(crate) use ingest::Ingest;
pub(crate) use launch::{Arguments, Launch, Module, Settings, Storage, Surface};
pub(crate) use update::Update;
