//! The builder, and the memory in which it gives results.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::c_void;

use crate::error::Result;
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::objects::object::{LEAST_ADDRESS, Owned, Public, call};

/// What makes engines from networks.
#[derive(Debug)]
pub(crate) struct Builder {
    object: Owned,
    library: &'static Library,
    /// Timing caches in use: from 10.10 on they have to outlive the builder.
    caches: RefCell<Vec<Owned>>,
}

impl Builder {
    pub(crate) fn new(object: Owned, library: &'static Library) -> Self {
        Self {
            object,
            library,
            caches: RefCell::default(),
        }
    }

    pub(crate) fn object(&self) -> Public {
        *self.object
    }

    pub(crate) fn library(&self) -> &'static Library {
        self.library
    }

    /// Keeps a timing cache as long as the builder, and after it.
    pub(crate) fn keep(&self, cache: Owned) {
        self.caches.borrow_mut().push(cache);
    }
}

/// The bytes of an `IHostMemory`, which is deleted.
pub fn host_memory(library: &Library, address: *mut c_void, what: &str) -> Result<Vec<u8>> {
    let (object, slots) = (Owned::new(address, what)?, &library.table.memory);
    // SAFETY: void* data(); size_t size(): that many bytes are there until the object is deleted.
    unsafe {
        let data = call!(object, slots.data, () -> *const u8);
        let size = call!(object, slots.size, () -> usize);
        let plausible = data as usize >= LEAST_ADDRESS && size < isize::MAX as usize;
        library.expect("memory of TensorRT is nowhere", plausible || size == 0)?;
        Ok(match size {
            0 => Vec::new(),
            _ => std::slice::from_raw_parts(data, size).to_vec(),
        })
    }
}
