//! The object that TensorRT tells of a build's progress, and asks whether to go on.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::gpu::tensorrt::interface::{InterfaceInfo, PREFIX, VirtualTable, api_language, keep};

/// `IProgressMonitor`, from 10.0 on: the slots of `IVersionedInterface`, then its own.
#[repr(C)]
struct Slots {
    api_language: extern "C" fn(*mut c_void) -> i32,
    interface_info: extern "C" fn(*mut c_void) -> InterfaceInfo,
    destructors: [extern "C" fn(*mut c_void); 2],
    phase_start: extern "C" fn(*mut c_void, *const c_char, *const c_char, i32),
    step_complete: extern "C" fn(*mut c_void, *const c_char, i32) -> bool,
    phase_finish: extern "C" fn(*mut c_void, *const c_char),
}

static TABLE: VirtualTable<Slots> = VirtualTable {
    prefix: PREFIX,
    slots: Slots {
        api_language,
        interface_info,
        destructors: [keep, keep],
        phase_start,
        step_complete,
        phase_finish,
    },
};

/// Ends a build early: TensorRT asks it after each step of a build, from any of its threads.
///
/// It outlives the builder and all that the builder makes.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Monitor {
    /// Where the first slot of the virtual table is.
    slots: *const c_void,
    cancelled: AtomicBool,
}

// SAFETY: the pointer is to a static; the flag is atomic.
unsafe impl Send for Monitor {}
// SAFETY: as above.
unsafe impl Sync for Monitor {}

impl Monitor {
    pub fn new() -> Self {
        Self {
            slots: (&raw const TABLE.slots).cast(),
            cancelled: AtomicBool::new(false),
        }
    }

    /// The build ends at its next step.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// The object, as TensorRT takes it.
    pub fn address(&self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }
}

extern "C" fn interface_info(_this: *mut c_void) -> InterfaceInfo {
    InterfaceInfo {
        kind: c"IProgressMonitor".as_ptr(),
        major: 1,
        minor: 0,
    }
}

extern "C" fn phase_start(_this: *mut c_void, _phase: *const c_char, _parent: *const c_char, _steps: i32) {}

/// Whether the build goes on.
extern "C" fn step_complete(this: *mut c_void, _phase: *const c_char, _step: i32) -> bool {
    // SAFETY: TensorRT calls this on the object that it was given, which outlives the build.
    let monitor = unsafe { &*this.cast::<Monitor>() };
    !monitor.cancelled.load(Ordering::Relaxed)
}

extern "C" fn phase_finish(_this: *mut c_void, _phase: *const c_char) {}
