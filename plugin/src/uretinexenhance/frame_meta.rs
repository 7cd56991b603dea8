//! What goes with each frame, for other elements: a custom meta, its fields documented in `docs/element.md`.

use uretinex::{Light, Report};

/// The name of the meta.
pub(super) const NAME: &str = "GstURetinexEnhanceMeta";

/// Makes the meta known, once for the process.
pub(super) fn register() {
    gst::meta::CustomMeta::register(NAME, &[]);
}

/// Adds the meta to a frame that leaves the element; `report` is none if it was not enhanced.
pub(super) fn add(buffer: &mut gst::Buffer, report: Option<&Report>, light: Option<Light>, rung: usize) {
    let Ok(mut meta) = gst::meta::CustomMeta::add(buffer.make_mut(), NAME) else {
        return;
    };
    let structure = meta.mut_structure();
    structure.set("enhanced", report.is_some());
    structure.set("rung", rung as u32);
    if let Some(report) = report {
        structure.set("ratio", report.ratio);
        structure.set("luma-in", report.luma_in);
        structure.set("luma-out", report.luma_out);
        if let Some(noise) = report.noise {
            structure.set("noise", noise);
        }
    }
    if let Some(light) = light {
        structure.set("light", light_name(light));
        structure.set("lightness", light.lightness);
        structure.set("night", light.night);
        structure.set("grey", light.grey);
    }
}

/// `day` or `night`.
pub(super) fn light_name(light: Light) -> &'static str {
    if light.day { "day" } else { "night" }
}
