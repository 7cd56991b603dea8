//! The library: its types, its functions, and how it is opened.

use std::ffi::{c_int, c_void};
use std::sync::LazyLock;

use gst::glib::ffi::{GFALSE, GType, gboolean};
use uretinex::{Error, ErrorKind, Result};

pub(super) const FILE: &str = "libgstcuda-1.0.so.0";

/// `GstCudaContext`: a `GstObject`, and private data.
#[repr(C)]
pub(super) struct RawCudaContext {
    object: gst::ffi::GstObject,
}

/// `GstCudaStream`: a mini object, and private data.
#[repr(C)]
pub(super) struct RawCudaStream {
    object: gst::ffi::GstMiniObject,
}

/// The public part of `GstCudaMemory`.
#[repr(C)]
pub(super) struct RawCudaMemory {
    pub memory: gst::ffi::GstMemory,
    pub context: *mut RawCudaContext,
    pub info: gst_video::ffi::GstVideoInfo,
}

/// The public part of `GstCudaBufferPool`.
#[repr(C)]
pub(super) struct RawCudaBufferPool {
    pub pool: gst::ffi::GstBufferPool,
    pub context: *mut RawCudaContext,
}

/// Declares a table of functions, and how it is filled from a library.
macro_rules! table {
    ($(#[$doc:meta])* $table:ident { $($field:ident: $symbol:literal = fn($($arg:ty),*) $(-> $ret:ty)?;)* }) => {
        $(#[$doc])*
        pub(super) struct $table {
            $(pub $field: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
        }

        impl $table {
            /// The names of the functions.
            pub const SYMBOLS: &'static [&'static str] = &[$($symbol),*];

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
pub(super) fn lacking(library: &libloading::Library, symbols: &[&'static str]) -> Vec<&'static str> {
    // SAFETY: the symbol is looked for, not used.
    let absent = |symbol: &&str| unsafe { library.get::<*mut c_void>(*symbol) }.is_err();
    symbols.iter().copied().filter(absent).collect()
}

fn missing(symbols: &[&str]) -> Error {
    Error::new(
        ErrorKind::BackendUnavailable,
        format!(
            "{FILE} lacks {}: it is damaged, or its version is not one of 1.22 to 1.26; install the package that \
             belongs to this GStreamer (Debian: libgstreamer-plugins-bad1.0-0)",
            symbols.join(", ")
        ),
    )
}

/// The error of a call that failed for another reason than its arguments.
pub(super) fn failed(message: String) -> Error {
    Error::new(ErrorKind::BackendFailed, message)
}

/// The library, open.
pub(crate) struct Library {
    pub(super) functions: Functions,
    /// None before 1.24.
    pub(super) streams: Option<StreamFunctions>,
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
    pub(super) fn open(name: &str) -> Result<&'static Self> {
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
