//! The four engines of a model pack: from the process, from the cache, or built.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::build::{Span, build, options};
use super::cache::{EngineCache, Place};
use super::file::Key;
use super::library::Library;
use super::objects::{Engine, Runtime};
use super::ports::widen;
use super::progress::{Observer, Progress, Step};
use crate::driver::Gpu;
use crate::error::{Error, ErrorKind, Result};
use crate::pack::{Pack, Precision, Precisions, Subnetwork};

/// Which engines are wanted, where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub pack: &'a Pack,
    pub precisions: Precisions,
    /// The GPU whose context is current.
    pub gpu: &'a Gpu,
    pub span: Span,
    /// The `CUcontext` that is current on this thread, as a number: engines are shared within one.
    pub context: usize,
    /// The cache's folder, if it is not the usual one.
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

pub(super) fn shared(request: &Request<'_>) -> Shared {
    (
        [Precision::Fp32, Precision::Fp16].map(|precision| request.pack.digest(precision)),
        request.precisions,
        request.gpu.name.clone(),
        request.span,
        request.context,
    )
}

/// The engines wanted: those that another stream has already, those in the cache, or new ones. The CUDA context of the
/// request is current, here and wherever the engines and their contexts are dropped.
///
/// # Errors
/// [`ErrorKind::BackendUnavailable`] if driver, TensorRT or its parser are missing, [`ErrorKind::ModelInvalid`] if
/// TensorRT does not take a file of the pack, [`ErrorKind::OutOfMemory`] if the GPU has no room,
/// [`ErrorKind::BackendFailed`] if a build fails, [`ErrorKind::Cancelled`] if `observer` gives up.
pub(crate) fn engines(request: &Request<'_>, observer: &mut Observer<'_>) -> Result<Arc<Engines>> {
    static IN_USE: OnceLock<Mutex<HashMap<Shared, Weak<Engines>>>> = OnceLock::new();
    let table = || {
        IN_USE
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(|e| e.into_inner())
    };
    let key = shared(request);
    if let Some(engines) = table().get(&key).and_then(Weak::upgrade) {
        return Ok(engines);
    }
    let library = Library::open()?;
    let made = Arc::new(Engines {
        engines: all(request, library, observer)?,
        span: request.span,
    });
    let mut table = table();
    table.retain(|_, weak| weak.strong_count() > 0);
    // If two streams loaded the same at once, the first to finish is kept.
    if let Some(engines) = table.get(&key).and_then(Weak::upgrade) {
        return Ok(engines);
    }
    table.insert(key, Arc::downgrade(&made));
    Ok(made)
}

/// Loads or builds all four.
pub(super) fn all(
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
    let mut engine = |which: Subnetwork| {
        let mut tell = |step| {
            let progress = Progress {
                subnetwork: which,
                index: which as usize,
                count: Subnetwork::ALL.len(),
                step,
                elapsed: began.elapsed(),
            };
            log::info!("{progress}");
            match observer(&progress) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Error::new(
                    ErrorKind::Cancelled,
                    format!("given up before it was done: {progress}"),
                )),
            }
        };
        let engine = one(request, library, &runtime, cache.as_ref(), which, &mut tell)?;
        tell(Step::Ready)?;
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
    step: &mut dyn FnMut(Step) -> Result<()>,
) -> Result<Engine> {
    let wanted = Wanted::of(request, which)?;
    let place = place(request, library, which, &wanted);
    let timing = timing_place(request, library);
    EngineCache::obtain(
        cache,
        &place,
        &timing.name,
        &mut |plan| runtime.engine(plan),
        &mut || {
            let kept = cache.filter(|_| library.version.takes_timing_cache());
            let earlier = kept.map(|cache| cache.load(&timing)).and_then(std::result::Result::ok);
            let mut measured = earlier.unwrap_or_default();
            let Wanted { onnx, precision, .. } = &wanted;
            let plan = build(library, onnx, which, *precision, request.span, &mut measured)
                .map_err(|e| no_engine(request, which, e))?;
            if let Some(cache) = kept {
                cache.store(&timing, &measured);
            }
            Ok(plan)
        },
        step,
    )
}

/// What an engine is made from.
struct Wanted {
    /// The pack's file, or, where its ports are wider than its arithmetic, that file edited.
    onnx: Cow<'static, [u8]>,
    precision: Precision,
    /// The format as the cache tells it: `fp32`, `fp16`, or `fp16w` for 16 bits behind ports of 32.
    format: &'static str,
}

impl Wanted {
    fn of(request: &Request<'_>, which: Subnetwork) -> Result<Self> {
        let precision = request.precisions.of(which);
        let onnx = request.pack.onnx(which, precision)?;
        Ok(if precision == request.precisions.planes() {
            Self {
                onnx,
                precision,
                format: precision.name(),
            }
        } else {
            Self {
                onnx: Cow::Owned(widen(&onnx).map_err(|e| no_engine(request, which, e))?),
                precision,
                format: "fp16w",
            }
        })
    }
}

fn no_engine(request: &Request<'_>, which: Subnetwork, e: Error) -> Error {
    let file = request.pack.describe(which, request.precisions.of(which));
    Error::new(e.kind(), format!("no engine from {file}")).with_source(e)
}

/// Everything that makes an engine valid, and a name that people can read.
fn place(request: &Request<'_>, library: &Library, which: Subnetwork, wanted: &Wanted) -> Place {
    let (name, (w, h)) = (&request.pack.manifest().name, request.span.opt);
    let (format, version) = (wanted.format, library.version().to_string());
    let digest: String = Sha256::digest(&wanted.onnx)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let key = Key::new(&[
        ("kind", "engine"),
        ("network", &format!("{name} {}", which.name())),
        ("onnx", &digest),
        ("precision", format),
        ("sizes", &request.span.describe()),
        ("tensorrt", &version),
        ("gpu", &gpu(request.gpu)),
        ("options", &options(library.table, wanted.precision)),
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
