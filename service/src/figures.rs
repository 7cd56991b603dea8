//! What a camera's frames come to: counts over all calls, and what the element tells of the call under way.

use std::sync::atomic::Ordering;

use gst::glib;
use serde::Serialize;

use crate::capture::Tally;

/// Counts of calls that have ended.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Totals {
    late: u64,
    failed: u64,
    passed: u64,
    enhanced: u64,
}

impl Totals {
    /// Adds the counts of a call that ends.
    pub fn add(&mut self, stats: &gst::StructureRef) {
        let count = |name: &str| stats.get::<u64>(name).unwrap_or_default();
        self.late += count("dropped");
        self.failed += count("failed");
        self.passed += count("passed");
        self.enhanced += count("frames");
    }
}

/// A camera in figures.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Frames that came from the camera, and that went out.
    pub frames_in: u64,
    pub frames_out: u64,
    /// Frames that were enhanced; that went through untouched by intent; because of an error.
    pub enhanced: u64,
    pub passed: u64,
    pub failed: u64,
    /// Frames that were dropped: before the element because it was busy, in it because they were late.
    pub dropped_queue: u64,
    pub dropped_late: u64,
    /// Seconds that the element spends on a frame.
    pub seconds_p50: f64,
    pub seconds_p95: f64,
    pub seconds_p99: f64,
    pub ratio: f32,
    pub luma_in: f32,
    pub luma_out: f32,
    pub lightness: f32,
    /// `day` or `night`.
    pub light: Option<String>,
    pub grey: bool,
    pub rung: u32,
    /// Noise of the input, where the element tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<f32>,
    pub backend: Option<String>,
    pub model: Option<String>,
}

impl Figures {
    /// Adds up counts of ended calls and of the one under way, whose `stats` these are.
    pub fn of(stats: Option<&gst::StructureRef>, totals: &Totals, tally: &Tally) -> Self {
        fn field<'a, T: glib::value::FromValue<'a>>(stats: Option<&'a gst::StructureRef>, name: &str) -> Option<T> {
            stats.and_then(|stats| stats.get::<T>(name).ok())
        }
        let seconds = |name: &str| field::<f64>(stats, name).unwrap_or_default() / 1e3;
        let level = |name: &str| field::<f32>(stats, name).unwrap_or_default();
        let text = |name: &str| field::<Option<String>>(stats, name).flatten();
        let mut sums = totals.clone();
        if let Some(stats) = stats {
            sums.add(stats);
        }
        // Read in the order of the frame's way, so that no frame is ahead of itself.
        let frames_out = tally.frames_out.load(Ordering::Relaxed);
        let frames_in = tally.frames_in.load(Ordering::Relaxed);
        Self {
            frames_in,
            frames_out,
            enhanced: sums.enhanced,
            passed: sums.passed,
            failed: sums.failed,
            dropped_queue: tally.frames_dropped.load(Ordering::Relaxed),
            dropped_late: sums.late,
            seconds_p50: seconds("total-ms-p50"),
            seconds_p95: seconds("total-ms-p95"),
            seconds_p99: seconds("total-ms-p99"),
            ratio: level("ratio"),
            luma_in: level("luma-in"),
            luma_out: level("luma-out"),
            lightness: level("lightness"),
            light: text("light"),
            grey: field(stats, "grey").unwrap_or_default(),
            rung: field(stats, "rung").unwrap_or_default(),
            noise: field(stats, "noise"),
            backend: text("backend"),
            model: text("model"),
        }
    }
}
