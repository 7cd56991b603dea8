//! One frame through the network, stage by stage.

use std::time::Instant;

use super::parameters::Plan;
use super::report::{Report, Stage, StageTimes};
use super::step::Step;
use crate::error::Result;
use crate::frame::{Frame, FrameMut};

/// A quantity of the network that can be read back. Names are those of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantity {
    /// The input I: R'G'B', 0 to 1.
    Image,
    /// The auxiliary reflectance P, 3 channels.
    P,
    /// The auxiliary illumination Q, 1 channel.
    Q,
    /// The reflectance R, 3 channels.
    R,
    /// The illumination L, 1 channel.
    L,
    /// The adjusted illumination L', 1 channel.
    Adjusted,
}

/// The stages of the network for frames of one size. The implementation executes them; their order is that of
/// `stages::steps`.
pub trait Stages {
    /// Reads a frame as I; returns its mean luma, 0 to 1.
    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32>;

    /// Executes one step: [`Step::Adjust`] with the plan's ratio, [`Step::Fuse`] with as much of the memory as it says.
    fn run(&mut self, step: Step, plan: &Plan) -> Result<()>;

    /// Whether the last [`Step::Fuse`] found another scene than that of the frame before.
    fn cut(&self) -> bool {
        false
    }

    /// The standard deviation of the stream's noise at a luma from 0 to 1, in codes of 8 bits, where it is known.
    fn noise(&self, _luma: f32) -> Option<f32> {
        None
    }

    /// Writes `input + strength · (clamp(L'·R, 0, 1) − input)`; returns its mean luma, 0 to 1.
    fn compose(&mut self, input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32>;

    /// A quantity as it stands: channel by channel, row by row, at the working size without padding.
    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>>;

    /// The time of each stage since the last call, from a device that measures them itself; `None` if the calls return
    /// when their work is done.
    fn measured(&mut self) -> Result<Option<StageTimes>> {
        Ok(None)
    }
}

/// Called after each step, for tests and for references: `None` after ingest.
type Watcher<'a, S> = dyn FnMut(&mut S, Option<Step>) -> Result<()> + 'a;

/// Takes one frame through `steps`, and measures each stage.
pub(crate) fn unfold<S: Stages + ?Sized>(
    stages: &mut S,
    steps: &[Step],
    input: &Frame<'_>,
    plan: &Plan,
    output: &mut FrameMut<'_>,
) -> Result<Report> {
    unfold_watched(stages, steps, input, plan, output, &mut |_, _| Ok(()))
}

/// As [`unfold`]; `watcher` sees the stages after ingest and after each step, its time counted towards none.
pub(crate) fn unfold_watched<S: Stages + ?Sized>(
    stages: &mut S,
    steps: &[Step],
    input: &Frame<'_>,
    plan: &Plan,
    output: &mut FrameMut<'_>,
    watcher: &mut Watcher<'_, S>,
) -> Result<Report> {
    let mut report = Report::default();
    let started = Instant::now();
    report.luma_in = stages.ingest(input)?;
    report.stages[Stage::Ingest as usize] += started.elapsed();
    watcher(stages, None)?;
    for &step in steps {
        let started = Instant::now();
        stages.run(step, plan)?;
        report.stages[step.stage() as usize] += started.elapsed();
        watcher(stages, Some(step))?;
    }
    let started = Instant::now();
    report.luma_out = stages.compose(input, plan.parameters.strength, output)?;
    report.stages[Stage::Compose as usize] += started.elapsed();
    report.cut = stages.cut();
    report.noise = stages.noise(report.luma_in);
    if let Some(times) = stages.measured()? {
        report.stages = times;
    }
    Ok(report)
}
