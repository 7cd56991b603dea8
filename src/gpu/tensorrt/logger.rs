//! The logger object that TensorRT calls, one per layout, alive for the life of the process.
//!
//! Messages go to the `log` crate, target `uretinex::tensorrt`. TensorRT keeps the first logger it is given and calls
//! it from its own threads.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::panic::catch_unwind;

use crate::gpu::tensorrt::interface::{InterfaceInfo, PREFIX, VirtualTable, api_language, keep};
use crate::gpu::tensorrt::tables::Generation;

pub(crate) const TARGET: &str = "uretinex::tensorrt";

type Log = extern "C" fn(*mut c_void, i32, *const c_char);
type Destructor = extern "C" fn(*mut c_void);

/// `ILogger` of 8.x and 10.x.
#[repr(C)]
struct PlainSlots {
    log: Log,
    destructors: [Destructor; 2],
}

/// `ILogger` of 11.x.
#[repr(C)]
struct VersionedSlots {
    api_language: extern "C" fn(*mut c_void) -> i32,
    interface_info: extern "C" fn(*mut c_void) -> InterfaceInfo,
    destructors: [Destructor; 2],
    log: Log,
}

/// An object of C++: the address of its first slot.
#[repr(C)]
struct Object<S: 'static> {
    slots: &'static S,
}

static PLAIN_TABLE: VirtualTable<PlainSlots> = VirtualTable {
    prefix: PREFIX,
    slots: PlainSlots {
        log,
        destructors: [keep, keep],
    },
};

static VERSIONED_TABLE: VirtualTable<VersionedSlots> = VirtualTable {
    prefix: PREFIX,
    slots: VersionedSlots {
        api_language,
        interface_info,
        destructors: [keep, keep],
        log,
    },
};

static PLAIN: Object<PlainSlots> = Object {
    slots: &PLAIN_TABLE.slots,
};

static VERSIONED: Object<VersionedSlots> = Object {
    slots: &VERSIONED_TABLE.slots,
};

/// The logger for a generation, as TensorRT's factories take it.
pub(crate) fn logger(generation: Generation) -> *mut c_void {
    match generation {
        Generation::Eight | Generation::Ten => (&raw const PLAIN).cast_mut().cast(),
        Generation::Eleven => (&raw const VERSIONED).cast_mut().cast(),
    }
}

thread_local! {
    /// Errors in calls of this thread since the last [`forget`], newest last, for messages. What TensorRT's own
    /// threads say is in the log alone.
    static RECENT: RefCell<VecDeque<String>> = RefCell::default();
}
const KEPT: usize = 4;

/// Before a call: what was said so far has nothing to do with it.
pub(crate) fn forget() {
    RECENT.with(|recent| recent.borrow_mut().clear());
}

/// What TensorRT complained of since [`forget`], as the end of a message; empty if of nothing.
pub(crate) fn complaints() -> String {
    let said: Vec<String> = RECENT.with(|recent| recent.borrow_mut().drain(..).collect());
    match said.is_empty() {
        true => String::new(),
        false => format!("; TensorRT says: {}", said.join(" | ")),
    }
}

/// Whether TensorRT complained of anything since [`forget`]; what it said stays for a message.
pub(crate) fn complained() -> bool {
    RECENT.with(|recent| !recent.borrow().is_empty())
}

extern "C" fn log(_this: *mut c_void, severity: i32, message: *const c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: TensorRT passes a C string that is valid during the call.
    let message = unsafe { CStr::from_ptr(message) };
    // A panic of whoever receives the messages must not run into C++.
    let _ = catch_unwind(|| write(severity, &message.to_string_lossy()));
}

fn write(severity: i32, message: &str) {
    let level = match severity {
        0 | 1 => log::Level::Error,
        2 => log::Level::Warn,
        3 => log::Level::Debug,
        _ => log::Level::Trace,
    };
    if level == log::Level::Error {
        let _ = RECENT.try_with(|recent| {
            let mut recent = recent.borrow_mut();
            if recent.len() == KEPT {
                recent.pop_front();
            }
            recent.push_back(message.to_string());
        });
    }
    log::log!(target: TARGET, level, "{message}");
}

extern "C" fn interface_info(_this: *mut c_void) -> InterfaceInfo {
    InterfaceInfo {
        kind: c"ILogger".as_ptr(),
        major: 1,
        minor: 0,
    }
}
