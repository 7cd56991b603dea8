//! One frame's way through whoever works on it.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::{InputBuffer, PrepareOutputBufferSuccess};
use gst_base::subclass::prelude::*;
use uretinex::{BackendChoice, Enhancer, Error, ErrorKind, Options, Parameters, Report};

use super::super::buffers::Layout;
use super::super::building::{self, Building};
use super::super::caps::Stream;
use super::super::{CAT, OnEngineBuild, device, errors, latency};
use super::{URetinexEnhance, lock, without_panic};
use crate::gstcuda::{CudaContext, Tenant};

/// What works on frames.
pub(super) struct Worker {
    pub tenant: Tenant,
    pub stream: Option<Stream>,
    /// Engines on their way, and who works meanwhile; frames go through untouched if nobody does.
    pub building: Option<Building>,
    pub stand_in: Option<Enhancer>,
    /// Kinds of warnings that are on the bus already.
    pub warned: Vec<ErrorKind>,
    pub warned_of_curve: bool,
}

/// Why a frame was not enhanced.
pub(super) enum Failure {
    /// The stream is to stop, or has an error of its own.
    Flow(gst::FlowError),
    /// This frame is passed on as it is.
    Frame(Error),
    /// So is this one, because the engines are not ready yet.
    Building,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Frame(error)
    }
}

impl URetinexEnhance {
    /// Takes one buffer through the network, into a buffer of the pool.
    pub(super) fn enhance(&self, input: &gst::Buffer, parameters: Parameters) -> Result<gst::Buffer, Failure> {
        let started = Instant::now();
        let mut worker = lock(&self.worker);
        let Some(worker_in_use) = worker.as_mut() else {
            return Err(Failure::Flow(gst::FlowError::NotNegotiated));
        };
        let context = worker_in_use.tenant.context.clone();
        let at_work = self.at_work(worker_in_use)?;
        let Some((enhancer, stream)) = at_work else {
            return Err(Failure::Building);
        };
        let (backend, on_gpu) = (enhancer.backend_name(), stream.on_gpu);
        let done = if on_gpu {
            self.on_gpu(enhancer, context, stream, input, parameters)
        } else {
            self.on_host(enhancer, stream, input, parameters)
        };
        drop(worker);
        if self.note_backend(backend) && on_gpu {
            // Memory of another kind may be taken from here on.
            self.obj().reconfigure_sink();
        }
        let (output, report) = done?;
        self.account(
            Report {
                total: started.elapsed(),
                ..report
            },
            parameters.ratio,
        );
        Ok(output)
    }

    /// An empty buffer of the pool with the metadata of `input`.
    fn output(&self, input: &gst::Buffer) -> Result<gst::Buffer, Failure> {
        match self.parent_prepare_output_buffer(InputBuffer::Readable(input)) {
            Ok(PrepareOutputBufferSuccess::Buffer(output)) => Ok(output),
            Ok(_) => Err(Failure::Flow(gst::FlowError::Error)),
            Err(error) => Err(Failure::Flow(error)),
        }
    }

    /// Enhances a frame in system memory.
    fn on_host(
        &self,
        enhancer: &mut Enhancer,
        stream: &Stream,
        input: &gst::Buffer,
        parameters: Parameters,
    ) -> Result<(gst::Buffer, Report), Failure> {
        let unreadable =
            |e: glib::BoolError| Error::new(ErrorKind::InvalidFrame, format!("no access to the buffer: {e}"));
        let map = input.map_readable().map_err(unreadable)?;
        let frame = Layout::of(input, &stream.info)?.frame(&map, stream.spec)?;

        let mut output = self.output(input)?;
        let buffer = output.make_mut();
        let layout = Layout::of(buffer, &stream.info)?;
        let mut map_out = buffer.map_writable().map_err(unreadable)?;
        let mut frame_out = layout.frame_mut(&mut map_out, stream.spec)?;
        let report = without_panic(|| enhancer.process(&frame, &mut frame_out, parameters))?;
        drop(map_out);
        Ok((output, report))
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

    /// Who works on the next frame; nobody while engines are built and frames go through untouched.
    fn at_work<'a>(&self, worker: &'a mut Worker) -> Result<Option<(&'a mut Enhancer, &'a Stream)>, Failure> {
        let Some(stream) = &worker.stream else {
            return Err(Failure::Flow(gst::FlowError::NotNegotiated));
        };
        match worker.building.as_ref().map(Building::outcome) {
            None => {}
            Some(None) => return Ok(worker.stand_in.as_mut().map(|enhancer| (enhancer, stream))),
            Some(Some(outcome)) => {
                worker.building = None;
                worker.stand_in = None;
                let enhancer = &mut worker.tenant.enhancer;
                let ready = without_panic(|| {
                    outcome.or_else(|e| enhancer.fall_back(e))?;
                    enhancer.prepare(&stream.spec)
                });
                if let Err(error) = ready {
                    gst::error!(CAT, imp = self, "{error}");
                    self.post_error_message(errors::message(&error));
                    return Err(Failure::Flow(gst::FlowError::Error));
                }
            }
        }
        Ok(Some((&mut worker.tenant.enhancer, stream)))
    }

    /// Prepares for frames of `stream`. Engines that are not there yet are waited for, or built beside the stream.
    pub(super) fn make_ready(&self, worker: &mut Worker, stream: &Stream) -> uretinex::Result<()> {
        let spec = &stream.spec;
        worker.building = None;
        worker.stand_in = None;
        let enhancer = &mut worker.tenant.enhancer;
        let Some(job) = without_panic(|| enhancer.engine_job(spec))? else {
            return without_panic(|| enhancer.prepare(spec));
        };
        let (choice, options) = {
            let settings = lock(&self.settings);
            (settings.on_engine_build, settings.options())
        };
        match choice {
            OnEngineBuild::Wait => {
                building::run(|observer| job.run(observer), &self.obj(), &AtomicBool::new(false))
                    .or_else(|e| enhancer.fall_back(e))?;
                return without_panic(|| enhancer.prepare(spec));
            }
            OnEngineBuild::Passthrough => {}
            // The processor does not reach frames in CUDA memory: they go through untouched.
            OnEngineBuild::Cpu if stream.on_gpu => {}
            OnEngineBuild::Cpu => {
                let options = Options {
                    backend: BackendChoice::Cpu,
                    precision: None,
                    ..options
                };
                worker.stand_in = Some(without_panic(|| {
                    let mut stand_in = Enhancer::new(&options)?;
                    stand_in.prepare(spec)?;
                    Ok(stand_in)
                })?);
            }
        }
        worker.building = Some(Building::start(
            |observer| job.run(observer),
            worker.tenant.context.clone(),
            &self.obj(),
        )?);
        Ok(())
    }

    /// Shows who does the work, where that has changed; true if it has.
    fn note_backend(&self, backend: &'static str) -> bool {
        let mut counters = lock(&self.counters);
        let Some(in_use) = counters.in_use.as_mut().filter(|u| u.backend != backend) else {
            return false;
        };
        in_use.backend = backend;
        drop(counters);
        gst::info!(CAT, imp = self, "frames are worked on by {backend}");
        self.obj().notify("backend-in-use");
        true
    }

    /// Adds an enhanced frame to the statistics, and to the latency.
    fn account(&self, report: Report, ratio: f32) {
        let mut counters = lock(&self.counters);
        counters.add(&report, ratio);
        if counters.frames() % latency::INTERVAL != 1 {
            return;
        }
        let p95 = counters.total().p95;
        drop(counters);
        if self.latency.measured(p95) {
            let element = self.obj();
            gst::info!(CAT, imp = self, "latency is now {}", self.latency.reported());
            let _ = element.post_message(gst::message::Latency::builder().src(&*element).build());
        }
    }

    /// Counts a frame that is passed on for an error, and reports the first of its kind.
    pub(super) fn frame_failed(&self, error: &Error) {
        gst::warning!(CAT, imp = self, "frame passed on unchanged: {error}");
        lock(&self.counters).failed += 1;
        let mut worker = lock(&self.worker);
        let Some(worker) = worker.as_mut().filter(|w| !w.warned.contains(&error.kind())) else {
            return;
        };
        worker.warned.push(error.kind());
        let error = Error::new(error.kind(), format!("a frame is passed on unchanged: {error}"));
        errors::warn(&self.obj(), &error);
    }
}
