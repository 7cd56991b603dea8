//! One call of a camera: the pipeline from its RTSP stream to enhanced frames and coded audio. It is made anew for each
//! call, because links to a camera's streams are made once in a pipeline's life.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst_rtsp::RTSPLowerTrans;

use crate::audio::Codec;
use crate::config::{Protocol, Source};
use crate::live::Live;
use crate::relay::Relay;
use crate::snapshot::Pair;

/// Microseconds after which a connection that does not answer is given up.
const ANSWER: u64 = 5_000_000;

/// What a call counts and keeps. The same for all calls of a camera.
#[derive(Debug, Default)]
pub struct Tally {
    /// Frames that the camera sent, that came out enhanced, and that a full queue dropped before it.
    pub frames_in: AtomicU64,
    pub frames_out: AtomicU64,
    pub frames_dropped: AtomicU64,
    /// The latest frame.
    pub latest: Mutex<Latest>,
}

/// The latest frame of a camera.
#[derive(Debug, Default)]
pub struct Latest {
    before: Option<gst::Sample>,
    pub pair: Option<Pair>,
    pub at: Option<Instant>,
}

impl Tally {
    /// The latest frame, before and after.
    pub fn pair(&self) -> Option<Pair> {
        self.latest().pair.clone()
    }

    /// When the latest frame came out.
    pub fn last_frame(&self) -> Option<Instant> {
        self.latest().at
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way.
pub struct Call {
    pub pipeline: gst::Pipeline,
    pub enhancer: gst::Element,
    streams: Arc<Mutex<Streams>>,
    /// Whether a frame has come out.
    pub sends: Arc<AtomicBool>,
}

/// The streams of the camera that are taken.
#[derive(Debug, Default)]
struct Streams {
    video_codec: Option<String>,
    audio_bin: Option<gst::Bin>,
    audio: Option<&'static Codec>,
    /// Names of audio that is not passed on.
    left_out: Option<String>,
}

impl Call {
    /// Builds the pipeline; nothing is called before it plays. `with_audio` is whether the camera's audio is wanted.
    ///
    /// # Errors
    /// GStreamer lacks an element; the message names it.
    pub fn new(
        source: &Source,
        live: &Live,
        with_audio: bool,
        relay: &Arc<Relay>,
        tally: &Arc<Tally>,
    ) -> Result<Self, String> {
        let pipeline = gst::Pipeline::new();
        // One clock for all: times are handed from pipeline to pipeline.
        pipeline.use_clock(Some(&gst::SystemClock::obtain()));
        let rtsp = make("rtspsrc")?;
        rtsp.set_property("location", &source.location);
        if let Some(user) = &source.user {
            rtsp.set_property("user-id", user);
            rtsp.set_property(
                "user-pw",
                source.password.as_ref().map_or("", |password| password.expose()),
            );
        }
        rtsp.set_property("latency", source.latency.as_millis() as u32);
        rtsp.set_property("tcp-timeout", ANSWER);
        rtsp.set_property("timeout", ANSWER);
        // An address that begins with rtsps is called over TCP alone.
        let (plain, secure) = match source.protocol {
            Protocol::Tcp => (RTSPLowerTrans::TCP, RTSPLowerTrans::TCP | RTSPLowerTrans::TLS),
            Protocol::Udp => (RTSPLowerTrans::UDP, RTSPLowerTrans::UDP),
        };
        rtsp.set_property(
            "protocols",
            if source.location.starts_with("rtsps:") {
                secure
            } else {
                plain
            },
        );

        let enhancer = make("uretinexenhance")?;
        for (name, value) in &source.element {
            enhancer.set_property_from_str(name, value);
        }
        live.apply(&enhancer);

        let call = Self {
            pipeline: pipeline.clone(),
            enhancer: enhancer.clone(),
            streams: Arc::default(),
            sends: Arc::default(),
        };
        let video = call.video_branch(&enhancer, relay, tally)?;
        call.choose_streams(&rtsp, with_audio);
        call.link_streams(&rtsp, video, relay);
        pipeline.add(&rtsp).map_err(|e| e.to_string())?;
        Ok(call)
    }

    /// What is known of the camera's streams: video, audio that is passed on, audio that is not.
    pub fn streams(&self) -> (Option<String>, Option<&'static str>, Option<String>) {
        let streams = lock(&self.streams);
        (
            streams.video_codec.clone(),
            streams.audio.map(Codec::name),
            streams.left_out.clone(),
        )
    }

    /// Whether an element belongs to the camera's audio.
    pub fn is_audio(&self, element: &gst::Object) -> bool {
        lock(&self.streams)
            .audio_bin
            .as_ref()
            .is_some_and(|bin| element.has_as_ancestor(bin))
    }

    /// The first stream of video is taken and the first of audio that can be passed on; what else a camera has to say is
    /// not even asked for.
    fn choose_streams(&self, rtsp: &gst::Element, with_audio: bool) {
        let streams = self.streams.clone();
        rtsp.connect("select-stream", false, move |values| {
            let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let structure = caps.as_ref().and_then(|caps| caps.structure(0));
            let mut streams = lock(&streams);
            let wanted = structure.is_some_and(|structure| match structure.get::<&str>("media") {
                Ok("video") if streams.video_codec.is_none() => {
                    let name = structure.get::<&str>("encoding-name");
                    // The one type of payload for video that is often left without a name.
                    streams.video_codec = Some(name.unwrap_or("JPEG").to_owned());
                    true
                }
                Ok("audio") if with_audio && streams.audio.is_none() => match Codec::of(structure) {
                    Ok(codec) => {
                        streams.audio = Some(codec);
                        true
                    }
                    Err(name) => {
                        streams.left_out = Some(name);
                        false
                    }
                },
                _ => false,
            });
            Some(wanted.to_value())
        });
    }

    fn link_streams(&self, rtsp: &gst::Element, video: gst::Bin, relay: &Arc<Relay>) {
        let (pipeline, streams, relay) = (self.pipeline.downgrade(), self.streams.clone(), relay.clone());
        rtsp.connect_pad_added(move |_, pad| {
            let caps = pad.current_caps().or_else(|| Some(pad.query_caps(None)));
            let media = caps
                .as_ref()
                .and_then(|caps| caps.structure(0)?.get::<&str>("media").ok().map(str::to_owned));
            let (Some(pipeline), Some(media)) = (pipeline.upgrade(), media) else {
                return;
            };
            let audio = lock(&streams).audio;
            let bin = match (media.as_str(), audio) {
                ("video", _) if video.parent().is_none() => Ok(video.clone()),
                ("audio", Some(codec)) => audio_branch(codec, &relay).inspect(|bin| {
                    lock(&streams).audio_bin = Some(bin.clone());
                }),
                _ => return,
            };
            let linked = bin.and_then(|bin| {
                pipeline.add(&bin).map_err(|e| e.to_string())?;
                let sink = bin.static_pad("sink").ok_or("no sink")?;
                pad.link(&sink).map_err(|e| e.to_string())?;
                bin.sync_state_with_parent().map_err(|e| e.to_string())
            });
            if let Err(error) = linked {
                gst::element_error!(
                    pipeline,
                    gst::CoreError::Negotiation,
                    ("{media} is not linked: {error}")
                );
            }
        });
    }

    /// Coded video → decoded → whole frames → queue → enhanced → the relay.
    fn video_branch(
        &self,
        enhancer: &gst::Element,
        relay: &Arc<Relay>,
        tally: &Arc<Tally>,
    ) -> Result<gst::Bin, String> {
        let bin = bin(
            "decodebin name=decoder ! videoconvert ! deinterlace mode=auto-strict fields=top ! videoconvert name=whole \
             ! queue name=queue leaky=downstream max-size-buffers=2 max-size-bytes=0 max-size-time=0",
        )?;
        let sink = gst_app::AppSink::builder()
            .sync(false)
            .max_buffers(1)
            .drop(true)
            .enable_last_sample(false)
            .build();
        bin.add_many([enhancer, sink.upcast_ref()]).map_err(|e| e.to_string())?;
        let named = |name| bin.by_name(name).ok_or_else(|| format!("no {name}"));
        gst::Element::link_many([&named("queue")?, enhancer, sink.upcast_ref()]).map_err(|e| e.to_string())?;

        let counter = tally.clone();
        count(&named("whole")?, "src", move |_| {
            counter.frames_in.fetch_add(1, Ordering::Relaxed);
        })?;
        let counter = tally.clone();
        count(enhancer, "sink", move |sample| counter.latest().before = Some(sample))?;
        // A queue that is full says so before it drops its oldest frame.
        let counter = tally.clone();
        named("queue")?.connect("overrun", false, move |_| {
            counter.frames_dropped.fetch_add(1, Ordering::Relaxed);
            None
        });

        let (relay, tally, streams, sends) = (relay.clone(), tally.clone(), self.streams.clone(), self.sends.clone());
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            tally.frames_out.fetch_add(1, Ordering::Relaxed);
            {
                let mut latest = tally.latest();
                latest.at = Some(Instant::now());
                if let Some(before) = latest.before.clone() {
                    latest.pair = Some(Pair {
                        before,
                        after: sample.clone(),
                    });
                }
            }
            let audio = lock(&streams).audio;
            if !sends.load(Ordering::Relaxed) {
                relay.set_audio(audio);
            }
            let at = clock_time(sink.upcast_ref(), &sample);
            relay.push_video(sample, at, audio);
            // Only now: who is told that a camera is live may ask for its stream at once.
            sends.store(true, Ordering::Release);
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
        Ok(bin)
    }
}

/// RTP → coded audio → the relay.
fn audio_branch(codec: &'static Codec, relay: &Arc<Relay>) -> Result<gst::Bin, String> {
    let bin = gst::parse::bin_from_description(
        &format!(
            "queue name=decoder leaky=downstream max-size-time=1000000000 ! {} ! identity name=last silent=true",
            codec.unpack
        ),
        false,
    )
    .map_err(|e| e.to_string())?;
    ghost(&bin)?;
    let sink = gst_app::AppSink::builder()
        .sync(false)
        .max_buffers(16)
        .drop(true)
        .enable_last_sample(false)
        .build();
    bin.add(&sink).map_err(|e| e.to_string())?;
    bin.by_name("last")
        .ok_or("no last")?
        .link(&sink)
        .map_err(|e| e.to_string())?;
    let relay = relay.clone();
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let at = clock_time(sink.upcast_ref(), &sample);
        relay.push_audio(sample, at);
        Ok(gst::FlowSuccess::Ok)
    });
    sink.set_callbacks(callbacks.build());
    Ok(bin)
}

/// The clock's time at which a sample was taken.
fn clock_time(element: &gst::Element, sample: &gst::Sample) -> gst::ClockTime {
    let time = sample.segment().and_then(|segment| {
        let segment = segment.downcast_ref::<gst::ClockTime>()?;
        segment.to_running_time(sample.buffer()?.pts()?)
    });
    time.zip(element.base_time())
        .map(|(time, base)| time + base)
        .unwrap_or_else(|| gst::SystemClock::obtain().time())
}

fn lock(streams: &Mutex<Streams>) -> std::sync::MutexGuard<'_, Streams> {
    streams.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make(factory: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make(factory)
        .build()
        .map_err(|_| format!("GStreamer has no element {factory}"))
}

fn bin(description: &str) -> Result<gst::Bin, String> {
    let bin = gst::parse::bin_from_description(description, false).map_err(|e| e.to_string())?;
    ghost(&bin)?;
    Ok(bin)
}

/// What follows a decoder is linked when it has found a stream: only the decoder's own pad is the bin's.
fn ghost(bin: &gst::Bin) -> Result<(), String> {
    let sink = bin
        .by_name("decoder")
        .and_then(|decoder| decoder.static_pad("sink"))
        .ok_or("no decoder")?;
    let pad = gst::GhostPad::builder_with_target(&sink)
        .map_err(|e| e.to_string())?
        .name("sink")
        .build();
    bin.add_pad(&pad).map_err(|e| e.to_string())
}

/// Has `seen` called with each frame at a pad.
fn count(element: &gst::Element, pad: &str, seen: impl Fn(gst::Sample) + Send + Sync + 'static) -> Result<(), String> {
    let pad = element.static_pad(pad).ok_or_else(|| format!("no pad {pad}"))?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let (Some(buffer), Some(caps)) = (info.buffer(), pad.current_caps()) {
            seen(gst::Sample::builder().buffer(buffer).caps(&caps).build());
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Whether an error says that user and password are refused.
pub fn is_refusal(error: &glib::Error) -> bool {
    error.matches(gst::ResourceError::NotAuthorized)
}

/// Whether an error is about what the camera sends, not about whether it sends.
pub fn is_unusable(error: &glib::Error, debug: Option<&str>) -> bool {
    use gst::{CoreError, StreamError};
    [
        StreamError::NotImplemented,
        StreamError::TypeNotFound,
        StreamError::WrongType,
        StreamError::CodecNotFound,
        StreamError::Format,
    ]
    .iter()
    .any(|code| error.matches(*code))
        || [CoreError::Negotiation, CoreError::Caps, CoreError::MissingPlugin]
            .iter()
            .any(|code| error.matches(*code))
        || debug.is_some_and(|debug| debug.contains("not-negotiated"))
}
