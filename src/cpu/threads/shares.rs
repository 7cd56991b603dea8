//! The tasks of a job, divided among threads: neighbours go to the same thread in every job.
//!
//! Tasks are strips of a frame, from top to bottom. A thread reads what it has written itself where it works on the same
//! rows in every pass over the frame; between two cores that share no cache, reading a line that the other one wrote takes
//! several times as long as reading memory. The upper half of the threads work downwards, the others upwards, so that
//! both end in the middle, where [`GroupSchedule`](crate::cpu::engine) begins.

use std::sync::atomic::{AtomicU64, Ordering};

/// Most runs of neighbours that tasks are divided into; more threads share them.
const MOST: usize = 32;

/// What is left of each thread's tasks.
pub struct Shares {
    /// The first task that is left, and in the upper bits the one behind the last.
    runs: [AtomicU64; MOST],
    count: usize,
}

impl Shares {
    /// Tasks `0..tasks`, at most 2³² of them, for `threads` threads.
    pub fn new(tasks: usize, threads: usize) -> Self {
        let count = threads.clamp(1, MOST);
        let place = |i: usize| (tasks as u64 * i.min(count) as u64) / count as u64;
        Self {
            runs: std::array::from_fn(|i| AtomicU64::new(place(i) | place(i + 1) << 32)),
            count,
        }
    }

    /// Takes a task for thread number `thread`: the next one of its own, or of the others' the one that they would come to
    /// last; none if all are taken.
    pub fn take(&self, thread: usize) -> Option<usize> {
        let own = thread % self.count;
        if let Some(task) = self.next(own, self.downwards(own)) {
            return Some(task);
        }
        loop {
            let left = |&run: &usize| {
                let (first, end) = unpack(self.runs[run].load(Ordering::Relaxed));
                end - first
            };
            let longest = (0..self.count).max_by_key(left).filter(|run| left(run) > 0)?;
            if let Some(task) = self.next(longest, !self.downwards(longest)) {
                return Some(task);
            }
        }
    }

    /// Whether tasks are left.
    pub fn any_left(&self) -> bool {
        let mut runs = self.runs[..self.count].iter().map(|run| run.load(Ordering::Relaxed));
        runs.any(|run| unpack(run).0 < unpack(run).1)
    }

    fn downwards(&self, run: usize) -> bool {
        2 * run < self.count
    }

    /// Takes the first or the last task of a run.
    fn next(&self, run: usize, first_one: bool) -> Option<usize> {
        // Only which thread has which task is decided here: what tasks write is handed over by the job.
        let taken = self.runs[run].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |run| {
            let (first, end) = unpack(run);
            match first_one {
                _ if first >= end => None,
                true => Some((first + 1) | end << 32),
                false => Some(first | (end - 1) << 32),
            }
        });
        let (first, end) = unpack(taken.ok()?);
        Some(if first_one { first } else { end - 1 } as usize)
    }
}

/// The first task of a run and the one behind its last.
fn unpack(run: u64) -> (u64, u64) {
    (run & u64::from(u32::MAX), run >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_taken_once_by_whoever_takes_it() {
        for (tasks, threads) in [(0, 2), (1, 2), (7, 1), (10, 3), (1000, 64), (33, 32)] {
            let shares = Shares::new(tasks, threads);
            let mut seen = vec![0; tasks];
            // Some threads take more than others, and one takes nothing.
            let mut turn = 1u32;
            while shares.any_left() {
                turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let thread = (turn >> 16) as usize % threads.max(2);
                if thread != 1 || threads == 1 {
                    seen[shares.take(thread).unwrap()] += 1;
                }
            }
            assert_eq!(shares.take(0), None);
            assert!(
                seen.iter().all(|&s| s == 1),
                "{tasks} tasks, {threads} threads: {seen:?}"
            );
        }
    }

    /// Two threads meet in the middle, and whoever is there first helps the other one from there.
    #[test]
    fn threads_have_halves_and_meet_in_the_middle() {
        let shares = Shares::new(8, 2);
        let taken = [0, 1, 0, 1, 0, 0, 0, 0].map(|thread| shares.take(thread).unwrap());
        assert_eq!(taken, [0, 7, 1, 6, 2, 3, 4, 5]);
    }
}
