//! One standing thread pool for the process: strips of a frame, taken one by one.
//!
//! The calling thread always works on its own job, so no caller waits for another one's; workers help whoever asks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

/// A share of the process's threads, for one stream.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: usize,
}

struct Shared {
    jobs: Mutex<Vec<JobRef>>,
    wake: Condvar,
    /// Counts jobs, for workers that look out for the next one.
    posted: AtomicUsize,
    /// Workers that sleep; changed under the list's lock.
    asleep: AtomicUsize,
}

/// How often a worker looks for the next job before it sleeps: some tens of microseconds. The steps of a network
/// follow each other faster than a thread wakes up.
const LOOKS: u32 = 1000;

/// A job on its caller's stack; it is taken off the list before the caller returns.
#[derive(Clone, Copy, PartialEq)]
struct JobRef(*const Job);

// SAFETY: a `Job` is Sync, and lives until its caller has taken the reference off the list and `helpers` is 0.
#[allow(unsafe_code)]
unsafe impl Send for JobRef {}

struct Job {
    task: &'static (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    /// Workers on the job now; changed under the list's lock.
    helpers: AtomicUsize,
    max_helpers: usize,
    panicked: AtomicBool,
}

impl Job {
    fn work(&self) {
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= self.tasks {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| (self.task)(i))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
        }
    }

    fn wants_help(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.tasks && self.helpers.load(Ordering::Relaxed) < self.max_helpers
    }
}

impl Shared {
    #[allow(unsafe_code)]
    fn worker(&self) {
        let mut last = 0;
        // The count of jobs when this worker last looked out in vain.
        let mut looked = None;
        let mut jobs = lock(&self.jobs);
        loop {
            // Begin after the job served last, so that several callers share the workers.
            let count = jobs.len();
            let found = (0..count).map(|i| (last + 1 + i) % count).find(|&i| {
                // SAFETY: listed jobs are alive: their callers take them off under this lock.
                unsafe { &*jobs[i].0 }.wants_help()
            });
            let Some(i) = found else {
                let posted = self.posted.load(Ordering::Relaxed);
                if looked == Some(posted) {
                    self.asleep.fetch_add(1, Ordering::Relaxed);
                    jobs = self.wake.wait(jobs).unwrap_or_else(|e| e.into_inner());
                    self.asleep.fetch_sub(1, Ordering::Relaxed);
                    looked = None;
                    continue;
                }
                drop(jobs);
                for _ in 0..LOOKS {
                    if self.posted.load(Ordering::Relaxed) != posted {
                        break;
                    }
                    std::hint::spin_loop();
                }
                jobs = lock(&self.jobs);
                looked = Some(posted);
                continue;
            };
            looked = None;
            last = i;
            // SAFETY: as above; from here on `helpers` keeps the caller from returning.
            let job = unsafe { &*jobs[i].0 };
            job.helpers.fetch_add(1, Ordering::Relaxed);
            drop(jobs);
            job.work();
            // Release: what this worker wrote is seen by the caller that reads `helpers` as 0. The job may be gone
            // right after this line.
            job.helpers.fetch_sub(1, Ordering::Release);
            jobs = lock(&self.jobs);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Pool {
    /// A share of `threads` threads, the caller's included; 0 is one for every core.
    pub fn new(threads: usize) -> Self {
        static SHARED: OnceLock<(Arc<Shared>, usize)> = OnceLock::new();
        let (shared, all) = SHARED.get_or_init(|| {
            let all = std::thread::available_parallelism().map_or(1, |n| n.get());
            let shared = Arc::new(Shared {
                jobs: Mutex::new(Vec::with_capacity(64)),
                wake: Condvar::new(),
                posted: AtomicUsize::new(0),
                asleep: AtomicUsize::new(0),
            });
            let mut started = 1;
            for i in 1..all {
                let s = shared.clone();
                // A process that may not start a thread works with those it has.
                let thread = std::thread::Builder::new().name(format!("uretinex-{i}"));
                started += thread.spawn(move || s.worker()).is_ok() as usize;
            }
            (shared, started)
        });
        let threads = if threads == 0 { *all } else { threads.min(*all) };
        Self {
            shared: shared.clone(),
            threads,
        }
    }

    /// The most threads that work on one job.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `task` with each of `0..tasks`, on several threads, and returns when all have returned.
    ///
    /// # Panics
    /// If a task panicked.
    #[allow(unsafe_code)]
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.threads <= 1 || tasks <= 1 {
            return (0..tasks).for_each(task);
        }
        // SAFETY: only the lifetime changes. The job is off the list and without helpers before this function
        // returns, and `work` does not unwind.
        let task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task) };
        let job = Job {
            task,
            tasks,
            next: AtomicUsize::new(0),
            helpers: AtomicUsize::new(0),
            max_helpers: (self.threads - 1).min(tasks - 1),
            panicked: AtomicBool::new(false),
        };
        let entry = JobRef(&job);
        let asleep = {
            let mut jobs = lock(&self.shared.jobs);
            jobs.push(entry);
            self.shared.posted.fetch_add(1, Ordering::Relaxed);
            self.shared.asleep.load(Ordering::Relaxed)
        };
        for _ in 0..job.max_helpers.min(asleep) {
            self.shared.wake.notify_one();
        }
        job.work();
        lock(&self.shared.jobs).retain(|j| *j != entry);
        let mut spins = 0u32;
        while job.helpers.load(Ordering::Acquire) > 0 {
            spins += 1;
            if spins < 2000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        assert!(
            !job.panicked.load(Ordering::Relaxed),
            "a task of the thread pool panicked"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_from_several_callers() {
        std::thread::scope(|s| {
            for threads in [0, 1, 2, 5] {
                s.spawn(move || {
                    let pool = Pool::new(threads);
                    for tasks in [0, 1, 2, 7, 1000] {
                        let seen: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                        pool.run(tasks, &|i| {
                            seen[i].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(
                            seen.iter().all(|s| s.load(Ordering::Relaxed) == 1),
                            "{threads} threads, {tasks} tasks"
                        );
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(10, &|i| assert!(i != 5, "five"))));
        assert!(result.is_err());
        let count = AtomicUsize::new(0);
        pool.run(10, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 10);
    }
}
