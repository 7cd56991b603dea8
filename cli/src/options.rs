//! The options that sub-commands share.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use uretinex::{AUTOMATIC, BRIGHTNESS_RANGE, BackendChoice, Options, Precision, RATIO_RANGE};

/// How the network is run.
#[derive(clap::Args)]
pub struct NetworkArgs {
    /// Where the work is done
    #[arg(long, value_enum, default_value_t = BackendArg::Auto)]
    backend: BackendArg,
    /// Number format of the networks' arithmetic
    #[arg(long, value_enum, default_value_t = PrecisionArg::AUTO)]
    precision: PrecisionArg,
    /// Threads for the work on the processor, no more than it has cores; 0 is one for every core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,
    /// The GPU, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    device_id: u32,
    /// Folder of the engine cache [default: the environment variable URETINEX_ENGINE_CACHE, or uretinex/engines in the
    /// user's cache folder]
    #[arg(long, value_name = "DIR")]
    engine_cache: Option<PathBuf>,
    /// At most this many pixels go through the networks, the result is brought back to full size; 0 is all of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_pixels: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum BackendArg {
    /// The fastest that works on this machine
    Auto,
    /// The processor
    Cpu,
    /// An NVIDIA GPU through the project's own kernels, which need the driver alone
    Cuda,
    /// An NVIDIA GPU through TensorRT
    Tensorrt,
    /// No network: colour conversion there and back, to measure what it costs
    Identity,
}

/// A precision by its name, or `auto`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrecisionArg(Option<Precision>);

impl PrecisionArg {
    pub const AUTO: Self = Self(None);

    /// `auto`, then every precision of the library.
    const ALL: [Self; Precision::ALL.len() + 1] = {
        let mut all = [Self::AUTO; Precision::ALL.len() + 1];
        let mut i = 0;
        while i < Precision::ALL.len() {
            all[i + 1] = Self(Some(Precision::ALL[i]));
            i += 1;
        }
        all
    };
}

impl ValueEnum for PrecisionArg {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self.0 {
            None => (
                "auto",
                "On a GPU fp16 for each subnetwork whose results are near those of fp32, on the processor fp32",
            ),
            Some(precision) => (
                precision.name(),
                match precision {
                    Precision::Fp32 => "32-bit floating point",
                    Precision::Fp16 => "16-bit floating point, on a GPU",
                    Precision::Bfp16 => "16-bit block floating point, on a processor with AVX-512 VNNI",
                    Precision::Bf16 => "bfloat16, on a processor with AMX",
                    _ => "",
                },
            ),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl From<PrecisionArg> for Option<Precision> {
    fn from(precision: PrecisionArg) -> Self {
        precision.0
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
                BackendArg::Cuda => BackendChoice::Cuda,
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

/// The most threads that can be asked for.
const MAX_THREADS: usize = 1024;

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if threads <= MAX_THREADS => Ok(threads),
        _ => Err(format!(
            "has to be a number from 0 to {MAX_THREADS}; 0 is one for every core"
        )),
    }
}

/// A ratio within the library's range, or 0 for an automatic one.
pub fn ratio(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(AUTOMATIC) => Ok(AUTOMATIC),
        _ => within(text, *RATIO_RANGE.start(), *RATIO_RANGE.end())
            .map_err(|e| format!("{e}, or 0 for what the scene bears")),
    }
}

/// A brightness within the library's range.
pub fn brightness(text: &str) -> Result<f32, String> {
    within(text, *BRIGHTNESS_RANGE.start(), *BRIGHTNESS_RANGE.end())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_precision_is_taken_by_its_name() {
        for precision in Precision::ALL {
            let found = PrecisionArg::from_str(precision.name(), false).unwrap();
            assert_eq!(Option::from(found), Some(precision), "{precision:?}");
            let value = found.to_possible_value().unwrap();
            assert!(
                value.get_help().is_some_and(|help| !help.to_string().is_empty()),
                "{precision:?}"
            );
        }
        assert_eq!(PrecisionArg::from_str("auto", false), Ok(PrecisionArg::AUTO));
        assert!(PrecisionArg::from_str("int3", false).is_err());
    }
}
