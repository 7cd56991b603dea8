//! `uretinex selftest`: a backend against the processor, and against what may go wrong.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use uretinex::{
    BackendChoice, Colorimetry, Enhancer, ErrorKind, FrameSpec, Options, Parameters, PixelFormat, Precision,
    Precisions, Quantity,
};

use crate::night::{Picture, Scene};
use crate::options::NetworkArgs;
use crate::ready;

/// Compare a backend with the processor, stage by stage and format by format, and try what may go wrong
///
/// Prints a table; exit status 1 if a line of it failed.
#[derive(clap::Args)]
pub struct Args {
    /// Model pack: `full`, `lite`, `auto` (`lite`) or a pack's folder
    #[arg(long, value_name = "NAME|DIR", default_value = "auto")]
    model: String,
    /// Frames over which memory must not grow
    #[arg(long, value_name = "N", default_value_t = 1000)]
    frames: u32,
    #[command(flatten)]
    network: NetworkArgs,
}

/// The greatest difference from the processor's numbers in 32 bits.
const LARGEST: f32 = 2e-3;
/// The least likeness to the processor's numbers in 16 bits, in dB for a peak of 1.
const LEAST: f64 = 45.0;
/// The sizes of the comparisons: one that kernels take in whole vectors, and an odd one.
const SIZES: [(usize, usize); 2] = [(320, 180), (333, 187)];
/// Bytes by which memory may be more after many frames.
const GROWTH: i64 = 16 << 20;

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
        (BackendChoice::TensorRt, None) => vec![Precision::Fp32, Precision::Fp16],
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

type Check = fn(&Bench) -> Checked;

const CHECKS: [(&str, Check); 12] = [
    ("stages one by one", |b| stages(b, true)),
    ("stages of a whole frame", |b| stages(b, false)),
    ("formats", formats),
    ("sizes that change", sizes),
    ("frames under way together", pipelined),
    ("frames in device memory", device_memory),
    ("ratio and strength that change", parameters),
    ("two at once", two_at_once),
    ("memory after many frames", memory),
    ("options that cannot be", bad_options),
    ("engines that are damaged", damaged_engines),
    ("device memory that runs out", exhausted),
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

/// Engines are had for this size, which takes in all others here, so that they are built once.
const ENGINES: (usize, usize) = (1920, 1080);

/// An enhancer with its engines.
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
            // 45 dB is 1.43 codes.
            Some(Precision::Fp16) => (1.5, 255.0),
            _ => (0.5, 2.0),
        }
    }

    /// Whether another precision is in use than was asked for: subnetworks give up 16 bits where they are not good
    /// enough.
    fn gave_up(&self, enhancer: &Enhancer) -> bool {
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

/// Every quantity of a frame, for every scene and size.
fn stages(bench: &Bench, one_by_one: bool) -> Checked {
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
    if bench.gave_up(&tested) {
        let _ = write!(text, "; in use: {}", tested.precisions());
    }
    let good = match tested.precisions().uniform() {
        Some(Precision::Fp32) => worst.0 <= LARGEST,
        Some(Precision::Fp16) | None => least.0 >= LEAST,
    };
    Ok(if good { Passed(text) } else { Failed(text) })
}

/// Compares frames with the processor's.
fn compare(
    bench: &Bench,
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
        if root > bench.codes().0 || greatest > bench.codes().1 {
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

fn formats(bench: &Bench) -> Checked {
    let cases = PixelFormat::ALL.into_iter().flat_map(|format| {
        [(96, 64), (98, 66), (33, 17)].map(|size| {
            let picture = Picture::new(spec(format, size), Scene::Night, 3);
            (picture, Parameters::default())
        })
    });
    compare(bench, cases, process)
}

fn sizes(bench: &Bench) -> Checked {
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
    compare(bench, cases, process)
}

fn parameters(bench: &Bench) -> Checked {
    let cases = [(1.0, 1.0), (4.0, 1.0), (20.0, 0.5), (4.0, 0.0), (2.5, 0.75)]
        .into_iter()
        .map(|(ratio, strength)| {
            let picture = Picture::new(spec(PixelFormat::Nv12, (320, 180)), Scene::Night, 7);
            (picture, Parameters { ratio, strength })
        });
    compare(bench, cases, process)
}

/// Submitted frames come out as processed ones, in their order.
fn pipelined(bench: &Bench) -> Checked {
    let mut enhancer = bench.enhancer()?;
    let spec = spec(PixelFormat::Nv12, (640, 360));
    let inputs: Vec<_> = (0..8).map(|seed| Picture::new(spec, Scene::Night, seed)).collect();
    let expected: Vec<_> = inputs
        .iter()
        .map(|input| process(&mut enhancer, input, Parameters::default()))
        .collect::<Result<_, _>>()?;
    let depth = enhancer.depth();
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

fn device_memory(bench: &Bench) -> Checked {
    let mut probe = bench.enhancer()?;
    ready::prepare(&mut probe, &spec(PixelFormat::Nv12, (64, 48)))?;
    if probe.backend_name() != "tensorrt" {
        return Ok(Skipped("this backend has no device memory".into()));
    }
    use PixelFormat::{Bgra, Bgrx, Nv12, P010_10le, Rgb, Rgba, Rgbx};
    let cases = [Nv12, P010_10le, Rgba, Bgra, Rgb, Rgbx, Bgrx].map(|format| {
        let picture = Picture::new(spec(format, (322, 181)), Scene::Night, 9);
        (picture, Parameters::default())
    });
    compare(bench, cases.into_iter(), |enhancer, input, parameters| {
        let mut from = enhancer.device_frame(input.spec())?;
        let mut to = enhancer.device_frame(input.spec())?;
        from.fill(&input.frame()?)?;
        enhancer.process_buffers(&from, &mut to, parameters)?;
        let mut output = input.clone();
        to.empty(&mut output.frame_mut()?)?;
        Ok(output)
    })
}

/// Two enhancers in two threads do as one does.
fn two_at_once(bench: &Bench) -> Checked {
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

/// The bytes of this process that are in memory.
fn resident() -> Option<i64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(1)?.parse::<i64>().ok()? * 4096)
}

fn memory(bench: &Bench) -> Checked {
    let mut enhancer = bench.enhancer()?;
    let small = Picture::new(spec(PixelFormat::Nv12, (320, 180)), Scene::Night, 1);
    let large = Picture::new(spec(PixelFormat::Nv12, (480, 270)), Scene::Night, 1);
    let mut around = |count| -> uretinex::Result<()> {
        for i in 0..count {
            // A size that changes now and then gives back what it took.
            let picture = if i % 100 == 99 { &large } else { &small };
            process(&mut enhancer, picture, Parameters::default())?;
        }
        Ok(())
    };
    around(200.min(bench.frames))?;
    let before = resident();
    around(bench.frames)?;
    let after = resident();
    let (Some(before), Some(after)) = (before, after) else {
        return Ok(Skipped("the system does not tell".into()));
    };
    let mebibytes = |bytes: i64| bytes as f64 / f64::from(1 << 20);
    let mut text = format!(
        "{:.1} MiB of this process before, {:.1} after {} frames",
        mebibytes(before),
        mebibytes(after),
        bench.frames
    );
    let mut grown = after - before;
    if enhancer.backend_name() == "tensorrt" {
        // Other programs may take GPU memory meanwhile: this is told, and judged only by its own growth.
        let used = |enhancer: &mut Enhancer| enhancer.gpu_free_memory().map(|free| free as i64);
        let before = used(&mut enhancer)?;
        for _ in 0..bench.frames {
            process(&mut enhancer, &small, Parameters::default())?;
        }
        let after = used(&mut enhancer)?;
        let _ = write!(text, "; GPU memory less by {:.1} MiB", mebibytes(before - after));
        grown = grown.max(before - after);
    }
    Ok(if grown <= GROWTH { Passed(text) } else { Failed(text) })
}

/// What cannot be done is refused by an error of the right kind.
fn bad_options(bench: &Bench) -> Checked {
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = bench.network.clone();
        change(&mut options);
        Enhancer::new(&options).err()
    };
    let mut refused = 0;
    let mut cases = vec![(
        "a pack that is not there",
        with(&|o| o.model = "/nowhere".into()),
        vec![ErrorKind::ModelNotFound],
    )];
    if bench.network.backend == BackendChoice::TensorRt {
        cases.push((
            "device-id 63",
            with(&|o| o.device_id = 63),
            vec![ErrorKind::InvalidOption],
        ));
    }
    for (what, error, kinds) in cases {
        match error {
            Some(e) if kinds.contains(&e.kind()) => refused += 1,
            Some(e) => return Ok(Failed(format!("{what}: {:?}: {e}", e.kind()))),
            None => return Ok(Failed(format!("{what} is taken"))),
        }
    }
    let mut enhancer = bench.enhancer()?;
    let input = Picture::new(spec(PixelFormat::Nv12, (64, 48)), Scene::Night, 1);
    for (ratio, strength) in [(0.5, 1.0), (f32::NAN, 1.0), (4.0, -0.1), (4.0, f32::NAN)] {
        match process(&mut enhancer, &input, Parameters { ratio, strength }) {
            Err(e) if e.kind() == ErrorKind::InvalidOption => refused += 1,
            _ => return Ok(Failed(format!("ratio {ratio}, strength {strength} is taken"))),
        }
    }
    process(&mut enhancer, &input, Parameters::default())?;
    Ok(Passed(format!("{refused} refused, and the next frame went through")))
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("uretinex-selftest-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Engines that are cut short, or whose folder cannot be written, are built anew.
fn damaged_engines(bench: &Bench) -> Checked {
    if bench.network.backend != BackendChoice::TensorRt {
        return Ok(Skipped("this backend has no engines".into()));
    }
    if bench.model == "full" || bench.network.precision == Some(Precision::Fp16) {
        return Ok(Skipped(
            "tried with the other pack in 32 bits: each time all engines are built".into(),
        ));
    }
    let folder = match Folder::new() {
        Ok(folder) => folder,
        Err(e) => return Ok(Skipped(format!("no folder for temporary files: {e}"))),
    };
    let input = Picture::new(spec(PixelFormat::Nv12, (64, 48)), Scene::Night, 1);
    let through = |cache: &Path| -> uretinex::Result<Picture> {
        // Nobody else holds engines at this moment, so that they come from the folder.
        let mut enhancer = made(&Options {
            engine_cache: Some(cache.into()),
            ..bench.network.clone()
        })?;
        process(&mut enhancer, &input, Parameters::default())
    };
    let expected = through(&folder.0)?;
    let mut cut = 0;
    for entry in fs::read_dir(&folder.0).into_iter().flatten().flatten() {
        let length = entry.metadata().map_or(0, |m| m.len());
        if length > 4096
            && fs::OpenOptions::new()
                .write(true)
                .open(entry.path())
                .is_ok_and(|f| f.set_len(length / 2).is_ok())
        {
            cut += 1;
        }
    }
    if cut == 0 {
        return Ok(Failed("no engine was kept".into()));
    }
    let (root, _) = expected.difference(&through(&folder.0)?);
    // A file where the folder should be cannot be written to, whoever tries.
    let file = folder.0.join("file");
    let unwritable = match fs::write(&file, b"") {
        Ok(()) => through(&file)?,
        Err(e) => return Ok(Skipped(format!("no temporary file: {e}"))),
    };
    let (other_root, _) = expected.difference(&unwritable);
    Ok(if root.max(other_root) <= bench.codes().0 {
        Passed(format!(
            "{cut} files cut short and built anew; a cache that is no folder"
        ))
    } else {
        Failed(format!(
            "engines built anew differ by {root:.2} and {other_root:.2} codes"
        ))
    })
}

/// Device memory that runs out is an error of its kind, and `auto` goes on without it.
fn exhausted(bench: &Bench) -> Checked {
    if bench.network.backend != BackendChoice::TensorRt {
        return Ok(Skipped("this backend has no device memory".into()));
    }
    let mut holder = bench.enhancer()?;
    let tiny = Picture::new(spec(PixelFormat::Nv12, (64, 48)), Scene::Night, 1);
    process(&mut holder, &tiny, Parameters::default())?;
    let mut auto = made(&Options {
        backend: BackendChoice::Auto,
        ..bench.network.clone()
    })?;
    process(&mut auto, &tiny, Parameters::default())?;
    let before = auto.backend_name();
    let mut held = Vec::new();
    // From 256 MiB frames down to small ones, until nothing is left.
    for side in [8192, 2048, 512] {
        loop {
            match holder.device_frame(&spec(PixelFormat::Rgba, (side, side))) {
                Ok(frame) => held.push(frame),
                Err(e) if e.kind() == ErrorKind::OutOfMemory => break,
                Err(e) => return Ok(Failed(format!("{:?} and not OutOfMemory: {e}", e.kind()))),
            }
        }
    }
    let large = Picture::new(spec(PixelFormat::Nv12, (1280, 720)), Scene::Night, 1);
    let refused = process(&mut holder, &large, Parameters::default()).err();
    // The processor does not do 16 bits: what `auto` falls back to is asked for nothing.
    let fell_back = match bench.network.precision {
        Some(Precision::Fp16) => None,
        _ => Some(process(&mut auto, &large, Parameters::default()).map(|_| auto.backend_name())),
    };
    let count = held.len();
    drop(held);
    process(&mut holder, &tiny, Parameters::default())?;
    Ok(match (refused, fell_back) {
        (Some(e), _) if !matches!(e.kind(), ErrorKind::OutOfMemory | ErrorKind::BackendFailed) => {
            Failed(format!("{:?}: {e}", e.kind()))
        }
        (None, _) => Failed("frames go through a full GPU".into()),
        (_, Some(Err(e))) => Failed(format!("auto on {before} does not fall back: {e}")),
        (_, Some(Ok(name))) if name != "cpu" => Failed(format!("auto stays on {name}")),
        _ => Passed(format!("after {count} frames of device memory, and again without them")),
    })
}
