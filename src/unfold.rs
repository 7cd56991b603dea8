//! The order of the stages: decomposition, T rounds, adjustment. Written once, for every backend.

use std::time::Instant;

use crate::backend::Backend;
use crate::error::Result;
use crate::frame::{Frame, FrameMut};
use crate::pack::Schedule;
use crate::stage::{Parameters, Report, Stage};

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
    between(backend, schedule, parameters.ratio, &mut |stage| clock.lap(stage))?;
    let luma_out = backend.compose(input, parameters.strength, output)?;
    clock.lap(Stage::Compose);
    report.luma_in = luma_in;
    report.luma_out = luma_out;
    if let Some(stages) = backend.stage_times()? {
        report.stages = stages;
    }
    Ok(report)
}

/// Has a backend record a frame whose addresses and strides are multiples of `alignment` bytes.
pub(crate) fn record(backend: &mut dyn Backend, schedule: &Schedule, alignment: u32) -> Result<()> {
    match record_stages(backend, schedule, alignment) {
        Err(error) if backend.replay().is_some_and(|replay| replay.abandon(&error)) => {
            let again = record_stages(backend, schedule, alignment);
            if let (Err(error), Some(replay)) = (&again, backend.replay()) {
                replay.abandon(error);
            }
            again
        }
        outcome => outcome,
    }
}

fn record_stages(backend: &mut dyn Backend, schedule: &Schedule, alignment: u32) -> Result<()> {
    let Some(replay) = backend.replay() else { return Ok(()) };
    replay.begin(alignment)?;
    between(backend, schedule, Parameters::default().ratio, &mut |_| ())?;
    backend.replay().map_or(Ok(()), |replay| replay.end())
}

/// The stages between ingest and compose.
fn between(backend: &mut dyn Backend, schedule: &Schedule, ratio: f32, done: &mut dyn FnMut(Stage)) -> Result<()> {
    backend.decompose()?;
    done(Stage::Decompose);
    for round in 0..schedule.rounds {
        if round > 0 {
            backend.update(schedule.gamma(round), schedule.lambda(round))?;
            done(Stage::Update);
        }
        backend.restore()?;
        done(Stage::Restore);
        backend.illuminate()?;
        done(Stage::Illuminate);
    }
    backend.adjust(ratio)?;
    done(Stage::Adjust);
    Ok(())
}
