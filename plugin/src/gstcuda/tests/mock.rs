//! A mock of the library, compiled of `mock.c`: its contexts are numbers, and its device memory is the host's.

use std::ffi::{c_int, c_uint};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use gst::glib::translate::{ToGlibPtr, from_glib_full};
use gst_video::VideoInfo;
use uretinex::Result;

use super::compiler::{compile, pkg_config};
use crate::gstcuda::library::{RawCudaContext, RawCudaStream};
use crate::gstcuda::{CudaContext, CudaStream, Library};

/// The mock, and what it counts.
pub(crate) struct Mock {
    pub library: &'static Library,
    counters: libloading::Library,
}

/// Opens the mock built with these flags.
pub(super) fn open(flags: &[&str]) -> Result<Mock> {
    gst::init().unwrap();
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("libgstcuda-mock-{}-{serial}.so", std::process::id()));
    let (serial, found) = (
        format!("-DSERIAL={serial}"),
        pkg_config(&["--cflags", "--libs", "gstreamer-video-1.0"]),
    );
    let flags: Vec<_> = flags
        .iter()
        .copied()
        .chain([serial.as_str()])
        .chain(found.split_whitespace())
        .collect();
    compile("mock.c", &file, &flags);
    let library = Library::open(file.to_str().unwrap());
    // SAFETY: as in `Library::open`.
    let counters = unsafe { libloading::Library::new(&file) }.unwrap();
    std::fs::remove_file(file).unwrap();
    library.map(|library| Mock { library, counters })
}

impl Mock {
    /// Of GStreamer 1.22 (`22`) or 1.24 (`24`), on a machine with a driver.
    pub fn version(version: u32) -> Self {
        open(&["-DDRIVER=1", &format!("-DVERSION={version}")]).unwrap()
    }

    /// One of the mock's counts: `contexts`, `memories`, `streams`, `pools`, `mapped`, `syncs`, `last_flags`, `depth`.
    pub fn count(&self, what: &str) -> i32 {
        // SAFETY: the mock's functions of these names take nothing and return an int.
        unsafe {
            let symbol = format!("mock_{what}");
            let count = self
                .counters
                .get::<unsafe extern "C" fn() -> c_int>(symbol.as_str())
                .unwrap();
            count()
        }
    }

    /// A new context on a GPU.
    pub fn context(&self, device: u32) -> CudaContext {
        // SAFETY: the mock's functions have the types of the header; the new reference is taken over.
        unsafe {
            let new = self
                .counters
                .get::<unsafe extern "C" fn(c_uint) -> *mut gst::ffi::GstObject>("gst_cuda_context_new")
                .unwrap();
            CudaContext {
                library: self.library,
                object: from_glib_full(new(device)),
            }
        }
    }

    /// A buffer for frames of `info`, without a video meta.
    pub fn buffer(&self, context: &CudaContext, stream: Option<&CudaStream>, info: &VideoInfo) -> gst::Buffer {
        type Alloc = unsafe extern "C" fn(
            *mut RawCudaContext,
            *mut RawCudaStream,
            *const gst_video::ffi::GstVideoInfo,
        ) -> *mut gst::ffi::GstMemory;
        let stream = stream.map_or(ptr::null_mut(), |s| s.0.as_ptr());
        // SAFETY: this is the mock's type of the function; the memory is handed over.
        let memory: gst::Memory = unsafe {
            let alloc = self.counters.get::<Alloc>("mock_alloc").unwrap();
            from_glib_full(alloc(context.as_ptr(), stream, info.to_glib_none().0))
        };
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().append_memory(memory);
        buffer
    }

    /// Nothing of it lives, but for `contexts` contexts.
    pub fn assert_only(&self, contexts: i32) {
        for (what, expected) in [
            ("mapped", 0),
            ("depth", 0),
            ("memories", 0),
            ("pools", 0),
            ("streams", 0),
            ("contexts", contexts),
        ] {
            assert_eq!(self.count(what), expected, "{what} that live");
        }
    }
}
