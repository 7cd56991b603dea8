//! What property `stats` shows: counts, times, lumas, and what is in use.

use std::time::Duration;

use uretinex::{Light, Percentiles, Report, Stage, Statistics};

use super::frame_meta::light_name;

/// Counts and times since the element was started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    statistics: Statistics,
    /// Dropped because they would have come too late.
    pub dropped: u64,
    /// Passed on unchanged because something went wrong.
    pub failed: u64,
    /// Passed on unchanged because that was asked for.
    pub passed: u64,
    /// How often what the stream remembers of its frames was dropped.
    pub resets: u64,
    /// The light at the latest frame, and the rung that it was made on.
    pub light: Option<Light>,
    pub rung: usize,
    /// The backend and the model pack, once they are loaded.
    pub in_use: Option<InUse>,
}

/// The choices that `auto` came to.
#[derive(Debug, Clone)]
pub(super) struct InUse {
    pub backend: &'static str,
    pub model: String,
}

impl Counters {
    /// Nothing counted yet.
    pub fn of(in_use: InUse) -> Self {
        Self {
            in_use: Some(in_use),
            ..Self::default()
        }
    }

    /// Adds an enhanced frame on which the element spent `time`.
    pub fn add(&mut self, report: &Report, time: Duration) {
        self.statistics.add(report, time);
    }

    /// Everything, as users see it; `ratio` stands in until there is a frame.
    pub fn structure(&self, ratio: f32) -> gst::Structure {
        let mut s = gst::Structure::builder("uretinexenhance-stats")
            .field("frames", self.statistics.frames())
            .field("dropped", self.dropped)
            .field("failed", self.failed)
            .field("passed", self.passed)
            .field("resets", self.resets)
            .field("backend", self.in_use.as_ref().map(|u| u.backend))
            .field("model", self.in_use.as_ref().map(|u| u.model.as_str()))
            .field("ratio", self.statistics.last().map_or(ratio, |r| r.ratio))
            .field("light", self.light.map(light_name))
            .field("lightness", self.light.map_or(0.0, |light| light.lightness))
            .field("grey", self.light.is_some_and(|light| light.grey))
            .field("rung", self.rung as u32)
            .field("luma-in", self.statistics.last().map_or(0.0, |r| r.luma_in))
            .field("luma-out", self.statistics.last().map_or(0.0, |r| r.luma_out))
            .field("noise", self.statistics.last().and_then(|r| r.noise).unwrap_or(0.0))
            .build();
        let mut times = |name: &str, p: Percentiles| {
            for (percent, ms) in [("p50", p.p50), ("p95", p.p95), ("p99", p.p99)] {
                s.set(format!("{name}-ms-{percent}"), ms);
            }
        };
        times("total", self.statistics.total());
        for stage in Stage::ALL {
            times(stage.name(), self.statistics.stage(stage));
        }
        s
    }
}
