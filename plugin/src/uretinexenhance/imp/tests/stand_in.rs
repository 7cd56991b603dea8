//! A backend that takes two frames at a time, as one on a GPU does: it inverts their bytes, needs engines if it is told
//! so, and fails as it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use uretinex::{
    Backend, Error, ErrorKind, Executor, Frame, FrameMut, Geometry, Phase, Plan, Precision, Precisions, PreparationJob,
    Progress, Quantity, Report, Result, Subnetwork,
};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Refused when it is submitted.
    Submit,
    /// Lost when it is collected.
    Collect,
    /// A panic when it is collected, which leaves it pending.
    Panic,
}

/// Whether there are engines for a size that is not prepared yet.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Engines {
    #[default]
    Ready,
    /// Their build goes on until this is changed, or until it is cancelled.
    BeingBuilt,
    /// Their build fails.
    Failing,
}

/// What the backend has been asked for, and what is to go wrong.
#[derive(Default)]
pub struct Record {
    /// Such as `submit 3`, 3 being the byte that the frame is full of.
    pub log: Vec<String>,
    /// The frames that were to be made without any state of earlier ones.
    pub fresh: Vec<u8>,
    pub fault: Option<(u8, Fault)>,
    pub engines: Engines,
}

/// The backend's record, shared with a test.
#[derive(Clone, Default)]
pub struct SharedRecord(Arc<Mutex<Record>>);

impl SharedRecord {
    pub fn get(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn enter(&self, what: &str, frame: u8) -> Option<Fault> {
        let mut record = self.get();
        record.log.push(format!("{what} {frame}"));
        record.fault.filter(|f| f.0 == frame).map(|f| f.1)
    }

    fn plan(&self, frame: u8, plan: &Plan) {
        if plan.fresh {
            self.get().fresh.push(frame);
        }
    }

    /// A build of engines, which asks every millisecond whether it is cancelled.
    fn build(&self, observer: &mut uretinex::Observer<'_>) -> Result<()> {
        self.get().log.push("build".into());
        let progress = Progress {
            subnetwork: Subnetwork::Restoration,
            index: 1,
            count: 4,
            phase: Phase::Building,
            elapsed: Duration::ZERO,
        };
        loop {
            if observer(&progress).is_break() {
                self.get().log.push("cancelled".into());
                return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
            }
            let engines = self.get().engines;
            match engines {
                Engines::Ready => return Ok(()),
                Engines::Failing => return refused("no engines, as planned"),
                Engines::BeingBuilt => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// The backend, for frames of format GRAY8 whose bytes are all the same.
pub struct PipelinedBackend(pub SharedRecord);

/// What it prepares.
struct PipelinedExecutor {
    record: SharedRecord,
    pending: VecDeque<u8>,
}

fn refused<T>(why: &str) -> Result<T> {
    Err(Error::new(ErrorKind::BackendFailed, why))
}

fn invert(frame: u8, output: &mut FrameMut<'_>) {
    for y in 0..output.spec().height {
        output.row_mut(0, y).fill(!frame);
    }
}

impl Backend for PipelinedBackend {
    fn name(&self) -> &'static str {
        "identity"
    }
    fn preparation(&self, _: &Geometry) -> Option<PreparationJob> {
        let record = self.0.clone();
        let ready = record.get().engines == Engines::Ready;
        (!ready).then(|| PreparationJob::new(move |observer| record.build(observer)))
    }
    fn prepare(&mut self, _: &Geometry) -> Result<Box<dyn Executor>> {
        if self.0.get().engines != Engines::Ready {
            return refused("there are no engines");
        }
        Ok(Box::new(PipelinedExecutor {
            record: self.0.clone(),
            pending: VecDeque::new(),
        }))
    }
}

impl Executor for PipelinedExecutor {
    fn name(&self) -> &'static str {
        "identity"
    }
    fn precisions(&self) -> Precisions {
        Precision::Fp32.into()
    }
    fn process(&mut self, input: &Frame<'_>, output: &mut FrameMut<'_>, plan: &Plan) -> Result<Report> {
        let frame = input.row(0, 0)[0];
        let fault = self.record.enter("process", frame);
        assert!(fault != Some(Fault::Panic), "as planned");
        if fault.is_some() {
            return refused("not processed, as planned");
        }
        self.record.plan(frame, plan);
        invert(frame, output);
        Ok(Report::default())
    }
    fn read(&mut self, _: Quantity) -> Result<Vec<f32>> {
        refused("nothing to read")
    }
    fn depth(&self) -> usize {
        2
    }
    fn pending(&self) -> usize {
        self.pending.len()
    }
    fn submit(&mut self, input: &Frame<'_>, plan: &Plan) -> Result<()> {
        let frame = input.row(0, 0)[0];
        if self.record.enter("submit", frame) == Some(Fault::Submit) {
            return refused("not submitted, as planned");
        }
        if self.pending.len() == 2 {
            return refused("two frames are pending");
        }
        self.record.plan(frame, plan);
        self.pending.push_back(frame);
        Ok(())
    }
    fn collect(&mut self, output: &mut FrameMut<'_>) -> Result<Report> {
        let Some(&frame) = self.pending.front() else {
            return refused("no frame is pending");
        };
        let fault = self.record.enter("collect", frame);
        assert!(fault != Some(Fault::Panic), "as planned");
        self.pending.pop_front();
        if fault == Some(Fault::Collect) {
            return refused("not collected, as planned");
        }
        invert(frame, output);
        Ok(Report::default())
    }
    fn discard(&mut self) -> Result<()> {
        let Some(frame) = self.pending.pop_front() else {
            return refused("no frame is pending");
        };
        self.record.enter("discard", frame);
        Ok(())
    }
}
