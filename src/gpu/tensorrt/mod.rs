//! TensorRT 8.5, 8.6, 10.x and 11.x, opened at run time.
//!
//! `library` finds the shared libraries, `tables` says where each version has its methods, `objects` calls them behind
//! a safe interface, `logger` takes TensorRT's messages (`interface` is what it shares with other objects that TensorRT
//! calls). On these stand `build` (ONNX to engine), `file` and `cache`
//! (engines from one run to the next) and `engines` (the four of a model pack, shared in the process).

mod build;
mod cache;
mod check;
mod engines;
pub(crate) mod file;
mod interface;
mod library;
mod logger;
mod objects;
mod tables;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vendor_tests;
mod version;

pub(crate) use build::Span;
pub use cache::{CACHE_VARIABLE, CacheContents, CacheEntry, EngineCache};
pub use check::try_tensorrt;
pub(crate) use engines::{Engines, Request, engines};
pub(crate) use library::tensorrt;
pub use library::{FOLDER_VARIABLE, TensorRt};
#[cfg(test)]
pub(crate) use library::{Functions, Library};
#[cfg(test)]
pub(crate) use logger::{complaints, forget, logger};
pub use objects::ParseError;
pub(crate) use objects::{Context, Element, Memory, Tensor};
#[cfg(test)]
pub(crate) use objects::{Monitor, NarrowDims, Network, Profile, Selector, WideDims};
#[cfg(test)]
pub(crate) use tables::{Generation, Table};
pub use version::Version;
