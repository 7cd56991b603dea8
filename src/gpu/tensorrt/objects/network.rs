//! Networks.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;

use crate::error::Result;
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::logger::forget;
use crate::gpu::tensorrt::objects::builder::Builder;
use crate::gpu::tensorrt::objects::dims::{NarrowDims, WideDims};
use crate::gpu::tensorrt::objects::object::{LEAST_ADDRESS, Owned, Public, call};
use crate::gpu::tensorrt::objects::parser::Parser;
use crate::gpu::tensorrt::tables::Generation;

/// A network that the parser has read, or is to read. Weights are the parser's, so both live together.
#[derive(Debug)]
pub(crate) struct Network<'b> {
    // Dropped before the network.
    parser: Parser,
    object: Owned,
    library: &'static Library,
    builder: PhantomData<&'b Builder>,
}

impl<'b> Network<'b> {
    /// An empty network with a parser for it.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if TensorRT gives none.
    pub fn create(builder: &'b Builder) -> Result<Self> {
        forget();
        let library = builder.library();
        let (slot, flags) = (
            library.table.builder.create_network_v2,
            library.table.numbers.network_flags,
        );
        // SAFETY: INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags).
        let address = unsafe { call!(builder.object(), slot, (flags => u32) -> *mut c_void) };
        let object = Owned::new(address, "network")?;
        // SAFETY: int32_t getNbInputs(); int32_t getNbOutputs().
        let empty = unsafe {
            call!(object, library.table.network.get_nb_inputs, () -> i32) == 0
                && call!(object, library.table.network.get_nb_outputs, () -> i32) == 0
        };
        library.expect("a new network is not empty", empty)?;
        Self::new(object, library)
    }

    /// A network with a parser for it.
    fn new(object: Owned, library: &'static Library) -> Result<Self> {
        Ok(Self {
            parser: Parser::new(library, &object)?,
            object,
            library,
            builder: PhantomData,
        })
    }

    /// The same, of a network that no builder has made.
    #[cfg(test)]
    pub fn around(library: &'static Library, network: *mut c_void) -> Result<Self> {
        Self::new(Owned::new(network, "network")?, library)
    }

    pub(crate) fn address(&self) -> *mut c_void {
        self.object.address()
    }

    /// Reads an ONNX file into the network, once.
    ///
    /// # Errors
    /// `ErrorKind::ModelInvalid` with the parser's [`ParseError`] as its source.
    pub fn parse(&mut self, onnx: &[u8]) -> Result<()> {
        self.parser.parse(onnx)
    }

    /// Whether the parser knows an operator of ONNX.
    #[cfg(test)]
    pub fn supports_operator(&self, name: &str) -> Result<bool> {
        self.parser.supports_operator(name)
    }

    /// Says that all inputs and outputs lie linearly in memory; gives name, shape (-1: any), and whether it is an
    /// input, of each.
    ///
    /// # Errors
    /// `ErrorKind::BackendFailed` if the network does not know them.
    pub fn ports(&mut self) -> Result<Vec<(String, Vec<i64>, bool)>> {
        let slots = &self.library.table.network;
        // SAFETY: int32_t getNbInputs(); int32_t getNbOutputs().
        let (inputs, outputs) = unsafe {
            (
                call!(self.object, slots.get_nb_inputs, () -> i32),
                call!(self.object, slots.get_nb_outputs, () -> i32),
            )
        };
        let counts = (0..=1024).contains(&inputs) && (0..=1024).contains(&outputs);
        self.library
            .expect(&format!("a network has {inputs} inputs and {outputs} outputs"), counts)?;
        let inputs = (0..inputs).map(|i| (slots.get_input, i, true));
        let outputs = (0..outputs).map(|i| (slots.get_output, i, false));
        inputs
            .chain(outputs)
            .map(|(slot, i, input)| self.port(slot, i, input))
            .collect()
    }

    fn port(&self, slot: usize, index: i32, input: bool) -> Result<(String, Vec<i64>, bool)> {
        let slots = &self.library.table.tensor;
        // SAFETY: ITensor* getInput(int32_t) and getOutput(int32_t), with an index below the count.
        let address = unsafe { call!(self.object, slot, (index => i32) -> *mut c_void) };
        let tensor = Public::new(address, "tensor")?;
        // SAFETY: char const* getName(); Dims getDimensions(); void setAllowedFormats(TensorFormats), bit 0 for
        // linear. The tensor is the network's own; its name lives as long as it does.
        let (name, shape) = unsafe {
            let name = call!(tensor, slots.get_name, () -> *const c_char);
            self.library
                .expect("a tensor has no name", name as usize >= LEAST_ADDRESS)?;
            call!(tensor, slots.set_allowed_formats, (1 => u32) -> ());
            let shape = match self.library.table.generation {
                Generation::Eight => call!(tensor, slots.get_dimensions, () -> NarrowDims).shape()?,
                Generation::Ten | Generation::Eleven => call!(tensor, slots.get_dimensions, () -> WideDims).shape()?,
            };
            (CStr::from_ptr(name).to_string_lossy().into_owned(), shape)
        };
        Ok((name, shape, input))
    }
}
