//! The stages on the processor.

mod backend;
mod capabilities;
mod colour;
mod engine;
mod executor;
mod fusion;
mod identity;
mod memory;
mod networks;
mod preview;
mod threads;
mod update;

pub(crate) use backend::CpuBackend;
pub use capabilities::{Capabilities, Level};
pub(crate) use colour::{Store, Unpack, luma_mean, survey};
#[cfg(any(test, fuzzing))]
pub(crate) use engine::{Kernels, Network};
pub(crate) use fusion::{BINS as NOISE_BINS, deviation as noise_deviation, most_frames};
pub(crate) use identity::IdentityBackend;
pub(crate) use preview::Preview;
#[cfg(test)]
pub(crate) use {
    colour::{Guide, Planes, Reduce, Relit, compose, ingest},
    engine::operators,
    fusion::Fusion,
    networks::Networks,
    threads::Pool,
    update::update,
};

/// The networks that engines are tested with, and what they give.
#[cfg(test)]
pub(crate) mod engine_cases {
    pub(crate) use super::engine::cases::{Case, cases, inputs};
    pub(crate) use super::engine::reference;
    pub(crate) use super::engine::testing::Model;
}
