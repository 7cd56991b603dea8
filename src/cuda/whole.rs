//! Whole frames through the backend on a machine without a GPU, as `processor` stands in for one: what comes out is
//! compared with the processor's backend.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::backend::TensorRtBackend;
use super::choice::choose;
use super::device::Device;
use super::gate::compare;
use super::launch::Storage;
use super::networks::{Loaded, Source};
use super::processor::{HostDevice, Processor, Spoil, source};
use super::reference::Reference;
use crate::backend::{Backend, Geometry, Quantity};
use crate::cpu::CpuBackend;
use crate::error::{ErrorKind, Result};
use crate::frame::{
    Colorimetry, DeviceFrame, DevicePlane, Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut, Range,
};
use crate::pack::{Pack, Precision, Precisions, Subnetwork};
use crate::stage::Parameters;
use crate::unfold::{record, unfold};

/// A frame's bytes without gaps between rows.
#[derive(Clone, PartialEq)]
struct Picture {
    spec: FrameSpec,
    planes: Vec<Vec<u8>>,
}

impl Picture {
    fn new(spec: FrameSpec, seed: u32) -> Self {
        let ten_bits = matches!(spec.format, PixelFormat::I420_10le | PixelFormat::P010_10le);
        let high = spec.format == PixelFormat::P010_10le;
        let plane = |i| {
            let row = spec.format.row_bytes(i, spec.width);
            let byte = |at: usize| {
                let (x, y) = (at % row, at / row);
                let value = (16 + (x * 3 + y * 5 + seed as usize * 11 + x * y / 9) % 90) as u8;
                match (ten_bits, high, at % 2) {
                    (false, ..) => value,
                    (true, false, 0) => value.wrapping_mul(37),
                    (true, false, _) => value % 2,
                    (true, true, 0) => value << 6,
                    (true, true, _) => value,
                }
            };
            (0..row * spec.format.rows(i, spec.height)).map(byte).collect()
        };
        Self {
            spec,
            planes: (0..spec.format.planes()).map(plane).collect(),
        }
    }

    fn stride(&self, i: usize) -> usize {
        self.spec.format.row_bytes(i, self.spec.width)
    }

    fn frame(&self) -> Frame<'_> {
        let planes: Vec<_> = self
            .planes
            .iter()
            .enumerate()
            .map(|(i, data)| Plane {
                data,
                stride: self.stride(i),
            })
            .collect();
        Frame::new(self.spec, &planes).unwrap()
    }

    fn frame_mut(&mut self) -> FrameMut<'_> {
        let strides: Vec<_> = (0..self.planes.len()).map(|i| self.stride(i)).collect();
        let planes = self.planes.iter_mut().zip(strides);
        FrameMut::from_iter(self.spec, planes.map(|(data, stride)| PlaneMut { data, stride })).unwrap()
    }

    fn device_frame(&self) -> DeviceFrame {
        let planes: Vec<_> = (0..self.planes.len())
            .map(|i| DevicePlane {
                address: self.planes[i].as_ptr() as u64,
                stride: self.stride(i),
            })
            .collect();
        // SAFETY: the planes live, and are as long as a frame of the spec.
        unsafe { DeviceFrame::new(self.spec, &planes) }.unwrap()
    }

    /// The greatest difference of a sample's code, in steps of 8 bits.
    fn difference(&self, other: &Picture) -> f64 {
        let words = matches!(self.spec.format, PixelFormat::I420_10le | PixelFormat::P010_10le);
        let scale = match self.spec.format {
            PixelFormat::I420_10le => 4.0,
            PixelFormat::P010_10le => 256.0,
            _ => 1.0,
        };
        let mut worst = 0.0f64;
        for (a, b) in self.planes.iter().zip(&other.planes) {
            let value = |p: &[u8], i: usize| match words {
                true => f64::from(u16::from_le_bytes([p[2 * i], p[2 * i + 1]])),
                false => f64::from(p[i]),
            };
            let count = a.len() / if words { 2 } else { 1 };
            let row = self.stride(0);
            // Packed pairs of an odd width have a luma byte too many, which nobody sets.
            let spare = match self.spec.format {
                PixelFormat::Yuy2 if self.spec.width % 2 == 1 => Some(row - 2),
                PixelFormat::Uyvy if self.spec.width % 2 == 1 => Some(row - 1),
                _ => None,
            };
            let kept = (0..count).filter(|i| spare != Some(i % row));
            worst = kept.fold(worst, |w, i| w.max((value(a, i) - value(b, i)).abs() / scale));
        }
        worst
    }
}

fn spec(format: PixelFormat, (width, height): (usize, usize)) -> FrameSpec {
    FrameSpec {
        format,
        width,
        height,
        colorimetry: Colorimetry {
            range: Range::Limited,
            ..Colorimetry::default()
        },
    }
}

struct Pair {
    cpu: CpuBackend,
    gpu: TensorRtBackend,
    pack: Pack,
}

impl Pair {
    fn new(precisions: Precisions) -> Self {
        let (device, source) = source(precisions, None);
        Self::with(device, Box::new(source))
    }

    /// The networks of `lite`, from `source`.
    fn with(device: Arc<HostDevice>, source: Box<dyn Source>) -> Self {
        let pack = Pack::open("lite").unwrap();
        Self {
            cpu: CpuBackend::new(&pack, Precision::Fp32, 1).unwrap(),
            gpu: TensorRtBackend::new(device, source).unwrap(),
            pack,
        }
    }

    fn prepare(&mut self, spec: FrameSpec, max_pixels: usize) {
        let geometry = Geometry::new(spec, max_pixels, self.pack.manifest().multiple);
        self.cpu.prepare(&geometry).unwrap();
        self.gpu.prepare(&geometry).unwrap();
        record(&mut self.gpu, &self.pack.manifest().schedule, 16).unwrap();
    }

    fn step_through(&mut self, on_gpu: bool, input: &Picture, parameters: Parameters) -> (Picture, [f32; 2]) {
        let backend: &mut dyn Backend = if on_gpu { &mut self.gpu } else { &mut self.cpu };
        let mut output = input.clone();
        let schedule = &self.pack.manifest().schedule;
        let report = unfold(backend, schedule, &input.frame(), parameters, &mut output.frame_mut()).unwrap();
        (output, [report.luma_in, report.luma_out])
    }
}

const QUANTITIES: [Quantity; 6] = [
    Quantity::Image,
    Quantity::P,
    Quantity::Q,
    Quantity::R,
    Quantity::L,
    Quantity::Adjusted,
];

/// Every stage one by one, then the same frame replayed: all as on the processor.
#[test]
fn frames_come_out_as_on_the_processor() {
    let parameters = Parameters {
        ratio: 3.0,
        strength: 0.75,
    };
    for (precision, tolerance, codes) in [(Precision::Fp32, 1e-4, 1.0), (Precision::Fp16, 1e-2, 2.0)] {
        let mut pair = Pair::new(precision.into());
        for format in PixelFormat::ALL {
            for (size, max_pixels) in [((48, 32), 0), ((35, 19), 0), ((64, 48), 32 * 24)] {
                let what = format!("{precision:?} {} {size:?} {max_pixels}", format.name());
                let input = Picture::new(spec(format, size), 1);
                pair.prepare(input.spec, max_pixels);
                let (expected, lumas) = pair.step_through(false, &input, parameters);
                let (stepped, own) = pair.step_through(true, &input, parameters);
                for quantity in QUANTITIES {
                    let (a, b) = (pair.cpu.read(quantity).unwrap(), pair.gpu.read(quantity).unwrap());
                    assert_eq!(a.len(), b.len(), "{what} {quantity:?}");
                    let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(worst <= tolerance, "{what}: {quantity:?} is off by {worst}");
                }
                assert!(stepped.difference(&expected) <= codes, "{what}, stage by stage");
                for (a, b) in lumas.iter().zip(own) {
                    assert!((a - b).abs() < 2e-3, "{what}: mean lumas {lumas:?}, {own:?}");
                }
                let replay = pair.gpu.replay().unwrap();
                let mut replayed = input.clone();
                replay.submit(&input.frame(), parameters).unwrap();
                let report = replay.collect(&mut replayed.frame_mut()).unwrap();
                assert!(replayed == stepped, "{what}, replayed");
                assert_eq!([report.luma_in, report.luma_out], own, "{what}");
                // The same in device memory, first as aligned as staging is, then not at all.
                let replay = pair.gpu.replay().unwrap();
                let mut buffers = [0, 1].map(|_| replay.device_frame(&input.spec).unwrap());
                buffers[0].fill(&input.frame()).unwrap();
                let [from, to] = &mut buffers;
                replay.process_buffers(from, to, parameters).unwrap();
                let mut copied = input.clone();
                buffers[1].empty(&mut copied.frame_mut()).unwrap();
                assert!(copied == stepped, "{what}, in device memory of the library's");
                record(&mut pair.gpu, &pair.pack.manifest().schedule, 1).unwrap();
                let on_device = Picture::new(input.spec, 9);
                let replay = pair.gpu.replay().unwrap();
                let (from, to) = (input.device_frame(), on_device.device_frame());
                replay.process_device(&from, &to, None, parameters).unwrap();
                assert!(on_device.difference(&stepped) <= 1.0, "{what}, in device memory");
            }
        }
    }
}

/// Frames and parameters of two that are under way do not mix.
#[test]
fn two_frames_under_way_keep_apart() {
    let mut pair = Pair::new(Precision::Fp32.into());
    let spec = spec(PixelFormat::Nv12, (48, 32));
    pair.prepare(spec, 0);
    let pictures = [1, 2, 3, 4].map(|seed| Picture::new(spec, seed));
    let parameters = [(1.0, 1.0), (8.0, 0.5), (20.0, 0.25), (2.0, 0.0)];
    let parameters = parameters.map(|(ratio, strength)| Parameters { ratio, strength });
    let expected: Vec<_> = (0..4)
        .map(|i| pair.step_through(true, &pictures[i], parameters[i]).0)
        .collect();
    let replay = pair.gpu.replay().unwrap();
    for i in 0..4 {
        replay.submit(&pictures[i].frame(), parameters[i]).unwrap();
        if i > 0 {
            let mut out = pictures[0].clone();
            replay.collect(&mut out.frame_mut()).unwrap();
            assert!(out == expected[i - 1], "frame {}", i - 1);
        }
    }
    let mut out = pictures[0].clone();
    replay.collect(&mut out.frame_mut()).unwrap();
    assert!(out == expected[3], "frame 3");
}

/// Engines whose numbers are off are found out.
#[test]
fn the_gate_passes_what_is_right_alone() {
    use Precision::{Fp16, Fp32};
    let reference = Reference::new(&Pack::open("lite").unwrap(), 0).unwrap();
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
        let (device, mut source) = source(precisions, spoil);
        let loaded = source.load(reference.size).unwrap();
        let device: Arc<dyn Device> = device;
        let nearness = compare(&device, loaded, &reference).unwrap();
        let told = nearness.describe(precisions);
        println!("{precisions} {spoil:?}: {told}");
        assert_eq!(nearness.too_far(), far, "{precisions} {spoil:?}: {told}");
        assert!(nearness.psnr.iter().all(|db| *db >= least), "{told}");
    }
}

/// Networks whose precisions are chosen by their numbers, as engines' are.
struct Chosen {
    processor: Processor,
    reference: Reference,
}

impl Source for Chosen {
    fn load(&mut self, padded: (usize, usize)) -> Result<Loaded> {
        let device: Arc<dyn Device> = self.processor.device.clone();
        let mut precisions = Precision::Fp16.into();
        choose("lite", &mut precisions, &mut |precisions| {
            self.processor.precisions = precisions;
            let nearness = compare(&device, self.processor.load(padded)?, &self.reference)?;
            Ok((self.processor.load(padded)?, nearness))
        })
    }
}

/// A subnetwork that overflows in 16 bits works in 32, the others go on in 16, and frames are as on the processor.
#[test]
fn what_is_wrong_in_16_bits_goes_on_in_32() {
    use Precision::{Fp16, Fp32};
    let restoration = &[Subnetwork::Restoration][..];
    let spoil = |which, precisions, by| Some(Spoil { which, precisions, by });
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
        let (device, processor) = source(Fp16.into(), spoil);
        let mut chosen = Chosen {
            reference: Reference::new(&processor.pack, 0).unwrap(),
            processor,
        };
        let found = chosen
            .load((48, 32))
            .map(|loaded| (loaded.precisions.to_string(), loaded.storage()));
        let (told, storage) = match (found, expected) {
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
        let mut pair = Pair::with(device, Box::new(chosen));
        let (tolerance, codes) = if told == "fp32" { (1e-4, 1.0) } else { (1e-2, 2.0) };
        for format in [PixelFormat::Nv12, PixelFormat::Rgba] {
            let input = Picture::new(spec(format, (48, 32)), 1);
            pair.prepare(input.spec, 0);
            assert_eq!(pair.gpu.precisions().to_string(), told, "{what}");
            let (expected, _) = pair.step_through(false, &input, Parameters::default());
            let (stepped, _) = pair.step_through(true, &input, Parameters::default());
            for quantity in QUANTITIES {
                let (a, b) = (pair.cpu.read(quantity).unwrap(), pair.gpu.read(quantity).unwrap());
                let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= tolerance, "{what} {storage:?}: {quantity:?} is off by {worst}");
                assert!(b.iter().all(|v| v.is_finite()), "{what}: {quantity:?}");
            }
            let replay = pair.gpu.replay().unwrap();
            let mut replayed = input.clone();
            replay.submit(&input.frame(), Parameters::default()).unwrap();
            replay.collect(&mut replayed.frame_mut()).unwrap();
            assert!(replayed == stepped, "{what}, replayed");
            let off = stepped.difference(&expected);
            assert!(off <= codes, "{what} {}: off by {off} codes", format.name());
        }
    }
}
