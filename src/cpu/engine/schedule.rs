//! The order in which the tasks of several steps are done.
//!
//! Steps that work row by row need not wait for one another to end: a step may take up a row as soon as the step before
//! it has passed that row by as many rows as either of them reads beyond its own. By induction every earlier step is
//! further ahead still, so whatever a step reads is there, and whatever it writes over has been read. Threads take the
//! last step that may go on, so that values are used while they are in the caches, and meet once for the whole group.

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

    /// Rows of the frame that are complete once the first `tasks` tasks are.
    fn complete(&self, tasks: usize) -> usize {
        if tasks >= self.tasks() {
            return usize::MAX;
        }
        tasks * self.per_task / self.across * self.tall
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
    /// Of each step, the first task that no one has taken.
    next: Vec<usize>,
    /// Of each thread, the step and task that it is at.
    busy: Vec<Option<(usize, usize)>>,
    /// The first step that has tasks left.
    first: usize,
    /// A task has panicked: the others end.
    failed: bool,
}

impl Front {
    /// For groups of at most `steps` steps, and `threads` threads.
    pub fn new(steps: usize, threads: usize) -> Self {
        Self {
            state: Mutex::new(State {
                next: vec![0; steps],
                busy: vec![None; threads],
                first: 0,
                failed: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Begins a group.
    pub fn begin(&self) {
        let mut state = self.lock();
        state.next.fill(0);
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
        while state.first < extents.len() && state.next[state.first] >= extents[state.first].tasks() {
            state.first += 1;
        }
        if state.failed || state.first >= extents.len() {
            return Next::End;
        }
        // No step is ahead of one that has not begun.
        let begun = (state.first..extents.len()).find(|&s| state.next[s] == 0);
        let last = begun.unwrap_or(extents.len() - 1);
        let step = (state.first..=last).rev().find(|&s| state.ready(extents, s));
        let Some(step) = step else { return Next::Wait };
        let task = state.next[step];
        state.next[step] += 1;
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
    fn ready(&self, extents: &[Extent], step: usize) -> bool {
        let (extent, task) = (&extents[step], self.next[step]);
        if task >= extent.tasks() {
            return false;
        }
        if step == 0 {
            return true;
        }
        let before = &extents[step - 1];
        let at = self.busy.iter().flatten().filter(|b| b.0 + 1 == step).map(|b| b.1);
        let done = at.fold(self.next[step - 1], usize::min);
        before.complete(done) >= extent.end(task).saturating_add(extent.reach.max(before.reach))
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
        front.begin();
        assert_eq!(front.next(&extents, 0), Next::Task { step: 0, task: 0 });
        let panicking = std::panic::AssertUnwindSafe(|| {
            let _watch = front.watch();
            panic!("a task");
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert_eq!(front.next(&extents, 1), Next::End);
        front.begin();
        assert_eq!(front.next(&extents, 1), Next::Task { step: 0, task: 0 });
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
        for _ in 0..50 {
            front.begin();
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
                    let rows = (extents[step].end(task) + extents[step].reach.max(e.reach)).min(48);
                    for (t, &done) in ended[s].iter().enumerate() {
                        let begin = t * e.per_task / e.across * e.tall;
                        assert!(
                            done || begin >= rows,
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
