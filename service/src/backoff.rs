//! When a camera that is not there is called again.

use std::time::Duration;

/// Waiting times: the first, the longest in the first minute, and the longest after it.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST_EARLY: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(15);
const EARLY: Duration = Duration::from_secs(60);
/// After a refusal, which more calls would turn into a lock-out.
pub const REFUSED: Duration = Duration::from_secs(180);
/// After a stream that cannot be used.
pub const UNUSABLE: Duration = Duration::from_secs(60);

/// Doubles the waiting time from call to call.
#[derive(Debug, Default)]
pub struct Backoff {
    next: Option<Duration>,
    lost_since: Option<Duration>,
}

impl Backoff {
    /// The camera sends: the next loss begins anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// A call failed at `now`; how long to wait.
    pub fn wait(&mut self, now: Duration) -> Duration {
        let since = *self.lost_since.get_or_insert(now);
        let most = if now.saturating_sub(since) < EARLY {
            LONGEST_EARLY
        } else {
            LONGEST
        };
        let wait = self.next.unwrap_or(FIRST);
        self.next = Some((wait * 2).min(most));
        wait.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_in_the_first_minute_and_to_fifteen_after_it() {
        let (mut backoff, mut now, mut waits) = (Backoff::default(), Duration::ZERO, vec![]);
        while now < Duration::from_secs(120) {
            let wait = backoff.wait(now).as_secs();
            assert!(wait <= if now < EARLY { 5 } else { 15 }, "{wait} s at {now:?}");
            waits.push(wait);
            now += Duration::from_secs(wait);
        }
        assert_eq!((&waits[..4], waits.last()), (&[1, 2, 4, 5][..], Some(&15)), "{waits:?}");
        backoff.reset();
        assert_eq!(backoff.wait(now), FIRST);
    }
}
