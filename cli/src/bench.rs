//! `uretinex bench`: how fast the network runs here.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::json;
use uretinex::{
    Colorimetry, DeviceFrameBuffer, Enhancer, FrameSpec, Parameters, PixelFormat, Precision, Report, Stage, Subnetwork,
};

use crate::night::{Picture, Scene};
use crate::options::{self, NetworkArgs};
use crate::ready;

/// Measure the network on synthetic dark, noisy NV12 frames
///
/// Frames are made beforehand and the first ones are not counted. Times are medians; frames/s is the number of frames
/// over the time from the first to the last; GFLOP/s counts two operations for each multiplication of the model pack's
/// convolutions over the median of the whole frame. On a GPU the stages are measured afterwards, one by one, and the
/// whole frame as one graph. Memory is what the processor's backend holds for frames of the size, without weights.
#[derive(clap::Args)]
pub struct Args {
    /// Model pack: `full`, `lite`, `auto` (`lite`) or a pack's folder
    #[arg(long, value_name = "NAME|DIR", default_value = "auto")]
    model: String,
    /// Size of the frames
    #[arg(long, value_name = "WxH", default_value = "640x360", value_parser = options::size)]
    size: (usize, usize),
    /// Frames to measure
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: u32,
    /// Where frames come from and go to
    #[arg(long, value_enum, default_value_t = Memory::System)]
    memory: Memory,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

/// Where frames are.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Memory {
    /// In system memory; on a GPU several are under way at once
    System,
    /// In a GPU's memory
    Device,
}

/// Frames that are not counted: the first allocates, and clocks need a moment to rise.
const WARM_UP: u32 = 3;
/// Different frames, so that no cache holds all of one stage's input.
const DIFFERENT: usize = 4;
/// Frames over which the stages of a GPU are measured, at most.
const STAGED: u32 = 50;

/// What was measured.
struct Measured {
    reports: Vec<Report>,
    elapsed: Duration,
    /// Where the stages were measured apart.
    staged: Option<Vec<Report>>,
}

pub fn run(args: &Args) -> Result<ExitCode, String> {
    let measured = |e: uretinex::Error| e.to_string();
    let (width, height) = args.size;
    let spec = FrameSpec {
        format: PixelFormat::Nv12,
        width,
        height,
        colorimetry: Colorimetry::default(),
    };
    spec.validate().map_err(measured)?;
    let frames: Vec<_> = (0..DIFFERENT as u32)
        .map(|seed| Picture::new(spec, Scene::Night, seed))
        .collect();
    let mut enhancer = Enhancer::new(&args.network.options(&args.model)).map_err(measured)?;
    ready::prepare(&mut enhancer, &spec).map_err(measured)?;
    let bar = ProgressBar::new((WARM_UP + args.frames).into());
    let outcome = match args.memory {
        Memory::System => from_system(&mut enhancer, &frames, args.frames, &bar),
        Memory::Device => from_device(&mut enhancer, &frames, args.frames, &bar),
    };
    bar.finish_and_clear();
    let outcome = outcome.map_err(measured)?;
    report(args, &mut enhancer, &outcome)
}

/// Frames of system memory, as many under way as the backend takes.
fn from_system(
    enhancer: &mut Enhancer,
    frames: &[Picture],
    count: u32,
    bar: &ProgressBar,
) -> uretinex::Result<Measured> {
    let mut bright = frames[0].clone();
    let mut reports = Vec::with_capacity(count as usize);
    let depth = enhancer.depth();
    let mut started = Instant::now();
    let (mut sent, mut received) = (0, 0);
    let all = WARM_UP + count;
    while received < all {
        while sent < all && enhancer.pending() < depth {
            // The clock starts with nothing under way.
            if sent == WARM_UP {
                if enhancer.pending() > 0 {
                    break;
                }
                started = Instant::now();
            }
            if depth == 1 {
                let input = frames[sent as usize % DIFFERENT].frame()?;
                reports.push(enhancer.process(&input, &mut bright.frame_mut()?, Parameters::default())?);
                (sent, received) = (sent + 1, received + 1);
                bar.inc(1);
                continue;
            }
            enhancer.submit(&frames[sent as usize % DIFFERENT].frame()?, Parameters::default())?;
            sent += 1;
        }
        if enhancer.pending() > 0 {
            reports.push(enhancer.collect(&mut bright.frame_mut()?)?);
            received += 1;
            bar.inc(1);
        }
    }
    let elapsed = started.elapsed();
    reports.drain(..WARM_UP as usize);
    let staged = if depth > 1 {
        enhancer.time_stages(true);
        let mut staged = Vec::new();
        for i in 0..WARM_UP + count.min(STAGED) {
            let input = frames[i as usize % DIFFERENT].frame()?;
            let report = enhancer.process(&input, &mut bright.frame_mut()?, Parameters::default())?;
            if i >= WARM_UP {
                staged.push(report);
            }
        }
        enhancer.time_stages(false);
        Some(staged)
    } else {
        None
    };
    Ok(Measured {
        reports,
        elapsed,
        staged,
    })
}

/// Frames that are in the GPU's memory and stay there.
fn from_device(
    enhancer: &mut Enhancer,
    frames: &[Picture],
    count: u32,
    bar: &ProgressBar,
) -> uretinex::Result<Measured> {
    let mut inputs: Vec<DeviceFrameBuffer> = Vec::new();
    for frame in frames {
        let mut buffer = enhancer.device_frame(frame.spec())?;
        buffer.fill(&frame.frame()?)?;
        inputs.push(buffer);
    }
    let mut output = enhancer.device_frame(frames[0].spec())?;
    let mut reports = Vec::with_capacity(count as usize);
    let mut started = Instant::now();
    for i in 0..WARM_UP + count {
        if i == WARM_UP {
            started = Instant::now();
        }
        let input = &inputs[i as usize % DIFFERENT];
        let report = enhancer.process_buffers(input, &mut output, Parameters::default())?;
        if i >= WARM_UP {
            reports.push(report);
        }
        bar.inc(1);
    }
    Ok(Measured {
        reports,
        elapsed: started.elapsed(),
        staged: None,
    })
}

fn report(args: &Args, enhancer: &mut Enhancer, measured: &Measured) -> Result<ExitCode, String> {
    let (width, height) = args.size;
    let total = median(&measured.reports, |r| r.total);
    let staged = measured.staged.as_ref().unwrap_or(&measured.reports);
    let stages = Stage::ALL.map(|stage| (stage.name(), median(staged, |r| r.stages[stage as usize])));
    let frames_per_second = f64::from(args.frames) / measured.elapsed.as_secs_f64();
    let (work_width, work_height) = enhancer.geometry().map_or(args.size, |g| g.working);
    let mac = match enhancer.backend_name() {
        "identity" => 0.0,
        _ => enhancer.model().mac_per_pixel * (work_width * work_height) as f64,
    };
    let busy = match &measured.staged {
        // With several frames under way, a frame's own time is not what the networks had.
        Some(_) => 1e3 / frames_per_second,
        None => total,
    };
    let gflops = 2.0 * mac / (busy * 1e-3) / 1e9;
    let bytes_per_pixel = enhancer.bytes() as f64 / (width * height) as f64;
    let model = enhancer.model().name.clone();
    let version = enhancer.model().version.clone();
    let backend = enhancer.backend_name();
    let precisions = enhancer.precisions();
    // Where the stages run on a GPU: the update's share of what a copy gives.
    let update = stages[Stage::Update as usize].1 * 1e-3;
    let rounds = f64::from(enhancer.model().schedule.rounds.saturating_sub(1));
    let figures = match measured.staged {
        Some(_) => enhancer.gpu_figures().ok(),
        None => None,
    };
    let bandwidth = figures.map(|f| (f.update_bytes as f64 * rounds / update.max(1e-9), f.copy_bandwidth));

    if args.json {
        let mut milliseconds = serde_json::Map::from_iter([("total".to_string(), json!(total))]);
        milliseconds.extend(stages.map(|(name, ms)| (name.to_string(), json!(ms))));
        let object = json!({
            "model": model,
            "version": version,
            "backend": backend,
            "precision": precisions.uniform().map_or("mixed", Precision::name),
            "precisions": serde_json::Map::from_iter(
                Subnetwork::ALL.map(|which| (which.name().to_string(), json!(precisions.of(which).name()))),
            ),
            "memory": match args.memory { Memory::System => "system", Memory::Device => "device" },
            "width": width,
            "height": height,
            "working_width": work_width,
            "working_height": work_height,
            "frames": args.frames,
            "frames_per_second": frames_per_second,
            "milliseconds": milliseconds,
            "gflops": gflops,
            "update_bytes_per_second": bandwidth.map(|b| b.0),
            "copy_bytes_per_second": bandwidth.map(|b| b.1),
            "bytes_per_pixel": bytes_per_pixel,
        });
        crate::print(&format!("{object}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = format!("{model} on {backend} in {precisions}, NV12 {width}x{height}");
    if (work_width, work_height) != args.size {
        report += &format!(" (networks at {work_width}x{work_height})");
    }
    if args.memory == Memory::Device {
        report += ", frames in device memory";
    }
    report += &format!(", median of {} frames\n", args.frames);
    let sum: f64 = stages.iter().map(|(_, ms)| ms).sum();
    if sum > 0.0 {
        for (name, ms) in stages {
            report += &format!("  {name:<12}{ms:>10.2} ms  {:>4.0} %\n", 100.0 * ms / sum);
        }
    }
    report += &format!("  {:<12}{total:>10.2} ms\n", "total");
    if let Some((update, copy)) = bandwidth {
        report += &format!(
            "update moves {:.0} GB/s, {:.0} % of a copy's {:.0} GB/s\n",
            update / 1e9,
            100.0 * update / copy,
            copy / 1e9
        );
    }
    report += &format!("{frames_per_second:.2} frames/s, {gflops:.1} GFLOP/s");
    if bytes_per_pixel > 0.0 {
        report += &format!(", {bytes_per_pixel:.0} bytes of memory per pixel");
    }
    report += "\n";
    crate::print(&report)?;
    Ok(ExitCode::SUCCESS)
}

/// The median of a time, in milliseconds.
fn median(reports: &[Report], time: impl Fn(&Report) -> Duration) -> f64 {
    let mut times: Vec<_> = reports.iter().map(|r| time(r).as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    if times.len() % 2 == 1 {
        times[middle]
    } else {
        (times[middle - 1] + times[middle]) / 2.0
    }
}
