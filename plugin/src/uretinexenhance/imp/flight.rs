//! The way of frames through the element: in, through the enhancer, out in their order.
//!
//! Where the enhancer works on several frames of system memory at once, the next frame is submitted before the last
//! one is collected: each frame then stays until the next one comes. Whatever else comes gives out those that stay
//! first: an event, a query that waits its turn, a frame that is not worked on, a frame marked as discontinuous. A
//! flush drops them.

use std::collections::VecDeque;
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::{InputBuffer, PrepareOutputBufferSuccess};
use gst_base::subclass::prelude::*;
use uretinex::{Enhancer, Error, ErrorKind, Frame, FrameMut, Parameters, Report};

use super::super::buffers::Layout;
use super::super::caps::Stream;
use super::super::{CAT, device};
use super::worker::{AtWork, Failure, Worker};
use super::{URetinexEnhance, lock, without_panic};
use crate::gstcuda::CudaContext;

/// A frame that has come in and not gone out.
enum Inside {
    /// Submitted, with this ratio.
    UnderWay(gst::Buffer, f32),
    /// As it goes out.
    Done(gst::Buffer),
}

/// The frames inside the element, oldest first.
pub(super) struct Flight {
    frames: VecDeque<Inside>,
    /// Property `frames-in-flight`.
    limit: u32,
    /// How many frames under way may stay until the next one comes.
    stay: usize,
}

impl Flight {
    /// None yet; `limit` is the property `frames-in-flight`.
    pub fn new(limit: u32) -> Self {
        Self {
            frames: VecDeque::with_capacity(4),
            limit,
            stay: 0,
        }
    }

    /// How many frames of `stream` stay until the next one comes, with an enhancer that takes `depth` at once. None
    /// if their rate is unknown, as the time would be: nobody could tell the latency.
    fn to_hold(&self, depth: usize, stream: &Stream, live: bool) -> usize {
        let most = match self.limit {
            0 if live => 1,
            0 => depth,
            limit => depth.min(limit as usize),
        };
        match stream.frame_time() {
            Some(_) if !stream.on_gpu => most.saturating_sub(1),
            _ => 0,
        }
    }

    fn under_way(&self) -> usize {
        let is = |f: &&Inside| matches!(f, Inside::UnderWay(..));
        self.frames.iter().filter(is).count()
    }

    /// The oldest frame if its turn has come; frames stay only behind others that are under way.
    fn next(&mut self) -> Option<Inside> {
        let stay = match self.frames.back()? {
            Inside::UnderWay(..) => self.stay,
            Inside::Done(_) => 0,
        };
        (self.frames.len() > stay).then(|| self.frames.pop_front())?
    }
}

impl URetinexEnhance {
    /// Takes a frame in: it is submitted, or worked on at once, or left as it is. One `marked` as discontinuous does
    /// not stay.
    pub(super) fn take_in(&self, input: gst::Buffer, marked: bool, started: Instant) -> Result<(), gst::FlowError> {
        self.follow_controller(&input);
        let live = self.live();
        let is_gap = input.size() == 0 && input.flags().contains(gst::BufferFlags::GAP);
        let worked_on = match live.passes_through() || is_gap {
            true => Err(Failure::Untouched),
            false => self.work_on(&input, live.parameters, marked, started),
        };
        let frame = match worked_on {
            Ok(frame) => frame,
            Err(failure) => {
                self.passed_on(failure)?;
                Inside::Done(input)
            }
        };
        let mut worker = lock(&self.worker);
        let worker = worker.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
        worker.flight.frames.push_back(frame);
        Ok(())
    }

    /// Submits a frame, or takes it through the network.
    fn work_on(
        &self,
        input: &gst::Buffer,
        parameters: Parameters,
        marked: bool,
        started: Instant,
    ) -> Result<Inside, Failure> {
        let mut worker = lock(&self.worker);
        let Some(in_use) = worker.as_mut() else {
            return Err(Failure::Flow(gst::FlowError::NotNegotiated));
        };
        let context = in_use.tenant.context.clone();
        let AtWork {
            enhancer,
            stream,
            flight,
        } = self.at_work(in_use)?;
        let hold = flight.to_hold(enhancer.depth(), stream, self.latency.is_live());
        let latency_changed = self.hold(hold, stream);
        flight.stay = if marked { 0 } else { hold };
        let (backend, on_gpu) = (enhancer.backend_name(), stream.on_gpu);
        let worked_on = if flight.stay > 0 || flight.under_way() > 0 {
            read(input, stream, |frame| {
                without_panic(|| enhancer.submit(frame, parameters))
            })
            .map(|()| (Inside::UnderWay(input.clone(), parameters.ratio), None))
        } else {
            let done = if on_gpu {
                self.on_gpu(enhancer, context, stream, input, parameters)
            } else {
                self.on_host(enhancer, stream, input, parameters)
            };
            if done.is_err() {
                self.settle(enhancer, 0);
            }
            done.map(|(output, report)| (Inside::Done(output), Some(report)))
        };
        drop(worker);
        if latency_changed {
            self.tell_latency();
        }
        if self.note_backend(backend) && on_gpu {
            // Memory of another kind may be taken from here on.
            self.obj().reconfigure_sink();
        }
        let (frame, report) = worked_on?;
        if let Some(report) = report {
            self.account_since(started, report, parameters.ratio);
        }
        Ok(frame)
    }

    /// The oldest frame, if its turn has come, or if `all` are to go.
    pub(super) fn give_out(&self, all: bool, started: Instant) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let mut worker = lock(&self.worker);
        let Some(Worker {
            tenant,
            stream: Some(stream),
            flight,
            ..
        }) = worker.as_mut()
        else {
            return Ok(None);
        };
        let next = if all { flight.frames.pop_front() } else { flight.next() };
        let (input, ratio) = match next {
            None => return Ok(None),
            Some(Inside::Done(output)) => return Ok(Some(output)),
            Some(Inside::UnderWay(input, ratio)) => (input, ratio),
        };
        let enhancer = &mut tenant.enhancer;
        let collected = self.write(&input, stream, |out| without_panic(|| enhancer.collect(out)));
        if collected.is_err() {
            self.settle(enhancer, flight.under_way());
        }
        drop(worker);
        match collected {
            Ok((output, report)) => {
                self.account_since(started, report, ratio);
                Ok(Some(output))
            }
            Err(failure) => {
                self.passed_on(failure)?;
                Ok(Some(input))
            }
        }
    }

    /// Sends on all frames that are inside, before whatever comes next.
    pub(super) fn drain(&self) -> Result<(), gst::FlowError> {
        let drained = loop {
            match self.give_out(true, Instant::now()) {
                Ok(None) => break Ok(()),
                Ok(Some(output)) => {
                    if let Err(error) = self.obj().src_pad().push(output) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        if drained.is_err() {
            // Nobody takes the others.
            self.forget();
        }
        drained
    }

    /// As [`drain`](Self::drain), where the stream's end is for the next frame to find.
    pub(super) fn drain_before(&self, what: &str) {
        if let Err(error) = self.drain() {
            gst::debug!(CAT, imp = self, "frames before {what} are dropped: {error}");
        }
    }

    /// Drops all frames that are inside; the enhancer is as if they had not come.
    pub(super) fn forget(&self) {
        if let Some(worker) = lock(&self.worker).as_mut() {
            worker.flight.frames.clear();
            self.settle(&mut worker.tenant.enhancer, 0);
        }
    }

    /// Has the enhancer forget its oldest frames down to that number: those whose turn is over.
    fn settle(&self, enhancer: &mut Enhancer, frames: usize) {
        for _ in frames..enhancer.pending() {
            if let Err(error) = without_panic(|| enhancer.discard()) {
                gst::debug!(CAT, imp = self, "a frame under way is given up: {error}");
            }
        }
    }

    /// Settles how long frames of a new stream stay; true if the pipeline has to ask for the latency again.
    pub(super) fn plan(&self, worker: &mut Worker, stream: &Stream) -> bool {
        let depth = worker.tenant.enhancer.depth();
        self.hold(worker.flight.to_hold(depth, stream, self.latency.is_live()), stream)
    }

    fn hold(&self, frames: usize, stream: &Stream) -> bool {
        let time = stream.frame_time().unwrap_or_default() * frames as u64;
        self.latency.hold(time)
    }

    /// Adds a frame to the statistics with the time that the element spent on it since `started`.
    fn account_since(&self, started: Instant, report: Report, ratio: f32) {
        let total = started.elapsed();
        self.account(Report { total, ..report }, ratio);
    }

    /// An empty buffer of the pool with the metadata of `input`.
    fn output(&self, input: &gst::Buffer) -> Result<gst::Buffer, Failure> {
        match self.parent_prepare_output_buffer(InputBuffer::Readable(input)) {
            Ok(PrepareOutputBufferSuccess::Buffer(output)) => Ok(output),
            Ok(_) => Err(Failure::Flow(gst::FlowError::Error)),
            Err(error) => Err(Failure::Flow(error)),
        }
    }

    /// Has `work` write a frame in system memory, in a buffer with the metadata of `input`.
    fn write(
        &self,
        input: &gst::Buffer,
        stream: &Stream,
        work: impl FnOnce(&mut FrameMut<'_>) -> uretinex::Result<Report>,
    ) -> Result<(gst::Buffer, Report), Failure> {
        let mut output = self.output(input)?;
        let buffer = output.make_mut();
        let layout = Layout::of(buffer, &stream.info)?;
        let mut map = buffer.map_writable().map_err(inaccessible)?;
        let report = work(&mut layout.frame_mut(&mut map, stream.spec)?)?;
        drop(map);
        Ok((output, report))
    }

    /// Enhances a frame in system memory.
    fn on_host(
        &self,
        enhancer: &mut Enhancer,
        stream: &Stream,
        input: &gst::Buffer,
        parameters: Parameters,
    ) -> Result<(gst::Buffer, Report), Failure> {
        read(input, stream, |frame| {
            self.write(input, stream, |out| {
                without_panic(|| enhancer.process(frame, out, parameters))
            })
        })
    }

    /// Enhances a frame in CUDA memory.
    fn on_gpu(
        &self,
        enhancer: &mut Enhancer,
        context: Option<CudaContext>,
        stream: &Stream,
        input: &gst::Buffer,
        parameters: Parameters,
    ) -> Result<(gst::Buffer, Report), Failure> {
        let context = context.ok_or_else(device::no_context)?;
        let mut output = self.output(input)?;
        let report = device::between(&context, (input, output.make_mut()), stream, |from, to, after| {
            without_panic(|| enhancer.process_device(from, to, after, parameters))
        })?;
        Ok((output, report))
    }
}

fn inaccessible(error: glib::BoolError) -> Error {
    Error::new(ErrorKind::InvalidFrame, format!("no access to the buffer: {error}"))
}

/// Has `work` read the frame in a buffer in system memory.
fn read<T, E: Into<Failure>>(
    input: &gst::Buffer,
    stream: &Stream,
    work: impl FnOnce(&Frame<'_>) -> Result<T, E>,
) -> Result<T, Failure> {
    let map = input.map_readable().map_err(inaccessible)?;
    let frame = Layout::of(input, &stream.info)?.frame(&map, stream.spec)?;
    work(&frame).map_err(Into::into)
}

#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;
