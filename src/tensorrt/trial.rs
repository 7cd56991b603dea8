//! Whether TensorRT's objects behave as those of its version should.

use super::library::Library;
use super::version::Version;
use crate::error::Result;

/// Makes a runtime, a builder and an empty network on the first GPU, and looks whether they behave. Gives TensorRT's
/// version.
///
/// A library that is not what it says may crash, so a process of its own is the place for this.
///
/// # Errors
/// [`ErrorKind::BackendUnavailable`](crate::ErrorKind::BackendUnavailable) if driver, TensorRT or its parser are
/// missing, [`ErrorKind::BackendFailed`](crate::ErrorKind::BackendFailed) if an object does not behave.
pub fn try_tensorrt() -> Result<Version> {
    let library = Library::open()?;
    library.runtime()?;
    library.builder()?.network()?;
    Ok(library.version())
}
