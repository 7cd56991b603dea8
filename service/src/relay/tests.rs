use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn frame(width: u32, height: u32) -> gst::Sample {
    let info = VideoInfo::builder(gst_video::VideoFormat::Gray8, width, height).fps(gst::Fraction::new(5, 1));
    let info = info.build().unwrap();
    let buffer = gst::Buffer::from_mut_slice(vec![200; info.size()]);
    gst::Sample::builder()
        .buffer(&buffer)
        .caps(&info.to_caps().unwrap())
        .build()
}

/// A stream that plays, and where its buffers arrive.
fn stream() -> (gst::Pipeline, gst_app::AppSrc, gst_app::AppSink) {
    let launch = "appsrc name=in is-live=true format=time ! identity name=coder ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.use_clock(Some(&gst::SystemClock::obtain()));
    let named = |name| pipeline.by_name(name).unwrap();
    let (source, sink) = (named("in").downcast().unwrap(), named("out").downcast().unwrap());
    pipeline.set_state(gst::State::Paused).unwrap();
    (pipeline, source, sink)
}

fn pull(sink: &gst_app::AppSink) -> (gst::ClockTime, gst::Caps, u8) {
    let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a frame");
    let buffer = sample.buffer().unwrap();
    let first = buffer.map_readable().unwrap()[0];
    (buffer.pts().unwrap(), sample.caps_owned().unwrap(), first)
}

#[test]
fn a_stream_goes_on_while_its_camera_is_away() {
    gst::init().unwrap();
    let relay = Relay::default();
    let now = || gst::SystemClock::obtain().time();
    assert_eq!(relay.offer(), None);
    // Who waits for something to serve is told once, and before whoever hands the frame on goes on.
    let told = Arc::new(AtomicUsize::new(0));
    let seen = told.clone();
    relay.on_offer(move || {
        seen.fetch_add(1, Ordering::Relaxed);
    });
    for _ in 0..2 {
        relay.push_video(frame(161, 97), now(), None);
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
    let offer = relay.offer().unwrap();
    assert_eq!(
        (offer.width, offer.height, offer.rate),
        (160, 96, Some(gst::Fraction::new(5, 1)))
    );

    let (pipeline, source, sink) = stream();
    relay.attach(pipeline.by_name("coder").unwrap(), source.clone(), None);
    // A frame before the stream plays is at its beginning, not at the clock's.
    relay.push_video(frame(161, 97), now(), None);
    pipeline.set_state(gst::State::Playing).unwrap();
    let _ = pipeline.state(gst::ClockTime::from_seconds(5));
    // The last frame there was comes first; what is older than the stream does not go back in time.
    let (first, second) = (pull(&sink).0, pull(&sink).0);
    relay.push_video(frame(161, 97), gst::ClockTime::ZERO, None);
    let (third, ..) = pull(&sink);
    relay.push_video(frame(80, 40), now(), None);
    let (fourth, caps, _) = pull(&sink);
    let times = [first, second, third, fourth];
    assert!(
        times.is_sorted_by(|a, b| a < b) && third < STEP * 5 && fourth < gst::ClockTime::from_seconds(20),
        "{times:?}"
    );
    assert_eq!(caps.structure(0).unwrap().get::<i32>("width"), Ok(80));
    assert_eq!(relay.offer(), Some(offer), "what is offered stays");

    // The camera is gone: its last frame, then black ones.
    relay.tick();
    assert!(
        sink.try_pull_sample(gst::ClockTime::from_mseconds(50)).is_none(),
        "no gap yet"
    );
    for (age, level) in [(GAP, 200), (STILL, 16)] {
        {
            let mut state = relay.state();
            state.pushed = state.pushed.map(|pushed| pushed - GAP);
            state.seen = state.seen.map(|seen| seen - age);
        }
        relay.tick();
        assert_eq!(pull(&sink).2, level, "{age:?} after the last frame");
    }

    // Other audio makes what was described wrong.
    relay.set_audio(Codec::of(&gst::Structure::builder("x").field("encoding-name", "PCMU").build()).ok());
    assert!(sink.try_pull_sample(gst::ClockTime::from_seconds(10)).is_none() && sink.is_eos());
    assert_eq!(relay.served(), 0);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_stream_that_is_detached_gets_nothing() {
    gst::init().unwrap();
    let relay = Relay::default();
    let (pipeline, source, _sink) = stream();
    relay.attach(pipeline.by_name("coder").unwrap(), source.clone(), None);
    assert_eq!(relay.served(), 1);
    relay.detach(&source);
    assert_eq!(relay.served(), 0);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn what_is_offered_has_square_pixels_and_even_sides() {
    gst::init().unwrap();
    for (width, height, par, expected) in [
        (1280, 720, (1, 1), (1280, 720)),
        (161, 97, (1, 1), (160, 96)),
        (720, 576, (16, 11), (1046, 576)),
        (720, 576, (12, 11), (784, 576)),
        (16, 16, (10_000, 1), (8192, 16)),
    ] {
        let info = VideoInfo::builder(gst_video::VideoFormat::I420, width, height);
        let caps = info
            .par(gst::Fraction::new(par.0, par.1))
            .build()
            .unwrap()
            .to_caps()
            .unwrap();
        let offer = Offer::of(&caps, None).unwrap();
        assert_eq!((offer.width, offer.height), expected, "{width}x{height}, {par:?}");
        assert_eq!(offer.rate, None, "no rate is said");
    }
}
