//! The NVIDIA driver: looking for it, and a GPU's streams, events, memory and graphs as objects that free themselves.

mod cuda;
mod device;
mod library;
mod memory;
mod probe;
mod stream;

pub(crate) use cuda::Cuda;
pub(crate) use device::{Device, Entered, StreamHandle};
#[cfg(test)]
pub(crate) use device::{EventHandle, GraphHandle, PinnedMemory};
pub use library::{SharedLibrary, search_path};
pub(crate) use library::{load, open, symbol};
pub(crate) use memory::{Buffer, Pinned};
pub(crate) use probe::driver;
pub use probe::{Driver, Gpu};
pub(crate) use stream::{Event, Graph, Stream};
