//! The properties that users set: one table of specifications, and the values.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use uretinex::{AUTOMATIC, BRIGHTNESS_RANGE, Error, ErrorKind, MAX_SIDE, Options, Parameters, RATIO_RANGE};

use super::choices::{Backend, Compare, OnEngineBuild, Precision};
use super::regions::{Regions, parse_regions};

/// The most threads that can be asked for.
const MAX_THREADS: u32 = 1024;
/// The most frames in flight that can be asked for: as many as a backend takes at once.
const MAX_IN_FLIGHT: u32 = 2;
/// The longest fade between day and night, and the longest deadline, in milliseconds.
const MAX_FADE: u32 = 60_000;
const MAX_DEADLINE: i32 = 10_000;
/// The share of the time from frame to frame that an automatic deadline leaves to a frame.
const SHARE: f32 = 0.9;
/// The highest GPU number that can be asked for.
const MAX_DEVICE: u32 = 63;

/// What may change from one frame to the next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Live {
    pub parameters: Parameters,
    pub enabled: bool,
    auto_bypass: bool,
    fade_time: u32,
    pub compare: Compare,
    pub divider: f32,
    pub regions: Regions,
    /// Milliseconds; 0 is none, below 0 it follows from the frame rate.
    deadline: i32,
    pub frame_meta: bool,
}

impl Live {
    /// Whether frames leave as they came.
    pub fn passes_through(&self) -> bool {
        !self.enabled || self.parameters.strength == 0.0
    }

    /// Whether frames go through untouched by day.
    pub fn bypasses_daylight(&self) -> bool {
        self.auto_bypass && self.parameters.ratio == AUTOMATIC
    }

    /// How long a change between day and night takes.
    pub fn fade(&self) -> Duration {
        Duration::from_millis(self.fade_time.into())
    }

    /// How long a frame may take, of a stream with that time from frame to frame; none if it may take any time. By itself
    /// only where `holds`: frames have to be there in time and something can be done about it.
    pub fn deadline(&self, interval: Option<Duration>, holds: bool) -> Option<Duration> {
        match self.deadline {
            0 => None,
            milliseconds @ 1.. => Some(Duration::from_millis(milliseconds.unsigned_abs().into())),
            _ => interval.filter(|_| holds).map(|interval| interval.mul_f32(SHARE)),
        }
    }
}

/// The values of the writable properties.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub live: Live,
    /// The regions as they were set.
    regions: Option<String>,
    model: String,
    backend: Backend,
    device_id: u32,
    threads: u32,
    precision: Precision,
    max_pixels: u32,
    engine_cache: Option<String>,
    pub on_engine_build: OnEngineBuild,
    /// 0 is automatic.
    pub frames_in_flight: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            live: Live {
                parameters: Parameters {
                    ratio: AUTOMATIC,
                    temporal: 1.0,
                    ..Parameters::default()
                },
                enabled: true,
                auto_bypass: true,
                fade_time: 2000,
                compare: Compare::default(),
                divider: 0.5,
                regions: Regions::default(),
                deadline: -1,
                frame_meta: false,
            },
            regions: None,
            model: "auto".into(),
            backend: Backend::default(),
            device_id: 0,
            threads: 0,
            precision: Precision::default(),
            max_pixels: 0,
            engine_cache: None,
            on_engine_build: OnEngineBuild::default(),
            frames_in_flight: 0,
        }
    }
}

impl Settings {
    /// How the enhancer is to be made.
    pub fn options(&self) -> Options {
        Options {
            model: self.model.clone(),
            backend: self.backend.into(),
            precision: self.precision.into(),
            threads: self.threads as usize,
            device_id: self.device_id,
            max_pixels: self.max_pixels as usize,
            engine_cache: self.engine_cache.clone().map(PathBuf::from),
            cuda_context: None,
        }
    }

    /// The backend asked for, and the GPU.
    pub fn device(&self) -> (Backend, u32) {
        (self.backend, self.device_id)
    }

    /// Takes a property's new value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the value is not a number, or no list of regions; the one before stays.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> Result<(), Error> {
        match name {
            "ratio" | "brightness" | "strength" | "temporal" | "divider" => {
                let number: f32 = get(value);
                if number.is_nan() {
                    return Err(Error::new(ErrorKind::InvalidOption, format!("{name} is not a number")));
                }
                if name == "divider" {
                    self.live.divider = number;
                    return Ok(());
                }
                let p = &mut self.live.parameters;
                *match name {
                    "ratio" => &mut p.ratio,
                    "brightness" => &mut p.brightness,
                    "strength" => &mut p.strength,
                    _ => &mut p.temporal,
                } = number;
                // Between automatic and 1 there is nothing.
                if p.ratio != AUTOMATIC {
                    p.ratio = p.ratio.max(*RATIO_RANGE.start());
                }
            }
            "enabled" => self.live.enabled = get(value),
            "auto-bypass" => self.live.auto_bypass = get(value),
            "fade-time" => self.live.fade_time = get(value),
            "compare" => self.live.compare = get(value),
            "regions" => {
                let text: Option<String> = get(value);
                self.live.regions.list = text.as_deref().map_or(Ok(Arc::default()), parse_regions)?;
                self.regions = text;
            }
            "regions-mode" => self.live.regions.mode = get(value),
            "regions-meta" => self.live.regions.meta = get(value),
            "deadline" => self.live.deadline = get(value),
            "frame-meta" => self.live.frame_meta = get(value),
            "model" => self.model = get::<Option<String>>(value).unwrap_or_else(|| "auto".into()),
            "backend" => self.backend = get(value),
            "device-id" => self.device_id = get(value),
            "threads" => self.threads = get(value),
            "precision" => self.precision = get(value),
            "max-pixels" => self.max_pixels = get(value),
            "engine-cache" => self.engine_cache = get(value),
            "on-engine-build" => self.on_engine_build = get(value),
            "frames-in-flight" => self.frames_in_flight = get(value),
            _ => unreachable!("no writable property {name}"),
        }
        Ok(())
    }

    /// A property's value, if it is one of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "ratio" => self.live.parameters.ratio.to_value(),
            "brightness" => self.live.parameters.brightness.to_value(),
            "strength" => self.live.parameters.strength.to_value(),
            "temporal" => self.live.parameters.temporal.to_value(),
            "enabled" => self.live.enabled.to_value(),
            "auto-bypass" => self.live.auto_bypass.to_value(),
            "fade-time" => self.live.fade_time.to_value(),
            "compare" => self.live.compare.to_value(),
            "divider" => self.live.divider.to_value(),
            "regions" => self.regions.to_value(),
            "regions-mode" => self.live.regions.mode.to_value(),
            "regions-meta" => self.live.regions.meta.to_value(),
            "deadline" => self.live.deadline.to_value(),
            "frame-meta" => self.live.frame_meta.to_value(),
            "model" => self.model.to_value(),
            "backend" => self.backend.to_value(),
            "device-id" => self.device_id.to_value(),
            "threads" => self.threads.to_value(),
            "precision" => self.precision.to_value(),
            "max-pixels" => self.max_pixels.to_value(),
            "engine-cache" => self.engine_cache.to_value(),
            "on-engine-build" => self.on_engine_build.to_value(),
            "frames-in-flight" => self.frames_in_flight.to_value(),
            _ => return None,
        })
    }
}

/// GObject has checked the type against the specification.
fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value.get().expect("of the specified type")
}

/// All properties, with their nicks, descriptions, ranges, defaults, and when they may be set.
pub(super) fn specifications() -> &'static [glib::ParamSpec] {
    static ALL: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let d = Settings::default();
        // Values outside the range are clamped, not refused: a controller's curve may overshoot.
        let lax = glib::ParamFlags::READWRITE | glib::ParamFlags::LAX_VALIDATION;
        vec![
            glib::ParamSpecFloat::builder("ratio")
                .nick("Ratio")
                .blurb("How bright: the illumination is raised by this ratio, 1 leaves brightness alone, 0 takes what the scene bears")
                .flags(lax)
                .minimum(AUTOMATIC)
                .maximum(*RATIO_RANGE.end())
                .default_value(d.live.parameters.ratio)
                .controllable()
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("brightness")
                .nick("Brightness")
                .blurb("What an automatic ratio lifts a scene to: below 0 darker, above 0 brighter")
                .flags(lax)
                .minimum(*BRIGHTNESS_RANGE.start())
                .maximum(*BRIGHTNESS_RANGE.end())
                .default_value(d.live.parameters.brightness)
                .controllable()
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("strength")
                .nick("Strength")
                .blurb("How much of the result is blended over the input, 0 passes frames through untouched")
                .flags(lax)
                .minimum(0.0)
                .maximum(1.0)
                .default_value(d.live.parameters.strength)
                .controllable()
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("temporal")
                .nick("Temporal")
                .blurb("How much of the frames before goes into a frame, 0 enhances each frame on its own")
                .flags(lax)
                .minimum(0.0)
                .maximum(1.0)
                .default_value(d.live.parameters.temporal)
                .controllable()
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("enabled")
                .nick("Enabled")
                .blurb("Whether frames are enhanced; false passes every buffer through untouched")
                .default_value(d.live.enabled)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("auto-bypass")
                .nick("Automatic bypass")
                .blurb("Whether frames go through untouched by day, where the ratio is automatic")
                .default_value(d.live.auto_bypass)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("fade-time")
                .nick("Fade time")
                .blurb("Milliseconds that a change between day and night takes")
                .maximum(MAX_FADE)
                .default_value(d.live.fade_time)
                .mutable_playing()
                .build(),
            glib::ParamSpecInt::builder("deadline")
                .nick("Deadline")
                .blurb(
                    "Milliseconds that a frame may take before a simpler one is made (0 = any time, -1 = by the frame rate \
                     in a live pipeline on a processor)",
                )
                .minimum(-1)
                .maximum(MAX_DEADLINE)
                .default_value(d.live.deadline)
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("regions")
                .nick("Regions")
                .blurb("Rectangles X,Y,WIDTH,HEIGHT in pixels with ; between them, see regions-mode")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("regions-mode", d.live.regions.mode)
                .nick("Regions mode")
                .blurb("What is done with regions")
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("regions-meta")
                .nick("Regions meta")
                .blurb("The type of the regions of interest that come with buffers and are regions too (none: they are not)")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("compare", d.live.compare)
                .nick("Compare")
                .blurb("Whether a frame shows what came in beside the result")
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("divider")
                .nick("Divider")
                .blurb("The share of the width that compare=split shows as it came in")
                .flags(lax)
                .minimum(0.0)
                .maximum(1.0)
                .default_value(d.live.divider)
                .controllable()
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("frame-meta")
                .nick("Frame meta")
                .blurb("Whether each frame carries a meta that says what was done to it")
                .default_value(d.live.frame_meta)
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("model")
                .nick("Model")
                .blurb("The model pack: auto (video), full, lite, video, or a folder")
                .default_value(Some(d.model.as_str()))
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("backend", d.backend)
                .nick("Backend")
                .blurb("What does the work")
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("device-id")
                .nick("Device ID")
                .blurb("The GPU to work on, counted from 0; of no effect on a CPU")
                .maximum(MAX_DEVICE)
                .default_value(d.device_id)
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("threads")
                .nick("Threads")
                .blurb("Threads for the work on the processor (0 = one for every core)")
                .maximum(MAX_THREADS)
                .default_value(d.threads)
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("precision", d.precision)
                .nick("Precision")
                .blurb("The number format of the networks' arithmetic")
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("max-pixels")
                .nick("Maximum pixels")
                .blurb("At most this many pixels of a frame go through the networks, the rest is interpolated along edges (0 = native size)")
                .maximum((MAX_SIDE * MAX_SIDE) as u32)
                .default_value(d.max_pixels)
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("engine-cache")
                .nick("Engine cache")
                .blurb("The folder that a GPU's engines are kept in (none: URETINEX_ENGINE_CACHE, or the XDG cache folder)")
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("on-engine-build", d.on_engine_build)
                .nick("On engine build")
                .blurb("What becomes of frames while engines are loaded or built")
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("frames-in-flight")
                .nick("Frames in flight")
                .blurb(
                    "At most this many frames of system memory are under way at once on a GPU; 2 holds each frame back \
                     until the next one comes (0 = 1 in a live pipeline, 2 otherwise)",
                )
                .maximum(MAX_IN_FLIGHT)
                .default_value(d.frames_in_flight)
                .mutable_ready()
                .build(),
            // The base class has a property of this name whose default is false.
            glib::ParamSpecBoolean::builder("qos")
                .nick("QoS")
                .blurb("Drop frames that would come too late")
                .default_value(true)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("Counts of frames, times in milliseconds, mean lumas, backend, model and ratio in use")
                .read_only()
                .build(),
            glib::ParamSpecString::builder("backend-in-use")
                .nick("Backend in use")
                .blurb("The backend that does the work; none before the element is started")
                .read_only()
                .build(),
        ]
    });
    &ALL
}
