//! `uretinex bench`: how fast the network runs here.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::json;
use uretinex::{
    Colorimetry, Enhancer, Frame, FrameMut, FrameSpec, Parameters, PixelFormat, Plane, PlaneMut, Report, Stage,
};

use crate::options::{self, NetworkArgs};

/// Measure the network on synthetic dark, noisy NV12 frames
///
/// Frames are made beforehand and the first ones are not counted. Times are medians; frames/s is the number of frames
/// over the sum of their times; GFLOP/s counts two operations for each multiplication of the model pack's convolutions
/// over the median of the whole frame. Memory is what the backend holds for frames of the size, without weights.
#[derive(clap::Args)]
pub struct Args {
    /// Model pack: `full`, `lite`, `auto` (`full` on a GPU, `lite` on a processor) or a pack's folder
    #[arg(long, value_name = "NAME|DIR", default_value = "auto")]
    model: String,
    /// Size of the frames
    #[arg(long, value_name = "WxH", default_value = "640x360", value_parser = options::size)]
    size: (usize, usize),
    /// Frames to measure
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frames: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

/// Frames that are not counted: the first allocates, and clocks need a moment to rise.
const WARM_UP: u32 = 3;
/// Different frames, so that no cache holds all of one stage's input.
const DIFFERENT: usize = 4;

pub fn run(args: &Args) -> Result<ExitCode, String> {
    let (width, height) = args.size;
    let spec = FrameSpec {
        format: PixelFormat::Nv12,
        width,
        height,
        colorimetry: Colorimetry::default(),
    };
    spec.validate().map_err(|e| e.to_string())?;
    let frames: Vec<Nv12> = (0..DIFFERENT)
        .map(|seed| Nv12::night(width, height, seed as u32))
        .collect();
    let mut enhancer = Enhancer::new(&args.network.options(&args.model)).map_err(|e| e.to_string())?;
    let mut bright = Nv12::black(width, height);

    let bar = ProgressBar::new((WARM_UP + args.frames).into());
    let mut reports = Vec::with_capacity(args.frames as usize);
    for i in 0..WARM_UP + args.frames {
        let input = Frame::new(spec, &frames[i as usize % DIFFERENT].planes()).map_err(|e| e.to_string())?;
        let mut output = FrameMut::new(spec, bright.planes_mut()).map_err(|e| e.to_string())?;
        let report = enhancer
            .process(&input, &mut output, Parameters::default())
            .map_err(|e| e.to_string())?;
        if i >= WARM_UP {
            reports.push(report);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let total = median(&reports, |r| r.total);
    let stages = Stage::ALL.map(|stage| (stage.name(), median(&reports, |r| r.stages[stage as usize])));
    let elapsed: f64 = reports.iter().map(|r| r.total.as_secs_f64()).sum();
    let frames_per_second = f64::from(args.frames) / elapsed;
    let (work_width, work_height) = enhancer.geometry().map_or(args.size, |g| g.working);
    let counts = enhancer.backend_name() != "identity";
    let mac = if counts {
        enhancer.model().mac_per_pixel * (work_width * work_height) as f64
    } else {
        0.0
    };
    let gflops = 2.0 * mac / (total * 1e-3) / 1e9;
    let bytes_per_pixel = enhancer.bytes() as f64 / (width * height) as f64;
    let model = &enhancer.model().name;
    let backend = enhancer.backend_name();

    if args.json {
        let mut milliseconds = serde_json::Map::from_iter([("total".to_string(), json!(total))]);
        milliseconds.extend(stages.map(|(name, ms)| (name.to_string(), json!(ms))));
        let object = json!({
            "model": model,
            "version": enhancer.model().version,
            "backend": backend,
            "width": width,
            "height": height,
            "working_width": work_width,
            "working_height": work_height,
            "frames": args.frames,
            "frames_per_second": frames_per_second,
            "milliseconds": milliseconds,
            "gflops": gflops,
            "bytes_per_pixel": bytes_per_pixel,
        });
        crate::print(&format!("{object}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = format!("{model} on {backend}, NV12 {width}x{height}");
    if (work_width, work_height) != args.size {
        report += &format!(" (networks at {work_width}x{work_height})");
    }
    report += &format!(", median of {} frames\n", args.frames);
    for (name, ms) in stages {
        report += &format!("  {name:<12}{ms:>10.2} ms  {:>4.0} %\n", 100.0 * ms / total);
    }
    report += &format!("  {:<12}{total:>10.2} ms\n", "total");
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

/// An NV12 frame in memory.
struct Nv12 {
    luma: Vec<u8>,
    chroma: Vec<u8>,
    width: usize,
}

impl Nv12 {
    fn black(width: usize, height: usize) -> Self {
        Self {
            luma: vec![16; width * height],
            chroma: vec![128; width.next_multiple_of(2) * height.div_ceil(2)],
            width,
        }
    }

    /// A dark frame: a faint gradient, a few lamps, and a sensor's noise.
    fn night(width: usize, height: usize, seed: u32) -> Self {
        let mut frame = Self::black(width, height);
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut noise = |span: u32| {
            // xorshift32
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state % span
        };
        for (i, y) in frame.luma.iter_mut().enumerate() {
            let (column, row) = (i % width, i / width);
            let lamp = (column % 97 < 6 && row % 61 < 6) as u32 * 150;
            *y = (18 + (20 * column / width) as u32 + noise(9) + lamp) as u8;
        }
        for c in &mut frame.chroma {
            *c = (124 + noise(9)) as u8;
        }
        frame
    }

    fn planes(&self) -> [Plane<'_>; 2] {
        [
            Plane {
                data: &self.luma,
                stride: self.width,
            },
            Plane {
                data: &self.chroma,
                stride: self.width.next_multiple_of(2),
            },
        ]
    }

    fn planes_mut(&mut self) -> [PlaneMut<'_>; 2] {
        [
            PlaneMut {
                data: &mut self.luma,
                stride: self.width,
            },
            PlaneMut {
                data: &mut self.chroma,
                stride: self.width.next_multiple_of(2),
            },
        ]
    }
}
