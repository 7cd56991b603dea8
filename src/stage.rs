//! The stages of a frame's way, what may change with every frame, and what a frame took.

use std::time::Duration;

/// A stage of a frame's way, for timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stage {
    Ingest,
    Decompose,
    Update,
    Restore,
    Illuminate,
    Adjust,
    Compose,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Stage; 7] = [
        Stage::Ingest,
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
            Stage::Decompose => "decompose",
            Stage::Update => "update",
            Stage::Restore => "restore",
            Stage::Illuminate => "illuminate",
            Stage::Adjust => "adjust",
            Stage::Compose => "compose",
        }
    }
}

/// What may change with every frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// How bright: 1 leaves brightness alone, 1 to 20.
    pub ratio: f32,
    /// How much of the result is blended over the input, 0 to 1.
    pub strength: f32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            ratio: 4.0,
            strength: 1.0,
        }
    }
}

/// What one frame took and what it looked like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// Time spent in each of [`Stage::ALL`], over all rounds.
    pub stages: [Duration; Stage::ALL.len()],
    /// Time from the first stage to the last.
    pub total: Duration,
    /// Mean luma of the input, 0 to 1.
    pub luma_in: f32,
    /// Mean luma of the output, 0 to 1.
    pub luma_out: f32,
}
