//! A backend without networks: R is I and L' is 1, so only colour conversion and back remain.

use crate::backend::{Backend, Executor, Geometry};
use crate::cpu::capabilities::Capabilities;
use crate::cpu::colour::{Planes, Relit, compose, ingest};
use crate::cpu::threads::Pool;
use crate::error::Result;
use crate::frame::{Frame, FrameMut};
use crate::pack::{Precision, Precisions};
use crate::stages::{Plan, Quantity, Report, Stages, Step, unfold};

/// The backend for measuring what colour conversion costs.
pub(crate) struct IdentityBackend {
    pool: Pool,
}

impl IdentityBackend {
    pub fn new(threads: usize) -> Self {
        Self {
            pool: Pool::new(threads),
        }
    }
}

impl Backend for IdentityBackend {
    fn has_networks(&self) -> bool {
        false
    }

    fn name(&self) -> &'static str {
        "identity"
    }

    fn prepare(&mut self, geometry: &Geometry) -> Result<Box<dyn Executor>> {
        // Without networks there is nothing that a reduced copy would speed up.
        let geometry = Geometry::new(geometry.spec, 0, 1);
        Ok(Box::new(IdentityExecutor {
            image: Planes::new(3, geometry.padded)?,
            pool: self.pool.clone(),
            capabilities: Capabilities::current(),
            geometry,
        }))
    }
}

struct IdentityExecutor {
    pool: Pool,
    capabilities: Capabilities,
    geometry: Geometry,
    image: Planes,
}

impl Stages for IdentityExecutor {
    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32> {
        Ok(ingest(
            &self.pool,
            self.capabilities,
            input,
            &self.geometry,
            None,
            &mut self.image,
        ))
    }

    fn run(&mut self, _step: Step, _plan: &Plan) -> Result<()> {
        Ok(())
    }

    fn compose(&mut self, input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32> {
        let relit = Relit::Native(&self.image, None);
        Ok(compose(&self.pool, self.capabilities, input, relit, strength, output))
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        let (width, height) = self.geometry.working;
        Ok(match quantity {
            Quantity::Image | Quantity::P | Quantity::R => self.image.crop((width, height)),
            Quantity::Q | Quantity::L | Quantity::Adjusted => vec![1.0; width * height],
        })
    }
}

impl Executor for IdentityExecutor {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn precisions(&self) -> Precisions {
        Precision::Fp32.into()
    }

    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, plan: &Plan) -> Result<Report> {
        unfold(self, &[], input, plan, output)
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        Stages::read(self, quantity)
    }
}
