//! CUDA contexts that GStreamer's elements share.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use gst::glib;
use gst::glib::ffi::GFALSE;
use gst::glib::translate::{from_glib_full, from_glib_none};
use gst::prelude::*;
use uretinex::Result;

use super::library::{Library, RawCudaContext, failed};
use super::stream::CudaStream;

/// The contexts that elements of this process work in.
static IN_USE: Mutex<Vec<(&'static Library, glib::WeakRef<gst::Object>)>> = Mutex::new(Vec::new());

/// A CUDA context that GStreamer's elements share.
#[derive(Clone)]
pub(crate) struct CudaContext {
    pub(super) library: &'static Library,
    pub(super) object: gst::Object,
}

impl CudaContext {
    /// # Safety
    /// `context` is a live `GstCudaContext`.
    pub(super) unsafe fn borrow(library: &'static Library, context: *mut RawCudaContext) -> Self {
        Self {
            library,
            // SAFETY: a `GstCudaContext` is a `GstObject`; this adds a reference.
            object: unsafe { from_glib_none(context.cast::<gst::ffi::GstObject>()) },
        }
    }

    pub(super) fn as_ptr(&self) -> *mut RawCudaContext {
        self.object.as_ptr().cast()
    }

    /// The `CUcontext`.
    pub(super) fn handle(&self) -> *mut c_void {
        // SAFETY: the context is live as long as `self`.
        unsafe { (self.library.functions.context_get_handle)(self.as_ptr()) }
    }

    /// One that an element of this process works in, on the GPU of that number.
    pub(super) fn in_use(library: &'static Library, device: u32) -> Option<Self> {
        let all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let of_library = all.iter().filter(|(l, _)| ptr::eq(*l, library));
        of_library
            .filter_map(|(library, weak)| {
                Some(Self {
                    library,
                    object: weak.upgrade()?,
                })
            })
            .find(|context| context.device() == Some(device))
    }

    /// Makes it one that [`in_use`](Self::in_use) finds, as long as it lives.
    pub(super) fn remember(&self) {
        let mut all = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, weak)| weak.upgrade().is_some_and(|object| object != self.object));
        all.push((self.library, self.object.downgrade()));
    }

    /// The GStreamer context that tells elements and applications of it.
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
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`](uretinex::ErrorKind::BackendFailed) if the driver refuses.
    pub fn current(&self) -> Result<CurrentContext<'_>> {
        // SAFETY: the context is live.
        if unsafe { (self.library.functions.context_push)(self.as_ptr()) } == GFALSE {
            return Err(failed(
                "the CUDA context cannot be made current: the GPU may have failed (dmesg)".into(),
            ));
        }
        Ok(CurrentContext {
            context: self,
            _thread: PhantomData,
        })
    }

    /// A new stream for the work of one element; none before 1.24.
    pub fn stream(&self) -> Option<CudaStream> {
        let streams = self.library.streams.as_ref()?;
        // SAFETY: the context is live; the new stream keeps a reference to it.
        NonNull::new(unsafe { (streams.stream_new)(self.as_ptr()) }).map(CudaStream)
    }
}

/// A context made current on this thread.
pub(crate) struct CurrentContext<'a> {
    context: &'a CudaContext,
    /// The stack of contexts is the thread's.
    _thread: PhantomData<*const ()>,
}

impl Drop for CurrentContext<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread pushed the context, and values of this type are dropped in reverse order.
        unsafe { (self.context.library.functions.context_pop)(ptr::null_mut()) };
    }
}
