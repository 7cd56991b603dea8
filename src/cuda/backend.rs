//! The stages on an NVIDIA GPU, and a frame as one graph of them.
//!
//! Everything of a frame size is allocated in `prepare`. Between frames of system memory, three streams overlap:
//! uploads, the graph, downloads. The planes of the networks are of one frame at a time; what each of the frames in
//! flight has of its own is in `Slot`.
//!
//! Inside the graph, Illumination of a round runs on a second stream beside Restoration: it waits for Q, and the
//! first stream waits for its L.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Update;
use super::device::{Device, Entered, StreamHandle};
use super::engines::EngineJob;
use super::frame::{DeviceFrameBuffer, GpuFigures, copy_bandwidth};
use super::graph::{Graph, Stream};
use super::launch::{Storage, Surface};
use super::networks::Source;
use super::state::{DEPTH, State, Step, Streams};
use super::values::decode;
use crate::backend::{Backend, Geometry, Quantity, Replay};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{DeviceFrame, Frame, FrameMut, FrameSpec, RawStream};
use crate::identity::unprepared;
use crate::pack::{Precision, Precisions};
use crate::stage::{Parameters, Report, Stage};

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

    /// The oldest frame under way, which is so no more: the state, with the context current, and its slot.
    fn oldest(&mut self) -> Result<(Entered<'_>, &State, usize)> {
        let state = self.state.as_mut().ok_or_else(unprepared)?;
        let number = state.oldest_done()?;
        Ok((Entered::new(&self.device)?, state, number))
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

impl Backend for TensorRtBackend {
    fn name(&self) -> &'static str {
        "tensorrt"
    }

    fn precisions(&self) -> Precisions {
        self.state.as_ref().map_or(Precision::Fp32.into(), |s| s.precisions)
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
        let (_entered, state, number) = self.oldest()?;
        state.slots[number].collect(output)?;
        let (luma_in, luma_out) = state.lumas(number)?;
        Ok(Report {
            total: state.slots[number].submitted.elapsed(),
            luma_in,
            luma_out,
            ..Report::default()
        })
    }

    fn discard(&mut self) -> Result<()> {
        let (_entered, state, number) = self.oldest()?;
        state.slots[number].finish()
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
