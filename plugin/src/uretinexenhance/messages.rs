//! Messages on the bus.

use gst::prelude::*;
use uretinex::Error;

use super::category::CAT;
use super::errors;

/// The code of progress messages.
pub(super) const ENGINES: &str = "engines";

/// Posts an error: the stream ends.
pub(super) fn error(element: &gst::Element, error: &Error) {
    gst::error!(CAT, obj = element, "{error}");
    element.post_error_message(errors::message(error));
}

/// Posts a warning: the stream goes on.
pub(super) fn warn(element: &gst::Element, error: &Error) {
    gst::warning!(CAT, obj = element, "{error}");
    let warning = gst::message::Warning::builder_from_error(errors::glib_error(error));
    let _ = element.post_message(warning.src(element).build());
}

/// Has the pipeline ask for the latency again.
pub(super) fn latency(element: &gst::Element) {
    let _ = element.post_message(gst::message::Latency::builder().src(element).build());
}

/// Tells how far engines are.
pub(super) fn progress(element: &gst::Element, kind: gst::ProgressType, text: &str) {
    let _ = element.post_message(
        gst::message::Progress::builder(kind, ENGINES, text)
            .src(element)
            .build(),
    );
}
