//! A stream's memory: it observes each frame's report and says how the next frame is made.
//!
//! It knows neither GStreamer nor a backend, and holds numbers alone: planes that last from frame to frame belong to
//! the executor, which drops them when [`Plan::fresh`] says so.

use crate::stages::{Parameters, Plan, Report};

/// Why the memory of a stream is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Frames were dropped by a flush, as a seek does.
    Flush,
    /// The stream says that the next frame does not follow the last one.
    Discontinuity,
    /// Frames have another size, format or colorimetry.
    NewFormat,
    /// The picture has changed as a whole.
    SceneCut,
    /// The executor that held the stream's state is not the one that works from here on.
    NewExecutor,
    /// Frames went through untouched, as by day.
    PassedThrough,
}

impl Reset {
    /// All reasons.
    pub const ALL: [Reset; 6] = [
        Reset::Flush,
        Reset::Discontinuity,
        Reset::NewFormat,
        Reset::SceneCut,
        Reset::NewExecutor,
        Reset::PassedThrough,
    ];

    /// The name in statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Reset::Flush => "flush",
            Reset::Discontinuity => "discontinuity",
            Reset::NewFormat => "new-format",
            Reset::SceneCut => "scene-cut",
            Reset::NewExecutor => "new-executor",
            Reset::PassedThrough => "passed-through",
        }
    }
}

/// What is remembered of a stream.
#[derive(Debug, Clone, Default)]
pub struct StreamMemory {
    /// Frames observed since the last reset.
    frames: u64,
    resets: [u64; Reset::ALL.len()],
}

impl StreamMemory {
    /// How the next frame is made with `parameters`, which have been checked.
    pub fn plan(&self, parameters: Parameters) -> Plan {
        Plan {
            parameters,
            fresh: self.frames == 0,
            repeated: false,
        }
    }

    /// Takes note of a frame that was made as planned. From here on [`plan`](Self::plan) speaks of the frame after it.
    pub fn observe(&mut self, report: &Report) {
        if report.cut {
            self.reset(Reset::SceneCut);
        }
        self.frames += 1;
    }

    /// Forgets the frames observed: the next one stands alone. Without effect where nothing is remembered.
    pub fn reset(&mut self, reason: Reset) {
        if self.frames > 0 {
            self.frames = 0;
            self.resets[reason as usize] += 1;
        }
    }

    /// How often the memory was dropped for `reason`.
    pub fn resets(&self, reason: Reset) -> u64 {
        self.resets[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_alone_at_the_start_and_after_a_reset() {
        let mut memory = StreamMemory::default();
        let fresh = |memory: &StreamMemory| memory.plan(Parameters::default()).fresh;
        assert!(fresh(&memory));
        // Nothing is remembered, so nothing is dropped.
        memory.reset(Reset::Flush);
        assert_eq!(memory.resets(Reset::Flush), 0);
        for reason in Reset::ALL {
            memory.observe(&Report::default());
            assert!(!fresh(&memory), "{reason:?}");
            memory.reset(reason);
            memory.reset(reason);
            assert!(fresh(&memory), "{reason:?}");
            assert_eq!(memory.resets(reason), 1, "{reason:?}");
        }
    }

    #[test]
    fn a_cut_is_counted_and_begins_a_scene() {
        let mut memory = StreamMemory::default();
        for (cut, resets) in [(false, 0), (false, 0), (true, 1), (false, 1), (true, 2)] {
            memory.observe(&Report {
                cut,
                ..Report::default()
            });
            assert_eq!(memory.resets(Reset::SceneCut), resets);
            assert!(
                !memory.plan(Parameters::default()).fresh,
                "the frame itself is remembered"
            );
        }
    }

    #[test]
    fn the_users_parameters_are_kept() {
        let parameters = Parameters {
            ratio: 7.0,
            strength: 0.5,
            brightness: 0.0,
            temporal: 0.25,
        };
        assert_eq!(StreamMemory::default().plan(parameters).parameters, parameters);
    }
}
