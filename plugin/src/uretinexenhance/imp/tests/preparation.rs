//! Engines that are built while the stream runs: who waits for them, and who ends the wait.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::stand_in::Engines;
use super::*;

const PATIENCE: Duration = Duration::from_secs(120);

/// With engines for frames of 16x16 being built; `mode` is the property `on-engine-build`.
fn building(mode: &str, limit: u32) -> Rig {
    let element = element(limit);
    element.set_property_from_str("on-engine-build", mode);
    let mut rig = Rig::around(element);
    rig.record.get().engines = Engines::BeingBuilt;
    rig.harness.set_src_caps(caps(16, 25));
    rig.seen();
    until("the build begins", || rig.record.get().log.contains(&"build".into()));
    rig
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Does `work` on a thread of its own, and ends the process if it does not come back: a thread that waits for ever would
/// keep the test from ending.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, result) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    result.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        eprintln!("{what} does not come back");
        std::process::exit(1)
    })
}

/// Pushes a frame on a thread of its own, which then waits for engines.
fn push_waiting(rig: &Rig, n: u8) -> mpsc::Receiver<Result<gst::FlowSuccess, gst::FlowError>> {
    let (sender, flow) = mpsc::channel();
    let pad = rig.harness.srcpad().unwrap();
    thread::spawn(move || sender.send(pad.push(frame(n))));
    // It must not come back by itself.
    assert!(
        flow.recv_timeout(Duration::from_millis(100)).is_err(),
        "the frame does not wait"
    );
    flow
}

fn flow(of: &mpsc::Receiver<Result<gst::FlowSuccess, gst::FlowError>>) -> Result<gst::FlowSuccess, gst::FlowError> {
    of.recv_timeout(PATIENCE).expect("the frame goes on")
}

#[test]
fn a_stop_does_not_wait_for_engines() {
    for state in [gst::State::Ready, gst::State::Null] {
        let rig = building("wait", 2);
        let waiting = push_waiting(&rig, 0);
        let element = rig.element.clone();
        in_time("the state change", move || element.set_state(state)).unwrap();
        assert_eq!(flow(&waiting), Err(gst::FlowError::Flushing), "{state:?}");
        // The thread has ended when the state has changed.
        assert_eq!(rig.log(), ["build", "cancelled"], "{state:?}");
        assert_eq!(rig.messages(gst::MessageType::Error), 0, "{state:?}");
        assert_eq!(rig.count("failed"), 0, "{state:?}");
    }
}

#[test]
fn a_stopped_element_starts_again() {
    let mut rig = building("wait", 2);
    let waiting = push_waiting(&rig, 0);
    let element = rig.element.clone();
    in_time("the state change", move || element.set_state(gst::State::Ready)).unwrap();
    assert_eq!(flow(&waiting), Err(gst::FlowError::Flushing));
    rig.harness.play();
    rig.element.set_state(gst::State::Playing).unwrap();
    give_backend(&rig.element, &rig.record);
    rig.harness.push_event(gst::event::StreamStart::new("again"));
    rig.harness.set_src_caps(caps(16, 25));
    let waiting = push_waiting(&rig, 1);
    rig.record.get().engines = Engines::Ready;
    assert_eq!(flow(&waiting), Ok(gst::FlowSuccess::Ok));
    rig.eos();
    assert_eq!((rig.count("frames"), rig.count("failed")), (1, 0));
}

/// The default: without a driver nothing can do the work meanwhile, and a frame waits as it does with `wait`.
#[test]
fn frames_wait_where_cuda_cannot_do_the_work() {
    if uretinex::probe().cuda_lacks().is_none() {
        println!("SKIPPED: there is a driver, so cuda does the work");
        return;
    }
    let mut rig = building("cuda", 2);
    let waiting = push_waiting(&rig, 1);
    rig.record.get().engines = Engines::Ready;
    assert_eq!(flow(&waiting), Ok(gst::FlowSuccess::Ok));
    rig.eos();
    assert_eq!(
        (rig.count("frames"), rig.count("passed"), rig.count("failed")),
        (1, 0, 0)
    );
}

#[test]
fn a_flush_ends_the_wait_and_the_stream_goes_on() {
    let mut rig = building("wait", 2);
    for round in 0..2 {
        let waiting = push_waiting(&rig, 1);
        assert!(rig.harness.push_event(gst::event::FlushStart::new()));
        assert_eq!(flow(&waiting), Err(gst::FlowError::Flushing), "round {round}");
        assert!(rig.harness.push_event(gst::event::FlushStop::new(true)));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(rig.harness.push_event(gst::event::Segment::new(&segment)));
    }
    let waiting = push_waiting(&rig, 2);
    rig.record.get().engines = Engines::Ready;
    assert_eq!(flow(&waiting), Ok(gst::FlowSuccess::Ok));
    rig.eos();
    assert!(rig.seen().contains(&"2".into()));
    // What was built before the flush is not lost.
    let log = rig.log();
    assert_eq!(log.iter().filter(|entry| *entry == "build").count(), 1, "{log:?}");
    assert_eq!(rig.messages(gst::MessageType::Error), 0);
    assert_eq!((rig.count("frames"), rig.count("failed")), (1, 0));
}

/// What Ctrl-C and a seek do in a program: the whole pipeline at once.
#[test]
fn a_pipeline_that_waits_for_engines_can_be_sought_in_and_stopped() {
    for engines_in_time in [false, true] {
        let (element, record) = (element(2), SharedRecord::default());
        element.set_property_from_str("on-engine-build", "wait");
        let make = |name| gst::ElementFactory::make(name).build().unwrap();
        let [source, filter, sink] = ["videotestsrc", "capsfilter", "fakesink"].map(make);
        source.set_property("num-buffers", 50);
        filter.set_property("caps", caps(16, 25));
        let pipeline = gst::Pipeline::new();
        let all = [&source, &filter, element.upcast_ref(), &sink];
        pipeline.add_many(all).unwrap();
        gst::Element::link_many(all).unwrap();
        // Started by itself first, for the sake of the backend.
        element.set_state(gst::State::Paused).unwrap();
        record.get().engines = Engines::BeingBuilt;
        give_backend(&element, &record);
        pipeline.set_state(gst::State::Playing).unwrap();
        until("the build begins", || record.get().log.contains(&"build".into()));
        thread::sleep(Duration::from_millis(100));
        let (sought, flags) = (pipeline.clone(), gst::SeekFlags::FLUSH);
        in_time("the seek", move || sought.seek_simple(flags, gst::ClockTime::ZERO)).unwrap();
        let bus = pipeline.bus().unwrap();
        let ends = [gst::MessageType::Error, gst::MessageType::Eos];
        if engines_in_time {
            record.get().engines = Engines::Ready;
            let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(PATIENCE.as_secs()), &ends);
            let ended = message.as_ref().is_some_and(|m| m.type_() == gst::MessageType::Eos);
            assert!(ended, "{message:?}");
        } else {
            thread::sleep(Duration::from_millis(100));
        }
        let stopped = pipeline.clone();
        in_time("the stop", move || stopped.set_state(gst::State::Null)).unwrap();
        assert!(bus.pop_filtered(&ends[..1]).is_none(), "an error on the bus");
        bus.set_flushing(true);
    }
}

#[test]
fn frames_wait_for_engines_and_their_times_do_not_count_the_wait() {
    let mut rig = building("wait", 1);
    let waiting = push_waiting(&rig, 1);
    rig.record.get().engines = Engines::Ready;
    assert_eq!(flow(&waiting), Ok(gst::FlowSuccess::Ok));
    rig.push([2]);
    assert_eq!(rig.seen().join(" "), "1 2");
    let stats: gst::Structure = rig.element.property("stats");
    let p99 = stats.get::<f64>("total-ms-p99").unwrap();
    assert!(p99 < 90.0, "the frame waited for 100 ms: {p99}");
}

#[test]
fn frames_that_pass_through_do_not_wait() {
    let mut rig = building("wait", 1);
    rig.element.set_property("enabled", false);
    rig.push([1, 2]);
    assert_eq!(rig.seen().join(" "), "1! 2!");
}

#[test]
fn engines_that_cannot_be_had_end_the_stream() {
    let rig = building("wait", 2);
    let waiting = push_waiting(&rig, 0);
    rig.record.get().engines = Engines::Failing;
    assert_eq!(flow(&waiting), Err(gst::FlowError::Error));
    let message = rig.bus.pop_filtered(&[gst::MessageType::Error]).expect("an error");
    let gst::MessageView::Error(error) = message.view() else {
        panic!("{message:?}")
    };
    assert!(error.error().to_string().contains("as planned"), "{message:?}");
}

#[test]
fn frames_go_through_while_engines_are_built() {
    let mut rig = building("passthrough", 2);
    rig.push([0, 1, 2]);
    assert_eq!(rig.seen().join(" "), "0! 1! 2!");
    // A flush changes nothing.
    assert!(rig.harness.push_event(gst::event::FlushStart::new()));
    assert!(rig.harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(rig.harness.push_event(gst::event::Segment::new(&segment)));
    rig.push([3]);
    assert_eq!(rig.seen().last().unwrap(), "3!");
    rig.record.get().engines = Engines::Ready;
    let mut next = 4;
    while rig.element.imp().preparation.is_wanted() {
        assert!(next < 200, "the engines are not ready");
        thread::sleep(Duration::from_millis(20));
        rig.push([next]);
        next += 1;
    }
    rig.seen();
    rig.push([next]);
    rig.eos();
    assert_eq!(rig.seen(), [(next - 1).to_string(), next.to_string(), "Eos".into()]);
    assert_eq!((rig.count("frames"), rig.count("failed")), (2, 0));
}

#[test]
fn the_processor_stands_in_while_engines_are_built() {
    let mut rig = building("cpu", 2);
    rig.push([1, 2]);
    assert_eq!(rig.count("frames"), 2, "taken one by one");
    assert_eq!(
        rig.element.property::<Option<String>>("backend-in-use").as_deref(),
        Some("cpu")
    );
    rig.record.get().engines = Engines::Ready;
    let mut next = 3;
    while rig.element.imp().preparation.is_wanted() {
        assert!(next < 200, "the engines are not ready");
        thread::sleep(Duration::from_millis(20));
        rig.harness.push(frame(next)).unwrap();
        next += 1;
    }
    assert_eq!(
        rig.element.property::<Option<String>>("backend-in-use").as_deref(),
        Some("identity")
    );
    rig.eos();
    assert_eq!((rig.count("frames"), rig.count("failed")), (u64::from(next) - 1, 0));
}

#[test]
fn other_caps_cancel_the_build_and_the_same_do_not() {
    let mut rig = building("passthrough", 2);
    rig.harness.set_src_caps(caps(16, 50));
    rig.push([1]);
    assert_eq!(rig.log(), ["build"]);
    rig.harness.set_src_caps(caps(32, 25));
    until("the first build is cancelled", || {
        rig.record.get().log.contains(&"cancelled".into())
    });
    rig.harness.push(sized(2, 32)).unwrap();
    until("the second build begins", || {
        rig.record.get().log.contains(&"build".into())
    });
    assert_eq!((rig.count("passed"), rig.count("failed")), (2, 0));
}
