//! Which memory caps speak of.

use crate::gstcuda::FEATURE;

/// Whether frames of these caps, which are fixed, are in CUDA memory.
pub(super) fn is_cuda(caps: &gst::CapsRef) -> bool {
    caps.features(0).is_some_and(|f| f.contains(FEATURE))
}

/// Whether `caps` has CUDA memory among what it allows.
pub(super) fn allows_cuda(caps: &gst::CapsRef) -> bool {
    caps.iter_with_features().any(|(_, f)| f.contains(FEATURE))
}

/// What `caps` allows beside CUDA memory.
pub(super) fn without_cuda(caps: &gst::CapsRef) -> gst::Caps {
    let others = caps.iter_with_features().filter(|(_, f)| !f.contains(FEATURE));
    others.map(|(s, f)| (s.to_owned(), f.to_owned())).collect()
}
