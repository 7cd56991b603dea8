//! One stream's work: options, the backend that they lead to, executors prepared for sizes, frames.

mod backends;
mod enhancer;
mod options;
mod prepared;
mod repeats;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

pub use enhancer::Enhancer;
pub use options::{BackendChoice, Options};
