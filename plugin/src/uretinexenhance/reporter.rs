//! What the element tells: statistics, latency, messages on the bus. All of it can be asked for from any thread.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use gst::prelude::*;
use uretinex::{Error, ErrorKind, Report};

use super::category::CAT;
use super::counters::{Counters, InUse};
use super::latency::Latency;
use super::messages;
use super::panics::lock;

/// What has been reported since the element was started, so that nothing is reported twice.
#[derive(Debug, Default)]
struct Reported {
    /// Kinds of errors for which a frame was passed on.
    failures: Vec<ErrorKind>,
    /// Whether a controller's curve was outside its range.
    curve: bool,
    /// The caps that were refused last when they were sent.
    refused: Option<gst::Caps>,
    /// The caps that were declined last when upstream asked whether they are taken.
    declined: Option<gst::Caps>,
}

/// What the element tells.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    counters: Mutex<Counters>,
    reported: Mutex<Reported>,
    pub latency: Latency,
}

impl Reporter {
    /// Begins anew: nothing counted, nothing reported.
    pub fn start(&self, in_use: InUse) {
        *lock(&self.counters) = Counters::of(in_use);
        *lock(&self.reported) = Reported::default();
        self.latency.reset();
    }

    /// Counts stay readable until the next start.
    pub fn stop(&self) {
        self.counters().in_use = None;
    }

    /// The counts; held for the length of a copy.
    pub fn counters(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counters)
    }

    /// The backend that works on frames, while the element is started.
    pub fn backend_in_use(&self) -> Option<&'static str> {
        self.counters().in_use.as_ref().map(|in_use| in_use.backend)
    }

    /// Shows what works on frames, where that has changed; true if it has.
    pub fn set_backend(&self, element: &gst::Element, backend: &'static str) -> bool {
        {
            let mut counters = self.counters();
            let Some(in_use) = counters.in_use.as_mut().filter(|u| u.backend != backend) else {
                return false;
            };
            in_use.backend = backend;
        }
        gst::info!(CAT, obj = element, "frames are worked on by {backend}");
        element.notify("backend-in-use");
        true
    }

    /// Adds an enhanced frame on which the element spent `time`.
    pub fn enhanced(&self, element: &gst::Element, report: &Report, time: Duration) {
        self.counters().add(report, time);
        if self.latency.add(report, time) {
            self.tell_latency(element);
        }
    }

    /// Counts a frame that goes on as it came because of `error`, and warns of the first of its kind.
    pub fn failed(&self, element: &gst::Element, error: &Error) {
        gst::debug!(CAT, obj = element, "frame passed on unchanged: {error}");
        self.counters().failed += 1;
        let is_new = {
            let failures = &mut lock(&self.reported).failures;
            let is_new = !failures.contains(&error.kind());
            if is_new {
                failures.push(error.kind());
            }
            is_new
        };
        if is_new {
            let error = Error::new(error.kind(), format!("a frame is passed on unchanged: {error}"));
            messages::warn(element, &error);
        }
    }

    /// Warns once of a controller's curve that is outside its range.
    pub fn curve_outside(&self, element: &gst::Element, error: &Error) {
        if !std::mem::replace(&mut lock(&self.reported).curve, true) {
            messages::warn(element, error);
        }
    }

    /// Puts an error about caps that were sent on the bus, once for the same caps.
    pub fn refused(&self, element: &gst::Element, caps: &gst::Caps, error: &Error) {
        gst::debug!(CAT, obj = element, "refused: {caps}");
        let before = lock(&self.reported).refused.replace(caps.clone());
        if before.as_ref() != Some(caps) {
            messages::error(element, error);
        }
    }

    /// Upstream asks whether caps are taken, and they are not. Whoever asks may have others to offer, or may give up
    /// without sending any, so a warning says why.
    pub fn declined(&self, element: &gst::Element, caps: &gst::Caps, error: &Error) {
        gst::debug!(CAT, obj = element, "not taken: {caps}: {error}");
        if self.backend_in_use().is_none() {
            return;
        }
        let is_new = {
            let mut reported = lock(&self.reported);
            let before = reported.declined.replace(caps.clone());
            before.as_ref() != Some(caps) && reported.refused.as_ref() != Some(caps)
        };
        if is_new {
            let error = Error::new(error.kind(), format!("upstream has frames that are not taken: {error}"));
            messages::warn(element, &error);
        }
    }

    /// Caps were taken: those refused before are reported again if they come again.
    pub fn caps_taken(&self) {
        let mut reported = lock(&self.reported);
        reported.refused = None;
        reported.declined = None;
    }

    /// Has the pipeline ask for the latency again.
    pub fn tell_latency(&self, element: &gst::Element) {
        gst::info!(CAT, obj = element, "latency is now {}", self.latency.reported());
        messages::latency(element);
    }
}
