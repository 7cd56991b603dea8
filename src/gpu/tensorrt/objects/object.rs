//! Objects of TensorRT, and calls through their virtual tables.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::ptr::NonNull;

use crate::error::{Error, ErrorKind, Result};
use crate::gpu::tensorrt::logger::complaints;

/// Calls a method: `call!(object, slot, (argument: type, ...) -> result)`. Within `unsafe`.
macro_rules! call {
    ($object:expr, $slot:expr, ($($value:expr => $kind:ty),*) -> $out:ty) => {{
        let (this, entry) = $object.method($slot);
        let method: unsafe extern "C" fn(*mut c_void, $($kind),*) -> $out = std::mem::transmute(entry);
        method(this, $($value),*)
    }};
}
pub(crate) use call;

/// Below this no object lies; a factory that fails may return a null pointer plus an offset.
pub(crate) const LEAST_ADDRESS: usize = 1 << 16;

/// What TensorRT could not do, with what it says of it.
pub(crate) fn failed(what: impl AsRef<str>) -> Error {
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

pub(crate) fn is_plausible(address: *const c_void) -> bool {
    address as usize >= LEAST_ADDRESS && (address as usize).is_multiple_of(align_of::<*const c_void>())
}

/// A name without NUL, as TensorRT wants it.
pub(crate) fn c_name(name: &str) -> Result<CString> {
    CString::new(name).map_err(|_| failed(format!("the tensor name {name:?} has a NUL in it")))
}

/// A public object that somebody else owns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Public(NonNull<c_void>);

impl Public {
    /// An object that TensorRT has returned, unless it is none.
    pub(crate) fn new(address: *mut c_void, what: &str) -> Result<Self> {
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

    pub(crate) fn address(self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// # Safety
    /// The object is alive, and `slot` is one of its class in this version.
    pub(crate) unsafe fn method(self, slot: usize) -> (*mut c_void, *const c_void) {
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
pub(crate) struct Owned(Public);

impl Owned {
    pub(crate) fn new(address: *mut c_void, what: &str) -> Result<Self> {
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
