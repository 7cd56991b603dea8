//! What the element's tests share: the plugin registered, the element in a harness with a bus, test pictures.
#![allow(dead_code)] // Each test binary uses a part.

use std::path::PathBuf;
use std::sync::OnceLock;

use gst::prelude::*;
use gst_video::{VideoFormat, VideoInfo};
use uretinex::PixelFormat;

/// Makes GStreamer and the element available.
pub fn init() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        gst::init().expect("GStreamer");
        gsturetinex::plugin_register_static().expect("the plugin");
    });
}

/// The pack under test: the embedded light one, or the one that the environment names.
pub fn model() -> String {
    std::env::var("URETINEX_TEST_PACK").unwrap_or_else(|_| "lite".into())
}

/// The element with a backend and the pack under test; it enhances bright frames too.
pub fn element(backend: &str) -> gst::Element {
    init();
    let element = gst::ElementFactory::make("uretinexenhance")
        .property("model", model())
        .property("auto-bypass", false);
    element
        .property_from_str("backend", backend)
        .build()
        .expect("the element")
}

/// The element in a harness, with a bus to hear what it says.
pub struct Rig {
    pub harness: gst_check::Harness,
    pub element: gst::Element,
    pub bus: gst::Bus,
}

impl Rig {
    /// With frames of `caps` going in.
    pub fn new(backend: &str, caps: &gst::Caps) -> Self {
        let mut rig = Self::around(element(backend));
        rig.harness.set_src_caps(caps.clone());
        rig
    }

    /// Around an element that is not started yet.
    pub fn around(element: gst::Element) -> Self {
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        Self { harness, element, bus }
    }

    /// The latest statistics.
    pub fn stats(&self) -> gst::Structure {
        self.element.property("stats")
    }

    /// A count of the statistics.
    pub fn count(&self, name: &str) -> u64 {
        self.stats().get(name).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Errors on the bus so far, as their texts.
    pub fn errors(&self) -> Vec<String> {
        messages(&self.bus, gst::MessageType::Error)
    }

    /// Warnings on the bus so far, as their texts.
    pub fn warnings(&self) -> Vec<String> {
        messages(&self.bus, gst::MessageType::Warning)
    }
}

/// The texts of the errors or warnings on a bus; other messages are thrown away.
pub fn messages(bus: &gst::Bus, kind: gst::MessageType) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(message) = bus.pop() {
        match message.view() {
            gst::MessageView::Error(e) if kind == gst::MessageType::Error => texts.push(e.error().message().into()),
            gst::MessageView::Warning(w) if kind == gst::MessageType::Warning => texts.push(w.error().message().into()),
            _ => {}
        }
    }
    texts
}

/// Progressive caps of a format and size, at 25 frames a second.
pub fn caps(format: &str, width: i32, height: i32) -> gst::Caps {
    init();
    gst::Caps::builder("video/x-raw")
        .field("format", format)
        .field("width", width)
        .field("height", height)
        .field("framerate", gst::Fraction::new(25, 1))
        .build()
}

/// The formats of the core that this GStreamer knows too. Says which it does not know.
pub fn formats() -> impl Iterator<Item = PixelFormat> {
    init();
    PixelFormat::ALL.into_iter().filter(|format| {
        let known = format.name().parse::<VideoFormat>().is_ok();
        if !known {
            eprintln!("SKIPPED: {}: GStreamer knows it from version 1.24 on", format.name());
        }
        known
    })
}

/// A generator of numbers that look random; the same for the same seed.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }
}

/// A dark frame of noise of these caps, number `n` of its stream.
pub fn frame(caps: &gst::Caps, n: u64) -> gst::Buffer {
    let info = VideoInfo::from_caps(caps).expect("video caps");
    let mut noise = Noise::new(n + 1);
    // 10-bit words: the high byte stays low, so that every code is in its range.
    let wide = info.comp_depth(0) > 8;
    let bytes: Vec<u8> = (0..info.size())
        .map(|i| {
            if wide && i % 2 == 1 {
                (noise.next() % 2) as u8
            } else {
                16 + (noise.next() % 64) as u8
            }
        })
        .collect();
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    let time = gst::ClockTime::from_mseconds(40);
    let r = buffer.get_mut().unwrap();
    r.set_pts(time * n);
    r.set_duration(time);
    buffer
}

/// The bytes of a buffer.
pub fn bytes(buffer: &gst::Buffer) -> Vec<u8> {
    buffer.map_readable().expect("a readable buffer").to_vec()
}

/// The folder of clips, where there is one; otherwise says that the test is skipped.
pub fn clips() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("URETINEX_SHARED").map_or_else(beside, PathBuf::from);
    let folder = shared.join("data/video");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no clips in {} (set URETINEX_SHARED)", folder.display());
    None
}
