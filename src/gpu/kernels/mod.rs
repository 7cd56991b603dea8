//! Our own kernels: their CUDA C++ sources, and a launcher for each, which describes a launch and calls no CUDA.

mod compose;
mod convolution;
mod format;
mod fusion;
mod images;
mod ingest;
mod launch;
mod points;
mod pooled;
mod storage;
#[cfg(test)]
mod tests;
mod update;

pub(crate) use compose::Compose;
#[cfg(test)]
pub(crate) use compose::ComposeArguments;
#[cfg(test)]
pub(crate) use convolution::KERNELS as CONVOLUTION_KERNELS;
pub(crate) use convolution::{ConvolutionArguments, Division, Products, flags};
#[cfg(test)]
pub(crate) use fusion::FusionArguments;
pub(crate) use fusion::{Fusion, Parts};
pub(crate) use images::{Image, MAX_UNITS, Unit};
pub(crate) use ingest::Ingest;
#[cfg(test)]
pub(crate) use ingest::IngestArguments;
pub(crate) use launch::{Launch, Module, Settings, Surface};
pub(crate) use points::{
    MAX_REGISTERS, MOVES, MoveArguments, MovedChannel, OPERANDS, Operand, PROGRAM_UNITS, PointsArguments, code,
    instruction,
};
pub(crate) use pooled::{
    MeanArguments, PARTS, POOLED_INPUTS, PooledArguments, PooledStep, ScaleArguments, scaled_bytes,
};
pub(crate) use storage::Storage;
pub(crate) use update::Update;
#[cfg(test)]
pub(crate) use update::UpdateArguments;

/// All files of kernels.
pub(crate) static MODULES: [&Module; 12] = [
    &ingest::MODULE,
    &fusion::PYRAMID,
    &fusion::MOTION,
    &fusion::CAMERA,
    &fusion::FUSE,
    &fusion::TRUST,
    &update::MODULE,
    &compose::MODULE,
    &convolution::CONVOLVE,
    &convolution::TENSOR,
    &points::MODULE,
    &pooled::MODULE,
];
