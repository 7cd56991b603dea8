//! The element `uretinexenhance`.

mod allocation;
mod caps;
mod category;
mod choices;
mod controller;
mod counters;
mod cuda_memory;
mod deadline;
mod errors;
mod finish;
mod frame_meta;
mod frame_queue;
mod imp;
mod latency;
mod memory_features;
mod messages;
mod panics;
mod planes;
mod preparation;
mod qos;
mod regions;
mod reporter;
mod settings;
mod worker;

use gst::glib;
use gst::prelude::*;

pub use choices::{Backend, Compare, OnEngineBuild, Precision, RegionsMode};

glib::wrapper! {
    /// Makes night video bright and clean with URetinex-Net.
    ///
    /// ```text
    /// gst-launch-1.0 filesrc location=night.mp4 ! decodebin ! uretinexenhance ratio=4 ! videoconvert ! autovideosink
    /// ```
    ///
    /// The properties and what the element does with bad input are in `docs/element.md`.
    ///
    /// Since: 0.1.0
    pub struct URetinexEnhance(ObjectSubclass<imp::URetinexEnhance>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    choices::register();
    frame_meta::register();
    gst::Element::register(
        Some(plugin),
        "uretinexenhance",
        gst::Rank::NONE,
        URetinexEnhance::static_type(),
    )
}
