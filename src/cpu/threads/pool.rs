//! One standing thread pool for the process: strips of a frame, taken one by one, each thread its neighbours
//! ([`Shares`]).
//!
//! The calling thread always works on its own job, so no caller waits for another one's; workers help whoever asks. Who
//! has to wait looks again for some tens of microseconds and then sleeps, so that a waiting thread never keeps a
//! processor from the one that it waits for: neither under real-time scheduling, where yielding lets no ordinary thread
//! run, nor under a CPU quota, which a spinning thread would use up.
//!
//! A pool has at most as many threads as the process has processors for: those of the affinity mask of the thread that
//! asks, and on Linux no more than the whole processors of the CPU quota of its cgroup
//! ([`available_parallelism`](std::thread::available_parallelism)). A quota that is lowered later makes a frame slower,
//! since the system stops threads in the middle of a task until the next period; streams that are opened after that
//! take fewer threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::Thread;

use super::shares::Shares;

/// A share of the process's threads, for one stream.
#[derive(Clone)]
pub struct Pool {
    workers: Arc<Workers>,
    threads: usize,
}

/// The workers of the process, and what they wait for.
struct Workers {
    jobs: Mutex<Vec<JobRef>>,
    wake: Condvar,
    /// Counts jobs, for workers that look out for the next one.
    posted: AtomicUsize,
    /// Workers that sleep; changed under the list's lock.
    asleep: AtomicUsize,
    /// Workers that have been started.
    started: Mutex<usize>,
}

/// How often a worker looks for the next job before it sleeps: some tens of microseconds. The steps of a network
/// follow each other faster than a thread wakes up.
const WORKER_SPINS: u32 = 1000;

/// How often a caller looks for the end of its job before it sleeps: some 100 µs.
const CALLER_SPINS: u32 = 2000;

/// A job on its caller's stack; it is taken off the list before the caller returns.
#[derive(Clone, Copy, PartialEq)]
struct JobRef(*const Job);

// SAFETY: a `Job` is Sync, and lives until its caller has taken the reference off the list and no helper is left.
#[allow(unsafe_code)]
unsafe impl Send for JobRef {}

struct Job {
    task: &'static (dyn Fn(usize) + Sync),
    shares: Shares,
    /// [`HELPER`] for each worker on the job now, added under the list's lock, and [`ASLEEP`].
    helpers: AtomicUsize,
    max_helpers: usize,
    panicked: AtomicBool,
    caller: Thread,
}

/// In [`Job::helpers`]: the caller sleeps, or is about to, until the last helper has woken it.
const ASLEEP: usize = 1;

/// In [`Job::helpers`]: one worker.
const HELPER: usize = 2;

impl Job {
    /// Works as thread number `thread` of the job until no task is left. The caller is number 0.
    fn work(&self, thread: usize) {
        while let Some(i) = self.shares.take(thread) {
            if catch_unwind(AssertUnwindSafe(|| (self.task)(i))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
        }
    }

    fn wants_help(&self) -> bool {
        let helpers = self.helpers.load(Ordering::Relaxed) / HELPER;
        helpers < self.max_helpers && self.shares.any_left()
    }

    /// Worker number `worker`, from 1 on, helps until no task is left. It has the same number in all jobs that as many
    /// threads work on.
    fn help(&self, worker: usize) {
        self.work(1 + (worker - 1) % self.max_helpers);
        // The job may be gone once it has no helper: nothing of it is touched after that.
        let caller = self.caller.clone();
        // Release: what this worker wrote is seen by the caller that reads that there are no helpers.
        if self.helpers.fetch_sub(HELPER, Ordering::AcqRel) == (HELPER | ASLEEP) {
            caller.unpark();
        }
    }

    /// Waits until there are no helpers. The job is off the list, so none come.
    fn wait_for_helpers(&self) {
        for _ in 0..CALLER_SPINS {
            if self.helpers.load(Ordering::Acquire) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        // A helper that leaves later than this wakes the caller; one that has left before is no longer counted.
        let mut helpers = self.helpers.fetch_or(ASLEEP, Ordering::AcqRel) | ASLEEP;
        while helpers != ASLEEP {
            std::thread::park();
            helpers = self.helpers.load(Ordering::Acquire);
        }
    }
}

impl Workers {
    fn new() -> Self {
        Self {
            jobs: Mutex::new(Vec::with_capacity(64)),
            wake: Condvar::new(),
            posted: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            started: Mutex::new(0),
        }
    }

    /// Starts workers until there are `wanted`; returns how many there are then, fewer if the process may not start
    /// more.
    fn start(self: &Arc<Self>, wanted: usize) -> usize {
        let mut started = lock(&self.started);
        while *started < wanted {
            let workers = self.clone();
            let thread = std::thread::Builder::new().name(format!("uretinex-{}", *started + 1));
            let number = *started + 1;
            if thread.spawn(move || workers.work(number)).is_err() {
                break;
            }
            *started += 1;
        }
        *started
    }

    /// Works as worker `number`, from 1 on.
    #[allow(unsafe_code)]
    fn work(&self, number: usize) {
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
                for _ in 0..WORKER_SPINS {
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
            // SAFETY: as above; from here on the helper that is added keeps the caller from returning.
            let job = unsafe { &*jobs[i].0 };
            job.helpers.fetch_add(HELPER, Ordering::Relaxed);
            drop(jobs);
            job.help(number);
            jobs = lock(&self.jobs);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Pool {
    /// A share of `threads` threads, the caller's included, of those that the process has processors for at present; 0
    /// is all of them.
    pub fn new(threads: usize) -> Self {
        static WORKERS: std::sync::OnceLock<Arc<Workers>> = std::sync::OnceLock::new();
        let available = std::thread::available_parallelism().map_or(1, |n| n.get());
        let workers = WORKERS.get_or_init(|| Arc::new(Workers::new()));
        Self::of(workers, available, threads)
    }

    /// A share of `threads` threads, of `available` ones.
    fn of(workers: &Arc<Workers>, available: usize, threads: usize) -> Self {
        let available = available.min(workers.start(available - 1) + 1);
        Self {
            workers: workers.clone(),
            threads: if threads == 0 {
                available
            } else {
                threads.min(available)
            },
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
        let threads = self.threads.min(tasks);
        let job = Job {
            task,
            shares: Shares::new(tasks, threads),
            helpers: AtomicUsize::new(0),
            max_helpers: threads - 1,
            panicked: AtomicBool::new(false),
            caller: std::thread::current(),
        };
        let entry = JobRef(&job);
        let asleep = {
            let mut jobs = lock(&self.workers.jobs);
            jobs.push(entry);
            self.workers.posted.fetch_add(1, Ordering::Relaxed);
            self.workers.asleep.load(Ordering::Relaxed)
        };
        for _ in 0..job.max_helpers.min(asleep) {
            self.workers.wake.notify_one();
        }
        job.work(0);
        lock(&self.workers.jobs).retain(|j| *j != entry);
        job.wait_for_helpers();
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

    /// A pool of its own with `threads` threads, however many processors there are.
    fn separate(threads: usize) -> Pool {
        Pool::of(&Arc::new(Workers::new()), threads, threads)
    }

    /// Runs two tasks, of which the helper's takes `held`; what it does at the end is `end`.
    fn run_with_a_held_helper(pool: &Pool, held: std::time::Duration, end: impl Fn() + Sync) {
        let caller = std::thread::current().id();
        let arrived = (Mutex::new(false), Condvar::new());
        pool.run(2, &|_| {
            if std::thread::current().id() == caller {
                // Leaves a task for the helper.
                let arrived = arrived.1.wait_while(lock(&arrived.0), |arrived| !*arrived);
                drop(arrived.unwrap());
            } else {
                *lock(&arrived.0) = true;
                arrived.1.notify_one();
                std::thread::sleep(held);
                end();
            }
        });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_caller_that_waits_for_a_helper_sleeps() {
        use std::time::{Duration, Instant};

        use crate::cpu::threads::thread_time;

        const HELD: Duration = Duration::from_millis(400);
        let pool = separate(2);
        let (before, begin) = (thread_time(), Instant::now());
        run_with_a_held_helper(&pool, HELD, || ());
        let (used, waited) = (thread_time() - before, begin.elapsed());
        println!("waited {waited:?}, used {used:?} of the processor");
        assert!(waited >= HELD, "it did not wait: {waited:?}");
        assert!(used < HELD / 10, "it used {used:?} of the processor in {waited:?}");
    }

    #[test]
    fn a_panic_of_a_helper_that_is_waited_for_reaches_the_caller() {
        let pool = separate(2);
        let held = std::time::Duration::from_millis(20);
        let result = catch_unwind(AssertUnwindSafe(|| {
            run_with_a_held_helper(&pool, held, || panic!("a helper"));
        }));
        assert!(result.is_err());
        run_with_a_held_helper(&pool, held, || ());
    }

    /// Helpers leave just before, while and after the caller goes to sleep: it wakes every time, and a token that a
    /// helper leaves late does not end a later wait too early.
    #[test]
    fn no_wake_up_is_lost() {
        let pool = separate(3);
        for round in 0..400u32 {
            let running = AtomicUsize::new(0);
            pool.run(3, &|i| {
                running.fetch_add(1, Ordering::Relaxed);
                if i > 0 {
                    for _ in 0..(round % 40) * CALLER_SPINS / 20 {
                        std::hint::spin_loop();
                    }
                }
                running.fetch_sub(1, Ordering::Relaxed);
            });
            assert_eq!(running.into_inner(), 0, "round {round}");
        }
    }

    /// More threads come with more processors, and none beyond them.
    #[test]
    fn a_pool_has_no_more_threads_than_are_available() {
        let workers = Arc::new(Workers::new());
        for (available, wanted, threads) in [
            (1, 0, 1),
            (1, 4, 1),
            (3, 0, 3),
            (3, 2, 2),
            (2, 0, 2),
            (2, 9, 2),
            (4, 0, 4),
        ] {
            let pool = Pool::of(&workers, available, wanted);
            assert_eq!(pool.threads(), threads, "{wanted} of {available}");
        }
        assert_eq!(*lock(&workers.started), 3);
        let available = std::thread::available_parallelism().map_or(1, |n| n.get());
        assert_eq!(Pool::new(0).threads(), available);
        assert_eq!(Pool::new(usize::MAX).threads(), available);
    }
}
