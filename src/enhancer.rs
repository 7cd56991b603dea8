//! The way in: options → pack and backend → frames.

use crate::backend::{Backend, Geometry, Quantity};
use crate::cpu::CpuBackend;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Colorimetry, Frame, FrameMut, FrameSpec, MIN_SIDE, PixelFormat, Plane, PlaneMut};
use crate::identity::IdentityBackend;
use crate::pack::{Manifest, Pack, Precision};
use crate::probe::probe;
use crate::unfold::{Parameters, Report, unfold};

/// The least and the greatest `ratio`.
pub const RATIO_RANGE: std::ops::RangeInclusive<f32> = 1.0..=20.0;

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
    /// `auto` (`full` on a GPU, `lite` on a CPU), the name of an embedded pack, or a pack's folder.
    pub model: String,
    /// The backend.
    pub backend: BackendChoice,
    /// The number format of the networks' arithmetic.
    pub precision: Precision,
    /// Threads for the work on the processor; 0 is one for every core.
    pub threads: usize,
    /// The GPU, counted from 0.
    pub device_id: u32,
    /// At most this many pixels go through the networks; 0 is all of them.
    pub max_pixels: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: "auto".into(),
            backend: BackendChoice::Auto,
            precision: Precision::Fp32,
            threads: 0,
            device_id: 0,
            max_pixels: 0,
        }
    }
}

/// URetinex-Net for one stream of frames.
///
/// Several enhancers of the same pack share one set of weights.
pub struct Enhancer {
    manifest: Manifest,
    max_pixels: usize,
    backend: Box<dyn Backend>,
    geometry: Option<Geometry>,
}

impl Enhancer {
    /// Loads the pack, makes the backend, and takes a small picture through both to see that numbers come out.
    ///
    /// # Errors
    /// [`ErrorKind::ModelNotFound`], [`ErrorKind::ModelInvalid`], [`ErrorKind::BackendUnavailable`] or
    /// [`ErrorKind::InvalidOption`]; the message says what was looked for and what to do.
    pub fn new(options: &Options) -> Result<Self> {
        let choice = match options.backend {
            BackendChoice::Auto => BackendChoice::Cpu,
            chosen => chosen,
        };
        let model = match options.model.as_str() {
            "auto" | "" => "lite",
            other => other,
        };
        let pack = Pack::open(model)?;
        let backend: Box<dyn Backend> = match choice {
            BackendChoice::Auto | BackendChoice::Cpu => {
                Box::new(CpuBackend::new(&pack, options.precision, options.threads)?)
            }
            BackendChoice::Identity => Box::new(IdentityBackend::new(options.threads)),
            BackendChoice::TensorRt => return Err(tensorrt_unavailable()),
        };
        let manifest = pack.manifest().clone();
        log::info!("{} {} on {}", manifest.name, manifest.version, backend.name());
        let mut enhancer = Self {
            manifest,
            max_pixels: options.max_pixels,
            backend,
            geometry: None,
        };
        enhancer.try_out(model)?;
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
        &self.manifest
    }

    /// The name of the backend in use.
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
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

    /// Allocates for frames of `spec`. [`process`](Self::process) does so by itself when the size changes; whoever
    /// wants the cost beforehand calls this.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a size outside the limits, [`ErrorKind::BackendFailed`] if memory is short.
    pub fn prepare(&mut self, spec: &FrameSpec) -> Result<()> {
        spec.validate()?;
        let geometry = Geometry::new(*spec, self.max_pixels, self.manifest.multiple);
        if self.geometry != Some(geometry) {
            self.geometry = None;
            self.backend.prepare(&geometry)?;
            self.geometry = Some(geometry);
        }
        Ok(())
    }

    /// Takes one frame through the network. `output` has the same format, size and colorimetry as `input`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the two differ, [`ErrorKind::InvalidOption`] for parameters outside their
    /// range, [`ErrorKind::BackendFailed`]; the enhancer can go on with the next frame.
    pub fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, parameters: Parameters) -> Result<Report> {
        if input.spec() != output.spec() {
            return Err(Error::new(
                ErrorKind::InvalidFrame,
                format!(
                    "input is {:?}, output is {:?}: they have to be the same",
                    input.spec(),
                    output.spec()
                ),
            ));
        }
        let Parameters { ratio, strength } = parameters;
        if !RATIO_RANGE.contains(&ratio) || !(0.0..=1.0).contains(&strength) {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("ratio {ratio} has to be 1 to 20 and strength {strength} 0 to 1"),
            ));
        }
        self.prepare(input.spec())?;
        unfold(
            self.backend.as_mut(),
            &self.manifest.schedule,
            input,
            parameters,
            output,
        )
    }

    /// A quantity of the frame processed last; see [`Backend::read`].
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] before the first frame.
    pub fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        self.backend.read(quantity)
    }
}

fn tensorrt_unavailable() -> Error {
    let machine = match probe().tensorrt_lacks() {
        Some(lack) => format!("on this machine: {lack}"),
        None => format!("this machine has all it would need ({})", probe().tensorrt.library),
    };
    Error::new(
        ErrorKind::BackendUnavailable,
        format!("the tensorrt backend is not part of this version: use backend=auto or backend=cpu; {machine}"),
    )
}
