//! Whole frames through the backend on a machine without a GPU: the kernels compiled for the processor, the networks by
//! the processor's engine, device memory in this process. What comes out is compared with the processor's backend.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::backend::TensorRtBackend;
use super::choice::choose;
use super::device::{Device, EventHandle, GraphHandle, StreamHandle, Touches};
use super::gate::compare;
use super::host::{Host, Rounding};
use super::launch::{Launch, Storage};
use super::networks::{Inference, Loaded, Source};
use super::reference::Reference;
use super::values::{decode, encode};
use crate::backend::{Backend, Geometry, Quantity};
use crate::colour::Planes;
use crate::cpu::{CpuBackend, Networks, Products};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{
    Colorimetry, DeviceFrame, DevicePlane, Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut, Range,
};
use crate::pack::{Pack, Precision, Precisions, Subnetwork};
use crate::pool::Pool;
use crate::simd::Level;
use crate::stage::Parameters;
use crate::unfold::{record, unfold};

type Work = Arc<dyn Fn() + Send + Sync>;

/// A device whose memory is the process's and whose work is done when it is issued.
struct HostDevice {
    kernels: Host,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: usize,
    memory: HashMap<u64, Vec<Line>>,
    capture: Option<Vec<Work>>,
    graphs: HashMap<usize, Vec<Work>>,
}

/// Allocations are aligned as a GPU's are.
#[derive(Clone, Copy)]
#[repr(align(256))]
struct Line {
    _bytes: [u8; 256],
}

impl HostDevice {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            kernels: Host::new(Rounding::Fused),
            state: Mutex::default(),
        })
    }

    /// Does it now, or whenever the graph that is captured is launched.
    fn issue(&self, work: Work) {
        if let Some(captured) = &mut self.state.lock().unwrap().capture {
            return captured.push(work);
        }
        work();
    }

    fn handle(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        state.next
    }

    fn take_memory(&self, bytes: usize) -> u64 {
        let lines = vec![Line { _bytes: [0; 256] }; bytes.div_ceil(256)];
        let address = lines.as_ptr() as u64;
        self.state.lock().unwrap().memory.insert(address, lines);
        address
    }
}

/// A kernel to be run more than once, from any thread.
struct Kernel(Launch);
// SAFETY: a launch is numbers.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// The device, as work can hold it.
struct Shared(*const HostDevice);
// SAFETY: the device outlives its graphs, which are part of it; `Host` is used from one thread at a time.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// The device lives.
    unsafe fn run(&self, kernel: &Kernel) {
        // SAFETY: the caller's word; the launch is one of the backend's, for memory that this device gave.
        unsafe { (*self.0).kernels.run(&kernel.0) }
    }
}

// SAFETY: memory is behind the lock; the kernels' library is used by one test thread at a time.
unsafe impl Send for HostDevice {}
// SAFETY: as above.
unsafe impl Sync for HostDevice {}

impl Device for HostDevice {
    fn enter(&self) -> Result<()> {
        Ok(())
    }
    fn leave(&self) {}
    fn create_stream(&self) -> Result<StreamHandle> {
        Ok(StreamHandle(self.handle()))
    }
    fn destroy_stream(&self, _: StreamHandle) {}
    fn create_event(&self, _: bool) -> Result<EventHandle> {
        Ok(EventHandle(self.handle()))
    }
    fn destroy_event(&self, _: EventHandle) {}
    fn allocate(&self, _: StreamHandle, bytes: usize) -> Result<u64> {
        Ok(self.take_memory(bytes))
    }
    fn free(&self, _: StreamHandle, address: u64) {
        self.state.lock().unwrap().memory.remove(&address);
    }
    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8> {
        Ok(self.take_memory(bytes) as *mut u8)
    }
    fn free_pinned(&self, start: *mut u8) {
        self.state.lock().unwrap().memory.remove(&(start as u64));
    }
    unsafe fn upload(&self, _: StreamHandle, to: u64, from: *const u8, bytes: usize) -> Result<()> {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(from, to as *mut u8, bytes) };
        Ok(())
    }
    unsafe fn download(&self, _: StreamHandle, to: *mut u8, from: u64, bytes: usize) -> Result<()> {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to, bytes) };
        Ok(())
    }
    unsafe fn copy(&self, _: StreamHandle, to: u64, from: u64, bytes: usize) -> Result<()> {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }
    unsafe fn launch(&self, _: StreamHandle, launch: &Launch, _: Touches<'_>) -> Result<()> {
        let (shared, kernel) = (Shared(self), Kernel(launch.clone()));
        // SAFETY: work is done in calls of the device.
        self.issue(Arc::new(move || unsafe { shared.run(&kernel) }));
        Ok(())
    }
    fn record(&self, _: EventHandle, _: StreamHandle) -> Result<()> {
        Ok(())
    }
    fn wait(&self, _: StreamHandle, _: EventHandle) -> Result<()> {
        Ok(())
    }
    fn synchronize(&self, _: EventHandle) -> Result<()> {
        Ok(())
    }
    fn elapsed(&self, _: EventHandle, _: EventHandle) -> Result<f32> {
        Ok(0.0)
    }
    fn begin_capture(&self, _: StreamHandle) -> Result<()> {
        self.state.lock().unwrap().capture = Some(Vec::new());
        Ok(())
    }
    fn end_capture(&self, _: StreamHandle) -> Result<GraphHandle> {
        let handle = self.handle();
        let mut state = self.state.lock().unwrap();
        let Some(captured) = state.capture.take() else {
            return Err(Error::new(ErrorKind::BackendFailed, "nothing is captured"));
        };
        state.graphs.insert(handle, captured);
        Ok(GraphHandle(handle))
    }
    fn launch_graph(&self, graph: GraphHandle, _: StreamHandle) -> Result<()> {
        let work = self.state.lock().unwrap().graphs[&graph.0].clone();
        work.iter().for_each(|work| work());
        Ok(())
    }
    fn destroy_graph(&self, graph: GraphHandle) {
        self.state.lock().unwrap().graphs.remove(&graph.0);
    }
    fn free_memory(&self) -> Result<u64> {
        Ok(0)
    }
}

/// What is added to all that some subnetworks give in some precisions, for tests of the gate.
#[derive(Debug, Clone, Copy)]
struct Spoil {
    which: &'static [Subnetwork],
    precisions: &'static [Precision],
    by: f32,
}

/// A subnetwork by the processor's engine, on tensors of either type. In 16 bits it takes and gives numbers of 16 bits,
/// however wide the tensors are.
struct OnProcessor {
    which: Subnetwork,
    networks: Arc<Networks>,
    storage: Storage,
    precision: Precision,
    shapes: HashMap<&'static str, [usize; 4]>,
    addresses: HashMap<&'static str, u64>,
    device: Arc<HostDevice>,
    spoil: Option<f32>,
}

impl Inference for OnProcessor {
    fn shape(&mut self, name: &'static str, shape: [usize; 4]) -> Result<()> {
        self.shapes.insert(name, shape);
        Ok(())
    }
    fn address(&mut self, name: &'static str, address: u64) -> Result<()> {
        self.addresses.insert(name, address);
        Ok(())
    }
    fn scratch_bytes(&mut self) -> Result<usize> {
        Ok(0)
    }
    unsafe fn lend(&mut self, _: u64, _: usize) -> Result<()> {
        Ok(())
    }
    unsafe fn enqueue(&mut self, _: StreamHandle) -> Result<()> {
        let (which, networks, storage, spoil) = (self.which, self.networks.clone(), self.storage, self.spoil);
        let rounds = self.precision == Precision::Fp16;
        let [_, _, height, width] = self.shapes[which.inputs()[0].0];
        let tensor = |&(name, channels): &(&'static str, usize)| {
            let values = if name == "ratio" { 1 } else { channels * width * height };
            (self.addresses[name], values)
        };
        let inputs: Vec<_> = which.inputs().iter().map(tensor).collect();
        let outputs: Vec<_> = which.outputs().iter().map(tensor).collect();
        self.device.issue(Arc::new(move || {
            let read = |&(address, values): &(u64, usize)| {
                let bytes = values * storage.bytes();
                // SAFETY: the backend has bound buffers of these sizes, in this process.
                let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, bytes) };
                let mut numbers = Vec::new();
                decode(bytes, storage, &mut numbers);
                if rounds { rounded(&numbers) } else { numbers }
            };
            let given: Vec<Vec<f32>> = inputs.iter().map(read).collect();
            let given: Vec<&[f32]> = given.iter().map(Vec::as_slice).collect();
            let size = (width, height);
            let mut made: Vec<_> = which.outputs().iter().map(|p| Planes::new(p.1, size)).collect();
            let pool = Pool::new(1);
            let mut workspace = networks.workspace(size, 1).unwrap();
            match (&given[..], &mut made[..]) {
                ([a], [x]) => networks.run(which, &pool, &mut workspace, [a], [x]),
                ([a], [x, y]) => networks.run(which, &pool, &mut workspace, [a], [x, y]),
                ([a, b], [x]) => networks.run(which, &pool, &mut workspace, [a, b], [x]),
                _ => unreachable!("no such subnetwork"),
            }
            .unwrap();
            for (planes, (address, _)) in made.iter_mut().zip(&outputs) {
                if let Some(by) = spoil {
                    planes.data.iter_mut().for_each(|v| *v += by);
                }
                if rounds {
                    planes.data = rounded(&planes.data);
                }
                let bytes = encode(&planes.data, storage);
                // SAFETY: as above; nobody else reads or writes meanwhile.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), *address as *mut u8, bytes.len()) };
            }
        }));
        Ok(())
    }
}

/// Numbers as 16 bits have them.
fn rounded(values: &[f32]) -> Vec<f32> {
    let mut rounded = Vec::with_capacity(values.len());
    decode(&encode(values, Storage::F16), Storage::F16, &mut rounded);
    rounded
}

struct Processor {
    pack: Pack,
    precisions: Precisions,
    device: Arc<HostDevice>,
    spoil: Option<Spoil>,
}

impl Source for Processor {
    fn load(&mut self, _padded: (usize, usize)) -> Result<Loaded> {
        let networks = Networks::shared(&self.pack, Level::current(), Products::Float)?;
        let mut loaded = Loaded {
            contexts: Vec::new(),
            precisions: self.precisions,
        };
        for which in Subnetwork::ALL {
            let precision = self.precisions.of(which);
            let spoilt = |s: &Spoil| s.precisions.contains(&precision) && s.which.contains(&which);
            loaded.contexts.push(Box::new(OnProcessor {
                which,
                networks: networks.clone(),
                storage: loaded.storage(),
                precision,
                shapes: HashMap::new(),
                addresses: HashMap::new(),
                device: self.device.clone(),
                spoil: self.spoil.filter(spoilt).map(|s| s.by),
            }));
        }
        Ok(loaded)
    }
}

fn source(precisions: Precisions, spoil: Option<Spoil>) -> (Arc<HostDevice>, Processor) {
    let device = HostDevice::new();
    let source = Processor {
        pack: Pack::open("lite").unwrap(),
        precisions,
        device: device.clone(),
        spoil,
    };
    (device, source)
}

/// The backend on the processor, in 32 bits.
pub(crate) fn on_processor(pack: &Pack) -> TensorRtBackend {
    let (device, mut source) = source(Precision::Fp32.into(), None);
    source.pack = pack.clone();
    TensorRtBackend::new(device, Box::new(source)).unwrap()
}

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
