//! TensorRT's engines as the backend's networks: which precision, from where, and whether their numbers are right.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::choice::choose;
use super::context::{Cuda, RawContext};
use super::device::{Device, Entered, StreamHandle};
use super::gate::compare;
use super::launch::Storage;
use super::networks::{Inference, Loaded, Source};
use super::reference::Reference;
use crate::driver::{Gpu, driver};
use crate::error::{Error, ErrorKind, Result};
use crate::pack::{Pack, Precision, Precisions, Subnetwork};
use crate::probe::probe;
use crate::tensorrt::{Context, Element, Engines, Memory, Observer, Request, Span, Step, Tensor, engines};

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

/// Whether all that an engine takes and gives is of the planes' type; if not, what is of which.
fn check_elements(tensors: &[Tensor], element: Element) -> std::result::Result<(), String> {
    match tensors.iter().find(|t| t.element != element) {
        None => Ok(()),
        Some(other) => Err(format!("{} is {:?} and not {element:?}", other.name, other.element)),
    }
}

/// Engines, which go with their GPU's context current.
struct Held {
    engines: Option<Arc<Engines>>,
    precisions: Precisions,
    device: Arc<dyn Device>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _entered = Entered::new(&self.device);
        self.engines = None;
    }
}

impl Held {
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
            check_elements(engine.tensors(), element).map_err(|said| {
                let (network, format) = (which.name(), self.precisions.of(which).name());
                let remedy = "make the pack anew with engines/convert.py";
                Error::new(
                    ErrorKind::ModelInvalid,
                    format!("the {network} network in {format}: {said}; {remedy}"),
                )
            })?;
            loaded.contexts.push(Box::new(engine.context(Memory::Lent)?));
        }
        Ok(loaded)
    }
}

/// What all that ask for engines of one pack on one GPU have in common.
struct Shelf {
    cuda: Arc<Cuda>,
    gpu: &'static Gpu,
    pack: Pack,
    cache: Option<PathBuf>,
    reference: Reference,
    /// What is asked for next: 32 bits for subnetworks that have been found wanting in 16.
    precisions: Mutex<Precisions>,
    /// The engines found last, and whether their numbers have been compared.
    held: Mutex<Option<Held>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Engines of one pack, for one backend.
pub(crate) struct EngineSource {
    shelf: Arc<Shelf>,
}

/// Engines that are wanted before a size is prepared, to be had on any thread.
pub struct EngineJob {
    shelf: Arc<Shelf>,
    padded: (usize, usize),
}

impl EngineJob {
    /// Loads the engines from the cache or builds them, which takes minutes, and compares their numbers with the
    /// processor's. `observer` is told of each step. Gives what the subnetworks work in.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`] if driver, TensorRT or its parser are missing, [`ErrorKind::ModelInvalid`]
    /// if TensorRT does not take a file of the pack, [`ErrorKind::OutOfMemory`], [`ErrorKind::BackendFailed`] if a
    /// build fails or the engines' numbers are wrong, [`ErrorKind::Cancelled`] if `observer` gives up.
    pub fn run(self, observer: &mut Observer<'_>) -> Result<Precisions> {
        self.shelf.find(self.padded, observer)?;
        Ok(*lock(&self.shelf.precisions))
    }
}

impl EngineSource {
    /// Engines of `pack` for the GPU of number `ordinal`, in `precision`, or, if none is asked for, in 16 bits. Those
    /// of 16 bits whose numbers are not right are had in 32. Makes no engine yet.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`] if driver, GPU, TensorRT or its parser are missing or too old,
    /// [`ErrorKind::InvalidOption`] for a GPU that is not there, and those of the pack's files.
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
        Ok(Self {
            shelf: Arc::new(Shelf {
                cuda: Cuda::open(ordinal, context)?,
                gpu,
                reference: Reference::new(pack, threads)?,
                pack: pack.clone(),
                cache,
                precisions: Mutex::new(precision.unwrap_or(Precision::Fp16).into()),
                held: Mutex::new(None),
            }),
        })
    }

    /// The GPU.
    pub fn device(&self) -> Arc<dyn Device> {
        self.shelf.cuda.clone()
    }
}

impl Source for EngineSource {
    fn load(&mut self, padded: (usize, usize)) -> Result<Loaded> {
        self.shelf.find(padded, &mut |progress| {
            if progress.step == Step::Building {
                log::warn!("{progress}, which takes from seconds to minutes; engines are kept for the next time");
            }
            ControlFlow::Continue(())
        })?;
        match &*lock(&self.shelf.held) {
            Some(held) => held.load(),
            None => Err(Error::new(
                ErrorKind::BackendFailed,
                "the engines are gone: prepare again",
            )),
        }
    }

    fn job(&self, padded: (usize, usize)) -> Option<EngineJob> {
        if lock(&self.shelf.held).as_ref().is_some_and(|held| held.spans(padded)) {
            return None;
        }
        Some(EngineJob {
            shelf: self.shelf.clone(),
            padded,
        })
    }
}

impl Shelf {
    /// Has engines for planes of `padded` pixels on the shelf.
    fn find(&self, padded: (usize, usize), observer: &mut Observer<'_>) -> Result<()> {
        if lock(&self.held).as_ref().is_some_and(|held| held.spans(padded)) {
            return Ok(());
        }
        let device: Arc<dyn Device> = self.cuda.clone();
        let _entered = Entered::new(&device)?;
        let manifest = self.pack.manifest();
        let mut precisions = *lock(&self.precisions);
        let found = choose(&manifest.name, &mut precisions, &mut |precisions| {
            let request = Request {
                pack: &self.pack,
                precisions,
                gpu: self.gpu,
                span: Span::around(padded, manifest.multiple),
                context: self.cuda.context(),
                cache: self.cache.as_deref(),
            };
            let held = Held {
                engines: Some(engines(&request, observer)?),
                precisions,
                device: device.clone(),
            };
            let nearness = compare(&device, held.load()?, &self.reference)?;
            Ok((held, nearness))
        });
        *lock(&self.precisions) = precisions;
        *lock(&self.held) = Some(found?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_takes_and_gives_what_the_planes_are_made_of() {
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
