//! Everything of one frame size on a GPU: the memory, the networks bound to it, and how a stage is put on its stream.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::device::{Device, Entered, Touches};
use super::graph::{Event, Graph, Stream};
use super::launch::{Launch, Settings, Storage, Surface};
use super::memory::{Buffer, Pinned};
use super::networks::{Inference, Source, index};
use super::slot::Slot;
use super::timings::Timings;
use super::{Compose, Ingest, Update};
use crate::backend::{Geometry, none_pending};
use crate::colour::luma_mean;
use crate::error::{Error, ErrorKind, Result};
use crate::identity::unprepared;
use crate::pack::{Precisions, Subnetwork};
use crate::stage::Parameters;

/// Frames that can be under way at once.
pub(super) const DEPTH: usize = 2;

/// The streams of a backend.
pub(super) struct Streams {
    pub upload: Arc<Stream>,
    pub compute: Arc<Stream>,
    /// Illumination's, beside Restoration.
    pub side: Arc<Stream>,
    pub download: Arc<Stream>,
}

/// Everything of one frame size.
pub(super) struct State {
    pub geometry: Geometry,
    pub storage: Storage,
    /// What each network works in.
    pub precisions: Precisions,
    pub networks: Networks,
    pub planes: PlaneBuffers,
    pub settings: Buffer,
    /// What the block of settings holds, where stages are run one by one.
    pub current: Settings,
    pub slots: [Slot; DEPTH],
    /// The slot of the oldest frame under way, and how many there are.
    pub oldest: usize,
    pub pending: usize,
    pub q_ready: Event,
    pub l_ready: Event,
    /// Planes on their way to `read`.
    pub transfer: Pinned,
    /// The stages between ingest and compose as they were recorded, and the graph of the whole frame.
    pub script: Vec<Step>,
    pub graph: Option<Graph>,
    /// Whether stages could not be captured: they are then issued one after the other for every frame.
    pub uncaptured: bool,
    /// What addresses and strides of the recorded frames are multiples of; 0 while nothing is recorded.
    pub alignment: u32,
    /// The same of the recording under way; 0 while there is none.
    pub recording: u32,
    pub timings: Timings,
    pub device: Arc<dyn Device>,
}

/// A stage between ingest and compose.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Decompose,
    Update { gamma: f32, lambda: f32 },
    Restore,
    Illuminate,
    Adjust,
}

/// The tensors between the networks, each `[channels, h, w]` of the padded size.
pub(super) struct PlaneBuffers {
    /// I, 32 bits.
    pub image: Buffer,
    /// I in the networks' type, where that is another.
    pub image_half: Option<Buffer>,
    pub p: Buffer,
    pub q: Buffer,
    pub r: Buffer,
    pub l: Buffer,
    pub adjusted: Buffer,
    /// The guided filter's, where the networks see a reduced copy.
    pub guide: Option<Buffer>,
}

/// The four contexts and the memory that they work in: one piece for those that follow each other, one for
/// Illumination, which runs beside Restoration.
pub(super) struct Networks {
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

impl State {
    pub fn new(
        geometry: &Geometry,
        source: &mut dyn Source,
        streams: &Streams,
        device: &Arc<dyn Device>,
    ) -> Result<Self> {
        let loaded = source.load(geometry.padded)?;
        let (storage, precisions) = (loaded.storage(), loaded.precisions);
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
            precisions,
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
        // Each on the stream that it will be captured on.
        let side = &streams.side;
        for (stream, beside) in [(compute, false), (side, true)] {
            let mut networks = Subnetwork::ALL
                .into_iter()
                .filter(|which| (*which == Subnetwork::Illumination) == beside);
            let issued = networks.try_for_each(|which| state.enqueue(which, stream));
            // Also before an error drops the contexts, as what was issued may still run.
            stream.drain().and(issued)?;
        }
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

    pub fn launch_ingest(&self, alignment: u32, stream: &Stream) -> Result<()> {
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

    pub fn launch_compose(&self, alignment: u32, stream: &Stream) -> Result<()> {
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
    pub fn issue(&mut self, step: Step, streams: &Streams, alone: bool) -> Result<()> {
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
    pub fn issue_script(&mut self, streams: &Streams) -> Result<()> {
        (0..self.script.len()).try_for_each(|i| self.issue(self.script[i], streams, false))
    }

    /// The block of settings for a frame.
    pub fn block(&self, parameters: Parameters, (input, output): (Surface, Surface)) -> Settings {
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
    pub fn replay(
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
    pub fn lumas(&self, slot: usize) -> Result<(f32, f32)> {
        let (input, output) = self.slots[slot].results()?;
        let spec = &self.geometry.spec;
        let (width, height) = self.geometry.working;
        Ok((
            luma_mean(input, width * height),
            luma_mean(output, spec.width * spec.height),
        ))
    }

    /// Sends `self.current` anew, when nothing is under way.
    pub fn resend(&mut self, compute: &Stream) -> Result<()> {
        compute.drain()?;
        self.slots[0].send_settings(&self.current, &self.settings, compute)
    }

    /// The slot of the oldest frame under way, which is so no more.
    pub fn oldest_done(&mut self) -> Result<usize> {
        if self.pending == 0 {
            return Err(none_pending());
        }
        let number = self.oldest;
        self.oldest = (number + 1) % DEPTH;
        self.pending -= 1;
        Ok(number)
    }

    pub fn refuse_pending(&self) -> Result<()> {
        match self.pending {
            0 => Ok(()),
            n => Err(Error::new(
                ErrorKind::InvalidOption,
                format!("{n} submitted frames are under way: collect them first"),
            )),
        }
    }
}
