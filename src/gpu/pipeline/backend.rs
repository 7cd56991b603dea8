//! A GPU as a backend: a pack's networks, and executors of any size.

use std::sync::Arc;

use crate::backend::{Backend, DeviceBuffer, Executor, Geometry, PreparationJob};
use crate::error::Result;
use crate::frame::FrameSpec;
use crate::gpu::driver::{Device, Entered};
use crate::gpu::networks::Source;
use crate::gpu::pipeline::buffer::GpuBuffer;
use crate::gpu::pipeline::executor::GpuExecutor;
use crate::gpu::pipeline::workspace::{Streams, Workspace};
use crate::pack::Schedule;
use crate::stages::{Step, steps};

/// URetinex-Net on an NVIDIA GPU. Engines are shared by all backends of one pack and context.
pub(crate) struct GpuBackend {
    source: Box<dyn Source>,
    streams: Arc<Streams>,
    device: Arc<dyn Device>,
    steps: Arc<[Step]>,
}

impl GpuBackend {
    /// A backend on `device` with the networks of `source`.
    ///
    /// # Errors
    /// If the device gives no streams.
    pub fn new(device: Arc<dyn Device>, source: Box<dyn Source>, schedule: &Schedule) -> Result<Self> {
        Ok(Self {
            source,
            streams: Arc::new(Streams::new(&device)?),
            device,
            steps: steps(schedule).into(),
        })
    }

    /// As [`prepare`](Backend::prepare), by its own type.
    pub fn executor(&mut self, geometry: &Geometry) -> Result<GpuExecutor> {
        let _entered = Entered::new(&self.device)?;
        let workspace = Workspace::new(geometry, &mut *self.source, &self.streams, &self.device)?;
        GpuExecutor::new(workspace, self.steps.clone(), self.streams.clone(), self.device.clone())
    }
}

impl Backend for GpuBackend {
    fn name(&self) -> &'static str {
        self.source.name()
    }

    fn preparation(&self, geometry: &Geometry) -> Option<PreparationJob> {
        self.source.preparation(geometry.padded)
    }

    fn prepare(&mut self, geometry: &Geometry) -> Result<Box<dyn Executor>> {
        Ok(Box::new(self.executor(geometry)?))
    }

    fn device_buffer(&self, spec: &FrameSpec) -> Result<Box<dyn DeviceBuffer>> {
        Ok(Box::new(GpuBuffer::new(&self.streams.compute, spec)?))
    }

    fn free_memory(&self) -> Result<u64> {
        let _entered = Entered::new(&self.device)?;
        self.device.free_memory()
    }
}
