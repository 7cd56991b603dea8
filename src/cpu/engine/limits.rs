//! The limits of the engine, and the error for a model that it cannot run.

use super::graph::MAX_CHANNELS;
use super::kernels::LANES;
use crate::error::{Error, ErrorKind};

/// The largest number of blocks or planes of an image.
pub(crate) const MAX_BLOCKS: usize = MAX_CHANNELS / LANES;
/// The largest number of inputs or outputs of a network.
pub(crate) const MAX_PORTS: usize = 8;

pub(crate) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::ModelInvalid, message)
}
