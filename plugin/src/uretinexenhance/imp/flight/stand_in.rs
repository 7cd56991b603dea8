//! A backend that takes two frames at a time, as one on a GPU does: it inverts their bytes when they are collected, and
//! fails as it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use uretinex::{
    Backend, DeviceFrame, DeviceFrameBuffer, EngineJob, Error, ErrorKind, Frame, FrameMut, FrameSpec, Geometry,
    GpuFigures, Parameters, Quantity, RawStream, Replay, Report, Result,
};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Refused when it is submitted.
    Submit,
    /// Lost when it is collected.
    Collect,
    /// A panic when it is collected, which leaves it under way.
    Panic,
}

/// What the backend has been asked for, and what is to go wrong.
#[derive(Default)]
pub struct Book {
    /// Such as `submit 3`, 3 being the byte that the frame is full of.
    pub log: Vec<String>,
    pub fault: Option<(u8, Fault)>,
}

/// The backend's book, shared with a test.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Book>>);

impl Shared {
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn enter(&self, what: &str, frame: u8) -> Option<Fault> {
        let mut book = self.book();
        book.log.push(format!("{what} {frame}"));
        book.fault.filter(|f| f.0 == frame).map(|f| f.1)
    }
}

/// The backend, for frames of format GRAY8 whose bytes are all the same.
#[derive(Default)]
pub struct Pair {
    shared: Shared,
    under_way: VecDeque<u8>,
}

impl Pair {
    pub fn new(shared: &Shared) -> Self {
        Self {
            shared: shared.clone(),
            under_way: VecDeque::new(),
        }
    }
}

fn refused<T>(why: &str) -> Result<T> {
    Err(Error::new(ErrorKind::BackendFailed, why))
}

impl Backend for Pair {
    fn name(&self) -> &'static str {
        "identity"
    }
    fn prepare(&mut self, _: &Geometry) -> Result<()> {
        assert!(self.under_way.is_empty(), "prepared while frames are under way");
        Ok(())
    }
    fn ingest(&mut self, _: &Frame<'_>) -> Result<f32> {
        Ok(0.0)
    }
    fn decompose(&mut self) -> Result<()> {
        Ok(())
    }
    fn update(&mut self, _: f32, _: f32) -> Result<()> {
        Ok(())
    }
    fn restore(&mut self) -> Result<()> {
        Ok(())
    }
    fn illuminate(&mut self) -> Result<()> {
        Ok(())
    }
    fn adjust(&mut self, _: f32) -> Result<()> {
        Ok(())
    }
    fn compose(&mut self, _: &Frame<'_>, _: f32, _: &mut FrameMut<'_>) -> Result<f32> {
        Ok(0.0)
    }
    fn read(&mut self, _: Quantity) -> Result<Vec<f32>> {
        refused("nothing to read")
    }
    fn replay(&mut self) -> Option<&mut dyn Replay> {
        Some(self)
    }
}

impl Replay for Pair {
    fn depth(&self) -> usize {
        2
    }
    fn engine_job(&self, _: &Geometry) -> Option<EngineJob> {
        None
    }
    fn pending(&self) -> usize {
        self.under_way.len()
    }
    fn alignment(&self) -> u32 {
        16
    }
    fn begin(&mut self, _: u32) -> Result<()> {
        Ok(())
    }
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
    fn abandon(&mut self, _: &Error) -> bool {
        false
    }
    fn submit(&mut self, input: &Frame<'_>, _: Parameters) -> Result<()> {
        let frame = input.row(0, 0)[0];
        if self.shared.enter("submit", frame) == Some(Fault::Submit) {
            return refused("not submitted, as planned");
        }
        if self.under_way.len() == 2 {
            return refused("two frames are under way");
        }
        self.under_way.push_back(frame);
        Ok(())
    }
    fn collect(&mut self, output: &mut FrameMut<'_>) -> Result<Report> {
        let Some(&frame) = self.under_way.front() else {
            return refused("no frame is under way");
        };
        let fault = self.shared.enter("collect", frame);
        assert!(fault != Some(Fault::Panic), "as planned");
        self.under_way.pop_front();
        if fault == Some(Fault::Collect) {
            return refused("not collected, as planned");
        }
        for y in 0..output.spec().height {
            output.row_mut(0, y).fill(!frame);
        }
        Ok(Report::default())
    }
    fn discard(&mut self) -> Result<()> {
        let Some(frame) = self.under_way.pop_front() else {
            return refused("no frame is under way");
        };
        self.shared.enter("discard", frame);
        Ok(())
    }
    fn device_frame(&self, _: &FrameSpec) -> Result<DeviceFrameBuffer> {
        refused("no device memory")
    }
    fn process_buffers(&mut self, _: &DeviceFrameBuffer, _: &mut DeviceFrameBuffer, _: Parameters) -> Result<Report> {
        refused("no device memory")
    }
    fn free_memory(&self) -> Result<u64> {
        refused("no device memory")
    }
    fn figures(&self) -> Result<GpuFigures> {
        refused("no device memory")
    }
    fn process_device(
        &mut self,
        _: &DeviceFrame,
        _: &DeviceFrame,
        _: Option<RawStream>,
        _: Parameters,
    ) -> Result<Report> {
        refused("no device memory")
    }
}
