//! Inputs and outputs of each subnetwork for a small dark picture, computed on the processor in FP32: the reference for
//! engines.

use crate::backend::Geometry;
use crate::cpu::CpuBackend;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Colorimetry, Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut};
use crate::pack::{Pack, Precision, Subnetwork};
use crate::stages::{Parameters, Plan, Quantity, Stages, Step, steps, unfold_watched};

/// The least side of the picture, in pixels, before it is rounded up to the pack's multiple.
const SIDE: (usize, usize) = (128, 96);

/// One run of a subnetwork: its inputs and outputs, plane by plane.
pub(crate) struct Sample {
    pub which: Subnetwork,
    pub inputs: Vec<Vec<f32>>,
    pub outputs: Vec<Vec<f32>>,
}

/// The runs of a whole frame.
pub(crate) struct Reference {
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
        let mut cpu = CpuBackend::new(pack, Precision::Fp32, threads)?.executor(&Geometry::new(spec, 0, multiple))?;
        let stride = 3 * width;
        let dark = night(width, height);
        let mut out = vec![0; dark.len()];
        let input = Frame::new(spec, &[Plane { data: &dark, stride }])?;
        let mut output = FrameMut::new(spec, [PlaneMut { data: &mut out, stride }])?;
        let plan = Plan::single(Parameters::default());
        let mut samples = Vec::new();
        let steps = steps(&pack.manifest().schedule);
        unfold_watched(&mut cpu, &steps, &input, &plan, &mut output, &mut |cpu, step| {
            if let Some(which) = step.and_then(subnetwork) {
                samples.push(Sample::read(cpu, which, plan.parameters.ratio)?);
            }
            Ok(())
        })?;
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

/// A dark gradient with lamps and noise: R, G, B of each pixel, row by row.
pub(crate) fn night(width: usize, height: usize) -> Vec<u8> {
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

/// The subnetwork that a step runs.
fn subnetwork(step: Step) -> Option<Subnetwork> {
    match step {
        Step::Decompose => Some(Subnetwork::Decomposition),
        Step::Fuse | Step::Update { .. } | Step::Round => None,
        Step::Restore => Some(Subnetwork::Restoration),
        Step::Illuminate => Some(Subnetwork::Illumination),
        Step::Adjust => Some(Subnetwork::Adjustment),
    }
}

impl Sample {
    /// Reads inputs and outputs of a subnetwork that has just run; it has left its inputs as they were.
    fn read(stages: &mut dyn Stages, which: Subnetwork, ratio: f32) -> Result<Self> {
        let mut read = |name: &str| {
            let quantity = match name {
                "image" => Quantity::Image,
                "p" => Quantity::P,
                "q" => Quantity::Q,
                "r" => Quantity::R,
                "l" => Quantity::L,
                "l_adjusted" => Quantity::Adjusted,
                _ => return Ok(vec![ratio]),
            };
            stages.read(quantity)
        };
        Ok(Self {
            which,
            inputs: which
                .inputs()
                .iter()
                .map(|(name, _)| read(name))
                .collect::<Result<_>>()?,
            outputs: which
                .outputs()
                .iter()
                .map(|(name, _)| read(name))
                .collect::<Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subnetwork_of_every_round_is_sampled() {
        for name in ["full", "lite", "video"] {
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
