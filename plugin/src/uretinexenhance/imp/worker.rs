//! Who works on frames, and what is told of it.

use std::sync::atomic::AtomicBool;

use gst::prelude::*;
use gst::subclass::prelude::*;
use uretinex::{BackendChoice, Enhancer, Error, ErrorKind, Options, Report};

use super::super::building::{self, Building};
use super::super::caps::Stream;
use super::super::{CAT, OnEngineBuild, errors, latency};
use super::flight::Flight;
use super::{URetinexEnhance, lock, without_panic};
use crate::gstcuda::Tenant;

/// What works on frames.
pub(super) struct Worker {
    pub tenant: Tenant,
    pub stream: Option<Stream>,
    /// Engines on their way, and who works meanwhile; frames go through untouched if nobody does.
    pub building: Option<Building>,
    pub stand_in: Option<Enhancer>,
    /// The frames inside the element; those under way are with the tenant's enhancer.
    pub flight: Flight,
    /// Kinds of warnings that are on the bus already.
    pub warned: Vec<ErrorKind>,
    pub warned_of_curve: bool,
}

/// Who works on the next frame, and the frames before it.
pub(super) struct AtWork<'a> {
    pub enhancer: &'a mut Enhancer,
    pub stream: &'a Stream,
    pub flight: &'a mut Flight,
}

/// Why a frame was not enhanced.
pub(super) enum Failure {
    /// The stream is to stop, or has an error of its own.
    Flow(gst::FlowError),
    /// This frame is passed on as it is.
    Frame(Error),
    /// So is this one, because that is asked for, or the engines are not ready yet.
    Untouched,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Frame(error)
    }
}

impl URetinexEnhance {
    /// Who works on the next frame; nobody while engines are built and frames go through untouched.
    pub(super) fn at_work<'a>(&self, worker: &'a mut Worker) -> Result<AtWork<'a>, Failure> {
        let Some(stream) = &worker.stream else {
            return Err(Failure::Flow(gst::FlowError::NotNegotiated));
        };
        let (mut enhancer, flight) = (&mut worker.tenant.enhancer, &mut worker.flight);
        match worker.building.as_ref().map(Building::outcome) {
            None => {}
            Some(None) => enhancer = worker.stand_in.as_mut().ok_or(Failure::Untouched)?,
            Some(Some(outcome)) => {
                worker.building = None;
                worker.stand_in = None;
                let ready = without_panic(|| {
                    outcome.or_else(|e| enhancer.fall_back(e))?;
                    enhancer.prepare(&stream.spec)
                });
                if let Err(error) = ready {
                    gst::error!(CAT, imp = self, "{error}");
                    self.post_error_message(errors::message(&error));
                    return Err(Failure::Flow(gst::FlowError::Error));
                }
            }
        }
        Ok(AtWork {
            enhancer,
            stream,
            flight,
        })
    }

    /// Prepares for frames of `stream`. Engines that are not there yet are waited for, or built beside the stream.
    pub(super) fn make_ready(&self, worker: &mut Worker, stream: &Stream) -> uretinex::Result<()> {
        let spec = &stream.spec;
        worker.building = None;
        worker.stand_in = None;
        let enhancer = &mut worker.tenant.enhancer;
        let Some(job) = without_panic(|| enhancer.engine_job(spec))? else {
            return without_panic(|| enhancer.prepare(spec));
        };
        let (choice, options) = {
            let settings = lock(&self.settings);
            (settings.on_engine_build, settings.options())
        };
        match choice {
            OnEngineBuild::Wait => {
                building::run(
                    |observer| job.run(observer).map(|_| ()),
                    &self.obj(),
                    &AtomicBool::new(false),
                )
                .or_else(|e| enhancer.fall_back(e))?;
                return without_panic(|| enhancer.prepare(spec));
            }
            OnEngineBuild::Passthrough => {}
            // The processor does not reach frames in CUDA memory: they go through untouched.
            OnEngineBuild::Cpu if stream.on_gpu => {}
            OnEngineBuild::Cpu => {
                let options = Options {
                    backend: BackendChoice::Cpu,
                    precision: None,
                    ..options
                };
                worker.stand_in = Some(without_panic(|| {
                    let mut stand_in = Enhancer::new(&options)?;
                    stand_in.prepare(spec)?;
                    Ok(stand_in)
                })?);
            }
        }
        worker.building = Some(Building::start(
            |observer| job.run(observer).map(|_| ()),
            worker.tenant.context.clone(),
            &self.obj(),
        )?);
        Ok(())
    }

    /// Shows who does the work, where that has changed; true if it has.
    pub(super) fn note_backend(&self, backend: &'static str) -> bool {
        let mut counters = lock(&self.counters);
        let Some(in_use) = counters.in_use.as_mut().filter(|u| u.backend != backend) else {
            return false;
        };
        in_use.backend = backend;
        drop(counters);
        gst::info!(CAT, imp = self, "frames are worked on by {backend}");
        self.obj().notify("backend-in-use");
        true
    }

    /// Adds an enhanced frame to the statistics, and to the latency.
    pub(super) fn account(&self, report: Report, ratio: f32) {
        let mut counters = lock(&self.counters);
        counters.add(&report, ratio);
        if counters.frames() % latency::INTERVAL != 1 {
            return;
        }
        let p95 = counters.total().p95;
        drop(counters);
        if self.latency.measured(p95) {
            self.tell_latency();
        }
    }

    /// Has the pipeline ask for the latency again.
    pub(super) fn tell_latency(&self) {
        let element = self.obj();
        gst::info!(CAT, imp = self, "latency is now {}", self.latency.reported());
        let _ = element.post_message(gst::message::Latency::builder().src(&*element).build());
    }

    /// Counts a frame that goes on as it came.
    pub(super) fn passed_on(&self, failure: Failure) -> Result<(), gst::FlowError> {
        match failure {
            Failure::Flow(error) => return Err(error),
            Failure::Frame(error) => self.frame_failed(&error),
            Failure::Untouched => lock(&self.counters).passed += 1,
        }
        Ok(())
    }

    /// Counts a frame that is passed on for an error, and reports the first of its kind.
    fn frame_failed(&self, error: &Error) {
        gst::warning!(CAT, imp = self, "frame passed on unchanged: {error}");
        lock(&self.counters).failed += 1;
        let mut worker = lock(&self.worker);
        let Some(worker) = worker.as_mut().filter(|w| !w.warned.contains(&error.kind())) else {
            return;
        };
        worker.warned.push(error.kind());
        let error = Error::new(error.kind(), format!("a frame is passed on unchanged: {error}"));
        errors::warn(&self.obj(), &error);
    }
}
