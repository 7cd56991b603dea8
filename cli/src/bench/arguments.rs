//! What `uretinex bench` takes.

use crate::options::{self, NetworkArgs};

/// Measure the network on synthetic dark, noisy NV12 frames
///
/// Frames are made beforehand and the first ones are not counted. Times are medians. The time of a whole frame, `total`, is
/// what the calling thread spends on it: in processing it or, where several frames are pending at once, in submitting and
/// in collecting it. frames/s is the number of frames over the time from the first to the last. GFLOP/s counts two
/// operations for each multiplication of the model pack's convolutions, over the time of a whole frame or, with several
/// frames pending, over that from one frame to the next. On a GPU the stages are measured afterwards, one by one, and the
/// whole frame as one graph. Memory is what the processor's backend holds for frames of the size, without weights.
#[derive(clap::Args)]
pub struct Args {
    /// Model pack: `full`, `lite`, `video`, `auto` (`video`) or a pack's folder
    #[arg(long, value_name = "NAME|DIR", default_value = "auto")]
    pub(super) model: String,
    /// Size of the frames
    #[arg(long, value_name = "WxH", default_value = "640x360", value_parser = options::size)]
    pub(super) size: (usize, usize),
    /// Frames to measure
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) frames: u32,
    /// How much of the frames before goes into a frame, 0 to 1
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = options::strength)]
    pub(super) temporal: f32,
    /// Where frames come from and go to
    #[arg(long, value_enum, default_value_t = Memory::System)]
    pub(super) memory: Memory,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
}

/// Where frames are.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Memory {
    /// In system memory; on a GPU several are pending at once
    System,
    /// In a GPU's memory
    Device,
}
