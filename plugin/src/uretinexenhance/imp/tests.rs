//! The element with a backend that takes two frames at a time.

mod frames;
mod latency;
mod preparation;
mod resets;
mod stand_in;

use std::sync::{Arc, Mutex};

use gst_video::VideoInfo;
use uretinex::{Enhancer, Options};

use super::super::URetinexEnhance as Element;
use super::*;
use stand_in::{PipelinedBackend, SharedRecord};

const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

fn caps(side: i32, rate: i32) -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", "GRAY8")
        .field("width", side)
        .field("height", side)
        .field("framerate", gst::Fraction::new(rate, 1))
        .build()
}

/// Frame `n` of a stream of that size: all its bytes are `n`.
fn sized(n: u8, side: i32) -> gst::Buffer {
    let size = VideoInfo::from_caps(&caps(side, 25)).unwrap().size();
    let mut buffer = gst::Buffer::from_mut_slice(vec![n; size]);
    let b = buffer.get_mut().unwrap();
    b.set_pts(FRAME * u64::from(n));
    b.set_duration(FRAME);
    buffer
}

fn frame(n: u8) -> gst::Buffer {
    sized(n, 16)
}

/// A buffer as it left: its number, `!` if it is as it came, `?` if it is neither that nor of the stand-in, `d` if it is
/// marked as discontinuous.
fn describe(buffer: &gst::BufferRef) -> String {
    let n = (buffer.pts().unwrap().nseconds() / FRAME.nseconds()) as u8;
    let untouched = match buffer.map_readable().unwrap().first() {
        Some(&byte) if byte == !n => "",
        Some(&byte) if byte != n => "?",
        _ => "!",
    };
    let marked = buffer.flags().contains(gst::BufferFlags::DISCONT);
    format!("{n}{untouched}{}", if marked { "d" } else { "" })
}

/// The element; `limit` is the property `frames-in-flight`.
fn element(limit: u32) -> Element {
    gst::init().unwrap();
    let element: Element = glib::Object::new();
    element.set_property_from_str("backend", "identity");
    element.set_property("model", "lite");
    element.set_property("frames-in-flight", limit);
    element
}

fn with_worker<T>(element: &Element, f: impl FnOnce(&mut Worker) -> T) -> T {
    f(lock(&element.imp().worker).as_mut().expect("the element is started"))
}

/// Puts the backend in the place of the one that the element was started with.
fn give_backend(element: &Element, record: &SharedRecord) {
    let options = Options {
        model: "lite".into(),
        ..Options::default()
    };
    let enhancer = Enhancer::with_backend(&options, Box::new(PipelinedBackend(record.clone()))).unwrap();
    with_worker(element, |worker| worker.enhancer.enhancer = enhancer);
}

/// Frames that the enhancer has, and those that the element has.
fn inside(element: &Element) -> (usize, usize) {
    with_worker(element, |w| (w.enhancer.enhancer.pending(), w.queue.len()))
}

/// The element in a harness, with the backend; all that leaves it in order, events that wait their turn by their names.
struct Rig {
    element: Element,
    harness: gst_check::Harness,
    bus: gst::Bus,
    record: SharedRecord,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Rig {
    /// Without caps yet; `limit` is the property `frames-in-flight`.
    fn bare(limit: u32) -> Self {
        Self::around(element(limit))
    }

    /// Around an element that is not started, without caps yet.
    fn around(element: Element) -> Self {
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        let rig = Self {
            element,
            harness,
            bus,
            record: SharedRecord::default(),
            seen: Arc::default(),
        };
        give_backend(&rig.element, &rig.record);
        let seen = rig.seen.clone();
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
        rig.element.src_pad().add_probe(kinds, move |_, info| {
            let what = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => describe(buffer),
                Some(gst::PadProbeData::Event(event)) => format!("{:?}", event.type_()),
                _ => return gst::PadProbeReturn::Ok,
            };
            seen.lock().unwrap().push(what);
            gst::PadProbeReturn::Ok
        });
        rig
    }

    /// With frames of 16x16 coming, 25 a second.
    fn new(limit: u32) -> Self {
        let mut rig = Self::bare(limit);
        rig.harness.set_src_caps(caps(16, 25));
        rig.seen();
        rig.log();
        rig
    }

    fn push(&mut self, frames: impl IntoIterator<Item = u8>) {
        for n in frames {
            self.harness.push(frame(n)).unwrap();
        }
    }

    fn eos(&mut self) {
        assert!(self.harness.push_event(gst::event::Eos::new()));
    }

    /// What has left since it was looked at last.
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// What the backend has been asked for since this was looked at last.
    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.record.get().log)
    }

    fn count(&self, name: &str) -> u64 {
        self.element.property::<gst::Structure>("stats").get(name).unwrap()
    }

    fn messages(&self, kind: gst::MessageType) -> usize {
        std::iter::from_fn(|| self.bus.pop_filtered(&[kind])).count()
    }
}

impl Drop for Rig {
    /// Messages hold the element that they came from, which holds the bus.
    fn drop(&mut self) {
        self.bus.set_flushing(true);
    }
}
