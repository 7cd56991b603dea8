//! `uretinex selftest`: a backend compared with the processor, and what may go wrong.

mod failures;
mod pictures;

use std::process::ExitCode;

use uretinex::{
    BackendChoice, Colorimetry, Enhancer, FrameSpec, Options, Parameters, PixelFormat, Precision, Precisions,
};

use crate::night::Picture;
use crate::options::NetworkArgs;
use crate::ready;

/// Compare a backend with the processor, stage by stage and format by format, and try what may go wrong
///
/// Prints a table; exit status 1 if a line of it failed.
#[derive(clap::Args)]
pub struct Args {
    /// Model pack: `full`, `lite`, `video`, `auto` (`video`) or a pack's folder
    #[arg(long, value_name = "NAME|DIR", default_value = "auto")]
    model: String,
    /// Frames over which memory must not grow
    #[arg(long, value_name = "N", default_value_t = 1000)]
    frames: u32,
    #[command(flatten)]
    network: NetworkArgs,
}

/// What a check came to.
enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}
use Outcome::{Failed, Passed, Skipped};

type Checked = Result<Outcome, uretinex::Error>;

/// What the checks work with.
struct Bench {
    model: String,
    network: Options,
    frames: u32,
}

pub fn run(args: &Args) -> Result<ExitCode, String> {
    let network = args.network.options(&args.model);
    let precisions = match (network.backend, network.precision) {
        (_, Some(one)) => vec![one],
        (BackendChoice::Cuda | BackendChoice::TensorRt, None) => vec![Precision::Fp32, Precision::Fp16],
        _ => vec![Precision::Fp32],
    };
    let (mut report, mut failures) = (String::new(), 0);
    for precision in precisions {
        let bench = Bench {
            model: args.model.clone(),
            network: Options {
                precision: Some(precision),
                ..network.clone()
            },
            frames: args.frames,
        };
        for (name, check) in CHECKS {
            let outcome = check(&bench).unwrap_or_else(|e| Failed(e.to_string()));
            let (word, text) = match outcome {
                Passed(text) => ("ok", text),
                Skipped(text) => ("skipped", text),
                Failed(text) => {
                    failures += 1;
                    ("FAILED", text)
                }
            };
            let line = format!("{word:<8}{:<6}{name:<34}{text}\n", precision.name());
            // Each line as it comes: a check may take long, or the process may end in it.
            crate::print(&line)?;
            report += &line;
        }
    }
    crate::print(&format!("{} checks, {failures} failed\n", report.lines().count()))?;
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether a backend works on a GPU.
fn is_on_gpu(backend: BackendChoice) -> bool {
    matches!(backend, BackendChoice::Cuda | BackendChoice::TensorRt)
}

type Check = fn(&Bench) -> Checked;

const CHECKS: [(&str, Check); 13] = [
    ("stages one by one", |b| pictures::stages(b, true)),
    ("stages of a whole frame", |b| pictures::stages(b, false)),
    ("formats", pictures::formats),
    ("sizes that change", pictures::sizes),
    ("frames pending together", pictures::pipelined),
    ("frames in device memory", pictures::device_memory),
    ("ratio and strength that change", pictures::parameters),
    ("streams that are remembered", pictures::streams),
    ("two at once", pictures::two_at_once),
    ("memory after many frames", failures::memory),
    ("options that cannot be", failures::bad_options),
    ("engines that are damaged", failures::damaged_engines),
    ("device memory that runs out", failures::exhausted),
];

fn spec(format: PixelFormat, (width, height): (usize, usize)) -> FrameSpec {
    FrameSpec {
        format,
        width,
        height,
        colorimetry: match format {
            PixelFormat::Rgb => Colorimetry::FULL,
            _ => Colorimetry::default(),
        },
    }
}

/// Engines are built once, for this size: they take all other sizes here too.
const ENGINES: (usize, usize) = (1920, 1080);

/// An enhancer whose engines are loaded.
fn made(options: &Options) -> uretinex::Result<Enhancer> {
    let mut enhancer = Enhancer::new(options)?;
    ready::engines(&mut enhancer, &spec(PixelFormat::Nv12, ENGINES))?;
    Ok(enhancer)
}

impl Bench {
    fn enhancer(&self) -> uretinex::Result<Enhancer> {
        made(&self.network)
    }

    fn processor(&self) -> uretinex::Result<Enhancer> {
        Enhancer::new(&Options {
            model: self.model.clone(),
            backend: match self.network.backend {
                BackendChoice::Identity => BackendChoice::Identity,
                _ => BackendChoice::Cpu,
            },
            max_pixels: self.network.max_pixels,
            threads: self.network.threads,
            ..Options::default()
        })
    }

    /// How far a frame may be from the processor's: root of the mean squared and greatest difference, in codes.
    fn codes(&self) -> (f64, f64) {
        match self.network.precision {
            None | Some(Precision::Fp32) => (0.5, 2.0),
            // 45 dB is 1.43 codes.
            Some(_) => (1.5, 255.0),
        }
    }

    /// Whether another precision is in use than was asked for: a subnetwork whose results in 16 bits are too far from the
    /// processor's computes in 32.
    fn fell_back(&self, enhancer: &Enhancer) -> bool {
        self.network
            .precision
            .is_some_and(|p| Precisions::from(p) != enhancer.precisions())
    }
}

fn process(enhancer: &mut Enhancer, input: &Picture, parameters: Parameters) -> uretinex::Result<Picture> {
    ready::prepare(enhancer, input.spec())?;
    let mut output = input.clone();
    enhancer.process(&input.frame()?, &mut output.frame_mut()?, parameters)?;
    Ok(output)
}
