//! One stream of frames through the network.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backend::{
    Backend, DeviceBuffer, Executor, Geometry, MemoryFigures, Meter, PreparationJob, none_pending, pending,
};
use crate::cpu::survey;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{DeviceFrame, Frame, FrameMut, FrameSpec, Plane, PlaneMut, RawStream};
use crate::pack::{Manifest, Pack, Precision, Precisions};
use crate::session::backends::Loaded;
use crate::session::options::Options;
use crate::session::prepared::{Key, Prepared, PreparedCache};
use crate::session::repeats::LastFrame;
use crate::stages::{AUTOMATIC, Parameters, Plan, Quantity, Report};
use crate::temporal::{Exposure, Light, LightMeter, Reset, Scene, StreamMemory};

/// The time from one frame to the next, unless it is told.
const INTERVAL: Duration = Duration::from_millis(40);

/// URetinex-Net for one stream of frames.
///
/// Several enhancers of the same pack share one set of weights. What is prepared for a size is kept when the size, the
/// pack or `max_pixels` changes, so that going back costs nothing.
pub struct Enhancer {
    options: Options,
    /// The packs that the stream has used.
    loaded: Vec<Loaded>,
    /// The one in use.
    current: usize,
    prepared: PreparedCache,
    memory: StreamMemory,
    exposure: Exposure,
    meter: LightMeter,
    /// The scene in the next frame, where its light was asked for.
    scene: Option<Scene>,
    interval: Duration,
    last: LastFrame,
    /// The ratios of pending frames.
    ratios: VecDeque<f32>,
    time_stages: bool,
}

impl Enhancer {
    /// Loads the pack and makes the backend. Engines of a GPU are loaded or built when a size is prepared.
    ///
    /// # Errors
    /// [`ErrorKind::ModelNotFound`], [`ErrorKind::ModelInvalid`] (also if the networks give no finite numbers),
    /// [`ErrorKind::BackendUnavailable`] or [`ErrorKind::InvalidOption`]; the message says what was looked for and what to
    /// do.
    pub fn new(options: &Options) -> Result<Self> {
        let loaded = Loaded::new(Pack::open(&options.model)?, options)?;
        Ok(Self::assemble(options, loaded))
    }

    /// As [`new`](Self::new), with a backend of the caller's instead of the options'.
    ///
    /// # Errors
    /// Those of the pack, as for [`new`](Self::new).
    pub fn with_backend(options: &Options, backend: Box<dyn Backend>) -> Result<Self> {
        let loaded = Loaded {
            pack: Pack::open(&options.model)?,
            backend,
            preview: None,
            may_fall_back: false,
        };
        Ok(Self::assemble(options, loaded))
    }

    pub(crate) fn assemble(options: &Options, loaded: Loaded) -> Self {
        Self {
            options: options.clone(),
            loaded: vec![loaded],
            current: 0,
            prepared: PreparedCache::default(),
            memory: StreamMemory::default(),
            exposure: Exposure::default(),
            meter: LightMeter::default(),
            scene: None,
            interval: INTERVAL,
            last: LastFrame::default(),
            ratios: VecDeque::with_capacity(4),
            time_stages: false,
        }
    }

    /// What the pack says of itself.
    pub fn model(&self) -> &Manifest {
        self.loaded[self.current].pack.manifest()
    }

    /// Changes the pack, for the frames from the next one on. A pack that the stream has used before is not loaded again.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`ErrorKind::InvalidOption`] while frames are pending; the pack in use stays.
    pub fn set_model(&mut self, model: &str) -> Result<()> {
        self.refuse_pending()?;
        let pack = Pack::open(model)?;
        let digest = |pack: &Pack| pack.manifest().variants().map(|v| pack.digest(v)).collect::<Vec<_>>();
        let wanted = digest(&pack);
        let known = self.loaded.iter().position(|loaded| digest(&loaded.pack) == wanted);
        self.current = match known {
            Some(known) => known,
            None => {
                self.loaded.push(Loaded::new(pack, &self.options)?);
                self.loaded.len() - 1
            }
        };
        self.options.model = model.into();
        Ok(())
    }

    /// Changes how many pixels of a frame go through the networks, for the frames from the next one on; 0 is all.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] while frames are pending.
    pub fn set_max_pixels(&mut self, max_pixels: usize) -> Result<()> {
        self.refuse_pending()?;
        self.options.max_pixels = max_pixels;
        Ok(())
    }

    /// The name of the backend in use. With [`BackendChoice::Auto`](crate::BackendChoice::Auto) it can change from
    /// `tensorrt` to `cuda`, and from there to `cpu`, when a size is prepared.
    pub fn backend_name(&self) -> &'static str {
        self.loaded[self.current].backend.name()
    }

    /// The number format of each subnetwork's arithmetic, once a size is prepared; before, FP32.
    pub fn precisions(&self) -> Precisions {
        self.prepared
            .peek()
            .map_or(Precision::Fp32.into(), Executor::precisions)
    }

    /// Whether the prepared backend uses what it remembers of a stream ([`Parameters::temporal`]); false before a size is
    /// prepared. The processor and a GPU do, the identity does not.
    pub fn remembers(&self) -> bool {
        self.prepared.peek().is_some_and(Executor::remembers)
    }

    /// The sizes that frames are prepared for.
    pub fn geometry(&self) -> Option<&Geometry> {
        self.prepared.current_key().map(|key| &key.geometry)
    }

    /// Bytes of memory held for frames of the prepared size, weights not counted; 0 if unknown or nothing is prepared.
    pub fn bytes(&self) -> usize {
        self.prepared.peek().map_or(0, Executor::bytes)
    }

    fn key(&self, spec: &FrameSpec) -> Result<Key> {
        spec.validate()?;
        Ok(Key {
            loaded: self.current,
            geometry: Geometry::new(*spec, self.options.max_pixels, self.model().multiple),
        })
    }

    /// The work that [`prepare`](Self::prepare) would wait for with frames of `spec`, such as building engines, to be done
    /// beforehand on any thread; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a size outside the limits.
    pub fn preparation(&self, spec: &FrameSpec) -> Result<Option<PreparationJob>> {
        let key = self.key(spec)?;
        if self.prepared.current_key() == Some(&key) {
            return Ok(None);
        }
        Ok(self.loaded[self.current].backend.preparation(&key.geometry))
    }

    /// Makes everything ready for frames of `spec`. [`process`](Self::process) does so by itself when the size changes;
    /// call this to pay the cost beforehand. On a GPU it loads engines, or builds them, which takes minutes and is logged:
    /// see [`preparation`](Self::preparation) to do that on another thread.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a size outside the limits, [`ErrorKind::OutOfMemory`],
    /// [`ErrorKind::InvalidOption`] if frames of another size are pending, [`ErrorKind::BackendUnavailable`] or
    /// [`ErrorKind::BackendFailed`] if engines cannot be had.
    pub fn prepare(&mut self, spec: &FrameSpec) -> Result<()> {
        let key = self.key(spec)?;
        let before = self.prepared.current_key().copied();
        if before != Some(key) {
            self.refuse_pending()?;
            // Each time another backend takes over, until there is none.
            while let Err(error) = self.select(key) {
                self.fall_back(error)?;
            }
            if let Some(before) = before {
                self.memory.reset(match before.geometry.spec == key.geometry.spec {
                    true => Reset::NewExecutor,
                    false => Reset::NewFormat,
                });
            }
        }
        Ok(())
    }

    /// The executor in use.
    fn executor(&mut self) -> Result<&mut Prepared> {
        self.prepared.current().ok_or_else(unprepared)
    }

    fn select(&mut self, key: Key) -> Result<()> {
        let Loaded { backend, .. } = &mut self.loaded[self.current];
        self.prepared.select(key, &mut || backend.prepare(&key.geometry))
    }

    /// For a caller whose [`PreparationJob`] failed with `error`: with [`BackendChoice::Auto`](crate::BackendChoice::Auto)
    /// the next backend takes over: CUDA after TensorRT, then the processor.
    ///
    /// # Errors
    /// `error` itself where no other backend may take over.
    pub fn fall_back(&mut self, error: Error) -> Result<()> {
        self.loaded[self.current].fall_back(error, &self.options)?;
        self.prepared.forget(self.current);
        self.memory.reset(Reset::NewExecutor);
        Ok(())
    }

    /// How long a frame of `spec` takes: prepares the size and, the first time, takes a dark frame through it. The stream's
    /// memory does not see that frame.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare), and [`ErrorKind::BackendFailed`].
    pub fn trial(&mut self, spec: &FrameSpec) -> Result<Duration> {
        self.refuse_pending()?;
        self.prepare(spec)?;
        let Prepared { executor, trial, .. } = self.executor()?;
        if let Some(time) = *trial {
            return Ok(time);
        }
        let planes = spec.format.planes();
        let stride = |i| spec.format.row_bytes(i, spec.width);
        let bytes = |i| vec![0; stride(i) * spec.format.rows(i, spec.height)];
        let (dark, mut bright): (Vec<_>, Vec<_>) = (0..planes).map(|i| (bytes(i), bytes(i))).unzip();
        let dark: Vec<_> = (0..planes)
            .map(|i| Plane {
                data: &dark[i],
                stride: stride(i),
            })
            .collect();
        let bright = bright.iter_mut().enumerate().map(|(i, data)| PlaneMut {
            data,
            stride: stride(i),
        });
        let (input, mut output) = (Frame::new(*spec, &dark)?, FrameMut::from_iter(*spec, bright)?);
        let started = Instant::now();
        executor.process(&input, &mut output, &Plan::single(Parameters::default()))?;
        Ok(*trial.insert(started.elapsed()))
    }

    /// Tells the stream's memory that the next frame does not continue the ones before.
    pub fn reset(&mut self, reason: Reset) {
        self.memory.reset(reason);
        self.exposure.reset();
        // Frames that are missing, or another size, leave day and night as they are.
        if reason == Reset::Flush {
            self.meter.reset();
        }
    }

    /// The light at `input`, the next frame of the stream, from a sparse sample of its pixels; a change between day and
    /// night takes `fade`. A backend without networks has nothing to tell apart: all is night, and in colour.
    ///
    /// The caller decides what becomes of the frame. If it goes through untouched, say so with
    /// [`Reset::PassedThrough`].
    pub fn light(&mut self, input: &Frame<'_>, fade: Duration) -> Light {
        let scene = survey(input);
        let light = self.meter.follow(&scene, self.interval, fade);
        self.scene = Some(scene);
        self.take_light(light)
    }

    /// As [`light`](Self::light), of a frame that is not looked at, as it is in device memory: its scene is taken to be that of
    /// the frame before. None if no frame was looked at yet.
    pub fn light_unseen(&mut self, fade: Duration) -> Option<Light> {
        let light = self.meter.follow_unseen(self.interval, fade)?;
        Some(self.take_light(light))
    }

    fn take_light(&mut self, light: Light) -> Light {
        if light.switched {
            // What is remembered has the wrong colours, and where the lamp is infrared, another light.
            self.memory.reset(Reset::SceneCut);
            self.exposure.reset();
        }
        match self.loaded[self.current].backend.has_networks() {
            true => light,
            false => Light {
                night: 1.0,
                grey: false,
                ..light
            },
        }
    }

    /// What is remembered of the stream.
    pub fn memory(&self) -> &StreamMemory {
        &self.memory
    }

    /// Takes one frame through the network. `output` has the same format, size and colorimetry as `input`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the two differ, [`ErrorKind::InvalidOption`] for parameters outside their
    /// range or while frames are pending, [`ErrorKind::BackendFailed`]; the enhancer can go on with the next frame. Those
    /// of [`prepare`](Self::prepare).
    pub fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, parameters: Parameters) -> Result<Report> {
        check_same(input.spec(), output.spec())?;
        parameters.check()?;
        self.refuse_pending()?;
        self.prepare(input.spec())?;
        let parameters = self.with_ratio(parameters, Some(input))?;
        let plan = self.plan(parameters, Some(input));
        let time_stages = self.time_stages;
        let executor = &mut self.executor()?.executor;
        let report = match time_stages {
            true => executor.process_timed(input, output, &plan),
            false => executor.process(input, output, &plan),
        };
        self.observe(report, parameters.ratio)
    }

    /// How a frame is made; `input` is its bytes, where they can be compared with those of the frame before.
    fn plan(&mut self, parameters: Parameters, input: Option<&Frame<'_>>) -> Plan {
        let repeated = match input {
            Some(input) if parameters.temporal > 0.0 => self.last.is_repeated_by(input),
            _ => {
                self.last.forget();
                false
            }
        };
        Plan {
            repeated,
            ..self.memory.plan(parameters)
        }
    }

    /// Has the memory see how a frame went: one that failed leaves no state to go on from.
    fn observe(&mut self, report: Result<Report>, ratio: f32) -> Result<Report> {
        match &report {
            Ok(report) => self.memory.observe(report),
            Err(_) => self.memory.reset(Reset::Discontinuity),
        }
        report.map(|report| Report { ratio, ..report })
    }

    /// The parameters with a ratio that is a number: that of the scene in `input` if it is to be automatic.
    fn with_ratio(&mut self, parameters: Parameters, input: Option<&Frame<'_>>) -> Result<Parameters> {
        let scene = self.scene.take();
        if parameters.ratio != AUTOMATIC {
            self.exposure.reset();
            return Ok(parameters);
        }
        let ratio = match input {
            Some(input) if self.loaded[self.current].backend.has_networks() => {
                let threads = self.options.threads;
                let scene = scene.unwrap_or_else(|| survey(input));
                let loaded = &mut self.loaded[self.current];
                let look = || loaded.preview(input.spec(), threads)?.look(input);
                self.exposure
                    .follow(scene, parameters.brightness, self.interval, look)?
            }
            _ => self.exposure.ratio().unwrap_or(Parameters::default().ratio),
        };
        Ok(Parameters { ratio, ..parameters })
    }

    /// Says how long it is from one frame to the next, by which an automatic ratio is followed; 40 ms unless it is told.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// How many frames can be submitted before the first must be collected. Where it is 1, frames are processed instead.
    pub fn depth(&self) -> usize {
        self.prepared.peek().map_or(1, Executor::depth)
    }

    /// Frames that were submitted and not collected.
    pub fn pending(&self) -> usize {
        self.prepared.peek().map_or(0, Executor::pending)
    }

    /// Starts a frame and does not wait for it; up to [`depth`](Self::depth) frames are pending at once.
    ///
    /// # Errors
    /// As [`process`](Self::process); [`ErrorKind::Unsupported`] where [`depth`](Self::depth) is 1,
    /// [`ErrorKind::InvalidOption`] if as many frames are pending as there can be.
    pub fn submit(&mut self, input: &Frame<'_>, parameters: Parameters) -> Result<()> {
        parameters.check()?;
        self.prepare(input.spec())?;
        let parameters = self.with_ratio(parameters, Some(input))?;
        let mut plan = self.plan(parameters, Some(input));
        // The memory has not seen the frames that are pending, but their state is there.
        plan.fresh &= self.pending() == 0;
        self.executor()?.executor.submit(input, &plan)?;
        self.ratios.push_back(parameters.ratio);
        Ok(())
    }

    /// Waits for the frame that was submitted first, and writes it to `output`. The frame is no longer pending, even after
    /// an error, unless `output` is of another kind than the frame.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if `output` is not of the submitted frame's kind, [`ErrorKind::InvalidOption`] if no
    /// frame is pending, [`ErrorKind::BackendFailed`].
    pub fn collect(&mut self, output: &mut FrameMut<'_>) -> Result<Report> {
        if let Some(geometry) = self.geometry() {
            check_same(&geometry.spec, output.spec())?;
        }
        let report = self
            .prepared
            .current()
            .ok_or_else(none_pending)?
            .executor
            .collect(output);
        let ratio = self.next_ratio();
        self.observe(report, ratio)
    }

    /// The ratio of the frame that leaves the pending ones; those that are pending no longer are forgotten.
    fn next_ratio(&mut self) -> f32 {
        let ratio = self.ratios.pop_front().unwrap_or_default();
        self.ratios.truncate(self.pending());
        ratio
    }

    /// Waits for the frame that was submitted first, and drops it. The frame is no longer pending, even after an error.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if no frame is pending, [`ErrorKind::BackendFailed`].
    pub fn discard(&mut self) -> Result<()> {
        let discarded = self.prepared.current().ok_or_else(none_pending)?.executor.discard();
        self.next_ratio();
        discarded
    }

    /// Takes a frame in device memory through the network, without a copy, after all that was issued on `after`; returns
    /// when `output` is written. `output` is of the same kind as `input` and shares no byte with it.
    ///
    /// An automatic ratio is found from the frame's thumbnail, which comes back with the frame's sums: changes of up to 6 %
    /// are the next frame's, and a frame whose ratio should differ by more is adjusted anew before this returns.
    ///
    /// # Errors
    /// As [`process`](Self::process); [`ErrorKind::Unsupported`] on a backend that works in system memory.
    pub fn process_device(
        &mut self,
        input: &DeviceFrame,
        output: &DeviceFrame,
        after: Option<RawStream>,
        parameters: Parameters,
    ) -> Result<Report> {
        check_same(input.spec(), output.spec())?;
        parameters.check()?;
        if input.overlaps(output) {
            return Err(Error::new(
                ErrorKind::InvalidFrame,
                "input and output overlap in device memory: give the output memory of its own",
            ));
        }
        self.refuse_pending()?;
        self.scene = None;
        self.prepare(input.spec())?;
        let automatic = parameters.ratio == AUTOMATIC && self.loaded[self.current].backend.has_networks();
        let parameters = self.with_ratio(parameters, None)?;
        let plan = self.plan(parameters, None);
        let Self {
            options,
            loaded,
            current,
            prepared,
            exposure,
            interval,
            ..
        } = self;
        let loaded = &mut loaded[*current];
        let mut ratio = parameters.ratio;
        let mut meter = |thumbnail: &[f32]| {
            let look = || loaded.preview(input.spec(), options.threads)?.look_at(thumbnail);
            let wanted = exposure.follow(Scene::of(thumbnail), parameters.brightness, *interval, look)?;
            let anew = Exposure::is_far(ratio, wanted).then_some(wanted);
            ratio = anew.unwrap_or(ratio);
            Ok(anew)
        };
        let meter = automatic.then_some(&mut meter as Meter<'_>);
        let executor = &mut prepared.current().ok_or_else(unprepared)?.executor;
        let report = executor.process_device(input, output, after, &plan, meter);
        self.observe(report, ratio)
    }

    /// Memory for a frame on the backend's device, for programs that have none of their own.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a backend that works in system memory, and for a size outside the limits;
    /// [`ErrorKind::OutOfMemory`].
    pub fn device_buffer(&self, spec: &FrameSpec) -> Result<Box<dyn DeviceBuffer>> {
        self.loaded[self.current].backend.device_buffer(spec)
    }

    /// Takes a frame in such memory through the network, as [`process_device`](Self::process_device) does.
    ///
    /// # Errors
    /// As [`process_device`](Self::process_device); [`ErrorKind::InvalidOption`] for memory of another device.
    pub fn process_buffers(
        &mut self,
        input: &dyn DeviceBuffer,
        output: &mut dyn DeviceBuffer,
        parameters: Parameters,
    ) -> Result<Report> {
        self.prepare(input.spec())?;
        let device = self.executor()?.executor.device();
        if [input.device(), output.device()]
            .into_iter()
            .any(|of| device.is_some_and(|own| of != own))
        {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "the frame is in the memory of another device or context than the enhancer works in",
            ));
        }
        self.process_device(&input.frame()?, &output.frame()?, None, parameters)
    }

    /// Bytes of the device's memory that are free.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a backend that works in system memory.
    pub fn free_memory(&self) -> Result<u64> {
        self.loaded[self.current].backend.free_memory()
    }

    /// Measures what the device's memory gives, which takes 1 GiB of it for a moment.
    ///
    /// # Errors
    /// As [`device_buffer`](Self::device_buffer); [`ErrorKind::InvalidOption`] before a size is prepared.
    pub fn memory_figures(&self) -> Result<MemoryFigures> {
        let executor = self.prepared.peek();
        let executor = executor.ok_or_else(unprepared)?;
        executor.memory_figures()
    }

    fn refuse_pending(&self) -> Result<()> {
        match self.pending() {
            0 => Ok(()),
            count => Err(pending(count)),
        }
    }

    /// Whether [`process`](Self::process) reports each stage's time. On the processor it always does; on a GPU the stages
    /// are then executed one by one and not as one graph, which is slower.
    pub fn time_stages(&mut self, on: bool) {
        self.time_stages = on;
    }

    /// A quantity of the frame processed last: channel by channel, row by row, at the working size without padding.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] before a size is prepared.
    pub fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        self.executor()?.executor.read(quantity)
    }
}

fn unprepared() -> Error {
    Error::new(ErrorKind::InvalidOption, "no size is prepared yet: prepare one first")
}

fn check_same(input: &FrameSpec, output: &FrameSpec) -> Result<()> {
    if input == output {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidFrame,
        format!("input is {input:?}, output is {output:?}: they must be the same"),
    ))
}
