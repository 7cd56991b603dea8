//! A backend without networks: the frame goes through colour conversion and back.

use crate::backend::{Backend, Geometry, Quantity};
use crate::colour::{Planes, Relit, compose, ingest};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Frame, FrameMut};
use crate::pool::Pool;
use crate::simd::Level;

/// R is I and L' is 1.
pub(crate) struct IdentityBackend {
    pool: Pool,
    level: Level,
    geometry: Option<Geometry>,
    image: Planes,
}

impl IdentityBackend {
    pub fn new(threads: usize) -> Self {
        Self {
            pool: Pool::new(threads),
            level: Level::current(),
            geometry: None,
            image: Planes::default(),
        }
    }
}

impl Backend for IdentityBackend {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn prepare(&mut self, geometry: &Geometry) -> Result<()> {
        // There is nothing that a reduced copy would make cheaper.
        let full = Geometry::new(geometry.spec, 0, 1);
        self.image = Planes::new(3, full.padded);
        self.geometry = Some(full);
        Ok(())
    }

    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32> {
        let geometry = self.geometry.as_ref().ok_or_else(unprepared)?;
        Ok(ingest(&self.pool, self.level, input, geometry, &mut self.image))
    }

    fn decompose(&mut self) -> Result<()> {
        Ok(())
    }

    fn update(&mut self, _gamma: f32, _lambda: f32) -> Result<()> {
        Ok(())
    }

    fn restore(&mut self) -> Result<()> {
        Ok(())
    }

    fn illuminate(&mut self) -> Result<()> {
        Ok(())
    }

    fn adjust(&mut self, _ratio: f32) -> Result<()> {
        Ok(())
    }

    fn compose(&mut self, input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32> {
        let relit = Relit::Native(&self.image, None);
        Ok(compose(&self.pool, self.level, input, relit, strength, output))
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        let geometry = self.geometry.as_ref().ok_or_else(unprepared)?;
        Ok(match quantity {
            Quantity::Image | Quantity::P | Quantity::R => self.image.crop(geometry.working),
            Quantity::Q | Quantity::L | Quantity::Adjusted => vec![1.0; geometry.working.0 * geometry.working.1],
        })
    }
}

/// The error of a stage called before `prepare`.
pub(crate) fn unprepared() -> Error {
    Error::new(ErrorKind::BackendFailed, "no frame has been prepared for yet")
}
