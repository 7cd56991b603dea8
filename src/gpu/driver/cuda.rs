//! The device that is a GPU: the CUDA driver through `cudarc`, by its plain functions.
//!
//! `cudarc` opens the driver at its first call and panics if there is none, so the driver is looked for first. Its
//! tracking of events belongs to its safe types, which are not used: who waits for whom is said in `backend`.
#![allow(unsafe_code)]

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;
use cudarc::driver::{result, sys};

use crate::error::{Error, ErrorKind, Result};
use crate::frame::RawContext;
use crate::gpu::driver::device::{Device, EventHandle, GraphHandle, PinnedMemory, StreamHandle};
use crate::gpu::driver::probe::{Driver, driver};
use crate::gpu::kernels::{Launch, MODULES, Module};
use crate::registry::Registry;

/// The first CUDA version whose driver loads the shipped PTX (8.0).
const CUDA: (i32, i32) = (12, 0);
/// The first compute capability that the shipped PTX is for.
const CAPABILITY: (i32, i32) = (7, 0);

/// A GPU of this machine.
pub(crate) struct Cuda {
    name: String,
    device: sys::CUdevice,
    context: sys::CUcontext,
    /// Whether the context is the device's primary one, retained by this.
    retained: bool,
    /// Whether memory comes from the pool, in stream order.
    pooled: bool,
    capability: (i32, i32),
    multiprocessors: u32,
    modules: Vec<sys::CUmodule>,
    functions: HashMap<&'static str, sys::CUfunction>,
}

// SAFETY: the handles may be used from any thread; the driver locks by itself.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}

impl Cuda {
    /// The GPU of that number, opened unless it is open already: in the caller's context, or in the device's primary
    /// one, which the CUDA runtime of other libraries uses too.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`] if there is no driver, no GPU, or one of the two is too old;
    /// [`ErrorKind::InvalidOption`] for a number that no GPU has.
    pub fn open(ordinal: u32, shared: Option<RawContext>) -> Result<Arc<Self>> {
        static OPENED: Registry<(u32, Option<RawContext>), Cuda> = Registry::new();
        check_driver(driver(), ordinal)?;
        OPENED.get_or_make((ordinal, shared), || Self::make(ordinal, shared))
    }

    fn make(ordinal: u32, shared: Option<RawContext>) -> Result<Self> {
        result::init().map_err(|e| failed("cuInit", e))?;
        let device = result::device::get(ordinal as i32).map_err(|e| failed("cuDeviceGet", e))?;
        let context = match shared {
            Some(raw) => raw.handle() as sys::CUcontext,
            None => {
                // SAFETY: the device is one that the driver gave; released in `drop`.
                let retained = unsafe { result::primary_ctx::retain(device) };
                retained.map_err(|e| failed("cuDevicePrimaryCtxRetain", e))?
            }
        };
        // SAFETY: the device is one that the driver gave.
        let attribute = |which| unsafe { result::device::get_attribute(device, which) };
        let pools = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED);
        let multiprocessors = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        let mut cuda = Self {
            name: result::device::get_name(device).unwrap_or_else(|_| "unknown".into()),
            device,
            context,
            retained: shared.is_none(),
            pooled: pools.is_ok_and(|supported| supported > 0),
            capability: driver().gpu(ordinal)?.compute_capability,
            multiprocessors: multiprocessors.map_or(0, |count| count.max(0) as u32),
            modules: Vec::new(),
            functions: HashMap::new(),
        };
        cuda.enter()?;
        let loaded = cuda.load();
        cuda.leave();
        loaded.map(|()| cuda)
    }

    /// Loads the shipped PTX, which the driver compiles for this GPU and keeps in its own cache.
    fn load(&mut self) -> Result<()> {
        for module in MODULES.into_iter().filter(|module| module.since <= self.capability) {
            let refused = |what| unusable(&self.name, module, what);
            let image = CString::new(module.ptx).map_err(|_| refused("it holds a zero byte".into()))?;
            // SAFETY: the image is PTX that ends in a zero byte; unloaded in `drop`.
            let loaded =
                unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(|e| refused(describe(e)))?;
            self.modules.push(loaded);
            for &kernel in module.kernels {
                let name = CString::new(kernel).unwrap_or_default();
                // SAFETY: the module has just been loaded and lives as long as this does.
                let function = unsafe { result::module::get_function(loaded, name) }
                    .map_err(|e| unusable(&self.name, module, format!("{kernel}: {}", describe(e))))?;
                self.functions.insert(kernel, function);
            }
        }
        Ok(())
    }

    /// The GPU's compute capability.
    pub fn capability(&self) -> (i32, i32) {
        self.capability
    }

    /// The GPU's multiprocessors; 0 if the driver does not say.
    pub fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    /// The `CUcontext`, as a number.
    pub fn context(&self) -> usize {
        self.context as usize
    }

    fn failed_to_allocate(&self, what: &str, bytes: usize, e: DriverError) -> Error {
        let call = format!("allocating {} MiB of {what}", mebibytes(bytes));
        if e.0 != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return failed(&call, e);
        }
        let free = match result::mem_get_info() {
            Ok((free, total)) => format!("{} of {} MiB are free", mebibytes(free), mebibytes(total)),
            Err(_) => "how much is free could not be asked".into(),
        };
        Error::new(
            ErrorKind::OutOfMemory,
            format!(
                "{} is out of {what}: {} MiB were asked for, {free}; take smaller frames, precision=fp16 or fewer \
                 elements, or end other programs on this GPU (nvidia-smi lists them)",
                self.name,
                mebibytes(bytes)
            ),
        )
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.enter().is_ok() {
            for &module in &self.modules {
                // SAFETY: loaded by this and used by nobody else: buffers and streams hold the device alive.
                let _ = unsafe { result::module::unload(module) };
            }
            self.leave();
        }
        if self.retained {
            // SAFETY: retained once in `make`.
            let _ = unsafe { result::primary_ctx::release(self.device) };
        }
    }
}

/// Whether the driver serves a GPU of that number.
fn check_driver(driver: &Driver, ordinal: u32) -> Result<()> {
    let gpu = driver.gpu(ordinal)?;
    let unavailable = |message| Err(Error::new(ErrorKind::BackendUnavailable, message));
    if let Some((major, minor)) = driver.cuda.filter(|&version| version < CUDA) {
        return unavailable(format!(
            "the NVIDIA driver ({}) is too old: it serves CUDA up to {major}.{minor}, the kernels need {}.{}; install \
             driver 525 or later",
            driver.library, CUDA.0, CUDA.1
        ));
    }
    if gpu.compute_capability < CAPABILITY {
        let (major, minor) = gpu.compute_capability;
        return unavailable(format!(
            "GPU {ordinal} ({}) has compute capability {major}.{minor}, the kernels need {}.{} (Volta, 2017) or later; \
             take another device-id or backend=cpu",
            gpu.name, CAPABILITY.0, CAPABILITY.1
        ));
    }
    Ok(())
}

fn mebibytes(bytes: usize) -> usize {
    bytes.div_ceil(1 << 20)
}

/// The driver's name and sentence for an error.
fn describe(e: DriverError) -> String {
    let name = e.error_name().map(|s| s.to_string_lossy().into_owned());
    let text = e.error_string().map(|s| s.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{name}: {text}"),
        _ => format!("CUDA error {}", e.0 as u32),
    }
}

/// An error of a call that has no reason to fail.
fn failed(call: &str, e: DriverError) -> Error {
    let remedy = match e.0 {
        CUresult::CUDA_ERROR_STUB_LIBRARY => {
            "the libcuda.so found is the stub of the CUDA toolkit: take its folder out of LD_LIBRARY_PATH"
        }
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            "GPU memory is short: take smaller frames, or end other programs on this GPU (nvidia-smi lists them)"
        }
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS | CUresult::CUDA_ERROR_LAUNCH_FAILED => {
            "a kernel failed, and no further work is possible in this process: start it again, and report it if it \
             happens again"
        }
        _ => "nvidia-smi should list the GPU; the kernel's log (dmesg, lines with NVRM) says more",
    };
    Error::new(
        ErrorKind::BackendFailed,
        format!("{call} failed ({}); {remedy}", describe(e)),
    )
}

fn unusable(name: &str, module: &Module, what: String) -> Error {
    Error::new(
        ErrorKind::BackendUnavailable,
        format!(
            "the driver refuses the {} kernels on {name}: {what}; install driver 525 or later, or use backend=cpu",
            module.name
        ),
    )
}

impl StreamHandle {
    fn raw(self) -> sys::CUstream {
        self.0 as sys::CUstream
    }
}

impl EventHandle {
    fn raw(self) -> sys::CUevent {
        self.0 as sys::CUevent
    }
}

impl GraphHandle {
    fn raw(self) -> sys::CUgraphExec {
        self.0 as sys::CUgraphExec
    }
}

/// Page-locked memory of the driver's.
struct CudaPinned {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: it owns its bytes; the pointer is handed out as slices by the rules of borrowing, and for copies.
unsafe impl Send for CudaPinned {}

impl PinnedMemory for CudaPinned {
    fn read(&self) -> &[u8] {
        // SAFETY: `bytes` of initialised memory that this owns; the borrow keeps writers away.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    fn write(&mut self) -> &mut [u8] {
        // SAFETY: as in `read`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }

    fn start(&self) -> *mut u8 {
        self.start
    }
}

impl Drop for CudaPinned {
    fn drop(&mut self) {
        // SAFETY: allocated by `allocate_pinned`, and freed once.
        let _ = unsafe { result::free_host(self.start.cast()) };
    }
}

/// Error from a driver call, named after it.
macro_rules! call {
    ($name:literal, $call:expr) => {
        // SAFETY: handles and addresses belong to this device by the contract of `Device`, and live as long as their
        // owners in `graph` and `memory`, which make these calls.
        unsafe { $call }.map_err(|e| failed($name, e))
    };
}

impl Device for Cuda {
    fn enter(&self) -> Result<()> {
        call!("cuCtxPushCurrent", sys::cuCtxPushCurrent_v2(self.context).result())
    }

    fn leave(&self) {
        let mut popped = std::ptr::null_mut();
        // SAFETY: pops what `enter` pushed; the pointer is to a live value.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&mut popped) };
    }

    fn create_stream(&self) -> Result<StreamHandle> {
        result::stream::create(result::stream::StreamKind::NonBlocking)
            .map(|stream| StreamHandle(stream as usize))
            .map_err(|e| failed("cuStreamCreate", e))
    }

    fn destroy_stream(&self, stream: StreamHandle) {
        // SAFETY: created by this and destroyed once, by its owner.
        let _ = unsafe { result::stream::destroy(stream.raw()) };
    }

    fn create_event(&self, timed: bool) -> Result<EventHandle> {
        // The host sleeps while it waits, it does not spin: several streams share the processor.
        let mut flags = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32;
        if !timed {
            flags |= sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        }
        let mut event = std::ptr::null_mut();
        call!("cuEventCreate", sys::cuEventCreate(&mut event, flags).result())?;
        Ok(EventHandle(event as usize))
    }

    fn destroy_event(&self, event: EventHandle) {
        // SAFETY: created by this and destroyed once, by its owner.
        let _ = unsafe { result::event::destroy(event.raw()) };
    }

    fn allocate(&self, stream: StreamHandle, bytes: usize) -> Result<u64> {
        // SAFETY: the stream lives; whoever gets the address frees it once, on the same stream.
        let address = unsafe {
            match self.pooled {
                true => result::malloc_async(stream.raw(), bytes),
                false => result::malloc_sync(bytes),
            }
        }
        .map_err(|e| self.failed_to_allocate("GPU memory", bytes, e))?;
        // SAFETY: `bytes` have just been allocated there.
        let cleared = unsafe { result::memset_d8_async(address, 0, bytes, stream.raw()) };
        if let Err(e) = cleared {
            self.free(stream, address);
            return Err(failed("cuMemsetD8Async", e));
        }
        Ok(address)
    }

    fn free(&self, stream: StreamHandle, address: u64) {
        // SAFETY: allocated by `allocate` on that stream and freed once, by its owner. `cuMemFree` waits by itself.
        let _ = unsafe {
            match self.pooled {
                true => result::free_async(address, stream.raw()),
                false => result::free_sync(address),
            }
        };
    }

    fn allocate_pinned(&self, bytes: usize) -> Result<Box<dyn PinnedMemory>> {
        // SAFETY: freed once, by `CudaPinned`; written at once below, so that no byte of it is undefined.
        let start = unsafe {
            let start = result::malloc_host(bytes, 0)
                .map_err(|e| self.failed_to_allocate("page-locked host memory", bytes, e))?
                .cast::<u8>();
            start.write_bytes(0, bytes);
            start
        };
        Ok(Box::new(CudaPinned { start, bytes }))
    }

    unsafe fn upload(&self, stream: StreamHandle, to: u64, from: *const u8, bytes: usize) -> Result<()> {
        call!(
            "cuMemcpyHtoDAsync",
            sys::cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, stream.raw()).result()
        )
    }

    unsafe fn download(&self, stream: StreamHandle, to: *mut u8, from: u64, bytes: usize) -> Result<()> {
        call!(
            "cuMemcpyDtoHAsync",
            sys::cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, stream.raw()).result()
        )
    }

    unsafe fn copy(&self, stream: StreamHandle, to: u64, from: u64, bytes: usize) -> Result<()> {
        call!(
            "cuMemcpyDtoDAsync",
            result::memcpy_dtod_async(to, from, bytes, stream.raw())
        )
    }

    unsafe fn launch(&self, stream: StreamHandle, launch: &Launch) -> Result<()> {
        let function = *self.functions.get(launch.kernel).ok_or_else(|| {
            Error::new(
                ErrorKind::BackendFailed,
                format!(
                    "no kernel {} of {} was loaded: please report it",
                    launch.kernel, launch.module.name
                ),
            )
        })?;
        let [x, y, z] = launch.grid;
        let [bx, by, bz] = launch.block;
        // The driver copies the arguments before it returns, and only reads them.
        let mut parameters = [launch.arguments.as_ptr().cast_mut().cast::<c_void>()];
        call!(
            "cuLaunchKernel",
            result::launch_kernel(
                function,
                (x, y, z),
                (bx, by, bz),
                launch.shared,
                stream.raw(),
                &mut parameters
            )
        )
    }

    fn record(&self, event: EventHandle, stream: StreamHandle) -> Result<()> {
        call!("cuEventRecord", result::event::record(event.raw(), stream.raw()))
    }

    fn wait(&self, stream: StreamHandle, event: EventHandle) -> Result<()> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        call!(
            "cuStreamWaitEvent",
            result::stream::wait_event(stream.raw(), event.raw(), flags)
        )
    }

    fn synchronize(&self, event: EventHandle) -> Result<()> {
        call!("cuEventSynchronize", result::event::synchronize(event.raw()))
    }

    fn elapsed(&self, from: EventHandle, to: EventHandle) -> Result<f32> {
        call!("cuEventElapsedTime", result::event::elapsed(from.raw(), to.raw()))
    }

    fn begin_capture(&self, stream: StreamHandle) -> Result<()> {
        // Other threads may allocate meanwhile: only this thread's calls are bound by the capture.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        call!(
            "cuStreamBeginCapture",
            result::stream::begin_capture(stream.raw(), mode)
        )
    }

    fn end_capture(&self, stream: StreamHandle) -> Result<GraphHandle> {
        let graph = call!("cuStreamEndCapture", result::stream::end_capture(stream.raw()))?;
        let flags = sys::CUgraphInstantiate_flags(0);
        let executable = call!("cuGraphInstantiate", result::graph::instantiate(graph, flags));
        // SAFETY: the executable is a copy of its own.
        let _ = unsafe { result::graph::destroy(graph) };
        Ok(GraphHandle(executable? as usize))
    }

    fn launch_graph(&self, graph: GraphHandle, stream: StreamHandle) -> Result<()> {
        call!("cuGraphLaunch", result::graph::launch(graph.raw(), stream.raw()))
    }

    fn destroy_graph(&self, graph: GraphHandle) {
        // SAFETY: instantiated by `end_capture` and destroyed once, by its owner.
        let _ = unsafe { result::graph::exec_destroy(graph.raw()) };
    }

    fn free_memory(&self) -> Result<u64> {
        result::mem_get_info()
            .map(|(free, _)| free as u64)
            .map_err(|e| failed("cuMemGetInfo", e))
    }
}
