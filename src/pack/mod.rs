//! Model packs: four ONNX subnetworks in one or more number formats and `model.toml`, in a folder or embedded in the
//! library.

mod digest;
mod embedded;
mod files;
mod manifest;
pub(crate) mod onnx;
mod precision;
mod subnetwork;
mod variant;

pub(crate) use digest::sha256_hex;
pub use files::Pack;
pub use manifest::{Manifest, Schedule};
pub use precision::{Precision, Precisions};
pub use subnetwork::Subnetwork;
pub use variant::Variant;
