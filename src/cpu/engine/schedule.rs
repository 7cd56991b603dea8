//! The order in which the tasks of several steps are done.
//!
//! Steps that work row by row need not wait for one another to end: a step may take up a row as soon as the step before
//! it has passed that row by as many rows as either of them reads beyond its own. By induction every earlier step is
//! further ahead still, so whatever a step reads is there, and whatever it writes over has been read. Threads take the
//! last step that may go on, so that values are used while they are in the caches, and meet once for the whole group.
//!
//! Several threads begin in the middle of the frame: one half of them goes up, the other half down, and each helps the
//! other only when it has nothing of its own. So what a thread reads was written by the same one, but for rows in the
//! middle. Where two cores share no cache, a line that the other one wrote is several times as far as memory of one's own.

use std::sync::{Mutex, MutexGuard};

/// How a step is cut into tasks: rows of the frame in order, several items to a row, several items to a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// Items in a row of items: tiles, or 1 where a task takes whole rows.
    pub across: usize,
    /// All items.
    pub items: usize,
    /// Items that a task takes.
    pub per_task: usize,
    /// Rows of the frame that an item is high.
    pub tall: usize,
    /// Rows of the frame beyond its own that an item reads; at least one pixel's of the step's grid.
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

    /// The rows of the frame that are complete once tasks `first` up to `last` are, as their begin and end.
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
pub enum Next {
    /// A task of a step.
    Task { step: usize, task: usize },
    /// Nothing until another thread has ended its task.
    Wait,
    /// All tasks have been taken.
    End,
}

/// The progress of a group of steps.
pub struct Front {
    state: Mutex<State>,
}

struct State {
    /// Of each step, the tasks that have been taken: from the first of them up to, not including, the last.
    taken: Vec<(usize, usize)>,
    /// Of each thread, the step and task that it is at.
    busy: Vec<Option<(usize, usize)>>,
    /// The first step that has tasks left.
    first: usize,
    /// Work begins in the middle.
    halves: bool,
    /// A task has panicked: the others end.
    failed: bool,
}

impl Front {
    /// For groups of at most `steps` steps, and `threads` threads.
    pub fn new(steps: usize, threads: usize) -> Self {
        Self {
            state: Mutex::new(State {
                taken: vec![(0, 0); steps],
                busy: vec![None; threads],
                first: 0,
                halves: false,
                failed: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Begins a group, for `threads` threads.
    pub fn begin(&self, extents: &[Extent], threads: usize) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.halves = threads > 1;
        for (step, extent) in extents.iter().enumerate() {
            let middle = state.middle(extent);
            state.taken[step] = (middle, middle);
        }
        state.busy.fill(None);
        state.first = 0;
        state.failed = false;
    }

    /// Ends the group for all threads if this one panics before the result is dropped: no one waits for its task.
    pub fn watch(&self) -> Watch<'_> {
        Watch(self)
    }

    /// Ends the task that `thread` was at, and gives it another of the steps `extents`.
    pub fn next(&self, extents: &[Extent], thread: usize) -> Next {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.busy[thread] = None;
        while state.first < extents.len() && state.taken[state.first] == (0, extents[state.first].tasks()) {
            state.first += 1;
        }
        if state.failed || state.first >= extents.len() {
            return Next::End;
        }
        let steps = state.first..extents.len();
        let own = thread.is_multiple_of(2);
        let found = [own, !own].into_iter().find_map(|up| {
            let ready = |&step: &usize| state.ready(extents, step, up);
            steps.clone().rev().find(ready).map(|step| (step, up))
        });
        let Some((step, up)) = found else { return Next::Wait };
        let (first, last) = &mut state.taken[step];
        let task = if up {
            *first -= 1;
            *first
        } else {
            *last += 1;
            *last - 1
        };
        state.busy[thread] = Some((step, task));
        Next::Task { step, task }
    }
}

/// See [`Front::watch`].
pub struct Watch<'a>(&'a Front);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().failed = true;
        }
    }
}

impl State {
    /// The task of a step that work begins at.
    fn middle(&self, extent: &Extent) -> usize {
        if self.halves { extent.tasks() / 2 } else { 0 }
    }

    /// Whether the next task of a step, upwards or downwards, may be taken.
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
        let front = Front::new(2, 2);
        front.begin(&extents, 1);
        assert_eq!(front.next(&extents, 0), Next::Task { step: 0, task: 0 });
        let panicking = std::panic::AssertUnwindSafe(|| {
            let _watch = front.watch();
            panic!("a task");
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert_eq!(front.next(&extents, 1), Next::End);
        front.begin(&extents, 1);
        assert_eq!(front.next(&extents, 1), Next::Task { step: 0, task: 0 });
    }

    /// Two threads that take turns read what they wrote themselves, but for what the middle asks of the other half.
    #[test]
    fn threads_keep_to_their_halves() {
        let extents = [extent(1, 48, 1, 1, 1); 3];
        let front = Front::new(3, 2);
        front.begin(&extents, 2);
        let mut away = 0;
        for turn in 0.. {
            match front.next(&extents, turn % 2) {
                Next::Task { task, .. } => away += usize::from((task < 24) != (turn % 2 == 0)),
                Next::Wait => continue,
                Next::End => break,
            }
        }
        assert!(away <= 6, "{away} of 144 tasks went to the other half's thread");
    }

    /// Whichever thread is fast: no task is handed out before all that it may read, and all are handed out once.
    #[test]
    fn no_task_runs_ahead_of_what_it_reads() {
        let extents = [
            extent(1, 48, 5, 1, 1),
            extent(7, 12, 3, 4, 2),
            extent(7, 12, 4, 4, 2),
            extent(1, 6, 1, 8, 8),
            extent(1, 48, 100, 1, 1),
        ];
        let front = Front::new(8, 3);
        let mut random = 1u32;
        for round in 0..60 {
            front.begin(&extents, 1 + round % 3);
            // Of each step, the rows that are done.
            let mut ended: Vec<Vec<bool>> = extents.iter().map(|e| vec![false; e.tasks()]).collect();
            let mut at: [Next; 3] = [Next::Wait; 3];
            let mut handed = 0;
            while at != [Next::End; 3] {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let thread = (random >> 16) as usize % 3;
                if let Next::Task { step, task } = at[thread] {
                    ended[step][task] = true;
                }
                at[thread] = front.next(&extents, thread);
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
