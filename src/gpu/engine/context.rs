//! A network on a GPU, and its contexts: what the pipeline puts on a stream.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::launches::{Addresses, launches, products};
use super::memory::Layout;
use super::prepare::{Preparation, prepare};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::driver::{Buffer, Device, Pinned, Stream, StreamHandle};
use crate::gpu::kernels::{Launch, Storage};
use crate::gpu::networks::Inference;
use crate::network::{Graph, Port, Target, invalid, lower};
use crate::pack::onnx::Onnx;

/// What of a GPU decides how networks run on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// Compute capability.
    pub capability: (i32, i32),
    pub multiprocessors: u32,
}

/// A network with its weights in device memory; contexts share it.
pub(crate) struct KernelNetwork {
    preparation: Preparation,
    /// The constants in device memory.
    memory: Buffer,
    inputs: Vec<(&'static str, usize)>,
    outputs: Vec<(&'static str, usize)>,
    way: Way,
}

impl KernelNetwork {
    /// Reads an ONNX model with these ports, and sends its weights to the GPU. Images between its steps are of type
    /// `blocks`. The device's context is current.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`] if the file is damaged, has other ports, or has what no kernel does;
    /// [`ErrorKind::OutOfMemory`], and those of the device.
    pub fn load(
        onnx: &[u8],
        inputs: &[(&'static str, usize)],
        outputs: &[(&'static str, usize)],
        blocks: Storage,
        way: Way,
        device: &Arc<dyn Device>,
    ) -> Result<Self> {
        let onnx = Onnx::parse(onnx)?;
        let ports = |all: &[(&'static str, usize)]| all.iter().map(|&p| p as Port<'_>).collect::<Vec<_>>();
        let graph = Graph::new(&onnx, &ports(inputs), &ports(outputs))?;
        let mut preparation = prepare(lower(&graph, Target::Any)?, products(blocks, way.capability))?;
        let bytes = std::mem::take(&mut preparation.constants.0);
        let stream = Stream::new(device)?;
        let memory = Buffer::new(&stream, bytes.len())?;
        let mut sent = Pinned::new(device, bytes.len())?;
        sent.write().copy_from_slice(&bytes);
        memory.upload(&stream, &sent)?;
        stream.drain()?;
        Ok(Self {
            preparation,
            memory,
            inputs: inputs.to_vec(),
            outputs: outputs.to_vec(),
            way,
        })
    }
}

#[cfg(test)]
impl KernelNetwork {
    /// Whether convolutions run on tensor cores.
    pub fn is_on_tensor_cores(&self) -> bool {
        self.preparation.products == crate::gpu::kernels::Products::Tensor
    }
}

/// One use of a network at a time.
pub(crate) struct KernelContext {
    network: Arc<KernelNetwork>,
    device: Arc<dyn Device>,
    planes: Storage,
    size: Option<(usize, usize)>,
    /// Addresses of inputs and outputs; 0: not set.
    inputs: Vec<u64>,
    outputs: Vec<u64>,
    /// Scratch memory: address and bytes.
    scratch: (u64, usize),
    /// What a run launches, once it is known where everything is.
    launches: Option<Vec<Launch>>,
}

impl KernelContext {
    /// A context whose inputs and outputs are of type `planes`.
    pub fn new(network: &Arc<KernelNetwork>, planes: Storage, device: &Arc<dyn Device>) -> Self {
        Self {
            inputs: vec![0; network.inputs.len()],
            outputs: vec![0; network.outputs.len()],
            network: network.clone(),
            device: device.clone(),
            planes,
            size: None,
            scratch: (0, 0),
            launches: None,
        }
    }

    fn layout(&self) -> Result<(Layout, (usize, usize))> {
        let Some(size) = self.size else {
            return Err(unbound("a shape"));
        };
        Ok((Layout::new(&self.network.preparation, size, self.planes), size))
    }

    fn bind(&self) -> Result<Vec<Launch>> {
        let (layout, size) = self.layout()?;
        if [&self.inputs[..], &self.outputs].concat().contains(&0) || self.scratch.0 == 0 {
            return Err(unbound("an address"));
        }
        if (self.scratch.1 as u64) < layout.bytes {
            return Err(unbound("enough scratch memory"));
        }
        let addresses = Addresses {
            constants: self.network.memory.address(),
            scratch: self.scratch.0,
            inputs: &self.inputs,
            outputs: &self.outputs,
        };
        let (preparation, way) = (&self.network.preparation, self.network.way);
        Ok(launches(
            preparation,
            &layout,
            &addresses,
            size,
            self.planes,
            way.multiprocessors,
        ))
    }
}

fn unbound(what: &str) -> Error {
    Error::new(
        ErrorKind::BackendFailed,
        format!("a network of the cuda backend is run without {what}: please report it"),
    )
}

impl Inference for KernelContext {
    fn shape(&mut self, name: &'static str, [batch, channels, height, width]: [usize; 4]) -> Result<()> {
        let Some(&(_, expected)) = self.network.inputs.iter().find(|p| p.0 == name) else {
            return Err(invalid(format!("there is no input '{name}'")));
        };
        if (batch, channels) != (1, expected) {
            return Err(invalid(format!(
                "input '{name}': expected [1, {expected}, height, width], found [{batch}, {channels}, {height}, {width}]"
            )));
        }
        self.launches = None;
        let port = self.network.inputs.iter().position(|p| p.0 == name);
        if port.is_some_and(|port| self.network.preparation.pooled_ports.contains(&port)) {
            return Ok(());
        }
        let multiple = self.network.preparation.multiple;
        if width % multiple != 0 || height % multiple != 0 {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("frames of {width}x{height}: this network takes sides that are multiples of {multiple}"),
            ));
        }
        self.size = Some((width, height));
        Ok(())
    }

    fn address(&mut self, name: &'static str, address: u64) -> Result<()> {
        let inputs = self.network.inputs.iter().zip(&mut self.inputs);
        let outputs = self.network.outputs.iter().zip(&mut self.outputs);
        let found = inputs.chain(outputs).find(|((port, _), _)| *port == name);
        let (_, place) = found.ok_or_else(|| invalid(format!("there is no input or output '{name}'")))?;
        *place = address;
        self.launches = None;
        Ok(())
    }

    fn scratch_bytes(&mut self) -> Result<usize> {
        Ok(self.layout()?.0.bytes as usize)
    }

    unsafe fn lend(&mut self, address: u64, bytes: usize) -> Result<()> {
        self.scratch = (address, bytes);
        self.launches = None;
        Ok(())
    }

    unsafe fn enqueue(&mut self, stream: StreamHandle) -> Result<()> {
        let launches = match self.launches.take() {
            Some(launches) => launches,
            None => self.bind()?,
        };
        // SAFETY: the launches are for constants that the network owns, and for memory of the sizes that were fixed, which
        // the caller says lives.
        let issued = launches
            .iter()
            .try_for_each(|launch| unsafe { self.device.launch(stream, launch) });
        self.launches = Some(launches);
        issued
    }
}
