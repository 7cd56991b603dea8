//! Engines of a GPU while they are loaded or built: in place or beside the stream, told by progress messages.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use gst::prelude::*;
use uretinex::{EngineJob, Error, ErrorKind, Result};

use super::URetinexEnhance;
use super::imp::without_panic;
use crate::gstcuda::CudaContext;

/// The code of the messages.
const CODE: &str = "engines";

fn tell(element: &URetinexEnhance, kind: gst::ProgressType, text: &str) {
    let _ = element.post_message(gst::message::Progress::builder(kind, CODE, text).src(element).build());
}

/// Runs a job; `given_up` ends it before its next step.
pub(super) fn run(job: EngineJob, element: &URetinexEnhance, given_up: &AtomicBool) -> Result<()> {
    tell(
        element,
        gst::ProgressType::Start,
        "engines for the GPU are loaded or built",
    );
    let outcome = without_panic(|| {
        job.run(&mut |progress| {
            tell(element, gst::ProgressType::Continue, &progress.to_string());
            match given_up.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    });
    match &outcome {
        Ok(()) => tell(element, gst::ProgressType::Complete, "engines for the GPU are ready"),
        Err(_) if given_up.load(Ordering::Relaxed) => tell(element, gst::ProgressType::Canceled, "given up"),
        Err(e) => tell(element, gst::ProgressType::Error, &e.to_string()),
    }
    outcome
}

/// A job on a thread of its own; given up when this is dropped.
pub(super) struct Building {
    outcome: Receiver<Result<()>>,
    given_up: Arc<AtomicBool>,
}

impl Building {
    /// `context` is the CUDA context that the job works in, if it is a shared one: the job may outlive the element.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if the system gives no thread.
    pub fn start(job: EngineJob, context: Option<CudaContext>, element: &URetinexEnhance) -> Result<Self> {
        let (sender, outcome) = mpsc::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let (weak, flag) = (element.downgrade(), given_up.clone());
        thread::Builder::new()
            .name("uretinex-engines".into())
            .spawn(move || {
                // Dropped after the job, whichever way it goes.
                let _context = context;
                let job = job;
                if let Some(element) = weak.upgrade() {
                    // Nobody listens any more if the element has been stopped.
                    let _ = sender.send(run(job, &element, &flag));
                }
            })
            .map_err(|e| {
                Error::new(
                    ErrorKind::BackendFailed,
                    "no thread to build engines on: the system's limit of threads is reached (ulimit -u)",
                )
                .with_source(e)
            })?;
        Ok(Self { outcome, given_up })
    }

    /// How it ended; `None` while it goes on.
    pub fn outcome(&self) -> Option<Result<()>> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(Error::new(
                ErrorKind::BackendFailed,
                "the thread that built engines ended early: please report it",
            ))),
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}
