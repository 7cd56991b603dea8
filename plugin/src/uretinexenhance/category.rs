//! The element's category in the debug log.

use std::sync::LazyLock;

/// The category of the element in the debug log.
pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "uretinexenhance",
        gst::DebugColorFlags::empty(),
        Some("URetinex-Net enhancement"),
    )
});
