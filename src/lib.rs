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
//! let report = enhancer.process(&input, &mut output, Parameters { ratio: 4.0, strength: 1.0 })?;
//! assert!(report.luma_out > report.luma_in);
//! # Ok(())
//! # }
//! ```

mod backend;
mod colour;
mod cpu;
mod cuda;
mod disjoint;
mod driver;
mod enhancer;
mod error;
mod frame;
#[cfg(test)]
mod goldens;
mod identity;
mod pack;
mod pool;
mod probe;
mod protobuf;
mod shared;
mod simd;
mod stage;
mod stats;
mod tensorrt;
mod unfold;

pub use backend::{Backend, Geometry, Quantity, Replay};
pub use cuda::{DeviceFrameBuffer, EngineJob, GpuFigures, RawContext};
pub use driver::{Driver, Gpu};
pub use enhancer::{BackendChoice, Enhancer, Options, RATIO_RANGE};
pub use error::{Error, ErrorKind, Result};
pub use frame::{
    ChromaSite, Colorimetry, DeviceFrame, DevicePlane, Frame, FrameMut, FrameSpec, MAX_PLANES, MAX_SIDE, MIN_SIDE,
    Matrix, PixelFormat, Plane, PlaneMut, Range, RawStream,
};
pub use pack::{Manifest, Pack, Precision, Precisions, Schedule, Subnetwork};
pub use probe::{Probe, probe};
pub use shared::{SharedLibrary, search_path};
pub use simd::Level;
pub use stage::{Parameters, Report, Stage};
pub use stats::{Percentiles, Statistics, WINDOW};
pub use tensorrt::{
    CACHE_VARIABLE, CacheContents, CacheEntry, EngineCache, FOLDER_VARIABLE, Observer, ParseError, Progress, Step,
    TensorRt, Version, try_tensorrt,
};
