//! The element: buffers in, enhanced buffers out.
//!
//! Locks: `settings` and `counters` are held for the length of a copy, by any thread. `worker` is held by the
//! streaming thread while it works on a frame, and by state changes while no frame can come; property access, queries
//! that do not wait their turn in the stream, and negotiation of caps never take it. It is never held while a buffer is
//! pushed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::GenerateOutputSuccess;
use gst_base::subclass::prelude::*;
use gst_video::{VideoBufferPool, VideoInfo, VideoMeta};
use uretinex::{Error, ErrorKind, RATIO_RANGE};

use super::caps::{self, Stream};
use super::counters::{Counters, InUse};
use super::device::{self, Device};
use super::latency::Latency;
use super::settings::{self, Live, Settings};
use super::{CAT, errors, qos};
use crate::gstcuda::Tenant;
use flight::Flight;
use worker::Worker;

mod flight;
mod worker;

/// Implementation of the element.
#[derive(Default)]
pub struct URetinexEnhance {
    settings: Mutex<Settings>,
    pub(super) counters: Mutex<Counters>,
    worker: Mutex<Option<Worker>>,
    pub(super) device: Device,
    latency: Latency,
    /// Whether the base class marks the frame that comes in as discontinuous when it goes out.
    marked: AtomicBool,
    /// Whether what is downstream reads strides from video metas.
    strides_downstream: AtomicBool,
    /// The caps refused last, so that a retry is not reported again.
    refused: Mutex<Option<gst::Caps>>,
}

/// A panic while the lock was held leaves data that is still in order.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `f`; a panic becomes an error.
pub(super) fn without_panic<T>(f: impl FnOnce() -> uretinex::Result<T>) -> uretinex::Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Err(Error::new(
            ErrorKind::BackendFailed,
            format!(
                "a programming error in uretinex ({}): please report it",
                text.unwrap_or("panic")
            ),
        ))
    })
}

impl URetinexEnhance {
    /// Why frames in CUDA memory are not taken, if they are not.
    fn lacks_cuda(&self) -> Option<String> {
        let (backend, _) = lock(&self.settings).device();
        let in_use = lock(&self.counters).in_use.as_ref().map(|u| u.backend);
        self.device.lacks(backend, in_use)
    }

    /// What `caps` leaves where CUDA memory is not taken; none if that is all of it.
    fn without_cuda(&self, caps: &gst::Caps) -> Option<gst::Caps> {
        let lacks = device::mentioned(caps).then(|| self.lacks_cuda()).flatten()?;
        gst::debug!(CAT, imp = self, "CUDA memory is not offered: {lacks}");
        Some(device::without(caps))
    }

    /// Sets controlled properties to their values at the buffer's time.
    fn follow_controller(&self, buffer: &gst::BufferRef) {
        let element = self.obj();
        if !element.has_active_control_bindings() {
            return;
        }
        let segment = element.segment();
        let Some(time) = segment
            .downcast_ref::<gst::ClockTime>()
            .and_then(|s| s.to_stream_time(buffer.pts()))
        else {
            return;
        };
        if let Err(e) = element.sync_values(time) {
            gst::debug!(CAT, imp = self, "{e}");
        }
        for (name, range) in [("ratio", RATIO_RANGE), ("strength", 0.0..=1.0)] {
            let binding = element.control_binding(name);
            let value = binding
                .and_then(|b| ControlBindingExt::value(&b, time))
                .and_then(|v| v.get::<f32>().ok());
            if let Some(value) = value.filter(|v| !range.contains(v)) {
                self.report_curve(name, value, range);
            }
        }
    }

    fn report_curve(&self, name: &str, value: f32, range: std::ops::RangeInclusive<f32>) {
        let mut worker = lock(&self.worker);
        let Some(worker) = worker.as_mut().filter(|w| !w.warned_of_curve) else {
            return;
        };
        worker.warned_of_curve = true;
        let error = Error::new(
            ErrorKind::InvalidOption,
            format!(
                "the controller's curve gives {name} {value}, outside {} to {}: the nearest value within is used; \
                 correct the curve",
                range.start(),
                range.end()
            ),
        );
        gst::warning!(CAT, imp = self, "{error}");
        errors::warn(&self.obj(), &error);
    }

    /// Puts an error about caps on the bus, once for the same caps.
    fn refuse(&self, caps: &gst::Caps, error: &Error) {
        gst::error!(CAT, imp = self, "{error}: {caps}");
        if lock(&self.refused)
            .replace(caps.clone())
            .is_none_or(|before| before != *caps)
        {
            self.post_error_message(errors::message(error));
        }
    }

    fn live(&self) -> Live {
        lock(&self.settings).live
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
        if !live && lock(&self.counters).in_use.is_some() {
            gst::warning!(
                CAT,
                imp = self,
                "{name} can be set in states NULL and READY only: ignored"
            );
        } else if !lock(&self.settings).set(name, value) {
            gst::warning!(CAT, imp = self, "{name} is not a number: ignored");
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "qos" => qos::is_enabled(&*self.obj()).to_value(),
            "stats" => {
                let ratio = self.live().parameters.ratio;
                lock(&self.counters).structure(ratio).to_value()
            }
            "backend-in-use" => lock(&self.counters).in_use.as_ref().map(|u| u.backend).to_value(),
            name => lock(&self.settings).get(name).expect("a property of the table"),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        qos::set_enabled(&*self.obj(), true);
        // Frames marked as gaps keep their mark.
        self.obj().set_gap_aware(true);
    }
}

impl GstObjectImpl for URetinexEnhance {}

impl ElementImpl for URetinexEnhance {
    fn set_context(&self, context: &gst::Context) {
        let (backend, device) = lock(&self.settings).device();
        self.device
            .set_context(self.obj().upcast_ref(), context, backend, device);
        self.parent_set_context(context);
    }

    fn post_message(&self, message: gst::Message) -> bool {
        let asks =
            matches!(message.view(), gst::MessageView::NeedContext(need) if device::is_context(need.context_type()));
        let posted = self.parent_post_message(message);
        if asks {
            let (backend, device) = lock(&self.settings).device();
            self.device.asked(self.obj().upcast_ref(), backend, device);
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
        let (options, (backend, device)) = (settings.options(), settings.device());
        gst::debug!(CAT, imp = self, "{options:?}");
        let context = self.device.start(self.obj().upcast_ref(), backend, device);
        let tenant = without_panic(|| Tenant::new(&options, context)).map_err(|e| {
            self.device.stop();
            errors::message(&e)
        })?;
        *lock(&self.counters) = Counters::of(InUse {
            backend: tenant.enhancer.backend_name(),
            model: tenant.enhancer.model().name.clone(),
        });
        *lock(&self.worker) = Some(Worker {
            tenant,
            stream: None,
            building: None,
            stand_in: None,
            flight: Flight::new(settings.frames_in_flight),
            warned: Vec::new(),
            warned_of_curve: false,
        });
        self.latency.reset();
        *lock(&self.refused) = None;
        self.obj().notify("backend-in-use");
        Ok(())
    }

    /// PAUSED to READY: the statistics stay readable until the next start.
    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.worker) = None;
        lock(&self.counters).in_use = None;
        self.device.stop();
        Ok(())
    }

    /// Upstream learns why its caps are refused when it sends them, from the bus.
    fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
        match direction {
            gst::PadDirection::Sink => caps.structure(0).is_some_and(|s| s.name() == "video/x-raw"),
            _ => self.parent_accept_caps(direction, caps),
        }
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::FlushStop {
            self.forget();
        } else if event.is_serialized() {
            self.drain_before("an event");
        }
        if let gst::EventView::Caps(e) = event.view()
            && let Err(error) = Stream::new(e.caps(), || self.lacks_cuda())
        {
            self.refuse(&e.caps_owned(), &error);
            return false;
        }
        self.parent_sink_event(event)
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        // Downstream may have asked for them, with no event from upstream.
        self.drain_before("new caps");
        let prepared = Stream::new(incaps, || self.lacks_cuda()).and_then(|stream| {
            let mut worker = lock(&self.worker);
            let mut latency_changed = false;
            if let Some(worker) = worker.as_mut() {
                self.make_ready(worker, &stream)?;
                latency_changed = self.plan(worker, &stream);
                worker.stream = Some(stream.clone());
            }
            Ok((stream, latency_changed))
        });
        let stream = match prepared {
            Ok((stream, latency_changed)) => {
                if latency_changed {
                    self.tell_latency();
                }
                stream
            }
            Err(error) => {
                self.refuse(incaps, &error);
                return Err(gst::loggable_error!(CAT, "{error}"));
            }
        };
        *lock(&self.refused) = None;
        if let Some(transfer) = stream.high_dynamic_range() {
            let error = Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the video's transfer function is {transfer}: it is processed as if it were gamma-coded, and \
                     colours may be off; convert it to BT.709 first"
                ),
            );
            gst::warning!(CAT, imp = self, "{error}");
            errors::warn(&self.obj(), &error);
        }
        gst::info!(CAT, imp = self, "frames are {:?}", stream.spec);
        Ok(())
    }

    fn unit_size(&self, caps: &gst::Caps) -> Option<usize> {
        VideoInfo::from_caps(caps).ok().map(|info| info.size())
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if query.type_() == gst::QueryType::Context && self.device.answer(self.obj().upcast_ref(), query) {
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
                let own = self.latency.reported();
                self.latency.set_live(live);
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
        let strides = query.find_allocation_meta::<VideoMeta>().is_some();
        self.strides_downstream.store(strides, Ordering::Relaxed);
        let on_gpu = query.get_owned().0.filter(|caps| device::holds(caps));
        if let Some(caps) = on_gpu {
            self.device
                .decide(query, &caps)
                .map_err(|e| gst::loggable_error!(CAT, "{e}"))?;
        } else if query.allocation_pools().next().is_none()
            && let (Some(caps), _) = query.get_owned()
        {
            let size = self.unit_size(&caps).unwrap_or(0) as u32;
            let pool = VideoBufferPool::new();
            let mut config = pool.config();
            config.set_params(Some(&caps), size, 0, 0);
            pool.set_config(config).map_err(|e| gst::loggable_error!(CAT, "{e}"))?;
            query.add_allocation_pool(Some(&pool), size, 0, 0);
        }
        self.parent_decide_allocation(query)
    }

    fn propose_allocation(
        &self,
        decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        self.parent_propose_allocation(decide_query, query)?;
        if let (Some(caps), need_pool) = query.get_owned()
            && device::holds(&caps)
        {
            let proposed = self.device.propose(query, &caps, need_pool);
            return proposed.map_err(|e| gst::loggable_error!(CAT, "{e}"));
        }
        let held = self.latency.held();
        if !held.is_zero()
            && let (Some(caps), _) = query.get_owned()
        {
            // One stays here while the next one is on its way.
            let size = self.unit_size(&caps).unwrap_or(0) as u32;
            query.add_allocation_pool(None::<&gst::BufferPool>, size, 2, 0);
        }
        // Buffers may go downstream as they came: their strides have to be welcome there.
        if self.strides_downstream.load(Ordering::Relaxed) && query.find_allocation_meta::<VideoMeta>().is_none() {
            query.add_allocation_meta::<VideoMeta>(None);
        }
        Ok(())
    }

    /// All metas are kept but those about memory, which the base class leaves out before it asks.
    fn transform_meta<'a>(
        &self,
        _outbuf: &mut gst::BufferRef,
        _meta: gst::MetaRef<'a, gst::Meta>,
        _inbuf: &'a gst::BufferRef,
    ) -> bool {
        true
    }

    fn submit_input_buffer(&self, is_discont: bool, inbuf: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        if is_discont {
            // The next frame that goes out is marked: let it be this one.
            self.drain()?;
        }
        let flow = self.parent_submit_input_buffer(is_discont, inbuf)?;
        self.marked.store(is_discont, Ordering::Relaxed);
        if flow == gst_base::BASE_TRANSFORM_FLOW_DROPPED {
            lock(&self.counters).dropped += 1;
            self.drain()?;
        }
        Ok(flow)
    }

    /// Called until there is nothing to give out.
    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let started = Instant::now();
        if let Some(input) = self.take_queued_buffer() {
            self.take_in(input, self.marked.load(Ordering::Relaxed), started)?;
        }
        let output = self.give_out(false, started)?;
        Ok(output.map_or(GenerateOutputSuccess::NoOutput, GenerateOutputSuccess::Buffer))
    }
}
