//! The stages on the processor.

mod engine;
mod networks;
mod update;

use std::sync::Arc;

use crate::backend::{Backend, Geometry, Quantity};
use crate::colour::{Guide, Planes, Relit, compose, ingest};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Frame, FrameMut};
use crate::identity::unprepared;
use crate::pack::{Pack, Precision, Subnetwork};
use crate::pool::Pool;
use crate::simd::Level;
use engine::Workspace;
#[cfg(test)]
pub(crate) use engine::operators;
#[cfg(test)]
pub(crate) use networks::Networks;
#[cfg(not(test))]
use networks::Networks;
#[cfg(test)]
pub(crate) use update::update;

/// URetinex-Net on the processor. Weights are shared by all backends of one pack.
pub(crate) struct CpuBackend {
    networks: Arc<Networks>,
    pool: Pool,
    level: Level,
    state: Option<State>,
}

/// Everything of one frame size.
struct State {
    geometry: Geometry,
    workspace: Workspace,
    image: Planes,
    p: Planes,
    q: Planes,
    r: Planes,
    l: Planes,
    adjusted: Planes,
    guide: Option<Guide>,
}

impl CpuBackend {
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a precision that the processor does not have; errors of the pack's files.
    pub fn new(pack: &Pack, precision: Precision, threads: usize) -> Result<Self> {
        if precision == Precision::Fp16 {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "precision=fp16 on the cpu backend needs arithmetic on 16-bit floats (AVX512-FP16, or FEAT_FP16 on Arm), \
                 which the engine does not use: take precision=fp32",
            ));
        }
        let level = Level::current();
        Ok(Self {
            networks: Networks::shared(pack, precision, level)?,
            pool: Pool::new(threads),
            level,
            state: None,
        })
    }

    fn state(&mut self) -> Result<&mut State> {
        self.state.as_mut().ok_or_else(unprepared)
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn prepare(&mut self, geometry: &Geometry) -> Result<()> {
        // The old size's memory goes back before the new one's is taken.
        self.state = None;
        let planes = |channels| Planes::new(channels, geometry.padded);
        self.state = Some(State {
            geometry: *geometry,
            workspace: self.networks.workspace(geometry.padded, self.pool.threads())?,
            image: planes(3),
            p: planes(3),
            q: planes(1),
            r: planes(3),
            l: planes(1),
            adjusted: planes(1),
            guide: geometry.is_reduced().then(|| Guide::new(geometry)),
        });
        Ok(())
    }

    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32> {
        let state = self.state.as_mut().ok_or_else(unprepared)?;
        Ok(ingest(&self.pool, self.level, input, &state.geometry, &mut state.image))
    }

    fn decompose(&mut self) -> Result<()> {
        let s = self.state.as_mut().ok_or_else(unprepared)?;
        let (inputs, outputs) = ([&s.image.data[..]], [&mut s.p, &mut s.q]);
        self.networks
            .run(Subnetwork::Decomposition, &self.pool, &mut s.workspace, inputs, outputs)
    }

    fn update(&mut self, gamma: f32, lambda: f32) -> Result<()> {
        let s = self.state.as_mut().ok_or_else(unprepared)?;
        update::update(
            &self.pool, self.level, gamma, lambda, &s.image, &s.r, &s.l, &mut s.p, &mut s.q,
        );
        Ok(())
    }

    fn restore(&mut self) -> Result<()> {
        let s = self.state.as_mut().ok_or_else(unprepared)?;
        let inputs = [&s.p.data[..], &s.q.data[..]];
        self.networks.run(
            Subnetwork::Restoration,
            &self.pool,
            &mut s.workspace,
            inputs,
            [&mut s.r],
        )
    }

    fn illuminate(&mut self) -> Result<()> {
        let s = self.state.as_mut().ok_or_else(unprepared)?;
        let inputs = [&s.q.data[..]];
        self.networks.run(
            Subnetwork::Illumination,
            &self.pool,
            &mut s.workspace,
            inputs,
            [&mut s.l],
        )
    }

    fn adjust(&mut self, ratio: f32) -> Result<()> {
        let s = self.state.as_mut().ok_or_else(unprepared)?;
        let inputs = [&s.l.data[..], &[ratio]];
        self.networks.run(
            Subnetwork::Adjustment,
            &self.pool,
            &mut s.workspace,
            inputs,
            [&mut s.adjusted],
        )
    }

    fn compose(&mut self, input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32> {
        let s = self.state.as_mut().ok_or_else(unprepared)?;
        let relit = match &mut s.guide {
            None => Relit::Native(&s.r, Some(&s.adjusted)),
            Some(guide) => {
                guide.fit(&self.pool, self.level, &s.image, &s.r, &s.adjusted);
                Relit::Guided(guide)
            }
        };
        Ok(compose(&self.pool, self.level, input, relit, strength, output))
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        let s = self.state()?;
        let planes = match quantity {
            Quantity::Image => &s.image,
            Quantity::P => &s.p,
            Quantity::Q => &s.q,
            Quantity::R => &s.r,
            Quantity::L => &s.l,
            Quantity::Adjusted => &s.adjusted,
        };
        Ok(planes.crop(s.geometry.working))
    }
}
