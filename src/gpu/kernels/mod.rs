//! Our own kernels: their CUDA C++ sources, and a launcher for each, which describes a launch and calls no CUDA.

mod compose;
mod format;
mod fusion;
mod ingest;
mod launch;
mod storage;
#[cfg(test)]
mod tests;
mod update;

pub(crate) use compose::Compose;
#[cfg(test)]
pub(crate) use compose::ComposeArguments;
#[cfg(test)]
pub(crate) use fusion::FusionArguments;
pub(crate) use fusion::{Fusion, Parts};
pub(crate) use ingest::Ingest;
#[cfg(test)]
pub(crate) use ingest::IngestArguments;
pub(crate) use launch::{Launch, Module, Settings, Surface};
pub(crate) use storage::Storage;
pub(crate) use update::Update;
#[cfg(test)]
pub(crate) use update::UpdateArguments;

/// All files of kernels.
pub(crate) static MODULES: [&Module; 8] = [
    &ingest::MODULE,
    &fusion::PYRAMID,
    &fusion::MOTION,
    &fusion::CAMERA,
    &fusion::FUSE,
    &fusion::TRUST,
    &update::MODULE,
    &compose::MODULE,
];
