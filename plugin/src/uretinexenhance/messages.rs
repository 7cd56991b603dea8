//! Messages on the bus.

use std::time::Duration;

use gst::prelude::*;
use uretinex::{Error, Light};

use super::category::CAT;
use super::deadline::RungStep;
use super::{errors, frame_meta};

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

/// Tells that day has become night, or the other way round, or that a stream has no colour or has it again.
pub(super) fn light(element: &gst::Element, light: Light) {
    let structure = gst::Structure::builder("uretinexenhance-light")
        .field("light", frame_meta::light_name(light))
        .field("grey", light.grey)
        .field("lightness", light.lightness)
        .build();
    gst::info!(CAT, obj = element, "{structure}");
    let _ = element.post_message(gst::message::Element::builder(structure).src(element).build());
}

/// Tells that frames are made on another rung.
pub(super) fn rung(element: &gst::Element, step: RungStep, deadline: Duration) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let structure = gst::Structure::builder("uretinexenhance-rung")
        .field("rung", step.rung as u32)
        .field("deadline-ms", milliseconds(deadline))
        .field("p90-ms", step.p90.map_or(0.0, milliseconds))
        .build();
    gst::info!(CAT, obj = element, "{structure}");
    let _ = element.post_message(gst::message::Element::builder(structure).src(element).build());
}
