//! The deadline: which rung of a ladder from full quality to none a frame is made on, so that it is done in time.
//!
//! A frame goes through the networks at its own size, on a copy of a third or an eighth of its pixels, or not at all. One
//! rung down where the 90th percentile of a second is beyond the deadline; as many as it takes where frames are far beyond
//! it; one up where it would stay under it by what the rungs cost. After a step up that did not hold, the next waits longer.

use std::collections::VecDeque;
use std::time::Duration;

/// The cost of each rung that makes a picture, against the first, until it is measured.
const COSTS: [f32; 3] = [1.0, 0.6, 0.4];
/// Of so many pixels of a frame one goes through the networks.
const PARTS: [usize; COSTS.len()] = [1, 3, 8];
/// The least that a measured cost is taken for: a trial frame may meet an idle moment.
const LEAST_COST: f32 = 0.1;
/// The rung on which frames go through untouched.
const UNTOUCHED: usize = COSTS.len();
/// Frames are looked at for this long.
const WINDOW: Duration = Duration::from_secs(1);
/// So many frames say that a rung is too slow, and so many right after a step up.
const FRAMES: usize = 5;
const FRAMES_ON_TRIAL: usize = 2;
/// Frames that take more than this many deadlines say so sooner: so many in a row, and so many right after a step up.
const FAR: f32 = 1.5;
const FRAMES_FAR: usize = 2;
const FRAMES_FAR_ON_TRIAL: usize = 1;
/// A step up is on trial for this long.
const TRIAL: Duration = Duration::from_millis(600);
/// A step up is taken where the frame would need this share of the deadline at most.
const ROOM: f32 = 0.8;
/// How long a rung is kept before a step up: at first, and at most after steps that did not hold.
const WAIT: Duration = Duration::from_millis(700);
const LONGEST_WAIT: Duration = Duration::from_millis(2800);

/// A step that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RungStep {
    pub rung: usize,
    /// The 90th percentile of the frames before, if any were made.
    pub p90: Option<Duration>,
}

/// The rung that frames are made on.
#[derive(Debug, Clone)]
pub(super) struct Ladder {
    rung: usize,
    /// When a frame was done, and how long it took; of this rung alone.
    times: VecDeque<(Duration, Duration)>,
    /// When the rung was taken, and whether from below.
    since: Duration,
    on_trial: bool,
    wait: Duration,
    costs: [f32; UNTOUCHED],
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            rung: 0,
            times: VecDeque::with_capacity(128),
            since: Duration::ZERO,
            on_trial: false,
            wait: WAIT,
            costs: COSTS,
        }
    }
}

impl Ladder {
    pub fn rung(&self) -> usize {
        self.rung
    }

    /// Whether frames go through untouched.
    pub fn is_untouched(&self) -> bool {
        self.rung == UNTOUCHED
    }

    /// How many of `pixels` go through the networks on `rung`; 0 is all.
    pub fn pixels(rung: usize, pixels: usize) -> usize {
        match rung {
            0 => 0,
            rung => (pixels / PARTS[rung.min(UNTOUCHED - 1)]).max(1),
        }
    }

    /// How many rungs make a picture.
    pub const RUNGS: usize = UNTOUCHED;

    /// Begins where a trial frame of each rung says that frames are done in time. No rung costs more than the one above.
    pub fn begin(&mut self, trials: [Duration; UNTOUCHED], deadline: Duration) {
        let full = trials[0].as_secs_f32().max(1e-6);
        let mut most = 1.0f32;
        let costs = trials.map(|trial| {
            most = (trial.as_secs_f32() / full).clamp(LEAST_COST, most);
            most
        });
        let fits = |trial: &Duration| *trial <= deadline;
        // The last rung that makes a picture is worth a try.
        let rung = trials.iter().position(fits).unwrap_or(UNTOUCHED - 1);
        *self = Self {
            rung,
            costs,
            ..Self::default()
        };
    }

    /// Goes back to the first rung; what it was if it was another.
    pub fn release(&mut self, now: Duration) -> Option<RungStep> {
        let p90 = self.p90();
        (self.rung > 0).then(|| self.step(0, now, p90))
    }

    /// A frame is done at `now`, after `time`, or went through untouched.
    pub fn add(&mut self, now: Duration, time: Option<Duration>, deadline: Duration, few: bool) -> Option<RungStep> {
        if let Some(time) = time {
            self.times.push_back((now, time));
        }
        while self.times.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.times.pop_front();
        }
        let kept = now.saturating_sub(self.since);
        if self.on_trial && kept > TRIAL {
            self.on_trial = false;
            self.wait = WAIT;
        }
        let p90 = self.p90();
        if let Some(time) = self.far_beyond(deadline).filter(|_| self.rung < UNTOUCHED) {
            self.wait_longer_after_a_trial();
            // The first rung below that would be in time.
            let fits = |rung: &usize| time.mul_f32(self.costs[*rung] / self.costs[self.rung]) <= deadline;
            let down = (self.rung + 1..UNTOUCHED).find(fits).unwrap_or(UNTOUCHED);
            return Some(self.step(if few { UNTOUCHED } else { down }, now, p90));
        }
        let enough = if self.on_trial { FRAMES_ON_TRIAL } else { FRAMES };
        if let Some(p90) = p90.filter(|p90| *p90 > deadline && self.times.len() >= enough)
            && self.rung < UNTOUCHED
        {
            self.wait_longer_after_a_trial();
            return Some(self.step(if few { UNTOUCHED } else { self.rung + 1 }, now, Some(p90)));
        }
        if self.rung > 0 && kept >= self.wait {
            let up = if few { 0 } else { self.rung - 1 };
            let fits = match p90 {
                Some(p90) if !self.is_untouched() => {
                    p90.mul_f32(self.costs[up] / self.costs[self.rung]) <= deadline.mul_f32(ROOM)
                }
                // Nothing tells but a try.
                _ => self.is_untouched(),
            };
            if fits {
                let taken = self.step(up, now, p90);
                self.on_trial = true;
                return Some(taken);
            }
        }
        None
    }

    /// The least that the latest frames took, if they are far beyond the deadline.
    fn far_beyond(&self, deadline: Duration) -> Option<Duration> {
        let enough = if self.on_trial { FRAMES_FAR_ON_TRIAL } else { FRAMES_FAR };
        let latest = self.times.iter().rev().take(enough).map(|(_, time)| *time);
        let least = latest.clone().min().filter(|_| latest.len() == enough)?;
        (least > deadline.mul_f32(FAR)).then_some(least)
    }

    fn wait_longer_after_a_trial(&mut self) {
        if self.on_trial {
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
    }

    fn step(&mut self, rung: usize, now: Duration, p90: Option<Duration>) -> RungStep {
        self.rung = rung;
        self.since = now;
        self.on_trial = false;
        self.times.clear();
        RungStep { rung, p90 }
    }

    fn p90(&self) -> Option<Duration> {
        let mut times: Vec<_> = self.times.iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        times.get((times.len() * 9).div_ceil(10).saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(33);
    const DEADLINE: Duration = Duration::from_millis(30);

    /// Plays frames from `from` to `to` seconds on a machine on which the first rung takes that many milliseconds.
    fn play(ladder: &mut Ladder, from: f32, to: f32, full: f32) -> Vec<(f32, usize)> {
        let (mut now, end) = (Duration::from_secs_f32(from), Duration::from_secs_f32(to));
        let mut steps = vec![];
        while now < end {
            now += FRAME;
            let time = COSTS
                .get(ladder.rung())
                .map(|cost| Duration::from_secs_f32(cost * full / 1e3));
            if let Some(step) = ladder.add(now, time, DEADLINE, false) {
                assert_eq!(step.rung, ladder.rung());
                steps.push((now.as_secs_f32(), step.rung));
            }
        }
        steps
    }

    #[test]
    fn a_machine_that_is_fast_enough_stays_at_the_top() {
        let mut ladder = Ladder::default();
        assert_eq!(play(&mut ladder, 0.0, 60.0, 29.0), []);
    }

    #[test]
    fn a_load_that_comes_and_goes_is_followed_down_and_up() {
        let mut ladder = Ladder::default();
        assert_eq!(play(&mut ladder, 0.0, 10.0, 20.0), []);
        let down = play(&mut ladder, 10.0, 20.0, 45.0);
        assert_eq!(down.len(), 1, "{down:?}");
        assert!(down[0].1 == 1 && down[0].0 < 11.1, "{down:?}");
        // Much slower: the machine can do nothing at all in time. Two frames say so, and a try of one frame now and then.
        let none = play(&mut ladder, 20.0, 60.0, 200.0);
        assert!(none[0].1 == UNTOUCHED && none[0].0 < 20.1, "{none:?}");
        let tries = none[1..].chunks(2);
        assert!(
            tries
                .clone()
                .all(|t| t[0].1 == 2 && (t.len() == 1 || t[1].0 - t[0].0 < 0.04)),
            "{none:?}"
        );
        assert!(none.len() < 36, "{none:?}");
        let up = play(&mut ladder, 60.0, 70.0, 20.0);
        assert_eq!(ladder.rung(), 0);
        assert!(up.last().unwrap().0 < 65.0, "five seconds after the load's end: {up:?}");
    }

    /// A single frame that another process held up changes nothing.
    #[test]
    fn one_late_frame_is_no_reason() {
        let mut ladder = Ladder::default();
        for i in 1..200 {
            let time = if i % 20 == 0 { DEADLINE * 4 } else { DEADLINE / 2 };
            assert_eq!(ladder.add(FRAME * i, Some(time), DEADLINE, false), None);
        }
    }

    #[test]
    fn between_two_rungs_it_does_not_swing() {
        let mut ladder = Ladder::default();
        let steps = play(&mut ladder, 0.0, 60.0, 33.0);
        assert_eq!(steps.len(), 1, "{steps:?}");
    }

    #[test]
    fn trial_frames_say_where_to_begin() {
        let mut ladder = Ladder::default();
        for (trials, rung) in [
            ([10, 6, 4], 0),
            ([30, 20, 10], 0),
            ([45, 27, 18], 1),
            ([70, 42, 28], 2),
            ([500, 300, 200], 2),
        ] {
            ladder.begin(trials.map(Duration::from_millis), DEADLINE);
            assert_eq!(ladder.rung(), rung, "{trials:?} ms");
        }
        assert!(ladder.release(FRAME).is_some_and(|step| step.rung == 0));
        assert_eq!(ladder.release(FRAME), None);
    }

    /// Where frames are small, a copy of an eighth of the pixels may save next to nothing.
    #[test]
    fn rungs_that_cost_the_same_are_climbed_after_the_load() {
        let mut ladder = Ladder::default();
        ladder.begin([17, 18, 16].map(Duration::from_millis), DEADLINE);
        let mut now = Duration::ZERO;
        for (frames, time) in [(60, 40), (150, 17)] {
            for _ in 0..frames {
                now += FRAME;
                let time = (!ladder.is_untouched()).then_some(Duration::from_millis(time));
                ladder.add(now, time, DEADLINE, false);
            }
        }
        assert_eq!(ladder.rung(), 0);
    }

    #[test]
    fn with_few_rungs_there_is_all_or_nothing() {
        let mut ladder = Ladder::default();
        let slow = Some(DEADLINE * 2);
        let step = (1..20).find_map(|i| ladder.add(FRAME * i, slow, DEADLINE, true));
        assert_eq!(step.map(|s| s.rung), Some(UNTOUCHED));
        let step = (20..60).find_map(|i| ladder.add(FRAME * i, None, DEADLINE, true));
        assert_eq!(step.map(|s| s.rung), Some(0));
    }

    #[test]
    fn rungs_are_parts_of_the_pixels() {
        assert_eq!([0, 1, 2].map(|rung| Ladder::pixels(rung, 1000)), [0, 333, 125]);
    }
}
