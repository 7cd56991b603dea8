//! The stages on the processor for frames of one size.

use std::sync::Arc;

use crate::backend::{Executor, Geometry};
use crate::cpu::capabilities::Capabilities;
use crate::cpu::colour::{Guide, Planes, Relit, compose, ingest};
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
    p: Planes,
    q: Planes,
    r: Planes,
    l: Planes,
    adjusted: Planes,
    guide: Option<Guide>,
    fusion: Fusion,
    cut: bool,
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
        Ok(Self {
            workspace: networks.workspace(geometry.padded, pool.threads())?,
            networks,
            steps,
            steps_through_time: steps_through_time().into(),
            precisions,
            capabilities,
            pool,
            geometry: *geometry,
            image: planes(3)?,
            p: planes(3)?,
            q: planes(1)?,
            r: planes(3)?,
            l: planes(1)?,
            adjusted: planes(1)?,
            guide: match geometry.is_reduced() {
                true => Some(Guide::new(geometry)?),
                false => None,
            },
            fusion: Fusion::new(geometry.padded)?,
            cut: false,
        })
    }
}

impl CpuExecutor {
    /// Takes the planes of I `[3, h, w]`, of the working size, in the place of a frame.
    pub fn fill(&mut self, image: &[f32]) {
        self.image.fill(self.geometry.working, image);
    }

    /// The rows of a frame as it stands, without padding: of I and R each channel, and of L'.
    pub fn rows(&self) -> impl Iterator<Item = [&[f32]; 7]> {
        let (width, height) = self.geometry.working;
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
                row(&self.adjusted, 0),
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
            &mut self.image,
        ))
    }

    fn run(&mut self, step: Step, plan: &Plan) -> Result<()> {
        let Self {
            networks,
            pool,
            workspace,
            image,
            p,
            q,
            r,
            l,
            adjusted,
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
                let inputs = [&l.data[..], &[plan.parameters.ratio]];
                networks.run(Subnetwork::Adjustment, pool, workspace, inputs, [adjusted])
            }
        }
    }

    fn cut(&self) -> bool {
        self.cut
    }

    fn noise(&self, luma: f32) -> Option<f32> {
        self.fusion.noise(luma)
    }

    fn compose(&mut self, input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32> {
        let relit = match &mut self.guide {
            None => Relit::Native(&self.r, Some(&self.adjusted)),
            Some(guide) => {
                guide.fit(&self.pool, self.capabilities, &self.image, &self.r, &self.adjusted);
                Relit::Guided(guide)
            }
        };
        Ok(compose(&self.pool, self.capabilities, input, relit, strength, output))
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        let planes = match quantity {
            Quantity::Image => &self.image,
            Quantity::P => &self.p,
            Quantity::Q => &self.q,
            Quantity::R => &self.r,
            Quantity::L => &self.l,
            Quantity::Adjusted => &self.adjusted,
        };
        Ok(planes.crop(self.geometry.working))
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
        let planes = [&self.image, &self.p, &self.q, &self.r, &self.l, &self.adjusted];
        let planes: usize = planes.iter().map(|p| 4 * p.data.len()).sum();
        self.workspace.bytes() + planes + self.fusion.bytes() + self.guide.as_ref().map_or(0, Guide::bytes)
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
