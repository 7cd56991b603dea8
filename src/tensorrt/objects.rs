//! TensorRT's objects. The only file that calls through their virtual tables.
//!
//! A public object has its own virtual table at offset 0 and the address of its implementation at offset 8; the
//! implementation's virtual table is at its offset 0. Methods are called on the implementation, destructors (slot 1)
//! on the public object; arguments and results that are objects are public ones. The parser has no implementation: it
//! is called directly.
//!
//! Every call takes its slot from the [`Table`] of the library's version. What says so below with the C++ signature is
//! the whole of a SAFETY argument together with two facts that hold for all of them: an object lives as long as what
//! holds it here, and what an object needs is held beside it and dropped after it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{NonNull, null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::library::Library;
use super::logger::{complaints, forget, logger};
use super::tables::{Generation, Table};
use crate::error::{Error, ErrorKind, Result};

/// Below this no object lies; a factory that fails may return a null pointer plus an offset.
const LEAST_ADDRESS: usize = 1 << 16;

fn failed(what: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::BackendFailed, format!("{}{}", what.as_ref(), complaints()))
}

fn is_plausible(address: *const c_void) -> bool {
    address as usize >= LEAST_ADDRESS && (address as usize).is_multiple_of(align_of::<*const c_void>())
}

/// A name without NUL, as TensorRT wants it.
fn c_name(name: &str) -> Result<CString> {
    CString::new(name).map_err(|_| failed(format!("the tensor name {name:?} has a NUL in it")))
}

/// `Dims32`, up to 9.x.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct NarrowDims {
    pub count: i32,
    pub d: [i32; 8],
}

/// `Dims64`, from 10.0 on.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct WideDims {
    pub count: i32,
    pub d: [i64; 8],
}

impl NarrowDims {
    fn new(shape: &[i64]) -> Result<Self> {
        let mut dims = Self {
            count: shape.len() as i32,
            d: [0; 8],
        };
        let fits = shape.len() <= dims.d.len() && shape.iter().all(|v| i32::try_from(*v).is_ok());
        if !fits {
            return Err(failed(format!("{shape:?} is no shape that TensorRT 8 can take")));
        }
        for (to, from) in dims.d.iter_mut().zip(shape) {
            *to = *from as i32;
        }
        Ok(dims)
    }

    fn shape(&self) -> Result<Vec<i64>> {
        WideDims {
            count: self.count,
            d: self.d.map(i64::from),
        }
        .shape()
    }
}

impl WideDims {
    fn new(shape: &[i64]) -> Result<Self> {
        let mut dims = Self {
            count: shape.len() as i32,
            d: [0; 8],
        };
        let Some(to) = dims.d.get_mut(..shape.len()) else {
            return Err(failed(format!("{shape:?} has more sides than TensorRT takes")));
        };
        to.copy_from_slice(shape);
        Ok(dims)
    }

    /// A count of -1 says that the shape is not known.
    fn shape(&self) -> Result<Vec<i64>> {
        let known = usize::try_from(self.count).ok().and_then(|n| self.d.get(..n));
        known
            .map(<[i64]>::to_vec)
            .ok_or_else(|| failed("TensorRT knows no shape of this name"))
    }
}

/// Calls a method: `call!(object, slot, (argument: type, ...) -> result)`. Within `unsafe`.
macro_rules! call {
    ($object:expr, $slot:expr, ($($value:expr => $kind:ty),*) -> $out:ty) => {{
        let (this, entry) = $object.method($slot);
        let method: unsafe extern "C" fn(*mut c_void, $($kind),*) -> $out = std::mem::transmute(entry);
        method(this, $($value),*)
    }};
}

/// A public object that somebody else owns.
#[derive(Debug, Clone, Copy)]
struct Public(NonNull<c_void>);

impl Public {
    /// An object that TensorRT has returned, unless it is none.
    fn new(address: *mut c_void, what: &str) -> Result<Self> {
        let refuse = || failed(format!("TensorRT gave no {what} ({address:p})"));
        // SAFETY: a plausible address that a factory or a method returned is that of a public object, whose first 16
        // bytes are two pointers; the second points to an object that begins with a pointer.
        unsafe {
            let object = NonNull::new(address)
                .filter(|_| is_plausible(address))
                .ok_or_else(refuse)?;
            let [own_table, implementation] = object.cast::<[*const *const c_void; 2]>().read();
            if !is_plausible(own_table.cast()) || !is_plausible(implementation.cast()) || !is_plausible(*implementation)
            {
                return Err(refuse());
            }
            Ok(Self(object))
        }
    }

    fn address(self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// # Safety
    /// The object is alive, and `slot` is one of its class in this version.
    unsafe fn method(self, slot: usize) -> (*mut c_void, *const c_void) {
        // SAFETY: the layout that `new` has looked at; the slot is the caller's to vouch for.
        unsafe {
            let implementation = self.0.cast::<*mut c_void>().add(1).read();
            let table = implementation.cast::<*const *const c_void>().read();
            (implementation, table.add(slot).read())
        }
    }
}

/// A public object that we delete.
#[derive(Debug)]
struct Owned(Public);

impl Owned {
    fn new(address: *mut c_void, what: &str) -> Result<Self> {
        Public::new(address, what).map(Self)
    }
}

impl std::ops::Deref for Owned {
    type Target = Public;

    fn deref(&self) -> &Public {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the deleting destructor, slot 1 of the public object's own table, once, by the only owner.
        unsafe {
            let table = self.0.0.cast::<*const *const c_void>().read();
            let delete: unsafe extern "C" fn(*mut c_void) = std::mem::transmute(table.add(1).read());
            delete(self.address());
        }
    }
}

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

impl Library {
    /// A runtime on the CUDA device that is current.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if TensorRT gives none or it does not behave as its version's table says.
    pub fn runtime(&'static self) -> Result<Arc<Runtime>> {
        forget();
        let create = self.functions.create_runtime.ok_or_else(|| self.lacks("a runtime"))?;
        // SAFETY: the factory's signature; the logger is static and of this version's layout.
        let address = unsafe { create(logger(self.table.generation), self.functions.told) };
        let object = Owned::new(address, "runtime")?;
        let slots = &self.table.runtime;
        if let Some(get_public) = slots.get_public {
            // SAFETY: IRuntime* getPImpl().
            let public: *mut c_void = unsafe { call!(object, get_public, () -> *mut c_void) };
            self.expect("the runtime does not know itself", public == object.address())?;
        }
        self.check_object(
            &object,
            "runtime",
            slots.get_logger,
            slots.set_max_threads,
            slots.get_max_threads,
        )?;
        Ok(Arc::new(Runtime {
            object,
            library: self,
            making: Mutex::new(()),
        }))
    }

    /// A builder on the CUDA device that is current. It knows the ONNX parser, if that is there.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`] without the parser, [`ErrorKind::BackendFailed`] as for a runtime.
    pub fn builder(&'static self) -> Result<Builder> {
        forget();
        let create = self.functions.create_builder.ok_or_else(|| self.lacks("a builder"))?;
        if self.functions.create_parser.is_none() {
            return Err(self.lacks("an ONNX parser"));
        }
        // SAFETY: as for the runtime.
        let address = unsafe { create(logger(self.table.generation), self.functions.told) };
        let object = Owned::new(address, "builder")?;
        let slots = &self.table.builder;
        self.check_object(
            &object,
            "builder",
            slots.get_logger,
            slots.set_max_threads,
            slots.get_max_threads,
        )?;
        Ok(Builder { object, library: self })
    }

    fn lacks(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::BackendUnavailable,
            format!(
                "TensorRT {} ({}) has not {what}: it is a lean one or without its ONNX parser; install libnvinfer and \
                 libnvonnxparsers of one version",
                self.version, self.name
            ),
        )
    }

    fn expect(&self, fault: &str, holds: bool) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(failed(format!(
            "TensorRT {} ({}) is not as {} is known: {fault}; nothing more is asked of it: install an official build \
             of 8.5, 8.6, 10.x or 11.x",
            self.version, self.name, self.table.versions
        )))
    }

    /// Calls that can do no harm and would go wrong were the table of another version.
    fn check_object(&self, object: &Public, what: &str, get_logger: usize, set: usize, get: usize) -> Result<()> {
        // SAFETY: ILogger* getLogger().
        let given = unsafe { call!(object, get_logger, () -> *mut c_void) };
        self.expect(
            &format!("the {what} has another logger than it was given"),
            given == logger(self.table.generation),
        )?;
        // SAFETY: int32_t getMaxThreads(); bool setMaxThreads(int32_t).
        let kept = unsafe {
            let before = call!(object, get, () -> i32);
            let other = if before == 2 { 3 } else { 2 };
            (1..=1 << 16).contains(&before)
                && call!(object, set, (other => i32) -> u8) != 0
                && call!(object, get, () -> i32) == other
                && call!(object, set, (before => i32) -> u8) != 0
        };
        self.expect(&format!("the {what} forgets its number of threads"), kept)
    }
}

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
struct EngineObject {
    object: Owned,
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
    /// The caller's, by [`Context::lend_memory`].
    Lent,
}

impl Runtime {
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

    /// An engine from what [`Builder::build`] gave, on this GPU and with this TensorRT.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if TensorRT refuses it, or it is not a network of linear FP32 and FP16 tensors.
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
    fn table(&self) -> &'static Table {
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

    fn context(self: &Arc<Self>, memory: Memory, tensors: &[Tensor]) -> Result<Context> {
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
        Ok(Context {
            object: Owned::new(address, "execution context (is GPU memory short?)")?,
            outputs: tensors.iter().filter(|t| !t.input).map(|t| t.name.clone()).collect(),
            engine: self.clone(),
        })
    }
}

impl Engine {
    /// What it takes and gives.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// A context of its own for one stream of work. Any number of them may be at work at once.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`], most often because GPU memory is short.
    pub fn context(&self, memory: Memory) -> Result<Context> {
        match &self.plan {
            // A profile is one context's alone, and there is one profile: each context but the first needs an engine.
            Some(plan) if self.taken.swap(true, Ordering::Relaxed) => {
                Arc::new(self.object.runtime.deserialize(plan)?).context(memory, &self.tensors)
            }
            _ => self.object.context(memory, &self.tensors),
        }
    }
}

/// An engine at work, for one stream of work.
#[derive(Debug)]
pub(crate) struct Context {
    object: Owned,
    outputs: Vec<String>,
    // Dropped after the context.
    engine: Arc<EngineObject>,
}

// SAFETY: a context may be used from any thread, one at a time; its methods that change it take it exclusively.
unsafe impl Send for Context {}

impl Context {
    fn table(&self) -> &'static Table {
        self.engine.table()
    }

    /// Sets the shape of an input.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if it is outside the engine's profile or there is no such input.
    pub fn set_input_shape(&mut self, name: &str, shape: &[i64]) -> Result<()> {
        forget();
        let (text, slot) = (c_name(name)?, self.table().context.set_input_shape);
        // SAFETY: bool setInputShape(char const*, Dims const&): name and dimensions are read during the call.
        let done = unsafe {
            match self.table().generation {
                Generation::Eight => {
                    let dims = NarrowDims::new(shape)?;
                    call!(self.object, slot, (text.as_ptr() => *const c_char, &dims => *const NarrowDims) -> u8)
                }
                Generation::Ten | Generation::Eleven => {
                    let dims = WideDims::new(shape)?;
                    call!(self.object, slot, (text.as_ptr() => *const c_char, &dims => *const WideDims) -> u8)
                }
            }
        };
        match done {
            0 => Err(failed(format!(
                "TensorRT does not take {shape:?} as the shape of {name}"
            ))),
            _ => Ok(()),
        }
    }

    /// Sets where a tensor lies in device memory.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] for a null address or if there is no such tensor.
    pub fn set_address(&mut self, name: &str, address: u64) -> Result<()> {
        forget();
        let (text, slot) = (c_name(name)?, self.table().context.set_tensor_address);
        if address == 0 {
            return Err(failed(format!("tensor {name} has no device memory")));
        }
        // SAFETY: bool setTensorAddress(char const*, void*): the address is kept, and used by `enqueue` alone.
        let done = unsafe {
            call!(self.object, slot, (text.as_ptr() => *const c_char, address as *mut c_void => *mut c_void) -> u8)
        };
        match done {
            0 => Err(failed(format!(
                "TensorRT does not take {address:#x} as the address of {name}"
            ))),
            _ => Ok(()),
        }
    }

    /// The shape of a tensor, once those of all inputs are set.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<i64>> {
        forget();
        let (text, slot) = (c_name(name)?, self.table().context.get_tensor_shape);
        // SAFETY: Dims getTensorShape(char const*).
        unsafe {
            match self.table().generation {
                Generation::Eight => call!(self.object, slot, (text.as_ptr() => *const c_char) -> NarrowDims).shape(),
                Generation::Ten | Generation::Eleven => {
                    call!(self.object, slot, (text.as_ptr() => *const c_char) -> WideDims).shape()
                }
            }
        }
    }

    /// Bytes of device memory that a context without memory of its own needs: from 10.0 on for the shapes set, and to be
    /// asked again when they change; before for the largest of the engine.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if a shape is not set.
    pub fn memory_needed(&mut self) -> Result<usize> {
        forget();
        let (engine, slots) = (&self.table().engine, &self.table().context);
        // SAFETY: bool allInputDimensionsSpecified(); size_t updateDeviceMemorySizeForShapes(); of the engine, size_t
        // getDeviceMemorySize().
        unsafe {
            if call!(self.object, slots.all_input_dimensions_specified, () -> u8) == 0 {
                return Err(failed("the shapes of the inputs have to be set first"));
            }
            for name in &self.outputs {
                let shape = self.shape(name)?;
                if shape.iter().any(|side| *side < 1) {
                    return Err(failed(format!("the output {name} has the shape {shape:?}")));
                }
            }
            match (
                slots.update_device_memory_size_for_shapes,
                engine.get_device_memory_size,
            ) {
                (Some(update), _) => Ok(call!(self.object, update, () -> usize)),
                (None, Some(size)) => Ok(call!(self.engine.object, size, () -> usize)),
                (None, None) => Err(failed("this TensorRT does not tell what memory it needs")),
            }
        }
    }

    /// Lends device memory to a context that was made with [`Memory::Lent`].
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if it is not on a whole multiple of 256 bytes.
    ///
    /// # Safety
    /// `bytes` of device memory at `address`, at least [`memory_needed`](Self::memory_needed), belong to this context
    /// while what it has enqueued is at work, and are not freed as long as it may enqueue.
    pub unsafe fn lend_memory(&mut self, address: u64, bytes: usize) -> Result<()> {
        if address == 0 || !address.is_multiple_of(256) {
            return Err(failed(format!("{address:#x} is not on a multiple of 256 bytes")));
        }
        let (slots, memory) = (&self.table().context, address as *mut c_void);
        // SAFETY: void setDeviceMemoryV2(void*, int64_t), or void setDeviceMemory(void*).
        unsafe {
            match slots.set_device_memory_v2 {
                Some(v2) => call!(self.object, v2, (memory => *mut c_void, bytes as i64 => i64) -> ()),
                None => call!(self.object, slots.set_device_memory, (memory => *mut c_void) -> ()),
            }
        }
        Ok(())
    }

    /// Puts one run on a stream; returns before it has ended.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if a shape, an address or memory is missing.
    ///
    /// # Safety
    /// `stream` is a `cudaStream_t` (or `CUstream`) of the current context. The addresses set are of device memory
    /// that holds the shapes set, and remain so until the stream has passed the run.
    pub unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<()> {
        forget();
        // SAFETY: bool enqueueV3(cudaStream_t); the rest is the caller's to vouch for.
        match unsafe { call!(self.object, self.table().context.enqueue_v3, (stream => *mut c_void) -> u8) } {
            0 => Err(failed("TensorRT could not enqueue a network")),
            _ => Ok(()),
        }
    }
}

/// What makes engines from networks.
#[derive(Debug)]
pub(crate) struct Builder {
    object: Owned,
    library: &'static Library,
}

/// A network that the parser has read, or is to read. Weights are the parser's, so both live together.
#[derive(Debug)]
pub(crate) struct Network<'b> {
    // Dropped before the network.
    parser: Parser,
    object: Owned,
    library: &'static Library,
    builder: PhantomData<&'b Builder>,
}

/// How an engine is to be built.
#[derive(Debug)]
pub(crate) struct Config<'b> {
    object: Owned,
    // Dropped after the configuration that uses it.
    cache: Option<Owned>,
    library: &'static Library,
    builder: PhantomData<&'b Builder>,
}

/// The sizes that an engine is built for. The builder owns it.
#[derive(Debug)]
pub(crate) struct Profile<'b> {
    object: Public,
    library: &'static Library,
    builder: PhantomData<&'b Builder>,
}

/// Which of a profile's shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selector {
    Min,
    Opt,
    Max,
}

impl Builder {
    /// An empty network with a parser for it.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if TensorRT gives none.
    pub fn network(&self) -> Result<Network<'_>> {
        forget();
        let Library { table, .. } = self.library;
        let (slot, flags) = (table.builder.create_network_v2, table.numbers.network_flags);
        // SAFETY: INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags).
        let address = unsafe { call!(self.object, slot, (flags => u32) -> *mut c_void) };
        let object = Owned::new(address, "network")?;
        // SAFETY: int32_t getNbInputs(); int32_t getNbOutputs().
        let empty = unsafe {
            call!(object, table.network.get_nb_inputs, () -> i32) == 0
                && call!(object, table.network.get_nb_outputs, () -> i32) == 0
        };
        self.library.expect("a new network is not empty", empty)?;
        Ok(Network {
            parser: Parser::new(self.library, &object)?,
            object,
            library: self.library,
            builder: PhantomData,
        })
    }

    /// An empty configuration.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if TensorRT gives none.
    pub fn config(&self) -> Result<Config<'_>> {
        forget();
        let slot = self.library.table.builder.create_builder_config;
        // SAFETY: IBuilderConfig* createBuilderConfig().
        let address = unsafe { call!(self.object, slot, () -> *mut c_void) };
        Ok(Config {
            object: Owned::new(address, "builder configuration")?,
            cache: None,
            library: self.library,
            builder: PhantomData,
        })
    }

    /// An empty profile.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if TensorRT gives none.
    pub fn profile(&self) -> Result<Profile<'_>> {
        forget();
        let slot = self.library.table.builder.create_optimization_profile;
        // SAFETY: IOptimizationProfile* createOptimizationProfile(), the builder's own.
        let address = unsafe { call!(self.object, slot, () -> *mut c_void) };
        Ok(Profile {
            object: Public::new(address, "optimisation profile")?,
            library: self.library,
            builder: PhantomData,
        })
    }

    /// Builds an engine and gives it serialized. Takes from seconds to minutes, and measures on the GPU meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] with what TensorRT says.
    pub fn build(&self, network: &Network<'_>, config: &Config<'_>) -> Result<Vec<u8>> {
        forget();
        let slot = self.library.table.builder.build_serialized_network;
        // SAFETY: IHostMemory* buildSerializedNetwork(INetworkDefinition&, IBuilderConfig&), public objects both.
        let address = unsafe {
            call!(self.object, slot,
                (network.object.address() => *mut c_void, config.object.address() => *mut c_void) -> *mut c_void)
        };
        host_memory(self.library, address, "engine: it could not be built")
    }
}

/// The bytes of an `IHostMemory`, which is deleted.
fn host_memory(library: &Library, address: *mut c_void, what: &str) -> Result<Vec<u8>> {
    let (object, slots) = (Owned::new(address, what)?, &library.table.memory);
    // SAFETY: void* data(); size_t size(): that many bytes are there until the object is deleted.
    unsafe {
        let data = call!(object, slots.data, () -> *const u8);
        let size = call!(object, slots.size, () -> usize);
        let plausible = data as usize >= LEAST_ADDRESS && size < isize::MAX as usize;
        library.expect("memory of TensorRT is nowhere", plausible || size == 0)?;
        Ok(match size {
            0 => Vec::new(),
            _ => std::slice::from_raw_parts(data, size).to_vec(),
        })
    }
}

impl Network<'_> {
    /// Reads an ONNX file into the network, once.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`] with the parser's [`ParseError`] as its source.
    pub fn parse(&mut self, onnx: &[u8]) -> Result<()> {
        self.parser.parse(onnx)
    }

    /// A network that no builder has made, with a parser for it.
    #[cfg(test)]
    pub fn around(library: &'static Library, network: *mut c_void) -> Result<Self> {
        let object = Owned::new(network, "network")?;
        Ok(Network {
            parser: Parser::new(library, &object)?,
            object,
            library,
            builder: PhantomData,
        })
    }

    /// Whether the parser knows an operator of ONNX.
    #[cfg(test)]
    pub fn supports_operator(&self, name: &str) -> Result<bool> {
        self.parser.supports_operator(name)
    }

    /// Says that all inputs and outputs lie linearly in memory; gives name, shape (-1: any), and whether it is an
    /// input, of each.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if the network does not know them.
    pub fn ports(&mut self) -> Result<Vec<(String, Vec<i64>, bool)>> {
        let slots = &self.library.table.network;
        // SAFETY: int32_t getNbInputs(); int32_t getNbOutputs().
        let (inputs, outputs) = unsafe {
            (
                call!(self.object, slots.get_nb_inputs, () -> i32),
                call!(self.object, slots.get_nb_outputs, () -> i32),
            )
        };
        let counts = (0..=1024).contains(&inputs) && (0..=1024).contains(&outputs);
        self.library
            .expect(&format!("a network has {inputs} inputs and {outputs} outputs"), counts)?;
        let inputs = (0..inputs).map(|i| (slots.get_input, i, true));
        let outputs = (0..outputs).map(|i| (slots.get_output, i, false));
        inputs
            .chain(outputs)
            .map(|(slot, i, input)| self.port(slot, i, input))
            .collect()
    }

    fn port(&self, slot: usize, index: i32, input: bool) -> Result<(String, Vec<i64>, bool)> {
        let slots = &self.library.table.tensor;
        // SAFETY: ITensor* getInput(int32_t) and getOutput(int32_t), with an index below the count.
        let address = unsafe { call!(self.object, slot, (index => i32) -> *mut c_void) };
        let tensor = Public::new(address, "tensor")?;
        // SAFETY: char const* getName(); Dims getDimensions(); void setAllowedFormats(TensorFormats), bit 0 for
        // linear. The tensor is the network's own; its name lives as long as it does.
        let (name, shape) = unsafe {
            let name = call!(tensor, slots.get_name, () -> *const c_char);
            self.library
                .expect("a tensor has no name", name as usize >= LEAST_ADDRESS)?;
            call!(tensor, slots.set_allowed_formats, (1 => u32) -> ());
            let shape = match self.library.table.generation {
                Generation::Eight => call!(tensor, slots.get_dimensions, () -> NarrowDims).shape()?,
                Generation::Ten | Generation::Eleven => call!(tensor, slots.get_dimensions, () -> WideDims).shape()?,
            };
            (CStr::from_ptr(name).to_string_lossy().into_owned(), shape)
        };
        Ok((name, shape, input))
    }
}

impl Profile<'_> {
    /// Sets one of the shapes of an input.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if TensorRT does not take it.
    pub fn set(&mut self, name: &str, selector: Selector, shape: &[i64]) -> Result<()> {
        let (text, slot, which) = (
            c_name(name)?,
            self.library.table.profile.set_dimensions,
            selector as i32,
        );
        // SAFETY: bool setDimensions(char const*, OptProfileSelector, Dims): by value in 8.x, then by reference.
        let done = unsafe {
            match self.library.table.generation {
                Generation::Eight => {
                    let dims = NarrowDims::new(shape)?;
                    call!(self.object, slot, (text.as_ptr() => *const c_char, which => i32, dims => NarrowDims) -> u8)
                }
                Generation::Ten | Generation::Eleven => {
                    let dims = WideDims::new(shape)?;
                    call!(self.object, slot,
                        (text.as_ptr() => *const c_char, which => i32, &dims => *const WideDims) -> u8)
                }
            }
        };
        match done {
            0 => Err(failed(format!(
                "TensorRT does not take {shape:?} as {selector:?} of {name}"
            ))),
            _ => Ok(()),
        }
    }

    fn is_valid(&self) -> bool {
        // SAFETY: bool isValid().
        unsafe { call!(self.object, self.library.table.profile.is_valid, () -> u8) != 0 }
    }
}

impl Config<'_> {
    /// Sets or clears a `BuilderFlag` of this version, and looks whether that was done.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if it was not.
    pub fn set_flag(&mut self, flag: i32, on: bool) -> Result<()> {
        let slots = &self.library.table.config;
        let slot = if on { slots.set_flag } else { slots.clear_flag };
        // SAFETY: void setFlag(BuilderFlag); void clearFlag(BuilderFlag); bool getFlag(BuilderFlag).
        let done = unsafe {
            call!(self.object, slot, (flag => i32) -> ());
            (call!(self.object, slots.get_flag, (flag => i32) -> u8) != 0) == on
        };
        self.library
            .expect(&format!("builder flag {flag} does not become {on}"), done)
    }

    /// Chooses where the builder looks for kernels.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if TensorRT refuses.
    pub fn set_tactic_sources(&mut self, mask: u32) -> Result<()> {
        forget();
        // SAFETY: bool setTacticSources(TacticSources).
        match unsafe { call!(self.object, self.library.table.config.set_tactic_sources, (mask => u32) -> u8) } {
            0 => Err(failed(format!("TensorRT does not take the tactic sources {mask:#x}"))),
            _ => Ok(()),
        }
    }

    /// Adds a profile whose shapes are all set.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if TensorRT refuses.
    pub fn add(&mut self, profile: &Profile<'_>) -> Result<()> {
        forget();
        if !profile.is_valid() {
            return Err(failed("TensorRT does not take the optimisation profile as valid"));
        }
        let slot = self.library.table.config.add_optimization_profile;
        // SAFETY: int32_t addOptimizationProfile(IOptimizationProfile*), a public object, the builder's own.
        match unsafe { call!(self.object, slot, (profile.object.address() => *mut c_void) -> i32) } {
            0 => Ok(()),
            _ => Err(failed("TensorRT does not take the optimisation profile")),
        }
    }

    /// Uses what earlier builds have measured, or begins a new timing cache if it is of another version or damaged;
    /// says whether it was taken.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if TensorRT gives no timing cache at all.
    pub fn use_timing_cache(&mut self, measured: &[u8]) -> Result<bool> {
        if !measured.is_empty() && self.set_timing_cache(measured)? {
            return Ok(true);
        }
        self.set_timing_cache(&[])?;
        Ok(false)
    }

    fn set_timing_cache(&mut self, measured: &[u8]) -> Result<bool> {
        forget();
        let slots = &self.library.table.config;
        let data = if measured.is_empty() {
            null()
        } else {
            measured.as_ptr().cast::<c_void>()
        };
        // SAFETY: ITimingCache* createTimingCache(void const*, size_t), null and 0 for an empty one; the bytes are
        // read during the call.
        let address = unsafe {
            call!(self.object, slots.create_timing_cache,
                (data => *const c_void, measured.len() => usize) -> *mut c_void)
        };
        let cache = match Owned::new(address, "timing cache") {
            Ok(cache) => cache,
            Err(_) if !measured.is_empty() => return Ok(false),
            Err(e) => return Err(e),
        };
        // SAFETY: bool setTimingCache(ITimingCache const&, bool ignoreMismatch), a public object, kept below.
        let taken =
            unsafe { call!(self.object, slots.set_timing_cache, (cache.address() => *mut c_void, 0 => u8) -> u8) != 0 };
        if taken {
            self.cache = Some(cache);
        }
        Ok(taken)
    }

    /// What has been measured, for a later build.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if there is no timing cache.
    pub fn timing_cache(&self) -> Result<Vec<u8>> {
        forget();
        let table = self.library.table;
        // SAFETY: ITimingCache const* getTimingCache(), the configuration's own; IHostMemory* serialize().
        unsafe {
            let address = call!(self.object, table.config.get_timing_cache, () -> *mut c_void);
            let cache = Public::new(address, "timing cache")?;
            host_memory(
                self.library,
                call!(cache, table.cache.serialize, () -> *mut c_void),
                "serialized timing cache",
            )
        }
    }
}

/// What the ONNX parser says of a file that it does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// `nvonnxparser::ErrorCode`, such as 3 for a file that is no ONNX and 8 for a node that is not supported.
    pub code: i32,
    /// Its words.
    pub description: String,
    /// The node's number in the file, or -1.
    pub node: i32,
    /// Where in the parser: file, line, function.
    pub place: (String, i32, String),
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (_, line, function) = &self.place;
        write!(
            f,
            "{}, code {} in {function}, line {line}",
            self.description.trim(),
            self.code
        )?;
        match self.node {
            0.. => write!(f, ", node {}", self.node),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

/// `nvonnxparser::IParser` and its errors: plain virtual classes, called directly.
#[derive(Debug)]
struct Parser {
    object: Direct,
    table: &'static Table,
}

/// An object without an implementation behind it.
#[derive(Debug, Clone, Copy)]
struct Direct(NonNull<c_void>);

impl Direct {
    fn new(address: *mut c_void, what: &str) -> Result<Self> {
        let refuse = || failed(format!("TensorRT gave no {what} ({address:p})"));
        let object = NonNull::new(address)
            .filter(|_| is_plausible(address))
            .ok_or_else(refuse)?;
        // SAFETY: a plausible address that the parser library returned is that of an object with a virtual table.
        let table = unsafe { object.cast::<*const c_void>().read() };
        if is_plausible(table) {
            Ok(Self(object))
        } else {
            Err(refuse())
        }
    }

    /// # Safety
    /// The object is alive, and `slot` is one of its class in this version.
    unsafe fn method(self, slot: usize) -> (*mut c_void, *const c_void) {
        // SAFETY: as the caller says.
        unsafe {
            let table = self.0.cast::<*const *const c_void>().read();
            (self.0.as_ptr(), table.add(slot).read())
        }
    }
}

impl Parser {
    fn new(library: &Library, network: &Public) -> Result<Self> {
        let create = library
            .functions
            .create_parser
            .ok_or_else(|| library.lacks("an ONNX parser"))?;
        // SAFETY: the factory's signature: a public network, which lives longer than the parser, and the logger.
        let address = unsafe {
            create(
                network.address(),
                logger(library.table.generation),
                library.functions.parser_told,
            )
        };
        Ok(Self {
            object: Direct::new(address, "ONNX parser")?,
            table: library.table,
        })
    }

    fn parse(&mut self, onnx: &[u8]) -> Result<()> {
        forget();
        let slots = &self.table.parser;
        let data = onnx.as_ptr().cast::<c_void>();
        // SAFETY: bool parse(void const*, size_t, char const* path), the path null: nothing outside the bytes.
        let parsed = unsafe {
            call!(self.object, slots.parse,
                (data => *const c_void, onnx.len() => usize, null() => *const c_char) -> u8)
        };
        if parsed != 0 {
            return Ok(());
        }
        let error = Error::new(
            ErrorKind::ModelInvalid,
            format!(
                "TensorRT's ONNX parser does not take {} bytes{}",
                onnx.len(),
                complaints()
            ),
        );
        let cause = self.errors()?.into_iter().next();
        // SAFETY: void clearErrors(); the errors have been copied.
        unsafe { call!(self.object, slots.clear_errors, () -> ()) };
        Err(match cause {
            Some(cause) => error.with_source(cause),
            None => error,
        })
    }

    fn errors(&self) -> Result<Vec<ParseError>> {
        let (slots, of_error) = (&self.table.parser, &self.table.parser_error);
        // SAFETY: int32_t getNbErrors(); IParserError const* getError(int32_t), the parser's own until clearErrors();
        // of an error: int code(), C strings desc(), file(), func(), int line(), node(), valid as long as it is.
        unsafe {
            let count = call!(self.object, slots.get_nb_errors, () -> i32);
            (0..count.clamp(0, 64))
                .map(|i| {
                    let address = call!(self.object, slots.get_error, (i => i32) -> *mut c_void);
                    let error = Direct::new(address, "parser error")?;
                    let text = |slot| {
                        let text = call!(error, slot, () -> *const c_char);
                        match text as usize >= LEAST_ADDRESS {
                            true => CStr::from_ptr(text).to_string_lossy().into_owned(),
                            false => String::new(),
                        }
                    };
                    Ok(ParseError {
                        code: call!(error, of_error.code, () -> i32),
                        description: text(of_error.desc),
                        node: call!(error, of_error.node, () -> i32),
                        place: (
                            text(of_error.file),
                            call!(error, of_error.line, () -> i32),
                            text(of_error.func),
                        ),
                    })
                })
                .collect()
        }
    }

    #[cfg(test)]
    fn supports_operator(&self, name: &str) -> Result<bool> {
        let text = c_name(name)?;
        // SAFETY: bool supportsOperator(char const*).
        Ok(
            unsafe { call!(self.object, self.table.parser.supports_operator, (text.as_ptr() => *const c_char) -> u8) }
                != 0,
        )
    }
}

impl Drop for Parser {
    fn drop(&mut self) {
        // SAFETY: void destroy(), or the deleting destructor: once, by the only owner.
        unsafe { call!(self.object, self.table.parser.delete, () -> ()) }
    }
}
