//! What each subnetwork makes of a small dark picture on the processor, in 32 bits: the measure for engines.

use crate::backend::{Backend, Geometry, Quantity};
use crate::cpu::CpuBackend;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Colorimetry, Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut};
use crate::pack::{Pack, Precision, Subnetwork};
use crate::stage::Parameters;
use crate::unfold::unfold;

/// The least side of the picture, in pixels, before it is rounded up to the pack's multiple.
const SIDE: (usize, usize) = (128, 96);

/// One run of a subnetwork: what it took and what it gave, each plane by plane.
pub(super) struct Sample {
    pub which: Subnetwork,
    pub inputs: Vec<Vec<f32>>,
    pub outputs: Vec<Vec<f32>>,
}

/// The runs of a whole frame.
pub(super) struct Reference {
    /// Width and height.
    pub size: (usize, usize),
    pub samples: Vec<Sample>,
}

impl Reference {
    /// # Errors
    /// Those of the pack's files; [`ErrorKind::ModelInvalid`] if its numbers are not finite.
    pub fn new(pack: &Pack, threads: usize) -> Result<Self> {
        let multiple = pack.manifest().multiple;
        let (width, height) = (SIDE.0.next_multiple_of(multiple), SIDE.1.next_multiple_of(multiple));
        let spec = FrameSpec {
            format: PixelFormat::Rgb,
            width,
            height,
            colorimetry: Colorimetry::FULL,
        };
        let mut cpu = CpuBackend::new(pack, Precision::Fp32, threads)?;
        cpu.prepare(&Geometry::new(spec, 0, multiple))?;
        let mut watched = Watched {
            inner: &mut cpu,
            ratio: 0.0,
            samples: Vec::new(),
        };
        let stride = 3 * width;
        let dark = night(width, height);
        let mut out = vec![0; dark.len()];
        let input = Frame::new(spec, &[Plane { data: &dark, stride }])?;
        let mut output = FrameMut::new(spec, [PlaneMut { data: &mut out, stride }])?;
        let schedule = &pack.manifest().schedule;
        unfold(&mut watched, schedule, &input, Parameters::default(), &mut output)?;
        let samples = watched.samples;
        let all = |s: &Sample| s.outputs.iter().flatten().all(|v| v.is_finite());
        if let Some(sample) = samples.iter().find(|s| !all(s)) {
            return Err(Error::new(
                ErrorKind::ModelInvalid,
                format!(
                    "model pack '{}' gives NaN or infinite numbers from {} for a plain picture: its weights are \
                     damaged; take another pack or train this one again",
                    pack.manifest().name,
                    sample.which.name()
                ),
            ));
        }
        Ok(Self {
            size: (width, height),
            samples,
        })
    }
}

/// A dark gradient with lamps and noise.
fn night(width: usize, height: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut pixels = Vec::with_capacity(3 * width * height);
    for i in 0..width * height {
        let (x, y) = (i % width, i / width);
        let lamp = if x % 41 < 4 && y % 29 < 4 { 190 } else { 0 };
        for channel in 0..3 {
            // Numerical Recipes' linear congruential generator.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = state >> 28;
            pixels.push((6 + 30 * x / width + 6 * channel + lamp + noise as usize) as u8);
        }
    }
    pixels
}

/// A backend that is looked at before and after each of its subnetworks.
struct Watched<'a> {
    inner: &'a mut CpuBackend,
    ratio: f32,
    samples: Vec<Sample>,
}

impl Watched<'_> {
    fn run(&mut self, which: Subnetwork, run: impl FnOnce(&mut CpuBackend) -> Result<()>) -> Result<()> {
        let ports = |ports: &'static [(&'static str, usize)]| ports.iter().map(|(name, _)| *name);
        let read = |inner: &mut CpuBackend, name: &str| match name {
            "image" => inner.read(Quantity::Image),
            "p" => inner.read(Quantity::P),
            "q" => inner.read(Quantity::Q),
            "r" => inner.read(Quantity::R),
            "l" => inner.read(Quantity::L),
            "l_adjusted" => inner.read(Quantity::Adjusted),
            _ => Ok(vec![self.ratio]),
        };
        let inputs = ports(which.inputs())
            .map(|name| read(self.inner, name))
            .collect::<Result<_>>()?;
        run(self.inner)?;
        let outputs = ports(which.outputs())
            .map(|name| read(self.inner, name))
            .collect::<Result<_>>()?;
        self.samples.push(Sample { which, inputs, outputs });
        Ok(())
    }
}

impl Backend for Watched<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn prepare(&mut self, geometry: &Geometry) -> Result<()> {
        self.inner.prepare(geometry)
    }
    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32> {
        self.inner.ingest(input)
    }
    fn decompose(&mut self) -> Result<()> {
        self.run(Subnetwork::Decomposition, |inner| inner.decompose())
    }
    fn update(&mut self, gamma: f32, lambda: f32) -> Result<()> {
        self.inner.update(gamma, lambda)
    }
    fn restore(&mut self) -> Result<()> {
        self.run(Subnetwork::Restoration, |inner| inner.restore())
    }
    fn illuminate(&mut self) -> Result<()> {
        self.run(Subnetwork::Illumination, |inner| inner.illuminate())
    }
    fn adjust(&mut self, ratio: f32) -> Result<()> {
        self.ratio = ratio;
        self.run(Subnetwork::Adjustment, |inner| inner.adjust(ratio))
    }
    fn compose(&mut self, input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32> {
        self.inner.compose(input, strength, output)
    }
    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        self.inner.read(quantity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subnetwork_of_every_round_is_sampled() {
        for name in ["full", "lite"] {
            let pack = Pack::open(name).unwrap();
            let reference = Reference::new(&pack, 0).unwrap();
            let rounds = pack.manifest().schedule.rounds as usize;
            assert_eq!(reference.samples.len(), 2 + 2 * rounds, "{name}");
            let pixels = reference.size.0 * reference.size.1;
            for sample in &reference.samples {
                for (values, (port, channels)) in sample.outputs.iter().zip(sample.which.outputs()) {
                    assert_eq!(values.len(), channels * pixels, "{name} {port}");
                }
                for (values, (port, channels)) in sample.inputs.iter().zip(sample.which.inputs()) {
                    let expected = if *port == "ratio" { 1 } else { channels * pixels };
                    assert_eq!(values.len(), expected, "{name} {port}");
                }
            }
        }
    }
}
