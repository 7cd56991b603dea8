//! The builder, and the memory in which it gives results.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::c_void;

use super::config::{Config, Profile};
use super::network::Network;
use super::{LEAST_ADDRESS, Owned, Public};
use crate::error::Result;
use crate::tensorrt::library::Library;
use crate::tensorrt::logger::forget;

/// What makes engines from networks.
#[derive(Debug)]
pub(crate) struct Builder {
    object: Owned,
    library: &'static Library,
    /// Timing caches in use: from 10.10 on they have to outlive the builder.
    caches: RefCell<Vec<Owned>>,
}

impl Builder {
    pub(super) fn new(object: Owned, library: &'static Library) -> Self {
        Self {
            object,
            library,
            caches: RefCell::default(),
        }
    }

    pub(super) fn library(&self) -> &'static Library {
        self.library
    }

    /// Keeps a timing cache as long as the builder, and after it.
    pub(super) fn keep(&self, cache: Owned) {
        self.caches.borrow_mut().push(cache);
    }

    /// An empty network with a parser for it.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT gives none.
    pub fn network(&self) -> Result<Network<'_>> {
        forget();
        let Library { table, .. } = self.library;
        let (slot, flags) = (table.builder.create_network_v2, table.numbers.network_flags);
        // SAFETY: INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags).
        let address = unsafe { call!(self.object, slot, (flags => u32) -> *mut c_void) };
        let object = Owned::new(address, "network")?;
        // SAFETY: int32_t getNbInputs(); int32_t getNbOutputs().
        let empty = unsafe {
            call!(object, table.network.get_nb_inputs, () -> i32) == 0
                && call!(object, table.network.get_nb_outputs, () -> i32) == 0
        };
        self.library.expect("a new network is not empty", empty)?;
        Network::new(object, self.library)
    }

    /// An empty configuration.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT gives none.
    pub fn config(&self) -> Result<Config<'_>> {
        forget();
        let slot = self.library.table.builder.create_builder_config;
        // SAFETY: IBuilderConfig* createBuilderConfig().
        let address = unsafe { call!(self.object, slot, () -> *mut c_void) };
        Ok(Config::new(Owned::new(address, "builder configuration")?, self))
    }

    /// An empty profile.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT gives none.
    pub fn profile(&self) -> Result<Profile<'_>> {
        forget();
        let slot = self.library.table.builder.create_optimization_profile;
        // SAFETY: IOptimizationProfile* createOptimizationProfile(), the builder's own.
        let address = unsafe { call!(self.object, slot, () -> *mut c_void) };
        Ok(Profile::new(
            Public::new(address, "optimisation profile")?,
            self.library,
        ))
    }

    /// Builds an engine and gives it serialized. Takes from seconds to minutes, and measures on the GPU meanwhile.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` with what TensorRT says.
    pub fn build(&self, network: &Network<'_>, config: &Config<'_>) -> Result<Vec<u8>> {
        forget();
        let slot = self.library.table.builder.build_serialized_network;
        // SAFETY: IHostMemory* buildSerializedNetwork(INetworkDefinition&, IBuilderConfig&), public objects both.
        let address = unsafe {
            call!(self.object, slot,
                (network.address() => *mut c_void, config.address() => *mut c_void) -> *mut c_void)
        };
        host_memory(self.library, address, "engine: it could not be built")
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
