//! The pipeline on a recorder: what it asks of a GPU, in which order, and whether every read waits for its write.
#![allow(unsafe_code)]

mod faults;
mod order;

use std::sync::Arc;

use crate::backend::{Backend, Executor, Geometry, Meter};
use crate::error::{ErrorKind, Result};
use crate::frame::{DeviceFrame, DevicePlane, FrameSpec, PixelFormat, RawStream};
use crate::gpu::driver::{Device, StreamHandle};
use crate::gpu::networks::Source;
use crate::gpu::pipeline::executor::GpuExecutor;
use crate::gpu::precision::{Reference, Sample, compare};
use crate::pack::{Precision, Subnetwork};
use crate::stages::{Parameters, Plan, Quantity};
use crate::testing::{Call, IdleNetworks, Operation, Picture, Recorder, Refusal, spec};

const PLAN: Plan = Plan::single(Parameters {
    ratio: 4.0,
    strength: 1.0,
    brightness: 0.0,
    temporal: 0.0,
});

/// The plan of a frame that goes on with its stream.
const THROUGH_TIME: Plan = Plan {
    parameters: Parameters {
        temporal: 1.0,
        ..PLAN.parameters
    },
    fresh: false,
    repeated: false,
};

/// An executor on a recorder.
struct Bench {
    device: Recorder,
    executor: GpuExecutor,
    input: Picture,
    output: Picture,
}

impl Bench {
    /// Networks in `precision` that refuse what `refusal` says.
    fn try_new(
        precision: Precision,
        spec: FrameSpec,
        max_pixels: usize,
        device: &Recorder,
        refusal: Option<Refusal>,
    ) -> Result<Self> {
        let networks = IdleNetworks {
            refusal,
            ..IdleNetworks::new(precision, Some(device))
        };
        Ok(Self {
            device: device.clone(),
            executor: networks.backend().executor(&Geometry::new(spec, max_pixels, 4))?,
            input: Picture::black(spec),
            output: Picture::black(spec),
        })
    }

    fn new(precision: Precision, spec: FrameSpec, max_pixels: usize) -> Self {
        Self::try_new(precision, spec, max_pixels, &Recorder::default(), None).unwrap()
    }

    fn submit(&mut self) -> Result<()> {
        self.submit_as(&PLAN)
    }

    fn submit_as(&mut self, plan: &Plan) -> Result<()> {
        self.executor.submit(&self.input.frame(), plan)
    }

    fn collect(&mut self) -> Result<()> {
        self.executor.collect(&mut self.output.frame_mut()).map(drop)
    }

    /// One frame, stage by stage.
    fn step_through(&mut self) -> Result<()> {
        self.step_through_as(&PLAN)
    }

    fn step_through_as(&mut self, plan: &Plan) -> Result<()> {
        let output = &mut self.output.frame_mut();
        self.executor.process_timed(&self.input.frame(), output, plan).map(drop)
    }

    /// A frame in the memory of someone else's device, whose rows are `stride` bytes apart and begin at `offset`.
    fn theirs(&self, stream: StreamHandle, offset: u64, stride: usize) -> DeviceFrame {
        let format = self.input.spec.format;
        let plane = |i| {
            let bytes = 16 + stride * format.rows(i, self.input.spec.height);
            DevicePlane {
                address: self.device.allocate(stream, bytes).unwrap() + offset,
                stride,
            }
        };
        let planes: Vec<_> = (0..format.planes()).map(plane).collect();
        // SAFETY: a recorder's memory, which lives as long as the bench.
        unsafe { DeviceFrame::new(self.input.spec, &planes) }.unwrap()
    }

    fn check(&self, what: &str) {
        assert_eq!(self.device.faults(), Vec::<String>::new(), "{what}");
    }
}

fn count(operations: &[Operation], is: impl Fn(&Operation) -> bool) -> usize {
    operations.iter().filter(|o| is(o)).count()
}

fn allocations(operations: &[Operation]) -> usize {
    count(operations, |o| {
        matches!(o, Operation::Allocate | Operation::AllocatePinned)
    })
}

const SPECS: [(PixelFormat, (usize, usize), usize); 3] = [
    (PixelFormat::Nv12, (64, 48), 0),
    (PixelFormat::I420_10le, (33, 17), 0),
    (PixelFormat::Rgba, (128, 96), 64 * 48),
];
