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
use crate::pack::{Pack, Precision, Precisions, Subnetwork};
use crate::pool::Pool;
use crate::simd::Level;
pub(crate) use engine::Products;
use engine::Workspace;
#[cfg(test)]
pub(crate) use engine::operators;
pub(crate) use networks::Networks;
#[cfg(test)]
pub(crate) use update::update;

/// URetinex-Net on the processor. Weights are shared by all backends of one pack.
pub(crate) struct CpuBackend {
    networks: Arc<Networks>,
    pool: Pool,
    level: Level,
    precision: Precision,
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
        let level = Level::current();
        let products = match precision {
            Precision::Fp32 => Products::Float,
            Precision::Fp16 if level.has_fixed_point() => Products::Fixed,
            Precision::Fp16 => {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    format!(
                        "precision=fp16 on the cpu backend needs a processor with AVX-512 VNNI; this one is used at level \
                         {level} (URETINEX_CPU forces one): take precision=fp32"
                    ),
                ));
            }
        };
        Ok(Self {
            networks: Networks::shared(pack, level, products)?,
            pool: Pool::new(threads),
            level,
            precision,
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

    fn precisions(&self) -> Precisions {
        self.precision.into()
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

    fn bytes(&self) -> usize {
        let planes = |s: &State| [&s.image, &s.p, &s.q, &s.r, &s.l, &s.adjusted].map(|p| 4 * p.data.len());
        let guide = |s: &State| s.guide.as_ref().map_or(0, Guide::bytes);
        let all = |s: &State| s.workspace.bytes() + planes(s).iter().sum::<usize>() + guide(s);
        self.state.as_ref().map_or(0, all)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Colorimetry, FrameSpec, PixelFormat, Plane, PlaneMut};
    use crate::pack::Pack;
    use crate::stage::Parameters;
    use crate::unfold::unfold;

    /// The picture that a pack makes of a dark one with noise and lamps.
    fn bright(pack: &Pack, precision: Precision, threads: usize) -> Result<Vec<u8>> {
        const SIZE: (usize, usize) = (376, 104);
        let mut state = 7u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as usize
        };
        let dark: Vec<u8> = (0..3 * SIZE.0 * SIZE.1)
            .map(|i| {
                let (x, y) = (i / 3 % SIZE.0, i / 3 / SIZE.0);
                let lamp = 200 * usize::from(x % 61 < 4 && y % 47 < 4);
                (lamp + noise() + x / 9 + 10 * usize::from((x / 13 + y / 11) % 2 == 0)) as u8
            })
            .collect();
        let spec = FrameSpec {
            format: PixelFormat::Rgb,
            width: SIZE.0,
            height: SIZE.1,
            colorimetry: Colorimetry::FULL,
        };
        let mut bright = vec![0; dark.len()];
        let stride = 3 * SIZE.0;
        let input = Frame::new(spec, &[Plane { data: &dark, stride }])?;
        let plane = PlaneMut {
            data: &mut bright,
            stride,
        };
        let mut output = FrameMut::new(spec, [plane])?;
        let mut backend = CpuBackend::new(pack, precision, threads)?;
        assert_eq!(backend.precisions(), precision.into());
        backend.prepare(&Geometry::new(spec, 0, pack.manifest().multiple))?;
        let schedule = &pack.manifest().schedule;
        unfold(&mut backend, schedule, &input, Parameters::default(), &mut output)?;
        Ok(bright)
    }

    #[test]
    fn fp16_is_within_50_db_or_refused() {
        for name in ["full", "lite"] {
            let pack = Pack::open(name).unwrap();
            let half = bright(&pack, Precision::Fp16, 0);
            if !Level::current().has_fixed_point() {
                let error = half.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidOption);
                assert!(error.to_string().contains("precision=fp32"), "{error}");
                continue;
            }
            let (half, whole) = (half.unwrap(), bright(&pack, Precision::Fp32, 0).unwrap());
            let squares = half
                .iter()
                .zip(&whole)
                .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
            let psnr = 10.0 * (255.0f64.powi(2) * half.len() as f64 / squares.sum::<f64>()).log10();
            println!("{name}: {psnr:.1} dB");
            assert!(psnr >= 50.0 && psnr.is_finite(), "{name}: {psnr} dB");
        }
    }

    /// Whichever thread does a task, and when: the picture is the same to the last bit.
    #[test]
    fn threads_do_not_change_the_picture() {
        for name in ["full", "lite"] {
            let pack = Pack::open(name).unwrap();
            let alone = bright(&pack, Precision::Fp32, 1).unwrap();
            std::thread::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        for threads in [0, 2, 0] {
                            assert!(bright(&pack, Precision::Fp32, threads).unwrap() == alone, "{name}");
                        }
                    });
                }
            });
        }
    }
}
