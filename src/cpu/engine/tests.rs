//! Whole networks of every operator and form against the plain reference and against the `rten` crate, with all kernels
//! that the processor can run.

use crate::cpu::capabilities::Capabilities;
use crate::cpu::engine::cases::{cases, inputs};
use crate::cpu::engine::reference::reference;
use crate::cpu::engine::testing::Model;
use crate::cpu::engine::{Kernels, Network, Workspace, workspace};
use crate::cpu::threads::Pool;
use crate::network::Graph;
use crate::pack::onnx::Onnx;
use crate::pack::{Pack, Precision, Subnetwork, Variant};

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() })
        .fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

/// All kernels of the processor, each with the error that it may have: of the largest number for floats, on the mean
/// 50 dB below it for 16-bit block floating point and 40 dB for bfloat16.
fn kernels() -> Vec<(Kernels, f32)> {
    let all = Kernels::all(Capabilities::detected()).into_iter();
    all.map(|kernels| match kernels.precision() {
        Precision::Fp32 => (kernels, 3e-5),
        Precision::Bf16 => (kernels, 1e-2),
        _ => (kernels, 3.2e-3),
    })
    .collect()
}

/// The difference that counts: the largest one for floats, the root of the mean square for other formats.
fn difference(kernels: Kernels, a: &[f32], b: &[f32]) -> f32 {
    if kernels.precision() == Precision::Fp32 {
        return largest_difference(a, b);
    }
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt() as f32
}

#[test]
fn every_case_with_every_kernel() {
    let mut unknown_to_rten = Vec::new();
    for case in cases() {
        let mut model = Model::new(case.inputs, case.outputs);
        (case.build)(&mut model);
        let bytes = model.bytes();
        let onnx = Onnx::parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let graph = Graph::new(&onnx, case.inputs, case.outputs).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for &(width, height) in case.sizes {
            let data = inputs(&graph, width * height);
            let expected = reference(&graph, &data, width, height);
            let scale = expected.iter().flatten().fold(0.1f32, |m, v| m.max(v.abs()));
            if let Some(theirs) =
                crate::cpu::engine::testing::rten(&bytes, case.inputs, case.outputs, &data, width, height)
            {
                for (a, b) in theirs.iter().zip(&expected) {
                    let error = largest_difference(a, b) / scale;
                    assert!(
                        error < 3e-5,
                        "{} {width}x{height}: rten differs from the reference by {error}",
                        case.name
                    );
                }
            } else if unknown_to_rten.last() != Some(&case.name) {
                unknown_to_rten.push(case.name);
            }
            for (kernels, allowed) in kernels() {
                let network = Network::load(&bytes, case.inputs, case.outputs, kernels).unwrap();
                for threads in [1, 2] {
                    let pool = Pool::new(threads);
                    let mut memory = workspace(&[&network], width, height, pool.threads()).unwrap();
                    // The second frame finds the memory as the first has left it.
                    for frame in 0..2 {
                        let mut found: Vec<Vec<f32>> = expected.iter().map(|v| vec![f32::NAN; v.len()]).collect();
                        let mut outputs: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
                        let views: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
                        network.run(&pool, &mut memory, 0, &views, &mut outputs).unwrap();
                        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
                            let error = difference(kernels, a, b) / scale;
                            assert!(
                                error < allowed,
                                "{} {width}x{height} {kernels} {threads} threads frame {frame} output {i}: error {error}",
                                case.name
                            );
                        }
                    }
                }
            }
        }
    }
    // It has no SpaceToDepth; those four have the plain reference alone.
    assert_eq!(
        unknown_to_rten,
        [
            "shuffles, views and residuals",
            "gates",
            "shuffles around element-wise operations",
            "rare shuffles"
        ]
    );
}

/// The packs of the library, subnetwork by subnetwork, against the plain reference; 16-bit block floating point
/// within 45 dB.
#[test]
fn the_packs_of_the_library_with_every_kernel() {
    let (width, height) = (48, 32);
    for name in ["full", "lite", "video"] {
        let pack = Pack::open(name).unwrap();
        for subnetwork in Subnetwork::ALL {
            let (inputs_of, outputs_of) = (subnetwork.inputs(), subnetwork.outputs());
            let bytes = pack.onnx(subnetwork, Variant::Fp32).unwrap();
            let graph = Graph::new(&Onnx::parse(bytes).unwrap(), inputs_of, outputs_of).unwrap();
            let mut data = inputs(&graph, width * height);
            // A ratio is at least 1.
            data.iter_mut().filter(|d| d.len() == 1).for_each(|d| d[0] += 3.0);
            let expected = reference(&graph, &data, width, height);
            let scale = expected.iter().flatten().fold(0.1f32, |m, v| m.max(v.abs()));
            for (kernels, allowed) in kernels() {
                let network = Network::load(bytes, inputs_of, outputs_of, kernels).unwrap();
                let pool = Pool::new(0);
                let mut memory = workspace(&[&network], width, height, pool.threads()).unwrap();
                let mut found: Vec<Vec<f32>> = expected.iter().map(|v| vec![f32::NAN; v.len()]).collect();
                let mut outputs: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
                let views: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
                network.run(&pool, &mut memory, 0, &views, &mut outputs).unwrap();
                // White noise is harder than pictures, on which the whole network keeps 50 dB (docs/performance.md).
                let allowed = if kernels.precision() == Precision::Bfp16 {
                    5.6e-3
                } else {
                    allowed
                };
                for (a, b) in found.iter().zip(&expected) {
                    let error = difference(kernels, a, b) / scale;
                    println!("{name} {}, {kernels}: {error:.1e}", subnetwork.name());
                    assert!(error < allowed, "{name} {} {kernels}: error {error}", subnetwork.name());
                }
            }
        }
    }
}

/// Networks that share memory, run in turn, give what each gives alone.
#[test]
fn networks_share_memory() {
    let (width, height) = (136, 24);
    let pool = Pool::new(0);
    let kernels = Kernels::floats(Capabilities::current());
    let loaded: Vec<_> = cases()
        .iter()
        .map(|case| {
            let mut model = Model::new(case.inputs, case.outputs);
            (case.build)(&mut model);
            let bytes = model.bytes();
            let graph = Graph::new(&Onnx::parse(&bytes).unwrap(), case.inputs, case.outputs).unwrap();
            let network = Network::load(&bytes, case.inputs, case.outputs, kernels).unwrap();
            (case.name, network, inputs(&graph, width * height))
        })
        .collect();
    let run = |memory: &mut Workspace, part: usize, network: &Network, data: &[Vec<f32>]| {
        let mut found: Vec<_> = network
            .output_channels()
            .iter()
            .map(|c| vec![f32::NAN; c * width * height])
            .collect();
        let mut outputs: Vec<&mut [f32]> = found.iter_mut().map(Vec::as_mut_slice).collect();
        let views: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
        network.run(&pool, memory, part, &views, &mut outputs).unwrap();
        found
    };
    let networks: Vec<_> = loaded.iter().map(|l| &l.1).collect();
    let mut shared = workspace(&networks, width, height, pool.threads()).unwrap();
    for round in 0..2 {
        for (part, (name, network, data)) in loaded.iter().enumerate() {
            let mut alone = workspace(&[network], width, height, pool.threads()).unwrap();
            let expected = run(&mut alone, 0, network, data);
            assert!(
                run(&mut shared, part, network, data) == expected,
                "{name}, round {round}"
            );
        }
    }
}
