//! Frames of one size on a GPU: two pending at a time, each as one graph.
//!
//! Between frames of system memory three streams overlap: uploads, the graph, downloads. The planes of the networks are
//! one frame's at a time; what each pending frame has of its own is in `Slot`. Inside the graph, Illumination of a round
//! runs on a second stream beside Restoration.
//!
//! Frames that stand alone and frames that are fused with the stream's memory have a graph each, of which the second is
//! captured when the first such frame comes. The memory stays on the device from frame to frame.
//!
//! For an automatic ratio a frame in device memory also sends its thumbnail back, after its sums. The caller's meter finds the
//! ratio; if it is far from the frame's, the last two steps are done anew.
//!
//! Every call that fails waits for what it has issued, so that the caller's memory is its own again.

use std::sync::Arc;

use crate::backend::{DeviceId, Executor, MemoryFigures, Meter, none_pending, pending};
use crate::cpu::{NOISE_BINS, luma_mean, most_frames, noise_deviation};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{DeviceFrame, Frame, FrameMut, RawStream};
use crate::gpu::driver::{Device, Entered, Graph, Pinned, StreamHandle};
use crate::gpu::kernels::{Settings, Storage, Surface, Update};
use crate::gpu::pipeline::buffer::{copy_bandwidth, device_id};
use crate::gpu::pipeline::slot::Slot;
use crate::gpu::pipeline::thumbnail::Thumbnail;
use crate::gpu::pipeline::timings::Timings;
use crate::gpu::pipeline::workspace::{Streams, Workspace};
use crate::pack::Precisions;
use crate::stages::{Parameters, Plan, Quantity, Report, Stage, StageTimes, Stages, Step, steps_through_time, unfold};

/// Frames that can be pending at once.
const DEPTH: usize = 2;

/// Rows and planes of the frames in staging memory are aligned to at least this, in bytes.
const STAGED: u32 = 16;

/// Networks, planes and slots for frames of one size.
pub(crate) struct GpuExecutor {
    workspace: Workspace,
    slots: [Slot; DEPTH],
    /// The slot of the oldest pending frame, and how many there are.
    oldest: usize,
    pending: usize,
    alone: Way,
    through_time: Way,
    /// Whether the memory holds the picture of the frame before, or will when what was issued is done.
    filled: bool,
    /// What the block of settings holds where steps are executed one by one.
    current: Settings,
    cut: bool,
    /// The stream's noise as the last fused frame left it.
    noise: Option<[f32; NOISE_BINS]>,
    timings: Timings,
    thumbnail: Thumbnail,
    /// Planes on their way to `read`.
    transfer: Pinned,
    streams: Arc<Streams>,
    device: Arc<dyn Device>,
}

/// A frame's steps, and the frame as a graph.
struct Way {
    steps: Arc<[Step]>,
    /// `None` where steps cannot be captured: they are then issued one after the other for every frame.
    graph: Option<Graph>,
    /// What addresses and strides of the recorded frames are multiples of, in bytes; 0: nothing is recorded.
    alignment: u32,
    /// A capture has failed; none is tried any more.
    refused: bool,
}

impl Way {
    fn new(steps: Arc<[Step]>) -> Self {
        Self {
            steps,
            graph: None,
            alignment: 0,
            refused: false,
        }
    }
}

/// Whether a frame is fused with the stream's memory.
fn is_through_time(plan: &Plan) -> bool {
    plan.parameters.temporal > 0.0
}

impl Drop for GpuExecutor {
    fn drop(&mut self) {
        // Copies from and to page-locked memory end before that memory goes back.
        if let Ok(_entered) = Entered::new(&self.device) {
            self.streams.drain();
        }
    }
}

impl GpuExecutor {
    /// # Errors
    /// [`ErrorKind::OutOfMemory`], and those of the device.
    pub fn new(
        workspace: Workspace,
        steps: Arc<[Step]>,
        streams: Arc<Streams>,
        device: Arc<dyn Device>,
    ) -> Result<Self> {
        let slot = || Slot::new(&device, &streams.compute, &workspace.geometry.spec);
        let mut executor = Self {
            slots: [slot()?, slot()?],
            oldest: 0,
            pending: 0,
            alone: Way::new(steps),
            through_time: Way::new(steps_through_time().into()),
            filled: false,
            current: Settings::default(),
            cut: false,
            noise: None,
            timings: Timings::default(),
            thumbnail: Thumbnail::new(&device, &streams.compute, &workspace.geometry.spec)?,
            transfer: Pinned::new(&device, workspace.planes.image.bytes())?,
            workspace,
            streams,
            device,
        };
        executor.record(false, STAGED)?;
        Ok(executor)
    }

    /// What addresses and strides of recorded frames are multiples of.
    #[cfg(test)]
    pub fn alignment(&self) -> u32 {
        self.alone.alignment
    }

    fn way(&mut self, through_time: bool) -> &mut Way {
        match through_time {
            true => &mut self.through_time,
            false => &mut self.alone,
        }
    }

    /// Runs `work` with the context current; waits for everything issued if it fails.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let device = self.device.clone();
        let _entered = Entered::new(&device)?;
        let outcome = work(self);
        if outcome.is_err() {
            self.streams.drain();
            self.filled = false;
        }
        outcome
    }

    /// Records frames that go one way unless they have been, for the same `alignment` or less.
    fn ensure_recorded(&mut self, through_time: bool, alignment: u32) -> Result<()> {
        let recorded = self.way(through_time).alignment;
        match alignment < recorded || recorded == 0 {
            true => self.record(through_time, alignment),
            false => Ok(()),
        }
    }

    /// Records a frame whose addresses and strides are multiples of `alignment` bytes, a power of two up to 16: as a
    /// graph, or, where that cannot be captured, as steps that have been issued once.
    fn record(&mut self, through_time: bool, alignment: u32) -> Result<()> {
        self.guarded(|this| {
            let way = this.way(through_time);
            way.graph = None;
            way.alignment = 0;
            let mut refused = way.refused;
            let streams = this.streams.clone();
            streams.compute.drain()?;
            if !refused {
                match this.capture(through_time, alignment) {
                    Ok(graph) => this.way(through_time).graph = Some(graph),
                    Err(error) => {
                        Graph::abandon(&streams.compute);
                        log::warn!(
                            "the stages of a frame cannot be captured as a graph and are issued one by one: {error}"
                        );
                        refused = true;
                    }
                }
            }
            if refused {
                this.issue_steps(through_time)?;
                streams.compute.drain()?;
                // What was issued has gone into the memory.
                this.filled = false;
            }
            let way = this.way(through_time);
            way.refused = refused;
            way.alignment = alignment;
            Ok(())
        })
    }

    fn capture(&mut self, through_time: bool, alignment: u32) -> Result<Graph> {
        let streams = self.streams.clone();
        Graph::begin(&streams.compute)?;
        self.workspace.launch_ingest(alignment, &streams.compute)?;
        self.issue_steps(through_time)?;
        self.workspace.launch_compose(alignment, &streams.compute)?;
        Graph::end(&streams.compute)
    }

    fn issue_steps(&mut self, through_time: bool) -> Result<()> {
        let steps = self.way(through_time).steps.clone();
        let (workspace, streams) = (&mut self.workspace, &self.streams);
        steps.iter().try_for_each(|&step| workspace.issue(step, streams, false))
    }

    /// Issues one frame between `input` and `output`, which goes a way that is recorded. `slot` has no frame pending.
    fn replay(&mut self, slot: usize, plan: &Plan, surfaces: (Surface, Surface)) -> Result<()> {
        let streams = self.streams.clone();
        let compute = &streams.compute;
        let through_time = is_through_time(plan);
        let settings = self.settings(plan, surfaces);
        self.slots[slot].send_settings(&settings, &self.workspace.settings, compute)?;
        let way = self.way(through_time);
        let alignment = way.alignment;
        match &way.graph {
            Some(graph) => graph.launch(compute)?,
            None => {
                self.workspace.launch_ingest(alignment, compute)?;
                self.issue_steps(through_time)?;
                self.workspace.launch_compose(alignment, compute)?;
            }
        }
        self.filled = through_time;
        self.slots[slot].request_results(&self.workspace.settings, compute)
    }

    /// Issues the thumbnail of the frame that was issued last, in device memory.
    fn request_thumbnail(&mut self, alignment: u32) -> Result<()> {
        let compute = &self.streams.compute;
        self.workspace.launch_thumbnail(&self.thumbnail, alignment, compute)?;
        self.thumbnail.request(compute)
    }

    /// Adjusts and composes the frame of slot 0 anew; returns its mean luma.
    fn readjust(&mut self, plan: &Plan, surfaces: (Surface, Surface), alignment: u32) -> Result<f32> {
        let streams = self.streams.clone();
        let settings = self.settings(plan, surfaces);
        self.slots[0].send_settings(&settings, &self.workspace.settings, &streams.compute)?;
        self.workspace.issue(Step::Adjust, &streams, false)?;
        self.workspace.launch_compose(alignment, &streams.compute)?;
        self.slots[0].request_results(&self.workspace.settings, &streams.compute)?;
        Ok(self.report(0)?.luma_out)
    }

    /// The block of settings for a frame.
    fn settings(&self, plan: &Plan, (input, output): (Surface, Surface)) -> Settings {
        let Parameters {
            ratio,
            strength,
            temporal,
            ..
        } = plan.parameters;
        let fresh = plan.fresh || !self.filled;
        Settings {
            ratio: self.workspace.storage.bits(ratio),
            strength,
            most: most_frames(temporal),
            fresh: fresh.into(),
            repeated: (plan.repeated && !fresh).into(),
            input,
            output,
            ..Settings::default()
        }
    }

    /// The report of the frame in `slot`, once it has been computed.
    fn report(&self, slot: usize) -> Result<Report> {
        let results = self.slots[slot].results()?;
        let geometry = &self.workspace.geometry;
        let (width, height) = geometry.working;
        let luma_in = luma_mean(results.luma_in, width * height);
        Ok(Report {
            luma_in,
            noise: results.noise.map(|noise| noise_deviation(&noise, luma_in)),
            luma_out: luma_mean(results.luma_out, geometry.spec.width * geometry.spec.height),
            cut: results.cut,
            ..Report::default()
        })
    }

    /// The slot of the oldest pending frame, which is pending no more.
    fn take_oldest(&mut self) -> Result<usize> {
        if self.pending == 0 {
            return Err(none_pending());
        }
        let slot = self.oldest;
        self.oldest = (slot + 1) % DEPTH;
        self.pending -= 1;
        Ok(slot)
    }

    fn refuse_pending(&self) -> Result<()> {
        match self.pending {
            0 => Ok(()),
            count => Err(pending(count)),
        }
    }

    /// Sends `current`, when nothing is under way.
    fn resend(&mut self) -> Result<()> {
        let compute = self.streams.compute.clone();
        compute.drain()?;
        self.slots[0].send_settings(&self.current, &self.workspace.settings, &compute)
    }

    /// Issues a stage between two timed events.
    fn timed(&mut self, stage: Stage, work: impl FnOnce(&mut Workspace, &Streams) -> Result<()>) -> Result<()> {
        let number = self.timings.start(stage, &self.streams.compute)?;
        work(&mut self.workspace, &self.streams)?;
        self.timings.end(number, &self.streams.compute)
    }
}

/// Stage by stage, each with its time, in slot 0.
impl Stages for GpuExecutor {
    fn ingest(&mut self, input: &Frame<'_>) -> Result<f32> {
        self.guarded(|this| {
            this.refuse_pending()?;
            this.timings.used = 0;
            let streams = this.streams.clone();
            this.slots[0].upload(input, &streams.upload, &streams.compute)?;
            this.current = this.settings(&Plan::single(Parameters::default()), this.slots[0].surfaces());
            (this.cut, this.noise) = (false, None);
            this.resend()?;
            this.timed(Stage::Ingest, |workspace, streams| {
                workspace.launch_ingest(STAGED, &streams.compute)
            })?;
            this.slots[0].request_results(&this.workspace.settings, &streams.compute)?;
            Ok(this.report(0)?.luma_in)
        })
    }

    fn run(&mut self, step: Step, plan: &Plan) -> Result<()> {
        self.guarded(|this| {
            let settings = this.settings(plan, this.slots[0].surfaces());
            match step {
                Step::Adjust => this.current.ratio = settings.ratio,
                Step::Fuse => {
                    this.current.most = settings.most;
                    (this.current.fresh, this.current.repeated) = (settings.fresh, settings.repeated);
                }
                _ => {}
            }
            if matches!(step, Step::Adjust | Step::Fuse) {
                this.resend()?;
            }
            this.timed(step.stage(), |workspace, streams| workspace.issue(step, streams, true))?;
            if step == Step::Fuse {
                this.filled = true;
                let compute = this.streams.compute.clone();
                this.slots[0].request_results(&this.workspace.settings, &compute)?;
                let results = this.slots[0].results()?;
                (this.cut, this.noise) = (results.cut, results.noise);
            }
            Ok(())
        })
    }

    fn cut(&self) -> bool {
        self.cut
    }

    fn noise(&self, luma: f32) -> Option<f32> {
        self.noise.map(|noise| noise_deviation(&noise, luma))
    }

    fn compose(&mut self, _input: &Frame<'_>, strength: f32, output: &mut FrameMut<'_>) -> Result<f32> {
        self.guarded(|this| {
            this.current.strength = strength;
            this.resend()?;
            this.timed(Stage::Compose, |workspace, streams| {
                workspace.launch_compose(STAGED, &streams.compute)
            })?;
            let streams = this.streams.clone();
            this.slots[0].request_results(&this.workspace.settings, &streams.compute)?;
            this.slots[0].download(&streams.download)?;
            this.slots[0].collect(output)?;
            Ok(this.report(0)?.luma_out)
        })
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        self.guarded(|this| {
            let (planes, storage) = (&this.workspace.planes, this.workspace.storage);
            let (buffer, channels, storage) = match quantity {
                Quantity::Image => (&planes.image, 3, Storage::F32),
                Quantity::P => (&planes.p, 3, storage),
                Quantity::Q => (&planes.q, 1, storage),
                Quantity::R => (&planes.r, 3, storage),
                Quantity::L => (&planes.l, 1, storage),
                Quantity::Adjusted => (&planes.adjusted, 1, storage),
            };
            buffer.download(&this.streams.compute, &mut this.transfer)?;
            this.streams.compute.drain()?;
            let geometry = &this.workspace.geometry;
            let ((width, height), (padded, rows)) = (geometry.working, geometry.padded);
            let mut values = Vec::with_capacity(channels * width * height);
            for row in (0..channels * rows).filter(|row| row % rows < height) {
                let row = &this.transfer.read()[row * padded * storage.bytes()..][..width * storage.bytes()];
                storage.decode(row, &mut values);
            }
            Ok(values)
        })
    }

    fn measured(&mut self) -> Result<Option<StageTimes>> {
        self.guarded(|this| {
            this.streams.compute.drain()?;
            this.timings.take().map(Some)
        })
    }
}

impl Executor for GpuExecutor {
    fn name(&self) -> &'static str {
        self.workspace.backend
    }

    fn precisions(&self) -> Precisions {
        self.workspace.precisions
    }

    fn remembers(&self) -> bool {
        true
    }

    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, plan: &Plan) -> Result<Report> {
        self.refuse_pending()?;
        self.submit(input, plan)?;
        self.collect(output)
    }

    fn process_timed(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, plan: &Plan) -> Result<Report> {
        let through_time = is_through_time(plan);
        let steps = self.way(through_time).steps.clone();
        self.filled &= through_time;
        unfold(self, &steps, input, plan, output)
    }

    fn read(&mut self, quantity: Quantity) -> Result<Vec<f32>> {
        Stages::read(self, quantity)
    }

    fn depth(&self) -> usize {
        DEPTH
    }

    fn pending(&self) -> usize {
        self.pending
    }

    fn submit(&mut self, input: &Frame<'_>, plan: &Plan) -> Result<()> {
        if self.pending == DEPTH {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                format!("{DEPTH} submitted frames are pending: collect one first"),
            ));
        }
        let number = (self.oldest + self.pending) % DEPTH;
        self.ensure_recorded(is_through_time(plan), STAGED)?;
        self.guarded(|this| {
            let streams = this.streams.clone();
            let slot = &mut this.slots[number];
            slot.upload(input, &streams.upload, &streams.compute)?;
            let surfaces = slot.surfaces();
            this.replay(number, plan, surfaces)?;
            this.slots[number].download(&streams.download)
        })?;
        self.pending += 1;
        Ok(())
    }

    fn collect(&mut self, output: &mut FrameMut<'_>) -> Result<Report> {
        let number = self.take_oldest()?;
        self.guarded(|this| {
            this.slots[number].collect(output)?;
            this.report(number)
        })
    }

    fn discard(&mut self) -> Result<()> {
        let number = self.take_oldest()?;
        self.guarded(|this| this.slots[number].finish())
    }

    fn device(&self) -> Option<DeviceId> {
        Some(device_id(&self.device))
    }

    fn process_device(
        &mut self,
        input: &DeviceFrame,
        output: &DeviceFrame,
        after: Option<RawStream>,
        plan: &Plan,
        meter: Option<Meter<'_>>,
    ) -> Result<Report> {
        self.refuse_pending()?;
        let alignment = input.alignment().min(output.alignment());
        self.ensure_recorded(is_through_time(plan), alignment)?;
        self.guarded(|this| {
            if let Some(stream) = after {
                this.slots[0].follow(StreamHandle(stream.handle()), &this.streams.compute)?;
            }
            let surfaces = (input.into(), output.into());
            this.replay(0, plan, surfaces)?;
            let Some(meter) = meter else {
                return this.report(0);
            };
            this.request_thumbnail(alignment)?;
            let mut report = this.report(0)?;
            if let Some(ratio) = meter(this.thumbnail.read()?)? {
                let parameters = Parameters {
                    ratio,
                    ..plan.parameters
                };
                report.luma_out = this.readjust(&Plan { parameters, ..*plan }, surfaces, alignment)?;
            }
            Ok(report)
        })
    }

    fn memory_figures(&self) -> Result<MemoryFigures> {
        let (width, height) = self.workspace.geometry.padded;
        Ok(MemoryFigures {
            copy_bandwidth: copy_bandwidth(&self.device)?,
            update_bytes: (Update::bytes_per_pixel(self.workspace.storage) * width * height) as u64,
        })
    }
}
