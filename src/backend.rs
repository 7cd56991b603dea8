//! What a backend is: the stages of the network on some device, and nothing of their order.

use std::time::Duration;

use crate::cuda::{DeviceFrameBuffer, EngineJob, GpuFigures};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{DeviceFrame, Frame, FrameMut, FrameSpec, MIN_SIDE, RawStream};
use crate::pack::{Precision, Precisions};
use crate::stage::{Parameters, Report, Stage};

/// The sizes that a backend prepares for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The frames that come in and go out.
    pub spec: FrameSpec,
    /// Width and height on which the networks work, at most the frame's own.
    pub working: (usize, usize),
    /// The working size with each side rounded up to the pack's multiple, by edge replication.
    pub padded: (usize, usize),
}

impl Geometry {
    /// Sizes for frames of `spec`, at most `max_pixels` of which (0: all) go through the networks, padded to whole
    /// multiples of `multiple` pixels. The aspect ratio is kept to the nearest pixel.
    pub fn new(spec: FrameSpec, max_pixels: usize, multiple: usize) -> Self {
        let (w, h) = (spec.width, spec.height);
        let working = if max_pixels == 0 || w * h <= max_pixels {
            (w, h)
        } else {
            let scale = (max_pixels as f64 / (w * h) as f64).sqrt();
            let side = |s: usize| ((s as f64 * scale).floor() as usize).clamp(MIN_SIDE.min(s), s);
            (side(w), side(h))
        };
        Self {
            spec,
            working,
            padded: (
                working.0.next_multiple_of(multiple),
                working.1.next_multiple_of(multiple),
            ),
        }
    }

    /// Whether the networks see a reduced copy of the frame.
    pub fn is_reduced(&self) -> bool {
        self.working != (self.spec.width, self.spec.height)
    }
}

/// A quantity of the network that can be read back, for tests. Names are those of DESIGN and of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantity {
    /// The input I: R'G'B', 0 to 1.
    Image,
    /// The auxiliary reflectance P, 3 channels.
    P,
    /// The auxiliary illumination Q, 1 channel.
    Q,
    /// The reflectance R, 3 channels.
    R,
    /// The illumination L, 1 channel.
    L,
    /// The adjusted illumination L', 1 channel.
    Adjusted,
}

/// The stages of the network on one device, for one stream.
///
/// Called by the round loop alone, in its order, after a [`prepare`](Backend::prepare) for the size. Tensors never
/// leave a backend but through [`read`](Backend::read). A backend allocates in `prepare` only.
pub trait Backend: Send {
    /// The name that users see, such as `cpu`.
    fn name(&self) -> &'static str;

    /// The number format of each subnetwork's arithmetic, once it is prepared.
    fn precisions(&self) -> Precisions {
        Precision::Fp32.into()
    }

    /// Allocates for frames of `geometry`, whose size has been checked.
    ///
    /// # Errors
    /// If memory or the device is short of what it takes; the backend may be prepared again afterwards.
    fn prepare(&mut self, geometry: &Geometry) -> Result<()>;

    /// Reads a frame of the prepared geometry as I; returns its mean luma, 0 to 1.
    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32>;

    /// P, Q = Decomposition(I).
    fn decompose(&mut self) -> Result<()>;

    /// P = (I·Q + γ·R) / (Q·Q + γ), then Q = (Σ I·P + λ·L) / (Σ P·P + λ) (paper, equations of the unfolding).
    fn update(&mut self, gamma: f32, lambda: f32) -> Result<()>;

    /// R = Restoration(P, Q).
    fn restore(&mut self) -> Result<()>;

    /// L = Illumination(Q).
    fn illuminate(&mut self) -> Result<()>;

    /// L' = Adjustment(L, ratio).
    fn adjust(&mut self, ratio: f32) -> Result<()>;

    /// Writes `input + strength · (clamp(L'·R, 0, 1) − input)`; returns its mean luma, 0 to 1.
    fn compose(&mut self, input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32>;

    /// Bytes of memory held for the prepared size, weights not counted; 0 if the backend does not know.
    fn bytes(&self) -> usize {
        0
    }

    /// A quantity as it stands: channel by channel, row by row, at the working size without padding. For tests.
    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>>;

    /// Whether the time that each stage takes by itself is wanted, at the cost of what else could run beside it.
    fn time_stages(&mut self, _on: bool) {}

    /// The time of each of [`Stage::ALL`] since the last call, from a device whose stages end later than the calls
    /// that begin them; `None` if the calls' own time is what they took.
    fn stage_times(&mut self) -> Result<Option<[Duration; Stage::ALL.len()]>> {
        Ok(None)
    }

    /// The backend as one that records a frame's stages once for a size and replays them, if it is one.
    fn replay(&mut self) -> Option<&mut dyn Replay> {
        None
    }
}

/// A backend that records a frame of the prepared geometry and then replays it, several frames at a time.
///
/// To record: [`begin`](Replay::begin), the stages between ingest and compose in their order, [`end`](Replay::end).
pub trait Replay {
    /// The most frames that can be under way at once.
    fn depth(&self) -> usize;

    /// Engines that `prepare` would wait for, to be had beforehand on another thread; `None` if it has them.
    fn engine_job(&self, geometry: &Geometry) -> Option<EngineJob>;

    /// Frames that were submitted and not collected.
    fn pending(&self) -> usize;

    /// What the addresses and strides of frames are multiples of, in bytes, in what was recorded; 0: nothing was.
    fn alignment(&self) -> u32;

    /// Begins a recording with ingest, for frames aligned to `alignment` bytes, a power of two up to 16. The stages
    /// called from here on are kept, not run.
    fn begin(&mut self, alignment: u32) -> Result<()>;

    /// Ends the recording with compose.
    fn end(&mut self) -> Result<()>;

    /// Gives up a recording in which `error` happened; true if another attempt, made otherwise, may go well.
    fn abandon(&mut self, error: &Error) -> bool;

    /// Sends a frame on its way, and waits for nothing.
    fn submit(&mut self, input: &Frame<'_>, parameters: Parameters) -> Result<()>;

    /// Waits for the oldest frame under way, which is under way no more, whatever comes of it.
    fn collect(&mut self, output: &mut FrameMut<'_>) -> Result<Report>;

    /// As [`collect`](Replay::collect), for a frame that nobody wants any more.
    fn discard(&mut self) -> Result<()>;

    /// Device memory for a frame.
    fn device_frame(&self, spec: &FrameSpec) -> Result<DeviceFrameBuffer>;

    /// As [`process_device`](Replay::process_device).
    fn process_buffers(
        &mut self,
        input: &DeviceFrameBuffer,
        output: &mut DeviceFrameBuffer,
        parameters: Parameters,
    ) -> Result<Report>;

    /// Bytes of device memory that are free.
    fn free_memory(&self) -> Result<u64>;

    /// Measures the GPU.
    fn figures(&self) -> Result<GpuFigures>;

    /// Takes a frame in device memory through what was recorded, after all that was issued on the stream `after`, and
    /// waits until `output` is written. The two do not overlap.
    fn process_device(
        &mut self,
        input: &DeviceFrame,
        output: &DeviceFrame,
        after: Option<RawStream>,
        parameters: Parameters,
    ) -> Result<Report>;
}

/// The error of collecting where nothing was submitted.
pub(crate) fn none_pending() -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        "no submitted frame is under way: submit one first",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Colorimetry, PixelFormat};

    #[test]
    fn working_sizes() {
        for (w, h, max, multiple, working, padded) in [
            (1920, 1080, 0, 1, (1920, 1080), (1920, 1080)),
            (1921, 1081, 0, 4, (1921, 1081), (1924, 1084)),
            (1920, 1080, 960 * 540, 4, (960, 540), (960, 540)),
            (1920, 1080, 1, 4, (16, 16), (16, 16)),
            (100, 100, 10_000, 8, (100, 100), (104, 104)),
        ] {
            let spec = FrameSpec {
                format: PixelFormat::Rgb,
                width: w,
                height: h,
                colorimetry: Colorimetry::FULL,
            };
            let g = Geometry::new(spec, max, multiple);
            assert_eq!((g.working, g.padded), (working, padded), "{w}x{h} {max} {multiple}");
        }
    }
}
