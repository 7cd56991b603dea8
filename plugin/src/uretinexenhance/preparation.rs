//! Work that a size needs before its frames can be enhanced, such as building engines, on a thread of its own.
//!
//! A frame that has to wait for the work does so here and without any other lock, so that a flush or a stop of the
//! element ends the wait at once. A flush ends the wait only: the work goes on, and the next frame waits for the rest of
//! it. A stop cancels the work.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use uretinex::{Error, ErrorKind, Observer, Result};

use super::category::CAT;
use super::panics::{lock, without_panic};

/// How long a stop of the element waits for cancelled work to end. Work asks whether it is cancelled between engines, and
/// within the build of one where TensorRT asks.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of the work.
#[derive(Debug)]
pub(super) enum Outcome {
    /// There is no work, or its outcome has been taken.
    None,
    /// It goes on.
    UnderWay,
    /// It goes on, and the wait for it was ended by a flush or a stop.
    Interrupted,
    /// It has ended.
    Ended(Result<()>),
}

/// The work of one size.
struct Job {
    cancelled: Arc<AtomicBool>,
    /// None while the work goes on.
    outcome: Option<Result<()>>,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    flushing: bool,
    stopping: bool,
}

impl State {
    fn is_interrupted(&self) -> bool {
        self.flushing || self.stopping
    }

    fn cancel(&mut self) {
        if let Some(job) = self.job.take() {
            job.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// An element's preparation of sizes: the work under way, and the threads that have not ended.
pub(super) struct Preparation {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    patience: Duration,
}

impl Default for Preparation {
    fn default() -> Self {
        Self::with_patience(PATIENCE)
    }
}

impl Preparation {
    fn with_patience(patience: Duration) -> Self {
        Self {
            shared: Arc::default(),
            threads: Mutex::default(),
            patience,
        }
    }

    /// Begins `work` on a thread of its own; earlier work is cancelled. `tell` is told of each step, and of the end before
    /// the outcome is there. What `work` holds lives as long as it works.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] during a flush or a stop, [`ErrorKind::BackendFailed`] if the system gives no thread.
    pub fn start(
        &self,
        work: impl FnOnce(&mut Observer<'_>) -> Result<()> + Send + 'static,
        tell: impl Fn(gst::ProgressType, &str) + Send + Sync + 'static,
    ) -> Result<()> {
        let cancelled = Arc::new(AtomicBool::new(false));
        {
            let mut state = lock(&self.shared.state);
            state.cancel();
            if state.is_interrupted() {
                return Err(Error::new(
                    ErrorKind::Cancelled,
                    "the element is being flushed or stopped",
                ));
            }
            state.job = Some(Job {
                cancelled: cancelled.clone(),
                outcome: None,
            });
        }
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name("uretinex-engines".into()).spawn(move || {
            let outcome = run(work, tell, &cancelled);
            let mut state = lock(&shared.state);
            if let Some(job) = state.job.as_mut().filter(|job| Arc::ptr_eq(&job.cancelled, &cancelled)) {
                job.outcome = Some(outcome);
            }
            drop(state);
            shared.changed.notify_all();
        });
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread.map_err(|e| {
            lock(&self.shared.state).cancel();
            Error::new(
                ErrorKind::BackendFailed,
                "no thread to build engines on: the system's limit of threads is reached (ulimit -u)",
            )
            .with_source(e)
        })?);
        Ok(())
    }

    /// What became of the work. With `wait` it is waited for, until a flush or a stop of the element.
    pub fn outcome(&self, wait: bool) -> Outcome {
        let mut state = lock(&self.shared.state);
        loop {
            match state.job.take() {
                None => return Outcome::None,
                Some(Job {
                    outcome: Some(outcome), ..
                }) => return Outcome::Ended(outcome),
                under_way => state.job = under_way,
            }
            if !wait {
                return Outcome::UnderWay;
            }
            if state.is_interrupted() {
                return Outcome::Interrupted;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether there is work whose outcome has not been taken.
    pub fn is_wanted(&self) -> bool {
        lock(&self.shared.state).job.is_some()
    }

    /// Cancels the work; its outcome is not wanted.
    pub fn cancel(&self) {
        lock(&self.shared.state).cancel();
    }

    /// While the element is flushed nothing waits for the work.
    pub fn set_flushing(&self, flushing: bool) {
        lock(&self.shared.state).flushing = flushing;
        self.shared.changed.notify_all();
    }

    /// Cancels the work, ends the wait for it, and refuses more of it until [`open`](Self::open).
    pub fn close(&self) {
        let mut state = lock(&self.shared.state);
        state.stopping = true;
        // The job stays where a frame waits for it, which finds that it is interrupted.
        if let Some(job) = &state.job {
            job.cancelled.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Takes work again.
    pub fn open(&self) {
        *lock(&self.shared.state) = State::default();
    }

    /// Waits a short time for cancelled work to end. Work that does not is logged, and goes on without the element until
    /// it next asks whether it is cancelled; it is waited for when this is dropped.
    pub fn join(&self) {
        self.cancel();
        let mut threads = lock(&self.threads);
        // The last reference to the element may be dropped by such a thread, which is then about to end.
        threads.retain(|thread| thread.thread().id() != thread::current().id());
        let until = Instant::now() + self.patience;
        while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        threads.retain(|thread| !thread.is_finished());
        if !threads.is_empty() {
            gst::warning!(
                CAT,
                "engines are still built {} ms after that was cancelled: the build ends when TensorRT next asks, and \
                 the element is not freed before",
                self.patience.as_millis()
            );
        }
    }
}

impl Drop for Preparation {
    /// Waits for all threads, so that none works while the process ends.
    fn drop(&mut self) {
        self.close();
        self.join();
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join();
        }
    }
}

/// Does the work; `cancelled` ends it when it next reports progress.
fn run(
    work: impl FnOnce(&mut Observer<'_>) -> Result<()>,
    tell: impl Fn(gst::ProgressType, &str) + Sync,
    cancelled: &AtomicBool,
) -> Result<()> {
    tell(
        gst::ProgressType::Start,
        "engines for the GPU are being loaded or built",
    );
    let outcome = without_panic(|| {
        work(&mut |progress| {
            tell(gst::ProgressType::Continue, &progress.to_string());
            match cancelled.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    });
    match &outcome {
        Ok(()) => tell(gst::ProgressType::Complete, "engines for the GPU are ready"),
        Err(_) if cancelled.load(Ordering::Relaxed) => tell(gst::ProgressType::Canceled, "cancelled"),
        Err(e) => tell(gst::ProgressType::Error, &e.to_string()),
    }
    outcome
}

#[cfg(test)]
mod tests;
