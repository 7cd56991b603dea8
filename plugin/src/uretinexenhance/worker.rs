//! What works on frames: the enhancer, or a stand-in while engines are built; and the frames that it works on.

use std::time::{Duration, Instant};

use uretinex::{
    BackendChoice, Enhancer, Error, ErrorKind, FrameMut, Light, Options, Parameters, PreparationJob, Report, Reset,
};

use super::caps::VideoStream;
use super::category::CAT;
use super::choices::OnEngineBuild;
use super::cuda_memory;
use super::deadline::{Ladder, RungStep};
use super::finish::Finish;
use super::frame_queue::{FrameQueue, QueuedFrame};
use super::panics::without_panic;
use super::planes::{ReadablePlanes, WritablePlanes};
use super::settings::{Live, Settings};
use crate::gstcuda::{CudaContext, EnhancerInContext};

/// Gives an empty buffer for a frame, with the metadata of the one that came in.
pub(super) type NewOutput<'a> = dyn Fn(&gst::Buffer) -> Result<gst::Buffer, gst::FlowError> + 'a;

/// Begins a preparation beside the stream. Its context, if there is one, has to outlive the work.
pub(super) type StartPreparation<'a> = dyn Fn(PreparationJob, Option<CudaContext>) -> Result<(), Error> + 'a;

/// Why a frame was not enhanced.
#[derive(Debug)]
pub(super) enum Failure {
    /// The stream is to stop, or has an error of its own.
    Flow(gst::FlowError),
    /// This frame is passed on as it is.
    Frame(Error),
    /// So is this one, because that is asked for, or the engines are not ready yet.
    PassedThrough,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Frame(error)
    }
}

/// A frame that leaves the element.
pub(super) struct Leaving {
    pub buffer: gst::Buffer,
    /// What is reported of the frame; none if it goes out as it came.
    pub enhanced: Option<Report>,
    /// Why it could not be collected.
    pub failure: Option<Failure>,
}

/// How long it may take until the light of a stream in CUDA memory is looked at again: a whole frame is copied to look.
const UNSEEN: Duration = Duration::from_millis(100);

/// What works on frames.
pub(super) struct Worker {
    pub enhancer: EnhancerInContext,
    /// Works while the enhancer is prepared. Frames go through untouched if it is prepared and there is none.
    stand_in: Option<EnhancerInContext>,
    pub stream: Option<VideoStream>,
    /// The frames inside the element; those submitted are with the enhancer.
    pub queue: FrameQueue,
    /// Whether a trial frame of the stream's size has been taken through what works on frames.
    tried: bool,
    ladder: Ladder,
    /// Whether the rungs are prepared for the stream.
    rungs_prepared: bool,
    light: Option<Light>,
    /// For how long the light of a stream in CUDA memory has not been looked at.
    unseen: Duration,
    /// Whether the latest frame went through untouched.
    untouched: bool,
    started: Instant,
    options: Options,
    on_engine_build: OnEngineBuild,
}

impl Worker {
    /// Loads the pack and makes the backend.
    ///
    /// # Errors
    /// As [`Enhancer::new`].
    pub fn new(settings: &Settings, context: Option<CudaContext>) -> Result<Self, Error> {
        let options = settings.options();
        Ok(Self {
            enhancer: EnhancerInContext::new(&options, context)?,
            stand_in: None,
            stream: None,
            queue: FrameQueue::new(settings.frames_in_flight),
            tried: false,
            ladder: Ladder::default(),
            rungs_prepared: false,
            light: None,
            unseen: Duration::ZERO,
            untouched: false,
            started: Instant::now(),
            options,
            on_engine_build: settings.on_engine_build,
        })
    }

    /// Whether frames of `stream` are of another kind than those before.
    pub fn is_new(&self, stream: &VideoStream) -> bool {
        self.stream.as_ref().is_none_or(|before| before.spec != stream.spec)
    }

    /// Takes the stream of new caps, and prepares for its frames or begins to. No frame is inside. `preparing`: frames of
    /// its kind are being prepared for already.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare), but for [`ErrorKind::Cancelled`]: the next frame begins again then. The stream
    /// before stays.
    pub fn set_stream(
        &mut self,
        stream: &VideoStream,
        preparing: bool,
        start: &StartPreparation<'_>,
    ) -> Result<(), Error> {
        if !preparing {
            match self.prepare(stream, start) {
                Err(e) if e.kind() != ErrorKind::Cancelled => return Err(e),
                _ => {}
            }
        }
        let interval = stream.frame_time().map(Duration::from);
        for enhancer in [Some(&mut self.enhancer), self.stand_in.as_mut()].into_iter().flatten() {
            interval
                .into_iter()
                .for_each(|interval| enhancer.enhancer.set_interval(interval));
        }
        if self.is_new(stream) {
            self.reset(Reset::NewFormat);
            (self.tried, self.rungs_prepared) = (false, false);
            self.ladder = Ladder::default();
            self.take_rung();
        }
        self.stream = Some(stream.clone());
        Ok(())
    }

    /// Prepares for frames of `stream`. What takes long, such as building engines, is left to `start`; a stand-in takes
    /// over meanwhile if one is to do so.
    ///
    /// # Errors
    /// Those of [`Enhancer::prepare`], of the stand-in, and of `start`.
    fn prepare(&mut self, stream: &VideoStream, start: &StartPreparation<'_>) -> Result<(), Error> {
        let spec = &stream.spec;
        self.stand_in = None;
        let enhancer = &mut self.enhancer.enhancer;
        let Some(job) = without_panic(|| enhancer.preparation(spec))? else {
            return without_panic(|| enhancer.prepare(spec));
        };
        let stand_in = |backend, precision, context: Option<CudaContext>| {
            let options = Options {
                backend,
                precision,
                ..self.options.clone()
            };
            without_panic(|| {
                let mut stand_in = EnhancerInContext::new(&options, context)?;
                stand_in.enhancer.prepare(spec)?;
                Ok(stand_in)
            })
        };
        self.stand_in = match self.on_engine_build {
            // The processor does not reach frames in CUDA memory: they go through untouched.
            OnEngineBuild::Cpu if !stream.in_cuda_memory => Some(stand_in(BackendChoice::Cpu, None, None)?),
            OnEngineBuild::Cuda => {
                let context = self.enhancer.context.clone();
                stand_in(BackendChoice::Cuda, self.options.precision, context)
                    .inspect_err(|e| gst::warning!(CAT, "frames wait for engines, as cuda cannot do the work: {e}"))
                    .ok()
            }
            _ => None,
        };
        start(job, self.enhancer.context.clone())
    }

    /// Whether frames wait for a preparation that is under way.
    pub fn waits(&self) -> bool {
        match self.on_engine_build {
            OnEngineBuild::Wait => true,
            OnEngineBuild::Cuda => self.stand_in.is_none(),
            OnEngineBuild::Passthrough | OnEngineBuild::Cpu => false,
        }
    }

    /// Begins again with a preparation that was cancelled; true if there is nothing to prepare.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_again(&mut self, start: &StartPreparation<'_>) -> Result<bool, Error> {
        let prepared = self.enhancer.enhancer.geometry();
        match &self.stream {
            Some(stream) if prepared.is_none_or(|geometry| geometry.spec != stream.spec) => {
                let stream = stream.clone();
                self.prepare(&stream, start)?;
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// Goes over from the stand-in to the enhancer, whose preparation has ended so.
    ///
    /// # Errors
    /// That of the preparation, unless another backend takes over; those of [`Enhancer::prepare`].
    pub fn finish_preparation(&mut self, outcome: Result<(), Error>) -> Result<(), Error> {
        self.stand_in = None;
        self.tried = false;
        let Some(stream) = &self.stream else {
            return outcome;
        };
        let enhancer = &mut self.enhancer.enhancer;
        without_panic(|| {
            outcome.or_else(|e| enhancer.fall_back(e))?;
            enhancer.prepare(&stream.spec)
        })
    }

    /// The backend that works on the next frame, and whether the frame is in CUDA memory. `preparing`: the enhancer is being
    /// prepared.
    pub fn backend(&mut self, preparing: bool) -> Option<(&'static str, bool)> {
        let stream = self.stream.as_ref()?;
        let (enhancer, _) = at_work(&mut self.enhancer, &mut self.stand_in, preparing)?;
        Some((enhancer.backend_name(), stream.in_cuda_memory))
    }

    /// How long a frame takes, by a trial frame; none where a frame of the size has been tried, or nothing works yet.
    pub fn try_frame(&mut self, preparing: bool) -> Option<Duration> {
        if self.tried || self.queue.submitted() > 0 {
            return None;
        }
        let spec = self.stream.as_ref()?.spec;
        let (enhancer, _) = at_work(&mut self.enhancer, &mut self.stand_in, preparing)?;
        let trial = without_panic(|| enhancer.trial(&spec));
        self.tried = true;
        // If it fails, so does the first frame, which is reported.
        trial
            .inspect_err(|e| gst::debug!(CAT, "a trial frame failed: {e}"))
            .ok()
    }

    /// How many frames stay until the next one comes, and for how long each does.
    pub fn held(&mut self, preparing: bool, live: bool) -> (usize, gst::ClockTime) {
        let Some(stream) = &self.stream else {
            return (0, gst::ClockTime::ZERO);
        };
        let enhancer = at_work(&mut self.enhancer, &mut self.stand_in, preparing);
        let depth = enhancer.map_or(1, |(enhancer, _)| enhancer.depth());
        let frames = self.queue.frames_held(depth, stream, live);
        (frames, stream.frame_time().unwrap_or_default() * frames as u64)
    }

    /// Submits a frame, of which `stay` may stay until the next one comes, or takes it through the network at once.
    ///
    /// # Errors
    /// What becomes of the frame instead.
    pub fn enhance(
        &mut self,
        input: &gst::Buffer,
        live: &Live,
        stay: usize,
        preparing: bool,
        new_output: &NewOutput<'_>,
    ) -> Result<QueuedFrame, Failure> {
        let enhanced = self.take(input, live, stay, preparing, new_output);
        self.untouched = enhanced.is_err();
        enhanced
    }

    fn take(
        &mut self,
        input: &gst::Buffer,
        live: &Live,
        stay: usize,
        preparing: bool,
        new_output: &NewOutput<'_>,
    ) -> Result<QueuedFrame, Failure> {
        let Some(stream) = &self.stream else {
            return Err(Failure::Flow(gst::FlowError::NotNegotiated));
        };
        let (enhancer, context) =
            at_work(&mut self.enhancer, &mut self.stand_in, preparing).ok_or(Failure::PassedThrough)?;
        if self.ladder.is_untouched() {
            enhancer.reset(Reset::PassedThrough);
            return Err(Failure::PassedThrough);
        }
        let frame = if stream.in_cuda_memory {
            let context = context.ok_or_else(cuda_memory::no_context)?;
            let interval = stream.frame_time().map_or(UNSEEN, Duration::from);
            let unseen = self.unseen < UNSEEN;
            let light = match unseen.then(|| enhancer.light_unseen(live.fade())).flatten() {
                Some(light) => {
                    self.unseen += interval;
                    light
                }
                None => {
                    self.unseen = interval;
                    let planes = cuda_memory::download(context, input, stream)?;
                    enhancer.light(&planes.frame()?, live.fade())
                }
            };
            self.light = Some(light);
            let parameters = in_light(enhancer, live, light)?;
            let finish = Finish::new(input, live, light.grey);
            let enhanced = on_gpu(enhancer, context, stream, input, parameters, &finish, new_output);
            if enhanced.is_err() {
                forget_pending(enhancer, 0);
            }
            let (output, report) = enhanced?;
            QueuedFrame::Enhanced { output, report }
        } else {
            let planes = ReadablePlanes::map(input, &stream.info, stream.spec)?;
            let frame = planes.frame()?;
            let light = enhancer.light(&frame, live.fade());
            self.light = Some(light);
            let parameters = in_light(enhancer, live, light)?;
            let finish = Finish::new(input, live, light.grey);
            if stay > 0 || self.queue.submitted() > 0 {
                without_panic(|| enhancer.submit(&frame, parameters))?;
                self.queue.set_stay(stay);
                return Ok(QueuedFrame::Submitted {
                    input: input.clone(),
                    finish,
                });
            }
            let enhanced = write(input, stream, new_output, |out| {
                without_panic(|| {
                    let report = enhancer.process(&frame, out, parameters)?;
                    finish.apply(&frame, out);
                    Ok(report)
                })
            });
            if enhanced.is_err() {
                forget_pending(enhancer, 0);
            }
            let (output, report) = enhanced?;
            QueuedFrame::Enhanced { output, report }
        };
        self.queue.set_stay(stay);
        Ok(frame)
    }

    /// The oldest frame, if its turn has come, or if `all` are to go.
    ///
    /// # Errors
    /// That of `new_output`; the frame is dropped.
    pub fn give_out(&mut self, all: bool, new_output: &NewOutput<'_>) -> Result<Option<Leaving>, gst::FlowError> {
        let Some(stream) = &self.stream else {
            return Ok(None);
        };
        let next = if all { self.queue.pop() } else { self.queue.pop_due() };
        let (buffer, enhanced, failure) = match next {
            None => return Ok(None),
            Some(QueuedFrame::Untouched(buffer)) => (buffer, None, None),
            Some(QueuedFrame::Enhanced { output, report }) => (output, Some(report), None),
            Some(QueuedFrame::Submitted { input, finish }) => {
                let enhancer = &mut self.enhancer.enhancer;
                let collected = write(&input, stream, new_output, |out| {
                    without_panic(|| {
                        let report = enhancer.collect(out)?;
                        finish_later(&finish, &input, stream, out)?;
                        Ok(report)
                    })
                });
                match collected {
                    Ok((output, report)) => (output, Some(report), None),
                    Err(failure) => {
                        forget_pending(enhancer, self.queue.submitted());
                        match failure {
                            Failure::Flow(error) => return Err(error),
                            failure => (input, None, Some(failure)),
                        }
                    }
                }
            }
        };
        Ok(Some(Leaving {
            buffer,
            enhanced,
            failure,
        }))
    }

    /// The light at the latest frame in system memory.
    pub fn light(&self) -> Option<Light> {
        self.light
    }

    /// Whether the latest frame went through untouched.
    pub fn was_untouched(&self) -> bool {
        self.untouched
    }

    /// The rung that frames are made on.
    pub fn rung(&self) -> usize {
        self.ladder.rung()
    }

    /// Whether there are rungs between all and nothing: what is prepared in no time, for frames that do not overlap.
    fn has_rungs(&self) -> bool {
        self.enhancer.enhancer.backend_name() == "cpu"
    }

    /// How long a frame may take.
    pub fn deadline(&self, settings: &Live, live: bool) -> Option<Duration> {
        let interval = self.stream.as_ref()?.frame_time().map(Duration::from);
        settings.deadline(interval, live && self.has_rungs())
    }

    /// Prepares the rungs, where that has not been done, so that a step costs no frame, and begins on the one that trial
    /// frames speak for.
    pub fn prepare_rungs(&mut self, deadline: Duration) {
        if std::mem::replace(&mut self.rungs_prepared, true) || !self.has_rungs() || self.queue.submitted() > 0 {
            return;
        }
        let Some(spec) = self.stream.as_ref().map(|stream| stream.spec) else {
            return;
        };
        // Upwards, so that the first rung is the one prepared at the end.
        let mut trials = [None; Ladder::RUNGS];
        for rung in (0..Ladder::RUNGS).rev() {
            let pixels = self.pixels(rung);
            let enhancer = &mut self.enhancer.enhancer;
            let tried = without_panic(|| {
                enhancer.set_max_pixels(pixels)?;
                enhancer.trial(&spec)
            });
            trials[rung] = tried
                .inspect_err(|error| gst::debug!(CAT, "rung {rung} of the deadline is not prepared: {error}"))
                .ok();
        }
        if let [Some(full), Some(half), Some(quarter)] = trials {
            self.ladder.begin([full, half, quarter], deadline);
            self.take_rung();
        }
    }

    /// Takes note of a frame that took `time`, or went through untouched; a step if another rung is taken from here on.
    pub fn keep_deadline(&mut self, time: Option<Duration>, deadline: Option<Duration>) -> Option<RungStep> {
        let (now, few) = (self.started.elapsed(), !self.has_rungs());
        let step = match deadline {
            Some(deadline) => self.ladder.add(now, time, deadline, few),
            None => self.ladder.release(now),
        };
        if step.is_some() {
            self.take_rung();
        }
        step
    }

    /// How many pixels of a frame go through the networks on a rung; 0 is all.
    fn pixels(&self, rung: usize) -> usize {
        let all = self
            .stream
            .as_ref()
            .map_or(0, |stream| stream.spec.width * stream.spec.height);
        let most = self.options.max_pixels;
        match rung {
            0 => most,
            rung => Ladder::pixels(rung, if most == 0 { all } else { most.min(all) }),
        }
    }

    /// Has the next frame made on the rung.
    fn take_rung(&mut self) {
        if !self.has_rungs() || self.ladder.is_untouched() {
            return;
        }
        let pixels = self.pixels(self.ladder.rung());
        if let Err(error) = self.enhancer.enhancer.set_max_pixels(pixels) {
            gst::debug!(CAT, "a rung is not taken: {error}");
        }
    }

    /// Drops all frames that are inside; the enhancer is as if they had not come.
    pub fn forget(&mut self) {
        self.queue.clear();
        forget_pending(&mut self.enhancer.enhancer, 0);
    }

    /// The next frame does not continue the ones before.
    pub fn reset(&mut self, reason: Reset) {
        self.enhancer.enhancer.reset(reason);
        if let Some(stand_in) = &mut self.stand_in {
            stand_in.enhancer.reset(reason);
        }
    }

    /// How often what the enhancer remembers of the stream was dropped.
    pub fn resets(&self) -> u64 {
        let memory = self.enhancer.enhancer.memory();
        Reset::ALL.into_iter().map(|reason| memory.resets(reason)).sum()
    }
}

/// What works on the next frame, and its CUDA context; the stand-in, if there is one, while the enhancer is prepared.
fn at_work<'a>(
    enhancer: &'a mut EnhancerInContext,
    stand_in: &'a mut Option<EnhancerInContext>,
    preparing: bool,
) -> Option<(&'a mut Enhancer, Option<&'a CudaContext>)> {
    let at_work = if preparing { stand_in.as_mut()? } else { enhancer };
    Some((&mut at_work.enhancer, at_work.context.as_ref()))
}

/// The parameters of a frame in that light.
///
/// # Errors
/// [`Failure::PassedThrough`] for daylight that is to go through untouched.
fn in_light(enhancer: &mut Enhancer, live: &Live, light: Light) -> Result<Parameters, Failure> {
    let mut parameters = live.parameters;
    if live.bypasses_daylight() {
        if light.night == 0.0 {
            enhancer.reset(Reset::PassedThrough);
            return Err(Failure::PassedThrough);
        }
        parameters.strength *= light.night;
    }
    Ok(parameters)
}

/// Has the enhancer forget its oldest frames down to that number: those whose turn is over.
fn forget_pending(enhancer: &mut Enhancer, frames: usize) {
    for _ in frames..enhancer.pending() {
        if let Err(error) = without_panic(|| enhancer.discard()) {
            gst::debug!(CAT, "a submitted frame is dropped: {error}");
        }
    }
}

/// Has `work` write a frame in system memory, in a buffer with the metadata of `input`.
fn write(
    input: &gst::Buffer,
    stream: &VideoStream,
    new_output: &NewOutput<'_>,
    work: impl FnOnce(&mut FrameMut<'_>) -> Result<Report, Error>,
) -> Result<(gst::Buffer, Report), Failure> {
    let mut output = new_output(input).map_err(Failure::Flow)?;
    let mut planes = WritablePlanes::map(output.make_mut(), &stream.info, stream.spec)?;
    let report = work(&mut planes.frame()?)?;
    drop(planes);
    Ok((output, report))
}

/// Finishes a frame of which the input is no longer mapped.
fn finish_later(
    finish: &Finish,
    input: &gst::Buffer,
    stream: &VideoStream,
    output: &mut FrameMut<'_>,
) -> Result<(), Error> {
    if finish.is_nothing() {
        return Ok(());
    }
    let planes = ReadablePlanes::map(input, &stream.info, stream.spec)?;
    finish.apply(&planes.frame()?, output);
    Ok(())
}

/// Enhances a frame in CUDA memory.
fn on_gpu(
    enhancer: &mut Enhancer,
    context: &CudaContext,
    stream: &VideoStream,
    input: &gst::Buffer,
    parameters: Parameters,
    finish: &Finish,
    new_output: &NewOutput<'_>,
) -> Result<(gst::Buffer, Report), Failure> {
    let mut output = new_output(input).map_err(Failure::Flow)?;
    let report = cuda_memory::with_mapped(context, (input, output.make_mut()), stream, |from, to, after| {
        without_panic(|| enhancer.process_device(from, to, after, parameters))
    })?;
    cuda_memory::finish(context, (input, output.make_mut()), stream, finish)?;
    Ok((output, report))
}
