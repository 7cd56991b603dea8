//! TensorRT's engines as the networks of a backend: their precision, where they come from, and whether they are right.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Observer, Phase, PreparationJob};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::RawContext;
use crate::gpu::driver::{Cuda, Device, Entered, Gpu, StreamHandle, driver};
use crate::gpu::kernels::Storage;
use crate::gpu::networks::{Inference, Loaded, Source};
use crate::gpu::precision::{Ladder, RUNGS, Reference, choose, compare};
use crate::gpu::probe::probe;
use crate::gpu::tensorrt::{Context, Element, Engines, Memory, Request, Span, Tensor, engines};
use crate::pack::{Pack, Precision, Precisions, Subnetwork, Variant};

/// What to do where engines are wrong in 32 bits too.
const REMEDY: &str = "run uretinex engines clear, and if it happens again use backend=cpu and report it with the versions \
                      that uretinex doctor lists";

impl Inference for Context {
    fn shape(&mut self, name: &'static str, shape: [usize; 4]) -> Result<()> {
        self.set_input_shape(name, &shape.map(|n| n as i64))
    }

    fn address(&mut self, name: &'static str, address: u64) -> Result<()> {
        self.set_address(name, address)
    }

    fn scratch_bytes(&mut self) -> Result<usize> {
        self.memory_needed()
    }

    unsafe fn lend(&mut self, address: u64, bytes: usize) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.lend_memory(address, bytes) }
    }

    unsafe fn enqueue(&mut self, stream: StreamHandle) -> Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { Context::enqueue(self, stream.0 as *mut c_void) }
    }
}

/// Whether all inputs and outputs of an engine have the type of the planes; if not, which does not.
fn check_elements(tensors: &[Tensor], element: Element) -> std::result::Result<(), String> {
    match tensors.iter().find(|t| t.element != element) {
        None => Ok(()),
        Some(other) => Err(format!("{} is {:?} and not {element:?}", other.name, other.element)),
    }
}

/// Engines of one precision; dropped with their GPU's context current.
struct PreciseEngines {
    engines: Option<Arc<Engines>>,
    precisions: Precisions,
    device: Arc<dyn Device>,
}

impl Drop for PreciseEngines {
    fn drop(&mut self) {
        let _entered = Entered::new(&self.device);
        self.engines = None;
    }
}

impl PreciseEngines {
    fn spans(&self, padded: (usize, usize)) -> bool {
        self.engines.as_ref().is_some_and(|e| e.span().contains(padded))
    }

    /// A context of each engine.
    fn load(&self) -> Result<Loaded> {
        let mut loaded = Loaded {
            contexts: Vec::new(),
            precisions: self.precisions,
        };
        let element = match loaded.storage() {
            Storage::F32 => Element::F32,
            Storage::F16 => Element::F16,
        };
        for which in Subnetwork::ALL {
            let Some(engine) = self.engines.as_ref().map(|e| e.get(which)) else {
                continue;
            };
            check_elements(engine.tensors(), element).map_err(|wrong| {
                let (network, format) = (which.name(), self.precisions.of(which).name());
                Error::new(
                    ErrorKind::ModelInvalid,
                    format!("the {network} network in {format}: {wrong}; make the pack again with training/convert.py"),
                )
            })?;
            loaded.contexts.push(Box::new(Context::new(engine, Memory::Lent)?));
        }
        Ok(loaded)
    }
}

/// The formats to try: `precision` and those after it; without one, all that the pack has files for.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] for a precision that TensorRT does not have, [`ErrorKind::ModelInvalid`] for one that the
/// pack has no files for.
fn ladder(pack: &Pack, precision: Option<Precision>) -> Result<Ladder> {
    let has_fp16 = pack.manifest().variants().any(|v| v == Variant::Fp16);
    let first = precision.unwrap_or(if has_fp16 { Precision::Fp16 } else { Precision::Fp32 });
    if !RUNGS.contains(&first) {
        return Err(Error::new(
            ErrorKind::InvalidOption,
            format!(
                "precision={} is not a precision of the tensorrt backend: take fp16 or fp32",
                first.name()
            ),
        ));
    }
    pack.onnx(Subnetwork::Decomposition, first.variant())?;
    Ok(Ladder::from(first, &RUNGS))
}

/// The engines of one pack on one GPU, shared by a backend and the jobs that prepare sizes for it.
struct EngineStore {
    cuda: Arc<Cuda>,
    gpu: &'static Gpu,
    pack: Pack,
    cache: Option<PathBuf>,
    reference: Reference,
    ladder: Ladder,
    /// The formats to ask for: those that earlier comparisons have left.
    precisions: Mutex<Precisions>,
    /// The engines used last, which have passed the comparison.
    checked: Mutex<Option<PreciseEngines>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Engines of one pack, for one backend.
pub(crate) struct EngineSource {
    store: Arc<EngineStore>,
}

impl EngineSource {
    /// Engines of `pack` for the GPU of number `ordinal`, in `precision`, or, if that is `None`, in FP16 where the pack has
    /// files for it. Subnetworks whose results in FP16 are too far from the processor's compute in FP32. Makes no engine
    /// yet.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`] if driver, GPU, TensorRT or its parser are missing or too old,
    /// [`ErrorKind::InvalidOption`] for a GPU that is not there or a precision that TensorRT does not have, and those of
    /// the pack's files.
    pub fn new(
        pack: &Pack,
        ordinal: u32,
        context: Option<RawContext>,
        precision: Option<Precision>,
        cache: Option<PathBuf>,
        threads: usize,
    ) -> Result<Self> {
        let gpu = driver().gpu(ordinal)?;
        if let Some(lack) = probe().tensorrt_lacks() {
            return Err(Error::new(ErrorKind::BackendUnavailable, lack));
        }
        // What is asked for amiss is said before anything is built.
        let ladder = ladder(pack, precision)?;
        Ok(Self {
            store: Arc::new(EngineStore {
                cuda: Cuda::open(ordinal, context)?,
                gpu,
                reference: Reference::new(pack, threads)?,
                pack: pack.clone(),
                cache,
                precisions: Mutex::new(ladder.first().into()),
                ladder,
                checked: Mutex::new(None),
            }),
        })
    }

    /// The GPU.
    pub fn device(&self) -> Arc<dyn Device> {
        self.store.cuda.clone()
    }
}

impl Source for EngineSource {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn load(&mut self, padded: (usize, usize)) -> Result<Loaded> {
        let mut warned = None;
        self.store.find(padded, &mut |progress| {
            // A build is told once a second.
            if progress.phase == Phase::Building && warned.replace(progress.index) != Some(progress.index) {
                log::warn!("{progress}, which takes seconds to minutes; the engine is kept for the next time");
            }
            ControlFlow::Continue(())
        })?;
        match &*lock(&self.store.checked) {
            Some(engines) => engines.load(),
            None => Err(Error::new(
                ErrorKind::BackendFailed,
                "the engines are gone: prepare again",
            )),
        }
    }

    fn preparation(&self, padded: (usize, usize)) -> Option<PreparationJob> {
        if lock(&self.store.checked)
            .as_ref()
            .is_some_and(|engines| engines.spans(padded))
        {
            return None;
        }
        let store = self.store.clone();
        Some(PreparationJob::new(move |observer| store.find(padded, observer)))
    }
}

impl EngineStore {
    /// Loads the engines for planes of `padded` pixels from the cache or builds them, and compares their results with the
    /// processor's.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`] if driver, TensorRT or its parser are missing, [`ErrorKind::ModelInvalid`]
    /// if TensorRT refuses a file of the pack, [`ErrorKind::OutOfMemory`], [`ErrorKind::BackendFailed`] if a build fails
    /// or the engines' numbers are wrong, [`ErrorKind::Cancelled`] if `observer` cancels.
    fn find(&self, padded: (usize, usize), observer: &mut Observer<'_>) -> Result<()> {
        if lock(&self.checked)
            .as_ref()
            .is_some_and(|engines| engines.spans(padded))
        {
            return Ok(());
        }
        let device: Arc<dyn Device> = self.cuda.clone();
        let _entered = Entered::new(&device)?;
        let manifest = self.pack.manifest();
        let mut precisions = *lock(&self.precisions);
        let found = choose(
            &manifest.name,
            REMEDY,
            &self.ladder,
            &mut precisions,
            &mut |precisions| {
                let request = Request {
                    pack: &self.pack,
                    precisions,
                    gpu: self.gpu,
                    span: Span::around(padded, manifest.multiple),
                    context: self.cuda.context(),
                    cache: self.cache.as_deref(),
                };
                let made = PreciseEngines {
                    engines: Some(engines(&request, observer)?),
                    precisions,
                    device: device.clone(),
                };
                let nearness = compare(&device, made.load()?, &self.reference)?;
                Ok((made, nearness))
            },
        );
        *lock(&self.precisions) = precisions;
        *lock(&self.checked) = Some(found?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Listing, PackFolder};

    #[test]
    fn formats_are_those_that_the_pack_has_files_for() {
        use Precision::{Bfp16, Fp16, Fp32};
        let lite = Pack::open("lite").unwrap();
        let only_fp32 = PackFolder::copy(&[Variant::Fp32], Listing::Variants);
        let only_fp32 = only_fp32.open();
        let all = Ladder::from(Fp16, &RUNGS);
        let last = Ladder::from(Fp32, &RUNGS);
        for (what, pack, precision, expected) in [
            ("both", &lite, None, Ok(&all)),
            ("both, fp16", &lite, Some(Fp16), Ok(&all)),
            ("both, fp32", &lite, Some(Fp32), Ok(&last)),
            ("fp32 alone", &only_fp32, None, Ok(&last)),
            ("fp32 alone, fp32", &only_fp32, Some(Fp32), Ok(&last)),
            (
                "fp32 alone, fp16",
                &only_fp32,
                Some(Fp16),
                Err((ErrorKind::ModelInvalid, "take precision=fp32")),
            ),
            (
                "both, bfp16",
                &lite,
                Some(Bfp16),
                Err((ErrorKind::InvalidOption, "take fp16 or fp32")),
            ),
        ] {
            match (ladder(pack, precision), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(&found, expected, "{what}"),
                (Err(e), Err((kind, part))) => {
                    assert_eq!(e.kind(), kind, "{what}: {e}");
                    assert!(e.to_string().contains(part), "{what}: {e}");
                }
                (found, _) => panic!("{what}: {found:?}"),
            }
        }
    }

    #[test]
    fn inputs_and_outputs_of_an_engine_have_the_type_of_the_planes() {
        use Element::{F16, F32};
        let tensors = |elements: [Element; 3]| {
            let ports = [("p", true), ("q", true), ("r", false)].into_iter().zip(elements);
            let tensors = ports.map(|((name, input), element)| Tensor {
                name: name.into(),
                input,
                element,
            });
            tensors.collect::<Vec<_>>()
        };
        for (elements, planes, outcome) in [
            ([F32; 3], F32, Ok(())),
            ([F16; 3], F16, Ok(())),
            ([F16; 3], F32, Err("p is F16 and not F32")),
            ([F32, F32, F16], F32, Err("r is F16 and not F32")),
            ([F16, F32, F16], F16, Err("q is F32 and not F16")),
        ] {
            let found = check_elements(&tensors(elements), planes);
            assert_eq!(found, outcome.map_err(String::from), "{elements:?} for {planes:?}");
        }
    }
}
