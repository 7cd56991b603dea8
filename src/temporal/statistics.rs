//! Running statistics over the latest frames, in memory of fixed size.

use std::time::Duration;

use crate::stages::{Report, Stage};

/// How many of the latest frames the percentiles cover.
pub const WINDOW: usize = 512;

/// Percentiles of a time, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// Of a hundred frames, 95 took at most this long.
    pub p95: f64,
    /// Of a hundred frames, 99 took at most this long.
    pub p99: f64,
}

/// A frame's report, and how long its caller spent on it.
type Entry = (Report, Duration);

/// Times and lumas of the latest [`WINDOW`] frames.
#[derive(Debug)]
pub struct Statistics {
    latest: Box<[Entry]>,
    held: usize,
    next: usize,
    frames: u64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            latest: vec![Entry::default(); WINDOW].into(),
            held: 0,
            next: 0,
            frames: 0,
        }
    }
}

impl Statistics {
    /// Adds a frame. `total` is the time that the caller spent on it, which a [`Report`] does not know.
    pub fn add(&mut self, report: &Report, total: Duration) {
        self.latest[self.next] = (*report, total);
        self.next = (self.next + 1) % WINDOW;
        self.held = (self.held + 1).min(WINDOW);
        self.frames += 1;
    }

    /// Frames since the beginning.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The frame added last.
    pub fn last(&self) -> Option<&Report> {
        (self.held > 0).then(|| &self.latest[(self.next + WINDOW - 1) % WINDOW].0)
    }

    /// Percentiles of a stage's time.
    pub fn stage(&self, stage: Stage) -> Percentiles {
        self.percentiles(|(report, _)| report.stages[stage as usize])
    }

    /// Percentiles of the time that the caller spent on a frame.
    pub fn total(&self) -> Percentiles {
        self.percentiles(|(_, total)| *total)
    }

    fn percentiles(&self, time: impl Fn(&Entry) -> Duration) -> Percentiles {
        let mut times = [Duration::ZERO; WINDOW];
        let times = &mut times[..self.held];
        for (t, entry) in times.iter_mut().zip(&self.latest) {
            *t = time(entry);
        }
        times.sort_unstable();
        // Nearest rank: the smallest time that is no less than `percent` of all.
        let rank = |percent: usize| match times.len() {
            0 => 0.0,
            n => times[(n * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3,
        };
        Percentiles {
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_cover_the_latest_frames() {
        let mut s = Statistics::default();
        assert_eq!(s.total(), Percentiles::default());
        assert_eq!(s.last(), None);
        for ms in 1..=1000u64 {
            let luma_in = ms as f32 / 1000.0;
            let report = Report {
                luma_in,
                ..Report::default()
            };
            s.add(&report, Duration::from_millis(ms));
        }
        // The latest 512 are 489 ms to 1000 ms.
        assert_eq!((s.frames(), s.held), (1000, WINDOW));
        assert_eq!(
            s.total(),
            Percentiles {
                p50: 744.0,
                p95: 975.0,
                p99: 995.0
            }
        );
        assert_eq!(s.last().unwrap().luma_in, 1.0);
    }
}
