//! What is reported of a frame.

use std::time::Duration;

/// A stage of a frame, for timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stage {
    Ingest,
    Fuse,
    Decompose,
    Update,
    Restore,
    Illuminate,
    Adjust,
    Compose,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 8] = [
        Stage::Ingest,
        Stage::Fuse,
        Stage::Decompose,
        Stage::Update,
        Stage::Restore,
        Stage::Illuminate,
        Stage::Adjust,
        Stage::Compose,
    ];

    /// The name in statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Ingest => "ingest",
            Stage::Fuse => "fuse",
            Stage::Decompose => "decompose",
            Stage::Update => "update",
            Stage::Restore => "restore",
            Stage::Illuminate => "illuminate",
            Stage::Adjust => "adjust",
            Stage::Compose => "compose",
        }
    }
}

/// The time of each of [`Stage::ALL`], summed over the rounds.
pub type StageTimes = [Duration; Stage::ALL.len()];

/// What a backend reports of one frame.
///
/// The report has no total: how long a caller waited for a frame depends on the caller, who measures it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// The time of each stage; zeros where the stages of a frame run as one graph.
    pub stages: StageTimes,
    /// Mean luma of the input, 0 to 1.
    pub luma_in: f32,
    /// Mean luma of the output, 0 to 1.
    pub luma_out: f32,
    /// The ratio that the frame was made with.
    pub ratio: f32,
    /// The frame shows another scene than the one before, so that nothing was taken from the stream's memory.
    pub cut: bool,
    /// The standard deviation of a pixel's noise at the frame's mean luma, in codes of 8 bits, as the stream's memory knows
    /// it. None without a memory, until two frames of a scene were seen, and where the executor does not tell.
    pub noise: Option<f32>,
}
