//! The limits of networks, and the error for a model that exceeds them.

use super::graph::MAX_CHANNELS;
use crate::error::{Error, ErrorKind};

/// Channels of a block.
pub(crate) const LANES: usize = 16;
/// Channels of a unit in 16-bit floating point, which has the memory of a block.
pub(crate) const PAIRED_LANES: usize = 2 * LANES;
/// The largest number of blocks or planes of an image.
pub(crate) const MAX_BLOCKS: usize = MAX_CHANNELS / LANES;
/// The largest number of inputs or outputs of a network.
pub(crate) const MAX_PORTS: usize = 8;

pub(crate) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::ModelInvalid, message)
}
