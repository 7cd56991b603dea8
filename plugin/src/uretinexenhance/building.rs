//! Engines of a GPU while they are loaded or built: in place or beside the stream, told by progress messages.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use gst::prelude::*;
use uretinex::{Error, ErrorKind, Observer, Result};

use super::URetinexEnhance;
use super::imp::without_panic;
use crate::gstcuda::CudaContext;

/// The code of the messages.
const CODE: &str = "engines";

fn tell(element: &URetinexEnhance, kind: gst::ProgressType, text: &str) {
    let _ = element.post_message(gst::message::Progress::builder(kind, CODE, text).src(element).build());
}

/// Runs a job; `given_up` ends it before its next step.
pub(super) fn run(
    job: impl FnOnce(&mut Observer<'_>) -> Result<()>,
    element: &URetinexEnhance,
    given_up: &AtomicBool,
) -> Result<()> {
    tell(
        element,
        gst::ProgressType::Start,
        "engines for the GPU are loaded or built",
    );
    let outcome = without_panic(|| {
        job(&mut |progress| {
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
    pub fn start(
        job: impl FnOnce(&mut Observer<'_>) -> Result<()> + Send + 'static,
        context: Option<CudaContext>,
        element: &URetinexEnhance,
    ) -> Result<Self> {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use gst::glib;
    use uretinex::{Progress, Step, Subnetwork};

    use super::*;

    fn element() -> (URetinexEnhance, gst::Bus) {
        gst::init().unwrap();
        let element: URetinexEnhance = glib::Object::new();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        (element, bus)
    }

    fn progress(step: Step) -> Progress {
        Progress {
            subnetwork: Subnetwork::Restoration,
            index: 1,
            count: 4,
            step,
            elapsed: Duration::ZERO,
        }
    }

    fn messages(bus: &gst::Bus) -> Vec<(gst::ProgressType, String)> {
        let mut all = Vec::new();
        while let Some(message) = bus.pop_filtered(&[gst::MessageType::Progress]) {
            if let gst::MessageView::Progress(m) = message.view() {
                let (kind, code, text) = m.get();
                assert_eq!(code, CODE);
                all.push((kind, text.to_string()));
            }
        }
        all
    }

    /// Waits for the end, with a limit.
    fn wait(building: &Building) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(outcome) = building.outcome() {
                return outcome;
            }
            assert!(Instant::now() < until, "the job does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn each_step_is_told_and_the_end_too() {
        use gst::ProgressType::{Complete, Continue, Error as Failed, Start};
        let (element, bus) = element();
        for (fails, last) in [(false, Complete), (true, Failed)] {
            let job = move |observer: &mut Observer<'_>| {
                let _ = observer(&progress(Step::Loading));
                let _ = observer(&progress(Step::Building));
                if fails {
                    return Err(Error::new(ErrorKind::BackendFailed, "as planned"));
                }
                Ok(())
            };
            let building = Building::start(job, None, &element).unwrap();
            assert_eq!(wait(&building).is_err(), fails);
            let told = messages(&bus);
            let kinds: Vec<_> = told.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, [Start, Continue, Continue, last], "{told:?}");
            assert!(told[2].1.contains("engine 2 of 4 (restoration): building"), "{told:?}");
            assert_eq!(told[3].1 == "as planned", fails, "{told:?}");
        }
    }

    #[test]
    fn a_job_that_nobody_wants_any_more_is_given_up() {
        let (element, bus) = element();
        let (ended, end) = mpsc::channel();
        let job = move |observer: &mut Observer<'_>| {
            let mut steps = 0;
            while observer(&progress(Step::Waiting)).is_continue() {
                steps += 1;
                thread::sleep(Duration::from_millis(5));
            }
            let _ = ended.send(steps);
            Err(Error::new(ErrorKind::Cancelled, "given up"))
        };
        let building = Building::start(job, None, &element).unwrap();
        assert!(building.outcome().is_none());
        drop(building);
        end.recv_timeout(Duration::from_secs(20)).expect("the job ends");
        let until = Instant::now() + Duration::from_secs(20);
        let mut told = Vec::new();
        while !told.iter().any(|(kind, _)| *kind == gst::ProgressType::Canceled) {
            told.extend(messages(&bus));
            assert!(Instant::now() < until, "{told:?}");
        }
    }

    #[test]
    fn a_panic_in_a_job_is_an_error() {
        let (element, _bus) = element();
        let building = Building::start(|_| panic!("as planned"), None, &element).unwrap();
        assert!(wait(&building).unwrap_err().to_string().contains("as planned"));
    }
}
