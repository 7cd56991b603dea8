//! What a frame would look like at several ratios: the networks on its thumbnail, on the processor, whatever backend
//! works on the frames themselves.

use super::backend::CpuBackend;
use super::executor::CpuExecutor;
use crate::backend::Geometry;
use crate::error::Result;
use crate::frame::{Frame, FrameSpec};
use crate::pack::{Pack, Precision};
use crate::stages::{Parameters, Plan, Stages, Step, steps_through_time};
use crate::temporal::{Outlook, RATIOS};

/// The networks at the size of the thumbnail, for frames of one kind.
pub(crate) struct Preview {
    stages: CpuExecutor,
    /// All but the adjustment.
    steps: Vec<Step>,
    spec: FrameSpec,
}

impl Preview {
    /// Loads `pack` for frames of `spec`, to work with as many threads (0: one for every core).
    ///
    /// # Errors
    /// Those of the pack's networks; [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(pack: &Pack, spec: &FrameSpec, threads: usize) -> Result<Self> {
        let backend = CpuBackend::new(pack, Precision::Fp32, threads)?;
        let geometry = Geometry::thumbnail(*spec, pack.manifest().multiple);
        Ok(Self {
            stages: backend.executor(&geometry)?,
            steps: steps_through_time()
                .into_iter()
                .filter(|step| !matches!(step, Step::Fuse | Step::Adjust))
                .collect(),
            spec: *spec,
        })
    }

    /// Whether it is for frames of `spec`.
    pub fn is_for(&self, spec: &FrameSpec) -> bool {
        self.spec == *spec
    }

    /// Looks at a frame at each of [`RATIOS`].
    ///
    /// # Errors
    /// Those of the networks.
    pub fn look(&mut self, frame: &Frame<'_>) -> Result<Outlook> {
        self.stages.ingest(frame)?;
        self.outlook()
    }

    /// As [`look`](Self::look), at a frame whose thumbnail has been made: R'G'B' planes of [`Geometry::thumbnail`].
    ///
    /// # Errors
    /// Those of the networks.
    pub fn look_at(&mut self, thumbnail: &[f32]) -> Result<Outlook> {
        self.stages.fill(thumbnail);
        self.outlook()
    }

    fn outlook(&mut self) -> Result<Outlook> {
        let plan = |ratio| {
            Plan::single(Parameters {
                ratio,
                ..Parameters::default()
            })
        };
        for &step in &self.steps {
            self.stages.run(step, &plan(RATIOS[0]))?;
        }
        let mut outlook = Outlook::default();
        for ratio in RATIOS {
            self.stages.run(Step::Adjust, &plan(ratio))?;
            outlook.add(self.stages.rows());
        }
        Ok(outlook)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;
    use crate::stages::Quantity;
    use crate::testing::{Picture, spec};

    /// The planes of a thumbnail, without padding, stand for the frame.
    #[test]
    fn a_thumbnail_is_looked_at_as_its_frame() {
        let pack = Pack::open("lite").unwrap();
        for size in [(320, 180), (333, 187), (37, 21)] {
            let picture = Picture::dark(spec(PixelFormat::Rgb, size), 1);
            let mut preview = Preview::new(&pack, &picture.spec, 0).unwrap();
            let expected = preview.look(&picture.frame()).unwrap();
            let thumbnail = preview.stages.read(Quantity::Image).unwrap();
            preview
                .look(&Picture::dark(spec(PixelFormat::Rgb, size), 2).frame())
                .unwrap();
            assert_eq!(preview.look_at(&thumbnail).unwrap(), expected, "{size:?}");
        }
    }

    #[test]
    fn packs_have_a_ratio_for_the_dark() {
        for name in ["lite", "full", "video"] {
            let pack = Pack::open(name).unwrap();
            let picture = Picture::dark(spec(PixelFormat::Rgb, (320, 180)), 1);
            let mut preview = Preview::new(&pack, &picture.spec, 0).unwrap();
            assert!(preview.is_for(&picture.spec));
            let outlook = preview.look(&picture.frame()).unwrap();
            let ratios = [-1.0, 0.0, 1.0].map(|brightness| outlook.wanted(brightness));
            assert!(
                ratios.is_sorted() && ratios[0] >= 1.0 && ratios[2] <= 8.0,
                "{name}: {ratios:?}"
            );
            let black = Picture::black(picture.spec);
            assert_eq!(
                preview.look(&black.frame()).unwrap().wanted(1.0),
                1.0,
                "{name}: nothing to lift"
            );
        }
    }
}
