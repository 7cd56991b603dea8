//! A frame in a GPU's memory, for programs that have no device memory of their own; and the bandwidth of that memory.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::backend::{DeviceBuffer, DeviceId};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{DeviceFrame, DevicePlane, Frame, FrameMut, FrameSpec, MAX_PLANES};
use crate::gpu::driver::{Buffer, Device, Entered, Event, Pinned, Stream};
use crate::gpu::pipeline::slot::Staging;

/// Memory for one frame on a GPU, zeroed.
pub(crate) struct GpuBuffer {
    spec: FrameSpec,
    staging: Staging,
    stream: Arc<Stream>,
    memory: Buffer,
    host: Option<Pinned>,
}

impl GpuBuffer {
    pub(crate) fn new(stream: &Arc<Stream>, spec: &FrameSpec) -> Result<Self> {
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

impl DeviceBuffer for GpuBuffer {
    fn spec(&self) -> &FrameSpec {
        &self.spec
    }

    fn device(&self) -> DeviceId {
        device_id(self.stream.device())
    }

    fn frame(&self) -> Result<DeviceFrame> {
        let surface = self.staging.surface(self.memory.address());
        let mut planes = [DevicePlane::default(); MAX_PLANES];
        for (i, plane) in planes.iter_mut().enumerate() {
            *plane = DevicePlane {
                address: surface.address[i],
                stride: surface.stride[i] as usize,
            };
        }
        // SAFETY: the planes lie in `memory`, which is as long as the staging layout says.
        unsafe { DeviceFrame::new(self.spec, &planes[..self.spec.format.planes()]) }
    }

    fn upload(&mut self, frame: &Frame<'_>) -> Result<()> {
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

    fn download(&mut self, frame: &mut FrameMut<'_>) -> Result<()> {
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
}

/// Identifies a device among those that live.
pub(crate) fn device_id(device: &Arc<dyn Device>) -> DeviceId {
    DeviceId(Arc::as_ptr(device).cast::<()>() as usize)
}

/// Bytes of each copy that is measured, far more than caches hold.
const COPY: usize = 512 << 20;
const COPIES: usize = 16;

/// Bytes per second of copies within the device's memory, read and written together.
pub(crate) fn copy_bandwidth(device: &Arc<dyn Device>) -> Result<f64> {
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
