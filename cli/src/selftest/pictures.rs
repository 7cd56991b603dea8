//! Stages and frames against the processor's.

use std::fmt::Write as _;
use std::thread;

use uretinex::{Enhancer, Parameters, PixelFormat, Precision, Quantity};

use super::Outcome::{Failed, Passed, Skipped};
use super::{Bench, Checked, process, spec};
use crate::night::{Picture, Scene};
use crate::ready;

/// The greatest difference from the processor's numbers in 32 bits.
const LARGEST: f32 = 2e-3;
/// The least likeness to the processor's numbers in 16 bits, in dB for a peak of 1.
const LEAST: f64 = 45.0;
/// The sizes of the comparisons: one that kernels take in whole vectors, and an odd one.
const SIZES: [(usize, usize); 2] = [(320, 180), (333, 187)];
/// Every quantity of a frame, for every scene and size.
pub fn stages(bench: &Bench, one_by_one: bool) -> Checked {
    let (mut tested, mut processor) = (bench.enhancer()?, bench.processor()?);
    tested.time_stages(one_by_one);
    let (mut worst, mut least) = ((0.0f32, String::new()), (f64::INFINITY, String::new()));
    for size in SIZES {
        for scene in Scene::ALL {
            let input = Picture::new(spec(PixelFormat::Rgb, size), scene, 1);
            process(&mut processor, &input, Parameters::default())?;
            process(&mut tested, &input, Parameters::default())?;
            for quantity in [
                Quantity::Image,
                Quantity::P,
                Quantity::Q,
                Quantity::R,
                Quantity::L,
                Quantity::Adjusted,
            ] {
                let (expected, found) = (processor.read(quantity)?, tested.read(quantity)?);
                let at = format!("{quantity:?} of {scene:?} {}x{}", size.0, size.1);
                if expected.len() != found.len() || found.iter().any(|v| !v.is_finite()) {
                    return Ok(Failed(format!("NaN or nothing in {at}")));
                }
                let differences = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
                let greatest = differences.clone().fold(0.0, f32::max);
                let squares: f64 = differences.map(|d| f64::from(d).powi(2)).sum();
                let psnr = -10.0 * (squares / expected.len() as f64).log10();
                if greatest > worst.0 {
                    worst = (greatest, at.clone());
                }
                if psnr < least.0 {
                    least = (psnr, at);
                }
            }
        }
    }
    let mut text = format!("off by at most {:.1e}", worst.0);
    if !worst.1.is_empty() {
        let _ = write!(text, " ({}), at least {:.1} dB ({})", worst.1, least.0, least.1);
    }
    if bench.fell_back(&tested) {
        let _ = write!(text, "; in use: {}", tested.precisions());
    }
    let good = match tested.precisions().uniform() {
        Some(Precision::Fp32) => worst.0 <= LARGEST,
        _ => least.0 >= LEAST,
    };
    Ok(if good { Passed(text) } else { Failed(text) })
}

/// Compares frames with the processor's: how far they may be off on the mean and at most, in codes.
fn compare(
    bench: &Bench,
    codes: (f64, f64),
    cases: impl Iterator<Item = (Picture, Parameters)>,
    mut process_tested: impl FnMut(&mut Enhancer, &Picture, Parameters) -> uretinex::Result<Picture>,
) -> Checked {
    let (mut tested, mut processor) = (bench.enhancer()?, bench.processor()?);
    let (mut worst, mut count) = ((0.0, 0.0), 0);
    for (input, parameters) in cases {
        let expected = process(&mut processor, &input, parameters)?;
        let found = process_tested(&mut tested, &input, parameters)?;
        let (root, greatest) = expected.difference(&found);
        let s = input.spec();
        if root > codes.0 || greatest > codes.1 {
            return Ok(Failed(format!(
                "{} {}x{}: {root:.2} codes on the mean, {greatest:.0} at most",
                s.format.name(),
                s.width,
                s.height
            )));
        }
        worst = (f64::max(worst.0, root), f64::max(worst.1, greatest));
        count += 1;
    }
    Ok(Passed(format!(
        "{count} frames, off by {:.2} codes on the mean and {:.0} at most",
        worst.0, worst.1
    )))
}

pub fn formats(bench: &Bench) -> Checked {
    let cases = PixelFormat::ALL.into_iter().flat_map(|format| {
        [(96, 64), (98, 66), (33, 17)].map(|size| {
            let picture = Picture::new(spec(format, size), Scene::Night, 3);
            (picture, Parameters::default())
        })
    });
    compare(bench, bench.codes(), cases, process)
}

pub fn sizes(bench: &Bench) -> Checked {
    let sizes = [
        (64, 48),
        (640, 360),
        (64, 48),
        (16, 16),
        (401, 77),
        (640, 360),
        (18, 500),
    ];
    let cases = sizes.into_iter().map(|size| {
        let picture = Picture::new(spec(PixelFormat::Nv12, size), Scene::Night, 5);
        (picture, Parameters::default())
    });
    compare(bench, bench.codes(), cases, process)
}

pub fn parameters(bench: &Bench) -> Checked {
    let cases = [(1.0, 1.0), (4.0, 1.0), (20.0, 0.5), (4.0, 0.0), (2.5, 0.75)]
        .into_iter()
        .map(|(ratio, strength)| {
            let picture = Picture::new(spec(PixelFormat::Nv12, (320, 180)), Scene::Night, 7);
            (
                picture,
                Parameters {
                    ratio,
                    strength,
                    brightness: 0.0,
                    temporal: 0.0,
                },
            )
        });
    compare(bench, bench.codes(), cases, process)
}

/// A moving scene whose frames are fused with the ones before, cut twice. Where products and sums are rounded together a
/// block may be taken from a sixteenth of a pixel away, so a single sample may be off by more than the mean.
pub fn streams(bench: &Bench) -> Checked {
    let spec = spec(PixelFormat::Nv12, (321, 181));
    let mut probe = bench.enhancer()?;
    ready::prepare(&mut probe, &spec)?;
    if !probe.remembers() {
        return Ok(Skipped("this backend remembers nothing".into()));
    }
    let cases = (0..16).map(|t: u32| {
        let scene = if t == 8 { Scene::White } else { Scene::Night };
        let parameters = Parameters {
            temporal: if t < 12 { 1.0 } else { 0.5 },
            ..Parameters::default()
        };
        (Picture::moved(spec, scene, t, 3 * t as usize), parameters)
    });
    compare(bench, (bench.codes().0, 255.0), cases, process)
}

/// Submitted frames come out as processed ones, in their order.
pub fn pipelined(bench: &Bench) -> Checked {
    let mut enhancer = bench.enhancer()?;
    let spec = spec(PixelFormat::Nv12, (640, 360));
    let inputs: Vec<_> = (0..8).map(|seed| Picture::new(spec, Scene::Night, seed)).collect();
    let expected: Vec<_> = inputs
        .iter()
        .map(|input| process(&mut enhancer, input, Parameters::default()))
        .collect::<Result<_, _>>()?;
    let depth = enhancer.depth();
    if depth == 1 {
        return Ok(Skipped("this backend takes one frame at a time".into()));
    }
    let mut received = 0;
    for input in &inputs {
        if enhancer.pending() == depth {
            if !next_is(&mut enhancer, &expected[received])? {
                return Ok(Failed(format!("frame {received} is another")));
            }
            received += 1;
        }
        enhancer.submit(&input.frame()?, Parameters::default())?;
    }
    while enhancer.pending() > 0 {
        if !next_is(&mut enhancer, &expected[received])? {
            return Ok(Failed(format!("frame {received} is another")));
        }
        received += 1;
    }
    Ok(Passed(format!("{received} frames, up to {depth} at once")))
}

fn next_is(enhancer: &mut Enhancer, expected: &Picture) -> uretinex::Result<bool> {
    let mut output = expected.clone();
    enhancer.collect(&mut output.frame_mut()?)?;
    Ok(output == *expected)
}

pub fn device_memory(bench: &Bench) -> Checked {
    let mut probe = bench.enhancer()?;
    ready::prepare(&mut probe, &spec(PixelFormat::Nv12, (64, 48)))?;
    if !matches!(probe.backend_name(), "cuda" | "tensorrt") {
        return Ok(Skipped("this backend has no device memory".into()));
    }
    use PixelFormat::{Bgra, Bgrx, Nv12, P010_10le, P016le, Rgb, Rgba, Rgbx, Y444, Y444_16le};
    let formats = [Nv12, P010_10le, Rgba, Bgra, Rgb, Rgbx, Bgrx, Y444, P016le, Y444_16le];
    let cases = formats.map(|format| {
        let picture = Picture::new(spec(format, (322, 181)), Scene::Night, 9);
        (picture, Parameters::default())
    });
    compare(
        bench,
        bench.codes(),
        cases.into_iter(),
        |enhancer, input, parameters| {
            let mut from = enhancer.device_buffer(input.spec())?;
            let mut to = enhancer.device_buffer(input.spec())?;
            from.upload(&input.frame()?)?;
            enhancer.process_buffers(&*from, &mut *to, parameters)?;
            let mut output = input.clone();
            to.download(&mut output.frame_mut()?)?;
            Ok(output)
        },
    )
}

/// Two enhancers in two threads do as one does.
pub fn two_at_once(bench: &Bench) -> Checked {
    let spec = spec(PixelFormat::Nv12, (320, 180));
    let inputs: Vec<_> = (0..4).map(|seed| Picture::new(spec, Scene::Night, seed)).collect();
    let mut one = bench.enhancer()?;
    let expected: Vec<_> = inputs
        .iter()
        .map(|input| process(&mut one, input, Parameters::default()))
        .collect::<Result<_, _>>()?;
    let worker = || -> uretinex::Result<usize> {
        let mut enhancer = bench.enhancer()?;
        let mut right = 0;
        for _ in 0..12 {
            for (input, expected) in inputs.iter().zip(&expected) {
                right += usize::from(process(&mut enhancer, input, Parameters::default())? == *expected);
            }
        }
        Ok(right)
    };
    let counts = thread::scope(|scope| {
        let threads = [0, 1].map(|_| scope.spawn(worker));
        threads.map(|t| t.join())
    });
    let mut right = 0;
    for count in counts {
        match count {
            Ok(count) => right += count?,
            Err(_) => return Ok(Failed("a thread panicked".into())),
        }
    }
    Ok(if right == 96 {
        Passed("96 frames as one enhancer gives them".into())
    } else {
        Failed(format!("{right} of 96 frames are as one enhancer gives them"))
    })
}
