//! From a camera that comes and goes to streams that stay: the place where a camera's enhanced frames and its audio are
//! handed to those who serve them. While the camera is away, its last frame is repeated for a while, then a black one.
//!
//! Times on the way through are those of the one clock that all pipelines use. Nothing here waits for a viewer: a stream
//! that is not taken in time loses its oldest frames.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_video::{UpstreamForceKeyUnitEvent, VideoInfo};

use crate::audio::Codec;

/// A key frame comes so often.
const KEY_FRAMES: Duration = Duration::from_secs(2);
/// After so long without a frame one is repeated; also how often.
const GAP: Duration = Duration::from_millis(1500);
/// For so long it is the camera's last frame.
const STILL: Duration = Duration::from_secs(5);
/// The widest stream, in pixels; the element's own limit.
const MOST_WIDTH: u64 = 8192;
/// Between two buffers of a stream, at least.
const STEP: gst::ClockTime = gst::ClockTime::from_mseconds(1);

/// What viewers are offered: it stays while the camera is away.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// Of the first frame as it is shown, made even.
    pub width: u32,
    pub height: u32,
    /// Frames per second, if the camera says so.
    pub rate: Option<gst::Fraction>,
    pub audio: Option<&'static Codec>,
}

/// One stream that is served, to however many viewers.
struct Served {
    coder: gst::Element,
    video: Feed,
    audio: Option<Feed>,
    last_key: Instant,
}

/// One entry to it.
struct Feed {
    source: gst_app::AppSrc,
    last: Option<gst::ClockTime>,
}

#[derive(Default)]
struct State {
    offer: Option<Offer>,
    last_video: Option<gst::Sample>,
    last_audio: Option<gst::Sample>,
    /// When the camera sent a frame, and when one was handed on.
    seen: Option<Instant>,
    pushed: Option<Instant>,
    served: Vec<Served>,
    /// Whether streams have ended since that was asked.
    ended: bool,
}

/// What connects a camera with its viewers.
#[derive(Default)]
pub struct Relay {
    state: Mutex<State>,
    on_offer: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Relay {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to serve; none before the camera's first frame.
    pub fn offer(&self) -> Option<Offer> {
        self.state().offer.clone()
    }

    /// What is done as soon as there is something to serve, once, before that first frame's [`push_video`](Self::push_video)
    /// returns. Only the first such call counts.
    pub fn on_offer(&self, act: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_offer.set(Box::new(act));
    }

    /// Says which audio the camera sends now. If it is another than before, streams that are served end: their description
    /// no longer holds.
    pub fn set_audio(&self, audio: Option<&'static Codec>) {
        let mut state = self.state();
        let Some(offer) = state.offer.as_mut().filter(|offer| offer.audio != audio) else {
            return;
        };
        offer.audio = audio;
        state.last_audio = None;
        state.end();
    }

    /// Hands on a frame that was taken at the clock time `at`; the first one says what is offered, with the camera's audio.
    pub fn push_video(&self, sample: gst::Sample, at: gst::ClockTime, audio: Option<&'static Codec>) {
        let mut state = self.state();
        let is_first = state.offer.is_none();
        if is_first {
            state.offer = sample.caps().and_then(|caps| Offer::of(caps, audio));
        }
        let is_offered = is_first && state.offer.is_some();
        state.seen = Some(Instant::now());
        state.push_video(&sample, Some(at));
        state.last_video = Some(sample);
        drop(state);
        if let Some(act) = self.on_offer.get().filter(|_| is_offered) {
            act();
        }
    }

    /// Hands on coded audio that was taken at the clock time `at`.
    pub fn push_audio(&self, sample: gst::Sample, at: gst::ClockTime) {
        let mut state = self.state();
        for served in &mut state.served {
            if let Some(audio) = &mut served.audio {
                audio.push(&sample, Some(at));
            }
        }
        state.last_audio = Some(sample);
    }

    /// Serves a stream from now on; it begins with the last frame, and the last bit of audio, that there were.
    pub fn attach(&self, coder: gst::Element, video: gst_app::AppSrc, audio: Option<gst_app::AppSrc>) {
        let mut state = self.state();
        let mut served = Served {
            coder,
            video: Feed {
                source: video,
                last: None,
            },
            audio: audio.map(|source| Feed { source, last: None }),
            last_key: Instant::now(),
        };
        if let Some(sample) = &state.last_video {
            served.video.push(sample, None);
        }
        if let (Some(audio), Some(sample)) = (&mut served.audio, &state.last_audio) {
            audio.push(sample, None);
        }
        state.served.push(served);
    }

    /// Serves that stream no longer.
    pub fn detach(&self, video: &gst_app::AppSrc) {
        self.state().served.retain(|served| served.video.source != *video);
    }

    /// A viewer has come, who sees nothing before a key frame: the coders make one now.
    pub fn force_key_frame(&self) {
        for served in &mut self.state().served {
            served.force_key_frame();
        }
    }

    /// Ends all streams: viewers are told.
    pub fn end(&self) {
        self.state().end();
    }

    /// Whether streams have ended since this was asked: connections of their viewers are of no use any more.
    pub fn take_ended(&self) -> bool {
        std::mem::take(&mut self.state().ended)
    }

    /// How many streams are served.
    pub fn served(&self) -> usize {
        self.state().served.len()
    }

    /// To be called several times a second: keeps streams going while no frames come.
    pub fn tick(&self) {
        let mut state = self.state();
        if state.served.is_empty() || state.pushed.is_none_or(|pushed| pushed.elapsed() < GAP) {
            return;
        }
        let still = state.seen.is_some_and(|seen| seen.elapsed() < STILL);
        let sample = match (still, &state.offer) {
            (true, _) => state.last_video.clone(),
            (false, Some(offer)) => offer.black(),
            (false, None) => None,
        };
        if let Some(sample) = sample {
            state.push_video(&sample, None);
        }
    }
}

impl State {
    fn push_video(&mut self, sample: &gst::Sample, at: Option<gst::ClockTime>) {
        for served in &mut self.served {
            if served.last_key.elapsed() >= KEY_FRAMES {
                served.force_key_frame();
            }
            served.video.push(sample, at);
        }
        self.pushed = Some(Instant::now());
    }

    fn end(&mut self) {
        self.ended |= !self.served.is_empty();
        for served in self.served.drain(..) {
            for feed in std::iter::once(served.video).chain(served.audio) {
                let _ = feed.source.end_of_stream();
            }
        }
    }
}

impl Served {
    fn force_key_frame(&mut self) {
        self.last_key = Instant::now();
        self.coder
            .send_event(UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
    }
}

impl Feed {
    /// Pushes a sample with the time that `at`, or now, is to the stream.
    fn push(&mut self, sample: &gst::Sample, at: Option<gst::ClockTime>) {
        let Some(mut buffer) = sample.buffer_owned() else {
            return;
        };
        // Zero until the stream plays.
        let base = self.source.base_time().filter(|base| !base.is_zero());
        let at = at.or_else(|| self.source.clock().map(|clock| clock.time()));
        // Before the stream plays, and for what is older than it.
        let time = at
            .zip(base)
            .map_or(gst::ClockTime::ZERO, |(at, base)| at.saturating_sub(base));
        let time = self.last.map_or(time, |last| time.max(last + STEP));
        self.last = Some(time);
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(time);
            buffer.set_dts(gst::ClockTime::NONE);
        }
        let mut stamped = gst::Sample::builder().buffer(&buffer);
        if let Some(caps) = sample.caps_owned() {
            stamped = stamped.caps(&caps);
            // A stream that is being closed takes nothing: nobody watches it.
            let _ = self.source.push_sample(&stamped.build());
        }
    }
}

impl Offer {
    fn of(caps: &gst::CapsRef, audio: Option<&'static Codec>) -> Option<Self> {
        let info = VideoInfo::from_caps(caps).ok()?;
        // 4:2:0 video has even sides.
        let even = |side: u32| (side / 2 * 2).max(2);
        // What is served has square pixels.
        let (wide, narrow) = (info.par().numer().max(1) as u64, info.par().denom().max(1) as u64);
        let width = u64::from(info.width()) * wide / narrow;
        Some(Self {
            width: even(width.min(MOST_WIDTH) as u32),
            height: even(info.height()),
            rate: Some(info.fps()).filter(|rate| rate.numer() > 0),
            audio,
        })
    }

    fn black(&self) -> Option<gst::Sample> {
        let info = VideoInfo::builder(gst_video::VideoFormat::I420, self.width, self.height);
        let info = info.fps(self.rate.unwrap_or(gst::Fraction::new(0, 1))).build().ok()?;
        let mut bytes = vec![128; info.size()];
        bytes[..info.offset()[1]].fill(16);
        let caps = info.to_caps().ok()?;
        Some(
            gst::Sample::builder()
                .buffer(&gst::Buffer::from_mut_slice(bytes))
                .caps(&caps)
                .build(),
        )
    }
}

#[cfg(test)]
mod tests;
