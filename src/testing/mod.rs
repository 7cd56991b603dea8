//! What tests share: pictures, packs, a recorder and a host that stand in for a GPU, mocks of TensorRT's objects; and the
//! golden files.

mod allocations;
mod goldens;
mod host_device;
mod host_kernels;
mod networks;
mod packs;
mod pictures;
mod recorder;
mod scenes;
pub(crate) mod tensorrt;

pub(crate) use allocations::allocations;
pub(crate) use host_device::{HostDevice, HostNetworks, Spoil};
pub(crate) use host_kernels::{Guarded, HostKernels, Rounding, compile, digest};
pub(crate) use networks::{IdleNetworks, Refusal};
pub(crate) use packs::{Listing, PackFolder, with_weights};
pub(crate) use pictures::{Picture, spec};
pub(crate) use recorder::{Call, Operation, Recorder};
pub(crate) use scenes::scene;
