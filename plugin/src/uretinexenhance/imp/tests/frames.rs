//! The element with a backend that takes two frames at a time: order, what goes first, what is dropped.

use std::sync::{Arc, Mutex};

use gst_video::VideoRegionOfInterestMeta;

use super::stand_in::{Fault, SharedRecord};
use super::*;
use crate::uretinexenhance::frame_queue::QueuedFrame;

#[test]
fn the_next_frame_is_submitted_before_the_last_one_is_collected() {
    for (limit, log) in [
        (
            2,
            "submit 0, submit 1, collect 0, submit 2, collect 1, submit 3, collect 2, collect 3",
        ),
        (1, "process 0, process 1, process 2, process 3"),
    ] {
        let mut rig = Rig::new(limit);
        for n in 0..4 {
            rig.push([n]);
            let left = if limit == 2 { n } else { n + 1 };
            assert_eq!(rig.count("frames"), u64::from(left), "limit {limit}, frame {n}");
        }
        rig.eos();
        assert_eq!(rig.seen(), ["0", "1", "2", "3", "Eos"], "limit {limit}");
        assert_eq!(rig.log().join(", "), log, "limit {limit}");
        assert_eq!((rig.count("frames"), rig.count("failed")), (4, 0), "limit {limit}");
    }
}

#[test]
fn each_frame_keeps_its_own_metadata() {
    let mut rig = Rig::new(2);
    let flags = [
        gst::BufferFlags::MARKER,
        gst::BufferFlags::CORRUPTED,
        gst::BufferFlags::DROPPABLE,
    ];
    for n in 0..3u8 {
        let mut input = frame(n);
        let b = input.get_mut().unwrap();
        b.set_offset(100 + u64::from(n));
        b.set_dts(FRAME * u64::from(n) + gst::ClockTime::from_mseconds(1));
        b.set_flags(flags[n as usize]);
        VideoRegionOfInterestMeta::add(b, "face", (n.into(), 0, 8, 8));
        rig.element.set_property("ratio", 2.0 + f32::from(n));
        rig.harness.push(input).unwrap();
    }
    rig.eos();
    for n in 0..3u8 {
        let output = rig.harness.pull().unwrap();
        assert_eq!(describe(&output), n.to_string());
        assert_eq!(output.duration(), Some(FRAME), "frame {n}");
        assert_eq!(output.offset(), 100 + u64::from(n), "frame {n}");
        assert_eq!(
            output.dts(),
            Some(FRAME * u64::from(n) + gst::ClockTime::from_mseconds(1))
        );
        assert!(
            output.flags().contains(flags[n as usize]),
            "frame {n}: {:?}",
            output.flags()
        );
        let others = flags.iter().filter(|f| **f != flags[n as usize]);
        assert!(!others.into_iter().any(|f| output.flags().contains(*f)), "frame {n}");
        let region = output.meta::<VideoRegionOfInterestMeta>().unwrap();
        assert_eq!(region.rect().0, u32::from(n), "frame {n}");
    }
}

#[test]
fn statistics_are_of_the_frame_that_left() {
    let mut rig = Rig::new(2);
    let mut told = Vec::new();
    for n in 0..3u8 {
        rig.element.set_property("ratio", 2.0 + f32::from(n));
        rig.push([n]);
        let stats: gst::Structure = rig.element.property("stats");
        told.push(stats.get::<f32>("ratio").unwrap());
    }
    // Nothing has left after the first.
    assert_eq!(told, [2.0, 2.0, 3.0]);
}

#[test]
fn what_waits_its_turn_comes_behind_the_frames_before_it() {
    gst::init().unwrap();
    let time = gst::FormattedSegment::<gst::ClockTime>::new();
    let structure = || gst::Structure::builder("test").build();
    let collection = gst::StreamCollection::builder(Some("test")).build();
    for (event, expected) in [
        (gst::event::Segment::new(&time), "0 1 Segment 2"),
        (gst::event::Gap::new(FRAME * 2, FRAME), "0 1 Gap 2"),
        (gst::event::Tag::new(gst::TagList::new()), "0 1 Tag 2"),
        (gst::event::CustomDownstream::new(structure()), "0 1 CustomDownstream 2"),
        (gst::event::StreamCollection::new(&collection), "0 1 StreamCollection 2"),
        (gst::event::StreamStart::new("other"), "0 1 StreamStart 2"),
        // The base class does not repeat caps that are the same.
        (gst::event::Caps::new(&caps(16, 25)), "0 1 2"),
        // What does not wait its turn overtakes.
        (
            gst::event::CustomDownstreamOob::new(structure()),
            "0 CustomDownstreamOob 1 2",
        ),
    ] {
        let mut rig = Rig::new(2);
        rig.push([0, 1]);
        let kind = event.type_();
        assert!(rig.harness.push_event(event), "{kind:?}");
        assert_eq!(
            rig.log().contains(&"collect 1".into()),
            kind.is_serialized(),
            "{kind:?}"
        );
        rig.push([2]);
        rig.eos();
        assert_eq!(rig.seen().join(" "), format!("{expected} Eos"), "{kind:?}");
    }
}

#[test]
fn queries_that_wait_their_turn_do_so() {
    gst::init().unwrap();
    let mut drain = gst::query::Drain::new();
    let mut allocation = gst::query::Allocation::new(Some(&caps(16, 25)), false);
    let mut latency = gst::query::Latency::new();
    for (query, expected) in [
        (drain.query_mut(), "0 1"),
        (allocation.query_mut(), "0 1"),
        (latency.query_mut(), "0"),
    ] {
        let mut rig = Rig::new(2);
        rig.push([0, 1]);
        rig.harness.srcpad().unwrap().peer_query(query);
        assert_eq!(rig.seen().join(" "), expected, "{:?}", query.type_());
        rig.push([2]);
        rig.eos();
        assert_eq!(
            (rig.count("frames"), rig.count("failed")),
            (3, 0),
            "{:?}",
            query.type_()
        );
    }
}

#[test]
fn frames_leave_with_the_caps_that_they_came_with() {
    let mut rig = Rig::new(2);
    rig.push([0, 1]);
    rig.harness.set_src_caps(caps(32, 25));
    rig.harness.push(sized(2, 32)).unwrap();
    rig.harness.push(sized(3, 32)).unwrap();
    // Caps that are refused: those before them are not lost.
    let interlaced: gst::Caps = "video/x-raw, format=GRAY8, width=32, height=32, framerate=25/1, interlace-mode=mixed"
        .parse()
        .unwrap();
    rig.harness.push_event(gst::event::Caps::new(&interlaced));
    assert_eq!(rig.messages(gst::MessageType::Error), 1);
    assert_eq!(rig.seen().join(" "), "0 1 Caps Segment 2 3");
    for side in [16, 16, 32, 32] {
        assert_eq!(rig.harness.pull().unwrap().size(), side * side);
    }
    assert_eq!((rig.count("frames"), rig.count("failed")), (4, 0));
}

#[test]
fn frames_leave_before_caps_that_downstream_asks_for() {
    gst::init().unwrap();
    let mut rig = Rig::new(2);
    rig.push([0, 1]);
    // With no event from upstream: as the base class does when it is told to negotiate again.
    let (incaps, outcaps) = (caps(16, 25), caps(16, 25));
    rig.element.imp().set_caps(&incaps, &outcaps).unwrap();
    assert_eq!(rig.seen().join(" "), "0 1");
}

#[test]
fn a_flush_drops_the_frames_inside() {
    let mut rig = Rig::new(2);
    rig.push([0, 1]);
    assert!(rig.harness.push_event(gst::event::FlushStart::new()));
    assert!(rig.harness.push_event(gst::event::FlushStop::new(true)));
    assert_eq!(rig.log().last().unwrap(), "discard 1");
    let time = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(rig.harness.push_event(gst::event::Segment::new(&time)));
    rig.push([5, 6]);
    rig.eos();
    assert_eq!(rig.seen().join(" "), "0 FlushStart FlushStop Segment 5 6 Eos");
    assert_eq!((rig.count("frames"), rig.count("failed")), (3, 0));
}

/// The bytes of a frame, which tell when nobody has it any more.
struct Bytes {
    bytes: Vec<u8>,
    _alive: Arc<()>,
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[test]
fn a_stop_drops_the_frames_inside() {
    let mut rig = Rig::new(2);
    rig.push([0]);
    let held = Arc::new(());
    let mut buffer = gst::Buffer::from_slice(Bytes {
        bytes: vec![1; 256],
        _alive: held.clone(),
    });
    buffer.get_mut().unwrap().set_pts(FRAME);
    rig.harness.push(buffer).unwrap();
    assert_eq!(
        Arc::strong_count(&held),
        2,
        "the frame under way is kept, in case it fails"
    );
    rig.element.set_state(gst::State::Ready).unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(rig.seen().join(" "), "0");
    // Another start.
    rig.harness.play();
    rig.element.set_state(gst::State::Playing).unwrap();
    give_backend(&rig.element, &rig.record);
    rig.harness.push_event(gst::event::StreamStart::new("again"));
    rig.harness.set_src_caps(caps(16, 25));
    rig.log();
    rig.push([2, 3]);
    rig.eos();
    assert_eq!(rig.log().join(", "), "submit 2, submit 3, collect 2, collect 3");
}

#[test]
fn a_frame_that_is_late_gives_out_the_one_before_it() {
    let mut rig = Rig::new(2);
    rig.push([0, 1]);
    let late = gst::event::Qos::new(gst::QOSType::Underflow, 2.0, 60_000_000, FRAME);
    assert!(rig.harness.push_upstream_event(late));
    rig.seen();
    rig.push([2]);
    assert_eq!(rig.seen(), ["1"], "1 does not wait for the next one that is in time");
    rig.push([10]);
    assert_eq!(
        rig.seen(),
        ["10d"],
        "what comes behind the gap is marked, nothing else is"
    );
    rig.push([11, 12]);
    rig.eos();
    assert_eq!(rig.seen().join(" "), "11 12 Eos");
    assert_eq!((rig.count("frames"), rig.count("dropped")), (5, 1));
}

#[test]
fn only_a_discontinuous_frame_is_marked() {
    let mut rig = Rig::new(2);
    for n in 0..6 {
        let mut buffer = frame(n);
        if n % 3 == 0 {
            buffer.get_mut().unwrap().set_flags(gst::BufferFlags::DISCONT);
        }
        rig.harness.push(buffer).unwrap();
        if n == 3 {
            assert!(rig.harness.push_event(gst::event::Tag::new(gst::TagList::new())));
        }
    }
    rig.eos();
    assert_eq!(rig.seen().join(" "), "0d 1 2 3d Tag 4 5 Eos");
}

#[test]
fn frames_that_are_not_worked_on_stay_behind_those_that_are() {
    let mut rig = Rig::new(2);
    rig.push([0, 1]);
    rig.element.set_property("enabled", false);
    rig.push([2, 3]);
    assert_eq!(rig.seen().join(" "), "0 1 2! 3!");
    rig.element.set_property("enabled", true);
    rig.push([4, 5]);
    let mut gap = gst::Buffer::new();
    let b = gap.get_mut().unwrap();
    b.set_pts(FRAME * 6);
    b.set_flags(gst::BufferFlags::GAP);
    rig.harness.push(gap).unwrap();
    assert_eq!(rig.seen().join(" "), "4 5 6!");
    rig.push([7]);
    rig.eos();
    assert_eq!(rig.seen().join(" "), "7 Eos");
    assert_eq!((rig.count("frames"), rig.count("passed")), (5, 3));
}

#[test]
fn a_frame_that_fails_goes_on_as_it_came_and_takes_no_other_with_it() {
    for (fault, log) in [
        (
            Fault::Submit,
            "submit 0, submit 1, collect 0, submit 2, submit 3, collect 2, collect 3",
        ),
        (
            Fault::Collect,
            "submit 0, submit 1, collect 0, submit 2, collect 1, submit 3, collect 2, collect 3",
        ),
        (
            Fault::Panic,
            "submit 0, submit 1, collect 0, submit 2, collect 1, discard 1, submit 3, collect 2, collect 3",
        ),
    ] {
        let mut rig = Rig::new(2);
        rig.record.get().fault = Some((1, fault));
        rig.push(0..4);
        rig.eos();
        assert_eq!(rig.seen().join(" "), "0 1! 2 3 Eos", "{fault:?}");
        assert_eq!(rig.log().join(", "), log, "{fault:?}");
        assert_eq!((rig.count("frames"), rig.count("failed")), (3, 1), "{fault:?}");
        assert_eq!(rig.messages(gst::MessageType::Warning), 1, "{fault:?}");
    }
    // The same for one that does not stay.
    let mut rig = Rig::new(1);
    rig.record.get().fault = Some((1, Fault::Panic));
    rig.push(0..3);
    assert_eq!(rig.seen().join(" "), "0 1! 2");
}

#[test]
fn nothing_stays_with_the_enhancer_when_downstream_takes_no_more() {
    let mut rig = Rig::new(2);
    rig.push([0, 1]);
    let pad = rig.harness.sinkpad().unwrap();
    pad.set_active(false).unwrap();
    assert_eq!(rig.harness.push(frame(2)), Err(gst::FlowError::Flushing));
    // The end of the stream cannot go on either, nor what is inside behind the first.
    with_worker(&rig.element, |w| w.queue.push(QueuedFrame::Untouched(frame(3))));
    rig.harness.push_event(gst::event::Eos::new());
    assert_eq!(inside(&rig.element), (0, 0));
}

#[test]
fn seeks_and_states_may_come_at_any_time() {
    let (element, record) = (element(2), SharedRecord::default());
    let make = |name| gst::ElementFactory::make(name).build().unwrap();
    let [source, filter, sink] = ["videotestsrc", "capsfilter", "fakesink"].map(make);
    let step = gst::ClockTime::from_mseconds(2);
    filter.set_property("caps", caps(16, 500));
    sink.set_property("sync", true);
    let pipeline = gst::Pipeline::new();
    let all = [&source, &filter, element.upcast_ref(), &sink];
    pipeline.add_many(all).unwrap();
    gst::Element::link_many(all).unwrap();
    // Times in each segment.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let runs = seen.clone();
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    sink.static_pad("sink").unwrap().add_probe(kinds, move |_, info| {
        let mut runs = runs.lock().unwrap();
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let run: &mut Vec<gst::ClockTime> = runs.last_mut().expect("a segment before the first frame");
                run.push(buffer.pts().unwrap());
            }
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Segment => runs.push(Vec::new()),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });

    // Started by itself first, for the sake of the backend.
    element.set_state(gst::State::Paused).unwrap();
    give_backend(&element, &record);
    pipeline.set_state(gst::State::Playing).unwrap();
    let starts = [80, 20, 160, 0, 40].map(gst::ClockTime::from_mseconds);
    let stop = gst::ClockTime::from_mseconds(300);
    for start in starts {
        pipeline.state(gst::ClockTime::from_seconds(120)).0.unwrap();
        let (flags, set) = (gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, gst::SeekType::Set);
        pipeline.seek(1.0, flags, set, start, set, stop).unwrap();
        pipeline.set_state(gst::State::Paused).unwrap();
        pipeline.state(gst::ClockTime::from_seconds(120)).0.unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
    }
    let bus = pipeline.bus().unwrap();
    let ends = [
        gst::MessageType::Eos,
        gst::MessageType::Error,
        gst::MessageType::Warning,
    ];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(120), &ends);
    assert!(
        message.as_ref().is_some_and(|m| m.type_() == gst::MessageType::Eos),
        "{message:?}"
    );
    assert_eq!(inside(&element), (0, 0));
    let runs = std::mem::take(&mut *seen.lock().unwrap());
    let sought = &runs[runs.len() - starts.len()..];
    for (run, start) in sought.iter().zip(starts) {
        let expected: Vec<_> = (0..run.len() as u64).map(|n| start + step * n).collect();
        assert!(!run.is_empty() && *run == expected, "from {start}: {run:?}");
    }
    assert_eq!(sought.last().unwrap().len(), 130, "to the end");

    // In the midst of frames.
    pipeline
        .seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO)
        .unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    let stats: gst::Structure = element.property("stats");
    assert_eq!(stats.get::<u64>("failed"), Ok(0));
    bus.set_flushing(true);
}

#[test]
fn upstream_is_told_that_a_buffer_stays() {
    for (limit, buffers) in [(2, Some(2)), (1, None)] {
        let rig = Rig::new(limit);
        let mut query = gst::query::Allocation::new(Some(&caps(16, 25)), true);
        assert!(rig.harness.srcpad().unwrap().peer_query(query.query_mut()));
        let offered = query.allocation_pools().next().map(|(_, _, min, _)| min);
        assert_eq!(offered, buffers, "limit {limit}");
    }
}
