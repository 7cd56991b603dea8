//! The first objects, and whether they behave as their version's table says.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::logger::{forget, logger};
use crate::gpu::tensorrt::objects::builder::Builder;
use crate::gpu::tensorrt::objects::engine::Runtime;
use crate::gpu::tensorrt::objects::object::{Owned, Public, call, failed};

impl Library {
    /// A runtime on the CUDA device that is current.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT gives none or it does not behave as its version's table says.
    pub fn runtime(&'static self) -> Result<Arc<Runtime>> {
        forget();
        let create = self.functions.create_runtime.ok_or_else(|| self.lacks("a runtime"))?;
        // SAFETY: the factory's signature; the logger is static and of this version's layout.
        let address = unsafe { create(logger(self.table.generation), self.functions.told) };
        let object = Owned::new(address, "runtime")?;
        let slots = &self.table.runtime;
        if let Some(get_public) = slots.get_public {
            // SAFETY: IRuntime* getPImpl().
            let public: *mut c_void = unsafe { call!(object, get_public, () -> *mut c_void) };
            self.expect("the runtime does not know itself", public == object.address())?;
        }
        self.check_object(
            &object,
            "runtime",
            slots.get_logger,
            slots.set_max_threads,
            slots.get_max_threads,
        )?;
        Ok(Arc::new(Runtime::new(object, self)))
    }

    /// A builder on the CUDA device that is current. It knows the ONNX parser, if that is there.
    ///
    /// # Errors
    /// `ErrorKind::BackendUnavailable` without the parser, `ErrorKind::BackendFailed` as for a runtime.
    pub fn builder(&'static self) -> Result<Builder> {
        forget();
        let create = self.functions.create_builder.ok_or_else(|| self.lacks("a builder"))?;
        if self.functions.create_parser.is_none() {
            return Err(self.lacks("an ONNX parser"));
        }
        // SAFETY: as for the runtime.
        let address = unsafe { create(logger(self.table.generation), self.functions.told) };
        let object = Owned::new(address, "builder")?;
        let slots = &self.table.builder;
        self.check_object(
            &object,
            "builder",
            slots.get_logger,
            slots.set_max_threads,
            slots.get_max_threads,
        )?;
        Ok(Builder::new(object, self))
    }

    pub(crate) fn lacks(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::BackendUnavailable,
            format!(
                "TensorRT {} ({}) lacks {what}: it is the lean one, or its ONNX parser is not installed; install libnvinfer and \
                 libnvonnxparsers of one version",
                self.version, self.name
            ),
        )
    }

    pub(crate) fn expect(&self, fault: &str, holds: bool) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(failed(format!(
            "TensorRT {} ({}) is not as {} is known: {fault}; nothing more is asked of it: install an official build \
             of 8.5, 8.6, 10.x or 11.x",
            self.version, self.name, self.table.versions
        )))
    }

    /// Calls that can do no harm and would go wrong were the table of another version.
    fn check_object(&self, object: &Public, what: &str, get_logger: usize, set: usize, get: usize) -> Result<()> {
        // SAFETY: ILogger* getLogger().
        let given = unsafe { call!(object, get_logger, () -> *mut c_void) };
        self.expect(
            &format!("the {what} has another logger than it was given"),
            given == logger(self.table.generation),
        )?;
        // SAFETY: int32_t getMaxThreads(); bool setMaxThreads(int32_t).
        let kept = unsafe {
            let before = call!(object, get, () -> i32);
            let other = if before == 2 { 3 } else { 2 };
            (1..=1 << 16).contains(&before)
                && call!(object, set, (other => i32) -> u8) != 0
                && call!(object, get, () -> i32) == other
                && call!(object, set, (before => i32) -> u8) != 0
        };
        self.expect(&format!("the {what} forgets its number of threads"), kept)
    }
}
