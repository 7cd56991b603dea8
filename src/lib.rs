//! URetinex-Net (CVPR 2022) on video frames: bright and clean pictures from dark ones, in real time.
//!
//! A frame is split into reflectance and illumination, refined in a few rounds of closed-form updates and small
//! networks, and relit by a `ratio`. This crate knows nothing of GStreamer; the element is in `gst-plugin-uretinex`.
//!
//! ```
//! use uretinex::{Colorimetry, Enhancer, Frame, FrameMut, FrameSpec, Options, Parameters, PixelFormat, Plane, PlaneMut};
//!
//! # fn main() -> uretinex::Result<()> {
//! let (width, height, stride) = (64, 48, 64 * 3);
//! let spec = FrameSpec { format: PixelFormat::Rgb, width, height, colorimetry: Colorimetry::FULL };
//! let dark = vec![20u8; stride * height];
//! let mut bright = vec![0u8; stride * height];
//!
//! let mut enhancer = Enhancer::new(&Options::default())?;
//! let input = Frame::new(spec, &[Plane { data: &dark, stride }])?;
//! let mut output = FrameMut::new(spec, [PlaneMut { data: &mut bright, stride }])?;
//! let report = enhancer.process(&input, &mut output, Parameters { ratio: 4.0, temporal: 1.0, ..Parameters::default() })?;
//! assert!(report.luma_out > report.luma_in);
//! # Ok(())
//! # }
//! ```

mod backend;
mod cpu;
mod error;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gpu;
mod network;
mod pack;
mod registry;
mod session;
mod stages;
mod temporal;
#[cfg(test)]
mod testing;

pub use backend::{
    Backend, DeviceBuffer, DeviceId, Executor, Geometry, MemoryFigures, Meter, Observer, Phase, PreparationJob,
    Progress,
};
pub use cpu::{Capabilities, Level};
pub use error::{Error, ErrorKind, Result};
pub use frame::{
    ChromaSite, Colorimetry, Comparison, DeviceFrame, DevicePlane, Frame, FrameMut, FrameSpec, MAX_PLANES, MAX_SIDE,
    MIN_SIDE, Matrix, PixelFormat, Plane, PlaneMut, REGION_FADE, Range, RawContext, RawStream, Region,
};
pub use gpu::{
    CACHE_VARIABLE, CacheContents, CacheEntry, Driver, EngineCache, FOLDER_VARIABLE, Gpu, ParseError, Probe,
    SharedLibrary, TensorRt, Version, probe, search_path, try_tensorrt,
};
pub use pack::{Manifest, Pack, Precision, Precisions, Schedule, Subnetwork, Variant};
pub use session::{BackendChoice, Enhancer, Options};
pub use stages::{
    AUTOMATIC, BRIGHTNESS_RANGE, Parameters, Plan, Quantity, RATIO_RANGE, Report, STRENGTH_RANGE, Stage, StageTimes,
    Stages, Step, TEMPORAL_RANGE,
};
pub use temporal::{Light, Percentiles, Reset, Statistics, StreamMemory, WINDOW};
