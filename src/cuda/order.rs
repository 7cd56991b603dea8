//! The backend on a recorder: what it asks of a GPU, in which order, and whether every read waits for its write.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use super::backend::TensorRtBackend;
use super::device::{Device, StreamHandle, Touches};
use super::gate::compare;
use super::networks::{Inference, Loaded, Source};
use super::recording::{Operation, Recording};
use super::reference::{Reference, Sample};
use crate::backend::{Backend, Geometry, Quantity};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{
    Colorimetry, DeviceFrame, DevicePlane, Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut, RawStream,
};
use crate::pack::{Pack, Precision, Schedule, Subnetwork};
use crate::stage::Parameters;
use crate::unfold::{record, unfold};

/// A network that checks how it is used.
struct Pretended {
    which: Subnetwork,
    shapes: HashMap<&'static str, [usize; 4]>,
    addresses: HashMap<&'static str, u64>,
    scratch: usize,
    lent: usize,
}

impl Inference for Pretended {
    fn shape(&mut self, name: &'static str, shape: [usize; 4]) -> Result<()> {
        self.shapes.insert(name, shape);
        Ok(())
    }

    fn address(&mut self, name: &'static str, address: u64) -> Result<()> {
        assert_eq!(address % 256, 0, "{name}");
        self.addresses.insert(name, address);
        Ok(())
    }

    fn scratch_bytes(&mut self) -> Result<usize> {
        assert_eq!(self.shapes.len(), self.which.inputs().len(), "shapes come first");
        Ok(self.scratch)
    }

    unsafe fn lend(&mut self, address: u64, bytes: usize) -> Result<()> {
        assert!(address.is_multiple_of(256) && bytes >= self.scratch);
        self.lent = bytes;
        Ok(())
    }

    unsafe fn enqueue(&mut self, _stream: StreamHandle) -> Result<()> {
        for (name, _) in self.which.inputs().iter().chain(self.which.outputs()) {
            assert!(self.addresses.contains_key(name), "{name} has no address");
        }
        assert!(self.lent >= self.scratch);
        Ok(())
    }
}

/// Networks that are only told of.
pub(super) struct Networks(pub Precision);

impl Source for Networks {
    fn load(&mut self, _padded: (usize, usize)) -> Result<Loaded> {
        let pretended = |(i, which)| {
            Box::new(Pretended {
                which,
                shapes: HashMap::new(),
                addresses: HashMap::new(),
                scratch: [1000, 0, 500, 2000][i],
                lent: 0,
            }) as Box<dyn Inference>
        };
        Ok(Loaded {
            contexts: Subnetwork::ALL.into_iter().enumerate().map(pretended).collect(),
            precisions: self.0.into(),
        })
    }
}

/// A backend on a recorder with that much memory.
pub(crate) fn on_recorder(memory: usize) -> TensorRtBackend {
    let device = Arc::new(Recording::with_memory(memory));
    TensorRtBackend::new(device, Box::new(Networks(Precision::Fp16))).unwrap()
}

pub(super) fn spec(format: PixelFormat, (width, height): (usize, usize)) -> FrameSpec {
    FrameSpec {
        format,
        width,
        height,
        colorimetry: Colorimetry::default(),
    }
}

struct Bench {
    device: Arc<Recording>,
    backend: TensorRtBackend,
    schedule: Schedule,
    spec: FrameSpec,
    bytes: Vec<Vec<u8>>,
}

impl Bench {
    fn new(precision: Precision, spec: FrameSpec, max_pixels: usize) -> Self {
        let device = Arc::new(Recording::default());
        let mut backend = TensorRtBackend::new(device.clone(), Box::new(Networks(precision))).unwrap();
        let pack = Pack::open("full").unwrap();
        let schedule = pack.manifest().schedule;
        backend.prepare(&Geometry::new(spec, max_pixels, 4)).unwrap();
        let plane = |i| vec![0; spec.format.row_bytes(i, spec.width) * spec.format.rows(i, spec.height)];
        Self {
            device,
            backend,
            schedule,
            spec,
            bytes: (0..spec.format.planes()).map(plane).collect(),
        }
    }

    fn record(&mut self) {
        record(&mut self.backend, &self.schedule, 16).unwrap();
    }

    fn stride(&self, plane: usize) -> usize {
        self.spec.format.row_bytes(plane, self.spec.width)
    }

    fn submit(&mut self, parameters: Parameters) -> Result<()> {
        let strides: Vec<_> = (0..self.bytes.len()).map(|i| self.stride(i)).collect();
        let planes = self
            .bytes
            .iter()
            .zip(strides)
            .map(|(data, stride)| Plane { data, stride });
        let planes: Vec<_> = planes.collect();
        let frame = Frame::new(self.spec, &planes)?;
        self.backend.replay().unwrap().submit(&frame, parameters)
    }

    fn collect(&mut self) -> Result<()> {
        let strides: Vec<_> = (0..self.bytes.len()).map(|i| self.stride(i)).collect();
        let planes = self
            .bytes
            .iter_mut()
            .zip(strides)
            .map(|(data, stride)| PlaneMut { data, stride });
        let mut frame = FrameMut::from_iter(self.spec, planes)?;
        self.backend.replay().unwrap().collect(&mut frame).map(|_| ())
    }

    /// One frame, stage by stage.
    fn step_through(&mut self) {
        let input = self.bytes.clone();
        let strides: Vec<_> = (0..self.bytes.len()).map(|i| self.stride(i)).collect();
        let planes: Vec<_> = input
            .iter()
            .zip(&strides)
            .map(|(data, &stride)| Plane { data, stride })
            .collect();
        let frame = Frame::new(self.spec, &planes).unwrap();
        let out = self
            .bytes
            .iter_mut()
            .zip(&strides)
            .map(|(data, &stride)| PlaneMut { data, stride });
        let mut out = FrameMut::from_iter(self.spec, out).unwrap();
        unfold(
            &mut self.backend,
            &self.schedule,
            &frame,
            Parameters::default(),
            &mut out,
        )
        .unwrap();
    }

    fn check(&self, what: &str) {
        assert_eq!(self.device.faults(), Vec::<String>::new(), "{what}");
    }
}

fn allocations(operations: &[Operation]) -> usize {
    let is = |o: &&Operation| matches!(o, Operation::Allocate | Operation::AllocatePinned);
    operations.iter().filter(is).count()
}

const SPECS: [(PixelFormat, (usize, usize), usize); 3] = [
    (PixelFormat::Nv12, (64, 48), 0),
    (PixelFormat::I420_10le, (33, 17), 0),
    (PixelFormat::Rgba, (128, 96), 64 * 48),
];

#[test]
fn every_read_waits_for_its_write() {
    for precision in [Precision::Fp32, Precision::Fp16] {
        for (format, size, max_pixels) in SPECS {
            let what = format!("{} {} {size:?}", precision.name(), format.name());
            let mut bench = Bench::new(precision, spec(format, size), max_pixels);
            bench.check(&what);
            bench.step_through();
            bench.check(&what);
            bench.backend.time_stages(true);
            bench.step_through();
            bench.check(&what);
            bench.backend.time_stages(false);
            bench.record();
            for _ in 0..3 {
                bench.submit(Parameters::default()).unwrap();
                bench.submit(Parameters::default()).unwrap();
                bench.collect().unwrap();
                bench.submit(Parameters::default()).unwrap();
                bench.collect().unwrap();
                bench.collect().unwrap();
            }
            bench.check(&what);
            bench.backend.read(Quantity::R).unwrap();
            bench.step_through();
            bench.check(&what);
            // Whatever is under way is waited for.
            bench.submit(Parameters::default()).unwrap();
            let device = bench.device.clone();
            drop(bench);
            assert_eq!(device.faults(), Vec::<String>::new(), "{what}, dropped");
            assert_eq!(device.allocated(), 0, "{what}");
        }
    }
}

#[test]
fn a_frame_is_recorded_once_and_allocates_nothing() {
    let mut bench = Bench::new(Precision::Fp16, spec(PixelFormat::Nv12, (64, 48)), 0);
    bench.device.take();
    bench.record();
    let recording = bench.device.take();
    assert_eq!(allocations(&recording), 0);
    let captures = |all: &[Operation]| all.iter().filter(|o| matches!(o, Operation::BeginCapture(_))).count();
    assert_eq!(captures(&recording), 1);
    // Ingest, four networks, rounds 2 and 3 with update and two networks each, compose.
    let work: Vec<_> = recording
        .iter()
        .filter_map(|o| match o {
            Operation::Launch(name, _) => Some(name.split('_').next().unwrap()),
            Operation::Enqueue(name, _) => Some(name),
            _ => None,
        })
        .collect();
    let round = ["restoration", "illumination"];
    let expected = [
        &["ingest", "decomposition"][..],
        &round,
        &["update"],
        &round,
        &["update"],
        &round,
        &["adjustment", "compose"],
    ]
    .concat();
    assert_eq!(work, expected);
    // Restoration and Illumination of a round are on two streams.
    let stream_of = |which: &str| {
        let streams = recording.iter().filter_map(|o| match o {
            Operation::Enqueue(name, stream) if *name == which => Some(*stream),
            _ => None,
        });
        streams.collect::<Vec<_>>()
    };
    let (restoration, illumination) = (stream_of("restoration"), stream_of("illumination"));
    assert!(restoration.iter().all(|s| *s == restoration[0]) && illumination.iter().all(|s| *s == illumination[0]));
    assert_ne!(restoration[0], illumination[0]);

    for ratio in [1.0, 4.0, 20.0] {
        bench.submit(Parameters { ratio, strength: 0.5 }).unwrap();
        bench.collect().unwrap();
    }
    let frames = bench.device.take();
    assert_eq!((allocations(&frames), captures(&frames)), (0, 0));
    let launches: Vec<_> = frames
        .iter()
        .filter(|o| {
            matches!(
                o,
                Operation::LaunchGraph(_) | Operation::Launch(..) | Operation::Enqueue(..)
            )
        })
        .collect();
    assert_eq!(launches.len(), 3, "one graph for each frame: {launches:?}");
}

#[test]
fn two_frames_are_under_way_at_once() {
    let mut bench = Bench::new(Precision::Fp32, spec(PixelFormat::Rgb, (64, 48)), 0);
    bench.record();
    bench.device.take();
    bench.submit(Parameters::default()).unwrap();
    bench.submit(Parameters::default()).unwrap();
    let issued = bench.device.take();
    assert!(
        !issued.iter().any(|o| matches!(o, Operation::Synchronize(_))),
        "submitting waits for nothing: {issued:?}"
    );
    let streams: Vec<_> = [
        |o: &Operation| matches!(o, Operation::Upload(_)),
        |o: &Operation| matches!(o, Operation::LaunchGraph(_)),
        |o: &Operation| matches!(o, Operation::Download(_)),
    ]
    .into_iter()
    .map(|kind| issued.iter().filter(|o| kind(o)).count())
    .collect();
    // For each frame: its bytes and its settings go up, one graph runs, its bytes and its sums come down.
    assert_eq!(streams, [4, 2, 4]);
    for (what, outcome) in [
        ("a third frame", bench.submit(Parameters::default())),
        ("recording anew", record(&mut bench.backend, &bench.schedule, 4)),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption, "{what}: {error}");
        assert!(error.to_string().contains("collect"), "{what}: {error}");
    }
    bench.collect().unwrap();
    bench.collect().unwrap();
    assert!(bench.collect().unwrap_err().to_string().contains("submit"));
    bench.check("in flight");
}

#[test]
fn a_frame_that_nobody_wants_is_waited_for() {
    let mut bench = Bench::new(Precision::Fp16, spec(PixelFormat::Nv12, (64, 48)), 0);
    bench.record();
    for wanted in [[false, false], [true, false], [false, true]] {
        bench.submit(Parameters::default()).unwrap();
        bench.submit(Parameters::default()).unwrap();
        for collect in wanted {
            bench.device.take();
            match collect {
                true => bench.collect().unwrap(),
                false => bench.backend.replay().unwrap().discard().unwrap(),
            }
            let done = bench.device.take();
            assert!(
                done.iter().any(|o| matches!(o, Operation::Synchronize(_))),
                "{wanted:?}: {done:?}"
            );
        }
        assert_eq!(bench.backend.replay().unwrap().pending(), 0, "{wanted:?}");
        // Its memory is used again at once.
        bench.submit(Parameters::default()).unwrap();
        bench.collect().unwrap();
        bench.check(&format!("{wanted:?}"));
    }
    assert_eq!(
        bench.backend.replay().unwrap().discard().unwrap_err().kind(),
        ErrorKind::InvalidOption
    );
}

#[test]
fn frames_in_device_memory_are_not_copied() {
    let spec = spec(PixelFormat::Nv12, (64, 48));
    let mut bench = Bench::new(Precision::Fp16, spec, 0);
    bench.record();
    let theirs = bench.device.create_stream().unwrap();
    let frame = |bench: &Bench| {
        let address = bench.device.allocate(theirs, 64 * 72).unwrap();
        let planes = [0, 64 * 48].map(|at| DevicePlane {
            address: address + at,
            stride: 64,
        });
        // SAFETY: a recorder's memory, which lives as long as the bench.
        unsafe { DeviceFrame::new(spec, &planes) }.unwrap()
    };
    let (input, output) = (frame(&bench), frame(&bench));
    bench.device.take();
    // SAFETY: the recorder takes any number for a stream.
    let after = unsafe { RawStream::new(theirs.0 as *mut _) };
    let replay = bench.backend.replay().unwrap();
    replay
        .process_device(&input, &output, Some(after), Parameters::default())
        .unwrap();
    bench.check("with their stream");
    let issued = bench.device.take();
    let copies = |up: bool| {
        let is = |o: &&Operation| match o {
            Operation::Upload(_) => up,
            Operation::Download(_) => !up,
            _ => false,
        };
        issued.iter().filter(is).count()
    };
    assert_eq!(
        (copies(true), copies(false)),
        (1, 1),
        "settings and sums alone: {issued:?}"
    );
    // Without their stream nothing orders the kernels after whoever wrote the frame: the recorder sees that.
    let input = frame(&bench);
    let replay = bench.backend.replay().unwrap();
    replay
        .process_device(&input, &output, None, Parameters::default())
        .unwrap();
    assert!(!bench.device.faults().is_empty());
}

/// Networks that cannot be captured run all the same; those that cannot run at all are an error.
#[test]
fn what_cannot_be_captured_is_issued_for_every_frame() {
    /// Fails at the runs of these numbers; the first is the warm-up, the second the capture.
    struct Failing(usize, std::ops::RangeInclusive<usize>);
    impl Inference for Failing {
        fn shape(&mut self, _: &'static str, _: [usize; 4]) -> Result<()> {
            Ok(())
        }
        fn address(&mut self, _: &'static str, _: u64) -> Result<()> {
            Ok(())
        }
        fn scratch_bytes(&mut self) -> Result<usize> {
            Ok(0)
        }
        unsafe fn lend(&mut self, _: u64, _: usize) -> Result<()> {
            Ok(())
        }
        unsafe fn enqueue(&mut self, _: StreamHandle) -> Result<()> {
            self.0 += 1;
            if self.1.contains(&self.0) {
                return Err(Error::new(ErrorKind::BackendFailed, "as planned"));
            }
            Ok(())
        }
    }
    struct Failable(std::ops::RangeInclusive<usize>);
    impl Source for Failable {
        fn load(&mut self, _: (usize, usize)) -> Result<Loaded> {
            let failing = |which| {
                let when = match which {
                    Subnetwork::Illumination => self.0.clone(),
                    _ => usize::MAX..=usize::MAX,
                };
                Box::new(Failing(0, when)) as Box<dyn Inference>
            };
            Ok(Loaded {
                contexts: Subnetwork::ALL.into_iter().map(failing).collect(),
                precisions: Precision::Fp32.into(),
            })
        }
    }
    let spec = spec(PixelFormat::Rgb, (32, 32));
    let bench = |when| {
        let mut bench = Bench::new(Precision::Fp32, spec, 0);
        bench.backend = TensorRtBackend::new(bench.device.clone(), Box::new(Failable(when))).unwrap();
        bench.backend.prepare(&Geometry::new(spec, 0, 4)).unwrap();
        bench
    };
    let mut once = bench(2..=2);
    once.record();
    assert_eq!(once.backend.replay().unwrap().alignment(), 16);
    once.device.take();
    for _ in 0..2 {
        once.submit(Parameters::default()).unwrap();
        once.submit(Parameters::default()).unwrap();
        once.collect().unwrap();
        once.collect().unwrap();
    }
    let issued = once.device.take();
    let count = |wanted: &dyn Fn(&Operation) -> bool| issued.iter().filter(|o| wanted(o)).count();
    assert_eq!(count(&|o| matches!(o, Operation::LaunchGraph(_))), 0);
    assert_eq!(count(&|o| matches!(o, Operation::Enqueue("illumination", _))), 4 * 3);
    assert_eq!(allocations(&issued), 0);
    once.check("without a graph");

    let mut always = bench(2..=usize::MAX);
    let error = record(&mut always.backend, &always.schedule, 16).unwrap_err();
    assert_eq!(error.to_string(), "as planned");
    assert_eq!(always.backend.replay().unwrap().alignment(), 0);
    assert!(always.submit(Parameters::default()).is_err());
    always.check("not at all");
}

/// A run that fails is told only after those before it have ended: what they use goes with the error.
#[test]
fn an_error_waits_for_what_was_issued() {
    /// Takes everything but one call, and tells its end.
    struct Refusing(Option<&'static str>, Arc<Recording>);
    impl Drop for Refusing {
        fn drop(&mut self) {
            self.1.foreign("end", StreamHandle(0), Touches::default());
        }
    }
    impl Refusing {
        fn answer(&self, call: &str) -> Result<()> {
            match self.0 == Some(call) {
                true => Err(Error::new(ErrorKind::BackendFailed, "as planned")),
                false => Ok(()),
            }
        }
    }
    impl Inference for Refusing {
        fn shape(&mut self, _: &'static str, _: [usize; 4]) -> Result<()> {
            self.answer("shape")
        }
        fn address(&mut self, _: &'static str, _: u64) -> Result<()> {
            self.answer("address")
        }
        fn scratch_bytes(&mut self) -> Result<usize> {
            self.answer("scratch").map(|()| 0)
        }
        unsafe fn lend(&mut self, _: u64, _: usize) -> Result<()> {
            self.answer("lend")
        }
        unsafe fn enqueue(&mut self, _: StreamHandle) -> Result<()> {
            self.answer("enqueue")
        }
    }
    /// Networks the last of which refuses that call.
    struct Last(&'static str, Arc<Recording>);
    impl Source for Last {
        fn load(&mut self, _: (usize, usize)) -> Result<Loaded> {
            let refusing = |which| {
                let call = (which == Subnetwork::Adjustment).then_some(self.0);
                Box::new(Refusing(call, self.1.clone())) as Box<dyn Inference>
            };
            Ok(Loaded {
                contexts: Subnetwork::ALL.into_iter().map(refusing).collect(),
                precisions: Precision::Fp32.into(),
            })
        }
    }

    let device = Arc::new(Recording::default());
    let last = Last("enqueue", device.clone());
    let mut backend = TensorRtBackend::new(device.clone(), Box::new(last)).unwrap();
    let geometry = Geometry::new(spec(PixelFormat::Rgb, (32, 32)), 0, 4);
    assert_eq!(backend.prepare(&geometry).unwrap_err().to_string(), "as planned");
    let told = device.take();
    let issued = told
        .iter()
        .position(|o| matches!(o, Operation::Enqueue("restoration", _)));
    let ended = told.iter().position(|o| matches!(o, Operation::Enqueue("end", _)));
    let between = &told[issued.unwrap()..ended.unwrap()];
    // A wait for an event that comes after the run, not for any.
    let waited = between.iter().enumerate().any(|(at, o)| match o {
        Operation::Record(event, _) => between[at..].contains(&Operation::Synchronize(*event)),
        _ => false,
    });
    assert!(waited, "{told:?}");

    let reference = Reference {
        size: (16, 16),
        samples: vec![Sample {
            which: Subnetwork::Adjustment,
            inputs: vec![vec![0.5; 256], vec![4.0]],
            outputs: vec![vec![0.7; 256]],
        }],
    };
    for call in ["shape", "address", "scratch", "lend", "enqueue"] {
        let device = Arc::new(Recording::default());
        let as_device: Arc<dyn Device> = device.clone();
        let loaded = Last(call, device.clone()).load((16, 16)).unwrap();
        let error = compare(&as_device, loaded, &reference).err().unwrap();
        assert_eq!(error.to_string(), "as planned");
        assert_eq!(device.faults(), Vec::<String>::new(), "{call}");
        assert_eq!(device.allocated(), 0, "{call}");
    }
}

#[test]
fn short_memory_is_an_error_and_the_backend_can_be_prepared_again() {
    let device = Arc::new(Recording::with_memory(4 << 20));
    let mut backend = TensorRtBackend::new(device.clone(), Box::new(Networks(Precision::Fp32))).unwrap();
    for (size, fits) in [((64, 48), true), ((1920, 1080), false), ((64, 48), true)] {
        let prepared = backend.prepare(&Geometry::new(spec(PixelFormat::Nv12, size), 0, 4));
        match prepared {
            Ok(()) => assert!(fits, "{size:?}"),
            Err(e) => assert!(!fits && e.kind() == ErrorKind::OutOfMemory, "{size:?}: {e}"),
        }
    }
    assert_eq!(device.faults(), Vec::<String>::new());
}

/// The check itself: a backend that forgot an event would be found out.
#[test]
fn the_recorder_sees_races_and_broken_captures() {
    let device = Recording::default();
    let [one, two] = [0, 1].map(|_| device.create_stream().unwrap());
    let memory = device.allocate(one, 256).unwrap();
    let event = device.create_event(false).unwrap();
    let write = Touches {
        writes: &[memory],
        ..Touches::default()
    };
    device.foreign("writer", one, write);
    device.record(event, one).unwrap();
    device.foreign("early", one, Touches::default());
    device.wait(two, event).unwrap();
    device.foreign(
        "reader",
        two,
        Touches {
            reads: &[memory],
            ..Touches::default()
        },
    );
    assert_eq!(device.faults(), Vec::<String>::new());
    device.foreign("overwriter", one, write);
    assert_eq!(device.faults().len(), 1, "{:?}", device.faults());
    device.foreign(
        "late reader",
        two,
        Touches {
            reads: &[memory],
            ..Touches::default()
        },
    );
    assert_eq!(device.faults().len(), 2, "{:?}", device.faults());
    device.foreign(
        "stray",
        one,
        Touches {
            reads: &[7],
            ..Touches::default()
        },
    );
    assert_eq!(device.faults().len(), 3, "{:?}", device.faults());

    device.begin_capture(one).unwrap();
    assert!(device.allocate(one, 8).is_err());
    assert!(device.wait(one, event).is_err(), "an event from outside");
    let inside = device.create_event(false).unwrap();
    device.record(inside, one).unwrap();
    device.wait(two, inside).unwrap();
    device.foreign("forked", two, Touches::default());
    let error = device.end_capture(one).unwrap_err();
    assert!(error.to_string().contains("joined"), "{error}");
}
