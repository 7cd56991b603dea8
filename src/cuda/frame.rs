//! A frame in a GPU's memory, for programs that have no device memory of their own; and what a GPU is measured by.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::device::{Device, Entered};
use super::graph::{Event, Stream};
use super::memory::{Buffer, Pinned};
use super::slot::Staging;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{DeviceFrame, DevicePlane, Frame, FrameMut, FrameSpec};

/// Memory for one frame on an enhancer's GPU, zeroed.
pub struct DeviceFrameBuffer {
    spec: FrameSpec,
    staging: Staging,
    stream: Arc<Stream>,
    memory: Buffer,
    host: Option<Pinned>,
}

impl DeviceFrameBuffer {
    pub(super) fn new(stream: &Arc<Stream>, spec: &FrameSpec) -> Result<Self> {
        spec.validate()?;
        let _entered = Entered::new(stream.device())?;
        let staging = Staging::new(spec);
        let memory = Buffer::new(stream, staging.bytes())?;
        stream.drain()?;
        Ok(Self {
            spec: *spec,
            staging,
            stream: stream.clone(),
            memory,
            host: None,
        })
    }

    /// The frame, for as long as this lives.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if it is in another device's memory, or another context's.
    pub(super) fn frame(&self, device: &Arc<dyn Device>) -> Result<DeviceFrame> {
        if !std::ptr::addr_eq(Arc::as_ptr(self.stream.device()), Arc::as_ptr(device)) {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "the frame is in the memory of another GPU or context than the enhancer works in",
            ));
        }
        let surface = self.staging.surface(self.memory.address());
        let planes: Vec<_> = (0..self.spec.format.planes())
            .map(|i| DevicePlane {
                address: surface.address[i],
                stride: surface.stride[i] as usize,
            })
            .collect();
        // SAFETY: the planes lie in `memory`, which is as long as the staging layout says.
        unsafe { DeviceFrame::new(self.spec, &planes) }
    }

    /// What the frame is.
    pub fn spec(&self) -> &FrameSpec {
        &self.spec
    }

    /// Copies a frame of system memory here, and waits for that.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] for a frame of another kind, [`ErrorKind::OutOfMemory`],
    /// [`ErrorKind::BackendFailed`].
    pub fn fill(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.check(frame.spec())?;
        let mut host = self.take_host()?;
        let _entered = Entered::new(self.stream.device())?;
        self.staging.fill(frame, host.write());
        let sent = self
            .memory
            .upload(&self.stream, &host)
            .and_then(|()| self.stream.drain());
        self.host = Some(host);
        sent
    }

    /// Copies what is here to a frame of system memory.
    ///
    /// # Errors
    /// As [`fill`](Self::fill).
    pub fn empty(&mut self, frame: &mut FrameMut<'_>) -> Result<()> {
        self.check(frame.spec())?;
        let mut host = self.take_host()?;
        let _entered = Entered::new(self.stream.device())?;
        let received = self
            .memory
            .download(&self.stream, &mut host)
            .and_then(|()| self.stream.drain());
        if received.is_ok() {
            self.staging.empty(host.read(), frame);
        }
        self.host = Some(host);
        received
    }

    fn take_host(&mut self) -> Result<Pinned> {
        match self.host.take() {
            Some(host) => Ok(host),
            None => Pinned::new(self.stream.device(), self.staging.bytes()),
        }
    }

    fn check(&self, spec: &FrameSpec) -> Result<()> {
        if *spec == self.spec {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidFrame,
            format!("the frame is {spec:?}, the device memory is for {:?}", self.spec),
        ))
    }
}

/// What a kernel that only moves memory is measured by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuFigures {
    /// Bytes a second that a copy within the GPU's memory reads and writes together, measured.
    pub copy_bandwidth: f64,
    /// Bytes that one update of P and Q reads and writes together, at the prepared size.
    pub update_bytes: u64,
}

/// Bytes of each copy that is measured, far more than caches hold.
const COPY: usize = 512 << 20;
const COPIES: usize = 16;

/// Bytes a second of copies within the device's memory, read and written together.
pub(super) fn copy_bandwidth(device: &Arc<dyn Device>) -> Result<f64> {
    let _entered = Entered::new(device)?;
    let stream = Stream::new(device)?;
    let (from, to) = (Buffer::new(&stream, COPY)?, Buffer::new(&stream, COPY)?);
    let (start, end) = (Event::new(device, true)?, Event::new(device, true)?);
    to.copy(&stream, &from)?;
    start.record(&stream)?;
    for _ in 0..COPIES {
        to.copy(&stream, &from)?;
    }
    end.record(&stream)?;
    end.synchronize()?;
    Ok((2 * COPY * COPIES) as f64 / (f64::from(end.since(&start)?) * 1e-3))
}
