//! The one error type of the library.

use std::fmt;

/// What went wrong, coarse enough to choose a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The frame does not fit its description: a plane is missing or too short.
    InvalidFrame,
    /// The pixel format, size or colorimetry is one that the library does not take.
    Unsupported,
    /// No model pack of that name or at that path, or it cannot be read.
    ModelNotFound,
    /// The model pack is there but damaged, of the wrong shape, or gives no numbers.
    ModelInvalid,
    /// The backend asked for cannot work on this machine.
    BackendUnavailable,
    /// The backend failed while it worked.
    BackendFailed,
    /// Memory of the GPU or of the host is short.
    OutOfMemory,
    /// An option is outside its range or does not go with another one.
    InvalidOption,
    /// Whoever asked for the work wants it no more.
    Cancelled,
}

/// An error that names its cause and the remedy.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The library's result type.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind`; `message` says what was found and what to do about it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same with the error that caused it.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
