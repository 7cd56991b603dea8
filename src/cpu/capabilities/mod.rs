//! What the processor's vector units can do, and code compiled for them.

mod extensions;
mod set;
mod vectorised;

pub(crate) use extensions::Extensions;
pub use set::{Capabilities, Level};
pub(crate) use vectorised::vectorised;
