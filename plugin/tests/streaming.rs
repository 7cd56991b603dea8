//! Pipelines: seeking, pausing, ending, changing caps, being late, several elements at once, real clips.
//!
//! The seek and renegotiation scenarios are those of gst-validate, which Debian does not package.

mod common;

use std::time::{Duration, Instant};

use common::{Rig, caps, clips, element, frame, messages, model};
use gst::prelude::*;

/// How long to wait for what comes at once on a quiet machine.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(300);

/// A pipeline in which `ENHANCE` stands for the element without a network.
fn pipeline(launch: &str) -> gst::Pipeline {
    common::init();
    let enhance = format!("uretinexenhance backend=identity model={}", model());
    let launch = launch.replace("ENHANCE", &enhance);
    gst::parse::launch(&launch)
        .unwrap_or_else(|e| panic!("{launch}: {e}"))
        .downcast()
        .unwrap()
}

/// Waits for the end of the stream or an error; the error's text.
fn finish(pipeline: &gst::Pipeline) -> Result<(), String> {
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(PATIENCE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    match message.expect("an end in time").view() {
        gst::MessageView::Error(e) => Err(e.error().message().into()),
        _ => Ok(()),
    }
}

fn settle(pipeline: &gst::Pipeline, state: gst::State) {
    pipeline.set_state(state).unwrap();
    let (result, reached, _) = pipeline.state(PATIENCE);
    assert!(result.is_ok() && reached == state, "{state:?}: {result:?}, {reached:?}");
}

fn stats(pipeline: &gst::Pipeline, name: &str) -> gst::Structure {
    pipeline.by_name(name).unwrap().property("stats")
}

fn count(pipeline: &gst::Pipeline, name: &str) -> u64 {
    stats(pipeline, "enhance").get(name).unwrap()
}

#[test]
fn every_frame_of_a_stream_comes_out_until_its_end() {
    let p = pipeline("videotestsrc num-buffers=50 ! video/x-raw,width=64,height=48 ! ENHANCE name=enhance ! fakesink");
    for run in 0..3 {
        settle(&p, gst::State::Playing);
        assert_eq!(finish(&p), Ok(()));
        assert_eq!(count(&p, "frames"), 50, "run {run}");
        settle(&p, gst::State::Null);
    }
}

#[test]
fn states_may_change_at_any_time() {
    let p = pipeline("videotestsrc ! video/x-raw,width=64,height=48 ! ENHANCE name=enhance ! fakesink sync=true");
    use gst::State::{Null, Paused, Playing, Ready};
    for state in [
        Ready, Paused, Playing, Paused, Playing, Ready, Paused, Null, Playing, Ready, Ready, Null, Paused, Null,
    ] {
        settle(&p, state);
    }
    // Without waiting in between.
    for _ in 0..10 {
        p.set_state(Playing).unwrap();
        p.set_state(Null).unwrap();
    }
    assert_eq!(
        messages(&p.bus().unwrap(), gst::MessageType::Error),
        Vec::<String>::new()
    );
}

#[test]
fn seeks_flush_and_leave_nothing_behind() {
    let p = pipeline(
        "videotestsrc num-buffers=250 pattern=ball ! video/x-raw,width=64,height=48,framerate=25/1 \
         ! ENHANCE name=enhance ! fakesink name=sink sync=false enable-last-sample=true",
    );
    let sink = p.by_name("sink").unwrap();
    settle(&p, gst::State::Paused);
    for (seconds, flags) in [
        (4, gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE),
        (1, gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE),
        (8, gst::SeekFlags::FLUSH),
        (0, gst::SeekFlags::FLUSH),
        (2, gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT),
    ] {
        let target = gst::ClockTime::from_seconds(seconds);
        p.seek_simple(flags, target).unwrap();
        p.state(PATIENCE).0.unwrap();
        let sample: gst::Sample = sink.property("last-sample");
        let pts = sample.buffer().unwrap().pts().unwrap();
        assert!(
            pts.absdiff(target) <= gst::ClockTime::from_mseconds(40),
            "asked for {target}, got {pts}"
        );
        settle(&p, gst::State::Playing);
        settle(&p, gst::State::Paused);
    }
    // Backwards, and to the end.
    let (start, stop) = (gst::ClockTime::ZERO, gst::ClockTime::from_seconds(2));
    p.seek(
        1.0,
        gst::SeekFlags::FLUSH,
        gst::SeekType::Set,
        start,
        gst::SeekType::Set,
        stop,
    )
    .unwrap();
    settle(&p, gst::State::Playing);
    assert_eq!(finish(&p), Ok(()));
    assert_eq!(count(&p, "failed"), 0);
    settle(&p, gst::State::Null);
}

#[test]
fn a_flush_ends_waiting_and_the_stream_goes_on() {
    let caps = caps("NV12", 64, 48);
    let mut rig = Rig::new("identity", &caps);
    rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
    assert!(rig.harness.push_event(gst::event::FlushStart::new()));
    assert_eq!(rig.harness.push(frame(&caps, 1)), Err(gst::FlowError::Flushing));
    assert!(rig.harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(rig.harness.push_event(gst::event::Segment::new(&segment)));
    rig.harness.push_and_pull(frame(&caps, 2)).unwrap();
    assert_eq!(rig.count("frames"), 2);
}

#[test]
fn caps_change_while_the_pipeline_runs() {
    let p = pipeline(
        "videotestsrc is-live=false ! videoscale ! videoconvert ! capsfilter name=filter \
         caps=video/x-raw,format=NV12,width=64,height=48 ! ENHANCE name=enhance ! fakesink name=sink signal-handoffs=true",
    );
    settle(&p, gst::State::Playing);
    let (filter, sink) = (p.by_name("filter").unwrap(), p.by_name("sink").unwrap());
    for (format, width, height) in [("I420", 80, 60), ("RGB", 33, 17), ("GRAY8", 16, 16), ("NV12", 64, 48)] {
        let wanted = gst::Caps::builder("video/x-raw");
        filter.set_property(
            "caps",
            wanted
                .field("format", format)
                .field("width", width)
                .field("height", height)
                .build(),
        );
        let deadline = Instant::now() + Duration::from_nanos(PATIENCE.nseconds());
        loop {
            let current = sink.static_pad("sink").unwrap().current_caps();
            let s = current.as_ref().and_then(|c| c.structure(0));
            if s.is_some_and(|s| s.get("format") == Ok(format) && s.get("width") == Ok(width)) {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "still {current:?}, not {format} {width}x{height}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(count(&p, "failed"), 0);
    assert_eq!(
        messages(&p.bus().unwrap(), gst::MessageType::Error),
        Vec::<String>::new()
    );
    settle(&p, gst::State::Null);
}

#[test]
fn refusals_reach_the_bus_of_a_pipeline() {
    for (caps, part) in [
        (
            "video/x-raw,width=64,height=48,interlace-mode=interleaved",
            "deinterlace",
        ),
        ("video/x-raw,width=64,height=48,interlace-mode=mixed", "deinterlace"),
        ("video/x-raw,width=15,height=15", "15x15"),
    ] {
        // An element that asks first sends nothing, and the warning comes before the source's error; a source that does
        // not ask is refused with an error.
        for (launch, kind) in [
            (
                "videotestsrc num-buffers=5 ! CAPS ! ENHANCE name=enhance ! fakesink",
                gst::MessageType::Warning,
            ),
            (
                "videotestsrc num-buffers=5 ! CAPS ! queue ! ENHANCE name=enhance ! fakesink",
                gst::MessageType::Warning,
            ),
            (
                "videotestsrc num-buffers=5 ! ENHANCE name=enhance ! CAPS ! fakesink",
                gst::MessageType::Error,
            ),
        ] {
            let p = pipeline(&launch.replace("CAPS", caps));
            let _ = p.set_state(gst::State::Playing);
            let (bus, enhance) = (p.bus().unwrap(), p.by_name("enhance").unwrap());
            let mut said = Vec::new();
            loop {
                let kinds = [
                    gst::MessageType::Error,
                    gst::MessageType::Warning,
                    gst::MessageType::Eos,
                ];
                let message = bus.timed_pop_filtered(PATIENCE, &kinds).expect("an end in time");
                if message.src().is_some_and(|src| *src == enhance) {
                    let text = match message.view() {
                        gst::MessageView::Error(e) => e.error().to_string(),
                        gst::MessageView::Warning(w) => w.error().to_string(),
                        _ => String::new(),
                    };
                    said.push((message.type_(), text));
                }
                assert_ne!(message.type_(), gst::MessageType::Eos, "{launch}, {caps}");
                if message.type_() == gst::MessageType::Error {
                    break;
                }
            }
            p.set_state(gst::State::Null).unwrap();
            assert!(
                said.len() == 1 && said[0].0 == kind && said[0].1.contains(part),
                "{launch}, {caps}: {said:?}"
            );
        }
    }
}

#[test]
fn late_frames_are_dropped_and_counted() {
    let caps = caps("NV12", 64, 48);
    for (qos, dropped) in [(true, 1), (false, 0)] {
        let mut rig = Rig::new("identity", &caps);
        rig.element.set_property("qos", qos);
        rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
        // Frame 1 was shown 60 ms late: whatever is before 160 ms will not make it.
        let late = gst::event::Qos::new(
            gst::QOSType::Underflow,
            2.0,
            60_000_000,
            gst::ClockTime::from_mseconds(40),
        );
        assert!(rig.harness.push_upstream_event(late));
        rig.harness.push(frame(&caps, 2)).unwrap();
        rig.harness.push_and_pull(frame(&caps, 10)).unwrap();
        assert_eq!(rig.count("dropped"), dropped, "qos={qos}");
        assert_eq!(rig.count("frames"), 3 - dropped, "qos={qos}");
        let told = std::iter::from_fn(|| rig.bus.pop())
            .filter(|m| m.type_() == gst::MessageType::Qos)
            .count();
        assert_eq!(told as u64, dropped, "QoS messages, qos={qos}");
    }
}

#[test]
fn latency_is_what_was_measured() {
    let caps = caps("RGB", 640, 480);
    let mut rig = Rig::around(element("identity"));
    let upstream = gst::ClockTime::from_mseconds(100);
    rig.harness.set_upstream_latency(upstream);
    rig.harness.set_live(true);
    assert_eq!(rig.harness.query_latency(), Some(upstream), "no caps yet");
    rig.harness.set_src_caps(caps.clone());
    let before = rig.harness.query_latency().unwrap();
    assert!(before > upstream, "told before the first frame: {before}");
    assert_eq!(rig.count("frames"), 0);
    for n in 0..9 {
        rig.harness.push_and_pull(frame(&caps, n)).unwrap();
    }
    let own = rig.harness.query_latency().unwrap() - upstream;
    let p95 = rig.stats().get::<f64>("total-ms-p95").unwrap();
    assert!(
        own.mseconds() >= 1 && own.mseconds() as f64 >= p95 * 0.5,
        "told {own}, measured {p95} ms"
    );
    let told = std::iter::from_fn(|| rig.bus.pop())
        .filter(|m| m.type_() == gst::MessageType::Latency)
        .count();
    assert!(told >= 1, "a live pipeline is told to ask again");
}

#[test]
fn several_elements_share_a_process() {
    let branch = "ENHANCE ! fakesink";
    let source = "videotestsrc num-buffers=30 ! video/x-raw,format=NV12,width=64,height=48 ! queue ! ";
    let launch: Vec<_> = (0..4)
        .map(|i| {
            format!(
                "{source} {}",
                branch.replace("ENHANCE", &format!("ENHANCE name=enhance{i} ratio={}", i + 1))
            )
        })
        .collect();
    let p = pipeline(&launch.join("  "));
    settle(&p, gst::State::Playing);
    assert_eq!(finish(&p), Ok(()));
    for i in 0..4 {
        let s = stats(&p, &format!("enhance{i}"));
        assert_eq!(s.get::<u64>("frames"), Ok(30), "element {i}: {s}");
        assert_eq!(s.get::<f32>("ratio"), Ok((i + 1) as f32), "element {i}: {s}");
    }
    settle(&p, gst::State::Null);
}

#[test]
fn the_network_brightens() {
    let caps = caps("NV12", 64, 48);
    let mut rig = Rig::new("cpu", &caps);
    rig.element.set_property("ratio", 5f32);
    rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
    let s = rig.stats();
    let (dark, bright) = (s.get::<f32>("luma-in").unwrap(), s.get::<f32>("luma-out").unwrap());
    assert!(bright > dark * 1.1, "{s}");
    assert_eq!(
        rig.element.property::<Option<String>>("backend-in-use").as_deref(),
        Some("cpu")
    );
}

#[test]
fn real_clips_keep_their_frames_and_times() {
    let Some(folder) = clips() else { return };
    let mut found: Vec<_> = [
        "normal/carphone_qcif.mp4",
        "normal/intel_asl_walk_480p.mkv",
        "normal/pets_vtest_480x360.avi",
    ]
    .iter()
    .map(|f| folder.join(f))
    .filter(|f| f.exists())
    .collect();
    if found.is_empty() {
        eprintln!("SKIPPED: none of the clips is in {}", folder.display());
    }
    for clip in found.drain(..) {
        let times = |enhance: &str| {
            let p = pipeline(&format!(
                "filesrc location={} ! decodebin ! videoconvert ! videoscale ! video/x-raw,format=I420,width=64,height=48 \
                 ! {enhance} name=enhance ! fakesink name=sink signal-handoffs=true",
                clip.display()
            ));
            let (send, receive) = std::sync::mpsc::channel();
            p.by_name("sink").unwrap().connect("handoff", false, move |values| {
                let buffer = values[1].get::<gst::Buffer>().unwrap();
                let _ = send.send((buffer.pts(), buffer.duration()));
                None
            });
            p.set_state(gst::State::Playing).unwrap();
            assert_eq!(finish(&p), Ok(()), "{}", clip.display());
            p.set_state(gst::State::Null).unwrap();
            receive.try_iter().collect::<Vec<_>>()
        };
        let (plain, enhanced) = (times("identity"), times("ENHANCE"));
        assert!(!plain.is_empty());
        assert_eq!(plain, enhanced, "{}", clip.display());
    }
}
