//! The stages on the processor for frames of one size.

use std::sync::Arc;

use crate::backend::{Executor, Geometry};
use crate::cpu::capabilities::Capabilities;
use crate::cpu::colour::{Guide, Planes, Reduce, Relit, compose, ingest};
use crate::cpu::engine::Workspace;
use crate::cpu::fusion::Fusion;
use crate::cpu::networks::Networks;
use crate::cpu::threads::Pool;
use crate::cpu::update::update;
use crate::error::Result;
use crate::frame::{Frame, FrameMut};
use crate::pack::{Precisions, Subnetwork};
use crate::stages::{Plan, Quantity, Report, Stages, Step, steps_through_time, unfold};

/// Networks, and the memory that frames of one size take.
pub(crate) struct CpuExecutor {
    networks: Arc<Networks>,
    steps: Arc<[Step]>,
    steps_through_time: Arc<[Step]>,
    precisions: Precisions,
    capabilities: Capabilities,
    pool: Pool,
    geometry: Geometry,
    workspace: Workspace,
    image: Planes,
    /// R; after a round in one go `L'·R`.
    r: Planes,
    /// L, in whose place the fusion works before it.
    l: Planes,
    /// What only subnetworks that run apart need, from the first time on.
    apart: Option<Apart>,
    /// The ratio of a round in one go, whose result is in `r`.
    lit: Option<f32>,
    /// The way to the working size and back, if that is not the frame's own.
    reduce: Option<Reduce>,
    guide: Option<Guide>,
    fusion: Fusion,
    cut: bool,
}

/// What subnetworks that run apart hand to each other.
struct Apart {
    p: Planes,
    q: Planes,
    adjusted: Planes,
}

impl Apart {
    fn bytes(&self) -> usize {
        let planes = [&self.p, &self.q, &self.adjusted];
        planes.iter().map(|p| 4 * p.data.len()).sum()
    }
}

impl CpuExecutor {
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(
        networks: Arc<Networks>,
        steps: Arc<[Step]>,
        geometry: &Geometry,
        precisions: Precisions,
        capabilities: Capabilities,
        pool: Pool,
    ) -> Result<Self> {
        let planes = |channels| Planes::new(channels, geometry.padded);
        let (steps, through_time) = match networks.have_round() {
            true => ([Step::Round].into(), [Step::Fuse, Step::Round].into()),
            false => (steps, steps_through_time().into()),
        };
        Ok(Self {
            workspace: networks.workspace(geometry.padded, pool.threads())?,
            networks,
            steps,
            steps_through_time: through_time,
            precisions,
            capabilities,
            pool,
            geometry: *geometry,
            image: planes(3)?,
            r: planes(3)?,
            l: planes(1)?,
            apart: None,
            lit: None,
            reduce: Reduce::new(geometry)?,
            guide: Guide::new(geometry)?,
            fusion: Fusion::new(geometry.padded)?,
            cut: false,
        })
    }
}

impl CpuExecutor {
    /// Executes a step of one subnetwork, or the update.
    fn run_apart(&mut self, step: Step, ratio: f32) -> Result<()> {
        if self.apart.is_none() {
            let planes = |channels| Planes::new(channels, self.geometry.padded);
            self.apart = Some(Apart {
                p: planes(3)?,
                q: planes(1)?,
                adjusted: planes(1)?,
            });
        }
        let Self {
            networks,
            pool,
            workspace,
            image,
            r,
            l,
            apart: Some(Apart { p, q, adjusted }),
            ..
        } = self
        else {
            return Ok(());
        };
        self.lit = None;
        match step {
            Step::Decompose => {
                let inputs = [&image.data[..]];
                networks.run(Subnetwork::Decomposition, pool, workspace, inputs, [p, q])
            }
            Step::Update { gamma, lambda } => {
                update(pool, self.capabilities, gamma, lambda, image, r, l, p, q);
                Ok(())
            }
            Step::Restore => {
                let inputs = [&p.data[..], &q.data[..]];
                networks.run(Subnetwork::Restoration, pool, workspace, inputs, [r])
            }
            Step::Illuminate => {
                let inputs = [&q.data[..]];
                networks.run(Subnetwork::Illumination, pool, workspace, inputs, [l])
            }
            Step::Adjust => {
                let inputs = [&l.data[..], &[ratio]];
                networks.run(Subnetwork::Adjustment, pool, workspace, inputs, [adjusted])
            }
            Step::Fuse | Step::Round => Ok(()),
        }
    }

    /// Takes the planes of I `[3, h, w]`, of the working size, in the place of a frame.
    pub fn fill(&mut self, image: &[f32]) {
        self.image.fill(self.geometry.working, image);
    }

    /// The rows of a frame as it stands after the subnetworks have run apart, without padding: of I and R each channel, and of
    /// L'.
    pub fn rows(&self) -> impl Iterator<Item = [&[f32]; 7]> {
        let (width, height) = self.geometry.working;
        let adjusted = self.apart.as_ref().map(|apart| &apart.adjusted);
        (0..height).map(move |y| {
            let row = |planes, c| &Planes::row(planes, c, y)[..width];
            let (i, r) = (&self.image, &self.r);
            [
                row(i, 0),
                row(i, 1),
                row(i, 2),
                row(r, 0),
                row(r, 1),
                row(r, 2),
                adjusted.map_or(&[], |adjusted| row(adjusted, 0)),
            ]
        })
    }
}

impl Stages for CpuExecutor {
    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32> {
        Ok(ingest(
            &self.pool,
            self.capabilities,
            input,
            &self.geometry,
            self.reduce.as_ref(),
            &mut self.image,
        ))
    }

    fn run(&mut self, step: Step, plan: &Plan) -> Result<()> {
        let Self {
            networks,
            pool,
            workspace,
            image,
            r,
            l,
            fusion,
            ..
        } = self;
        match step {
            Step::Fuse => {
                // L is of the frame before, and not needed any more.
                let temporal = plan.parameters.temporal;
                self.cut = match plan.repeated && fusion.repeat(image) {
                    true => false,
                    false => fusion.fuse(pool, self.capabilities, image, l, temporal),
                };
                Ok(())
            }
            Step::Round => {
                self.lit = Some(plan.parameters.ratio);
                networks.run_round(pool, workspace, image, plan.parameters.ratio, r)
            }
            _ => self.run_apart(step, plan.parameters.ratio),
        }
    }

    fn cut(&self) -> bool {
        self.cut
    }

    fn noise(&self, luma: f32) -> Option<f32> {
        self.fusion.noise(luma)
    }

    fn compose(&mut self, input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32> {
        let adjusted = match self.lit {
            Some(_) => None,
            None => self.apart.as_ref().map(|apart| &apart.adjusted),
        };
        let relit = match &mut self.guide {
            None => Relit::Native(&self.r, adjusted),
            Some(guide) => {
                guide.fit(&self.pool, self.capabilities, &self.image, &self.r, adjusted);
                Relit::Guided(guide)
            }
        };
        Ok(compose(&self.pool, self.capabilities, input, relit, strength, output))
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        let working = self.geometry.working;
        if quantity == Quantity::Image {
            return Ok(self.image.crop(working));
        }
        // A round in one go leaves no more than its result.
        if let Some(ratio) = self.lit {
            for step in Step::OF_ROUND {
                self.run_apart(step, ratio)?;
            }
        }
        let planes = match (quantity, &self.apart) {
            (Quantity::P, Some(apart)) => &apart.p,
            (Quantity::Q, Some(apart)) => &apart.q,
            (Quantity::Adjusted, Some(apart)) => &apart.adjusted,
            (Quantity::R, _) => &self.r,
            (Quantity::L, _) => &self.l,
            // Before the first frame.
            _ => &self.image,
        };
        Ok(planes.crop(working))
    }
}

impl Executor for CpuExecutor {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn remembers(&self) -> bool {
        true
    }

    fn precisions(&self) -> Precisions {
        self.precisions
    }

    fn bytes(&self) -> usize {
        let planes = [&self.image, &self.r, &self.l];
        let planes: usize = planes.iter().map(|p| 4 * p.data.len()).sum();
        let apart = self.apart.as_ref().map_or(0, Apart::bytes);
        let ways = self.guide.as_ref().map_or(0, Guide::bytes) + self.reduce.as_ref().map_or(0, Reduce::bytes);
        self.workspace.bytes() + planes + apart + self.fusion.bytes() + ways
    }

    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, plan: &Plan) -> Result<Report> {
        let through_time = plan.parameters.temporal > 0.0;
        if plan.fresh || !through_time {
            self.fusion.forget();
        }
        self.fusion.remember(&mut self.image);
        self.cut = false;
        let steps = match through_time {
            true => self.steps_through_time.clone(),
            false => self.steps.clone(),
        };
        unfold(self, &steps, input, plan, output)
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        Stages::read(self, quantity)
    }
}
