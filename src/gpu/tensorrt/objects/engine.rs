//! Runtime and engines.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::Result;
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::logger::forget;
use crate::gpu::tensorrt::objects::object::{LEAST_ADDRESS, Owned, call, failed};
use crate::gpu::tensorrt::tables::{Generation, Table};

/// What creates engines from their serialized form.
#[derive(Debug)]
pub(crate) struct Runtime {
    object: Owned,
    library: &'static Library,
    /// Engines and contexts are made one at a time.
    making: Mutex<()>,
}

// SAFETY: a runtime may be used from any thread; the calls that make objects are one at a time by `making`.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

/// The number format of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
}

/// A tensor that an engine takes or gives, row by row without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub name: String,
    /// Taken, not given.
    pub input: bool,
    pub element: Element,
}

#[derive(Debug)]
pub struct EngineObject {
    pub(crate) object: Owned,
    // Dropped after the engine.
    runtime: Arc<Runtime>,
}

// SAFETY: an engine's methods that are called here are getters, and those that make contexts, one at a time.
unsafe impl Send for EngineObject {}
// SAFETY: as above.
unsafe impl Sync for EngineObject {}

/// A subnetwork, optimised for one GPU. May be used from several threads.
#[derive(Debug)]
pub(crate) struct Engine {
    object: Arc<EngineObject>,
    tensors: Vec<Tensor>,
    /// The serialized engine, where each context needs one of its own.
    plan: Option<Vec<u8>>,
    taken: AtomicBool,
}

/// Whose the device memory is in which a context keeps what lies between its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// TensorRT's own, enough for the largest size of the engine.
    Own,
    /// The caller's, by [`Context::lend_memory`](super::Context::lend_memory).
    Lent,
}

impl Runtime {
    pub(crate) fn new(object: Owned, library: &'static Library) -> Self {
        Self {
            object,
            library,
            making: Mutex::new(()),
        }
    }

    fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn deserialize(self: &Arc<Self>, plan: &[u8]) -> Result<EngineObject> {
        let _one_at_a_time = self.making();
        forget();
        let (slots, data) = (&self.library.table.runtime, plan.as_ptr().cast::<c_void>());
        // SAFETY: ICudaEngine* deserializeCudaEngine(void const* blob, size_t size), in 8.x with a third pointer that
        // may be null. The bytes are only read, and only during the call.
        let address = unsafe {
            match self.library.table.generation {
                Generation::Eight => call!(self.object, slots.deserialize_cuda_engine,
                    (data => *const c_void, plan.len() => usize, null_mut() => *mut c_void) -> *mut c_void),
                Generation::Ten | Generation::Eleven => call!(self.object, slots.deserialize_cuda_engine,
                    (data => *const c_void, plan.len() => usize) -> *mut c_void),
            }
        };
        Ok(EngineObject {
            object: Owned::new(address, "engine from its file")?,
            runtime: self.clone(),
        })
    }

    /// An engine from what [`Config::build`](super::Config::build) returned, on this GPU and with this TensorRT.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT refuses it, or it is not a network of linear FP32 and FP16 tensors.
    pub fn engine(self: &Arc<Self>, plan: Vec<u8>) -> Result<Engine> {
        let object = Arc::new(self.deserialize(&plan)?);
        let tensors = object.tensors()?;
        let shared = self.library.table.numbers.profiles_are_shared;
        Ok(Engine {
            object,
            tensors,
            plan: (!shared).then_some(plan),
            taken: AtomicBool::new(false),
        })
    }
}

impl EngineObject {
    pub(crate) fn table(&self) -> &'static Table {
        self.runtime.library.table
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let (object, slots) = (&self.object, &self.table().engine);
        // SAFETY: int32_t getNbIOTensors(); int32_t getNbOptimizationProfiles().
        let (count, profiles) = unsafe {
            (
                call!(object, slots.get_nb_io_tensors, () -> i32),
                call!(object, slots.get_nb_optimization_profiles, () -> i32),
            )
        };
        let library = self.runtime.library;
        library.expect(&format!("an engine has {count} tensors"), (1..=1024).contains(&count))?;
        library.expect(&format!("an engine has {profiles} profiles"), profiles == 1)?;
        (0..count).map(|i| self.tensor(i)).collect()
    }

    fn tensor(&self, index: i32) -> Result<Tensor> {
        let (object, slots) = (&self.object, &self.table().engine);
        // SAFETY: char const* getIOTensorName(int32_t), with an index below the count.
        let name = unsafe { call!(object, slots.get_io_tensor_name, (index => i32) -> *const c_char) };
        let library = self.runtime.library;
        library.expect("a tensor has no name", name as usize >= LEAST_ADDRESS)?;
        // SAFETY: TensorIOMode getTensorIOMode(char const*); DataType getTensorDataType(char const*); TensorFormat
        // getTensorFormat(char const*). The name is the engine's own and lives as long as it does.
        let (name, mode, kind, format) = unsafe {
            (
                CStr::from_ptr(name).to_string_lossy().into_owned(),
                call!(object, slots.get_tensor_io_mode, (name => *const c_char) -> i32),
                call!(object, slots.get_tensor_data_type, (name => *const c_char) -> i32),
                call!(object, slots.get_tensor_format, (name => *const c_char) -> i32),
            )
        };
        library.expect(&format!("tensor {name} is in mode {mode}"), mode == 1 || mode == 2)?;
        let element = match kind {
            0 => Element::F32,
            1 => Element::F16,
            _ => {
                return Err(failed(format!(
                    "tensor {name} is of type {kind}, neither FP32 nor FP16"
                )));
            }
        };
        if format != 0 {
            return Err(failed(format!("tensor {name} is of format {format}, not linear")));
        }
        Ok(Tensor {
            name,
            input: mode == 1,
            element,
        })
    }

    /// An execution context, as the address of its public object.
    pub(crate) fn create_context(&self, memory: Memory) -> Result<Owned> {
        let _one_at_a_time = self.runtime.making();
        forget();
        let slots = &self.table().engine;
        // SAFETY: 8.x: IExecutionContext* createExecutionContext() and ...WithoutDeviceMemory(); later:
        // createExecutionContext(ExecutionContextAllocationStrategy), 0 static, 2 user managed.
        let address = unsafe {
            match (slots.create_execution_context_without_device_memory, memory) {
                (Some(_), Memory::Own) => call!(self.object, slots.create_execution_context, () -> *mut c_void),
                (Some(without), Memory::Lent) => call!(self.object, without, () -> *mut c_void),
                (None, _) => {
                    let strategy = if memory == Memory::Own { 0 } else { 2 };
                    call!(self.object, slots.create_execution_context, (strategy => i32) -> *mut c_void)
                }
            }
        };
        Owned::new(address, "execution context")
    }
}

impl Engine {
    /// What it takes and gives.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The names of the outputs.
    pub(crate) fn outputs(&self) -> Vec<String> {
        let outputs = self.tensors.iter().filter(|t| !t.input);
        outputs.map(|t| t.name.clone()).collect()
    }

    /// The object to make a context of. Where two contexts may not share a profile, each but the first gets an engine of
    /// its own.
    ///
    /// # Errors
    /// `ErrorKind::OutOfMemory` if GPU memory is short, `ErrorKind::BackendFailed` otherwise.
    pub(crate) fn for_context(&self) -> Result<Arc<EngineObject>> {
        match &self.plan {
            Some(plan) if self.taken.swap(true, Ordering::Relaxed) => {
                Ok(Arc::new(self.object.runtime.deserialize(plan)?))
            }
            _ => Ok(self.object.clone()),
        }
    }
}
