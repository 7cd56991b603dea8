//! The stages between the networks on an NVIDIA GPU.

// Nothing launches the kernels yet but the tests.
#![allow(dead_code, unused_imports)]

mod compose;
mod format;
#[cfg(test)]
mod host;
mod ingest;
mod launch;
#[cfg(test)]
mod tests;
mod update;

pub(crate) use compose::Compose;
pub(crate) use ingest::Ingest;
pub(crate) use launch::{Arguments, Launch, Module, Settings, Storage, Surface};
pub(crate) use update::Update;
