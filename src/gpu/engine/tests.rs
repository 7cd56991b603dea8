//! Networks by the GPU's engine, its kernels compiled for the processor, against the plain reference of the processor's
//! engine: every operator and form, every kind of product, sizes that no tile divides; and the packs that ship.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::context::{KernelContext, KernelNetwork, Way};
use crate::cpu::engine_cases::{Case, Model, cases, inputs, reference};
use crate::error::{ErrorKind, Result};
use crate::gpu::driver::{Device, StreamHandle};
use crate::gpu::kernels::{CONVOLUTION_KERNELS, Storage};
use crate::gpu::networks::Inference;
use crate::network::{Graph, Port};
use crate::pack::onnx::Onnx;
use crate::pack::{Pack, Subnetwork, Variant};
use crate::testing::{Guarded, HostDevice};

/// A kind of GPU, and the type of the planes between the networks: every combination that a backend makes.
const WAYS: [(&str, Storage, Storage, Way); 4] = [
    ("32 bits", Storage::F32, Storage::F32, way((9, 0), 0)),
    ("16 bits, old GPU", Storage::F16, Storage::F16, way((7, 5), 0)),
    ("16 bits, large tiles", Storage::F16, Storage::F16, way((8, 0), 0)),
    (
        "16 bits beside 32, small tiles",
        Storage::F16,
        Storage::F32,
        way((8, 6), 1000),
    ),
];

const fn way(capability: (i32, i32), multiprocessors: u32) -> Way {
    Way {
        capability,
        multiprocessors,
    }
}

/// Memory whose bytes are NaN, with `values` of a type at its beginning.
fn memory(values: &[f32], storage: Storage) -> Guarded {
    let bytes = storage.encode(values);
    let mut memory = Guarded::new(bytes.len());
    memory.bytes_mut().copy_from_slice(&bytes);
    memory
}

/// Names and channels.
type Ports = [(&'static str, usize)];

/// A network's run on planes of type `planes`.
fn run(
    network: &Arc<KernelNetwork>,
    device: &Arc<dyn Device>,
    planes: Storage,
    ports: (&Ports, &Ports),
    data: &[Vec<f32>],
    (width, height): (usize, usize),
) -> Result<Vec<Vec<f32>>> {
    let mut context = KernelContext::new(network, planes, device);
    let inputs: Vec<Guarded> = data.iter().map(|values| memory(values, planes)).collect();
    let outputs = ports
        .1
        .iter()
        .map(|(_, channels)| memory(&vec![f32::NAN; channels * width * height], planes));
    let outputs: Vec<Guarded> = outputs.collect();
    for ((&(name, channels), memory), values) in ports.0.iter().zip(&inputs).zip(data) {
        let frame = values.len() == channels * width * height;
        let (height, width) = if frame { (height, width) } else { (1, 1) };
        context.shape(name, [1, channels, height, width])?;
        context.address(name, memory.address())?;
    }
    for (&(name, _), memory) in ports.1.iter().zip(&outputs) {
        context.address(name, memory.address())?;
    }
    let bytes = context.scratch_bytes()?;
    let mut scratch = Guarded::new(bytes.max(256));
    scratch.bytes_mut().fill(0xff);
    // The second run finds the memory as the first has left it; on emulated tensor cores it would take long.
    let runs = if network.is_on_tensor_cores() { 1 } else { 2 };
    for _ in 0..runs {
        // SAFETY: everything lives until the host has done it, which is at once.
        unsafe {
            context.lend(scratch.address(), bytes)?;
            context.enqueue(StreamHandle(1))?;
        }
    }
    let read = |memory: &Guarded| {
        let mut values = Vec::new();
        planes.decode(memory.bytes(), &mut values);
        values
    };
    Ok(outputs.iter().map(read).collect())
}

/// The largest difference and the root of the mean square, of the largest number expected.
fn differences(found: &[Vec<f32>], expected: &[Vec<f32>]) -> (f64, f64) {
    let scale = expected.iter().flatten().fold(0.1f64, |m, v| m.max(f64::from(v.abs())));
    let (mut most, mut squares, mut count) = (0.0f64, 0.0, 0);
    for (a, b) in found.iter().flatten().zip(expected.iter().flatten()) {
        let difference = f64::from(a - b).abs() / scale;
        most = if difference.is_nan() {
            f64::INFINITY
        } else {
            most.max(difference)
        };
        squares += difference * difference;
        count += 1;
    }
    (most, (squares / f64::from(count)).sqrt())
}

fn model(case: &Case) -> Vec<u8> {
    let mut model = Model::new(case.inputs, case.outputs);
    (case.build)(&mut model);
    model.bytes()
}

fn graph(bytes: &[u8], inputs: &[Port<'_>], outputs: &[Port<'_>]) -> Graph {
    Graph::new(&Onnx::parse(bytes).unwrap(), inputs, outputs).unwrap()
}

#[test]
fn every_case_on_every_kind_of_gpu() {
    let host = HostDevice::new();
    let device: Arc<dyn Device> = host.clone();
    for case in cases() {
        let bytes = model(&case);
        let graph = graph(&bytes, case.inputs, case.outputs);
        for (what, blocks, planes, way) in WAYS {
            let network = KernelNetwork::load(&bytes, case.inputs, case.outputs, blocks, way, &device);
            let network = Arc::new(network.unwrap());
            // Several tiles in each direction, none of them whole.
            let sizes = case.sizes.iter().filter(|size| [(37, 23), (40, 24)].contains(size));
            for &(width, height) in sizes {
                let data = inputs(&graph, width * height);
                let expected = reference(&graph, &data, width, height);
                let ports = (case.inputs, case.outputs);
                let found = run(&network, &device, planes, ports, &data, (width, height)).unwrap();
                let (most, mean) = differences(&found, &expected);
                let (most_allowed, mean_allowed) = match blocks {
                    Storage::F32 => (3e-5, 1e-5),
                    Storage::F16 => (2e-2, 2e-3),
                };
                println!("{} {width}x{height}, {what}: {most:.1e}, {mean:.1e}", case.name);
                assert!(
                    most < most_allowed && mean < mean_allowed,
                    "{} {width}x{height}, {what}: off by {most:.1e}, {mean:.1e} on the mean",
                    case.name
                );
            }
        }
    }
    // No eight rows that a warp reads from shared memory at once are in one bank.
    let [reads, conflicts] = host.kernels().banks();
    assert!(reads > 0 && conflicts == 0, "{conflicts} of {reads}");
    let ran = host.kernels_run();
    for kernel in CONVOLUTION_KERNELS {
        assert!(ran.contains(kernel), "{kernel} has not run: {ran:?}");
    }
}

#[test]
fn the_packs_of_the_library_on_every_kind_of_gpu() {
    let host = HostDevice::new();
    let device: Arc<dyn Device> = host.clone();
    let (width, height) = (48, 32);
    for name in ["video", "lite", "full"] {
        let pack = Pack::open(name).unwrap();
        for which in Subnetwork::ALL {
            let bytes = pack.onnx(which, Variant::Fp32).unwrap();
            let graph = graph(bytes, which.inputs(), which.outputs());
            let mut data = inputs(&graph, width * height);
            // A ratio is at least 1.
            data.iter_mut().filter(|d| d.len() == 1).for_each(|d| d[0] += 3.0);
            let expected = reference(&graph, &data, width, height);
            for (what, blocks, planes, way) in WAYS {
                let network = KernelNetwork::load(bytes, which.inputs(), which.outputs(), blocks, way, &device);
                let ports = (which.inputs(), which.outputs());
                let found = run(
                    &Arc::new(network.unwrap()),
                    &device,
                    planes,
                    ports,
                    &data,
                    (width, height),
                )
                .unwrap();
                let (most, mean) = differences(&found, &expected);
                // White noise is harder than pictures, of which the gate wants 45 dB: 5.6e-3 on the mean.
                let allowed = match blocks {
                    Storage::F32 => 1e-5,
                    Storage::F16 => 2e-3,
                };
                println!("{name} {}, {what}: {most:.1e}, {mean:.1e}", which.name());
                assert!(
                    mean < allowed,
                    "{name} {}, {what}: off by {mean:.1e} on the mean",
                    which.name()
                );
            }
        }
    }
}

#[test]
fn networks_beyond_the_kernels_are_refused() {
    let host = HostDevice::new();
    let device: Arc<dyn Device> = host.clone();
    let (inputs, outputs) = ([("x", 3)], [("y", 3)]);
    let mut model = Model::new(&inputs, &outputs);
    let wide = model.conv("x", 3, 272, 1, true);
    let narrow = model.conv(&wide, 272, 3, 1, true);
    model.node("Relu", &[&narrow], &["y"]);
    let loaded = KernelNetwork::load(&model.bytes(), &inputs, &outputs, Storage::F16, way((8, 0), 0), &device);
    let error = loaded.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ModelInvalid);
    for part in ["272 channels", "at most 256", "backend=cpu"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
