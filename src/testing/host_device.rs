//! A device and networks on a machine without a GPU: memory in this process, kernels compiled for the processor, networks
//! by the processor's engine.
#![allow(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cpu::{Capabilities, Kernels, Networks, Planes, Pool};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{
    Device, EventHandle, GpuBackend, GraphHandle, Inference, Launch, Loaded, PinnedMemory, Source, Storage,
    StreamHandle,
};
use crate::pack::{Pack, Precision, Precisions, Subnetwork};
use crate::testing::host_kernels::{HostKernels, Rounding};

type Work = Arc<dyn Fn() + Send + Sync>;

/// A device whose memory is the process's and whose work is done when it is issued.
pub(crate) struct HostDevice {
    kernels: Arc<HostKernels>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: usize,
    memory: HashMap<u64, Vec<Line>>,
    capture: Option<Vec<Work>>,
    graphs: HashMap<usize, Vec<Work>>,
    /// Names of the kernels that were launched.
    run: BTreeSet<&'static str>,
}

/// Allocations are aligned as a GPU's are.
#[derive(Clone, Copy)]
#[repr(align(256))]
struct Line {
    _bytes: [u8; 256],
}

fn lines(bytes: usize) -> Vec<Line> {
    vec![Line { _bytes: [0; 256] }; bytes.div_ceil(256)]
}

impl HostDevice {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            kernels: Arc::new(HostKernels::new(Rounding::Fused)),
            state: Mutex::default(),
        })
    }

    /// The kernels.
    pub fn kernels(&self) -> &HostKernels {
        &self.kernels
    }

    /// The names of all kernels that were launched.
    pub fn kernels_run(&self) -> BTreeSet<&'static str> {
        self.lock().run.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does it now, or whenever the graph that is captured is launched.
    fn issue(&self, work: Work) {
        if let Some(captured) = &mut self.lock().capture {
            return captured.push(work);
        }
        work();
    }

    fn handle(&self) -> usize {
        let mut state = self.lock();
        state.next += 1;
        state.next
    }
}

/// Memory of this process, which every copy reaches.
struct HostPinned {
    lines: Vec<Line>,
    bytes: usize,
}

impl PinnedMemory for HostPinned {
    fn read(&self) -> &[u8] {
        // SAFETY: the lines are at least as many bytes, and borrowed.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.bytes) }
    }

    fn write(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.bytes) }
    }

    fn start(&self) -> *mut u8 {
        self.lines.as_ptr().cast_mut().cast()
    }
}

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
        let lines = lines(bytes);
        let address = lines.as_ptr() as u64;
        self.lock().memory.insert(address, lines);
        Ok(address)
    }
    fn free(&self, _: StreamHandle, address: u64) {
        self.lock().memory.remove(&address);
    }
    fn allocate_pinned(&self, bytes: usize) -> Result<Box<dyn PinnedMemory>> {
        let lines = lines(bytes);
        Ok(Box::new(HostPinned { lines, bytes }))
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
    unsafe fn launch(&self, _: StreamHandle, launch: &Launch) -> Result<()> {
        let (kernels, launch) = (self.kernels.clone(), launch.clone());
        self.lock().run.insert(launch.kernel);
        // SAFETY: the launch is one of the backend's, for memory that this device gave.
        self.issue(Arc::new(move || unsafe { kernels.run(&launch) }));
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
        self.lock().capture = Some(Vec::new());
        Ok(())
    }
    fn end_capture(&self, _: StreamHandle) -> Result<GraphHandle> {
        let handle = self.handle();
        let mut state = self.lock();
        let Some(captured) = state.capture.take() else {
            return Err(Error::new(ErrorKind::BackendFailed, "nothing is captured"));
        };
        state.graphs.insert(handle, captured);
        Ok(GraphHandle(handle))
    }
    fn launch_graph(&self, graph: GraphHandle, _: StreamHandle) -> Result<()> {
        let work = self.lock().graphs[&graph.0].clone();
        work.iter().for_each(|work| work());
        Ok(())
    }
    fn destroy_graph(&self, graph: GraphHandle) {
        self.lock().graphs.remove(&graph.0);
    }
    fn free_memory(&self) -> Result<u64> {
        Ok(0)
    }
}

/// What is added to all that some subnetworks give in some precisions, for tests of the comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spoil {
    pub which: &'static [Subnetwork],
    pub precisions: &'static [Precision],
    pub by: f32,
}

/// A subnetwork by the processor's engine, on tensors of either type. In 16 bits it takes and gives numbers of 16 bits,
/// however wide the tensors are.
struct HostNetwork {
    which: Subnetwork,
    networks: Arc<Networks>,
    storage: Storage,
    precision: Precision,
    shapes: HashMap<&'static str, [usize; 4]>,
    addresses: HashMap<&'static str, u64>,
    device: Arc<HostDevice>,
    spoil: Option<f32>,
}

impl Inference for HostNetwork {
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
                storage.decode(bytes, &mut numbers);
                if rounds { rounded(&numbers) } else { numbers }
            };
            let given: Vec<Vec<f32>> = inputs.iter().map(read).collect();
            let given: Vec<&[f32]> = given.iter().map(Vec::as_slice).collect();
            let size = (width, height);
            let made = which.outputs().iter().map(|p| Planes::new(p.1, size).unwrap());
            let mut made: Vec<_> = made.collect();
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
                let bytes = match rounds {
                    true => storage.encode(&rounded(&planes.data)),
                    false => storage.encode(&planes.data),
                };
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
    Storage::F16.decode(&Storage::F16.encode(values), &mut rounded);
    rounded
}

/// The networks of a pack on a host device.
pub(crate) struct HostNetworks {
    pub pack: Pack,
    pub precisions: Precisions,
    pub device: Arc<HostDevice>,
    pub spoil: Option<Spoil>,
}

impl HostNetworks {
    /// Those of `pack`, in FP32.
    pub fn new(pack: &Pack) -> Self {
        Self {
            pack: pack.clone(),
            precisions: Precision::Fp32.into(),
            device: HostDevice::new(),
            spoil: None,
        }
    }

    /// A backend with these networks.
    pub fn backend(self) -> GpuBackend {
        let schedule = self.pack.manifest().schedule;
        GpuBackend::new(self.device.clone(), Box::new(self), &schedule).unwrap()
    }
}

impl Source for HostNetworks {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn load(&mut self, _padded: (usize, usize)) -> Result<Loaded> {
        let networks = Networks::shared(&self.pack, Kernels::floats(Capabilities::current()))?;
        let mut loaded = Loaded {
            contexts: Vec::new(),
            precisions: self.precisions,
        };
        for which in Subnetwork::ALL {
            let precision = self.precisions.of(which);
            let spoilt = |s: &Spoil| s.precisions.contains(&precision) && s.which.contains(&which);
            loaded.contexts.push(Box::new(HostNetwork {
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
