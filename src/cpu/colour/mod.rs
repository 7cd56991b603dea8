//! Conversion between frames and the networks' planes: a frame becomes I, and L'·R becomes a frame.

mod block;
mod compose;
mod guided;
mod ingest;
mod luma;
mod planes;
mod reduce;
mod store;
mod stretch;
mod survey;
mod unpack;

pub(crate) use compose::{Relit, compose};
pub(crate) use guided::Guide;
pub(crate) use ingest::ingest;
pub(crate) use luma::luma_mean;
pub(crate) use planes::Planes;
pub(crate) use reduce::Reduce;
pub(crate) use store::Store;
pub(crate) use survey::survey;
pub(crate) use unpack::Unpack;
