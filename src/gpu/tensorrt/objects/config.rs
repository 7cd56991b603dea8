//! How an engine is to be built: configuration and optimisation profile.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;
use std::ptr::null;

use crate::error::Result;
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::logger::forget;
use crate::gpu::tensorrt::objects::builder::{Builder, host_memory};
use crate::gpu::tensorrt::objects::dims::{NarrowDims, WideDims};
use crate::gpu::tensorrt::objects::monitor::Monitor;
use crate::gpu::tensorrt::objects::network::Network;
use crate::gpu::tensorrt::objects::object::{Owned, Public, c_name, call, failed};
use crate::gpu::tensorrt::tables::Generation;

/// How an engine is to be built.
#[derive(Debug)]
pub(crate) struct Config<'b> {
    object: Owned,
    library: &'static Library,
    builder: &'b Builder,
}

/// The sizes that an engine is built for. The builder owns it.
#[derive(Debug)]
pub(crate) struct Profile<'b> {
    object: Public,
    library: &'static Library,
    builder: PhantomData<&'b Builder>,
}

/// Which of a profile's shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selector {
    Min,
    Opt,
    Max,
}

impl<'b> Profile<'b> {
    /// An empty profile.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT gives none.
    pub fn create(builder: &'b Builder) -> Result<Self> {
        forget();
        let library = builder.library();
        let slot = library.table.builder.create_optimization_profile;
        // SAFETY: IOptimizationProfile* createOptimizationProfile(), the builder's own.
        let address = unsafe { call!(builder.object(), slot, () -> *mut c_void) };
        Ok(Self {
            object: Public::new(address, "optimisation profile")?,
            library,
            builder: PhantomData,
        })
    }

    /// Sets one of the shapes of an input.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT does not take it.
    pub fn set(&mut self, name: &str, selector: Selector, shape: &[i64]) -> Result<()> {
        let (text, slot, which) = (
            c_name(name)?,
            self.library.table.profile.set_dimensions,
            selector as i32,
        );
        // SAFETY: bool setDimensions(char const*, OptProfileSelector, Dims): by value in 8.x, then by reference.
        let done = unsafe {
            match self.library.table.generation {
                Generation::Eight => {
                    let dims = NarrowDims::new(shape)?;
                    call!(self.object, slot, (text.as_ptr() => *const c_char, which => i32, dims => NarrowDims) -> u8)
                }
                Generation::Ten | Generation::Eleven => {
                    let dims = WideDims::new(shape)?;
                    call!(self.object, slot,
                        (text.as_ptr() => *const c_char, which => i32, &dims => *const WideDims) -> u8)
                }
            }
        };
        match done {
            0 => Err(failed(format!(
                "TensorRT does not take {shape:?} as {selector:?} of {name}"
            ))),
            _ => Ok(()),
        }
    }

    fn is_valid(&self) -> bool {
        // SAFETY: bool isValid().
        unsafe { call!(self.object, self.library.table.profile.is_valid, () -> u8) != 0 }
    }
}

impl<'b> Config<'b> {
    /// An empty configuration.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT gives none.
    pub fn create(builder: &'b Builder) -> Result<Self> {
        forget();
        let slot = builder.library().table.builder.create_builder_config;
        // SAFETY: IBuilderConfig* createBuilderConfig().
        let address = unsafe { call!(builder.object(), slot, () -> *mut c_void) };
        Ok(Self {
            object: Owned::new(address, "builder configuration")?,
            library: builder.library(),
            builder,
        })
    }

    /// Builds an engine and returns it serialized. Takes seconds to minutes, and measures on the GPU meanwhile.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` with TensorRT's message.
    pub fn build(&self, network: &Network<'_>) -> Result<Vec<u8>> {
        forget();
        let slot = self.library.table.builder.build_serialized_network;
        // SAFETY: IHostMemory* buildSerializedNetwork(INetworkDefinition&, IBuilderConfig&), public objects both.
        let address = unsafe {
            call!(self.builder.object(), slot,
                (network.address() => *mut c_void, self.object.address() => *mut c_void) -> *mut c_void)
        };
        host_memory(self.library, address, "engine: it could not be built")
    }

    /// Has builds ask `monitor` after each step whether to go on; without effect before 10.0, where they cannot be
    /// cancelled.
    pub fn set_monitor(&mut self, monitor: &'b Monitor) {
        if let Some(slot) = self.library.table.config.set_progress_monitor {
            // SAFETY: void setProgressMonitor(IProgressMonitor*), an object of that layout, borrowed as long as this lives.
            unsafe { call!(self.object, slot, (monitor.address() => *mut c_void) -> ()) };
        }
    }

    /// Sets or clears a `BuilderFlag` of this version, and looks whether that was done.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if it was not.
    pub fn set_flag(&mut self, flag: i32, on: bool) -> Result<()> {
        let slots = &self.library.table.config;
        let slot = if on { slots.set_flag } else { slots.clear_flag };
        // SAFETY: void setFlag(BuilderFlag); void clearFlag(BuilderFlag); bool getFlag(BuilderFlag).
        let done = unsafe {
            call!(self.object, slot, (flag => i32) -> ());
            (call!(self.object, slots.get_flag, (flag => i32) -> u8) != 0) == on
        };
        self.library
            .expect(&format!("builder flag {flag} does not become {on}"), done)
    }

    /// Chooses where the builder looks for kernels.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT refuses.
    pub fn set_tactic_sources(&mut self, mask: u32) -> Result<()> {
        forget();
        // SAFETY: bool setTacticSources(TacticSources).
        match unsafe { call!(self.object, self.library.table.config.set_tactic_sources, (mask => u32) -> u8) } {
            0 => Err(failed(format!("TensorRT does not take the tactic sources {mask:#x}"))),
            _ => Ok(()),
        }
    }

    /// Adds a profile whose shapes are all set.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT refuses.
    pub fn add(&mut self, profile: &Profile<'_>) -> Result<()> {
        forget();
        if !profile.is_valid() {
            return Err(failed("TensorRT does not take the optimisation profile as valid"));
        }
        let slot = self.library.table.config.add_optimization_profile;
        // SAFETY: int32_t addOptimizationProfile(IOptimizationProfile*), a public object, the builder's own.
        match unsafe { call!(self.object, slot, (profile.object.address() => *mut c_void) -> i32) } {
            0 => Ok(()),
            _ => Err(failed("TensorRT does not take the optimisation profile")),
        }
    }

    /// Uses what earlier builds have measured, or begins a new timing cache if it is of another version or damaged;
    /// says whether it was taken.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT gives no timing cache at all.
    pub fn use_timing_cache(&mut self, measured: &[u8]) -> Result<bool> {
        if !measured.is_empty() && self.set_timing_cache(measured)? {
            return Ok(true);
        }
        self.set_timing_cache(&[])?;
        Ok(false)
    }

    fn set_timing_cache(&mut self, measured: &[u8]) -> Result<bool> {
        forget();
        let slots = &self.library.table.config;
        let data = if measured.is_empty() {
            null()
        } else {
            measured.as_ptr().cast::<c_void>()
        };
        // SAFETY: ITimingCache* createTimingCache(void const*, size_t), null and 0 for an empty one; the bytes are
        // read during the call.
        let address = unsafe {
            call!(self.object, slots.create_timing_cache,
                (data => *const c_void, measured.len() => usize) -> *mut c_void)
        };
        let cache = match Owned::new(address, "timing cache") {
            Ok(cache) => cache,
            Err(_) if !measured.is_empty() => return Ok(false),
            Err(e) => return Err(e),
        };
        // SAFETY: bool setTimingCache(ITimingCache const&, bool ignoreMismatch), a public object, kept below.
        let taken =
            unsafe { call!(self.object, slots.set_timing_cache, (cache.address() => *mut c_void, 0 => u8) -> u8) != 0 };
        if taken {
            self.builder.keep(cache);
        }
        Ok(taken)
    }

    /// What has been measured, for a later build.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if there is no timing cache.
    pub fn timing_cache(&self) -> Result<Vec<u8>> {
        forget();
        let table = self.library.table;
        // SAFETY: ITimingCache const* getTimingCache(), the configuration's own; IHostMemory* serialize().
        unsafe {
            let address = call!(self.object, table.config.get_timing_cache, () -> *mut c_void);
            let cache = Public::new(address, "timing cache")?;
            host_memory(
                self.library,
                call!(cache, table.cache.serialize, () -> *mut c_void),
                "serialized timing cache",
            )
        }
    }
}
