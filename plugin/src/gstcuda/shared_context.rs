//! The context that an element shares with its neighbours.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use gst::glib;
use gst::glib::ffi::{GFALSE, GRecMutex};
use gst::glib::translate::IntoGlibPtr;
use gst::prelude::*;
use uretinex::Result;

use super::context::CudaContext;
use super::library::{Library, RawCudaContext, failed};

/// The place where an element keeps the context that it shares with others.
///
/// The library writes to `slot` in the middle of a search: it asks the neighbours and the application, and whoever
/// answers does so by calling the element's `set_context`, from within. The slot's lock is therefore recursive. Queries
/// of neighbours are answered from `shared`, without it: two elements that search at once would wait for each other.
pub(crate) struct SharedContext {
    slot: Box<Slot>,
    shared: Mutex<Option<CudaContext>>,
}

/// A pointer that the library writes to, under a lock that a thread can take again while it holds it.
struct Slot {
    lock: UnsafeCell<GRecMutex>,
    context: UnsafeCell<*mut RawCudaContext>,
}

// SAFETY: `context` is used only while `lock` is held.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

/// The slot, locked by this thread.
struct LockedSlot<'a>(&'a Slot);

impl Slot {
    fn lock(&self) -> LockedSlot<'_> {
        // SAFETY: the lock was initialised and does not move.
        unsafe { glib::ffi::g_rec_mutex_lock(self.lock.get()) };
        LockedSlot(self)
    }
}

impl Drop for LockedSlot<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread holds the lock.
        unsafe { glib::ffi::g_rec_mutex_unlock(self.0.lock.get()) };
    }
}

impl Default for SharedContext {
    fn default() -> Self {
        let slot = Box::new(Slot {
            // SAFETY: all zero is a valid value for `g_rec_mutex_init` to overwrite.
            lock: UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }),
            context: UnsafeCell::new(ptr::null_mut()),
        });
        // SAFETY: the lock has not been initialised yet, and stays where it is.
        unsafe { glib::ffi::g_rec_mutex_init(slot.lock.get()) };
        Self {
            slot,
            shared: Mutex::new(None),
        }
    }
}

impl Drop for SharedContext {
    fn drop(&mut self) {
        self.clear();
        // SAFETY: nobody else can hold the lock any more.
        unsafe { glib::ffi::g_rec_mutex_clear(self.slot.lock.get()) };
    }
}

impl SharedContext {
    /// The context, if the element has one.
    pub fn get(&self) -> Option<CudaContext> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets neighbours have what is in the slot.
    fn share(&self, library: &'static Library, slot: &LockedSlot<'_>) -> Option<CudaContext> {
        // SAFETY: the lock is held; the slot has a reference to what it points to.
        let context = unsafe {
            let context = *slot.0.context.get();
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
    /// [`ErrorKind::BackendFailed`](uretinex::ErrorKind::BackendFailed) if there is none and none can be made.
    pub fn ensure(&self, library: &'static Library, element: &gst::Element, device: u32) -> Result<CudaContext> {
        let slot = self.slot.lock();
        if self.get().is_some_and(|c| c.device().is_some_and(|d| d != device)) {
            // It was given for another GPU, before the property changed.
            self.clear();
        }
        // SAFETY: the element is live; the slot is written under its lock, here or by `set` from within the call.
        unsafe {
            (library.functions.ensure_element_context)(element.as_ptr(), device as c_int, slot.0.context.get());
        }
        self.share(library, &slot).ok_or_else(|| {
            failed(format!(
                "no CUDA context on GPU {device}: GStreamer could not make one; see GST_DEBUG=cudacontext:4, and check \
                 that nvidia-smi lists a GPU of that number with memory to spare"
            ))
        })
    }

    /// In the midst of [`ensure`](Self::ensure), when neither neighbours nor the application gave a context: takes the
    /// one that other elements of this process work in, if there is one, so that separate pipelines share engines.
    pub fn adopt(&self, library: &'static Library, element: &gst::Element, device: u32) {
        let slot = self.slot.lock();
        // SAFETY: the lock is held.
        let taken = unsafe { !(*slot.0.context.get()).is_null() };
        let Some(context) = CudaContext::in_use(library, device).filter(|_| !taken) else {
            return;
        };
        let own: *mut gst::ffi::GstObject = context.object.clone().into_glib_ptr();
        // SAFETY: the lock is held; the slot gets a reference of its own.
        unsafe { *slot.0.context.get() = own.cast() };
        self.share(library, &slot);
        let message = context.message();
        element.set_context(&message);
        let have = gst::message::HaveContext::builder(message).src(element).build();
        let _ = element.post_message(have);
    }

    /// Takes the context that the application or a neighbour gives, if it is of that GPU and there is none yet.
    pub fn set(&self, library: &'static Library, element: &gst::Element, context: &gst::Context, device: u32) -> bool {
        let slot = self.slot.lock();
        // SAFETY: element and context are live; the slot is written under its lock.
        let taken = unsafe {
            (library.functions.handle_set_context)(
                element.as_ptr(),
                context.as_mut_ptr(),
                device as c_int,
                slot.0.context.get(),
            )
        };
        self.share(library, &slot);
        taken != GFALSE
    }

    /// Answers a neighbour's query for a context; false if it is for something else or there is none.
    pub fn answer(&self, element: &gst::Element, query: &mut gst::QueryRef) -> bool {
        self.get().is_some_and(|context| {
            // SAFETY: all are live; the query is writable, and takes references of its own.
            unsafe {
                (context.library.functions.handle_context_query)(element.as_ptr(), query.as_mut_ptr(), context.as_ptr())
                    != GFALSE
            }
        })
    }

    /// Forgets the context.
    pub fn clear(&self) {
        let slot = self.slot.lock();
        // SAFETY: the lock is held; the slot's reference is taken over.
        let old = unsafe { ptr::replace(slot.0.context.get(), ptr::null_mut()) };
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(slot);
        drop(shared);
        if !old.is_null() {
            // SAFETY: the slot had a reference, which is given back.
            unsafe { glib::gobject_ffi::g_object_unref(old.cast()) };
        }
    }
}
