//! From options to a backend.

use crate::backend::Backend;
use crate::cpu::{CpuBackend, IdentityBackend, Preview};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::FrameSpec;
use crate::gpu::{EngineSource, GpuBackend, KernelSource};
use crate::pack::{Pack, Precision};
use crate::session::options::{BackendChoice, Options};

/// A pack on the backend that works for it.
pub(crate) struct Loaded {
    pub pack: Pack,
    pub backend: Box<dyn Backend>,
    /// What frames would look like, once an automatic ratio was asked for.
    pub preview: Option<Preview>,
    /// Whether another backend takes over if this one cannot prepare a size.
    pub may_fall_back: bool,
}

impl Loaded {
    /// The backend of `options`; `Auto` is the first of TensorRT, CUDA and the processor that works.
    ///
    /// # Errors
    /// As [`Enhancer::new`](crate::Enhancer::new).
    pub fn new(pack: Pack, options: &Options) -> Result<Self> {
        let name = format!("{} {}", pack.manifest().name, pack.manifest().version);
        let backend = match options.backend {
            BackendChoice::Cpu => cpu(&pack, options)?,
            BackendChoice::Identity => Box::new(IdentityBackend::new(options.threads)),
            BackendChoice::Cuda => cuda(&pack, options).map_err(|e| unavailable("cuda", e))?,
            BackendChoice::TensorRt => tensorrt(&pack, options).map_err(|e| unavailable("tensorrt", e))?,
            BackendChoice::Auto => match tensorrt(&pack, options) {
                Ok(backend) => backend,
                Err(e) if e.kind() == ErrorKind::ModelInvalid => return Err(e),
                Err(e) => {
                    log::info!("{name}: tensorrt cannot be used: {e}");
                    cuda_or_cpu(&pack, options)?
                }
            },
        };
        let may_fall_back = options.backend == BackendChoice::Auto && backend.name() != CPU;
        log::info!("{name} on {}", backend.name());
        Ok(Self {
            pack,
            backend,
            preview: None,
            may_fall_back,
        })
    }

    /// What frames of `spec` would look like, worked out by as many threads (0: one for every core).
    ///
    /// # Errors
    /// Those of the pack's networks; [`ErrorKind::OutOfMemory`].
    pub fn preview(&mut self, spec: &FrameSpec, threads: usize) -> Result<&mut Preview> {
        let preview = match self.preview.take() {
            Some(preview) if preview.is_for(spec) => preview,
            _ => Preview::new(&self.pack, spec, threads)?,
        };
        Ok(self.preview.insert(preview))
    }

    /// Moves to the next backend after `error`, if the backend was chosen by `Auto`: from TensorRT to CUDA, from there to the
    /// processor.
    ///
    /// # Errors
    /// `error` itself where no other backend may take over.
    pub fn fall_back(&mut self, error: Error, options: &Options) -> Result<()> {
        if !self.may_fall_back || matches!(error.kind(), ErrorKind::ModelInvalid | ErrorKind::Cancelled) {
            return Err(error);
        }
        let failed = self.backend.name();
        self.backend = match failed {
            TENSORRT => cuda_or_cpu(&self.pack, options)?,
            _ => cpu(&self.pack, options)?,
        };
        let next = self.backend.name();
        log::warn!("{failed} cannot be prepared, so {next} takes over: {error}");
        self.may_fall_back = next != CPU;
        Ok(())
    }
}

/// Names of backends.
const TENSORRT: &str = "tensorrt";
const CPU: &str = "cpu";

fn unavailable(name: &str, e: Error) -> Error {
    match e.kind() {
        ErrorKind::BackendUnavailable => Error::new(
            e.kind(),
            format!("backend={name} cannot be used, take backend=auto or backend=cpu: {e}"),
        ),
        _ => e,
    }
}

fn cpu(pack: &Pack, options: &Options) -> Result<Box<dyn Backend>> {
    let precision = options.precision.unwrap_or(Precision::Fp32);
    Ok(Box::new(CpuBackend::new(pack, precision, options.threads)?))
}

/// CUDA where it works, else the processor.
fn cuda_or_cpu(pack: &Pack, options: &Options) -> Result<Box<dyn Backend>> {
    cuda(pack, options).or_else(|e| {
        log::info!("cuda cannot be used, so cpu is: {e}");
        cpu(pack, options)
    })
}

fn cuda(pack: &Pack, options: &Options) -> Result<Box<dyn Backend>> {
    let source = KernelSource::new(
        pack,
        options.device_id,
        options.cuda_context,
        options.precision,
        options.threads,
    )?;
    let schedule = pack.manifest().schedule;
    Ok(Box::new(GpuBackend::new(source.device(), Box::new(source), &schedule)?))
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
    let schedule = pack.manifest().schedule;
    Ok(Box::new(GpuBackend::new(source.device(), Box::new(source), &schedule)?))
}
