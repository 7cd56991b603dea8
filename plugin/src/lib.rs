//! GStreamer plugin `uretinex`: the element `uretinexenhance` makes night video bright and clean with URetinex-Net.
//!
//! The mathematics is in the crate `uretinex`; what is here turns buffers, caps and properties into its frames and
//! options.

use gst::glib;

mod gstcuda;
mod logging;
mod uretinexenhance;

pub use uretinexenhance::{Backend, Compare, OnEngineBuild, Precision, RegionsMode, URetinexEnhance};

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    logging::install();
    uretinexenhance::register(plugin)
}

#[allow(unsafe_code, missing_docs, clippy::undocumented_unsafe_blocks)] // The macro writes the C entry point.
mod entry {
    use super::plugin_init;

    gst::plugin_define!(
        uretinex,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        env!("CARGO_PKG_VERSION"),
        "MIT/X11",
        "gst-plugin-uretinex",
        "gst-plugin-uretinex",
        "Unknown package origin"
    );
}

pub use entry::plugin_register_static;
