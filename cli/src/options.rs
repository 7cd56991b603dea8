//! The options that sub-commands share.

use std::path::PathBuf;

use clap::ValueEnum;
use uretinex::{BackendChoice, Options, Precision, RATIO_RANGE};

/// How the network is run.
#[derive(clap::Args)]
pub struct NetworkArgs {
    /// Where the work is done
    #[arg(long, value_enum, default_value_t = BackendArg::Auto)]
    backend: BackendArg,
    /// Number format of the networks' arithmetic
    #[arg(long, value_enum, default_value_t = PrecisionArg::Auto)]
    precision: PrecisionArg,
    /// Threads for the work on the processor; 0 is one for every core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// The GPU, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    device_id: u32,
    /// Where a GPU's engines are kept; without it as URETINEX_ENGINE_CACHE or the XDG cache folder says
    #[arg(long, value_name = "DIR")]
    engine_cache: Option<PathBuf>,
    /// At most this many pixels go through the networks, the result is brought back to full size; 0 is all of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_pixels: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum BackendArg {
    /// The best that works on this machine
    Auto,
    /// The processor
    Cpu,
    /// An NVIDIA GPU through TensorRT
    Tensorrt,
    /// No network: colour conversion there and back, to measure what it costs
    Identity,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum PrecisionArg {
    /// On a GPU 16 bits if their numbers come near those of 32, on the processor 32 bits
    Auto,
    Fp32,
    Fp16,
}

impl From<PrecisionArg> for Option<Precision> {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::Auto => None,
            PrecisionArg::Fp32 => Some(Precision::Fp32),
            PrecisionArg::Fp16 => Some(Precision::Fp16),
        }
    }
}

impl NetworkArgs {
    /// The library's options for these arguments and a model.
    pub fn options(&self, model: &str) -> Options {
        Options {
            model: model.into(),
            backend: match self.backend {
                BackendArg::Auto => BackendChoice::Auto,
                BackendArg::Cpu => BackendChoice::Cpu,
                BackendArg::Tensorrt => BackendChoice::TensorRt,
                BackendArg::Identity => BackendChoice::Identity,
            },
            precision: self.precision.into(),
            threads: self.threads,
            device_id: self.device_id,
            engine_cache: self.engine_cache.clone(),
            max_pixels: self.max_pixels,
            ..Options::default()
        }
    }
}

/// A ratio within the library's range.
pub fn ratio(text: &str) -> Result<f32, String> {
    within(text, *RATIO_RANGE.start(), *RATIO_RANGE.end())
}

/// A strength between 0 and 1.
pub fn strength(text: &str) -> Result<f32, String> {
    within(text, 0.0, 1.0)
}

fn within(text: &str, least: f32, greatest: f32) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (least..=greatest).contains(&value) => Ok(value),
        _ => Err(format!("has to be a number from {least} to {greatest}")),
    }
}

/// A size such as `640x360`.
pub fn size(text: &str) -> Result<(usize, usize), String> {
    let side = |s: &str| s.parse().ok();
    text.split_once(['x', 'X', '×'])
        .and_then(|(w, h)| Some((side(w)?, side(h)?)))
        .ok_or_else(|| "has to be WIDTHxHEIGHT, such as 640x360".into())
}
