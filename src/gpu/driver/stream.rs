//! Streams, events and captured graphs that go back when their owner does.

use std::sync::Arc;

use crate::error::Result;
use crate::gpu::driver::device::{Device, Entered, EventHandle, GraphHandle, StreamHandle};

/// A stream of its own.
pub(crate) struct Stream {
    device: Arc<dyn Device>,
    handle: StreamHandle,
}

impl Stream {
    pub fn new(device: &Arc<dyn Device>) -> Result<Arc<Self>> {
        let _entered = Entered::new(device)?;
        Ok(Arc::new(Self {
            handle: device.create_stream()?,
            device: device.clone(),
        }))
    }

    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    pub fn handle(&self) -> StreamHandle {
        self.handle
    }

    /// What is issued from here on comes after `event`.
    pub fn wait(&self, event: &Event) -> Result<()> {
        self.device.wait(self.handle, event.handle)
    }

    /// Blocks until all that was issued is done.
    pub fn drain(&self) -> Result<()> {
        let event = Event::new(&self.device, false)?;
        event.record(self)?;
        event.synchronize()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Ok(_entered) = Entered::new(&self.device) {
            self.device.destroy_stream(self.handle);
        }
    }
}

/// An event of its own.
pub(crate) struct Event {
    device: Arc<dyn Device>,
    handle: EventHandle,
}

impl Event {
    pub fn new(device: &Arc<dyn Device>, timed: bool) -> Result<Self> {
        let _entered = Entered::new(device)?;
        Ok(Self {
            handle: device.create_event(timed)?,
            device: device.clone(),
        })
    }

    /// Happens when all that was issued on `stream` is done.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        self.device.record(self.handle, stream.handle)
    }

    /// Happens when all that was issued on a stream of someone else's is done.
    pub fn record_foreign(&self, stream: StreamHandle) -> Result<()> {
        self.device.record(self.handle, stream)
    }

    /// Blocks until it has happened; an event that was never recorded has.
    pub fn synchronize(&self) -> Result<()> {
        self.device.synchronize(self.handle)
    }

    /// Milliseconds since `start`. Both are timed and have happened.
    pub fn since(&self, start: &Event) -> Result<f32> {
        self.device.elapsed(start.handle, self.handle)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(_entered) = Entered::new(&self.device) {
            self.device.destroy_event(self.handle);
        }
    }
}

/// Work that was recorded once and is launched whole.
pub(crate) struct Graph {
    device: Arc<dyn Device>,
    handle: GraphHandle,
}

impl Graph {
    /// Everything on `stream` from here on is recorded until [`Graph::end`] or [`Graph::abandon`].
    pub fn begin(stream: &Stream) -> Result<()> {
        stream.device.begin_capture(stream.handle)
    }

    pub fn end(stream: &Stream) -> Result<Self> {
        Ok(Self {
            handle: stream.device.end_capture(stream.handle)?,
            device: stream.device.clone(),
        })
    }

    /// Ends a recording in which something failed; the stream works as before.
    pub fn abandon(stream: &Stream) {
        drop(Self::end(stream));
    }

    pub fn launch(&self, stream: &Stream) -> Result<()> {
        self.device.launch_graph(self.handle, stream.handle)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(_entered) = Entered::new(&self.device) {
            self.device.destroy_graph(self.handle);
        }
    }
}
