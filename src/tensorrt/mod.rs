//! TensorRT 8.5, 8.6, 10.x and 11.x, opened at run time.
//!
//! `library` finds the shared libraries, `tables` says where each version has its methods, `objects` calls them behind
//! a safe interface, `logger` takes TensorRT's messages. On these stand `build` (ONNX to engine), `file` and `cache`
//! (engines from one run to the next) and `engines` (the four of a model pack, shared in the process). `ports` edits
//! ONNX files where subnetworks of 16 bits meet those of 32.

#[cfg(test)]
mod abi;
mod build;
mod cache;
mod engines;
mod file;
mod library;
mod logger;
#[cfg(test)]
mod mock;
mod objects;
mod ports;
mod progress;
#[cfg(test)]
mod real;
mod tables;
#[cfg(test)]
mod tests;
mod trial;
mod version;

pub(crate) use build::Span;
pub use cache::{CACHE_VARIABLE, CacheContents, CacheEntry, EngineCache};
pub(crate) use engines::{Engines, Request, engines};
pub(crate) use library::tensorrt;
pub use library::{FOLDER_VARIABLE, TensorRt};
pub use objects::ParseError;
pub(crate) use objects::{Context, Element, Memory, Tensor};
pub use progress::{Observer, Progress, Step};
pub use trial::try_tensorrt;
pub use version::Version;
