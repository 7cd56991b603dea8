//! The order in which the tasks of several steps are executed.
//!
//! A step that works row by row need not wait for the end of the step before it. It may start a row as soon as the step
//! before has completed that row and as many rows beyond it as either of the two steps reads beyond its own. By
//! induction every earlier step is further ahead still, so whatever a step reads is there, and whatever it overwrites
//! has been read. A thread takes a task of the last step that can proceed, so that values are used while they are in
//! the caches. The threads meet once for the whole group.
//!
//! Several threads begin in the middle of the frame. The first half of them work upwards, the others downwards, and a thread
//! changes sides only when it has no task on its own. So a thread reads what it has written itself, except for rows in
//! the middle. Between two cores that share no cache, reading a line that the other core wrote takes several times as
//! long as reading memory.
//!
//! A thread that cannot proceed looks for a task for some 100 µs, since the task that it waits for is usually nearly
//! done. Then it sleeps until a task has ended, so that it takes no processor time from the thread that it waits for.

use std::sync::{Condvar, Mutex, MutexGuard};

/// How a step is divided into tasks: items in the order of the frame's rows, several to a row, several to a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// Items in a row of items: tiles, or 1 where a task takes whole rows.
    pub across: usize,
    /// All items.
    pub items: usize,
    /// Items that a task takes.
    pub per_task: usize,
    /// The height of an item, in rows of the frame.
    pub tall: usize,
    /// How many rows of the frame beyond its own an item reads; at least the height of a pixel of the step's image.
    pub reach: usize,
}

impl Extent {
    /// No tasks.
    pub const NONE: Self = Self {
        across: 1,
        items: 0,
        per_task: 1,
        tall: 0,
        reach: 0,
    };

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.items.div_ceil(self.per_task)
    }

    /// The rows of the frame that are complete once tasks `first..last` are: where they begin and end.
    fn complete(&self, first: usize, last: usize) -> (usize, usize) {
        let begin = (first * self.per_task).div_ceil(self.across) * self.tall;
        if last >= self.tasks() {
            return (begin, usize::MAX);
        }
        (begin, last * self.per_task / self.across * self.tall)
    }

    /// Where the rows of a task begin.
    fn begin(&self, task: usize) -> usize {
        task * self.per_task / self.across * self.tall
    }

    /// Where the rows of a task end.
    fn end(&self, task: usize) -> usize {
        let last = (self.items).min((task + 1) * self.per_task) - 1;
        (last / self.across + 1) * self.tall
    }
}

/// What a thread does next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Next {
    /// A task of a step.
    Task { step: usize, task: usize },
    /// Nothing until another thread has ended its task.
    Wait,
    /// All tasks have been taken.
    End,
}

/// How often a thread looks for a task before it sleeps, which takes some 100 µs.
const SPINS: u32 = 1000;

/// Which tasks of a group of steps have been taken, and by whom.
pub struct GroupSchedule {
    state: Mutex<State>,
    /// A task has ended, or none is left, while some thread slept.
    changed: Condvar,
}

struct State {
    /// For each step, the range of tasks that have been taken.
    taken: Vec<(usize, usize)>,
    /// For each thread, the step and task that it works on.
    busy: Vec<Option<(usize, usize)>>,
    /// The first step that has tasks left.
    first: usize,
    /// Threads of the group; work begins in the middle if there are several.
    threads: usize,
    /// A task has panicked, so the group ends.
    failed: bool,
    /// Threads that sleep until something changes.
    asleep: usize,
}

impl GroupSchedule {
    /// For groups of at most `steps` steps, and `threads` threads.
    pub fn new(steps: usize, threads: usize) -> Self {
        Self {
            state: Mutex::new(State {
                taken: vec![(0, 0); steps],
                busy: vec![None; threads],
                first: 0,
                threads: 1,
                failed: false,
                asleep: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Begins a group, for `threads` threads.
    pub fn begin(&self, extents: &[Extent], threads: usize) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.threads = threads;
        for (step, extent) in extents.iter().enumerate() {
            let middle = state.middle(extent);
            state.taken[step] = (middle, middle);
        }
        state.busy.fill(None);
        state.first = 0;
        state.failed = false;
    }

    /// Works on the group as its thread number `thread`: calls `work` with the step and number of one task after the
    /// other, until none is left. A panic of `work` ends the group for all threads.
    pub fn work(&self, extents: &[Extent], thread: usize, mut work: impl FnMut(usize, usize)) {
        let _guard = FailOnPanic(self);
        while let Some((step, task)) = self.next(extents, thread) {
            work(step, task);
        }
    }

    /// Marks the last task of `thread` as done, waits until another can be taken, and takes it; none if all are taken.
    fn next(&self, extents: &[Extent], thread: usize) -> Option<(usize, usize)> {
        for _ in 0..SPINS {
            match self.try_next(extents, thread) {
                Next::Task { step, task } => return Some((step, task)),
                Next::End => return None,
                Next::Wait => std::hint::spin_loop(),
            }
        }
        let mut state = self.lock();
        loop {
            // The state is checked and the sleep begun under one lock, so no change is missed.
            match state.next(extents, thread) {
                Next::Task { step, task } => {
                    self.wake(&state, extents, false);
                    return Some((step, task));
                }
                Next::End => return None,
                Next::Wait => {
                    state.asleep += 1;
                    state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
                    state.asleep -= 1;
                }
            }
        }
    }

    /// Marks the last task of `thread` as done, and takes another one for it.
    fn try_next(&self, extents: &[Extent], thread: usize) -> Next {
        let mut state = self.lock();
        let ended = state.busy[thread].is_some();
        let next = state.next(extents, thread);
        self.wake(&state, extents, ended);
        next
    }

    /// Wakes the sleeping threads if a task has `ended` or none is left.
    fn wake(&self, state: &State, extents: &[Extent], ended: bool) {
        if state.asleep > 0 && (ended || state.none_left(extents)) {
            self.changed.notify_all();
        }
    }
}

/// Ends the group for all threads if this one panics, so that none waits for its task.
struct FailOnPanic<'a>(&'a GroupSchedule);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().failed = true;
            self.0.changed.notify_all();
        }
    }
}

impl State {
    /// Marks the last task of `thread` as done, and takes another one for it.
    fn next(&mut self, extents: &[Extent], thread: usize) -> Next {
        self.busy[thread] = None;
        while self.first < extents.len() && self.all_taken(extents, self.first) {
            self.first += 1;
        }
        if self.failed || self.first >= extents.len() {
            return Next::End;
        }
        let steps = self.first..extents.len();
        let own = 2 * thread < self.threads;
        let found = [own, !own].into_iter().find_map(|up| {
            let ready = |&step: &usize| self.ready(extents, step, up);
            steps.clone().rev().find(ready).map(|step| (step, up))
        });
        let Some((step, up)) = found else { return Next::Wait };
        let (first, last) = &mut self.taken[step];
        let task = if up {
            *first -= 1;
            *first
        } else {
            *last += 1;
            *last - 1
        };
        self.busy[thread] = Some((step, task));
        Next::Task { step, task }
    }

    /// Whether all tasks of a step have been taken.
    fn all_taken(&self, extents: &[Extent], step: usize) -> bool {
        self.taken[step] == (0, extents[step].tasks())
    }

    /// Whether all tasks of all steps have been taken.
    fn none_left(&self, extents: &[Extent]) -> bool {
        (self.first..extents.len()).all(|step| self.all_taken(extents, step))
    }

    /// The first task of a step.
    fn middle(&self, extent: &Extent) -> usize {
        if self.threads > 1 { extent.tasks() / 2 } else { 0 }
    }

    /// Whether the next task of a step, upwards or downwards, can be taken.
    fn ready(&self, extents: &[Extent], step: usize, up: bool) -> bool {
        let (extent, (first, last)) = (&extents[step], self.taken[step]);
        let task = match up {
            true if first == 0 => return false,
            true => first - 1,
            false if last >= extent.tasks() => return false,
            false => last,
        };
        if step == 0 {
            return true;
        }
        let before = &extents[step - 1];
        let (mut first, mut last) = self.taken[step - 1];
        let middle = self.middle(before);
        for &(_, at) in self.busy.iter().flatten().filter(|b| b.0 + 1 == step) {
            if at < middle {
                first = first.max(at + 1);
            } else {
                last = last.min(at);
            }
        }
        let (begin, end) = before.complete(first, last);
        let reach = extent.reach.max(before.reach);
        begin <= extent.begin(task).saturating_sub(reach) && end >= extent.end(task).saturating_add(reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(across: usize, rows: usize, per_task: usize, tall: usize, reach: usize) -> Extent {
        Extent {
            across,
            items: across * rows,
            per_task,
            tall,
            reach,
        }
    }

    #[test]
    fn a_panic_ends_the_group() {
        let extents = [extent(1, 48, 5, 1, 1), extent(1, 48, 48, 1, 1)];
        let schedule = GroupSchedule::new(2, 2);
        schedule.begin(&extents, 1);
        let panicking = std::panic::AssertUnwindSafe(|| schedule.work(&extents, 0, |_, _| panic!("a task")));
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert_eq!(schedule.try_next(&extents, 1), Next::End);
        schedule.begin(&extents, 1);
        assert_eq!(schedule.try_next(&extents, 1), Next::Task { step: 0, task: 0 });
    }

    /// A thread that waits for the rows of another sleeps; it wakes when they are there, and when the other panics.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_waits_for_another_sleeps() {
        use std::time::Duration;

        use crate::cpu::threads::thread_time;

        const HELD: Duration = Duration::from_millis(400);
        for panics in [false, true] {
            // The second step's only task reads all of the first step's.
            let extents = [extent(1, 48, 48, 1, 1), extent(1, 48, 48, 1, 1)];
            let schedule = GroupSchedule::new(2, 2);
            schedule.begin(&extents, 2);
            let (taken, wait_for_taken) = std::sync::mpsc::channel();
            std::thread::scope(|s| {
                let holder = s.spawn(|| {
                    schedule.work(&extents, 0, |step, _| {
                        if step == 0 {
                            taken.send(()).unwrap();
                            std::thread::sleep(HELD);
                            assert!(!panics, "a task");
                        }
                    });
                });
                wait_for_taken.recv().unwrap();
                let (before, begin) = (thread_time(), std::time::Instant::now());
                let mut steps = vec![];
                schedule.work(&extents, 1, |step, _| steps.push(step));
                let (used, waited) = (thread_time() - before, begin.elapsed());
                assert_eq!(holder.join().is_err(), panics);
                println!("panics: {panics}, waited {waited:?}, used {used:?} of the processor");
                assert!(waited > HELD / 2, "it did not wait: {waited:?}");
                assert!(used < HELD / 10, "it used {used:?} of the processor in {waited:?}");
                assert!(steps.iter().all(|&s| s == 1), "{steps:?}");
            });
        }
    }

    /// Threads that sleep and wake at random moments take every task once, and none waits forever.
    #[test]
    fn sleepers_are_never_forgotten() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        let extents = [extent(1, 24, 4, 1, 2), extent(1, 24, 5, 1, 1), extent(1, 24, 24, 1, 1)];
        let schedule = GroupSchedule::new(3, 3);
        let count = AtomicUsize::new(0);
        let total: usize = extents.iter().map(Extent::tasks).sum();
        for round in 0..30 {
            schedule.begin(&extents, 3);
            std::thread::scope(|s| {
                for thread in 0..3 {
                    let (schedule, count) = (&schedule, &count);
                    s.spawn(move || {
                        schedule.work(&extents, thread, |_, task| {
                            // Longer than a thread looks, so that the others sleep.
                            if (task + thread + round) % 4 == 0 {
                                std::thread::sleep(std::time::Duration::from_millis(2));
                            }
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                }
            });
            assert_eq!(count.swap(0, Ordering::Relaxed), total, "round {round}");
        }
    }

    /// Two threads that take turns read what they wrote themselves, except around the middle.
    #[test]
    fn threads_keep_to_their_halves() {
        let extents = [extent(1, 48, 1, 1, 1); 3];
        let schedule = GroupSchedule::new(3, 2);
        schedule.begin(&extents, 2);
        let mut away = 0;
        for turn in 0.. {
            match schedule.try_next(&extents, turn % 2) {
                Next::Task { task, .. } => away += usize::from((task < 24) != (turn % 2 == 0)),
                Next::Wait => continue,
                Next::End => break,
            }
        }
        assert!(away <= 6, "{away} of 144 tasks went to the other half's thread");
    }

    /// In any order of threads, a task is taken only after all that it reads is done, and every task is taken once.
    #[test]
    fn no_task_runs_ahead_of_what_it_reads() {
        let extents = [
            extent(1, 48, 5, 1, 1),
            extent(7, 12, 3, 4, 2),
            extent(7, 12, 4, 4, 2),
            extent(1, 6, 1, 8, 8),
            extent(1, 48, 100, 1, 1),
        ];
        let schedule = GroupSchedule::new(8, 3);
        let mut random = 1u32;
        for round in 0..60 {
            schedule.begin(&extents, 1 + round % 3);
            // For each step, the tasks that are done.
            let mut ended: Vec<Vec<bool>> = extents.iter().map(|e| vec![false; e.tasks()]).collect();
            let mut at: [Next; 3] = [Next::Wait; 3];
            let mut handed = 0;
            while at != [Next::End; 3] {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let thread = (random >> 16) as usize % 3;
                if let Next::Task { step, task } = at[thread] {
                    ended[step][task] = true;
                }
                at[thread] = schedule.try_next(&extents, thread);
                let Next::Task { step, task } = at[thread] else {
                    continue;
                };
                handed += 1;
                for (s, e) in extents.iter().enumerate().take(step) {
                    let reach = extents[step].reach.max(e.reach);
                    let rows =
                        extents[step].begin(task).saturating_sub(reach)..(extents[step].end(task) + reach).min(48);
                    for (t, &done) in ended[s].iter().enumerate() {
                        assert!(
                            done || e.begin(t) >= rows.end || e.end(t) <= rows.start,
                            "step {step} task {task} before step {s} task {t}"
                        );
                    }
                }
            }
            assert_eq!(handed, extents.iter().map(Extent::tasks).sum::<usize>());
            assert!(ended.iter().flatten().all(|&e| e));
        }
    }
}
