//! The figures of a measurement, as a table or as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use uretinex::{Enhancer, Precision, Precisions, Stage, Subnetwork};

use super::arguments::{Args, Memory};
use super::measure::{Measured, Timed};

/// What is reported of a measurement.
pub struct Figures {
    model: String,
    version: String,
    backend: &'static str,
    precisions: Precisions,
    memory: Memory,
    size: (usize, usize),
    /// The size that the networks see.
    working: (usize, usize),
    frames: u32,
    frames_per_second: f64,
    /// The median time of a whole frame, in milliseconds.
    total: f64,
    /// The median time of each stage, in milliseconds.
    stages: [(&'static str, f64); Stage::ALL.len()],
    gflops: f64,
    bytes_per_pixel: f64,
    /// Where the stages run on a GPU: the bytes per second of the update and of a copy.
    bandwidth: Option<(f64, f64)>,
}

impl Figures {
    pub fn new(args: &Args, enhancer: &Enhancer, measured: &Measured) -> Self {
        let (width, height) = args.size;
        let total = median(&measured.frames, |f| f.total);
        let staged = measured.staged.as_ref().unwrap_or(&measured.frames);
        let stages = Stage::ALL.map(|stage| (stage.name(), median(staged, |f| f.report.stages[stage as usize])));
        let frames_per_second = f64::from(args.frames) / measured.elapsed.as_secs_f64();
        let working = enhancer.geometry().map_or(args.size, |g| g.working);
        let manifest = enhancer.model();
        let mac = match enhancer.backend_name() {
            "identity" => 0.0,
            _ => manifest.mac_per_pixel * (working.0 * working.1) as f64,
        };
        let busy = match measured.staged {
            // With several frames pending, the device works on one while the caller waits for another.
            Some(_) => 1e3 / frames_per_second,
            None => total,
        };
        let update = stages[Stage::Update as usize].1 * 1e-3;
        let updates = f64::from(manifest.schedule.rounds.saturating_sub(1));
        let figures = match measured.staged {
            Some(_) => enhancer.memory_figures().ok(),
            None => None,
        };
        Self {
            model: manifest.name.clone(),
            version: manifest.version.clone(),
            backend: enhancer.backend_name(),
            precisions: enhancer.precisions(),
            memory: args.memory,
            size: args.size,
            working,
            frames: args.frames,
            frames_per_second,
            total,
            stages,
            gflops: 2.0 * mac / (busy * 1e-3) / 1e9,
            bytes_per_pixel: enhancer.bytes() as f64 / (width * height) as f64,
            bandwidth: figures.map(|f| (f.update_bytes as f64 * updates / update.max(1e-9), f.copy_bandwidth)),
        }
    }

    pub fn json(&self) -> serde_json::Value {
        let mut milliseconds = serde_json::Map::from_iter([("total".to_string(), json!(self.total))]);
        milliseconds.extend(self.stages.map(|(name, ms)| (name.to_string(), json!(ms))));
        json!({
            "model": self.model,
            "version": self.version,
            "backend": self.backend,
            "precision": self.precisions.uniform().map_or("mixed", Precision::name),
            "precisions": serde_json::Map::from_iter(
                Subnetwork::ALL.map(|which| (which.name().to_string(), json!(self.precisions.of(which).name()))),
            ),
            "memory": match self.memory { Memory::System => "system", Memory::Device => "device" },
            "width": self.size.0,
            "height": self.size.1,
            "working_width": self.working.0,
            "working_height": self.working.1,
            "frames": self.frames,
            "frames_per_second": self.frames_per_second,
            "milliseconds": milliseconds,
            "gflops": self.gflops,
            "update_bytes_per_second": self.bandwidth.map(|b| b.0),
            "copy_bytes_per_second": self.bandwidth.map(|b| b.1),
            "bytes_per_pixel": self.bytes_per_pixel,
        })
    }

    pub fn text(&self) -> String {
        let ((width, height), working) = (self.size, self.working);
        let mut text = format!(
            "{} on {} in {}, NV12 {width}x{height}",
            self.model, self.backend, self.precisions
        );
        if working != self.size {
            let _ = write!(text, " (networks at {}x{})", working.0, working.1);
        }
        if self.memory == Memory::Device {
            text += ", frames in device memory";
        }
        let _ = writeln!(text, ", median of {} frames", self.frames);
        let sum: f64 = self.stages.iter().map(|(_, ms)| ms).sum();
        if sum > 0.0 {
            for (name, ms) in self.stages {
                let _ = writeln!(text, "  {name:<12}{ms:>10.2} ms  {:>4.0} %", 100.0 * ms / sum);
            }
        }
        let _ = writeln!(text, "  {:<12}{:>10.2} ms", "total", self.total);
        if let Some((update, copy)) = self.bandwidth {
            let _ = writeln!(
                text,
                "update moves {:.0} GB/s, {:.0} % of a copy's {:.0} GB/s",
                update / 1e9,
                100.0 * update / copy,
                copy / 1e9
            );
        }
        let _ = write!(
            text,
            "{:.2} frames/s, {:.1} GFLOP/s",
            self.frames_per_second, self.gflops
        );
        if self.bytes_per_pixel > 0.0 {
            let _ = write!(text, ", {:.0} bytes of memory per pixel", self.bytes_per_pixel);
        }
        text + "\n"
    }
}

/// The median of a time, in milliseconds.
fn median(frames: &[Timed], time: impl Fn(&Timed) -> Duration) -> f64 {
    let mut times: Vec<_> = frames.iter().map(|f| time(f).as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    if times.len() % 2 == 1 {
        times[middle]
    } else {
        (times[middle - 1] + times[middle]) / 2.0
    }
}
