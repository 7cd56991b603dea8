//! From the core's errors to GStreamer's: the only place where the one is mapped to the other.

use gst::glib;
use uretinex::{Error, ErrorKind};

/// Evaluates `$with` with `$code` bound to the GStreamer error code of a kind; codes are of several types.
macro_rules! with_code {
    ($kind:expr, $code:ident => $with:expr) => {
        match $kind {
            ErrorKind::InvalidFrame => {
                let $code = gst::StreamError::Decode;
                $with
            }
            ErrorKind::Unsupported => {
                let $code = gst::StreamError::Format;
                $with
            }
            ErrorKind::ModelNotFound => {
                let $code = gst::ResourceError::NotFound;
                $with
            }
            ErrorKind::ModelInvalid => {
                let $code = gst::ResourceError::Read;
                $with
            }
            ErrorKind::BackendUnavailable => {
                let $code = gst::LibraryError::Init;
                $with
            }
            // Of a GPU or of the host.
            ErrorKind::OutOfMemory => {
                let $code = gst::ResourceError::NoSpaceLeft;
                $with
            }
            ErrorKind::InvalidOption => {
                let $code = gst::LibraryError::Settings;
                $with
            }
            _ => {
                let $code = gst::LibraryError::Failed;
                $with
            }
        }
    };
}

/// The error as the element's functions return it.
pub(super) fn message(error: &Error) -> gst::ErrorMessage {
    let text = error.to_string();
    let debug = format!("{:?}", error.kind());
    let (file, line) = (file!(), line!());
    with_code!(error.kind(), code => gst::ErrorMessage::new(&code, Some(&text), Some(&debug), file, "uretinex", line))
}

/// The error as messages on the bus hold it.
pub(super) fn glib_error(error: &Error) -> glib::Error {
    with_code!(error.kind(), code => glib::Error::new(code, &error.to_string()))
}
