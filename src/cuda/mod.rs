//! The stages between the networks on an NVIDIA GPU.

mod backend;
mod compose;
mod context;
mod device;
mod engines;
mod format;
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
mod recording;
mod reference;
mod slot;
#[cfg(test)]
mod tests;
mod update;
mod values;

pub(crate) use backend::TensorRtBackend;
pub(crate) use compose::Compose;
pub use context::RawContext;
pub use engines::EngineJob;
pub(crate) use engines::EngineSource;
pub(crate) use ingest::Ingest;
pub(crate) use launch::Storage;
#[cfg(test)]
pub(crate) use order::on_recorder;
pub(crate) use update::Update;
