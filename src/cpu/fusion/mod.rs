//! Temporal fusion: the memory of a stream's picture, moved along the motion and fused with each new frame.
//!
//! With P' the reflectance remembered and Q the illumination of the new frame, the update of P through time
//!
//! ```text
//! P = (I·Q + g·P') / (Q·Q + g)      with g = Q²·(1/k − 1)
//! ```
//! is P·Q = k·I + (1 − k)·P'·Q: a Kalman update of the picture, whose gain is k for each pixel. So what is remembered is
//! the picture P·Q, and it is fused before the decomposition, which sees little noise from the second frame on. A pixel
//! with n frames in it has the gain 1 / (n + 1). Where innovations are larger than the stream's noise explains, n falls.
//!
//! Beside the planes of the frame, 12 bytes for each pixel are the picture and 4 the counts of its frames.

mod camera;
mod innovation;
mod merge;
mod motion;
mod noise;
mod pyramid;
#[cfg(test)]
mod tests;
mod trust;
mod warp;

pub(crate) use noise::{BINS, deviation};

use innovation::{Cells, innovations};
use merge::{Memory, merge};
use motion::Motion;
use pyramid::{Pyramid, Small};
use trust::{Judge, Trust};
use warp::Past;

use crate::cpu::capabilities::Capabilities;
use crate::cpu::colour::Planes;
use crate::cpu::memory::try_filled;
use crate::cpu::threads::{Disjoint, Pool};
use crate::error::Result;

/// The most frames that a pixel has in it.
const MOST: f32 = 12.0;
/// Where less than this share of the picture is as expected, nothing is taken from the memory.
const CUT: f32 = 0.1;
/// The intensity at which the noise is asked for that motion has to be better than: a dark grey.
const GREY: f32 = 0.2;

/// The most frames that a pixel may have in it, 1 or more, where `temporal`, from 0 to 1, is the share of the memory that is
/// used.
pub(crate) fn most_frames(temporal: f32) -> f32 {
    1.0 + temporal * (MOST - 1.0)
}

/// The memory of one stream's picture.
pub(crate) struct Fusion {
    /// The fused picture of the frame before.
    past: Planes,
    /// How many frames are in each pixel.
    count: Planes,
    now: Pyramid,
    before: Pyramid,
    /// The half-size copy of the fused picture: the largest one of `before` for the next frame.
    half: Small,
    motion: Motion,
    cells: Cells,
    trust: Vec<Trust>,
    judge: Judge,
    /// Whether the picture of a frame is in memory.
    filled: bool,
}

impl Fusion {
    /// The memory of pictures of `size`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(size: (usize, usize)) -> Result<Self> {
        let now = Pyramid::new(size)?;
        let cells = Cells::new(size)?;
        Ok(Self {
            past: Planes::new(3, size)?,
            count: Planes::new(1, size)?,
            motion: Motion::new(&now)?,
            before: Pyramid::new(size)?,
            half: Small::new(now.levels[0].width, now.levels[0].height)?,
            now,
            trust: try_filled(Trust::default(), cells.columns * cells.rows)?,
            judge: Judge::new(cells.columns, cells.rows)?,
            cells,
            filled: false,
        })
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let planes = [&self.past, &self.count];
        planes.iter().map(|p| 4 * p.data.len()).sum::<usize>()
            + self.now.bytes()
            + self.before.bytes()
            + self.half.bytes()
            + self.motion.bytes()
            + self.judge.bytes()
            + self.cells.bytes()
            + self.trust.len() * size_of::<Trust>()
    }

    /// Forgets the picture; the noise that was learnt stays.
    pub fn forget(&mut self) {
        self.filled = false;
    }

    /// Takes the picture of the last frame out of `image`, which the next frame is read into.
    pub fn remember(&mut self, image: &mut Planes) {
        if self.filled {
            std::mem::swap(&mut self.past, image);
        }
    }

    /// What was computed of the last frame that had a memory, by the names of a GPU's parts and in their order of numbers.
    #[cfg(test)]
    pub fn parts(&self) -> Vec<(&'static str, Vec<f32>)> {
        let copies = |pyramid: &Pyramid| {
            let border = -(pyramid::BORDER as isize);
            let levels = pyramid.levels.iter();
            levels.flat_map(|level| level.from(border, border).to_vec()).collect()
        };
        let vectors = self.motion.vectors().flat_map(|v| [v.x, v.y].map(f32::from));
        let places = (0..self.cells.rows).flat_map(|y| (0..self.cells.columns).map(move |x| (x, y)));
        let cells = places.flat_map(|(x, y)| {
            let row = self.cells.row(y);
            let [r, g, b] = row.means.map(|means| means[x]);
            [
                row.energy[x],
                row.detail[x],
                row.intensity[x],
                row.spread[x],
                r,
                g,
                b,
                0.0,
            ]
        });
        let trust = self.trust.iter().flat_map(|trust| [trust.share, trust.precision]);
        vec![
            ("now", copies(&self.now)),
            ("before", copies(&self.before)),
            ("vectors", vectors.collect()),
            ("texture", self.judge.texture.clone()),
            ("cells", cells.collect()),
            ("broad", self.judge.broad.clone()),
            ("trust", trust.collect()),
            ("count", self.count.data.to_vec()),
        ]
    }

    /// Damages the memory: every n-th value of the counts, and the copies of a picture that is damaged.
    #[cfg(test)]
    pub fn damage(&mut self, image: &Planes, step: usize, value: f32) {
        self.count.data.iter_mut().step_by(step).for_each(|v| *v = value);
        self.half.halve(
            &Pool::new(1),
            Capabilities::at(crate::cpu::capabilities::Level::Portable),
            image,
        );
    }

    /// Takes the memory in the place of `image`, which is the frame before once more; nothing is learnt from it. Returns whether
    /// there is a memory.
    pub fn repeat(&mut self, image: &mut Planes) -> bool {
        if self.filled {
            std::mem::swap(&mut self.past, image);
        }
        self.filled
    }

    /// Fuses `image` with the memory, in place. `temporal`, from 0 to 1, is the share of the memory that is used; `room`, of
    /// one channel, is to work in. Returns whether the picture was another one altogether, in which case it stays as it is.
    pub fn fuse(
        &mut self,
        pool: &Pool,
        capabilities: Capabilities,
        image: &mut Planes,
        room: &mut Planes,
        temporal: f32,
    ) -> bool {
        if !self.filled {
            self.half.halve(pool, capabilities, image);
            self.begin();
            return false;
        }
        std::mem::swap(&mut self.count, room);
        std::mem::swap(&mut self.half, &mut self.before.levels[0]);
        self.now.levels[0].halve(pool, capabilities, image);
        complete(pool, capabilities, [&mut self.now, &mut self.before]);
        // A pixel of the half-size copy is the mean of four.
        let noise = 0.5 * self.judge.deviation(GREY) / 255.0;
        self.motion.find(pool, capabilities, &self.now, &self.before, noise);
        let past = Past {
            picture: &self.past,
            count: room,
            motion: &self.motion,
        };
        innovations(pool, capabilities, image, &past, &mut self.cells);
        let half = &self.before.levels[0];
        if self.judge.judge(pool, capabilities, &self.cells, half, &mut self.trust) < CUT {
            self.half.copy(&self.now.levels[0]);
            self.begin();
            return true;
        }
        let memory = Memory {
            past: &past,
            trust: &self.trust,
            most: most_frames(temporal),
        };
        merge(pool, capabilities, &memory, image, &mut self.count, &mut self.half);
        false
    }

    /// The standard deviation of a pixel's noise at an intensity from 0 to 1, in codes of 8 bits; none before it is known.
    pub fn noise(&self, intensity: f32) -> Option<f32> {
        (self.filled && self.judge.knows()).then(|| self.judge.deviation(intensity))
    }

    /// Begins the memory with a picture as it is.
    fn begin(&mut self) {
        self.count.data.fill(1.0);
        self.motion.clear();
        self.filled = true;
    }
}

/// Completes the small copies of two pictures.
#[allow(unsafe_code)]
fn complete(pool: &Pool, capabilities: Capabilities, mut pyramids: [&mut Pyramid; 2]) {
    let pyramids = Disjoint::new(&mut pyramids);
    pool.run(2, &|i| {
        // SAFETY: each task has its own.
        let pyramid = unsafe { pyramids.part(i..i + 1) };
        pyramid[0].complete(capabilities);
    });
}
