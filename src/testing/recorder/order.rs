//! Who comes before whom, kept as vector clocks: every stream and the host has a clock, an operation takes the next tick of
//! its own, an event carries a copy of its stream's clock, and whoever waits for it takes the greater of each entry. Two
//! operations on one allocation, one of which writes, have to be ordered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::offset_of;

use super::uses::Uses;
use super::{Call, Operation};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{EventHandle, Settings, StreamHandle, Surface};

/// Ticks by stream; the host is [`HOST`].
pub(super) type Clock = HashMap<usize, u64>;
pub(super) const HOST: usize = 0;

pub(super) fn merge(into: &mut Clock, other: &Clock) {
    for (&who, &tick) in other {
        let own = into.entry(who).or_default();
        *own = (*own).max(tick);
    }
}

/// An operation inside a graph.
#[derive(Debug, Clone)]
pub(super) enum Captured {
    Use(&'static str, StreamHandle, Uses),
    Record(EventHandle, StreamHandle),
    Wait(StreamHandle, EventHandle),
}

#[derive(Default)]
pub(super) struct Capture {
    pub origin: usize,
    pub streams: HashSet<usize>,
    pub events: HashSet<usize>,
    pub operations: Vec<Captured>,
}

#[derive(Default)]
pub(super) struct State {
    pub next: usize,
    pub operations: Vec<Operation>,
    /// Bytes by address: device memory, page-locked memory, and networks.
    pub allocations: BTreeMap<u64, usize>,
    /// What small uploads left in device memory.
    pub contents: HashMap<u64, Vec<u8>>,
    pub clocks: HashMap<usize, Clock>,
    pub events: HashMap<usize, Clock>,
    /// The last write and the reads since, by allocation: who, when and what.
    pub written: HashMap<u64, (usize, u64, &'static str)>,
    pub read: HashMap<u64, Vec<(usize, u64, &'static str)>>,
    pub capture: Option<Capture>,
    pub graphs: HashMap<usize, Vec<Captured>>,
    pub faults: Vec<String>,
    /// Device memory that is left.
    pub left: Option<usize>,
    /// The call that is to fail, and how many of its kind go well before it.
    pub refusal: Option<(Call, usize)>,
}

pub(super) fn refuse<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::BackendFailed, what))
}

impl State {
    pub fn handle(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    pub fn clock(&mut self, who: usize) -> &mut Clock {
        self.clocks.entry(who).or_default()
    }

    /// The next tick of `who`, after all that it and the host have seen.
    pub fn tick(&mut self, who: usize) -> (u64, Clock) {
        let host = self.clock(HOST).clone();
        let clock = self.clock(who);
        merge(clock, &host);
        let tick = clock.entry(who).or_default();
        *tick += 1;
        (*tick, clock.clone())
    }

    /// The allocation that an address is in.
    pub fn base(&mut self, address: u64, what: &str) -> Option<u64> {
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
    pub fn planes(&mut self, block: u64, surface: usize, what: &str) -> Vec<u64> {
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

    pub fn use_memory(&mut self, what: &'static str, who: usize, uses: &Uses) {
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
    pub fn issue(&mut self, what: &'static str, stream: StreamHandle, uses: Uses) {
        match self.capture.as_mut().filter(|c| c.streams.contains(&stream.0)) {
            Some(capture) => capture.operations.push(Captured::Use(what, stream, uses)),
            None => self.use_memory(what, stream.0, &uses),
        }
    }

    /// Lets a graph's operations happen on streams of their own between what is before and after it on `stream`.
    pub fn run(&mut self, operations: &[Captured], stream: usize) {
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

    pub fn forbid_in_capture(&self, what: &str) -> Result<()> {
        match self.capture {
            Some(_) => refuse(format!("{what} while a graph is captured")),
            None => Ok(()),
        }
    }

    /// Fails if this is the call that is to fail.
    pub fn attempt(&mut self, call: Call) -> Result<()> {
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
    pub fn release(&mut self, address: u64, what: &'static str, who: usize) -> usize {
        self.use_memory(what, who, &Uses::writing(&[address]));
        self.contents.remove(&address);
        self.written.remove(&address);
        self.read.remove(&address);
        self.allocations.remove(&address).unwrap_or(0)
    }
}
