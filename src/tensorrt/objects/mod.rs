//! TensorRT's objects: the only place that calls through their virtual tables.
//!
//! A public object has its own virtual table at offset 0 and the address of its implementation at offset 8; the
//! implementation's virtual table is at its offset 0. Methods are called on the implementation, destructors (slot 1)
//! on the public object; arguments and results that are objects are public ones. The parser has no implementation: it
//! is called directly.
//!
//! Every call takes its slot from the table of the library's version. What says so below with the C++ signature is
//! the whole of a SAFETY argument together with two facts that hold for all of them: an object lives as long as what
//! holds it here, and what an object needs is held beside it and dropped after it.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::ptr::NonNull;

use super::logger::complaints;
use crate::error::{Error, ErrorKind, Result};

/// Calls a method: `call!(object, slot, (argument: type, ...) -> result)`. Within `unsafe`.
macro_rules! call {
    ($object:expr, $slot:expr, ($($value:expr => $kind:ty),*) -> $out:ty) => {{
        let (this, entry) = $object.method($slot);
        let method: unsafe extern "C" fn(*mut c_void, $($kind),*) -> $out = std::mem::transmute(entry);
        method(this, $($value),*)
    }};
}

mod builder;
mod config;
mod context;
mod dims;
mod engine;
mod factory;
mod network;
mod parser;

pub(super) use config::{Config, Selector};
pub(crate) use context::Context;
#[cfg(test)]
pub(super) use dims::{NarrowDims, WideDims};
pub(super) use engine::Runtime;
pub(crate) use engine::Tensor;
pub(crate) use engine::{Element, Engine, Memory};
pub(super) use network::Network;
pub use parser::ParseError;

/// Below this no object lies; a factory that fails may return a null pointer plus an offset.
const LEAST_ADDRESS: usize = 1 << 16;

/// What TensorRT could not do, with what it says of it.
fn failed(what: impl AsRef<str>) -> Error {
    let (what, said) = (what.as_ref(), complaints());
    let lower = said.to_lowercase();
    let is_memory = ["out of memory", "outofmemory", "could not be allocated", "bad_alloc"];
    if is_memory.iter().any(|words| lower.contains(words)) {
        let remedy =
            "GPU memory is short: see nvidia-smi for who else uses it, or choose smaller frames or another GPU";
        return Error::new(ErrorKind::OutOfMemory, format!("{what}; {remedy}{said}"));
    }
    Error::new(ErrorKind::BackendFailed, format!("{what}{said}"))
}

fn is_plausible(address: *const c_void) -> bool {
    address as usize >= LEAST_ADDRESS && (address as usize).is_multiple_of(align_of::<*const c_void>())
}

/// A name without NUL, as TensorRT wants it.
fn c_name(name: &str) -> Result<CString> {
    CString::new(name).map_err(|_| failed(format!("the tensor name {name:?} has a NUL in it")))
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
