//! A device without a GPU: it keeps the order of operations, refuses what a driver refuses, and finds races
//! ([`order`]). Networks say for themselves what they use, by [`Recorder::enqueue`].
#![allow(unsafe_code)]

mod order;
#[cfg(test)]
mod tests;
mod uses;

use std::collections::{HashMap, HashSet};
use std::mem::offset_of;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::order::{Capture, Captured, Clock, HOST, State, merge, refuse};
pub(crate) use self::uses::Uses;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Device, EventHandle, GraphHandle, Launch, PinnedMemory, Settings, StreamHandle};
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
