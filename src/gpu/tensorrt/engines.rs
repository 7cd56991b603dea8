//! The four engines of a model pack: from the process, from the cache, or built.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::{Observer, Phase, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::driver::Gpu;
use crate::gpu::tensorrt::build::{Span, build, options};
use crate::gpu::tensorrt::cache::{EngineCache, Place, Tell};
use crate::gpu::tensorrt::file::Key;
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::objects::{Engine, Runtime};
use crate::pack::onnx::widen;
use crate::pack::{Pack, Precision, Precisions, Subnetwork, Variant, sha256_hex};
use crate::registry::Registry;

/// A request for the engines of a pack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub pack: &'a Pack,
    pub precisions: Precisions,
    /// The GPU whose context is current.
    pub gpu: &'a Gpu,
    pub span: Span,
    /// The `CUcontext` that is current on this thread, as a number: engines are shared within one.
    pub context: usize,
    /// The cache's folder; `None` is the usual one.
    pub cache: Option<&'a Path>,
}

/// The four engines of a pack, for one GPU and one range of sizes.
#[derive(Debug)]
pub(crate) struct Engines {
    engines: [Engine; 4],
    span: Span,
}

impl Engines {
    /// The engine of a subnetwork.
    pub fn get(&self, which: Subnetwork) -> &Engine {
        &self.engines[which as usize]
    }

    /// The sizes that they take.
    pub fn span(&self) -> Span {
        self.span
    }
}

/// What makes engines in use interchangeable: files, formats, GPU, sizes, CUDA context.
type Shared = ([String; 2], Precisions, String, Span, usize);

pub(crate) fn shared(request: &Request<'_>) -> Shared {
    (
        [Variant::Fp32, Variant::Fp16].map(|variant| request.pack.digest(variant)),
        request.precisions,
        request.gpu.name.clone(),
        request.span,
        request.context,
    )
}

/// The engines of a request: those in use already, those in the cache, or new ones. The CUDA context of the
/// request is current, here and wherever the engines and their contexts are dropped.
///
/// # Errors
/// [`ErrorKind::BackendUnavailable`] if driver, TensorRT or its parser are missing, [`ErrorKind::ModelInvalid`] if
/// TensorRT refuses a file of the pack, [`ErrorKind::OutOfMemory`] if the GPU has no room,
/// [`ErrorKind::BackendFailed`] if a build fails, [`ErrorKind::Cancelled`] if `observer` cancels.
pub(crate) fn engines(request: &Request<'_>, observer: &mut Observer<'_>) -> Result<Arc<Engines>> {
    static IN_USE: Registry<Shared, Engines> = Registry::new();
    IN_USE.get_or_make(shared(request), || {
        Ok(Engines {
            engines: all(request, Library::open()?, observer)?,
            span: request.span,
        })
    })
}

/// Loads or builds all four.
pub(crate) fn all(
    request: &Request<'_>,
    library: &'static Library,
    observer: &mut Observer<'_>,
) -> Result<[Engine; 4]> {
    let cache = match EngineCache::new(request.cache) {
        Ok(cache) => Some(cache),
        Err(e) => {
            log::warn!("engines are not kept: {e}");
            None
        }
    };
    let runtime = library.runtime()?;
    let began = Instant::now();
    let (mut logged, mut cancelled) = (None, false);
    let mut engine = |which: Subnetwork| {
        let mut tell = |phase| {
            let progress = Progress {
                subnetwork: which,
                index: which as usize,
                count: Subnetwork::ALL.len(),
                phase,
                elapsed: began.elapsed(),
            };
            // A phase that is told once a second is logged once.
            if logged.replace((which, phase)) != Some((which, phase)) {
                log::info!("{progress}");
            }
            cancelled |= observer(&progress) == ControlFlow::Break(());
            match cancelled {
                false => Ok(()),
                true => Err(Error::new(
                    ErrorKind::Cancelled,
                    format!("the engines were cancelled: {progress}"),
                )),
            }
        };
        let engine = one(request, library, &runtime, cache.as_ref(), which, &mut tell)?;
        tell(Phase::Ready)?;
        Ok(engine)
    };
    let [a, b, c, d] = Subnetwork::ALL;
    Ok([engine(a)?, engine(b)?, engine(c)?, engine(d)?])
}

fn one(
    request: &Request<'_>,
    library: &'static Library,
    runtime: &Arc<Runtime>,
    cache: Option<&EngineCache>,
    which: Subnetwork,
    phase: &mut Tell<'_>,
) -> Result<Engine> {
    let input = EngineInput::of(request, which)?;
    let place = place(request, library, which, &input);
    let timing = timing_place(request, library);
    EngineCache::obtain(
        cache,
        &place,
        &timing.name,
        &mut |plan| runtime.engine(plan),
        &mut |phase| {
            let kept = cache.filter(|_| library.version.takes_timing_cache());
            let earlier = kept.map(|cache| cache.load(&timing)).and_then(std::result::Result::ok);
            let mut measured = earlier.unwrap_or_default();
            let EngineInput { onnx, precision, .. } = &input;
            let ask = &mut || phase(Phase::Building);
            let plan =
                build(library, onnx, which, *precision, request.span, &mut measured, ask).map_err(|e| {
                    match e.kind() {
                        ErrorKind::Cancelled => e,
                        _ => no_engine(request, which, e),
                    }
                })?;
            if let Some(cache) = kept {
                cache.store(&timing, &measured);
            }
            Ok(plan)
        },
        phase,
    )
}

/// What an engine is made from.
struct EngineInput<'a> {
    /// The pack's file, or, where inputs and outputs are wider than the arithmetic, an edited copy.
    onnx: Cow<'a, [u8]>,
    precision: Precision,
    /// The format in the name of a cache file: `fp32`, `fp16`, or `fp16w` for FP16 with inputs and outputs of FP32.
    format: &'static str,
}

impl<'a> EngineInput<'a> {
    fn of(request: &Request<'a>, which: Subnetwork) -> Result<Self> {
        let precision = request.precisions.of(which);
        let onnx = request.pack.onnx(which, precision.variant())?;
        Ok(if precision == request.precisions.planes() {
            Self {
                onnx: Cow::Borrowed(onnx),
                precision,
                format: precision.name(),
            }
        } else {
            Self {
                onnx: Cow::Owned(widen(onnx).map_err(|e| no_engine(request, which, e))?),
                precision,
                format: "fp16w",
            }
        })
    }
}

fn no_engine(request: &Request<'_>, which: Subnetwork, e: Error) -> Error {
    let file = request.pack.describe(which, request.precisions.of(which).variant());
    Error::new(e.kind(), format!("no engine from {file}")).with_source(e)
}

/// Everything that makes an engine valid, and a name that people can read.
fn place(request: &Request<'_>, library: &Library, which: Subnetwork, input: &EngineInput<'_>) -> Place {
    let (name, (w, h)) = (&request.pack.manifest().name, request.span.opt);
    let (format, version) = (input.format, library.version().to_string());
    let digest = sha256_hex([&input.onnx]);
    let key = Key::new(&[
        ("kind", "engine"),
        ("network", &format!("{name} {}", which.name())),
        ("onnx", &digest),
        ("precision", format),
        ("sizes", &request.span.describe()),
        ("tensorrt", &version),
        ("gpu", &gpu(request.gpu)),
        ("options", &options(library.table, input.precision)),
    ]);
    Place::engine(&format!("{name}-{}-{format}-{w}x{h}-trt{version}", which.name()), key)
}

/// Measurements are of a GPU and a TensorRT.
fn timing_place(request: &Request<'_>, library: &Library) -> Place {
    let version = library.version().to_string();
    let gpu = gpu(request.gpu);
    let key = Key::new(&[("kind", "timing"), ("tensorrt", &version), ("gpu", &gpu)]);
    Place::timing(&format!("{}-trt{version}", request.gpu.name), key)
}

fn gpu(gpu: &Gpu) -> String {
    let (major, minor) = gpu.compute_capability;
    format!("{}, compute capability {major}.{minor}", gpu.name)
}

#[cfg(test)]
mod tests;
