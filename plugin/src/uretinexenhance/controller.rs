//! Controlled properties follow their curves.

use std::ops::RangeInclusive;

use gst::prelude::*;
use gst_base::prelude::*;
use uretinex::{AUTOMATIC, BRIGHTNESS_RANGE, Error, ErrorKind, RATIO_RANGE, STRENGTH_RANGE, TEMPORAL_RANGE};

use super::category::CAT;

/// Sets controlled properties to their values at the buffer's time. `report` gets an error for each curve that is outside
/// its property's range there.
pub(super) fn follow(element: &gst_base::BaseTransform, buffer: &gst::BufferRef, mut report: impl FnMut(Error)) {
    if !element.has_active_control_bindings() {
        return;
    }
    let segment = element.segment();
    let Some(time) = segment
        .downcast_ref::<gst::ClockTime>()
        .and_then(|s| s.to_stream_time(buffer.pts()))
    else {
        return;
    };
    if let Err(e) = element.sync_values(time) {
        gst::debug!(CAT, obj = element, "{e}");
    }
    for (name, range) in [
        ("ratio", RATIO_RANGE),
        ("brightness", BRIGHTNESS_RANGE),
        ("strength", STRENGTH_RANGE),
        ("temporal", TEMPORAL_RANGE),
        ("divider", 0.0..=1.0),
    ] {
        let binding = element.control_binding(name);
        let value = binding
            .and_then(|b| ControlBindingExt::value(&b, time))
            .and_then(|v| v.get::<f32>().ok());
        let automatic = |v: f32| name == "ratio" && v == AUTOMATIC;
        if let Some(value) = value.filter(|v| !range.contains(v) && !automatic(*v)) {
            report(outside(name, value, &range));
        }
    }
}

fn outside(name: &str, value: f32, range: &RangeInclusive<f32>) -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        format!(
            "the controller's curve gives {name} {value}, outside {} to {}: the nearest value within is used; correct \
             the curve",
            range.start(),
            range.end()
        ),
    )
}
