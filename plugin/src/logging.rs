//! Records of the `log` crate, which the core uses, as lines of GStreamer's debug log (category `uretinex`).

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "uretinex",
        gst::DebugColorFlags::empty(),
        Some("URetinex-Net core library"),
    )
});

struct DebugLog;

fn level(level: log::Level) -> gst::DebugLevel {
    match level {
        log::Level::Error => gst::DebugLevel::Error,
        log::Level::Warn => gst::DebugLevel::Warning,
        log::Level::Info => gst::DebugLevel::Info,
        log::Level::Debug => gst::DebugLevel::Debug,
        log::Level::Trace => gst::DebugLevel::Trace,
    }
}

impl log::Log for DebugLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // Only the core's own records: the libraries under it speak of every operator.
        metadata.target().starts_with("uretinex") && CAT.above_threshold(level(metadata.level()))
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let file = glib::GString::from(record.file().unwrap_or("unknown"));
            CAT.log(
                None::<&gst::Object>,
                level(record.level()),
                file.as_gstr(),
                record.target(),
                record.line().unwrap_or(0),
                *record.args(),
            );
        }
    }

    fn flush(&self) {}
}

/// Routes the process's `log` records to GStreamer, unless the application has taken them for itself.
pub(crate) fn install() {
    if log::set_logger(&DebugLog).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}
