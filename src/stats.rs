//! Running statistics over the latest frames, in memory of fixed size.

use std::time::Duration;

use crate::stage::{Report, Stage};

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

/// Times and lumas of the latest [`WINDOW`] frames.
#[derive(Debug)]
pub struct Statistics {
    latest: Box<[Report]>,
    held: usize,
    next: usize,
    frames: u64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            latest: vec![Report::default(); WINDOW].into(),
            held: 0,
            next: 0,
            frames: 0,
        }
    }
}

impl Statistics {
    /// Adds a frame.
    pub fn add(&mut self, report: &Report) {
        self.latest[self.next] = *report;
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
        (self.held > 0).then(|| &self.latest[(self.next + WINDOW - 1) % WINDOW])
    }

    /// Percentiles of a stage's time.
    pub fn stage(&self, stage: Stage) -> Percentiles {
        self.percentiles(|r| r.stages[stage as usize])
    }

    /// Percentiles of the whole frame's time.
    pub fn total(&self) -> Percentiles {
        self.percentiles(|r| r.total)
    }

    fn percentiles(&self, time: impl Fn(&Report) -> Duration) -> Percentiles {
        let mut times = [Duration::ZERO; WINDOW];
        let times = &mut times[..self.held];
        for (t, r) in times.iter_mut().zip(&self.latest) {
            *t = time(r);
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
            s.add(&Report {
                total: Duration::from_millis(ms),
                ..Report::default()
            });
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
        assert_eq!(s.last().unwrap().total, Duration::from_millis(1000));
    }
}
