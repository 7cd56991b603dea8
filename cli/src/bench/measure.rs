//! Frames taken through an enhancer by the clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use uretinex::{DeviceBuffer, Enhancer, Parameters, Report};

use crate::night::Picture;

/// Frames that are not counted: the first allocates, and clocks need a moment to rise.
pub const WARM_UP: u32 = 3;
/// Different frames, so that no cache holds all of one stage's input.
pub const DIFFERENT: usize = 4;
/// Frames over which the stages of a GPU are measured, at most.
const STAGED: u32 = 50;

/// A frame that was measured.
pub struct Timed {
    pub report: Report,
    /// What the calling thread spent on it.
    pub total: Duration,
}

/// What was measured.
pub struct Measured {
    pub frames: Vec<Timed>,
    /// From the first frame to the last.
    pub elapsed: Duration,
    /// The same frames stage by stage, where stages are measured apart because several frames are pending at once.
    pub staged: Option<Vec<Timed>>,
}

/// Measures frames of system memory, as many pending as the backend takes.
pub fn from_system(
    enhancer: &mut Enhancer,
    frames: &[Picture],
    count: u32,
    parameters: Parameters,
    bar: &ProgressBar,
) -> uretinex::Result<Measured> {
    if enhancer.depth() > 1 {
        let (measured, elapsed) = several_pending(enhancer, frames, count, parameters, bar)?;
        enhancer.time_stages(true);
        let staged = one_by_one(enhancer, frames, count.min(STAGED), parameters, &ProgressBar::hidden());
        enhancer.time_stages(false);
        return Ok(Measured {
            frames: measured,
            elapsed,
            staged: Some(staged?.0),
        });
    }
    let (frames, elapsed) = one_by_one(enhancer, frames, count, parameters, bar)?;
    Ok(Measured {
        frames,
        elapsed,
        staged: None,
    })
}

/// Measures frames that are in the GPU's memory and stay there.
pub fn from_device(
    enhancer: &mut Enhancer,
    frames: &[Picture],
    count: u32,
    bar: &ProgressBar,
) -> uretinex::Result<Measured> {
    let mut inputs: Vec<Box<dyn DeviceBuffer>> = Vec::new();
    for frame in frames {
        let mut buffer = enhancer.device_buffer(frame.spec())?;
        buffer.upload(&frame.frame()?)?;
        inputs.push(buffer);
    }
    let mut output = enhancer.device_buffer(frames[0].spec())?;
    let (frames, elapsed) = timed(count, bar, |i| {
        enhancer.process_buffers(&*inputs[i % DIFFERENT], &mut *output, Parameters::default())
    })?;
    Ok(Measured {
        frames,
        elapsed,
        staged: None,
    })
}

fn one_by_one(
    enhancer: &mut Enhancer,
    frames: &[Picture],
    count: u32,
    parameters: Parameters,
    bar: &ProgressBar,
) -> uretinex::Result<(Vec<Timed>, Duration)> {
    let mut bright = frames[0].clone();
    timed(count, bar, |i| {
        enhancer.process(&frames[i % DIFFERENT].frame()?, &mut bright.frame_mut()?, parameters)
    })
}

/// Calls `process` with the number of each frame and measures each call.
fn timed(
    count: u32,
    bar: &ProgressBar,
    mut process: impl FnMut(usize) -> uretinex::Result<Report>,
) -> uretinex::Result<(Vec<Timed>, Duration)> {
    let mut measured = Vec::with_capacity(count as usize);
    let mut started = Instant::now();
    for i in 0..WARM_UP + count {
        if i == WARM_UP {
            started = Instant::now();
        }
        let begun = Instant::now();
        let report = process(i as usize)?;
        let total = begun.elapsed();
        if i >= WARM_UP {
            measured.push(Timed { report, total });
        }
        bar.inc(1);
    }
    Ok((measured, started.elapsed()))
}

fn several_pending(
    enhancer: &mut Enhancer,
    frames: &[Picture],
    count: u32,
    parameters: Parameters,
    bar: &ProgressBar,
) -> uretinex::Result<(Vec<Timed>, Duration)> {
    let mut bright = frames[0].clone();
    let (depth, all) = (enhancer.depth(), WARM_UP + count);
    let mut measured = Vec::with_capacity(all as usize);
    // The time of the submission of each pending frame.
    let mut submissions = VecDeque::with_capacity(depth);
    let mut started = Instant::now();
    let mut sent = 0;
    while measured.len() < all as usize {
        while sent < all && submissions.len() < depth {
            // The clock starts with no frame pending.
            if sent == WARM_UP {
                if !submissions.is_empty() {
                    break;
                }
                started = Instant::now();
            }
            let begun = Instant::now();
            enhancer.submit(&frames[sent as usize % DIFFERENT].frame()?, parameters)?;
            submissions.push_back(begun.elapsed());
            sent += 1;
        }
        let begun = Instant::now();
        let report = enhancer.collect(&mut bright.frame_mut()?)?;
        let total = submissions.pop_front().unwrap_or_default() + begun.elapsed();
        measured.push(Timed { report, total });
        bar.inc(1);
    }
    let elapsed = started.elapsed();
    measured.drain(..WARM_UP as usize);
    Ok((measured, elapsed))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use uretinex::{
        Backend, Colorimetry, Executor, Frame, FrameMut, FrameSpec, Geometry, Options, PixelFormat, Plan, Precision,
        Precisions, Quantity,
    };

    use super::*;
    use crate::night::Scene;

    /// A device that takes up to `depth` frames at once, and whose every call takes `DELAY`.
    #[derive(Clone, Copy)]
    struct Slow {
        depth: usize,
        pending: usize,
    }

    const DELAY: Duration = Duration::from_millis(5);

    impl Backend for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        fn prepare(&mut self, _: &Geometry) -> uretinex::Result<Box<dyn Executor>> {
            Ok(Box::new(*self))
        }
    }

    impl Executor for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        fn precisions(&self) -> Precisions {
            Precision::Fp32.into()
        }

        fn process(&mut self, _: &Frame<'_>, _: &mut FrameMut<'_>, _: &Plan) -> uretinex::Result<Report> {
            assert_eq!(self.pending, 0, "no frame is pending");
            thread::sleep(DELAY);
            Ok(Report::default())
        }

        fn read(&mut self, _: Quantity) -> uretinex::Result<Vec<f32>> {
            Ok(Vec::new())
        }

        fn depth(&self) -> usize {
            self.depth
        }

        fn pending(&self) -> usize {
            self.pending
        }

        fn submit(&mut self, _: &Frame<'_>, _: &Plan) -> uretinex::Result<()> {
            assert!(self.pending < self.depth, "{} frames are pending", self.pending);
            thread::sleep(DELAY);
            self.pending += 1;
            Ok(())
        }

        fn collect(&mut self, _: &mut FrameMut<'_>) -> uretinex::Result<Report> {
            assert!(self.pending > 0, "a frame is pending");
            thread::sleep(DELAY);
            self.pending -= 1;
            Ok(Report::default())
        }
    }

    #[test]
    fn a_frames_time_is_what_the_caller_spends_on_it() {
        let spec = FrameSpec {
            format: PixelFormat::Nv12,
            width: 32,
            height: 16,
            colorimetry: Colorimetry::default(),
        };
        let frames: Vec<_> = (0..DIFFERENT as u32)
            .map(|seed| Picture::new(spec, Scene::Night, seed))
            .collect();
        for (depth, count, calls) in [(1, 4, 1), (2, 5, 2), (3, 2, 2)] {
            let backend = Slow { depth, pending: 0 };
            let mut enhancer = Enhancer::with_backend(&Options::default(), Box::new(backend)).unwrap();
            enhancer.prepare(&spec).unwrap();
            let found = from_system(
                &mut enhancer,
                &frames,
                count,
                Parameters::default(),
                &ProgressBar::hidden(),
            )
            .unwrap();
            assert_eq!((found.frames.len(), enhancer.pending()), (count as usize, 0), "{depth}");
            // However many frames are pending, one costs as many calls as it needs, and no call counts for two frames.
            assert!(found.frames.iter().all(|f| f.total >= calls * DELAY), "{depth}");
            let sum: Duration = found.frames.iter().map(|f| f.total).sum();
            assert!(found.elapsed >= sum, "{depth}: {:?} for {sum:?}", found.elapsed);
            assert_eq!(
                found.staged.map(|s| s.len()),
                (depth > 1).then_some(count as usize),
                "{depth}"
            );
        }
    }
}
