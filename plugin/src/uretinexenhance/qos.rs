//! The base class's switch for dropping late frames. Its own property of that name defaults to false, and is hidden
//! by the element's; the functions under it are not part of the safe bindings.
#![allow(unsafe_code)]

use gst::glib::object::IsA;
use gst::glib::translate::{IntoGlib, ToGlibPtr, from_glib};

/// Whether late frames are dropped.
pub(super) fn is_enabled(element: &impl IsA<gst_base::BaseTransform>) -> bool {
    // SAFETY: the pointer is to a live base transform; the function takes its object lock itself.
    unsafe {
        from_glib(gst_base::ffi::gst_base_transform_is_qos_enabled(
            element.as_ref().to_glib_none().0,
        ))
    }
}

/// Drops late frames from now on, or does not.
pub(super) fn set_enabled(element: &impl IsA<gst_base::BaseTransform>, enabled: bool) {
    // SAFETY: as above.
    unsafe {
        gst_base::ffi::gst_base_transform_set_qos_enabled(element.as_ref().to_glib_none().0, enabled.into_glib());
    }
}
