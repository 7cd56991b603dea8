//! Work that a size needs before it can be prepared, such as building engines, to be done on any thread.

use crate::backend::Observer;
use crate::error::Result;

type Work = dyn FnOnce(&mut Observer<'_>) -> Result<()> + Send;

/// Work to be done before a size is prepared. It does not borrow from the enhancer, so it can run on another thread.
pub struct PreparationJob(Box<Work>);

impl PreparationJob {
    /// A job that does `work`.
    pub fn new(work: impl FnOnce(&mut Observer<'_>) -> Result<()> + Send + 'static) -> Self {
        Self(Box::new(work))
    }

    /// Does the work, which can take minutes. `observer` is told of each step, and cancels the work by `Break`.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) if `observer` cancelled the work; those of the backend.
    pub fn run(self, observer: &mut Observer<'_>) -> Result<()> {
        (self.0)(observer)
    }
}
