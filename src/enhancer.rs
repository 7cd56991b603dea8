//! The way in: options → pack and backend → frames.

use std::path::PathBuf;

use crate::backend::{Backend, Geometry, Quantity, Replay, none_pending};
use crate::cpu::CpuBackend;
use crate::cuda::{DeviceFrameBuffer, EngineJob, EngineSource, GpuFigures, RawContext, Surface, TensorRtBackend};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{
    Colorimetry, DeviceFrame, Frame, FrameMut, FrameSpec, MIN_SIDE, OwnedFrame, PixelFormat, Plane, PlaneMut, RawStream,
};
use crate::identity::IdentityBackend;
use crate::pack::{Manifest, Pack, Precision, Precisions};
use crate::stage::{Parameters, Report};
use crate::unfold::{record, unfold};

/// The least and the greatest `ratio`.
pub const RATIO_RANGE: std::ops::RangeInclusive<f32> = 1.0..=20.0;

/// Rows and planes of the frames in a backend's own staging memory are aligned to at least this, in bytes.
const STAGED: u32 = 16;

/// Which backend does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// The best that works on this machine.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU through TensorRT.
    TensorRt,
    /// No network: frames go through colour conversion and back. For measuring what conversion costs.
    Identity,
}

/// How an [`Enhancer`] is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// `auto` (`lite`), the name of an embedded pack, or a pack's folder.
    pub model: String,
    /// The backend.
    pub backend: BackendChoice,
    /// The number format of the networks' arithmetic; `None` is the fastest whose numbers are right: on a GPU 16 bits
    /// for each subnetwork that comes near its numbers on the processor, on the processor 32.
    pub precision: Option<Precision>,
    /// Threads for the work on the processor; 0 is one for every core.
    pub threads: usize,
    /// The GPU, counted from 0.
    pub device_id: u32,
    /// At most this many pixels go through the networks; 0 is all of them.
    pub max_pixels: usize,
    /// The folder that engines are kept in; `None` is the one that [`EngineCache::new`](crate::EngineCache::new) names.
    pub engine_cache: Option<PathBuf>,
    /// A CUDA context of the caller's to work in; `None` is the GPU's primary one.
    pub cuda_context: Option<RawContext>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: "auto".into(),
            backend: BackendChoice::Auto,
            precision: None,
            threads: 0,
            device_id: 0,
            max_pixels: 0,
            engine_cache: None,
            cuda_context: None,
        }
    }
}

/// URetinex-Net for one stream of frames.
///
/// Several enhancers of the same pack share one set of weights.
pub struct Enhancer {
    options: Options,
    pack: Pack,
    backend: Box<dyn Backend>,
    /// Whether the processor takes over if the backend cannot be prepared.
    may_fall_back: bool,
    geometry: Option<Geometry>,
    /// The frame submitted to a backend that takes one at a time, and with what, while it waits.
    held: OwnedFrame,
    waiting: Option<Parameters>,
    time_stages: bool,
}

impl Enhancer {
    /// Loads the pack, makes the backend, and takes a small picture through the pack's networks to see that numbers
    /// come out. Engines of a GPU are loaded or built when a size is prepared.
    ///
    /// # Errors
    /// [`ErrorKind::ModelNotFound`], [`ErrorKind::ModelInvalid`], [`ErrorKind::BackendUnavailable`] or
    /// [`ErrorKind::InvalidOption`]; the message says what was looked for and what to do.
    pub fn new(options: &Options) -> Result<Self> {
        let pack = Pack::open(&options.model)?;
        let name = format!("{} {}", pack.manifest().name, pack.manifest().version);
        let mut may_fall_back = false;
        let backend: Box<dyn Backend> = match options.backend {
            BackendChoice::Cpu => cpu(&pack, options)?,
            BackendChoice::Identity => Box::new(IdentityBackend::new(options.threads)),
            BackendChoice::TensorRt => tensorrt(&pack, options).map_err(|e| match e.kind() {
                ErrorKind::BackendUnavailable => Error::new(
                    e.kind(),
                    format!("backend=tensorrt cannot be used, take backend=auto or backend=cpu: {e}"),
                ),
                _ => e,
            })?,
            BackendChoice::Auto => match tensorrt(&pack, options) {
                Ok(backend) => {
                    may_fall_back = true;
                    backend
                }
                Err(e) if e.kind() == ErrorKind::ModelInvalid => return Err(e),
                Err(e) => {
                    log::info!("{name} on cpu, because tensorrt cannot be used: {e}");
                    cpu(&pack, options)?
                }
            },
        };
        if backend.name() != "cpu" || options.backend != BackendChoice::Auto {
            log::info!("{name} on {}", backend.name());
        }
        Self::assemble(pack, options, backend, may_fall_back)
    }

    /// As [`new`](Self::new), on a backend of the caller's own, whatever the options say of backends.
    ///
    /// # Errors
    /// Those of the pack, as for [`new`](Self::new).
    pub fn with_backend(options: &Options, backend: Box<dyn Backend>) -> Result<Self> {
        Self::assemble(Pack::open(&options.model)?, options, backend, false)
    }

    fn assemble(pack: Pack, options: &Options, backend: Box<dyn Backend>, may_fall_back: bool) -> Result<Self> {
        let mut enhancer = Self {
            options: options.clone(),
            pack,
            backend,
            may_fall_back,
            geometry: None,
            held: OwnedFrame::default(),
            waiting: None,
            time_stages: false,
        };
        // A backend with engines compares their numbers with the processor's when it has them.
        if enhancer.backend.replay().is_none() {
            enhancer.try_out(&options.model)?;
        }
        Ok(enhancer)
    }

    /// A small gradient has to come out as finite numbers.
    fn try_out(&mut self, model: &str) -> Result<()> {
        let spec = FrameSpec {
            format: PixelFormat::Rgb,
            width: MIN_SIDE,
            height: MIN_SIDE,
            colorimetry: Colorimetry::FULL,
        };
        let pixels: Vec<u8> = (0..MIN_SIDE * MIN_SIDE * 3).map(|i| (i % 256) as u8).collect();
        let mut out = vec![0; pixels.len()];
        let stride = MIN_SIDE * 3;
        let input = Frame::new(spec, &[Plane { data: &pixels, stride }])?;
        let mut output = FrameMut::new(spec, [PlaneMut { data: &mut out, stride }])?;
        self.process(&input, &mut output, Parameters::default())?;
        for quantity in [Quantity::P, Quantity::Q, Quantity::R, Quantity::L, Quantity::Adjusted] {
            if self.backend.read(quantity)?.iter().any(|v| !v.is_finite()) {
                return Err(Error::new(
                    ErrorKind::ModelInvalid,
                    format!(
                        "model pack '{model}' gives NaN or infinite numbers for {quantity:?} of a plain picture: its \
                         weights are damaged; take another pack or train this one again"
                    ),
                ));
            }
        }
        self.geometry = None;
        Ok(())
    }

    /// What the pack says of itself.
    pub fn model(&self) -> &Manifest {
        self.pack.manifest()
    }

    /// The name of the backend in use. With [`BackendChoice::Auto`] it may change from `tensorrt` to `cpu` when a size
    /// is prepared.
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// The number format of each subnetwork's arithmetic, for the sizes prepared for.
    pub fn precisions(&self) -> Precisions {
        self.backend.precisions()
    }

    /// The sizes prepared for.
    pub fn geometry(&self) -> Option<&Geometry> {
        self.geometry.as_ref()
    }

    /// Bytes of memory that the backend holds for frames of the size prepared for, weights not counted; 0 if it does
    /// not know or no size is prepared.
    pub fn bytes(&self) -> usize {
        self.backend.bytes()
    }

    fn geometry_of(&self, spec: &FrameSpec) -> Result<Geometry> {
        spec.validate()?;
        Ok(Geometry::new(
            *spec,
            self.options.max_pixels,
            self.pack.manifest().multiple,
        ))
    }

    /// The engines that [`prepare`](Self::prepare) would load or build for frames of `spec`, to be had beforehand on
    /// any thread; `None` if there is nothing to wait for.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a size outside the limits.
    pub fn engine_job(&mut self, spec: &FrameSpec) -> Result<Option<EngineJob>> {
        let geometry = self.geometry_of(spec)?;
        Ok(self.backend.replay().and_then(|replay| replay.engine_job(&geometry)))
    }

    /// Allocates for frames of `spec`. [`process`](Self::process) does so by itself when the size changes; whoever
    /// wants the cost beforehand calls this. On a GPU it loads engines, or builds them, which takes minutes and is told
    /// in the log: see [`engine_job`](Self::engine_job) to have them first.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a size outside the limits, [`ErrorKind::OutOfMemory`],
    /// [`ErrorKind::InvalidOption`] if submitted frames of another size have not been collected,
    /// [`ErrorKind::BackendUnavailable`] or [`ErrorKind::BackendFailed`] if engines cannot be had.
    pub fn prepare(&mut self, spec: &FrameSpec) -> Result<()> {
        self.prepare_for(spec, STAGED)
    }

    fn prepare_for(&mut self, spec: &FrameSpec, alignment: u32) -> Result<()> {
        let geometry = self.geometry_of(spec)?;
        if self.geometry != Some(geometry) {
            if self.pending() > 0 {
                return Err(Error::new(
                    ErrorKind::InvalidOption,
                    "submitted frames of another size are under way: collect them first",
                ));
            }
            self.geometry = None;
            match self.make_ready(&geometry, alignment) {
                Ok(()) => {}
                Err(e) => {
                    self.fall_back(e)?;
                    self.backend.prepare(&geometry)?;
                }
            }
            self.geometry = Some(geometry);
        }
        match self.backend.replay() {
            // What was recorded counts on more than these frames give.
            Some(replay) if replay.alignment() == 0 || replay.alignment() > alignment => {
                record(&mut *self.backend, &self.pack.manifest().schedule, alignment)
            }
            _ => Ok(()),
        }
    }

    /// For whoever ran an [`EngineJob`] that failed with `error`: with [`BackendChoice::Auto`] the processor takes over.
    ///
    /// # Errors
    /// `error` itself where no other backend may take over.
    pub fn fall_back(&mut self, error: Error) -> Result<()> {
        if !self.may_fall_back || error.kind() == ErrorKind::ModelInvalid {
            return Err(error);
        }
        log::warn!("cpu takes over, because tensorrt cannot be prepared: {error}");
        self.backend = cpu(&self.pack, &self.options)?;
        self.backend.time_stages(self.time_stages);
        self.may_fall_back = false;
        self.geometry = None;
        Ok(())
    }

    fn make_ready(&mut self, geometry: &Geometry, alignment: u32) -> Result<()> {
        self.backend.prepare(geometry)?;
        match self.backend.replay() {
            Some(_) => record(&mut *self.backend, &self.pack.manifest().schedule, alignment),
            None => Ok(()),
        }
    }

    /// Takes one frame through the network. `output` has the same format, size and colorimetry as `input`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the two differ, [`ErrorKind::InvalidOption`] for parameters outside their
    /// range or while submitted frames are under way, [`ErrorKind::BackendFailed`]; the enhancer can go on with the
    /// next frame. Those of [`prepare`](Self::prepare).
    pub fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, parameters: Parameters) -> Result<Report> {
        check_same(input.spec(), output.spec())?;
        check(parameters)?;
        self.refuse_pending()?;
        self.prepare(input.spec())?;
        if !self.time_stages
            && let Some(replay) = self.backend.replay()
        {
            replay.submit(input, parameters)?;
            return replay.collect(output);
        }
        let schedule = &self.pack.manifest().schedule;
        unfold(&mut *self.backend, schedule, input, parameters, output)
    }

    /// How many frames can be submitted before the first has to be collected.
    pub fn depth(&mut self) -> usize {
        self.backend.replay().map_or(1, |replay| replay.depth())
    }

    /// Frames that were submitted and not collected.
    pub fn pending(&mut self) -> usize {
        match self.backend.replay() {
            Some(replay) => replay.pending(),
            None => self.waiting.is_some().into(),
        }
    }

    /// Sends a frame on its way. On a GPU this waits for nothing, and up to [`depth`](Self::depth) frames are under
    /// way at once; elsewhere the work is done when the frame is collected.
    ///
    /// # Errors
    /// As [`process`](Self::process); [`ErrorKind::InvalidOption`] if as many frames are under way as there can be.
    pub fn submit(&mut self, input: &Frame<'_>, parameters: Parameters) -> Result<()> {
        check(parameters)?;
        self.prepare(input.spec())?;
        if let Some(replay) = self.backend.replay() {
            return replay.submit(input, parameters);
        }
        self.refuse_pending()?;
        self.held.fill(input);
        self.waiting = Some(parameters);
        Ok(())
    }

    /// Waits for the frame that was submitted first, and writes it to `output`. The report's total is the time since
    /// it was submitted.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if `output` is not of the submitted frame's kind, [`ErrorKind::InvalidOption`] if no
    /// frame is under way, [`ErrorKind::BackendFailed`].
    pub fn collect(&mut self, output: &mut FrameMut<'_>) -> Result<Report> {
        if let Some(geometry) = &self.geometry {
            check_same(&geometry.spec, output.spec())?;
        }
        if let Some(replay) = self.backend.replay() {
            return replay.collect(output);
        }
        let (Some(held), Some(parameters)) = (self.held.frame(), self.waiting.take()) else {
            return Err(none_pending());
        };
        let schedule = &self.pack.manifest().schedule;
        unfold(&mut *self.backend, schedule, &held?, parameters, output)
    }

    /// Waits for the frame that was submitted first, and forgets it. It is under way no more, even if this fails.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if no frame is under way, [`ErrorKind::BackendFailed`].
    pub fn discard(&mut self) -> Result<()> {
        match self.backend.replay() {
            Some(replay) => replay.discard(),
            None => self.waiting.take().map(|_| ()).ok_or_else(none_pending),
        }
    }

    /// Takes a frame in device memory through the network, without a copy of it, after all that was issued on `after`;
    /// returns when `output` is written. `output` is of the same kind as `input` and shares no byte with it.
    ///
    /// # Errors
    /// As [`process`](Self::process); [`ErrorKind::Unsupported`] on a backend that has no device memory.
    pub fn process_device(
        &mut self,
        input: &DeviceFrame,
        output: &DeviceFrame,
        after: Option<RawStream>,
        parameters: Parameters,
    ) -> Result<Report> {
        check_same(input.spec(), output.spec())?;
        check(parameters)?;
        if input.overlaps(output) {
            return Err(Error::new(
                ErrorKind::InvalidFrame,
                "input and output overlap in device memory: give the output memory of its own",
            ));
        }
        self.refuse_pending()?;
        let [from, to] = [input, output].map(|frame| Surface::from(frame).alignment());
        self.prepare_for(input.spec(), from.min(to))?;
        self.on_device()?.process_device(input, output, after, parameters)
    }

    /// Memory for a frame on the backend's GPU, for programs that have none of their own.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a backend that has no device memory, and for a size outside the limits;
    /// [`ErrorKind::OutOfMemory`].
    pub fn device_frame(&mut self, spec: &FrameSpec) -> Result<DeviceFrameBuffer> {
        self.on_device()?.device_frame(spec)
    }

    /// Takes a frame of such memory through the network, as [`process_device`](Self::process_device) does.
    ///
    /// # Errors
    /// As [`process_device`](Self::process_device); [`ErrorKind::InvalidOption`] for memory of another GPU.
    pub fn process_buffers(
        &mut self,
        input: &DeviceFrameBuffer,
        output: &mut DeviceFrameBuffer,
        parameters: Parameters,
    ) -> Result<Report> {
        check_same(input.spec(), output.spec())?;
        check(parameters)?;
        self.refuse_pending()?;
        self.prepare(input.spec())?;
        self.on_device()?.process_buffers(input, output, parameters)
    }

    /// Bytes of the GPU's memory that are free.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] on a backend that has no device memory.
    pub fn gpu_free_memory(&mut self) -> Result<u64> {
        self.on_device()?.free_memory()
    }

    /// Measures what the GPU's memory gives, which takes 1 GiB of it for a moment.
    ///
    /// # Errors
    /// As [`device_frame`](Self::device_frame); [`ErrorKind::BackendFailed`] before a size is prepared.
    pub fn gpu_figures(&mut self) -> Result<GpuFigures> {
        self.on_device()?.figures()
    }

    fn on_device(&mut self) -> Result<&mut dyn Replay> {
        let name = self.backend.name();
        self.backend.replay().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("the {name} backend takes frames in system memory alone: bring them there first"),
            )
        })
    }

    fn refuse_pending(&mut self) -> Result<()> {
        match self.pending() {
            0 => Ok(()),
            n => Err(Error::new(
                ErrorKind::InvalidOption,
                format!("{n} submitted frames are under way: collect them first"),
            )),
        }
    }

    /// Whether [`process`](Self::process) reports each stage's time. On the processor it always does; on a GPU the
    /// stages are then run one by one and not as one graph, which is slower.
    pub fn time_stages(&mut self, on: bool) {
        self.time_stages = on;
        self.backend.time_stages(on);
    }

    /// A quantity of the frame processed last; see [`Backend::read`].
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] before the first frame.
    pub fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        self.backend.read(quantity)
    }
}

fn check_same(input: &FrameSpec, output: &FrameSpec) -> Result<()> {
    if input == output {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidFrame,
        format!("input is {input:?}, output is {output:?}: they have to be the same"),
    ))
}

fn check(parameters: Parameters) -> Result<()> {
    let Parameters { ratio, strength } = parameters;
    if RATIO_RANGE.contains(&ratio) && (0.0..=1.0).contains(&strength) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidOption,
        format!(
            "ratio {ratio} has to be within {} to {}, strength {strength} within 0 to 1",
            RATIO_RANGE.start(),
            RATIO_RANGE.end()
        ),
    ))
}

fn cpu(pack: &Pack, options: &Options) -> Result<Box<dyn Backend>> {
    let precision = options.precision.unwrap_or(Precision::Fp32);
    Ok(Box::new(CpuBackend::new(pack, precision, options.threads)?))
}

fn tensorrt(pack: &Pack, options: &Options) -> Result<Box<dyn Backend>> {
    let source = EngineSource::new(
        pack,
        options.device_id,
        options.cuda_context,
        options.precision,
        options.engine_cache.clone(),
        options.threads,
    )?;
    Ok(Box::new(TensorRtBackend::new(source.device(), Box::new(source))?))
}

#[cfg(test)]
mod tests;
