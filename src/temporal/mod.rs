//! What a stream remembers from one frame to the next.

mod exposure;
mod light;
mod memory;
mod statistics;

pub use exposure::{Exposure, Outlook, RATIOS, Scene};
pub use light::{Light, LightMeter};
pub use memory::{Reset, StreamMemory};
pub use statistics::{Percentiles, Statistics, WINDOW};
