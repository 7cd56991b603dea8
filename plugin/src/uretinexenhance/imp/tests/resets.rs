//! What the stream remembers of its frames is dropped where it does not go on.

use super::*;

/// Frames that were made without any state of earlier ones.
fn fresh(rig: &Rig) -> Vec<u8> {
    std::mem::take(&mut rig.record.get().fresh)
}

#[test]
fn frames_after_a_break_stand_alone() {
    type Break = fn(&mut Rig);
    let none: Break = |_| {};
    let flush: Break = |rig| {
        assert!(rig.harness.push_event(gst::event::FlushStart::new()));
        assert!(rig.harness.push_event(gst::event::FlushStop::new(true)));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(rig.harness.push_event(gst::event::Segment::new(&segment)));
    };
    let other_rate: Break = |rig| rig.harness.set_src_caps(caps(16, 50));
    let and_back: Break = |rig| {
        rig.harness.set_src_caps(caps(32, 25));
        rig.harness.set_src_caps(caps(16, 25));
    };
    let second = Some(FRAME * 25);
    let back = Some(gst::ClockTime::ZERO);
    // The time of the next frame, and whether it is marked as discontinuous.
    for (what, between, marked, resets) in [
        ("none", none, None, 0),
        ("flush", flush, None, 1),
        ("discontinuity of a second", none, Some((second, true)), 1),
        ("discontinuity into the past", none, Some((back, true)), 1),
        (
            "frames dropped by a leaky queue",
            none,
            Some((Some(FRAME * 7), true)),
            0,
        ),
        ("frames lost, without a mark", none, Some((second, false)), 0),
        ("out of order, without a mark", none, Some((back, false)), 0),
        ("another rate", other_rate, None, 0),
        ("another size and back", and_back, None, 1),
    ] {
        for limit in [1, 2] {
            let mut rig = Rig::new(limit);
            rig.push([1, 2]);
            between(&mut rig);
            // The trial of another size stands alone, too.
            rig.record.get().fresh.retain(|frame| *frame != 0);
            let mut next = frame(3);
            if let Some((time, discontinuous)) = marked {
                let next = next.get_mut().unwrap();
                if discontinuous {
                    next.set_flags(gst::BufferFlags::DISCONT);
                }
                next.set_pts(time);
            }
            rig.harness.push(next).unwrap();
            rig.push([4]);
            rig.eos();
            let expected: &[u8] = if resets > 0 { &[1, 3] } else { &[1] };
            assert_eq!(fresh(&rig), expected, "{what}, limit {limit}");
            assert_eq!(rig.count("resets"), resets, "{what}, limit {limit}");
            assert_eq!(rig.count("failed"), 0, "{what}, limit {limit}");
        }
    }
}

#[test]
fn a_new_start_counts_anew() {
    let mut rig = Rig::new(1);
    rig.push([1]);
    let mut next = frame(2);
    let marked = next.get_mut().unwrap();
    marked.set_flags(gst::BufferFlags::DISCONT);
    marked.set_pts(FRAME * 100);
    rig.harness.push(next).unwrap();
    assert_eq!(rig.count("resets"), 1);
    rig.element.set_state(gst::State::Ready).unwrap();
    assert_eq!(rig.count("resets"), 1, "readable until the next start");
    rig.element.set_state(gst::State::Paused).unwrap();
    assert_eq!(rig.count("resets"), 0);
}
