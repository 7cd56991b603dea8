//! Whole frames through the pipeline on a machine without a GPU, as a host device stands in for one: what comes out is
//! compared with the processor's.

use std::sync::Arc;

use crate::backend::{Backend, Executor, Geometry};
use crate::cpu::{Capabilities, CpuBackend, Level, Planes, Pool, Reduce, ingest};
use crate::error::{ErrorKind, Result};
use crate::frame::{FrameSpec, PixelFormat};
use crate::gpu::driver::Device;
use crate::gpu::kernels::Storage;
use crate::gpu::networks::{Loaded, Source};
use crate::gpu::pipeline::backend::GpuBackend;
use crate::gpu::pipeline::executor::GpuExecutor;
use crate::gpu::precision::{Ladder, Reference, choose, compare};
use crate::pack::{Pack, Precision, Precisions, Subnetwork};
use crate::stages::{Parameters, Plan, Quantity};
use crate::testing::{HostDevice, HostNetworks, Picture, Spoil, spec};

/// The same networks on the processor and on a host device.
struct Backends {
    cpu: CpuBackend,
    gpu: GpuBackend,
    multiple: usize,
}

impl Backends {
    fn new(precisions: Precisions) -> Self {
        let networks = networks(precisions, None);
        Self::with(networks.device.clone(), Box::new(networks))
    }

    /// With the networks of `lite`, from `source`.
    fn with(device: Arc<HostDevice>, source: Box<dyn Source>) -> Self {
        let pack = lite();
        let manifest = pack.manifest();
        Self {
            cpu: CpuBackend::new(&pack, Precision::Fp32, 1).unwrap(),
            gpu: GpuBackend::new(device, source, &manifest.schedule).unwrap(),
            multiple: manifest.multiple,
        }
    }

    fn prepare(&mut self, spec: FrameSpec, max_pixels: usize) -> (Box<dyn Executor>, GpuExecutor) {
        let geometry = Geometry::new(spec, max_pixels, self.multiple);
        (
            self.cpu.prepare(&geometry).unwrap(),
            self.gpu.executor(&geometry).unwrap(),
        )
    }
}

fn lite() -> Pack {
    Pack::open("lite").unwrap()
}

/// The networks of `lite` on a host device.
fn networks(precisions: Precisions, spoil: Option<Spoil>) -> HostNetworks {
    HostNetworks {
        precisions,
        spoil,
        ..HostNetworks::new(&lite())
    }
}

/// A frame stage by stage, and its mean lumas.
fn step_through(executor: &mut dyn Executor, input: &Picture, plan: &Plan) -> (Picture, [f32; 2]) {
    let mut output = Picture::black(input.spec);
    let report = executor
        .process_timed(&input.frame(), &mut output.frame_mut(), plan)
        .unwrap();
    (output, [report.luma_in, report.luma_out])
}

/// A frame as one graph, and its mean lumas.
fn replay(executor: &mut dyn Executor, input: &Picture, plan: &Plan) -> (Picture, [f32; 2]) {
    let mut output = Picture::black(input.spec);
    let report = executor.process(&input.frame(), &mut output.frame_mut(), plan).unwrap();
    (output, [report.luma_in, report.luma_out])
}

const QUANTITIES: [Quantity; 6] = [
    Quantity::Image,
    Quantity::P,
    Quantity::Q,
    Quantity::R,
    Quantity::L,
    Quantity::Adjusted,
];

/// The greatest difference between the two in each quantity is within `tolerance`, and all numbers are finite.
fn compare_quantities(cpu: &mut dyn Executor, gpu: &mut dyn Executor, tolerance: f32, what: &str) {
    for quantity in QUANTITIES {
        let (a, b) = (cpu.read(quantity).unwrap(), gpu.read(quantity).unwrap());
        assert_eq!(a.len(), b.len(), "{what} {quantity:?}");
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance, "{what}: {quantity:?} is off by {worst}");
        assert!(b.iter().all(|v| v.is_finite()), "{what}: {quantity:?}");
    }
}

/// Every stage one by one, then the same frame as a graph: all as on the processor.
#[test]
fn frames_come_out_as_on_the_processor() {
    let plan = Plan::single(Parameters {
        ratio: 3.0,
        strength: 0.75,
        brightness: 0.0,
        temporal: 0.0,
    });
    for (precision, tolerance, codes) in [(Precision::Fp32, 1e-4, 1.0), (Precision::Fp16, 1e-2, 2.0)] {
        let mut backends = Backends::new(precision.into());
        for format in PixelFormat::ALL {
            for (size, max_pixels) in [((48, 32), 0), ((35, 19), 0), ((64, 48), 32 * 24)] {
                let what = format!("{precision:?} {} {size:?} {max_pixels}", format.name());
                let spec = spec(format, size);
                let input = Picture::dark(spec, 1);
                let (mut cpu, mut gpu) = backends.prepare(spec, max_pixels);
                let (expected, lumas) = step_through(&mut *cpu, &input, &plan);
                let (stepped, own) = step_through(&mut gpu, &input, &plan);
                compare_quantities(&mut *cpu, &mut gpu, tolerance, &what);
                assert!(stepped.difference(&expected) <= codes, "{what}, stage by stage");
                for (a, b) in lumas.iter().zip(own) {
                    assert!((a - b).abs() < 2e-3, "{what}: mean lumas {lumas:?}, {own:?}");
                }
                let (replayed, lumas) = replay(&mut gpu, &input, &plan);
                assert!(replayed == stepped, "{what}, as a graph");
                assert_eq!(lumas, own, "{what}");

                // The same in device memory, first as aligned as staging is, then to hardly anything.
                let [mut from, to] = [0, 1].map(|_| backends.gpu.device_buffer(&spec).unwrap());
                from.upload(&input.frame()).unwrap();
                let (from_frame, to_frame) = (from.frame().unwrap(), to.frame().unwrap());
                gpu.process_device(&from_frame, &to_frame, None, &plan, None).unwrap();
                let (mut copied, mut to) = (Picture::black(spec), to);
                to.download(&mut copied.frame_mut()).unwrap();
                assert!(copied == stepped, "{what}, in device memory of the library's");
                assert_eq!(gpu.alignment(), 16, "{what}");
                let whole = format.row_bytes(0, size.0).is_multiple_of(4);
                // Words that samples share cannot lie anywhere.
                let (before, after, least) = match (format.shares_words(), whole) {
                    (true, _) => (4, 4, 4),
                    (false, true) => (2, 2, 2),
                    (false, false) => (4, 2, 2),
                };
                let (spread, on_device) = (input.spread(before), Picture::with_gaps(spec, after));
                gpu.process_device(&spread.device_frame(), &on_device.device_frame(), None, &plan, None)
                    .unwrap();
                assert!(gpu.alignment() <= least, "{what}: {}", gpu.alignment());
                assert!(on_device.difference(&stepped) <= 1.0, "{what}, in device memory");
            }
        }
    }
}

/// The frames of a stream: where the scene is seen from, and the plan.
fn stream() -> Vec<((f32, f32), Plan)> {
    let plan = |temporal, fresh| Plan {
        parameters: Parameters {
            ratio: 3.0,
            temporal,
            ..Parameters::default()
        },
        fresh,
        repeated: false,
    };
    let repeated = Plan {
        repeated: true,
        ..plan(1.0, false)
    };
    vec![
        ((0.0, 0.0), plan(1.0, true)),
        ((0.0, 0.0), plan(1.0, false)),
        ((1.7, -0.6), plan(1.0, false)),
        ((3.4, -1.2), plan(0.5, false)),
        ((777.0, -431.0), plan(1.0, false)),
        ((777.4, -431.0), plan(1.0, false)),
        // A frame that stands alone is not remembered, nor what was before it.
        ((778.0, -430.0), plan(0.0, false)),
        ((778.0, -430.0), plan(1.0, false)),
        ((779.0, -429.0), plan(1.0, false)),
        ((780.0, -428.0), plan(1.0, true)),
        ((780.0, -428.0), repeated),
        ((781.0, -427.0), plan(1.0, false)),
        ((781.0, -427.0), repeated),
        // Of a frame that was not remembered nothing can be repeated.
        ((781.0, -427.0), plan(0.0, false)),
        ((781.0, -427.0), repeated),
    ]
}

/// Frames that are fused with the stream's memory come out as on the processor, whichever way they take.
#[test]
fn streams_come_out_as_on_the_processor() {
    for (precision, codes, format, size, max_pixels) in [
        (Precision::Fp32, 1.0, PixelFormat::Rgb, (161, 117), 0),
        (Precision::Fp16, 2.0, PixelFormat::Nv12, (160, 96), 0),
        (Precision::Fp16, 2.0, PixelFormat::Rgbx, (192, 160), 144 * 120),
    ] {
        let mut backends = Backends::new(precision.into());
        let spec = spec(format, size);
        let (mut cpu, mut gpu) = backends.prepare(spec, max_pixels);
        let [mut stepped, mut overlapped, mut on_device] = [0, 1, 2].map(|_| backends.prepare(spec, max_pixels).1);
        assert!(cpu.remembers() && gpu.remembers());
        let [mut from, mut to] = [0, 1].map(|_| backends.gpu.device_buffer(&spec).unwrap());
        let (mut replayed, mut told) = (Vec::new(), 0);
        for (t, (offset, plan)) in stream().into_iter().enumerate() {
            let what = format!("{precision:?} {} {size:?} {max_pixels}, frame {t}", format.name());
            let input = Picture::scene(spec, offset, t as u32);
            let [mut expected, mut output] = [0, 1].map(|_| Picture::black(spec));
            let report = cpu.process(&input.frame(), &mut expected.frame_mut(), &plan).unwrap();
            let own = gpu.process(&input.frame(), &mut output.frame_mut(), &plan).unwrap();
            let off = output.difference(&expected);
            assert!(off <= codes, "{what}: off by {off} codes");
            assert_eq!((own.cut, report.cut), (t == 4, t == 4), "{what}: a cut");
            for (a, b) in [(report.luma_in, own.luma_in), (report.luma_out, own.luma_out)] {
                assert!((a - b).abs() < 2e-3, "{what}: mean lumas {a}, {b}");
            }
            assert_eq!(own.noise.is_some(), report.noise.is_some(), "{what}: noise");
            if let (Some(a), Some(b)) = (report.noise, own.noise) {
                assert!((a / b - 1.0).abs() < 0.02, "{what}: noise {a}, {b}");
                told += 1;
            }
            let mut picture = Picture::black(spec);
            let timed = stepped
                .process_timed(&input.frame(), &mut picture.frame_mut(), &plan)
                .unwrap();
            assert!(picture == output, "{what}, stage by stage");
            assert_eq!((timed.cut, timed.noise), (own.cut, own.noise), "{what}, stage by stage");
            from.upload(&input.frame()).unwrap();
            let (from, to_frame) = (from.frame().unwrap(), to.frame().unwrap());
            let report = on_device.process_device(&from, &to_frame, None, &plan, None).unwrap();
            assert_eq!(
                (report.cut, report.noise),
                (own.cut, own.noise),
                "{what}, in device memory"
            );
            to.download(&mut picture.frame_mut()).unwrap();
            assert!(picture == output, "{what}, in device memory");
            overlapped.submit(&input.frame(), &plan).unwrap();
            if t > 0 {
                let report = overlapped.collect(&mut picture.frame_mut()).unwrap();
                assert!(picture == replayed[t - 1], "{what}, the one before with two under way");
                assert_eq!(report.cut, t == 5, "{what}, with two under way");
            }
            replayed.push(output);
        }
        assert!(told > 8, "the noise was told {told} times");
    }
}

/// A meter sees the thumbnail that the processor would make. A frame that it has adjusted anew is as one made at that ratio at
/// once, and leaves the same memory to the frames after it.
#[test]
fn a_frame_is_adjusted_to_what_the_meter_says() {
    for (precision, format, size, max_pixels) in [
        (Precision::Fp32, PixelFormat::Rgb, (161, 117), 0),
        (Precision::Fp16, PixelFormat::Nv12, (160, 96), 0),
        (Precision::Fp16, PixelFormat::Rgbx, (192, 160), 144 * 120),
        (Precision::Fp32, PixelFormat::P010_10le, (48, 32), 0),
    ] {
        let mut backends = Backends::new(precision.into());
        let spec = spec(format, size);
        let [mut plain, mut metered] = [0, 1].map(|_| backends.prepare(spec, max_pixels).1);
        let geometry = Geometry::thumbnail(spec, 1);
        let mut thumbnail = Planes::new(3, geometry.padded).unwrap();
        for (t, (offset, plan)) in stream().into_iter().enumerate() {
            let what = format!("{precision:?} {} {size:?} {max_pixels}, frame {t}", format.name());
            let input = Picture::scene(spec, offset, t as u32);
            let expected = Picture::black(spec);
            let frame = input.device_frame();
            let report = plain
                .process_device(&frame, &expected.device_frame(), None, &plan, None)
                .unwrap();
            ingest(
                &Pool::new(1),
                Capabilities::at(Level::Portable),
                &input.frame(),
                &geometry,
                Reduce::new(&geometry).unwrap().as_ref(),
                &mut thumbnail,
            );
            // Every other frame is made at another ratio first.
            let ratio = plan.parameters.ratio;
            let first = Parameters {
                ratio: if t % 2 == 0 { 11.0 } else { ratio },
                ..plan.parameters
            };
            let mut calls = 0;
            let mut meter = |planes: &[f32]| {
                calls += 1;
                assert_eq!(planes.len(), thumbnail.data.len(), "{what}");
                let off = planes
                    .iter()
                    .zip(&thumbnail.data[..])
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                assert!(off < 1e-6, "{what}: thumbnail off by {off}");
                Ok((first.ratio != ratio).then_some(ratio))
            };
            let output = Picture::black(spec);
            let plan = Plan {
                parameters: first,
                ..plan
            };
            let own = metered
                .process_device(&frame, &output.device_frame(), None, &plan, Some(&mut meter))
                .unwrap();
            assert_eq!(calls, 1, "{what}");
            assert!(output == expected, "{what}");
            assert_eq!(own, report, "{what}");
        }
    }
}

/// Frames and parameters of two that are under way do not mix.
#[test]
fn two_frames_under_way_keep_apart() {
    let mut backends = Backends::new(Precision::Fp32.into());
    let spec = spec(PixelFormat::Nv12, (48, 32));
    let (_, mut gpu) = backends.prepare(spec, 0);
    let pictures = [1, 2, 3, 4].map(|seed| Picture::dark(spec, seed));
    let plans = [(1.0, 1.0), (8.0, 0.5), (20.0, 0.25), (2.0, 0.0)];
    let plans = plans.map(|(ratio, strength)| {
        Plan::single(Parameters {
            ratio,
            strength,
            brightness: 0.0,
            temporal: 0.0,
        })
    });
    let expected: Vec<_> = (0..4)
        .map(|i| step_through(&mut gpu, &pictures[i], &plans[i]).0)
        .collect();
    let mut out = Picture::black(spec);
    for i in 0..4 {
        gpu.submit(&pictures[i].frame(), &plans[i]).unwrap();
        if i > 0 {
            gpu.collect(&mut out.frame_mut()).unwrap();
            assert!(out == expected[i - 1], "frame {}", i - 1);
        }
    }
    gpu.collect(&mut out.frame_mut()).unwrap();
    assert!(out == expected[3], "frame 3");
}

/// Networks whose numbers are off are found out.
#[test]
fn the_comparison_passes_what_is_right_alone() {
    use Precision::{Fp16, Fp32};
    let reference = Reference::new(&lite(), 0).unwrap();
    let mixed = Precisions::from(Fp16).with(Subnetwork::Restoration, Fp32);
    let which = &[Subnetwork::Restoration][..];
    let spoil = |precisions, by| Some(Spoil { which, precisions, by });
    for (precisions, spoil, least, far) in [
        (Fp32.into(), None, 100.0, &[][..]),
        (Fp16.into(), None, 55.0, &[]),
        (mixed, None, 55.0, &[]),
        (Fp32.into(), spoil(&[Fp32], 0.01), 35.0, which),
        (Fp16.into(), spoil(&[Fp16], f32::NAN), f64::NEG_INFINITY, which),
        (mixed, spoil(&[Fp16], f32::NAN), 55.0, &[]),
        (mixed, spoil(&[Fp32], 0.01), 35.0, which),
    ] {
        let mut networks = networks(precisions, spoil);
        let loaded = networks.load(reference.size).unwrap();
        let device: Arc<dyn Device> = networks.device.clone();
        let nearness = compare(&device, loaded, &reference).unwrap();
        let told = nearness.describe(precisions);
        println!("{precisions} {spoil:?}: {told}");
        assert_eq!(nearness.too_far(), far, "{precisions} {spoil:?}: {told}");
        assert!(nearness.psnr.iter().all(|db| *db >= least), "{told}");
    }
}

/// Networks whose precisions are chosen by their numbers, as engines' are.
struct Chosen {
    networks: HostNetworks,
    reference: Reference,
}

impl Source for Chosen {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn load(&mut self, padded: (usize, usize)) -> Result<Loaded> {
        let device: Arc<dyn Device> = self.networks.device.clone();
        let ladder = Ladder::from(Precision::Fp16, &[Precision::Fp16, Precision::Fp32]);
        let mut precisions = ladder.first().into();
        choose(
            "lite",
            "run engines clear",
            &ladder,
            &mut precisions,
            &mut |precisions| {
                self.networks.precisions = precisions;
                let nearness = compare(&device, self.networks.load(padded)?, &self.reference)?;
                Ok((self.networks.load(padded)?, nearness))
            },
        )
    }
}

/// A subnetwork that overflows in 16 bits works in 32, the others go on in 16, and frames are as on the processor.
#[test]
fn what_is_wrong_in_16_bits_goes_on_in_32() {
    use Precision::{Fp16, Fp32};
    let restoration = &[Subnetwork::Restoration][..];
    let spoil = |which, precisions, by| Some(Spoil { which, precisions, by });
    let plan = Plan::single(Parameters::default());
    for (what, spoil, expected) in [
        ("nothing", None, Ok(("fp16", Storage::F16))),
        (
            "restoration overflows",
            spoil(restoration, &[Fp16], f32::NAN),
            Ok(("fp16 (restoration in fp32)", Storage::F32)),
        ),
        (
            "two are coarse",
            spoil(&[Subnetwork::Decomposition, Subnetwork::Adjustment], &[Fp16], 0.02),
            Ok(("fp16 (decomposition, adjustment in fp32)", Storage::F32)),
        ),
        (
            "all overflow",
            spoil(&Subnetwork::ALL, &[Fp16], f32::NAN),
            Ok(("fp32", Storage::F32)),
        ),
        (
            "restoration in both",
            spoil(restoration, &[Fp16, Fp32], f32::NAN),
            Err("illumination fp16"),
        ),
        (
            "all in both",
            spoil(&Subnetwork::ALL, &[Fp16, Fp32], f32::NAN),
            Err("restoration fp32 NaN"),
        ),
    ] {
        let networks = networks(Fp16.into(), spoil);
        let mut chosen = Chosen {
            reference: Reference::new(&networks.pack, 0).unwrap(),
            networks,
        };
        let found = chosen
            .load((48, 32))
            .map(|loaded| (loaded.precisions.to_string(), loaded.storage()));
        let (told, _) = match (found, expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!((found.0.as_str(), found.1), expected, "{what}");
                found
            }
            (Err(e), Err(part)) => {
                assert_eq!(e.kind(), ErrorKind::BackendFailed, "{what}: {e}");
                assert!(e.to_string().contains(part), "{what}: {e}");
                continue;
            }
            (found, _) => panic!("{what}: {:?}", found.map_err(|e| e.to_string())),
        };
        let mut backends = Backends::with(chosen.networks.device.clone(), Box::new(chosen));
        let (tolerance, codes) = if told == "fp32" { (1e-4, 1.0) } else { (1e-2, 2.0) };
        for format in [PixelFormat::Nv12, PixelFormat::Rgba] {
            let what = format!("{what}, {}", format.name());
            let input = Picture::dark(spec(format, (48, 32)), 1);
            let (mut cpu, mut gpu) = backends.prepare(input.spec, 0);
            assert_eq!(gpu.precisions().to_string(), told, "{what}");
            let (expected, _) = step_through(&mut *cpu, &input, &plan);
            let (stepped, _) = step_through(&mut gpu, &input, &plan);
            compare_quantities(&mut *cpu, &mut gpu, tolerance, &what);
            assert!(replay(&mut gpu, &input, &plan).0 == stepped, "{what}, as a graph");
            let off = stepped.difference(&expected);
            assert!(off <= codes, "{what}: off by {off} codes");
        }
    }
}
