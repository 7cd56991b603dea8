//! The element as GObject and GstBaseTransform see it: it owns the parts, and hands each what it needs.
//!
//! Locks: `settings` and those of the reporter, of the preparation and of CUDA memory are held for the length of a copy,
//! by any thread. `worker` is held by the streaming thread while it takes caps, prepares a size or works on a frame, and
//! by flushes, start and stop, when no frame can come. Access to properties, caps and accept-caps queries, and all queries
//! that do not wait their turn in the stream never take it. It is not held while a buffer is pushed, a message is posted
//! or engines are waited for.

mod frames;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::GenerateOutputSuccess;
use gst_base::subclass::prelude::*;
use gst_video::{VideoCropMeta, VideoInfo};
use uretinex::{Error, ErrorKind, PreparationJob, Reset};

use super::caps::{self, VideoStream};
use super::category::CAT;
use super::counters::InUse;
use super::cuda_memory::{self, CudaMemory};
use super::panics::{lock, without_panic};
use super::preparation::{Outcome, Preparation};
use super::reporter::Reporter;
use super::settings::{self, Live, Settings};
use super::worker::Worker;
use super::{allocation, controller, errors, memory_features, messages, planes, qos};
use crate::gstcuda::CudaContext;

/// The most that may be missing where a stream is said to be broken and still goes on. A leaky queue marks every frame that
/// it drops others before.
const GAP: gst::ClockTime = gst::ClockTime::from_mseconds(500);

/// Whether a frame of time `next` goes on where the one of time `last` was.
fn goes_on(last: Option<gst::ClockTime>, next: Option<gst::ClockTime>) -> bool {
    matches!((last, next), (Some(last), Some(next)) if next >= last && next - last <= GAP)
}

/// Implementation of the element.
#[derive(Default)]
pub struct URetinexEnhance {
    settings: Mutex<Settings>,
    pub(super) reporter: Reporter,
    worker: Mutex<Option<Worker>>,
    preparation: Preparation,
    pub(super) cuda: CudaMemory,
    /// Whether the base class marks the frame that comes in as discontinuous when it goes out.
    discontinuous: AtomicBool,
    /// When the frame before was to be shown.
    last_time: Mutex<Option<gst::ClockTime>>,
    /// Whether what is downstream reads strides from video metas.
    strides_downstream: AtomicBool,
}

impl URetinexEnhance {
    fn live(&self) -> Live {
        lock(&self.settings).live.clone()
    }

    /// The frames of `caps`.
    fn read_caps(&self, caps: &gst::CapsRef) -> Result<VideoStream, Error> {
        VideoStream::new(caps, || self.lacks_cuda())
    }

    /// Why frames in CUDA memory are not taken, if they are not.
    fn lacks_cuda(&self) -> Option<String> {
        let (backend, _) = lock(&self.settings).device();
        self.cuda.lacks(backend, self.reporter.backend_in_use())
    }

    /// What `caps` leaves where CUDA memory is not taken; none if that is all of it.
    fn without_cuda(&self, caps: &gst::Caps) -> Option<gst::Caps> {
        let lacks = memory_features::allows_cuda(caps)
            .then(|| self.lacks_cuda())
            .flatten()?;
        gst::debug!(CAT, imp = self, "CUDA memory is not offered: {lacks}");
        Some(memory_features::without_cuda(caps))
    }

    /// Sees a caps event before the pad asks whether the caps are taken, and refuses the event if they are not.
    fn see_caps(&self, caps: &gst::CapsRef) {
        if let Err(error) = self.read_caps(caps) {
            self.drain_before("caps that are refused");
            self.reporter.refused(self.obj().upcast_ref(), &caps.to_owned(), &error);
        }
    }

    /// Begins to prepare a size on a thread of its own.
    fn start_preparation(&self, job: PreparationJob, context: Option<CudaContext>) -> Result<(), Error> {
        let element = self.obj().upcast_ref::<gst::Element>().downgrade();
        self.preparation.start(
            move |observer| {
                // Dropped after the job, whichever way it goes.
                let _context = context;
                job.run(observer)
            },
            move |kind, text| {
                if let Some(element) = element.upgrade() {
                    messages::progress(&element, kind, text);
                }
            },
        )
    }

    /// Takes the stream of new caps; true if the latency has changed.
    fn set_stream(&self, stream: &VideoStream) -> Result<bool, Error> {
        let mut worker = lock(&self.worker);
        let Some(worker) = worker.as_mut() else {
            return Ok(false);
        };
        if worker.is_new(stream) {
            self.preparation.cancel();
        }
        let preparing = self.preparation.is_wanted();
        worker.set_stream(stream, preparing, &|job, context| self.start_preparation(job, context))?;
        self.note_resets(worker);
        Ok(self.update_latency(worker))
    }

    /// Takes a trial frame where none of the size has been taken, and settles for how long frames are held back; true if
    /// the latency has changed.
    fn update_latency(&self, worker: &mut Worker) -> bool {
        let (latency, preparing) = (&self.reporter.latency, self.preparation.is_wanted());
        let trial = match self.live().passes_through() {
            true => None,
            false => worker.try_frame(preparing),
        };
        let tried = trial.is_some_and(|time| latency.begin(time));
        let (_, held) = worker.held(preparing, latency.is_live());
        latency.hold(held) || tried
    }

    /// What a frame is enhanced with, once engines are ready or the stream goes on without them; none if it
    /// goes through untouched.
    fn settings_for(&self, input: &gst::BufferRef) -> Result<Option<Live>, gst::FlowError> {
        controller::follow(self.obj().upcast_ref(), input, |error| {
            self.reporter.curve_outside(self.obj().upcast_ref(), &error);
        });
        let is_gap = input.size() == 0 && input.flags().contains(gst::BufferFlags::GAP);
        if is_gap || self.live().passes_through() {
            return Ok(None);
        }
        self.await_preparation()?;
        let live = self.live();
        let latency_changed = lock(&self.worker).as_mut().is_some_and(|worker| {
            let changed = self.update_latency(worker);
            if let Some(deadline) = worker.deadline(&live, self.reporter.latency.is_live()) {
                worker.prepare_rungs(deadline);
            }
            changed
        });
        if latency_changed {
            self.reporter.tell_latency(self.obj().upcast_ref());
        }
        Ok((!live.passes_through()).then_some(live))
    }

    /// Returns when the size is prepared, or the stream goes on while it is.
    fn await_preparation(&self) -> Result<(), gst::FlowError> {
        loop {
            // Nothing is locked while the frame waits.
            let wait = lock(&self.worker).as_ref().is_some_and(Worker::waits);
            let outcome = self.preparation.outcome(wait);
            let mut guard = lock(&self.worker);
            let Some(worker) = guard.as_mut() else {
                return Ok(());
            };
            let prepared = match outcome {
                Outcome::UnderWay => return Ok(()),
                Outcome::Interrupted => Err(Error::new(ErrorKind::Cancelled, "flushed or stopped")),
                Outcome::Ended(outcome) => worker.finish_preparation(outcome).map(|()| true),
                Outcome::None => worker.prepare_again(&|job, context| self.start_preparation(job, context)),
            };
            drop(guard);
            match prepared {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(gst::FlowError::Flushing),
                Err(error) => {
                    messages::error(self.obj().upcast_ref(), &error);
                    return Err(gst::FlowError::Error);
                }
            }
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for URetinexEnhance {
    const NAME: &'static str = "GstURetinexEnhance";
    type Type = super::URetinexEnhance;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for URetinexEnhance {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::specifications()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let name = pspec.name();
        if name == "qos" {
            return qos::set_enabled(&*self.obj(), value.get().expect("of the specified type"));
        }
        let live = pspec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING);
        if !live && self.reporter.backend_in_use().is_some() {
            gst::warning!(
                CAT,
                imp = self,
                "{name} can be set in states NULL and READY only: ignored"
            );
        } else if let Err(error) = { lock(&self.settings).set(name, value) } {
            let error = Error::new(error.kind(), format!("{name} is not changed: {error}"));
            messages::warn(self.obj().upcast_ref(), &error);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "qos" => qos::is_enabled(&*self.obj()).to_value(),
            "stats" => {
                let ratio = self.live().parameters.ratio;
                self.reporter.counters().structure(ratio).to_value()
            }
            "backend-in-use" => self.reporter.backend_in_use().to_value(),
            name => lock(&self.settings).get(name).expect("a property of the table"),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        qos::set_enabled(&*element, true);
        // Frames marked as gaps keep their mark.
        element.set_gap_aware(true);
        // A pad asks whether caps are taken before it hands on the event that brings them, and drops the event if they are
        // not: only a probe sees it.
        let weak = self.downgrade();
        let events = gst::PadProbeType::EVENT_DOWNSTREAM;
        element.sink_pad().add_probe(events, move |_, info| {
            if let Some(gst::PadProbeData::Event(event)) = &info.data
                && let gst::EventView::Caps(event) = event.view()
                && let Some(this) = weak.upgrade()
            {
                this.see_caps(event.caps());
            }
            gst::PadProbeReturn::Ok
        });
    }
}

impl GstObjectImpl for URetinexEnhance {}

impl ElementImpl for URetinexEnhance {
    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PausedToReady {
            // A frame that waits for engines holds the stream lock of its pad, which the change needs.
            self.preparation.close();
        }
        self.parent_change_state(transition)
    }

    fn set_context(&self, context: &gst::Context) {
        let (_, device) = lock(&self.settings).device();
        self.cuda.set_context(self.obj().upcast_ref(), context, device);
        self.parent_set_context(context);
    }

    fn post_message(&self, message: gst::Message) -> bool {
        let asks = matches!(
            message.view(),
            gst::MessageView::NeedContext(need) if cuda_memory::is_context(need.context_type())
        );
        let posted = self.parent_post_message(message);
        if asks {
            let (_, device) = lock(&self.settings).device();
            self.cuda.asked(self.obj().upcast_ref(), device);
        }
        posted
    }

    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "URetinex-Net night video enhancer",
                "Filter/Effect/Video",
                "Makes night video bright and clean with URetinex-Net",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = caps::template();
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).expect("a valid template")
                })
                .into()
        });
        &TEMPLATES
    }
}

impl BaseTransformImpl for URetinexEnhance {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::NeverInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    /// READY to PAUSED: loads the pack, so that whatever is wrong with it fails the state change.
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let (backend, device) = settings.device();
        gst::debug!(CAT, imp = self, "{settings:?}");
        self.preparation.open();
        let context = self.cuda.start(self.obj().upcast_ref(), backend, device);
        let worker = without_panic(|| Worker::new(&settings, context)).map_err(|e| {
            self.cuda.stop();
            errors::message(&e)
        })?;
        self.reporter.start(InUse {
            backend: worker.enhancer.enhancer.backend_name(),
            model: worker.enhancer.enhancer.model().name.clone(),
        });
        *lock(&self.worker) = Some(worker);
        self.obj().notify("backend-in-use");
        Ok(())
    }

    /// PAUSED to READY: the statistics stay readable until the next start.
    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        self.preparation.join();
        let worker = lock(&self.worker).take();
        drop(worker);
        self.reporter.stop();
        self.cuda.stop();
        Ok(())
    }

    fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        if !caps.is_fixed() {
            return self.parent_accept_caps(direction, caps);
        }
        let read = self.read_caps(caps);
        if let Err(error) = &read
            && direction == gst::PadDirection::Sink
        {
            self.reporter.declined(self.obj().upcast_ref(), caps, error);
        }
        read.is_ok()
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.type_() {
            gst::EventType::FlushStart => self.preparation.set_flushing(true),
            gst::EventType::FlushStop => {
                self.interrupt(Reset::Flush);
                self.preparation.set_flushing(false);
            }
            _ if event.is_serialized() => self.drain_before("an event"),
            _ => {}
        }
        self.parent_sink_event(event)
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        // Downstream may have asked for them, with no event from upstream.
        self.drain_before("new caps");
        let taken = self
            .read_caps(incaps)
            .and_then(|stream| Ok((self.set_stream(&stream)?, stream)));
        let (latency_changed, stream) = taken.map_err(|error| {
            self.reporter.refused(self.obj().upcast_ref(), incaps, &error);
            gst::loggable_error!(CAT, "{error}")
        })?;
        self.reporter.caps_taken();
        if latency_changed {
            self.reporter.tell_latency(self.obj().upcast_ref());
        }
        if let Some(transfer) = stream.high_dynamic_range() {
            let error = Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the video's transfer function is {transfer}: it is processed as if it were gamma-coded, and \
                     colours may be off; convert it to BT.709 first"
                ),
            );
            messages::warn(self.obj().upcast_ref(), &error);
        }
        gst::info!(CAT, imp = self, "frames are {incaps}: {:?}", stream.spec);
        Ok(())
    }

    fn unit_size(&self, caps: &gst::Caps) -> Option<usize> {
        allocation::frame_size(caps)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if query.type_() == gst::QueryType::Context && self.cuda.answer(self.obj().upcast_ref(), query) {
            return true;
        }
        if direction == gst::PadDirection::Sink && query.is_serialized() {
            self.drain_before("a query");
        }
        if !BaseTransformImplExt::parent_query(self, direction, query) {
            return false;
        }
        match query.view_mut() {
            gst::QueryViewMut::Latency(q) if direction == gst::PadDirection::Src => {
                let (live, min, max) = q.result();
                let own = self.reporter.latency.reported();
                self.reporter.latency.set_live(live);
                q.set(live, min + own, max.map(|max| max + own));
            }
            gst::QueryViewMut::Caps(q) => {
                if let Some(rest) = q.result_owned().and_then(|caps| self.without_cuda(&caps)) {
                    q.set_result(&rest);
                }
            }
            _ => {}
        }
        true
    }

    fn decide_allocation(&self, query: &mut gst::query::Allocation) -> Result<(), gst::LoggableError> {
        let strides = allocation::decide(query, &self.cuda)?;
        self.strides_downstream.store(strides, Ordering::Relaxed);
        self.parent_decide_allocation(query)
    }

    fn propose_allocation(
        &self,
        decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        self.parent_propose_allocation(decide_query, query)?;
        let held = !self.reporter.latency.held().is_zero();
        allocation::propose(query, &self.cuda, held, self.strides_downstream.load(Ordering::Relaxed))
    }

    /// All metas are kept but those about memory, which the base class leaves out before it asks, and a crop that the frame
    /// which leaves is the result of.
    fn transform_meta<'a>(
        &self,
        _outbuf: &mut gst::BufferRef,
        meta: gst::MetaRef<'a, gst::Meta>,
        _inbuf: &'a gst::BufferRef,
    ) -> bool {
        let Some(crop) = meta.downcast_ref::<VideoCropMeta>() else {
            return true;
        };
        let info = self
            .obj()
            .sink_pad()
            .current_caps()
            .and_then(|caps| VideoInfo::from_caps(&caps).ok());
        !info.is_some_and(|info| planes::is_frame(crop, &info))
    }

    fn submit_input_buffer(&self, is_discont: bool, inbuf: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        if is_discont {
            // The next frame that goes out is marked: let it be this one.
            self.drain()?;
        }
        let last = std::mem::replace(&mut *lock(&self.last_time), inbuf.pts());
        if is_discont && !goes_on(last, inbuf.pts()) {
            self.interrupt(Reset::Discontinuity);
        }
        let flow = self.parent_submit_input_buffer(is_discont, inbuf)?;
        self.discontinuous.store(is_discont, Ordering::Relaxed);
        if flow == gst_base::BASE_TRANSFORM_FLOW_DROPPED {
            self.reporter.counters().dropped += 1;
            self.drain()?;
        }
        Ok(flow)
    }

    /// Called until there is nothing to give out.
    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let input = match self.take_queued_buffer() {
            Some(input) => Some((self.settings_for(&input)?, input)),
            None => None,
        };
        // All times of frames are measured from here, after what had to be waited for.
        let started = Instant::now();
        let live = match input {
            Some((live, input)) => {
                self.take_in(input, live.as_ref())?;
                live
            }
            None => None,
        };
        let output = self.give_out(false, started)?;
        if let Some(live) = live {
            self.keep_deadline(&live, started.elapsed());
        }
        Ok(output.map_or(GenerateOutputSuccess::NoOutput, GenerateOutputSuccess::Buffer))
    }
}

#[cfg(test)]
mod tests;
