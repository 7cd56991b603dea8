//! How a stream is made: its elements, its coder, and its place at the relay.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::subclass::prelude::*;

use crate::config::Source;
use crate::encoder::{self, Encoder};
use crate::relay::{Offer, Relay};

/// Names of elements in a stream's bin.
const VIDEO: &str = "video";
const AUDIO: &str = "audio";
const CODER: &str = "coder";

struct Of {
    name: String,
    encoders: Vec<Encoder>,
    bitrate: Option<u32>,
    relay: Arc<Relay>,
    /// How many of the coders have turned out not to work.
    skipped: Arc<AtomicUsize>,
}

#[derive(Default)]
pub struct StreamFactory(OnceLock<Of>);

impl super::StreamFactory {
    /// A factory of one stream that all viewers share.
    pub fn new(name: &str, source: &Source, relay: &Arc<Relay>) -> Self {
        let factory: Self = glib::Object::new();
        let _ = factory.imp().0.set(Of {
            name: name.to_owned(),
            encoders: source.encoders.clone(),
            bitrate: source.bitrate,
            relay: relay.clone(),
            skipped: Arc::default(),
        });
        factory.set_shared(true);
        factory.set_clock(Some(&gst::SystemClock::obtain()));
        factory
    }
}

impl Of {
    fn launch(&self, offer: &Offer) -> Result<String, String> {
        let skipped = self.skipped.load(Ordering::Relaxed).min(self.encoders.len() - 1);
        let (encoder, troubles) = Encoder::first_of(&self.encoders[skipped..])?;
        if !troubles.is_empty() {
            log::info!(
                "camera {}: coded by {}: {}",
                self.name,
                encoder.name(),
                troubles.join(", ")
            );
            self.skipped.fetch_add(troubles.len(), Ordering::Relaxed);
        }
        let rate = offer
            .rate
            .map_or(25.0, |rate| f64::from(rate.numer()) / f64::from(rate.denom()));
        let bitrate = self
            .bitrate
            .unwrap_or_else(|| encoder::bitrate(offer.width, offer.height, rate));
        let entry = "is-live=true format=time max-bytes=0 leaky-type=downstream";
        let mut launch = format!(
            "appsrc name={VIDEO} {entry} max-buffers=3 ! videoconvert ! videoscale add-borders=true \
             ! video/x-raw,format=I420,width={},height={},pixel-aspect-ratio=1/1 ! {} ! h264parse \
             ! rtph264pay name=pay0 pt=96 config-interval=1 aggregate-mode=zero-latency",
            offer.width,
            offer.height,
            encoder.launch(bitrate)
        );
        if let Some(audio) = offer.audio {
            launch += &format!(" appsrc name={AUDIO} {entry} max-buffers=64 ! {} name=pay1", audio.pack);
        }
        Ok(format!("( {launch} )"))
    }

    fn configure(&self, media: &gst_rtsp_server::RTSPMedia) {
        let Ok(bin) = media.element().downcast::<gst::Bin>() else {
            return;
        };
        let source = |name| {
            bin.by_name(name)
                .and_then(|element| element.downcast::<gst_app::AppSrc>().ok())
        };
        let (Some(coder), Some(video)) = (bin.by_name(CODER), source(VIDEO)) else {
            return;
        };
        let (relay, entry) = (Arc::downgrade(&self.relay), video.downgrade());
        media.connect_unprepared(move |_| {
            if let (Some(relay), Some(entry)) = (relay.upgrade(), entry.upgrade()) {
                relay.detach(&entry);
            }
        });
        // A coder that opens and then fails, as one whose GPU has no session left: the next viewer gets the next coder.
        let (skipped, name, failing) = (Arc::downgrade(&self.skipped), self.name.clone(), coder.downgrade());
        let others = self.encoders.len() - 1;
        let signal = glib::subclass::SignalId::lookup("handle-message", media.type_());
        // GStreamer before 1.22 has no such signal.
        if signal.is_none() {
            return self.relay.attach(coder, video, source(AUDIO));
        }
        media.connect("handle-message", false, move |values| {
            let message = values.get(1).and_then(|value| value.get::<gst::Message>().ok());
            if let Some(gst::MessageView::Error(error)) = message.as_ref().map(|message| message.view()) {
                log::warn!("camera {name}: the served stream ends: {}", error.error().message());
                let of_coder = failing
                    .upgrade()
                    .is_some_and(|coder| error.src() == Some(coder.upcast_ref()));
                if let Some(skipped) = skipped.upgrade().filter(|_| of_coder) {
                    let _ =
                        skipped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < others).then_some(n + 1));
                }
            }
            Some(false.to_value())
        });
        self.relay.attach(coder, video, source(AUDIO));
    }
}

#[glib::object_subclass]
impl ObjectSubclass for StreamFactory {
    const NAME: &'static str = "UretinexStreamFactory";
    type Type = super::StreamFactory;
    type ParentType = gst_rtsp_server::RTSPMediaFactory;
}

impl ObjectImpl for StreamFactory {}

impl RTSPMediaFactoryImpl for StreamFactory {
    /// One stream, whatever else the address says.
    fn gen_key(&self, _url: &gst_rtsp::RTSPUrl) -> Option<glib::GString> {
        Some("camera".into())
    }

    fn create_element(&self, _url: &gst_rtsp::RTSPUrl) -> Option<gst::Element> {
        let of = self.0.get()?;
        // Before the camera's first frame there is nothing to describe: the viewer is told to come back.
        let offer = of.relay.offer()?;
        let made = of.launch(&offer).and_then(|launch| {
            let flags = gst::ParseFlags::PLACE_IN_BIN;
            gst::parse::launch_full(&launch, None, flags).map_err(|e| e.to_string())
        });
        made.inspect_err(|error| log::error!("camera {}: no stream: {error}", of.name))
            .ok()
    }

    fn media_configure(&self, media: &gst_rtsp_server::RTSPMedia) {
        self.parent_media_configure(media);
        if let Some(of) = self.0.get() {
            of.configure(media);
        }
    }
}
