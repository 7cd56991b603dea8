//! What objects have in common that TensorRT calls: the layout of C++ objects with virtual tables.

use std::ffi::{c_char, c_void};

/// What lies before the first slot of every virtual table.
#[repr(C)]
pub(crate) struct Prefix {
    offset_to_top: isize,
    type_information: usize,
}

pub(crate) const PREFIX: Prefix = Prefix {
    offset_to_top: 0,
    type_information: 0,
};

/// A virtual table. An object begins with the address of its first slot.
#[repr(C)]
pub(crate) struct VirtualTable<S> {
    pub prefix: Prefix,
    pub slots: S,
}

/// `InterfaceInfo`: name, major, minor.
#[repr(C)]
pub(crate) struct InterfaceInfo {
    pub kind: *const c_char,
    pub major: i32,
    pub minor: i32,
}

/// Destructors of objects that TensorRT does not own.
pub(crate) extern "C" fn keep(_this: *mut c_void) {}

/// `APILanguage::kCPP`.
pub(crate) extern "C" fn api_language(_this: *mut c_void) -> i32 {
    0
}
