//! A device without a GPU: it keeps the order of operations, refuses what a driver refuses, and finds races.
//!
//! Who comes before whom is kept as vector clocks: every stream and the host has a clock, an operation takes the next
//! tick of its own, an event carries a copy of its stream's clock, and whoever waits for it takes the greater of each
//! entry. Two operations on one allocation, one of which writes, have to be ordered.
//!
//! What a kernel reads and writes follows from its arguments, and, for the frame, from the block of settings as it was
//! sent last. Networks say for themselves what they use, by [`Recorder::enqueue`].
#![allow(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::offset_of;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{
    ComposeArguments, ConvolutionArguments, Device, EventHandle, FusionArguments, GraphHandle, IngestArguments, Launch,
    MeanArguments, MoveArguments, PinnedMemory, PointsArguments, PooledArguments, ScaleArguments, Settings,
    StreamHandle, Surface, UpdateArguments,
};
use crate::testing::allocations::Uncounted;

/// What was asked of the device, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    Upload(StreamHandle),
    Download(StreamHandle),
    Launch(&'static str, StreamHandle),
    /// A network was put on a stream.
    Enqueue(&'static str, StreamHandle),
    Record(EventHandle, StreamHandle),
    Wait(StreamHandle, EventHandle),
    Synchronize(EventHandle),
    BeginCapture(StreamHandle),
    EndCapture(StreamHandle),
    LaunchGraph(StreamHandle),
    Allocate,
    AllocatePinned,
    /// The networks of a size were loaded.
    LoadNetworks,
}

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Upload,
    Download,
    Record,
    LaunchGraph,
}

/// Device memory that an operation uses, by any address inside each allocation; 0 is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    reads: Vec<u64>,
    writes: Vec<u64>,
    /// The block of settings whose input frame is read; 0: none.
    input_of: u64,
    /// The block of settings whose output frame is written; 0: none.
    output_of: u64,
}

impl Uses {
    /// Of memory alone, without a frame.
    pub fn new(reads: Vec<u64>, writes: Vec<u64>) -> Self {
        Self {
            reads,
            writes,
            ..Self::default()
        }
    }

    fn reading(reads: &[u64]) -> Self {
        Self::new(reads.to_vec(), Vec::new())
    }

    fn writing(writes: &[u64]) -> Self {
        Self::new(Vec::new(), writes.to_vec())
    }

    /// What a kernel uses, by its name and its arguments; `None` if the two do not go together.
    fn of(launch: &Launch) -> Option<Self> {
        let kind = |prefix: &str| launch.kernel.starts_with(prefix);
        let arguments = &launch.arguments;
        // Addresses that are 0 are none.
        if matches!(launch.module.name, "convolve" | "tensor") {
            let a: ConvolutionArguments = arguments.get()?;
            let [input, residual, gated] = [a.input, a.residual, a.gated].map(|image| image.units);
            let reads = [&input[..], &residual, &gated, &[a.weights, a.bias]].concat();
            return Some(Self::new(reads, a.output.units.to_vec()));
        }
        Some(if kind("points_") {
            let a: PointsArguments = arguments.get()?;
            let of = |written: bool| {
                let units = a.units.iter().enumerate();
                let units = units.filter(move |(i, _)| (a.written >> i & 1 == 1) == written);
                units.map(|(_, unit)| unit.address).collect::<Vec<_>>()
            };
            Self::new([of(false), vec![a.instructions, a.pooled]].concat(), of(true))
        } else if kind("move_channels") {
            let a: MoveArguments = arguments.get()?;
            Self::new(
                a.channels.map(|c| c.from.address).to_vec(),
                a.channels.map(|c| c.to.address).to_vec(),
            )
        } else if kind("mean_") {
            let a: MeanArguments = arguments.get()?;
            Self::new(a.input.units.to_vec(), vec![a.sums])
        } else if kind("pooled_steps") {
            let a: PooledArguments = arguments.get()?;
            let reads = [&a.inputs[..], &[a.steps, a.constants, a.sums]].concat();
            Self::new(reads, vec![a.values])
        } else if kind("scale_weights") {
            let a: ScaleArguments = arguments.get()?;
            Self::new(vec![a.weights, a.factors], vec![a.to])
        } else if kind("ingest_") {
            let a: IngestArguments = arguments.get()?;
            Self {
                reads: vec![a.settings],
                writes: vec![a.settings, a.image, a.image_half],
                input_of: a.settings,
                output_of: 0,
            }
        } else if kind("update_") {
            let a: UpdateArguments = arguments.get()?;
            Self::new(vec![a.image, a.r, a.l, a.q], vec![a.p, a.q])
        } else if let Some(a) = arguments.get::<FusionArguments>() {
            let (reads, writes) = match launch.kernel {
                "pyramid_half" => (vec![a.image, a.past], vec![a.now, a.before]),
                "pyramid_next" => (vec![a.now, a.before], vec![a.now, a.before]),
                "motion_search" => (vec![a.now, a.before, a.state], vec![a.vectors]),
                "motion_follow" | "motion_vectors" => (vec![a.now, a.before, a.state, a.vectors], vec![a.vectors]),
                "camera_start" => (vec![a.vectors], vec![a.state]),
                "camera_sums" => (vec![a.now, a.before, a.state], vec![a.sums]),
                "camera_step" => (vec![a.sums, a.state], vec![a.state]),
                "fuse_expect" => (vec![a.past, a.count, a.vectors], vec![a.expected]),
                "fuse_cells" => (vec![a.image, a.expected, a.before], vec![a.cells, a.texture, a.state]),
                "trust_limit" | "trust_learn" => (vec![a.state], vec![a.state]),
                "trust_flat" => (vec![a.cells, a.texture, a.state], vec![a.broad, a.state]),
                "trust_share" => (vec![a.cells, a.broad, a.state], vec![a.trust, a.state]),
                "fuse_merge" => (
                    vec![a.image, a.expected, a.trust, a.state],
                    vec![a.settings, a.image, a.image_half, a.past, a.count, a.vectors],
                ),
                _ => return None,
            };
            Self::new([reads, vec![a.settings]].concat(), writes)
        } else {
            let a: ComposeArguments = arguments.get()?;
            let composes = |planes: &[u64]| Self {
                reads: [&[a.settings], planes].concat(),
                writes: vec![a.settings],
                input_of: a.settings,
                output_of: a.settings,
            };
            if kind("guide_fit_") {
                Self::new(vec![a.image, a.r, a.adjusted], vec![a.fitted])
            } else if kind("guide_smooth") {
                Self::new(vec![a.fitted], vec![a.smooth])
            } else if kind("compose_guided") {
                composes(&[a.smooth])
            } else if kind("compose_") {
                composes(&[a.r, a.adjusted])
            } else {
                return None;
            }
        })
    }
}

/// Ticks by stream; the host is [`HOST`].
type Clock = HashMap<usize, u64>;
const HOST: usize = 0;

fn merge(into: &mut Clock, other: &Clock) {
    for (&who, &tick) in other {
        let own = into.entry(who).or_default();
        *own = (*own).max(tick);
    }
}

/// An operation inside a graph.
#[derive(Debug, Clone)]
enum Captured {
    Use(&'static str, StreamHandle, Uses),
    Record(EventHandle, StreamHandle),
    Wait(StreamHandle, EventHandle),
}

#[derive(Default)]
struct Capture {
    origin: usize,
    streams: HashSet<usize>,
    events: HashSet<usize>,
    operations: Vec<Captured>,
}

#[derive(Default)]
struct State {
    next: usize,
    operations: Vec<Operation>,
    /// Bytes by address: device memory, page-locked memory, and networks.
    allocations: BTreeMap<u64, usize>,
    /// What small uploads left in device memory.
    contents: HashMap<u64, Vec<u8>>,
    clocks: HashMap<usize, Clock>,
    events: HashMap<usize, Clock>,
    /// The last write and the reads since, by allocation: who, when and what.
    written: HashMap<u64, (usize, u64, &'static str)>,
    read: HashMap<u64, Vec<(usize, u64, &'static str)>>,
    capture: Option<Capture>,
    graphs: HashMap<usize, Vec<Captured>>,
    faults: Vec<String>,
    /// Device memory that is left.
    left: Option<usize>,
    /// The call that is to fail, and how many of its kind go well before it.
    refusal: Option<(Call, usize)>,
}

fn refuse<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::BackendFailed, what))
}

impl State {
    fn handle(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn clock(&mut self, who: usize) -> &mut Clock {
        self.clocks.entry(who).or_default()
    }

    /// The next tick of `who`, after all that it and the host have seen.
    fn tick(&mut self, who: usize) -> (u64, Clock) {
        let host = self.clock(HOST).clone();
        let clock = self.clock(who);
        merge(clock, &host);
        let tick = clock.entry(who).or_default();
        *tick += 1;
        (*tick, clock.clone())
    }

    /// The allocation that an address is in.
    fn base(&mut self, address: u64, what: &str) -> Option<u64> {
        if address == 0 {
            return None;
        }
        match self.allocations.range(..=address).next_back() {
            Some((&base, &bytes)) if address < base + bytes as u64 => Some(base),
            _ => {
                self.faults
                    .push(format!("{what} uses {address:#x}, which is not allocated"));
                None
            }
        }
    }

    /// The addresses of a frame's planes in a block of settings as it was sent.
    fn planes(&mut self, block: u64, surface: usize, what: &str) -> Vec<u64> {
        if block == 0 {
            return Vec::new();
        }
        let Some(bytes) = self.contents.get(&block) else {
            self.faults.push(format!("{what} reads settings that nobody sent"));
            return Vec::new();
        };
        let start = surface + offset_of!(Surface, address);
        let address = |i: usize| u64::from_ne_bytes(std::array::from_fn(|b| bytes[start + 8 * i + b]));
        (0..3).map(address).collect()
    }

    fn use_memory(&mut self, what: &'static str, who: usize, uses: &Uses) {
        let (tick, clock) = self.tick(who);
        let input = self.planes(uses.input_of, offset_of!(Settings, input), what);
        let output = self.planes(uses.output_of, offset_of!(Settings, output), what);
        let reads = uses.reads.iter().chain(&input).map(|a| (*a, false));
        let writes = uses.writes.iter().chain(&output).map(|a| (*a, true));
        let ordered = |(other, at, _): &(usize, u64, &str)| clock.get(other).is_some_and(|seen| seen >= at);
        for (address, writes) in reads.chain(writes) {
            let Some(base) = self.base(address, what) else { continue };
            let mut faults = Vec::new();
            let last = self.written.get(&base).filter(|w| !ordered(w));
            faults.extend(last.map(|w| format!("{what} on {who} does not wait for {} on {}", w.2, w.0)));
            if writes {
                let before = self.read.remove(&base).unwrap_or_default();
                let missed = before.iter().filter(|r| !ordered(r));
                faults.extend(missed.map(|r| format!("{what} on {who} overwrites what {} on {} reads", r.2, r.0)));
                self.written.insert(base, (who, tick, what));
            } else {
                self.read.entry(base).or_default().push((who, tick, what));
            }
            self.faults.append(&mut faults);
        }
    }

    /// Notes an operation for the graph if its stream is being captured, and otherwise lets it happen.
    fn issue(&mut self, what: &'static str, stream: StreamHandle, uses: Uses) {
        match self.capture.as_mut().filter(|c| c.streams.contains(&stream.0)) {
            Some(capture) => capture.operations.push(Captured::Use(what, stream, uses)),
            None => self.use_memory(what, stream.0, &uses),
        }
    }

    /// Lets a graph's operations happen on streams of their own between what is before and after it on `stream`.
    fn run(&mut self, operations: &[Captured], stream: usize) {
        let (_, entry) = self.tick(stream);
        let mut own = HashMap::new();
        let mut events: HashMap<usize, Clock> = HashMap::new();
        for operation in operations {
            let mut stream_of = |state: &mut State, s: StreamHandle| {
                *own.entry(s.0).or_insert_with(|| {
                    let fresh = state.handle();
                    state.clocks.insert(fresh, entry.clone());
                    fresh
                })
            };
            match operation {
                Captured::Use(what, s, uses) => {
                    let who = stream_of(self, *s);
                    self.use_memory(what, who, uses);
                }
                Captured::Record(event, s) => {
                    let who = stream_of(self, *s);
                    events.insert(event.0, self.clock(who).clone());
                }
                Captured::Wait(s, event) => {
                    let who = stream_of(self, *s);
                    let clock = events.get(&event.0).cloned().unwrap_or_default();
                    merge(self.clock(who), &clock);
                }
            }
        }
        for who in own.into_values() {
            let clock = self.clock(who).clone();
            merge(self.clock(stream), &clock);
        }
    }

    fn forbid_in_capture(&self, what: &str) -> Result<()> {
        match self.capture {
            Some(_) => refuse(format!("{what} while a graph is captured")),
            None => Ok(()),
        }
    }

    /// Fails if this is the call that is to fail.
    fn attempt(&mut self, call: Call) -> Result<()> {
        match &mut self.refusal {
            Some((kind, 0)) if *kind == call => {
                self.refusal = None;
                refuse("as planned")
            }
            Some((kind, before)) if *kind == call => {
                *before -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes an allocation away, which counts as writing it.
    fn release(&mut self, address: u64, what: &'static str, who: usize) -> usize {
        self.use_memory(what, who, &Uses::writing(&[address]));
        self.contents.remove(&address);
        self.written.remove(&address);
        self.read.remove(&address);
        self.allocations.remove(&address).unwrap_or(0)
    }
}

/// The state, while it is locked. What the recorder itself allocates is not counted as the product's.
struct Locked<'a> {
    state: MutexGuard<'a, State>,
    _uncounted: Uncounted,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

fn lock(state: &Mutex<State>) -> Locked<'_> {
    Locked {
        _uncounted: Uncounted::new(),
        state: state.lock().unwrap_or_else(PoisonError::into_inner),
    }
}

/// The recorder. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    state: Arc<Mutex<State>>,
}

impl Recorder {
    /// A device with that much memory.
    pub fn with_memory(bytes: usize) -> Self {
        let recorder = Self::default();
        recorder.lock().left = Some(bytes);
        recorder
    }

    fn lock(&self) -> Locked<'_> {
        lock(&self.state)
    }

    fn note(&self, operation: Operation) -> Locked<'_> {
        let mut state = self.lock();
        state.operations.push(operation);
        state
    }

    /// What was asked for since the last call.
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.lock().operations)
    }

    /// Everything that was out of order, or used memory that is not there.
    pub fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    /// Allocations and networks that nobody has freed.
    pub fn allocated(&self) -> usize {
        self.lock().allocations.len()
    }

    /// The streams on which something was issued that the host has not waited for.
    pub fn under_way(&self) -> Vec<usize> {
        let mut state = self.lock();
        let host = state.clock(HOST).clone();
        let seen = |who: usize, tick: u64| host.get(&who).is_some_and(|seen| *seen >= tick);
        let mut streams: Vec<_> = state
            .clocks
            .iter()
            .filter_map(|(who, clock)| Some((*who, *clock.get(who)?)))
            .filter(|(who, tick)| !seen(*who, *tick))
            .map(|(who, _)| who)
            .collect();
        streams.sort_unstable();
        streams
    }

    /// Whether the settings that were sent last say that nothing is taken from a stream's memory.
    pub fn is_fresh(&self) -> bool {
        let state = self.lock();
        let blocks = state
            .contents
            .values()
            .filter(|bytes| bytes.len() == size_of::<Settings>());
        let at = offset_of!(Settings, fresh);
        blocks
            .last()
            .is_some_and(|bytes| bytes[at..at + size_of::<u32>()] != [0; size_of::<u32>()])
    }

    /// Has a call fail, after `before` calls of its kind that go well.
    pub fn refuse(&self, call: Call, before: usize) {
        self.lock().refusal = Some((call, before));
    }

    /// Notes that networks were loaded.
    pub fn load_networks(&self) {
        self.note(Operation::LoadNetworks);
    }

    /// A new network, by the address that stands for it.
    pub fn add_network(&self) -> u64 {
        let mut state = self.lock();
        let address = (state.handle() as u64) << 40;
        state.allocations.insert(address, 1);
        address
    }

    /// The end of a network: the host has waited for all of its runs.
    pub fn drop_network(&self, network: u64) {
        self.lock().release(network, "the end of a network", HOST);
    }

    /// A run of a network on a stream; its scratch memory is among the `writes`.
    pub fn enqueue(&self, which: &'static str, stream: StreamHandle, uses: Uses) {
        self.note(Operation::Enqueue(which, stream)).issue(which, stream, uses);
    }
}

/// Page-locked memory that notes what the host reads and writes.
struct RecordedPinned {
    state: Arc<Mutex<State>>,
    words: Box<[u64]>,
    bytes: usize,
}

impl RecordedPinned {
    fn address(&self) -> u64 {
        self.words.as_ptr() as u64
    }
}

impl PinnedMemory for RecordedPinned {
    fn read(&self) -> &[u8] {
        lock(&self.state).use_memory("the host", HOST, &Uses::reading(&[self.address()]));
        // SAFETY: the words are at least as many bytes, and borrowed.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.bytes) }
    }

    fn write(&mut self) -> &mut [u8] {
        lock(&self.state).use_memory("the host", HOST, &Uses::writing(&[self.address()]));
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.bytes) }
    }

    fn start(&self) -> *mut u8 {
        self.words.as_ptr().cast_mut().cast()
    }
}

impl Drop for RecordedPinned {
    fn drop(&mut self) {
        lock(&self.state).release(self.address(), "freeing", HOST);
    }
}

impl Device for Recorder {
    fn enter(&self) -> Result<()> {
        Ok(())
    }

    fn leave(&self) {}

    fn create_stream(&self) -> Result<StreamHandle> {
        Ok(StreamHandle(self.lock().handle()))
    }

    fn destroy_stream(&self, _stream: StreamHandle) {}

    fn create_event(&self, _timed: bool) -> Result<EventHandle> {
        Ok(EventHandle(self.lock().handle()))
    }

    fn destroy_event(&self, _event: EventHandle) {}

    fn allocate(&self, stream: StreamHandle, bytes: usize) -> Result<u64> {
        let mut state = self.note(Operation::Allocate);
        state.forbid_in_capture("memory is allocated")?;
        if let Some(left) = &mut state.left {
            match left.checked_sub(bytes) {
                Some(rest) => *left = rest,
                None => return Err(Error::new(ErrorKind::OutOfMemory, format!("{bytes} bytes"))),
            }
        }
        let address = (state.handle() as u64) << 40;
        state.allocations.insert(address, bytes);
        state.use_memory("clearing", stream.0, &Uses::writing(&[address]));
        Ok(address)
    }

    fn free(&self, stream: StreamHandle, address: u64) {
        let mut state = self.lock();
        let bytes = state.release(address, "freeing", stream.0);
        if let Some(left) = &mut state.left {
            *left += bytes;
        }
    }

    fn allocate_pinned(&self, bytes: usize) -> Result<Box<dyn PinnedMemory>> {
        let mut state = self.note(Operation::AllocatePinned);
        state.forbid_in_capture("page-locked memory is allocated")?;
        let memory = RecordedPinned {
            state: self.state.clone(),
            words: vec![0; bytes.div_ceil(8).max(1)].into(),
            bytes,
        };
        state.allocations.insert(memory.address(), bytes.max(1));
        Ok(Box::new(memory))
    }

    unsafe fn upload(&self, stream: StreamHandle, to: u64, from: *const u8, bytes: usize) -> Result<()> {
        let mut state = self.note(Operation::Upload(stream));
        state.forbid_in_capture("memory is uploaded")?;
        state.attempt(Call::Upload)?;
        if bytes <= 4096 {
            // SAFETY: the caller's word: a live range that nobody writes.
            let copy = unsafe { std::slice::from_raw_parts(from, bytes) }.to_vec();
            state.contents.insert(to, copy);
        }
        state.issue("upload", stream, Uses::new(vec![from as u64], vec![to]));
        Ok(())
    }

    unsafe fn download(&self, stream: StreamHandle, to: *mut u8, from: u64, _bytes: usize) -> Result<()> {
        let mut state = self.note(Operation::Download(stream));
        state.forbid_in_capture("memory is downloaded")?;
        state.attempt(Call::Download)?;
        state.issue("download", stream, Uses::new(vec![from], vec![to as u64]));
        Ok(())
    }

    unsafe fn copy(&self, stream: StreamHandle, to: u64, from: u64, _bytes: usize) -> Result<()> {
        let mut state = self.lock();
        state.issue("copy", stream, Uses::new(vec![from], vec![to]));
        Ok(())
    }

    unsafe fn launch(&self, stream: StreamHandle, launch: &Launch) -> Result<()> {
        let mut state = self.note(Operation::Launch(launch.kernel, stream));
        match Uses::of(launch) {
            Some(uses) => state.issue(launch.kernel, stream, uses),
            None => state.faults.push(format!(
                "{} is launched with arguments of another kernel",
                launch.kernel
            )),
        }
        Ok(())
    }

    fn record(&self, event: EventHandle, stream: StreamHandle) -> Result<()> {
        let mut state = self.note(Operation::Record(event, stream));
        state.attempt(Call::Record)?;
        if let Some(capture) = state.capture.as_mut().filter(|c| c.streams.contains(&stream.0)) {
            capture.events.insert(event.0);
            capture.operations.push(Captured::Record(event, stream));
            return Ok(());
        }
        let (_, clock) = state.tick(stream.0);
        state.events.insert(event.0, clock);
        Ok(())
    }

    fn wait(&self, stream: StreamHandle, event: EventHandle) -> Result<()> {
        let mut state = self.note(Operation::Wait(stream, event));
        if let Some(capture) = state.capture.as_mut() {
            let (inside, captured) = (capture.streams.contains(&stream.0), capture.events.contains(&event.0));
            if captured {
                capture.streams.insert(stream.0);
                capture.operations.push(Captured::Wait(stream, event));
                return Ok(());
            }
            if inside {
                return refuse("a captured stream waits for an event outside the capture");
            }
        }
        let clock = state.events.get(&event.0).cloned().unwrap_or_default();
        merge(state.clock(stream.0), &clock);
        Ok(())
    }

    fn synchronize(&self, event: EventHandle) -> Result<()> {
        let mut state = self.note(Operation::Synchronize(event));
        if state.capture.as_ref().is_some_and(|c| c.events.contains(&event.0)) {
            return refuse("the host waits for an event of a capture");
        }
        let clock = state.events.get(&event.0).cloned().unwrap_or_default();
        merge(state.clock(HOST), &clock);
        Ok(())
    }

    fn elapsed(&self, _from: EventHandle, _to: EventHandle) -> Result<f32> {
        Ok(1.0)
    }

    fn begin_capture(&self, stream: StreamHandle) -> Result<()> {
        let mut state = self.note(Operation::BeginCapture(stream));
        state.forbid_in_capture("a capture begins")?;
        state.capture = Some(Capture {
            origin: stream.0,
            streams: HashSet::from([stream.0]),
            ..Capture::default()
        });
        Ok(())
    }

    fn end_capture(&self, stream: StreamHandle) -> Result<GraphHandle> {
        let mut state = self.note(Operation::EndCapture(stream));
        let Some(capture) = state.capture.take().filter(|c| c.origin == stream.0) else {
            return refuse("no capture was begun on this stream");
        };
        // Everything that was forked has to have been joined by the first stream: run it in a scratch copy.
        let mut seen: HashMap<usize, Clock> = HashMap::new();
        let mut events: HashMap<usize, Clock> = HashMap::new();
        for operation in &capture.operations {
            match operation {
                Captured::Use(_, s, _) => *seen.entry(s.0).or_default().entry(s.0).or_default() += 1,
                Captured::Record(e, s) => drop(events.insert(e.0, seen.entry(s.0).or_default().clone())),
                Captured::Wait(s, e) => merge(seen.entry(s.0).or_default(), &events[&e.0]),
            }
        }
        let origin = seen.get(&stream.0).cloned().unwrap_or_default();
        let joined = seen
            .iter()
            .all(|(s, clock)| clock.get(s).is_none_or(|tick| origin.get(s).is_some_and(|o| o >= tick)));
        if !joined {
            return refuse("a stream of the capture was not joined");
        }
        let handle = state.handle();
        state.graphs.insert(handle, capture.operations);
        Ok(GraphHandle(handle))
    }

    fn launch_graph(&self, graph: GraphHandle, stream: StreamHandle) -> Result<()> {
        let mut state = self.note(Operation::LaunchGraph(stream));
        state.attempt(Call::LaunchGraph)?;
        let Some(operations) = state.graphs.get(&graph.0).cloned() else {
            return refuse("no such graph");
        };
        state.run(&operations, stream.0);
        Ok(())
    }

    fn destroy_graph(&self, graph: GraphHandle) {
        self.lock().graphs.remove(&graph.0);
    }

    fn free_memory(&self) -> Result<u64> {
        Ok(self.lock().left.unwrap_or(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checks themselves: a backend that forgot an event would be found out.
    #[test]
    fn the_recorder_sees_races_and_broken_captures() {
        let device = Recorder::default();
        let [one, two] = [0, 1].map(|_| device.create_stream().unwrap());
        let memory = device.allocate(one, 256).unwrap();
        let event = device.create_event(false).unwrap();
        let (write, read) = (|| Uses::writing(&[memory]), || Uses::reading(&[memory]));
        device.enqueue("writer", one, write());
        device.record(event, one).unwrap();
        device.enqueue("early", one, Uses::default());
        device.wait(two, event).unwrap();
        device.enqueue("reader", two, read());
        assert_eq!(device.faults(), Vec::<String>::new());
        device.enqueue("overwriter", one, write());
        assert_eq!(device.faults().len(), 1, "{:?}", device.faults());
        device.enqueue("late reader", two, read());
        assert_eq!(device.faults().len(), 2, "{:?}", device.faults());
        device.enqueue("stray", one, Uses::reading(&[7]));
        assert_eq!(device.faults().len(), 3, "{:?}", device.faults());

        device.begin_capture(one).unwrap();
        assert!(device.allocate(one, 8).is_err());
        assert!(device.wait(one, event).is_err(), "an event from outside");
        let inside = device.create_event(false).unwrap();
        device.record(inside, one).unwrap();
        device.wait(two, inside).unwrap();
        device.enqueue("forked", two, Uses::default());
        let error = device.end_capture(one).unwrap_err();
        assert!(error.to_string().contains("joined"), "{error}");
    }

    /// Page-locked memory, and networks, are used by the host too.
    #[test]
    fn the_recorder_sees_what_the_host_does_not_wait_for() {
        let device = Recorder::default();
        let stream = device.create_stream().unwrap();
        let memory = device.allocate(stream, 64).unwrap();
        let mut host = device.allocate_pinned(64).unwrap();
        let network = device.add_network();
        let event = device.create_event(false).unwrap();
        let finish = || {
            device.record(event, stream).unwrap();
            device.synchronize(event).unwrap();
        };
        // SAFETY: both are 64 bytes long, and live.
        let upload = |from: *const u8| unsafe { device.upload(stream, memory, from, 64) }.unwrap();
        host.write().fill(1);
        upload(host.start());
        assert_eq!(device.under_way(), [stream.0]);
        finish();
        assert_eq!(device.under_way(), [0; 0]);
        host.write().fill(2);
        device.enqueue("network", stream, Uses::reading(&[network]));
        finish();
        assert_eq!(device.faults(), Vec::<String>::new());

        upload(host.start());
        host.read();
        assert_eq!(device.faults(), Vec::<String>::new(), "both read");
        host.write().fill(3);
        assert_eq!(device.faults().len(), 1, "{:?}", device.faults());
        device.enqueue("network", stream, Uses::reading(&[network]));
        device.drop_network(network);
        assert_eq!(device.faults().len(), 2, "{:?}", device.faults());
        // SAFETY: as above.
        unsafe { device.download(stream, host.start(), memory, 64) }.unwrap();
        host.read();
        assert_eq!(device.faults().len(), 3, "{:?}", device.faults());
    }
}
