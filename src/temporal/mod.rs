//! What a stream remembers from one frame to the next.

mod exposure;
mod memory;
mod statistics;

pub use exposure::{Exposure, Outlook, RATIOS, Scene};
pub use memory::{Reset, StreamMemory};
pub use statistics::{Percentiles, Statistics, WINDOW};
