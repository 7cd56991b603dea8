//! The order of the stages: decomposition, T rounds, adjustment. Written once, for every backend.

use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::error::Result;
use crate::frame::{Frame, FrameMut};
use crate::pack::Schedule;

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

/// Adds the time since the last lap to a stage.
struct Clock<'a> {
    report: &'a mut Report,
    start: Instant,
    last: Instant,
}

impl Clock<'_> {
    fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        self.report.stages[stage as usize] += now - self.last;
        self.report.total = now - self.start;
        self.last = now;
    }
}

/// Takes one frame through the network: URetinex-Net (CVPR 2022), section 3, with weights γ and λ that grow by a
/// step each round.
pub(crate) fn unfold(
    backend: &mut dyn Backend,
    schedule: &Schedule,
    input: &Frame<'_>,
    parameters: Parameters,
    output: &mut FrameMut<'_>,
) -> Result<Report> {
    let mut report = Report::default();
    let start = Instant::now();
    let mut clock = Clock {
        report: &mut report,
        start,
        last: start,
    };
    let luma_in = backend.ingest(input)?;
    clock.lap(Stage::Ingest);
    backend.decompose()?;
    clock.lap(Stage::Decompose);
    for round in 0..schedule.rounds {
        if round > 0 {
            backend.update(schedule.gamma(round), schedule.lambda(round))?;
            clock.lap(Stage::Update);
        }
        backend.restore()?;
        clock.lap(Stage::Restore);
        backend.illuminate()?;
        clock.lap(Stage::Illuminate);
    }
    backend.adjust(parameters.ratio)?;
    clock.lap(Stage::Adjust);
    let luma_out = backend.compose(input, parameters.strength, output)?;
    clock.lap(Stage::Compose);
    report.luma_in = luma_in;
    report.luma_out = luma_out;
    Ok(report)
}
