//! The stages between the networks on an NVIDIA GPU.

mod backend;
mod choice;
mod compose;
mod context;
mod device;
mod engines;
mod format;
mod frame;
mod gate;
mod graph;
#[cfg(test)]
mod host;
mod ingest;
mod launch;
mod memory;
mod networks;
#[cfg(test)]
mod order;
#[cfg(test)]
mod processor;
#[cfg(test)]
mod recording;
mod reference;
mod slot;
mod state;
#[cfg(test)]
mod tests;
mod timings;
mod update;
mod values;
#[cfg(test)]
mod whole;

pub(crate) use backend::TensorRtBackend;
pub(crate) use compose::Compose;
pub use context::RawContext;
pub use engines::EngineJob;
pub(crate) use engines::EngineSource;
pub use frame::{DeviceFrameBuffer, GpuFigures};
pub(crate) use ingest::Ingest;
pub(crate) use launch::{Storage, Surface};
#[cfg(test)]
pub(crate) use order::on_recorder;
#[cfg(test)]
pub(crate) use processor::on_processor;
pub(crate) use update::Update;
