//! The time that the element adds to latency queries: what a frame takes (the 99th percentile, rounded up and held
//! steady), and the time for which frames are held back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use uretinex::{Report, Statistics};

use super::panics::lock;

/// How often, in frames, the measured time is compared with the reported one.
const INTERVAL: u64 = 8;

/// What latency queries are answered with. Queries come from any thread and wait for nothing.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// Milliseconds that a frame takes.
    processing: AtomicU64,
    /// Nanoseconds for which frames are held back.
    held: AtomicU64,
    live: AtomicBool,
    /// The frames of the current size. Only the streaming thread takes this lock.
    frames: Mutex<Statistics>,
}

impl Latency {
    /// Begins anew with nothing measured.
    pub fn reset(&self) {
        self.processing.store(0, Ordering::Relaxed);
        self.held.store(0, Ordering::Relaxed);
        self.live.store(false, Ordering::Relaxed);
        *lock(&self.frames) = Statistics::default();
    }

    /// The time to add to the latency of what is upstream.
    pub fn reported(&self) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(self.processing.load(Ordering::Relaxed)) + self.held()
    }

    /// The time for which frames are held back.
    pub fn held(&self) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.held.load(Ordering::Relaxed))
    }

    /// Takes the time for which frames are held back from here on; true if the pipeline has to ask for the latency
    /// again.
    pub fn hold(&self, time: gst::ClockTime) -> bool {
        self.held.swap(time.nseconds(), Ordering::Relaxed) != time.nseconds() && self.is_live()
    }

    /// Remembers whether what is upstream is live; latency has no meaning otherwise.
    pub fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Relaxed);
    }

    /// Whether what is upstream is live, as far as it has been asked.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Begins with frames of another size, of which a trial frame took `trial`; true if the pipeline has to ask for the
    /// latency again.
    pub fn begin(&self, trial: Duration) -> bool {
        *lock(&self.frames) = Statistics::default();
        self.measured(trial.as_secs_f64() * 1e3)
    }

    /// Takes the time that a frame took; true if the pipeline has to ask for the latency again.
    pub fn add(&self, report: &Report, time: Duration) -> bool {
        let mut frames = lock(&self.frames);
        frames.add(report, time);
        if frames.frames() % INTERVAL != 1 {
            return false;
        }
        let p99 = frames.total().p99;
        drop(frames);
        self.measured(p99)
    }

    /// Takes a measured time, in milliseconds; true if the pipeline has to ask for the latency again.
    ///
    /// The reported time follows when the measured one exceeds it, with a tenth to spare, or falls below half of it.
    fn measured(&self, time: f64) -> bool {
        let reported = self.processing.load(Ordering::Relaxed);
        let needed = time.ceil() as u64;
        if needed <= reported && needed * 2 >= reported {
            return false;
        }
        let next = needed + needed / 10;
        self.processing.store(next, Ordering::Relaxed);
        next != reported && self.is_live()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_with_hysteresis() {
        let latency = Latency::default();
        latency.set_live(true);
        for (p99, again, reported) in [
            (0.2, true, 1),
            (0.9, false, 1),
            (19.1, true, 22),
            (21.9, false, 22),
            (12.0, false, 22),
            (22.5, true, 25),
            (9.0, true, 9),
            (9.0, false, 9),
        ] {
            assert_eq!(latency.measured(p99), again, "p99 {p99}");
            assert_eq!(latency.reported().mseconds(), reported, "p99 {p99}");
        }
    }

    #[test]
    fn frames_of_an_earlier_size_do_not_count() {
        let latency = Latency::default();
        latency.set_live(true);
        let report = Report::default();
        let take = |frames: u64, ms: u64| {
            let again = (0..frames).map(|_| latency.add(&report, Duration::from_millis(ms)));
            (again.filter(|again| *again).count(), latency.reported().mseconds())
        };
        assert!(latency.begin(Duration::from_millis(10)));
        assert_eq!(take(100, 10), (0, 11));
        // A larger size, and back to the smaller one.
        assert!(latency.begin(Duration::from_millis(40)));
        assert_eq!(take(100, 40), (0, 44));
        assert!(latency.begin(Duration::from_millis(10)));
        assert_eq!(take(100, 10), (0, 11));
    }

    #[test]
    fn frames_held_back_add_to_it() {
        let latency = Latency::default();
        let frame = gst::ClockTime::from_mseconds(40);
        latency.measured(10.0);
        for (live, held, again) in [
            (false, frame, false),
            (true, frame, false),
            (true, frame * 2, true),
            (true, gst::ClockTime::ZERO, true),
            (true, gst::ClockTime::ZERO, false),
        ] {
            latency.set_live(live);
            assert_eq!(latency.hold(held), again, "live {live}, {held}");
            assert_eq!(latency.reported(), gst::ClockTime::from_mseconds(11) + held);
        }
        latency.hold(frame);
        latency.reset();
        assert!(latency.reported().is_zero());
    }

    #[test]
    fn asks_for_nothing_where_nothing_is_live() {
        let latency = Latency::default();
        assert!(!latency.measured(40.0));
        assert_eq!(latency.reported().mseconds(), 44);
        latency.reset();
        assert!(latency.reported().is_zero());
    }
}
