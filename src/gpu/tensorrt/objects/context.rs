//! An engine at work.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

use crate::error::Result;
use crate::gpu::tensorrt::logger::{complained, forget};
use crate::gpu::tensorrt::objects::dims::{NarrowDims, WideDims};
use crate::gpu::tensorrt::objects::engine::{Engine, EngineObject, Memory};
use crate::gpu::tensorrt::objects::object::{Owned, c_name, call, failed};
use crate::gpu::tensorrt::tables::{Generation, Table};

/// An engine at work, for one stream of work.
#[derive(Debug)]
pub(crate) struct Context {
    object: Owned,
    outputs: Vec<String>,
    // Dropped after the context.
    engine: Arc<EngineObject>,
}

// SAFETY: a context may be used from any thread, one at a time; its methods that change it take it exclusively.
unsafe impl Send for Context {}

impl Context {
    /// A context of `engine`, any number of which may be at work at once.
    ///
    /// # Errors
    /// `ErrorKind::OutOfMemory` if GPU memory is short, `ErrorKind::BackendFailed` otherwise.
    pub fn new(engine: &Engine, memory: Memory) -> Result<Self> {
        let object = engine.for_context()?;
        Ok(Self {
            object: object.create_context(memory)?,
            outputs: engine.outputs(),
            engine: object,
        })
    }

    fn table(&self) -> &'static Table {
        self.engine.table()
    }

    /// Sets the shape of an input.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if it is outside the engine's profile or there is no such input.
    pub fn set_input_shape(&mut self, name: &str, shape: &[i64]) -> Result<()> {
        forget();
        let (text, slot) = (c_name(name)?, self.table().context.set_input_shape);
        // SAFETY: bool setInputShape(char const*, Dims const&): name and dimensions are read during the call.
        let done = unsafe {
            match self.table().generation {
                Generation::Eight => {
                    let dims = NarrowDims::new(shape)?;
                    call!(self.object, slot, (text.as_ptr() => *const c_char, &dims => *const NarrowDims) -> u8)
                }
                Generation::Ten | Generation::Eleven => {
                    let dims = WideDims::new(shape)?;
                    call!(self.object, slot, (text.as_ptr() => *const c_char, &dims => *const WideDims) -> u8)
                }
            }
        };
        match done {
            0 => Err(failed(format!(
                "TensorRT does not take {shape:?} as the shape of {name}"
            ))),
            _ => Ok(()),
        }
    }

    /// Sets where a tensor lies in device memory.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` for a null address or if there is no such tensor.
    pub fn set_address(&mut self, name: &str, address: u64) -> Result<()> {
        forget();
        let (text, slot) = (c_name(name)?, self.table().context.set_tensor_address);
        if address == 0 {
            return Err(failed(format!("tensor {name} has no device memory")));
        }
        // SAFETY: bool setTensorAddress(char const*, void*): the address is kept, and used by `enqueue` alone.
        let done = unsafe {
            call!(self.object, slot, (text.as_ptr() => *const c_char, address as *mut c_void => *mut c_void) -> u8)
        };
        match done {
            0 => Err(failed(format!(
                "TensorRT does not take {address:#x} as the address of {name}"
            ))),
            _ => Ok(()),
        }
    }

    /// The shape of a tensor, once those of all inputs are set.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<i64>> {
        forget();
        let (text, slot) = (c_name(name)?, self.table().context.get_tensor_shape);
        // SAFETY: Dims getTensorShape(char const*).
        unsafe {
            match self.table().generation {
                Generation::Eight => call!(self.object, slot, (text.as_ptr() => *const c_char) -> NarrowDims).shape(),
                Generation::Ten | Generation::Eleven => {
                    call!(self.object, slot, (text.as_ptr() => *const c_char) -> WideDims).shape()
                }
            }
        }
    }

    /// Bytes of device memory that a context without memory of its own needs: from 10.0 on for the shapes set, and to be
    /// asked again when they change; before for the largest of the engine.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if a shape is not set.
    pub fn memory_needed(&mut self) -> Result<usize> {
        forget();
        let (engine, slots) = (&self.table().engine, &self.table().context);
        // SAFETY: int32_t inferShapes(int32_t, char const**), which writes so many names of inputs at most; size_t
        // updateDeviceMemorySizeForShapes(); of the engine, size_t getDeviceMemorySize().
        unsafe {
            // Not allInputDimensionsSpecified: in 8.5 it knows nothing of shapes that were set by name.
            let missing = call!(self.object, slots.infer_shapes, (0 => i32, null_mut() => *mut *const c_char) -> i32);
            match missing {
                0 => {}
                1.. => return Err(failed(format!("the shapes of {missing} inputs have to be set first"))),
                _ => return Err(failed("TensorRT cannot tell the shapes of the outputs")),
            }
            for name in &self.outputs {
                let shape = self.shape(name)?;
                if shape.iter().any(|side| *side < 1) {
                    return Err(failed(format!("the output {name} has the shape {shape:?}")));
                }
            }
            forget();
            let bytes = match (
                slots.update_device_memory_size_for_shapes,
                engine.get_device_memory_size,
            ) {
                (Some(update), _) => call!(self.object, update, () -> usize),
                (None, Some(size)) => call!(self.engine.object, size, () -> usize),
                (None, None) => return Err(failed("this TensorRT does not tell what memory it needs")),
            };
            // 0 stands for an error, and for none needed.
            match bytes == 0 && complained() {
                true => Err(failed("TensorRT cannot tell what memory it needs")),
                false => Ok(bytes),
            }
        }
    }

    /// Lends device memory to a context that was made with [`Memory::Lent`].
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if it is not on a whole multiple of 256 bytes or TensorRT does not take it.
    ///
    /// # Safety
    /// `bytes` of device memory at `address`, at least [`memory_needed`](Self::memory_needed), belong to this context
    /// while what it has enqueued is at work, and are not freed as long as it may enqueue.
    pub unsafe fn lend_memory(&mut self, address: u64, bytes: usize) -> Result<()> {
        if address == 0 || !address.is_multiple_of(256) {
            return Err(failed(format!("{address:#x} is not on a multiple of 256 bytes")));
        }
        forget();
        let (slots, memory) = (&self.table().context, address as *mut c_void);
        // SAFETY: void setDeviceMemoryV2(void*, int64_t), or void setDeviceMemory(void*).
        unsafe {
            match slots.set_device_memory_v2 {
                Some(v2) => call!(self.object, v2, (memory => *mut c_void, bytes as i64 => i64) -> ()),
                None => call!(self.object, slots.set_device_memory, (memory => *mut c_void) -> ()),
            }
        }
        // It returns nothing: what is wrong is in the log alone.
        match complained() {
            true => Err(failed(format!("TensorRT does not take {bytes} bytes of memory"))),
            false => Ok(()),
        }
    }

    /// Puts one run on a stream; returns before it has ended.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if a shape, an address or memory is missing.
    ///
    /// # Safety
    /// `stream` is a `cudaStream_t` (or `CUstream`) of the current context. The addresses set are of device memory
    /// that holds the shapes set, and remain so until the stream has passed the run.
    pub unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<()> {
        forget();
        // SAFETY: bool enqueueV3(cudaStream_t); the rest is the caller's to vouch for.
        match unsafe { call!(self.object, self.table().context.enqueue_v3, (stream => *mut c_void) -> u8) } {
            0 => Err(failed("TensorRT could not enqueue a network")),
            _ => Ok(()),
        }
    }
}
