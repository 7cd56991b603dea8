//! The stages on an NVIDIA GPU, and a frame as one graph of them.
//!
//! Everything of a frame size is allocated in `prepare`. Between frames of system memory, three streams overlap:
//! uploads, the graph, downloads. The planes of the networks are of one frame at a time; what each of the frames in
//! flight has of its own is in `Slot`.
//!
//! Inside the graph, Illumination of a round runs on a second stream beside Restoration: it waits for Q, and the
//! first stream waits for its L.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::device::{Device, Entered, StreamHandle, Touches};
use super::engines::EngineJob;
use super::frame::{DeviceFrameBuffer, GpuFigures, copy_bandwidth};
use super::graph::{Event, Graph, Stream};
use super::launch::{Launch, Settings, Storage, Surface};
use super::memory::{Buffer, Pinned};
use super::networks::{Inference, Source, index};
use super::slot::Slot;
use super::values::decode;
use super::{Compose, Ingest, Update};
use crate::backend::{Backend, Geometry, Quantity, Replay};
use crate::colour::luma_mean;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{DeviceFrame, Frame, FrameMut, FrameSpec, RawStream};
use crate::identity::unprepared;
use crate::pack::{Precision, Subnetwork};
use crate::stage::{Parameters, Report, Stage};

/// Frames that can be under way at once.
const DEPTH: usize = 2;
/// Rows of staging memory are aligned to more than any kernel asks for.
const STAGED: u32 = 16;

/// URetinex-Net on an NVIDIA GPU. Engines are shared by all backends of one pack and context.
pub(crate) struct TensorRtBackend {
    source: Box<dyn Source>,
    state: Option<State>,
    streams: Streams,
    device: Arc<dyn Device>,
    timed: bool,
}

struct Streams {
    upload: Arc<Stream>,
    compute: Arc<Stream>,
    /// Illumination's, beside Restoration.
    side: Arc<Stream>,
    download: Arc<Stream>,
}

/// Everything of one frame size.
struct State {
    geometry: Geometry,
    storage: Storage,
    networks: Networks,
    planes: PlaneBuffers,
    settings: Buffer,
    /// What the block of settings holds, where stages are run one by one.
    current: Settings,
    slots: [Slot; DEPTH],
    /// The slot of the oldest frame under way, and how many there are.
    oldest: usize,
    pending: usize,
    q_ready: Event,
    l_ready: Event,
    /// Planes on their way to `read`.
    transfer: Pinned,
    /// The stages between ingest and compose as they were recorded, and the graph of the whole frame.
    script: Vec<Step>,
    graph: Option<Graph>,
    /// Whether stages could not be captured: they are then issued one after the other for every frame.
    uncaptured: bool,
    /// What addresses and strides of the recorded frames are multiples of; 0 while nothing is recorded.
    alignment: u32,
    /// The same of the recording under way; 0 while there is none.
    recording: u32,
    timings: Timings,
    device: Arc<dyn Device>,
}

/// A stage between ingest and compose.
#[derive(Debug, Clone, Copy)]
enum Step {
    Decompose,
    Update { gamma: f32, lambda: f32 },
    Restore,
    Illuminate,
    Adjust,
}

/// The tensors between the networks, each `[channels, h, w]` of the padded size.
struct PlaneBuffers {
    /// I, 32 bits.
    image: Buffer,
    /// I in the networks' type, where that is another.
    image_half: Option<Buffer>,
    p: Buffer,
    q: Buffer,
    r: Buffer,
    l: Buffer,
    adjusted: Buffer,
    /// The guided filter's, where the networks see a reduced copy.
    guide: Option<Buffer>,
}

/// The four contexts and the memory that they work in: one piece for those that follow each other, one for
/// Illumination, which runs beside Restoration.
struct Networks {
    contexts: Vec<Box<dyn Inference>>,
    scratch: Vec<Buffer>,
    device: Arc<dyn Device>,
}

impl Drop for Networks {
    fn drop(&mut self) {
        // Contexts go with their GPU current.
        let _entered = Entered::new(&self.device);
        self.contexts.clear();
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Copies from and to page-locked memory end before that memory goes back.
        if let Ok(_entered) = Entered::new(&self.device) {
            for slot in &self.slots {
                let _ = slot.finish();
            }
        }
    }
}

/// Times of stages by events, for when they are run one by one.
#[derive(Default)]
struct Timings {
    spans: Vec<(Stage, Event, Event)>,
    used: usize,
}

impl Timings {
    /// Marks where a stage begins; gives the number for [`end`](Self::end).
    fn start(&mut self, stage: Stage, stream: &Stream) -> Result<usize> {
        if self.used == self.spans.len() {
            let event = || Event::new(stream.device(), true);
            self.spans.push((stage, event()?, event()?));
        }
        let number = self.used;
        self.used += 1;
        self.spans[number].0 = stage;
        self.spans[number].1.record(stream)?;
        Ok(number)
    }

    fn end(&self, number: usize, stream: &Stream) -> Result<()> {
        self.spans[number].2.record(stream)
    }

    /// The sum for each stage since the last call; all of it has happened.
    fn take(&mut self) -> Result<[Duration; Stage::ALL.len()]> {
        let mut times = [Duration::ZERO; Stage::ALL.len()];
        for (stage, start, end) in &self.spans[..std::mem::take(&mut self.used)] {
            times[*stage as usize] += Duration::from_secs_f32(end.since(start)?.max(0.0) * 1e-3);
        }
        Ok(times)
    }
}

impl TensorRtBackend {
    /// A backend on `device` with the networks of `source`.
    ///
    /// # Errors
    /// If the device gives no streams.
    pub fn new(device: Arc<dyn Device>, source: Box<dyn Source>) -> Result<Self> {
        let stream = || Stream::new(&device);
        Ok(Self {
            streams: Streams {
                upload: stream()?,
                compute: stream()?,
                side: stream()?,
                download: stream()?,
            },
            source,
            state: None,
            device,
            timed: false,
        })
    }

    /// What a call works on, with the context current for as long as it lives.
    fn parts(&mut self) -> Result<Parts<'_>> {
        Ok(Parts {
            _entered: Entered::new(&self.device)?,
            state: self.state.as_mut().ok_or_else(unprepared)?,
            streams: &self.streams,
            timed: self.timed,
        })
    }

    /// One stage of those between ingest and compose: recorded or issued.
    fn step(&mut self, stage: Stage, step: Step) -> Result<()> {
        let mut parts = self.parts()?;
        let Parts {
            state, streams, timed, ..
        } = &mut parts;
        if state.recording == 0 {
            let alone = *timed;
            return parts.stage(stage, |state, streams| state.issue(step, streams, alone));
        }
        state.script.push(step);
        if state.uncaptured {
            return Ok(());
        }
        state.issue(step, streams, false)
    }
}

/// The parts of a backend that is prepared, on the GPU's context.
struct Parts<'a> {
    _entered: Entered<'a>,
    state: &'a mut State,
    streams: &'a Streams,
    timed: bool,
}

impl Parts<'_> {
    /// Issues a stage, and measures it if that is asked for.
    fn stage(&mut self, stage: Stage, work: impl FnOnce(&mut State, &Streams) -> Result<()>) -> Result<()> {
        let Self { state, streams, .. } = self;
        if !self.timed {
            return work(state, streams);
        }
        let number = state.timings.start(stage, &streams.compute)?;
        work(state, streams)?;
        state.timings.end(number, &streams.compute)
    }
}

impl State {
    fn new(geometry: &Geometry, source: &mut dyn Source, streams: &Streams, device: &Arc<dyn Device>) -> Result<Self> {
        let loaded = source.load(geometry.padded)?;
        let storage = loaded.storage;
        let compute = &streams.compute;
        let pixels = geometry.padded.0 * geometry.padded.1;
        let plane = |channels: usize| Buffer::new(compute, channels * pixels * storage.bytes());
        let guide = Compose::scratch_bytes(geometry);
        let planes = PlaneBuffers {
            image: Buffer::new(compute, 3 * pixels * Storage::F32.bytes())?,
            image_half: match storage {
                Storage::F32 => None,
                Storage::F16 => Some(plane(3)?),
            },
            p: plane(3)?,
            q: plane(1)?,
            r: plane(3)?,
            l: plane(1)?,
            adjusted: plane(1)?,
            guide: match guide {
                0 => None,
                bytes => Some(Buffer::new(compute, bytes)?),
            },
        };
        let slot = || Slot::new(device, compute, &geometry.spec);
        let mut state = Self {
            geometry: *geometry,
            storage,
            networks: Networks {
                contexts: loaded.contexts,
                scratch: Vec::new(),
                device: device.clone(),
            },
            settings: Buffer::new(compute, size_of::<Settings>())?,
            current: Settings::default(),
            slots: [slot()?, slot()?],
            oldest: 0,
            pending: 0,
            q_ready: Event::new(device, false)?,
            l_ready: Event::new(device, false)?,
            transfer: Pinned::new(device, planes.image.bytes())?,
            planes,
            script: Vec::new(),
            graph: None,
            uncaptured: false,
            alignment: 0,
            recording: 0,
            timings: Timings::default(),
            device: device.clone(),
        };
        state.bind()?;
        state.lend(compute)?;
        // TensorRT does the rest of its set-up at the first run of a size, which is not allowed inside a capture.
        for which in Subnetwork::ALL {
            state.enqueue(which, compute)?;
        }
        compute.drain()?;
        Ok(state)
    }

    /// Where a tensor of a subnetwork is.
    fn tensor(&self, name: &str) -> u64 {
        let planes = &self.planes;
        match name {
            "image" => planes.image_half.as_ref().unwrap_or(&planes.image).address(),
            "p" => planes.p.address(),
            "q" => planes.q.address(),
            "r" => planes.r.address(),
            "l" => planes.l.address(),
            "l_adjusted" => planes.adjusted.address(),
            // The block of settings begins with it.
            _ => self.settings.address(),
        }
    }

    /// Shapes and addresses of all tensors, once for the size.
    fn bind(&mut self) -> Result<()> {
        let (width, height) = self.geometry.padded;
        for which in Subnetwork::ALL {
            for &(name, channels) in which.inputs() {
                let shape = match name {
                    "ratio" => [1, 1, 1, 1],
                    _ => [1, channels, height, width],
                };
                self.networks.contexts[index(which)].shape(name, shape)?;
            }
            for &(name, _) in which.inputs().iter().chain(which.outputs()) {
                let address = self.tensor(name);
                self.networks.contexts[index(which)].address(name, address)?;
            }
        }
        Ok(())
    }

    /// Memory for the networks to work in.
    fn lend(&mut self, compute: &Arc<Stream>) -> Result<()> {
        let mut needed = [0; 4];
        for which in Subnetwork::ALL {
            needed[index(which)] = self.networks.contexts[index(which)].scratch_bytes()?;
        }
        let beside = needed[index(Subnetwork::Illumination)];
        let others = Subnetwork::ALL.into_iter().filter(|w| *w != Subnetwork::Illumination);
        let in_turn = others.map(|w| needed[index(w)]).max().unwrap_or(0);
        // A context that needs none still wants an address.
        for bytes in [in_turn, beside] {
            self.networks.scratch.push(Buffer::new(compute, bytes.max(256))?);
        }
        for which in Subnetwork::ALL {
            let scratch = &self.networks.scratch[usize::from(which == Subnetwork::Illumination)];
            // SAFETY: `Networks` owns both; users of one piece follow each other on one stream.
            unsafe { self.networks.contexts[index(which)].lend(scratch.address(), scratch.bytes())? };
        }
        Ok(())
    }

    /// Runs a subnetwork.
    fn enqueue(&mut self, which: Subnetwork, stream: &Stream) -> Result<()> {
        let scratch = self.networks.scratch[usize::from(which == Subnetwork::Illumination)].address();
        let mut reads = [0; 2];
        let mut writes = [0, 0, scratch];
        for (slot, &(name, _)) in reads.iter_mut().zip(which.inputs()) {
            *slot = self.tensor(name);
        }
        for (slot, &(name, _)) in writes.iter_mut().zip(which.outputs()) {
            *slot = self.tensor(name);
        }
        let touches = Touches {
            reads: &reads[..which.inputs().len()],
            writes: &writes,
            ..Touches::default()
        };
        self.device.foreign(which.name(), stream.handle(), touches);
        // SAFETY: `bind` has given it every tensor, in buffers of the padded size that `self` owns.
        unsafe { self.networks.contexts[index(which)].enqueue(stream.handle()) }
    }

    /// Runs kernels one after the other.
    fn launch(&self, launches: &[Launch], stream: &Stream, touches: Touches<'_>) -> Result<()> {
        for launch in launches {
            // SAFETY: made below by the launchers, for buffers of the prepared geometry that `self` owns.
            unsafe { self.device.launch(stream.handle(), launch, touches)? };
        }
        Ok(())
    }

    fn launch_ingest(&self, alignment: u32, stream: &Stream) -> Result<()> {
        let planes = &self.planes;
        let image_half = planes.image_half.as_ref().map_or(0, Buffer::address);
        let ingest = Ingest {
            settings: self.settings.address(),
            image: planes.image.address(),
            image_half,
        };
        let touches = Touches {
            reads: &[self.settings.address()],
            writes: &[ingest.image, image_half, self.settings.address()],
            input_of: self.settings.address(),
            output_of: 0,
        };
        self.launch(&[ingest.launch(&self.geometry, alignment)], stream, touches)
    }

    fn launch_update(&self, gamma: f32, lambda: f32, stream: &Stream) -> Result<()> {
        let planes = &self.planes;
        let update = Update {
            image: planes.image.address(),
            r: planes.r.address(),
            l: planes.l.address(),
            p: planes.p.address(),
            q: planes.q.address(),
        };
        let touches = Touches {
            reads: &[update.image, update.r, update.l, update.q],
            writes: &[update.p, update.q],
            ..Touches::default()
        };
        let pixels = self.geometry.padded.0 * self.geometry.padded.1;
        self.launch(&[update.launch(self.storage, pixels, gamma, lambda)], stream, touches)
    }

    fn launch_compose(&self, alignment: u32, stream: &Stream) -> Result<()> {
        let planes = &self.planes;
        let compose = Compose {
            settings: self.settings.address(),
            image: planes.image.address(),
            r: planes.r.address(),
            adjusted: planes.adjusted.address(),
            scratch: planes.guide.as_ref().map_or(0, Buffer::address),
        };
        let touches = Touches {
            reads: &[compose.settings, compose.image, compose.r, compose.adjusted],
            writes: &[compose.settings, compose.scratch],
            input_of: compose.settings,
            output_of: compose.settings,
        };
        let launches = compose.launches(self.storage, &self.geometry, alignment);
        self.launch(&launches, stream, touches)
    }

    /// Puts a stage on its stream. Illumination runs beside Restoration, but where times are taken: they mean something
    /// only if it runs `alone`.
    fn issue(&mut self, step: Step, streams: &Streams, alone: bool) -> Result<()> {
        let compute = &streams.compute;
        match step {
            Step::Decompose => {
                self.enqueue(Subnetwork::Decomposition, compute)?;
                self.q_ready.record(compute)
            }
            Step::Update { gamma, lambda } => {
                self.launch_update(gamma, lambda, compute)?;
                self.q_ready.record(compute)
            }
            Step::Restore => self.enqueue(Subnetwork::Restoration, compute),
            Step::Illuminate if alone => self.enqueue(Subnetwork::Illumination, compute),
            Step::Illuminate => {
                streams.side.wait(&self.q_ready)?;
                self.enqueue(Subnetwork::Illumination, &streams.side)?;
                self.l_ready.record(&streams.side)?;
                compute.wait(&self.l_ready)
            }
            Step::Adjust => self.enqueue(Subnetwork::Adjustment, compute),
        }
    }

    /// The recorded stages between ingest and compose, one after the other.
    fn issue_script(&mut self, streams: &Streams) -> Result<()> {
        (0..self.script.len()).try_for_each(|i| self.issue(self.script[i], streams, false))
    }

    /// The block of settings for a frame.
    fn block(&self, parameters: Parameters, (input, output): (Surface, Surface)) -> Settings {
        Settings {
            ratio: self.storage.bits(parameters.ratio),
            strength: parameters.strength,
            luma_in: 0,
            luma_out: 0,
            input,
            output,
        }
    }

    /// One frame between `input` and `output`, from the recording. `slot` has no frame under way.
    fn replay(
        &mut self,
        slot: usize,
        parameters: Parameters,
        surfaces: (Surface, Surface),
        streams: &Streams,
    ) -> Result<()> {
        if self.alignment == 0 {
            return Err(unprepared());
        }
        let compute = &streams.compute;
        let block = self.block(parameters, surfaces);
        self.slots[slot].send_settings(&block, &self.settings, compute)?;
        match &self.graph {
            Some(graph) => graph.launch(compute)?,
            None => {
                self.launch_ingest(self.alignment, compute)?;
                self.issue_script(streams)?;
                self.launch_compose(self.alignment, compute)?;
            }
        }
        self.slots[slot].request_results(&self.settings, compute)
    }

    /// Mean lumas of the frame in `slot`, once it has been computed.
    fn lumas(&self, slot: usize) -> Result<(f32, f32)> {
        let (input, output) = self.slots[slot].results()?;
        let spec = &self.geometry.spec;
        let (width, height) = self.geometry.working;
        Ok((
            luma_mean(input, width * height),
            luma_mean(output, spec.width * spec.height),
        ))
    }

    /// Sends `self.current` anew, when nothing is under way.
    fn resend(&mut self, compute: &Stream) -> Result<()> {
        compute.drain()?;
        self.slots[0].send_settings(&self.current, &self.settings, compute)
    }

    fn refuse_pending(&self) -> Result<()> {
        match self.pending {
            0 => Ok(()),
            n => Err(Error::new(
                ErrorKind::InvalidOption,
                format!("{n} submitted frames are under way: collect them first"),
            )),
        }
    }
}

impl Backend for TensorRtBackend {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn precision(&self) -> Precision {
        match self.state.as_ref().map(|s| s.storage) {
            Some(Storage::F16) => Precision::Fp16,
            _ => Precision::Fp32,
        }
    }

    fn prepare(&mut self, geometry: &Geometry) -> Result<()> {
        let _entered = Entered::new(&self.device)?;
        // The old size's memory goes back before the new one's is taken.
        self.state = None;
        self.state = Some(State::new(geometry, &mut *self.source, &self.streams, &self.device)?);
        Ok(())
    }

    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32> {
        let mut parts = self.parts()?;
        let Parts { state, streams, .. } = &mut parts;
        state.refuse_pending()?;
        state.timings.used = 0;
        state.slots[0].upload(input, &streams.upload, &streams.compute)?;
        let surfaces = state.slots[0].surfaces();
        state.current = state.block(Parameters::default(), surfaces);
        state.resend(&streams.compute)?;
        parts.stage(Stage::Ingest, |state, streams| {
            state.launch_ingest(STAGED, &streams.compute)
        })?;
        let Parts { state, streams, .. } = parts;
        state.slots[0].request_results(&state.settings, &streams.compute)?;
        Ok(state.lumas(0)?.0)
    }

    fn decompose(&mut self) -> Result<()> {
        self.step(Stage::Decompose, Step::Decompose)
    }

    fn update(&mut self, gamma: f32, lambda: f32) -> Result<()> {
        self.step(Stage::Update, Step::Update { gamma, lambda })
    }

    fn restore(&mut self) -> Result<()> {
        self.step(Stage::Restore, Step::Restore)
    }

    fn illuminate(&mut self) -> Result<()> {
        self.step(Stage::Illuminate, Step::Illuminate)
    }

    fn adjust(&mut self, ratio: f32) -> Result<()> {
        let Parts {
            _entered,
            state,
            streams,
            ..
        } = self.parts()?;
        if state.recording == 0 {
            state.current.ratio = state.storage.bits(ratio);
            state.resend(&streams.compute)?;
        }
        drop(_entered);
        self.step(Stage::Adjust, Step::Adjust)
    }

    fn compose(&mut self, _input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32> {
        let mut parts = self.parts()?;
        let Parts { state, streams, .. } = &mut parts;
        state.current.strength = strength;
        state.resend(&streams.compute)?;
        parts.stage(Stage::Compose, |state, streams| {
            state.launch_compose(STAGED, &streams.compute)
        })?;
        let Parts { state, streams, .. } = parts;
        let slot = &mut state.slots[0];
        slot.request_results(&state.settings, &streams.compute)?;
        slot.download(&streams.download)?;
        slot.collect(output)?;
        Ok(state.lumas(0)?.1)
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        let Parts {
            _entered,
            state,
            streams,
            ..
        } = self.parts()?;
        let planes = &state.planes;
        let (buffer, channels, storage) = match quantity {
            Quantity::Image => (&planes.image, 3, Storage::F32),
            Quantity::P => (&planes.p, 3, state.storage),
            Quantity::Q => (&planes.q, 1, state.storage),
            Quantity::R => (&planes.r, 3, state.storage),
            Quantity::L => (&planes.l, 1, state.storage),
            Quantity::Adjusted => (&planes.adjusted, 1, state.storage),
        };
        buffer.download(&streams.compute, &mut state.transfer)?;
        streams.compute.drain()?;
        Ok(crop(state.transfer.read(), storage, channels, &state.geometry))
    }

    fn time_stages(&mut self, on: bool) {
        self.timed = on;
    }

    fn stage_times(&mut self) -> Result<Option<[Duration; Stage::ALL.len()]>> {
        let Parts {
            _entered,
            state,
            streams,
            ..
        } = self.parts()?;
        streams.compute.drain()?;
        state.timings.take().map(Some)
    }

    fn replay(&mut self) -> Option<&mut dyn Replay> {
        Some(self)
    }
}

impl Replay for TensorRtBackend {
    fn depth(&self) -> usize {
        DEPTH
    }

    fn engine_job(&self, geometry: &Geometry) -> Option<EngineJob> {
        self.source.job(geometry.padded)
    }

    fn pending(&self) -> usize {
        self.state.as_ref().map_or(0, |s| s.pending)
    }

    fn alignment(&self) -> u32 {
        self.state.as_ref().map_or(0, |s| s.alignment)
    }

    fn begin(&mut self, alignment: u32) -> Result<()> {
        let Parts {
            _entered,
            state,
            streams,
            ..
        } = self.parts()?;
        state.refuse_pending()?;
        state.graph = None;
        state.script.clear();
        state.alignment = 0;
        streams.compute.drain()?;
        if state.uncaptured {
            state.recording = alignment;
            return Ok(());
        }
        Graph::begin(&streams.compute)?;
        state.recording = alignment;
        state.launch_ingest(alignment, &streams.compute)
    }

    fn end(&mut self) -> Result<()> {
        let Parts {
            _entered,
            state,
            streams,
            ..
        } = self.parts()?;
        if state.uncaptured {
            // What will be issued for every frame has to work once.
            state.issue_script(streams)?;
            streams.compute.drain()?;
        } else {
            state.launch_compose(state.recording, &streams.compute)?;
            state.graph = Some(Graph::end(&streams.compute)?);
        }
        state.alignment = std::mem::take(&mut state.recording);
        Ok(())
    }

    fn abandon(&mut self, error: &Error) -> bool {
        let Ok(Parts {
            _entered,
            state,
            streams,
            ..
        }) = self.parts()
        else {
            return false;
        };
        state.alignment = 0;
        if std::mem::take(&mut state.recording) == 0 || state.uncaptured {
            return false;
        }
        Graph::abandon(&streams.compute);
        log::warn!("stages are issued one by one for every frame, because they cannot be captured as a graph: {error}");
        state.uncaptured = true;
        true
    }

    fn submit(&mut self, input: &Frame<'_>, parameters: Parameters) -> Result<()> {
        let Parts {
            _entered,
            state,
            streams,
            ..
        } = self.parts()?;
        if state.pending == DEPTH {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("{DEPTH} submitted frames are under way: collect one first"),
            ));
        }
        let number = (state.oldest + state.pending) % DEPTH;
        let slot = &mut state.slots[number];
        slot.submitted = Instant::now();
        slot.upload(input, &streams.upload, &streams.compute)?;
        let surfaces = slot.surfaces();
        state.replay(number, parameters, surfaces, streams)?;
        state.slots[number].download(&streams.download)?;
        state.pending += 1;
        Ok(())
    }

    fn collect(&mut self, output: &mut FrameMut<'_>) -> Result<Report> {
        let Parts { _entered, state, .. } = self.parts()?;
        if state.pending == 0 {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "no submitted frame is under way: submit one first",
            ));
        }
        let number = state.oldest;
        state.oldest = (number + 1) % DEPTH;
        state.pending -= 1;
        state.slots[number].collect(output)?;
        let (luma_in, luma_out) = state.lumas(number)?;
        Ok(Report {
            total: state.slots[number].submitted.elapsed(),
            luma_in,
            luma_out,
            ..Report::default()
        })
    }

    fn device_frame(&self, spec: &FrameSpec) -> Result<DeviceFrameBuffer> {
        DeviceFrameBuffer::new(&self.streams.compute, spec)
    }

    fn process_buffers(
        &mut self,
        input: &DeviceFrameBuffer,
        output: &mut DeviceFrameBuffer,
        parameters: Parameters,
    ) -> Result<Report> {
        let (input, output) = (input.frame(&self.device)?, output.frame(&self.device)?);
        self.process_device(&input, &output, None, parameters)
    }

    fn free_memory(&self) -> Result<u64> {
        let _entered = Entered::new(&self.device)?;
        self.device.free_memory()
    }

    fn figures(&self) -> Result<GpuFigures> {
        let state = self.state.as_ref().ok_or_else(unprepared)?;
        let pixels = state.geometry.padded.0 * state.geometry.padded.1;
        Ok(GpuFigures {
            copy_bandwidth: copy_bandwidth(&self.device)?,
            update_bytes: (Update::bytes_per_pixel(state.storage) * pixels) as u64,
        })
    }

    fn process_device(
        &mut self,
        input: &DeviceFrame,
        output: &DeviceFrame,
        after: Option<RawStream>,
        parameters: Parameters,
    ) -> Result<Report> {
        let started = Instant::now();
        let Parts {
            _entered,
            state,
            streams,
            ..
        } = self.parts()?;
        state.refuse_pending()?;
        if let Some(stream) = after {
            state.slots[0].follow(StreamHandle(stream.handle()), &streams.compute)?;
        }
        state.replay(0, parameters, (input.into(), output.into()), streams)?;
        let (luma_in, luma_out) = state.lumas(0)?;
        Ok(Report {
            total: started.elapsed(),
            luma_in,
            luma_out,
            ..Report::default()
        })
    }
}

impl From<&DeviceFrame> for Surface {
    fn from(frame: &DeviceFrame) -> Self {
        let mut surface = Surface::default();
        for (i, plane) in frame.planes().iter().enumerate() {
            surface.address[i] = plane.address;
            surface.stride[i] = plane.stride as u64;
        }
        surface
    }
}

/// Planes of the padded size as numbers, without the padding.
fn crop(bytes: &[u8], storage: Storage, channels: usize, geometry: &Geometry) -> Vec<f32> {
    let ((width, height), (padded, rows)) = (geometry.working, geometry.padded);
    let mut values = Vec::with_capacity(channels * width * height);
    for row in 0..channels * rows {
        if row % rows < height {
            let row = &bytes[row * padded * storage.bytes()..][..width * storage.bytes()];
            decode(row, storage, &mut values);
        }
    }
    values
}
