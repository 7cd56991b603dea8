//! A panic never leaves the element: it becomes an error, and locks stay usable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uretinex::{Error, ErrorKind, Result};

/// Locks a mutex. A panic while the lock was held leaves data that is still in order.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work`; a panic becomes an error.
pub(super) fn without_panic<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Err(Error::new(
            ErrorKind::BackendFailed,
            format!(
                "a programming error in uretinex ({}): please report it",
                text.unwrap_or("panic")
            ),
        ))
    })
}
