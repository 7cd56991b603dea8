//! The latency that the element tells, before and after its first frame.

use super::*;

const UPSTREAM: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// In a live pipeline that has asked for the latency, without caps yet; `limit` is the property `frames-in-flight`.
fn live(limit: u32) -> Rig {
    let mut rig = Rig::bare(limit);
    rig.harness.set_live(true);
    rig.harness.set_upstream_latency(UPSTREAM);
    assert_eq!(rig.harness.query_latency(), Some(UPSTREAM), "no caps yet");
    rig
}

/// The element's own latency, in milliseconds.
fn own(rig: &mut Rig) -> u64 {
    (rig.harness.query_latency().unwrap() - UPSTREAM).mseconds()
}

/// Trial frames since this was asked last.
fn trials(rig: &Rig) -> usize {
    rig.log().iter().filter(|entry| *entry == "process 0").count()
}

#[test]
fn it_is_told_before_the_first_frame_from_a_trial_of_each_size() {
    let mut rig = live(1);
    for (side, rate, tried) in [
        (16, 25, 1),
        // Other caps of the same frames.
        (16, 50, 0),
        (32, 25, 1),
        // A size that was tried before.
        (16, 25, 0),
    ] {
        rig.harness.set_src_caps(caps(side, rate));
        assert_eq!(trials(&rig), tried, "{side}x{side} at {rate}");
        assert!(own(&mut rig) >= 1, "{side}x{side} at {rate}");
    }
    assert!(rig.messages(gst::MessageType::Latency) >= 1, "the pipeline is told");
    assert_eq!(rig.count("frames"), 0);
}

#[test]
fn nothing_is_tried_while_frames_pass_through() {
    for (name, through, on) in [
        ("enabled", false.to_value(), true.to_value()),
        ("strength", 0f32.to_value(), 1f32.to_value()),
    ] {
        let mut rig = live(1);
        rig.element.set_property_from_value(name, &through);
        rig.harness.set_src_caps(caps(16, 25));
        rig.push([1]);
        assert_eq!((trials(&rig), own(&mut rig)), (0, 0), "{name}");
        assert_eq!(rig.messages(gst::MessageType::Latency), 0, "{name}");
        // The first frame that is enhanced comes behind the trial.
        rig.element.set_property_from_value(name, &on);
        rig.push([2]);
        assert_eq!(rig.log(), ["process 0", "process 2"], "{name}");
        assert!(own(&mut rig) >= 1, "{name}");
    }
}

#[test]
fn a_trial_that_fails_leaves_it_to_the_first_frame() {
    use super::stand_in::Fault;
    let mut rig = live(1);
    rig.record.get().fault = Some((0, Fault::Panic));
    rig.harness.set_src_caps(caps(16, 25));
    assert_eq!((own(&mut rig), rig.messages(gst::MessageType::Warning)), (0, 0));
    rig.push([1]);
    assert!(own(&mut rig) >= 1);
    assert_eq!((rig.count("frames"), rig.count("failed")), (1, 0));
}

#[test]
fn it_has_the_time_for_which_frames_stay() {
    let mut rig = live(2);
    for (rate, held, told) in [
        (25, 40, 1),
        (25, 40, 0),
        (50, 20, 1),
        (0, 0, 1),
        (0, 0, 0),
        (10, 100, 1),
    ] {
        rig.harness.set_src_caps(caps(16, rate));
        // A frame of the stand-in takes next to nothing, and at least 1 ms is told.
        let processing = own(&mut rig) - held;
        assert!((1..20).contains(&processing), "{rate} frames/s: {processing}");
        assert_eq!(rig.messages(gst::MessageType::Latency), told, "{rate} frames/s");
    }
}

#[test]
fn by_itself_a_live_pipeline_waits_for_nothing() {
    // A frame a second, so that no busy machine makes the time of a frame look like a wait for the next.
    let second = gst::ClockTime::SECOND;
    let mut rig = live(0);
    rig.harness.set_src_caps(caps(16, 1));
    assert!(own(&mut rig) < second.mseconds());
    rig.seen();
    rig.push([0]);
    assert_eq!(rig.seen(), ["0"]);

    // One that turns out to be live.
    let mut rig = Rig::bare(0);
    rig.harness.set_src_caps(caps(16, 1));
    rig.seen();
    rig.harness.set_live(true);
    rig.push([0, 1]);
    assert_eq!(rig.seen(), ["0"]);
    rig.harness.query_latency();
    rig.push([2, 3]);
    assert_eq!(rig.seen(), ["1", "2", "3"]);
    assert!(rig.messages(gst::MessageType::Latency) >= 1);
    assert!(rig.harness.query_latency().unwrap() < second);
}
