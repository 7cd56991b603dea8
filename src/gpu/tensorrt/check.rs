//! Whether TensorRT's objects behave as those of its version should.

use crate::error::Result;
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::objects::Network;
use crate::gpu::tensorrt::version::Version;

/// Makes a runtime, a builder and an empty network on the first GPU, and looks whether they behave. Gives TensorRT's
/// version.
///
/// A library that is not what it says may crash, so a process of its own is the place for this.
///
/// # Errors
/// [`ErrorKind::BackendUnavailable`](crate::error::ErrorKind::BackendUnavailable) if driver, TensorRT or its parser are
/// missing, [`ErrorKind::BackendFailed`](crate::error::ErrorKind::BackendFailed) if an object does not behave.
pub fn try_tensorrt() -> Result<Version> {
    let library = Library::open()?;
    library.runtime()?;
    Network::create(&library.builder()?)?;
    Ok(library.version())
}
