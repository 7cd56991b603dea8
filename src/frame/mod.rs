//! Video frames as they lie in memory: format, size, colorimetry, planes.

mod colorimetry;
mod device;
mod format;
mod touch;
mod view;

pub use colorimetry::{ChromaSite, Colorimetry, Matrix, Range};
pub use device::{DeviceFrame, DevicePlane, RawContext, RawStream};
pub use format::PixelFormat;
pub(crate) use format::{ColourModel, Component, Layout, Shared, subsampled, word};
pub use touch::{Comparison, REGION_FADE, Region};
pub use view::{Frame, FrameMut, FrameSpec, MAX_PLANES, MAX_SIDE, MIN_SIDE, Plane, PlaneMut};
