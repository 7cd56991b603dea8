//! The way of a frame through the element, and what is noted on it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::{InputBuffer, PrepareOutputBufferSuccess};
use gst_base::subclass::prelude::*;
use uretinex::{Light, Reset};

use super::URetinexEnhance;
use crate::uretinexenhance::category::CAT;
use crate::uretinexenhance::frame_queue::QueuedFrame;
use crate::uretinexenhance::panics::lock;
use crate::uretinexenhance::settings::Live;
use crate::uretinexenhance::worker::{Failure, Leaving, Worker};
use crate::uretinexenhance::{frame_meta, messages};

impl URetinexEnhance {
    /// An empty buffer of the pool with the metadata of `input`.
    pub(super) fn new_output(&self, input: &gst::Buffer) -> Result<gst::Buffer, gst::FlowError> {
        match self.parent_prepare_output_buffer(InputBuffer::Readable(input))? {
            PrepareOutputBufferSuccess::Buffer(output) => Ok(output),
            _ => Err(gst::FlowError::Error),
        }
    }

    /// Takes a frame in: with settings it is submitted, or enhanced at once; otherwise it is left as it is.
    pub(super) fn take_in(&self, input: gst::Buffer, live: Option<&Live>) -> Result<(), gst::FlowError> {
        let mut guard = lock(&self.worker);
        let worker = guard.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
        let preparing = self.preparation.is_wanted();
        let (mut enhanced, mut backend) = (Err(Failure::PassedThrough), None);
        if let Some(live) = live {
            let (frames, _) = worker.held(preparing, self.reporter.latency.is_live());
            // A frame that is marked as discontinuous does not stay.
            let stay = if self.discontinuous.load(Ordering::Relaxed) {
                0
            } else {
                frames
            };
            enhanced = worker.enhance(&input, live, stay, preparing, &|input| self.new_output(input));
            backend = worker.backend(preparing);
        } else if self.live().passes_through() {
            worker.reset(Reset::PassedThrough);
        }
        let light = worker.light();
        let (frame, failure) = match enhanced {
            Ok(frame) => (frame, None),
            Err(Failure::Flow(error)) => return Err(error),
            Err(failure) => (QueuedFrame::Untouched(input), Some(failure)),
        };
        worker.queue.push(frame);
        self.note_resets(worker);
        drop(guard);
        self.note_light(light);
        if let Some((backend, in_cuda_memory)) = backend
            && self.reporter.set_backend(self.obj().upcast_ref(), backend)
            && in_cuda_memory
        {
            // Memory of another kind may be taken from here on.
            self.obj().reconfigure_sink();
        }
        failure.map_or(Ok(()), |failure| self.passed_on(failure))
    }

    /// The oldest frame, if its turn has come, or if `all` are to go. The element has worked on it since `started`.
    pub(super) fn give_out(&self, all: bool, started: Instant) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let mut guard = lock(&self.worker);
        let Some(worker) = guard.as_mut() else {
            return Ok(None);
        };
        let leaving = worker.give_out(all, &|input| self.new_output(input))?;
        self.note_resets(worker);
        let (light, rung) = (worker.light(), worker.rung());
        drop(guard);
        let Some(Leaving {
            mut buffer,
            enhanced,
            failure,
        }) = leaving
        else {
            return Ok(None);
        };
        if self.live().frame_meta {
            frame_meta::add(&mut buffer, enhanced.as_ref(), light, rung);
        }
        if let Some(report) = enhanced {
            self.reporter
                .enhanced(self.obj().upcast_ref(), &report, started.elapsed());
        }
        if let Some(failure) = failure {
            self.passed_on(failure)?;
        }
        Ok(Some(buffer))
    }

    /// Sends on all frames that are inside, before whatever comes next.
    pub(super) fn drain(&self) -> Result<(), gst::FlowError> {
        let drained = loop {
            match self.give_out(true, Instant::now()) {
                Ok(None) => break Ok(()),
                Ok(Some(output)) => {
                    if let Err(error) = self.obj().src_pad().push(output) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        if drained.is_err() {
            // Nobody takes the others.
            if let Some(worker) = lock(&self.worker).as_mut() {
                worker.forget();
            }
        }
        drained
    }

    /// As [`drain`](Self::drain), where the stream's end is for the next frame to find.
    pub(super) fn drain_before(&self, what: &str) {
        if let Err(error) = self.drain() {
            gst::debug!(CAT, imp = self, "frames before {what} are dropped: {error}");
        }
    }

    /// The next frame does not continue the ones before. After a flush, these are dropped.
    pub(super) fn interrupt(&self, reason: Reset) {
        if let Some(worker) = lock(&self.worker).as_mut() {
            if reason == Reset::Flush {
                worker.forget();
            }
            worker.reset(reason);
            self.note_resets(worker);
        }
    }

    /// Shows the light, and says so where day or night, or colour, is another than before.
    pub(super) fn note_light(&self, light: Option<Light>) {
        let before = std::mem::replace(&mut self.reporter.counters().light, light);
        let kind = |light: Light| (light.day, light.grey);
        if let Some(light) = light
            && before.map(kind) != Some(kind(light))
        {
            messages::light(self.obj().upcast_ref(), light);
        }
    }

    /// Takes note of how long a frame took, and goes to another rung if the deadline asks for it.
    pub(super) fn keep_deadline(&self, live: &Live, time: Duration) {
        let mut guard = lock(&self.worker);
        let Some(worker) = guard.as_mut() else {
            return;
        };
        let deadline = worker.deadline(live, self.reporter.latency.is_live());
        let time = (!worker.was_untouched()).then_some(time);
        let step = worker.keep_deadline(time, deadline);
        let rung = worker.rung();
        drop(guard);
        self.reporter.counters().rung = rung;
        if let Some(step) = step {
            messages::rung(self.obj().upcast_ref(), step, deadline.unwrap_or_default());
        }
    }

    pub(super) fn note_resets(&self, worker: &Worker) {
        self.reporter.counters().resets = worker.resets();
    }

    /// Counts a frame that goes on as it came.
    pub(super) fn passed_on(&self, failure: Failure) -> Result<(), gst::FlowError> {
        match failure {
            Failure::Flow(error) => return Err(error),
            Failure::PassedThrough => self.reporter.counters().passed += 1,
            Failure::Frame(error) => self.reporter.failed(self.obj().upcast_ref(), &error),
        }
        Ok(())
    }
}
