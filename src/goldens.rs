//! Every stage of a backend against PyTorch's, on the authors' checkpoint.
//!
//! The references are not part of this repository: `URETINEX_SHARED` (or `../shared` beside the repository) holds
//! `official/golden/*.npz`, and `URETINEX_AUTHORS_PACK` (or `target/authors-pack`) the checkpoint converted with
//! `engines/convert.py`. Where one is absent the suite says so and is skipped.

use std::fs::File;
use std::path::PathBuf;

use npyz::NpyFile;
use zip::ZipArchive;

use crate::backend::{Backend, Geometry, Quantity};
use crate::cpu::CpuBackend;
use crate::cuda::{EngineSource, TensorRtBackend, on_processor};
use crate::error::Result;
use crate::frame::{Colorimetry, Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut};
use crate::pack::{Pack, Precision};
use crate::stage::Parameters;
use crate::unfold::unfold;

/// A folder that may be absent: an environment variable, or a path beside the manifest.
fn folder(variable: &str, default: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(default));
    path.is_dir().then_some(path)
}

/// Reads every quantity as soon as its stage is done, under the name that it has in the golden files.
struct Recorder<'a> {
    inner: &'a mut dyn Backend,
    round: usize,
    seen: Vec<(String, Vec<f32>)>,
}

impl Recorder<'_> {
    fn note(&mut self, name: &str, quantity: Quantity) -> Result<()> {
        self.seen
            .push((name.replace('#', &self.round.to_string()), self.inner.read(quantity)?));
        Ok(())
    }
}

impl Backend for Recorder<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn prepare(&mut self, geometry: &Geometry) -> Result<()> {
        self.inner.prepare(geometry)
    }
    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32> {
        let luma = self.inner.ingest(input)?;
        self.note("image", Quantity::Image)?;
        Ok(luma)
    }
    fn decompose(&mut self) -> Result<()> {
        self.inner.decompose()?;
        self.note("p#", Quantity::P)?;
        self.note("q#", Quantity::Q)
    }
    fn update(&mut self, gamma: f32, lambda: f32) -> Result<()> {
        self.inner.update(gamma, lambda)?;
        self.round += 1;
        self.note("p#", Quantity::P)?;
        self.note("q#", Quantity::Q)
    }
    fn restore(&mut self) -> Result<()> {
        self.inner.restore()?;
        self.note("r#", Quantity::R)
    }
    fn illuminate(&mut self) -> Result<()> {
        self.inner.illuminate()?;
        self.note("l#", Quantity::L)
    }
    fn adjust(&mut self, ratio: f32) -> Result<()> {
        self.inner.adjust(ratio)?;
        self.note("l_adjusted", Quantity::Adjusted)
    }
    fn compose(&mut self, input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32> {
        self.inner.compose(input, strength, output)
    }
    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        self.inner.read(quantity)
    }
}

/// Takes a golden crop through `backend`; every stage has to be within `tolerance`, the frame within one code value.
fn compare(backend: &mut dyn Backend, pack: &Pack, golden: &PathBuf, tolerance: f32) {
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
    backend
        .prepare(&Geometry::new(spec, 0, pack.manifest().multiple))
        .unwrap();
    let mut recorder = Recorder {
        inner: backend,
        round: 0,
        seen: Vec::new(),
    };
    let parameters = Parameters { ratio, strength: 1.0 };
    unfold(
        &mut recorder,
        &pack.manifest().schedule,
        &input,
        parameters,
        &mut output,
    )
    .unwrap();
    for (name, values) in &recorder.seen {
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
        return eprintln!("SKIPPED: no converted checkpoint (engines/convert.py; set URETINEX_AUTHORS_PACK)");
    };
    let pack = Pack::open(pack.to_str().unwrap()).unwrap();
    let cpu = CpuBackend::new(&pack, Precision::Fp32, 0).unwrap();
    // The kernels and the order of the GPU's stages, on the processor.
    let kernels = on_processor(&pack);
    let mut backends: Vec<(Box<dyn Backend>, f32)> = vec![(Box::new(cpu), 1e-4), (Box::new(kernels), 1e-4)];
    match EngineSource::new(&pack, 0, None, Some(Precision::Fp32), None, 0) {
        Ok(source) => {
            let gpu = TensorRtBackend::new(source.device(), Box::new(source)).unwrap();
            backends.push((Box::new(gpu), 2e-3));
        }
        Err(e) => eprintln!("SKIPPED on a GPU: {e}"),
    }
    for (backend, tolerance) in &mut backends {
        let mut files = 0;
        for entry in std::fs::read_dir(shared.join("official/golden")).unwrap() {
            compare(&mut **backend, &pack, &entry.unwrap().path(), *tolerance);
            files += 1;
        }
        assert!(files > 0, "no golden files in {}", shared.display());
    }
}
