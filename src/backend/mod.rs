//! What a backend is: a device that prepares executors, and executors that take frames of one size through the network.
//! Nothing here belongs to one kind of device.

mod buffer;
mod executor;
mod geometry;
mod job;
mod progress;

pub use buffer::{DeviceBuffer, DeviceId};
pub use executor::{Backend, Executor, MemoryFigures, Meter};
pub(crate) use executor::{none_pending, pending};
pub use geometry::Geometry;
pub use job::PreparationJob;
pub use progress::{Observer, Phase, Progress};
