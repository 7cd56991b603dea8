//! The seam between a stream and the device that works for it.

use crate::backend::{DeviceBuffer, DeviceId, Geometry, PreparationJob};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{DeviceFrame, Frame, FrameMut, FrameSpec, RawStream};
use crate::pack::Precisions;
use crate::stages::{Plan, Quantity, Report};

/// A device with one model pack on it, from which executors are prepared.
///
/// Executors stay valid when another one is prepared, so that a stream can go back to a size it has had.
pub trait Backend: Send {
    /// The name that users see, such as `cpu`.
    fn name(&self) -> &'static str;

    /// Whether frames go through the networks, so that their ratio has an effect.
    fn has_networks(&self) -> bool {
        true
    }

    /// The work that [`prepare`](Self::prepare) would wait for, such as building engines, to be done beforehand on
    /// another thread; `None` if there is none.
    fn preparation(&self, _geometry: &Geometry) -> Option<PreparationJob> {
        None
    }

    /// Allocates everything that frames of `geometry` need. Sizes have been checked.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`], and those of the device. The backend can prepare again afterwards.
    fn prepare(&mut self, geometry: &Geometry) -> Result<Box<dyn Executor>>;

    /// Device memory for a frame.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a backend that works in system memory, [`ErrorKind::OutOfMemory`].
    fn device_buffer(&self, _spec: &FrameSpec) -> Result<Box<dyn DeviceBuffer>> {
        Err(system_memory_only(self.name()))
    }

    /// Bytes of device memory that are free.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a backend that works in system memory.
    fn free_memory(&self) -> Result<u64> {
        Err(system_memory_only(self.name()))
    }
}

/// Is shown a frame's thumbnail: R'G'B' planes `[3, h, w]` of the working size of [`Geometry::thumbnail`]. Returns the ratio
/// that the frame is to be adjusted to anew, or `None` if it may stay as it is.
pub type Meter<'a> = &'a mut dyn FnMut(&[f32]) -> Result<Option<f32>>;

/// Takes frames of one size through the network, one after the other, and allocates nothing for a frame.
///
/// Frames of system memory can be pipelined where [`depth`](Self::depth) is above 1: `submit` returns at once, `collect`
/// waits for the oldest. The default methods are those of an executor that takes one frame of system memory at a time.
pub trait Executor: Send {
    /// The name of its backend.
    fn name(&self) -> &'static str;

    /// The number format of each subnetwork's arithmetic.
    fn precisions(&self) -> Precisions;

    /// Bytes of memory held for the size, weights not counted; 0 if unknown.
    fn bytes(&self) -> usize {
        0
    }

    /// Whether [`Parameters::temporal`](crate::Parameters::temporal) has an effect.
    fn remembers(&self) -> bool {
        false
    }

    /// Takes a frame through the network. No frame is pending.
    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, plan: &Plan) -> Result<Report>;

    /// As [`process`](Self::process), with each stage's time in the report, at the cost of what could overlap.
    fn process_timed(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, plan: &Plan) -> Result<Report> {
        self.process(input, output, plan)
    }

    /// A quantity of the frame processed last: channel by channel, row by row, at the working size without padding.
    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>>;

    /// The most frames that can be pending at once.
    fn depth(&self) -> usize {
        1
    }

    /// Frames that were submitted and not collected.
    fn pending(&self) -> usize {
        0
    }

    /// Starts a frame and does not wait for it. What `input` borrows is not needed afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if [`depth`](Self::depth) frames are pending. The frame is not pending after an
    /// error.
    fn submit(&mut self, _input: &Frame<'_>, _plan: &Plan) -> Result<()> {
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the {} backend takes one frame at a time: process it instead",
                self.name()
            ),
        ))
    }

    /// Waits for the oldest pending frame. It is no longer pending, even after an error.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if none is pending.
    fn collect(&mut self, _output: &mut FrameMut<'_>) -> Result<Report> {
        Err(none_pending())
    }

    /// Waits for the oldest pending frame and drops it.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    fn discard(&mut self) -> Result<()> {
        Err(none_pending())
    }

    /// The device whose memory [`process_device`](Self::process_device) takes; `None` if that is system memory.
    fn device(&self) -> Option<DeviceId> {
        None
    }

    /// Takes a frame in device memory through the network, after all that was issued on the stream `after`, and waits
    /// until `output` is written. The two do not overlap, and no frame is pending. `meter` is called once, when the frame
    /// has been made as planned.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a backend that works in system memory; those of `meter`.
    fn process_device(
        &mut self,
        _input: &DeviceFrame,
        _output: &DeviceFrame,
        _after: Option<RawStream>,
        _plan: &Plan,
        _meter: Option<Meter<'_>>,
    ) -> Result<Report> {
        Err(system_memory_only(self.name()))
    }

    /// Measures what the device's memory gives.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a backend that works in system memory.
    fn memory_figures(&self) -> Result<MemoryFigures> {
        Err(system_memory_only(self.name()))
    }
}

/// What a kernel that only moves memory is measured by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryFigures {
    /// Bytes per second that a copy within the device's memory reads and writes together, measured.
    pub copy_bandwidth: f64,
    /// Bytes that one update of P and Q reads and writes together, at the prepared size.
    pub update_bytes: u64,
}

fn system_memory_only(name: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the {name} backend takes frames in system memory only: copy them there first"),
    )
}

/// The error of collecting where no frame is pending.
pub(crate) fn none_pending() -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        "no submitted frame is pending: submit one first",
    )
}

/// The error of a call that `count` pending frames forbid.
pub(crate) fn pending(count: usize) -> Error {
    Error::new(
        ErrorKind::InvalidOption,
        format!("{count} submitted frames are pending: collect them first"),
    )
}
