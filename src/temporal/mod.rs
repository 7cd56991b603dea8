//! What a stream remembers from one frame to the next.

mod memory;
mod statistics;

pub use memory::{Reset, StreamMemory};
pub use statistics::{Percentiles, Statistics, WINDOW};
