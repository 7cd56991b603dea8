//! The pipeline with the project's own kernels for the networks: their order on a recorder, whole frames on a host device.

use std::sync::Arc;

use crate::backend::{Backend, Executor, Geometry};
use crate::cpu::CpuBackend;
use crate::error::Result;
use crate::frame::PixelFormat;
use crate::gpu::driver::Device;
use crate::gpu::engine::{KernelContext, KernelNetwork, Way};
use crate::gpu::kernels::Storage;
use crate::gpu::networks::{Loaded, Source};
use crate::gpu::pipeline::backend::GpuBackend;
use crate::gpu::pipeline::own::KernelSource;
use crate::pack::{Pack, Precision, Precisions, Subnetwork, Variant};
use crate::stages::{Parameters, Plan};
use crate::testing::{HostDevice, Operation, Picture, Recorder, spec};

/// Networks that are not compared with the processor's, for a device that computes nothing.
struct Unchecked {
    device: Arc<dyn Device>,
    pack: Pack,
    precisions: Precisions,
}

/// A GPU with tensor cores.
const WAY: Way = Way {
    capability: (8, 6),
    multiprocessors: 20,
};

impl Source for Unchecked {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn load(&mut self, _padded: (usize, usize)) -> Result<Loaded> {
        let mut loaded = Loaded {
            contexts: Vec::new(),
            precisions: self.precisions,
        };
        for which in Subnetwork::ALL {
            let blocks = match self.precisions.of(which) {
                Precision::Fp16 => Storage::F16,
                _ => Storage::F32,
            };
            let onnx = self.pack.onnx(which, Variant::Fp32)?;
            let network = KernelNetwork::load(onnx, which.inputs(), which.outputs(), blocks, WAY, &self.device)?;
            let context = KernelContext::new(&Arc::new(network), loaded.storage(), &self.device);
            loaded.contexts.push(Box::new(context));
        }
        Ok(loaded)
    }
}

fn plan(temporal: f32) -> Plan {
    Plan::single(Parameters {
        ratio: 3.0,
        temporal,
        ..Parameters::default()
    })
}

/// Every read waits for its write, and a frame is one graph, also where it is fused with the stream's memory.
#[test]
fn a_frame_is_one_graph_without_races() {
    let mixed = Precisions::from(Precision::Fp16).with(Subnetwork::Restoration, Precision::Fp32);
    for name in ["video", "lite", "full"] {
        for precisions in [Precision::Fp16.into(), Precision::Fp32.into(), mixed] {
            let what = format!("{name} {precisions}");
            let pack = Pack::open(name).unwrap();
            let recorder = Recorder::default();
            let device: Arc<dyn Device> = Arc::new(recorder.clone());
            let source = Unchecked {
                device: device.clone(),
                pack: pack.clone(),
                precisions,
            };
            let manifest = pack.manifest();
            let mut backend = GpuBackend::new(device, Box::new(source), &manifest.schedule).unwrap();
            let spec = spec(PixelFormat::Nv12, (72, 40));
            let mut executor = backend.executor(&Geometry::new(spec, 0, manifest.multiple)).unwrap();
            assert_eq!((executor.name(), executor.precisions()), ("cuda", precisions), "{what}");
            let (input, mut output) = (Picture::dark(spec, 1), Picture::black(spec));
            for temporal in [0.0, 1.0, 1.0] {
                let plan = plan(temporal);
                executor.submit(&input.frame(), &plan).unwrap();
                executor.submit(&input.frame(), &plan).unwrap();
                executor.collect(&mut output.frame_mut()).unwrap();
                executor.collect(&mut output.frame_mut()).unwrap();
                executor
                    .process_timed(&input.frame(), &mut output.frame_mut(), &plan)
                    .unwrap();
            }
            recorder.take();
            executor
                .process(&input.frame(), &mut output.frame_mut(), &plan(1.0))
                .unwrap();
            let operations = recorder.take();
            let is_launch = |o: &&Operation| matches!(o, Operation::Launch(..));
            assert_eq!(operations.iter().filter(is_launch).count(), 0, "{what}");
            let is_graph = |o: &&Operation| matches!(o, Operation::LaunchGraph(..));
            assert_eq!(operations.iter().filter(is_graph).count(), 1, "{what}");
            assert_eq!(recorder.faults(), Vec::<String>::new(), "{what}");
        }
    }
}

/// The kernels of old and of new GPUs, for a frame alone and for a stream that is remembered: as on the processor. The
/// networks pass their comparison with the processor's.
#[test]
fn frames_come_out_as_on_the_processor() {
    let old = Way {
        capability: (7, 5),
        ..WAY
    };
    for (name, precision, way, codes) in [
        ("video", Precision::Fp16, WAY, 2.0),
        ("video", Precision::Fp16, old, 2.0),
        ("lite", Precision::Fp32, WAY, 1.0),
    ] {
        let what = format!("{name} {} {:?}", precision.name(), way.capability);
        let pack = Pack::open(name).unwrap();
        let manifest = pack.manifest();
        let device = HostDevice::new();
        let source = KernelSource::on(device.clone(), way, &pack, precision, 1).unwrap();
        let mut gpu = GpuBackend::new(device, Box::new(source), &manifest.schedule).unwrap();
        assert_eq!(gpu.name(), "cuda");
        let mut cpu = CpuBackend::new(&pack, Precision::Fp32, 1).unwrap();
        for size in [(48, 32), (35, 19)] {
            let spec = spec(PixelFormat::Nv12, size);
            let geometry = Geometry::new(spec, 0, manifest.multiple);
            let (mut cpu, mut gpu) = (cpu.prepare(&geometry).unwrap(), gpu.executor(&geometry).unwrap());
            assert_eq!(gpu.precisions(), precision.into(), "{what}");
            for (frame, temporal) in [0.0, 1.0, 1.0].into_iter().enumerate() {
                let mut plan = plan(temporal);
                plan.fresh = frame < 2;
                let input = Picture::dark(spec, frame + 1);
                let (mut expected, mut found) = (Picture::black(spec), Picture::black(spec));
                cpu.process(&input.frame(), &mut expected.frame_mut(), &plan).unwrap();
                gpu.process(&input.frame(), &mut found.frame_mut(), &plan).unwrap();
                let off = found.difference(&expected);
                assert!(off <= codes, "{what} {size:?}, frame {frame}: off by {off} codes");
            }
        }
    }
}
