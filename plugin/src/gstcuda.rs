//! GStreamer's CUDA library (`libgstcuda-1.0`), opened at run time: contexts that elements share, memory on the GPU,
//! its buffer pool. All calls into it are here, behind a safe interface; nothing is linked.
//!
//! The functions are those of `gst/cuda/*.h` in gst-plugins-bad. 1.22 brought the library; 1.24 brought streams, with
//! which work on a buffer may still be pending when it arrives; 1.26 added nothing that is used here. The public parts
//! of `GstCudaMemory` and `GstCudaBufferPool` have been the same in all of them.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::{LazyLock, Mutex, PoisonError};

use gst::glib;
use gst::glib::ffi::{GFALSE, GRecMutex, GType, gboolean};
use gst::glib::translate::{IntoGlibPtr, from_glib, from_glib_full, from_glib_none};
use gst::prelude::*;
use gst_video::VideoInfo;
use uretinex::{
    DeviceFrame, DevicePlane, Enhancer, Error, ErrorKind, FrameSpec, MAX_PLANES, Options, RawContext, RawStream, Result,
};

#[cfg(test)]
pub(crate) mod tests;

/// The caps feature of frames in CUDA memory.
pub(crate) const FEATURE: &str = "memory:CUDAMemory";
/// The type of context that holds a `GstCudaContext`.
pub(crate) const CONTEXT_TYPE: &str = "gst.cuda.context";

const FILE: &str = "libgstcuda-1.0.so.0";
const OPTION_VIDEO_META: &str = "GstBufferPoolOptionVideoMeta";
/// `GST_MAP_CUDA`: the flag after `GST_MAP_FLAG_LAST`.
const MAP_CUDA: u32 = gst::ffi::GST_MAP_FLAG_LAST << 1;

/// `GstCudaContext`: a `GstObject`, and private data.
#[repr(C)]
struct RawCudaContext {
    object: gst::ffi::GstObject,
}

/// `GstCudaStream`: a mini object, and private data.
#[repr(C)]
struct RawCudaStream {
    object: gst::ffi::GstMiniObject,
}

/// The public part of `GstCudaMemory`.
#[repr(C)]
struct RawCudaMemory {
    memory: gst::ffi::GstMemory,
    context: *mut RawCudaContext,
    info: gst_video::ffi::GstVideoInfo,
}

/// The public part of `GstCudaBufferPool`.
#[repr(C)]
struct RawCudaBufferPool {
    pool: gst::ffi::GstBufferPool,
    context: *mut RawCudaContext,
}

/// Declares a table of functions, and how it is filled from a library.
macro_rules! table {
    ($(#[$doc:meta])* $table:ident { $($field:ident: $symbol:literal = fn($($arg:ty),*) $(-> $ret:ty)?;)* }) => {
        $(#[$doc])*
        struct $table {
            $($field: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
        }

        impl $table {
            /// The names of the functions.
            const SYMBOLS: &'static [&'static str] = &[$($symbol),*];

            /// # Safety
            /// `library` is libgstcuda-1.0, whose functions of these names have these types.
            unsafe fn load(library: &libloading::Library) -> Result<Self> {
                Ok(Self {
                    // SAFETY: the types are those of the header; passed on to the caller.
                    $($field: *unsafe { library.get(concat!($symbol, "\0")) }.map_err(|_| missing(&[$symbol]))?,)*
                })
            }
        }
    };
}

table! {
    /// What 1.22 has, and all versions since.
    Functions {
        load_library: "gst_cuda_load_library" = fn() -> gboolean;
        memory_init_once: "gst_cuda_memory_init_once" = fn();
        is_cuda_memory: "gst_is_cuda_memory" = fn(*mut gst::ffi::GstMemory) -> gboolean;
        ensure_element_context: "gst_cuda_ensure_element_context"
            = fn(*mut gst::ffi::GstElement, c_int, *mut *mut RawCudaContext) -> gboolean;
        handle_set_context: "gst_cuda_handle_set_context"
            = fn(*mut gst::ffi::GstElement, *mut gst::ffi::GstContext, c_int, *mut *mut RawCudaContext) -> gboolean;
        handle_context_query: "gst_cuda_handle_context_query"
            = fn(*mut gst::ffi::GstElement, *mut gst::ffi::GstQuery, *mut RawCudaContext) -> gboolean;
        context_new_message: "gst_context_new_cuda_context" = fn(*mut RawCudaContext) -> *mut gst::ffi::GstContext;
        context_get_handle: "gst_cuda_context_get_handle" = fn(*mut RawCudaContext) -> *mut c_void;
        context_push: "gst_cuda_context_push" = fn(*mut RawCudaContext) -> gboolean;
        context_pop: "gst_cuda_context_pop" = fn(*mut *mut c_void) -> gboolean;
        buffer_pool_new: "gst_cuda_buffer_pool_new" = fn(*mut RawCudaContext) -> *mut gst::ffi::GstBufferPool;
        buffer_pool_get_type: "gst_cuda_buffer_pool_get_type" = fn() -> GType;
    }
}

table! {
    /// What 1.24 added: work on a memory may be pending in its stream.
    StreamFunctions {
        stream_new: "gst_cuda_stream_new" = fn(*mut RawCudaContext) -> *mut RawCudaStream;
        stream_get_handle: "gst_cuda_stream_get_handle" = fn(*mut RawCudaStream) -> *mut c_void;
        memory_get_stream: "gst_cuda_memory_get_stream" = fn(*mut RawCudaMemory) -> *mut RawCudaStream;
        memory_sync: "gst_cuda_memory_sync" = fn(*mut RawCudaMemory);
        config_get_stream: "gst_buffer_pool_config_get_cuda_stream"
            = fn(*mut gst::ffi::GstStructure) -> *mut RawCudaStream;
        config_set_stream: "gst_buffer_pool_config_set_cuda_stream"
            = fn(*mut gst::ffi::GstStructure, *mut RawCudaStream);
    }
}

/// Those of `symbols` that are not in `library`.
fn lacking(library: &libloading::Library, symbols: &[&'static str]) -> Vec<&'static str> {
    // SAFETY: the symbol is looked for, not used.
    let absent = |symbol: &&str| unsafe { library.get::<*mut c_void>(*symbol) }.is_err();
    symbols.iter().copied().filter(absent).collect()
}

fn missing(symbols: &[&str]) -> Error {
    Error::new(
        ErrorKind::BackendUnavailable,
        format!(
            "{FILE} lacks {}: it is of another version than 1.22 to 1.26, or damaged; install the package that belongs \
             to this GStreamer (Debian: libgstreamer-plugins-bad1.0-0)",
            symbols.join(", ")
        ),
    )
}

fn failed(message: String) -> Error {
    Error::new(ErrorKind::BackendFailed, message)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidFrame, message)
}

/// The library, open.
pub(crate) struct Library {
    functions: Functions,
    /// None before 1.24.
    streams: Option<StreamFunctions>,
}

impl Library {
    /// The system's library, opened at the first call and never closed.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`] if it is absent, of an unknown version, or finds no driver.
    pub fn get() -> Result<&'static Self> {
        static LIBRARY: LazyLock<Result<&'static Library>> = LazyLock::new(|| Library::open(FILE));
        match &*LIBRARY {
            Ok(library) => Ok(library),
            Err(error) => Err(Error::new(error.kind(), error.to_string())),
        }
    }

    /// Opens the library of that name or path; it stays open until the process ends.
    fn open(name: &str) -> Result<&'static Self> {
        // SAFETY: the name is that of GStreamer's library, whose initialisers do nothing but register themselves. It
        // is never closed: it registers types with GLib, which do not go away.
        let library = unsafe { libloading::Library::new(name) }.map_err(|e| {
            Error::new(
                ErrorKind::BackendUnavailable,
                format!(
                    "GStreamer's CUDA library {name} cannot be opened: frames in CUDA memory need it \
                     (Debian: libgstreamer-plugins-bad1.0-0)"
                ),
            )
            .with_source(e)
        })?;
        let library = Box::leak(Box::new(library));
        let lacks = lacking(library, Functions::SYMBOLS);
        if !lacks.is_empty() {
            return Err(missing(&lacks));
        }
        let lacks = lacking(library, StreamFunctions::SYMBOLS);
        // With some but not all of them, pending work would go unnoticed.
        if !lacks.is_empty() && lacks.len() < StreamFunctions::SYMBOLS.len() {
            return Err(missing(&lacks));
        }
        // SAFETY: `library` is libgstcuda-1.0.
        let functions = unsafe { Functions::load(library) }?;
        // SAFETY: as above.
        let streams = lacks
            .is_empty()
            .then(|| unsafe { StreamFunctions::load(library) })
            .transpose()?;
        // SAFETY: may be called at any time, any number of times, from any thread.
        if unsafe { (functions.load_library)() } == GFALSE {
            return Err(Error::new(
                ErrorKind::BackendUnavailable,
                format!(
                    "{FILE} finds no NVIDIA driver (libcuda.so.1), or one that is too old for it; frames in CUDA \
                     memory need one: nvidia-smi should list the GPU"
                ),
            ));
        }
        // SAFETY: the driver's functions are loaded.
        unsafe { (functions.memory_init_once)() };
        Ok(Box::leak(Box::new(Self { functions, streams })))
    }
}

/// The contexts that elements of this process work in.
static KNOWN: Mutex<Vec<(&'static Library, glib::WeakRef<gst::Object>)>> = Mutex::new(Vec::new());

/// A CUDA context that GStreamer's elements share.
#[derive(Clone)]
pub(crate) struct CudaContext {
    library: &'static Library,
    object: gst::Object,
}

impl CudaContext {
    /// # Safety
    /// `context` is a live `GstCudaContext`.
    unsafe fn borrow(library: &'static Library, context: *mut RawCudaContext) -> Self {
        Self {
            library,
            // SAFETY: a `GstCudaContext` is a `GstObject`; this adds a reference.
            object: unsafe { from_glib_none(context.cast::<gst::ffi::GstObject>()) },
        }
    }

    fn as_ptr(&self) -> *mut RawCudaContext {
        self.object.as_ptr().cast()
    }

    /// The `CUcontext`.
    fn handle(&self) -> *mut c_void {
        // SAFETY: the context is live as long as `self`.
        unsafe { (self.library.functions.context_get_handle)(self.as_ptr()) }
    }

    /// One that an element of this process works in, on the GPU of that number.
    fn known(library: &'static Library, device: u32) -> Option<Self> {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let of_library = known.iter().filter(|(l, _)| ptr::eq(*l, library));
        of_library
            .filter_map(|(library, weak)| {
                Some(Self {
                    library,
                    object: weak.upgrade()?,
                })
            })
            .find(|context| context.device() == Some(device))
    }

    /// Makes it one that [`known`](Self::known) finds, as long as it lives.
    fn remember(&self) {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, weak)| weak.upgrade().is_some_and(|object| object != self.object));
        known.push((self.library, self.object.downgrade()));
    }

    /// What tells elements and applications of it.
    pub fn message(&self) -> gst::Context {
        // SAFETY: the context is live; the new message is handed over.
        unsafe { from_glib_full((self.library.functions.context_new_message)(self.as_ptr())) }
    }

    /// The number of its GPU.
    pub fn device(&self) -> Option<u32> {
        self.object.find_property("cuda-device-id")?;
        self.object.property_value("cuda-device-id").get().ok()
    }

    /// Makes the context this thread's current one until the value is dropped.
    pub fn current(&self) -> Result<Current<'_>> {
        // SAFETY: the context is live.
        if unsafe { (self.library.functions.context_push)(self.as_ptr()) } == GFALSE {
            return Err(failed(
                "the CUDA context cannot be made current: the GPU may have failed (dmesg)".into(),
            ));
        }
        Ok(Current {
            context: self,
            _thread: PhantomData,
        })
    }

    /// A stream for the work of one element; none before 1.24.
    pub fn stream(&self) -> Option<Stream> {
        let streams = self.library.streams.as_ref()?;
        // SAFETY: the context is live; the new stream keeps a reference to it.
        NonNull::new(unsafe { (streams.stream_new)(self.as_ptr()) }).map(Stream)
    }

    /// Whether `pool` gives memory of this context.
    pub fn owns(&self, pool: &gst::BufferPool) -> bool {
        // SAFETY: takes no arguments.
        let cuda_pool: glib::Type = unsafe { from_glib((self.library.functions.buffer_pool_get_type)()) };
        // SAFETY: the pool is a `GstCudaBufferPool`, whose public part is read.
        pool.type_().is_a(cuda_pool) && unsafe { (*pool.as_ptr().cast::<RawCudaBufferPool>()).context } == self.as_ptr()
    }

    /// A new pool of buffers in this context.
    pub fn pool(&self) -> Result<gst::BufferPool> {
        // SAFETY: the context is live. The pool is handed over with its reference, or is null.
        let pool: Option<gst::BufferPool> =
            unsafe { from_glib_full((self.library.functions.buffer_pool_new)(self.as_ptr())) };
        pool.ok_or_else(|| failed("GStreamer made no pool of CUDA buffers".into()))
    }

    /// Sets a pool of this context up for frames of `caps`: the size of its buffers, which is the GPU's choice, and
    /// the stream of their memory, which is `stream` unless the pool has one already.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if the pool refuses, for example because GPU memory is exhausted.
    pub fn configure(
        &self,
        pool: &gst::BufferPool,
        caps: &gst::Caps,
        size: u32,
        (min, max): (u32, u32),
        stream: Option<&Stream>,
    ) -> Result<(u32, Option<Stream>)> {
        let mut config = pool.config();
        config.set_params(Some(caps), size, min, max);
        config.add_option(OPTION_VIDEO_META);
        let mut used = None;
        if let Some(streams) = &self.library.streams {
            // SAFETY: the configuration is a live structure; the stream comes with a reference, or is null.
            let held = NonNull::new(unsafe { (streams.config_get_stream)(config.as_mut_ptr()) });
            used = held.map(Stream).or_else(|| stream.cloned());
            if let (None, Some(stream)) = (held, &used) {
                // SAFETY: both are live; the structure takes a reference of its own.
                unsafe { (streams.config_set_stream)(config.as_mut_ptr(), stream.0.as_ptr()) };
            }
        }
        pool.set_config(config).map_err(|e| {
            failed(format!(
                "the pool {} of CUDA buffers takes no frames of {caps}: GPU memory may be exhausted (nvidia-smi)",
                pool.name()
            ))
            .with_source(e)
        })?;
        let size = pool.config().params().map_or(size, |(_, size, _, _)| size);
        Ok((size, used))
    }
}

/// A context made current on this thread.
pub(crate) struct Current<'a> {
    context: &'a CudaContext,
    /// The stack of contexts is the thread's.
    _thread: PhantomData<*const ()>,
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread pushed the context, and values of this type are dropped in reverse order.
        unsafe { (self.context.library.functions.context_pop)(ptr::null_mut()) };
    }
}

/// A CUDA stream that GStreamer's elements share.
pub(crate) struct Stream(NonNull<RawCudaStream>);

// SAFETY: a mini object counts its references atomically, and the driver takes streams from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Clone for Stream {
    fn clone(&self) -> Self {
        // SAFETY: the stream is a live mini object.
        unsafe { gst::ffi::gst_mini_object_ref(self.0.as_ptr().cast()) };
        Self(self.0)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: gives back the reference of this value.
        unsafe { gst::ffi::gst_mini_object_unref(self.0.as_ptr().cast()) };
    }
}

/// The place where an element keeps the context that it shares with others.
///
/// The library writes to it in the middle of a search: it asks the neighbours and the application, and whoever
/// answers does so by calling the element's `set_context`, from within. `lock` is therefore recursive. Queries of
/// neighbours are answered from `shared`, without it: two elements that search at once would wait for each other.
pub(crate) struct ContextSlot {
    place: Box<Place>,
    shared: Mutex<Option<CudaContext>>,
}

struct Place {
    lock: UnsafeCell<GRecMutex>,
    context: UnsafeCell<*mut RawCudaContext>,
}

// SAFETY: `context` is used only while `lock` is held.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

struct Held<'a>(&'a Place);

impl Place {
    fn hold(&self) -> Held<'_> {
        // SAFETY: the lock was initialised and does not move.
        unsafe { glib::ffi::g_rec_mutex_lock(self.lock.get()) };
        Held(self)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread holds the lock.
        unsafe { glib::ffi::g_rec_mutex_unlock(self.0.lock.get()) };
    }
}

impl Default for ContextSlot {
    fn default() -> Self {
        let place = Box::new(Place {
            // SAFETY: all zero is a valid value for `g_rec_mutex_init` to overwrite.
            lock: UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }),
            context: UnsafeCell::new(ptr::null_mut()),
        });
        // SAFETY: the lock has not been initialised yet, and stays where it is.
        unsafe { glib::ffi::g_rec_mutex_init(place.lock.get()) };
        Self {
            place,
            shared: Mutex::new(None),
        }
    }
}

impl Drop for ContextSlot {
    fn drop(&mut self) {
        self.clear();
        // SAFETY: nobody else can hold the lock any more.
        unsafe { glib::ffi::g_rec_mutex_clear(self.place.lock.get()) };
    }
}

impl ContextSlot {
    /// The context that the element shares, if it has one.
    pub fn shared(&self) -> Option<CudaContext> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets neighbours have what is in the place.
    fn share(&self, library: &'static Library, held: &Held<'_>) -> Option<CudaContext> {
        // SAFETY: the lock is held; the place has a reference to what it points to.
        let context = unsafe {
            let context = *held.0.context.get();
            (!context.is_null()).then(|| CudaContext::borrow(library, context))
        };
        if let Some(context) = &context {
            context.remember();
        }
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = context.clone();
        context
    }

    /// Finds a context on the GPU of that number: the element's, a neighbour's, the application's, or else a new one,
    /// which the pipeline is told of. Before it makes a new one the element posts a message that asks for one.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if there is none and none can be made.
    pub fn ensure(&self, library: &'static Library, element: &gst::Element, device: u32) -> Result<CudaContext> {
        let held = self.place.hold();
        if self.shared().is_some_and(|c| c.device().is_some_and(|d| d != device)) {
            // It was given for another GPU, before the property changed.
            self.clear();
        }
        // SAFETY: the element is live; the place is written under its lock, here or by `set` from within the call.
        unsafe {
            (library.functions.ensure_element_context)(element.as_ptr(), device as c_int, held.0.context.get());
        }
        self.share(library, &held).ok_or_else(|| {
            failed(format!(
                "no CUDA context on GPU {device}: GStreamer could not make one; see GST_DEBUG=cudacontext:4, and check \
                 that nvidia-smi lists a GPU of that number with memory to spare"
            ))
        })
    }

    /// In the midst of [`ensure`](Self::ensure), when neither neighbours nor the application gave a context: takes the
    /// one that other elements of this process work in, if there is one, so that separate pipelines share engines.
    pub fn adopt(&self, library: &'static Library, element: &gst::Element, device: u32) {
        let held = self.place.hold();
        // SAFETY: the lock is held.
        let taken = unsafe { !(*held.0.context.get()).is_null() };
        let Some(context) = CudaContext::known(library, device).filter(|_| !taken) else {
            return;
        };
        let own: *mut gst::ffi::GstObject = context.object.clone().into_glib_ptr();
        // SAFETY: the lock is held; the place gets a reference of its own.
        unsafe { *held.0.context.get() = own.cast() };
        self.share(library, &held);
        let message = context.message();
        element.set_context(&message);
        let have = gst::message::HaveContext::builder(message).src(element).build();
        let _ = element.post_message(have);
    }

    /// Takes the context that the application or a neighbour gives, if it is of that GPU and there is none yet.
    pub fn set(&self, library: &'static Library, element: &gst::Element, context: &gst::Context, device: u32) -> bool {
        let held = self.place.hold();
        // SAFETY: element and context are live; the place is written under its lock.
        let taken = unsafe {
            (library.functions.handle_set_context)(
                element.as_ptr(),
                context.as_mut_ptr(),
                device as c_int,
                held.0.context.get(),
            )
        };
        self.share(library, &held);
        taken != GFALSE
    }

    /// Answers a neighbour's query for a context; false if it is for something else or there is none.
    pub fn answer(&self, element: &gst::Element, query: &mut gst::QueryRef) -> bool {
        self.shared().is_some_and(|context| {
            // SAFETY: all are live; the query is writable, and takes references of its own.
            unsafe {
                (context.library.functions.handle_context_query)(element.as_ptr(), query.as_mut_ptr(), context.as_ptr())
                    != GFALSE
            }
        })
    }

    /// Forgets the context.
    pub fn clear(&self) {
        let held = self.place.hold();
        // SAFETY: the lock is held; the place's reference is taken over.
        let old = unsafe { ptr::replace(held.0.context.get(), ptr::null_mut()) };
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(held);
        drop(shared);
        if !old.is_null() {
            // SAFETY: the place had a reference, which is given back.
            unsafe { glib::gobject_ffi::g_object_unref(old.cast()) };
        }
    }
}

/// An enhancer, and the CUDA context that it was made with, which outlives it.
pub(crate) struct Tenant {
    /// Dropped first.
    pub enhancer: Enhancer,
    pub context: Option<CudaContext>,
}

impl Tenant {
    /// Makes the enhancer, in that context if it works on a GPU.
    ///
    /// # Errors
    /// As [`Enhancer::new`].
    pub fn new(options: &Options, context: Option<CudaContext>) -> Result<Self> {
        let raw = context
            .as_ref()
            // SAFETY: the context was asked for by the options' GPU, and is kept until the enhancer has been dropped.
            .map(|c| unsafe { RawContext::new(c.handle()) });
        let options = Options {
            cuda_context: raw,
            ..options.clone()
        };
        Ok(Self {
            enhancer: Enhancer::new(&options)?,
            context,
        })
    }
}

/// A buffer's memory on the GPU, mapped: its address and planes are valid until the value is dropped.
pub(crate) struct DeviceMap<'a> {
    context: &'a CudaContext,
    map: gst::ffi::GstMapInfo,
    _buffer: PhantomData<&'a gst::BufferRef>,
}

impl<'a> DeviceMap<'a> {
    /// To be read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the buffer is not one memory of that context.
    pub fn read(context: &'a CudaContext, buffer: &'a gst::BufferRef) -> Result<Self> {
        Self::new(context, buffer, gst::ffi::GST_MAP_READ)
    }

    /// To be written.
    ///
    /// # Errors
    /// As [`DeviceMap::read`].
    pub fn write(context: &'a CudaContext, buffer: &'a mut gst::BufferRef) -> Result<Self> {
        Self::new(context, buffer, gst::ffi::GST_MAP_WRITE)
    }

    fn new(context: &'a CudaContext, buffer: &'a gst::BufferRef, access: u32) -> Result<Self> {
        if buffer.n_memory() != 1 {
            return Err(invalid(format!(
                "a buffer in CUDA memory has one memory, this one has {}",
                buffer.n_memory()
            )));
        }
        let memory = buffer.peek_memory(0).as_mut_ptr();
        // SAFETY: the memory is live as long as the buffer.
        if unsafe { (context.library.functions.is_cuda_memory)(memory) } == GFALSE {
            return Err(invalid(
                "the caps say CUDA memory, but the buffer is in another one: put cudaupload before uretinexenhance"
                    .into(),
            ));
        }
        // SAFETY: it is a `GstCudaMemory`; its context is live as long as it is.
        let owner = unsafe { CudaContext::borrow(context.library, (*memory.cast::<RawCudaMemory>()).context) };
        if owner.object != context.object && owner.handle() != context.handle() {
            return Err(invalid(format!(
                "the buffer is of another CUDA context (GPU {}) than the element's (GPU {}): give both elements the \
                 same device-id, and let them share a context (application: set_context before PAUSED)",
                owner.device().map_or("?".into(), |d| d.to_string()),
                context.device().map_or("?".into(), |d| d.to_string())
            )));
        }
        let mut map = MaybeUninit::uninit();
        // SAFETY: the memory is live, and `map` is filled in if the call succeeds.
        if unsafe { gst::ffi::gst_memory_map(memory, map.as_mut_ptr(), access | MAP_CUDA) } == GFALSE {
            return Err(invalid(
                "the buffer's CUDA memory cannot be mapped: it is in use elsewhere".into(),
            ));
        }
        Ok(Self {
            context,
            // SAFETY: the call succeeded.
            map: unsafe { map.assume_init() },
            _buffer: PhantomData,
        })
    }

    fn memory(&self) -> *mut RawCudaMemory {
        self.map.memory.cast()
    }

    /// Bytes from its address on.
    pub fn len(&self) -> usize {
        self.map.size
    }

    /// Offsets and strides that the memory gives for frames of `info`, for buffers without a video meta.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if it is for other frames.
    pub fn planes(&self, info: &VideoInfo) -> Result<([usize; 4], [i32; 4])> {
        // SAFETY: the memory is a live `GstCudaMemory`; its info is set before it is handed out, and does not change.
        let own = unsafe { &(*self.memory()).info };
        let format = if own.finfo.is_null() {
            gst_video::VideoFormat::Unknown
        } else {
            // SAFETY: the pointer is to one of GStreamer's static descriptions.
            unsafe { from_glib((*own.finfo).format) }
        };
        if format != info.format() || own.width != info.width() as c_int || own.height != info.height() as c_int {
            return Err(invalid(format!(
                "the CUDA memory is for {} {}x{}, the caps say {} {}x{}",
                format.to_str(),
                own.width,
                own.height,
                info.format().to_str(),
                info.width(),
                info.height()
            )));
        }
        Ok((own.offset, own.stride))
    }

    /// The frame whose planes have these offsets and strides, in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the memory is shorter than that, or the core takes no such frame.
    pub fn frame(&self, spec: FrameSpec, info: &VideoInfo, planes: &[(usize, usize)]) -> Result<DeviceFrame> {
        let address = self.map.data as u64;
        let mut device = [DevicePlane { address, stride: 0 }; MAX_PLANES];
        for (n, (plane, &(offset, stride))) in device.iter_mut().zip(planes).enumerate() {
            let needed = extent(info, n as u32, stride).and_then(|extent| extent.checked_add(offset));
            if needed.is_none_or(|needed| needed > self.len()) {
                return Err(invalid(format!(
                    "the buffer's CUDA memory of {} bytes is shorter than its caps say: plane {n} begins at {offset} \
                     and has rows of {stride} bytes",
                    self.len()
                )));
            }
            *plane = DevicePlane {
                address: address + offset as u64,
                stride,
            };
        }
        // SAFETY: the planes lie within the mapped memory, which `self` keeps.
        unsafe { DeviceFrame::new(spec, &device[..planes.len().min(MAX_PLANES)]) }
    }

    /// The stream in which work on the memory may be pending, if there is one.
    pub fn stream(&self) -> Option<RawStream> {
        let streams = self.context.library.streams.as_ref()?;
        // SAFETY: the memory is a live `GstCudaMemory`, which has a reference to its stream; null stands for none.
        let stream = unsafe { (streams.stream_get_handle)((streams.memory_get_stream)(self.memory())) };
        // SAFETY: it is a stream of the memory's context, and lives while the memory does.
        (!stream.is_null()).then(|| unsafe { RawStream::new(stream) })
    }

    /// Waits until no work on the memory is pending.
    pub fn synchronize(&self) {
        if let Some(streams) = &self.context.library.streams {
            // SAFETY: the memory is a live `GstCudaMemory`.
            unsafe { (streams.memory_sync)(self.memory()) };
        }
    }
}

impl Drop for DeviceMap<'_> {
    fn drop(&mut self) {
        // SAFETY: the map is that of `gst_memory_map`, and is used for the last time.
        unsafe { gst::ffi::gst_memory_unmap(self.map.memory, &mut self.map) };
    }
}

/// Bytes from a plane's beginning to its end, the last row without its padding; none if that is no number.
fn extent(info: &VideoInfo, plane: u32, stride: usize) -> Option<usize> {
    let format = info.format_info();
    let (mut rows, mut row) = (0, 0);
    for component in (0..info.n_components()).filter(|&c| info.comp_plane(c as u8) == plane) {
        let pixels = format.scale_width(component as u8, info.width()) as usize;
        row = row.max(pixels.checked_mul(info.comp_pstride(component as u8) as usize)?);
        rows = rows.max(format.scale_height(component as u8, info.height()) as usize);
    }
    rows.checked_sub(1)?.checked_mul(stride)?.checked_add(row)
}
