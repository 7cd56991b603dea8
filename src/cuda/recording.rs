//! A device without a GPU: it keeps the order of operations, refuses what a driver refuses, and finds races.
//!
//! Who comes before whom is kept as vector clocks: every stream and the host has a clock, an operation takes the next
//! tick of its own, an event carries a copy of its stream's clock, and whoever waits for it takes the greater of each
//! entry. Two operations on one allocation, one of which writes, have to be ordered.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::offset_of;
use std::sync::{Mutex, MutexGuard};

use super::device::{Device, EventHandle, GraphHandle, StreamHandle, Touches};
use super::launch::{Launch, Settings, Surface};
use crate::error::{Error, ErrorKind, Result};

/// What was asked of the device, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operation {
    Upload(StreamHandle),
    Download(StreamHandle),
    Launch(&'static str, StreamHandle),
    /// A network.
    Enqueue(&'static str, StreamHandle),
    Record(EventHandle, StreamHandle),
    Wait(StreamHandle, EventHandle),
    Synchronize(EventHandle),
    BeginCapture(StreamHandle),
    EndCapture(StreamHandle),
    LaunchGraph(StreamHandle),
    Allocate,
    AllocatePinned,
}

/// Ticks by stream; the host is `HOST`.
type Clock = HashMap<usize, u64>;
const HOST: usize = 0;

fn merge(into: &mut Clock, other: &Clock) {
    for (&who, &tick) in other {
        let own = into.entry(who).or_default();
        *own = (*own).max(tick);
    }
}

/// Memory that an operation touches, as allocations, and the settings that say of more.
#[derive(Debug, Clone, Default)]
struct Touched {
    reads: Vec<u64>,
    writes: Vec<u64>,
    input_of: u64,
    output_of: u64,
}

/// An operation inside a graph.
#[derive(Debug, Clone)]
enum Captured {
    Touch(&'static str, StreamHandle, Touched),
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
    /// Bytes by address; device and page-locked memory.
    allocations: BTreeMap<u64, usize>,
    /// The bytes that page-locked memory consists of.
    pinned: HashMap<u64, Box<[u64]>>,
    /// What small uploads left in device memory.
    contents: HashMap<u64, Vec<u8>>,
    clocks: HashMap<usize, Clock>,
    events: HashMap<usize, Clock>,
    /// The last write and the reads since, by allocation: who and when.
    written: HashMap<u64, (usize, u64, &'static str)>,
    read: HashMap<u64, Vec<(usize, u64, &'static str)>>,
    capture: Option<Capture>,
    graphs: HashMap<usize, Vec<Captured>>,
    faults: Vec<String>,
    /// Device memory that is left.
    left: Option<usize>,
}

/// The recorder.
#[derive(Default)]
pub(super) struct Recording {
    state: Mutex<State>,
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
                    .push(format!("{what} touches {address:#x}, which is not allocated"));
                None
            }
        }
    }

    fn touch(&mut self, what: &'static str, who: usize, touched: &Touched) {
        let (tick, clock) = self.tick(who);
        let mut reads = touched.reads.clone();
        let mut writes = touched.writes.clone();
        for (list, block, at) in [
            (&mut reads, touched.input_of, offset_of!(Settings, input)),
            (&mut writes, touched.output_of, offset_of!(Settings, output)),
        ] {
            if block == 0 {
                continue;
            }
            let Some(bytes) = self.contents.get(&block) else {
                self.faults.push(format!("{what} reads settings that nobody sent"));
                continue;
            };
            let start = at + offset_of!(Surface, address);
            for i in 0..3 {
                list.push(u64::from_ne_bytes(std::array::from_fn(|b| bytes[start + 8 * i + b])));
            }
        }
        let ordered = |(other, at, _): &(usize, u64, &str)| clock.get(other).is_some_and(|seen| seen >= at);
        for (address, writes) in reads
            .iter()
            .map(|a| (*a, false))
            .chain(writes.iter().map(|a| (*a, true)))
        {
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
    fn issue(&mut self, what: &'static str, stream: StreamHandle, touched: Touched) {
        match self.capture.as_mut().filter(|c| c.streams.contains(&stream.0)) {
            Some(capture) => capture.operations.push(Captured::Touch(what, stream, touched)),
            None => self.touch(what, stream.0, &touched),
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
                Captured::Touch(what, s, touched) => {
                    let who = stream_of(self, *s);
                    self.touch(what, who, touched);
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
}

impl Recording {
    /// A device with that much memory.
    pub fn with_memory(bytes: usize) -> Self {
        let recording = Self::default();
        recording.lock().left = Some(bytes);
        recording
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What was asked for since the last call.
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.lock().operations)
    }

    /// Everything that was out of order, or touched memory that is not there.
    pub fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    /// Allocations that nobody has freed.
    pub fn allocated(&self) -> usize {
        self.lock().allocations.len()
    }

    fn note(&self, operation: Operation) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.operations.push(operation);
        state
    }
}

impl Device for Recording {
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
        let touched = Touched {
            writes: vec![address],
            ..Touched::default()
        };
        state.touch("clearing", stream.0, &touched);
        Ok(address)
    }

    fn free(&self, stream: StreamHandle, address: u64) {
        let mut state = self.lock();
        let touched = Touched {
            writes: vec![address],
            ..Touched::default()
        };
        state.touch("freeing", stream.0, &touched);
        let bytes = state.allocations.remove(&address).unwrap_or(0);
        state.contents.remove(&address);
        if let Some(left) = &mut state.left {
            *left += bytes;
        }
    }

    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8> {
        let mut state = self.note(Operation::AllocatePinned);
        state.forbid_in_capture("page-locked memory is allocated")?;
        let mut words = vec![0u64; bytes.div_ceil(8)].into_boxed_slice();
        let start = words.as_mut_ptr().cast::<u8>();
        state.pinned.insert(start as u64, words);
        state.allocations.insert(start as u64, bytes);
        Ok(start)
    }

    fn free_pinned(&self, start: *mut u8) {
        let mut state = self.lock();
        let touched = Touched {
            writes: vec![start as u64],
            ..Touched::default()
        };
        state.touch("freeing", HOST, &touched);
        state.allocations.remove(&(start as u64));
        state.pinned.remove(&(start as u64));
        state.written.remove(&(start as u64));
        state.read.remove(&(start as u64));
    }

    unsafe fn upload(&self, stream: StreamHandle, to: u64, from: *const u8, bytes: usize) -> Result<()> {
        let mut state = self.note(Operation::Upload(stream));
        state.forbid_in_capture("memory is uploaded")?;
        if bytes <= 4096 {
            // SAFETY: the caller's word: a live range that nobody writes.
            let copy = unsafe { std::slice::from_raw_parts(from, bytes) }.to_vec();
            state.contents.insert(to, copy);
        }
        let touched = Touched {
            reads: vec![from as u64],
            writes: vec![to],
            ..Touched::default()
        };
        state.issue("upload", stream, touched);
        Ok(())
    }

    unsafe fn download(&self, stream: StreamHandle, to: *mut u8, from: u64, _bytes: usize) -> Result<()> {
        let mut state = self.note(Operation::Download(stream));
        state.forbid_in_capture("memory is downloaded")?;
        let touched = Touched {
            reads: vec![from],
            writes: vec![to as u64],
            ..Touched::default()
        };
        state.issue("download", stream, touched);
        Ok(())
    }

    unsafe fn copy(&self, stream: StreamHandle, to: u64, from: u64, _bytes: usize) -> Result<()> {
        let touched = Touched {
            reads: vec![from],
            writes: vec![to],
            ..Touched::default()
        };
        self.lock().issue("copy", stream, touched);
        Ok(())
    }

    fn host_access(&self, start: *const u8, _bytes: usize, writes: bool) {
        let mut touched = Touched::default();
        let list = if writes {
            &mut touched.writes
        } else {
            &mut touched.reads
        };
        list.push(start as u64);
        self.lock().touch("the host", HOST, &touched);
    }

    unsafe fn launch(&self, stream: StreamHandle, launch: &Launch, touches: Touches<'_>) -> Result<()> {
        self.note(Operation::Launch(launch.kernel, stream))
            .issue(launch.kernel, stream, touches.into());
        Ok(())
    }

    fn foreign(&self, what: &'static str, stream: StreamHandle, touches: Touches<'_>) {
        self.note(Operation::Enqueue(what, stream))
            .issue(what, stream, touches.into());
    }

    fn record(&self, event: EventHandle, stream: StreamHandle) -> Result<()> {
        let mut state = self.note(Operation::Record(event, stream));
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
                Captured::Touch(_, s, _) => *seen.entry(s.0).or_default().entry(s.0).or_default() += 1,
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

impl From<Touches<'_>> for Touched {
    fn from(touches: Touches<'_>) -> Self {
        Self {
            reads: touches.reads.to_vec(),
            writes: touches.writes.to_vec(),
            input_of: touches.input_of,
            output_of: touches.output_of,
        }
    }
}

// SAFETY: page-locked memory is owned boxes; the rest is plain data behind the lock.
unsafe impl Send for Recording {}
// SAFETY: as above.
unsafe impl Sync for Recording {}
