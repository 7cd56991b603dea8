//! A device and networks on a machine without a GPU: memory in this process, kernels compiled for the processor, networks
//! by the processor's engine.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::backend::TensorRtBackend;
use super::device::{Device, EventHandle, GraphHandle, StreamHandle, Touches};
use super::host::{Host, Rounding};
use super::launch::{Launch, Storage};
use super::networks::{Inference, Loaded, Source};
use super::values::{decode, encode};
use crate::colour::Planes;
use crate::cpu::{Networks, Products};
use crate::error::{Error, ErrorKind, Result};
use crate::pack::{Pack, Precision, Precisions, Subnetwork};
use crate::pool::Pool;
use crate::simd::Level;

type Work = Arc<dyn Fn() + Send + Sync>;

/// A device whose memory is the process's and whose work is done when it is issued.
pub(super) struct HostDevice {
    kernels: Host,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: usize,
    memory: HashMap<u64, Vec<Line>>,
    capture: Option<Vec<Work>>,
    graphs: HashMap<usize, Vec<Work>>,
}

/// Allocations are aligned as a GPU's are.
#[derive(Clone, Copy)]
#[repr(align(256))]
struct Line {
    _bytes: [u8; 256],
}

impl HostDevice {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            kernels: Host::new(Rounding::Fused),
            state: Mutex::default(),
        })
    }

    /// Does it now, or whenever the graph that is captured is launched.
    fn issue(&self, work: Work) {
        if let Some(captured) = &mut self.state.lock().unwrap().capture {
            return captured.push(work);
        }
        work();
    }

    fn handle(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        state.next
    }

    fn take_memory(&self, bytes: usize) -> u64 {
        let lines = vec![Line { _bytes: [0; 256] }; bytes.div_ceil(256)];
        let address = lines.as_ptr() as u64;
        self.state.lock().unwrap().memory.insert(address, lines);
        address
    }
}

/// A kernel to be run more than once, from any thread.
struct Kernel(Launch);
// SAFETY: a launch is numbers.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// The device, as work can hold it.
struct Shared(*const HostDevice);
// SAFETY: the device outlives its graphs, which are part of it; `Host` is used from one thread at a time.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// The device lives.
    unsafe fn run(&self, kernel: &Kernel) {
        // SAFETY: the caller's word; the launch is one of the backend's, for memory that this device gave.
        unsafe { (*self.0).kernels.run(&kernel.0) }
    }
}

// SAFETY: memory is behind the lock; the kernels' library is used by one test thread at a time.
unsafe impl Send for HostDevice {}
// SAFETY: as above.
unsafe impl Sync for HostDevice {}

impl Device for HostDevice {
    fn enter(&self) -> Result<()> {
        Ok(())
    }
    fn leave(&self) {}
    fn create_stream(&self) -> Result<StreamHandle> {
        Ok(StreamHandle(self.handle()))
    }
    fn destroy_stream(&self, _: StreamHandle) {}
    fn create_event(&self, _: bool) -> Result<EventHandle> {
        Ok(EventHandle(self.handle()))
    }
    fn destroy_event(&self, _: EventHandle) {}
    fn allocate(&self, _: StreamHandle, bytes: usize) -> Result<u64> {
        Ok(self.take_memory(bytes))
    }
    fn free(&self, _: StreamHandle, address: u64) {
        self.state.lock().unwrap().memory.remove(&address);
    }
    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8> {
        Ok(self.take_memory(bytes) as *mut u8)
    }
    fn free_pinned(&self, start: *mut u8) {
        self.state.lock().unwrap().memory.remove(&(start as u64));
    }
    unsafe fn upload(&self, _: StreamHandle, to: u64, from: *const u8, bytes: usize) -> Result<()> {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(from, to as *mut u8, bytes) };
        Ok(())
    }
    unsafe fn download(&self, _: StreamHandle, to: *mut u8, from: u64, bytes: usize) -> Result<()> {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to, bytes) };
        Ok(())
    }
    unsafe fn copy(&self, _: StreamHandle, to: u64, from: u64, bytes: usize) -> Result<()> {
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }
    unsafe fn launch(&self, _: StreamHandle, launch: &Launch, _: Touches<'_>) -> Result<()> {
        let (shared, kernel) = (Shared(self), Kernel(launch.clone()));
        // SAFETY: work is done in calls of the device.
        self.issue(Arc::new(move || unsafe { shared.run(&kernel) }));
        Ok(())
    }
    fn record(&self, _: EventHandle, _: StreamHandle) -> Result<()> {
        Ok(())
    }
    fn wait(&self, _: StreamHandle, _: EventHandle) -> Result<()> {
        Ok(())
    }
    fn synchronize(&self, _: EventHandle) -> Result<()> {
        Ok(())
    }
    fn elapsed(&self, _: EventHandle, _: EventHandle) -> Result<f32> {
        Ok(0.0)
    }
    fn begin_capture(&self, _: StreamHandle) -> Result<()> {
        self.state.lock().unwrap().capture = Some(Vec::new());
        Ok(())
    }
    fn end_capture(&self, _: StreamHandle) -> Result<GraphHandle> {
        let handle = self.handle();
        let mut state = self.state.lock().unwrap();
        let Some(captured) = state.capture.take() else {
            return Err(Error::new(ErrorKind::BackendFailed, "nothing is captured"));
        };
        state.graphs.insert(handle, captured);
        Ok(GraphHandle(handle))
    }
    fn launch_graph(&self, graph: GraphHandle, _: StreamHandle) -> Result<()> {
        let work = self.state.lock().unwrap().graphs[&graph.0].clone();
        work.iter().for_each(|work| work());
        Ok(())
    }
    fn destroy_graph(&self, graph: GraphHandle) {
        self.state.lock().unwrap().graphs.remove(&graph.0);
    }
    fn free_memory(&self) -> Result<u64> {
        Ok(0)
    }
}

/// What is added to all that some subnetworks give in some precisions, for tests of the gate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spoil {
    pub which: &'static [Subnetwork],
    pub precisions: &'static [Precision],
    pub by: f32,
}

/// A subnetwork by the processor's engine, on tensors of either type. In 16 bits it takes and gives numbers of 16 bits,
/// however wide the tensors are.
struct OnProcessor {
    which: Subnetwork,
    networks: Arc<Networks>,
    storage: Storage,
    precision: Precision,
    shapes: HashMap<&'static str, [usize; 4]>,
    addresses: HashMap<&'static str, u64>,
    device: Arc<HostDevice>,
    spoil: Option<f32>,
}

impl Inference for OnProcessor {
    fn shape(&mut self, name: &'static str, shape: [usize; 4]) -> Result<()> {
        self.shapes.insert(name, shape);
        Ok(())
    }
    fn address(&mut self, name: &'static str, address: u64) -> Result<()> {
        self.addresses.insert(name, address);
        Ok(())
    }
    fn scratch_bytes(&mut self) -> Result<usize> {
        Ok(0)
    }
    unsafe fn lend(&mut self, _: u64, _: usize) -> Result<()> {
        Ok(())
    }
    unsafe fn enqueue(&mut self, _: StreamHandle) -> Result<()> {
        let (which, networks, storage, spoil) = (self.which, self.networks.clone(), self.storage, self.spoil);
        let rounds = self.precision == Precision::Fp16;
        let [_, _, height, width] = self.shapes[which.inputs()[0].0];
        let tensor = |&(name, channels): &(&'static str, usize)| {
            let values = if name == "ratio" { 1 } else { channels * width * height };
            (self.addresses[name], values)
        };
        let inputs: Vec<_> = which.inputs().iter().map(tensor).collect();
        let outputs: Vec<_> = which.outputs().iter().map(tensor).collect();
        self.device.issue(Arc::new(move || {
            let read = |&(address, values): &(u64, usize)| {
                let bytes = values * storage.bytes();
                // SAFETY: the backend has bound buffers of these sizes, in this process.
                let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, bytes) };
                let mut numbers = Vec::new();
                decode(bytes, storage, &mut numbers);
                if rounds { rounded(&numbers) } else { numbers }
            };
            let given: Vec<Vec<f32>> = inputs.iter().map(read).collect();
            let given: Vec<&[f32]> = given.iter().map(Vec::as_slice).collect();
            let size = (width, height);
            let mut made: Vec<_> = which.outputs().iter().map(|p| Planes::new(p.1, size)).collect();
            let pool = Pool::new(1);
            let mut workspace = networks.workspace(size, 1).unwrap();
            match (&given[..], &mut made[..]) {
                ([a], [x]) => networks.run(which, &pool, &mut workspace, [a], [x]),
                ([a], [x, y]) => networks.run(which, &pool, &mut workspace, [a], [x, y]),
                ([a, b], [x]) => networks.run(which, &pool, &mut workspace, [a, b], [x]),
                _ => unreachable!("no such subnetwork"),
            }
            .unwrap();
            for (planes, (address, _)) in made.iter_mut().zip(&outputs) {
                if let Some(by) = spoil {
                    planes.data.iter_mut().for_each(|v| *v += by);
                }
                if rounds {
                    planes.data = rounded(&planes.data);
                }
                let bytes = encode(&planes.data, storage);
                // SAFETY: as above; nobody else reads or writes meanwhile.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), *address as *mut u8, bytes.len()) };
            }
        }));
        Ok(())
    }
}

/// Numbers as 16 bits have them.
fn rounded(values: &[f32]) -> Vec<f32> {
    let mut rounded = Vec::with_capacity(values.len());
    decode(&encode(values, Storage::F16), Storage::F16, &mut rounded);
    rounded
}

pub(super) struct Processor {
    pub pack: Pack,
    pub precisions: Precisions,
    pub device: Arc<HostDevice>,
    spoil: Option<Spoil>,
}

impl Source for Processor {
    fn load(&mut self, _padded: (usize, usize)) -> Result<Loaded> {
        let networks = Networks::shared(&self.pack, Level::current(), Products::Float)?;
        let mut loaded = Loaded {
            contexts: Vec::new(),
            precisions: self.precisions,
        };
        for which in Subnetwork::ALL {
            let precision = self.precisions.of(which);
            let spoilt = |s: &Spoil| s.precisions.contains(&precision) && s.which.contains(&which);
            loaded.contexts.push(Box::new(OnProcessor {
                which,
                networks: networks.clone(),
                storage: loaded.storage(),
                precision,
                shapes: HashMap::new(),
                addresses: HashMap::new(),
                device: self.device.clone(),
                spoil: self.spoil.filter(spoilt).map(|s| s.by),
            }));
        }
        Ok(loaded)
    }
}

pub(super) fn source(precisions: Precisions, spoil: Option<Spoil>) -> (Arc<HostDevice>, Processor) {
    let device = HostDevice::new();
    let source = Processor {
        pack: Pack::open("lite").unwrap(),
        precisions,
        device: device.clone(),
        spoil,
    };
    (device, source)
}

/// The backend on the processor, in 32 bits.
pub(crate) fn on_processor(pack: &Pack) -> TensorRtBackend {
    let (device, mut source) = source(Precision::Fp32.into(), None);
    source.pack = pack.clone();
    TensorRtBackend::new(device, Box::new(source)).unwrap()
}
