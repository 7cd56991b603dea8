//! Every stage of a backend against PyTorch's, on the authors' checkpoint.
//!
//! The references are not part of this repository: `URETINEX_SHARED` (or `../shared` beside the repository) holds
//! `official/golden/*.npz`, and `URETINEX_AUTHORS_PACK` (or `target/authors-pack`) the checkpoint converted with
//! `training/convert.py`. Where one is absent the suite says so and is skipped.

use std::fs::File;
use std::path::{Path, PathBuf};

use npyz::NpyFile;
use zip::ZipArchive;

use crate::backend::Geometry;
use crate::cpu::CpuBackend;
use crate::error::Result;
use crate::frame::{Colorimetry, Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut};
use crate::gpu::{EngineSource, GpuBackend};
use crate::pack::{Pack, Precision};
use crate::stages::{Parameters, Plan, Quantity, Stages, Step, steps, unfold_watched};
use crate::testing::HostNetworks;

/// A folder that may be absent: an environment variable, or a path beside the manifest.
fn folder(variable: &str, default: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(default));
    path.is_dir().then_some(path)
}

/// The quantities that a step makes, by their names in the golden files; `#` stands for the round.
fn made_by(step: Option<Step>) -> &'static [(&'static str, Quantity)] {
    match step {
        None | Some(Step::Fuse) => &[("image", Quantity::Image)],
        Some(Step::Decompose | Step::Update { .. }) => &[("p#", Quantity::P), ("q#", Quantity::Q)],
        Some(Step::Restore) => &[("r#", Quantity::R)],
        Some(Step::Illuminate) => &[("l#", Quantity::L)],
        Some(Step::Adjust) => &[("l_adjusted", Quantity::Adjusted)],
        Some(Step::Round) => &[],
    }
}

/// Makes the stages for frames of a size.
type Prepare<'a> = dyn FnMut(&Geometry) -> Result<Box<dyn Stages>> + 'a;

/// Takes a golden crop through a backend; every stage has to be within `tolerance`, the frame within one code value.
fn compare(prepare: &mut Prepare<'_>, pack: &Pack, golden: &Path, tolerance: f32) {
    let mut npz = ZipArchive::new(File::open(golden).unwrap()).unwrap();
    let mut array = |name: &str| {
        let npy = NpyFile::new(npz.by_name(&format!("{name}.npy")).unwrap()).unwrap();
        let shape: Vec<usize> = npy.shape().iter().map(|&n| n as usize).collect();
        (shape, npy.into_vec::<f32>().unwrap())
    };
    let (shape, image) = array("image");
    let [_, height, width] = shape[..] else {
        panic!("image of shape {shape:?}")
    };
    let plane = width * height;
    let mut pixels = vec![0u8; 3 * plane];
    for (i, v) in image.iter().enumerate() {
        pixels[i % plane * 3 + i / plane] = (v * 255.0).round() as u8;
    }
    let spec = FrameSpec {
        format: PixelFormat::Rgb,
        width,
        height,
        colorimetry: Colorimetry::FULL,
    };
    let stride = 3 * width;
    let mut bytes = vec![0u8; pixels.len()];
    let input = Frame::new(spec, &[Plane { data: &pixels, stride }]).unwrap();
    let mut output = FrameMut::new(
        spec,
        [PlaneMut {
            data: &mut bytes,
            stride,
        }],
    )
    .unwrap();
    let ratio = array("ratio").1[0];
    let manifest = pack.manifest();
    let mut stages = prepare(&Geometry::new(spec, 0, manifest.multiple)).unwrap();
    let plan = Plan::single(Parameters {
        ratio,
        ..Parameters::default()
    });
    let (mut round, mut seen) = (0, Vec::new());
    let mut watch = |stages: &mut (dyn Stages + 'static), step: Option<Step>| {
        if matches!(step, Some(Step::Update { .. })) {
            round += 1;
        }
        for (name, quantity) in made_by(step) {
            seen.push((name.replace('#', &round.to_string()), stages.read(*quantity)?));
        }
        Ok(())
    };
    let steps = steps(&manifest.schedule);
    unfold_watched(&mut *stages, &steps, &input, &plan, &mut output, &mut watch).unwrap();
    for (name, values) in &seen {
        let (_, expected) = array(name);
        assert_eq!(values.len(), expected.len(), "{name} of {}", golden.display());
        let worst = values
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        println!("{}: {name} off by {worst:.2e}", golden.file_name().unwrap().display());
        assert!(
            worst <= tolerance,
            "{name} of {} is off by {worst}, allowed {tolerance}",
            golden.display()
        );
    }
    for (i, v) in array("output").1.iter().enumerate() {
        let expected = v.clamp(0.0, 1.0) * 255.0;
        let found = bytes[i % plane * 3 + i / plane] as f32;
        assert!(
            (found - expected).abs() <= 0.5 + 255.0 * tolerance,
            "value {i} of {}: {found}, {expected}",
            golden.display()
        );
    }
}

#[test]
fn every_stage_matches_pytorch() {
    let Some(shared) = folder("URETINEX_SHARED", "../shared") else {
        return eprintln!("SKIPPED: no golden files (set URETINEX_SHARED)");
    };
    let Some(pack) = folder("URETINEX_AUTHORS_PACK", "target/authors-pack") else {
        return eprintln!("SKIPPED: no converted checkpoint (training/convert.py; set URETINEX_AUTHORS_PACK)");
    };
    let pack = Pack::open(pack.to_str().unwrap()).unwrap();
    let cpu = CpuBackend::new(&pack, Precision::Fp32, 0).unwrap();
    // The kernels and the order of the GPU's stages, on the processor.
    let mut host = HostNetworks::new(&pack).backend();
    let mut gpu = match EngineSource::new(&pack, 0, None, Some(Precision::Fp32), None, 0) {
        Ok(source) => Some(GpuBackend::new(source.device(), Box::new(source), &pack.manifest().schedule).unwrap()),
        Err(e) => {
            eprintln!("SKIPPED on a GPU: {e}");
            None
        }
    };
    let mut on_cpu = |geometry: &Geometry| Ok(Box::new(cpu.executor(geometry)?) as Box<dyn Stages>);
    let mut on_host = |geometry: &Geometry| Ok(Box::new(host.executor(geometry)?) as Box<dyn Stages>);
    let mut on_gpu;
    let mut backends: Vec<(&mut Prepare<'_>, f32)> = vec![(&mut on_cpu, 1e-4), (&mut on_host, 1e-4)];
    if let Some(gpu) = &mut gpu {
        on_gpu = |geometry: &Geometry| Ok(Box::new(gpu.executor(geometry)?) as Box<dyn Stages>);
        backends.push((&mut on_gpu, 2e-3));
    }
    for (prepare, tolerance) in &mut backends {
        let mut files = 0;
        for entry in std::fs::read_dir(shared.join("official/golden")).unwrap() {
            compare(&mut **prepare, &pack, &entry.unwrap().path(), *tolerance);
            files += 1;
        }
        assert!(files > 0, "no golden files in {}", shared.display());
    }
}
