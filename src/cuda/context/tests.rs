//! The device on a driver that stands in for NVIDIA's (`driver.c`): that calls are made as documented, that nothing leaks,
//! and what is said when something goes wrong. Each case is a process of its own, as a driver is looked for once.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use libloading::Library;

use super::Cuda;
use crate::backend::{Backend, Geometry, Quantity, Replay};
use crate::cuda::backend::TensorRtBackend;
use crate::cuda::order::{Networks, spec};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut};
use crate::pack::{Pack, Precision};
use crate::stage::Parameters;
use crate::unfold::{record, unfold};

/// The case that a process is to run.
const CASE: &str = "URETINEX_TEST_CASE";

/// A number that the driver tells of itself.
fn ask(what: &str) -> i32 {
    // SAFETY: the library is `driver.c`, already open, and the functions have this signature.
    unsafe {
        let library = Library::new("libcuda.so.1").unwrap();
        library.get::<unsafe extern "C" fn() -> i32>(what.as_bytes()).unwrap()()
    }
}

fn backend(device: Arc<Cuda>, size: (usize, usize)) -> Result<(TensorRtBackend, FrameSpec)> {
    let mut backend = TensorRtBackend::new(device, Box::new(Networks(Precision::Fp16)))?;
    let spec = spec(PixelFormat::Gray8, size);
    backend.prepare(&Geometry::new(spec, 0, 4))?;
    record(&mut backend, &Pack::open("lite")?.manifest().schedule, 16)?;
    Ok((backend, spec))
}

/// Frames in every way that there is. Kernels are not run: they are counted, and output is what memory was cleared to.
fn frames_go_through() {
    let cuda = Cuda::open(0, None).unwrap();
    assert!(Arc::ptr_eq(&cuda, &Cuda::open(0, None).unwrap()));
    let (mut backend, spec) = backend(cuda, (64, 48)).unwrap();
    let bytes: Vec<u8> = (0..64 * 48).map(|i| i as u8).collect();
    let input = Frame::new(
        spec,
        &[Plane {
            data: &bytes,
            stride: 64,
        }],
    )
    .unwrap();
    let mut out = vec![1; bytes.len()];
    let output = |out: &mut Vec<u8>, work: &mut dyn FnMut(&mut FrameMut<'_>)| {
        let plane = PlaneMut { data: out, stride: 64 };
        work(&mut FrameMut::new(spec, [plane]).unwrap());
    };
    let schedule = Pack::open("lite").unwrap().manifest().schedule;
    let rounds = schedule.rounds;
    // Ingest, an update for each round but the first, compose.
    let kernels = rounds as i32 + 1;
    let replay: &mut dyn Replay = &mut backend;
    assert_eq!((replay.alignment(), ask("driver_launches")), (16, 0));
    for _ in 0..3 {
        replay.submit(&input, Parameters::default()).unwrap();
        replay.submit(&input, Parameters::default()).unwrap();
        for _ in 0..2 {
            output(&mut out, &mut |frame| {
                replay.collect(frame).unwrap();
            });
        }
    }
    assert_eq!(ask("driver_launches"), 6 * kernels);
    assert!(out.iter().all(|&b| b == 0), "memory is cleared when it is allocated");
    let (mut from, mut to) = (replay.device_frame(&spec).unwrap(), replay.device_frame(&spec).unwrap());
    from.fill(&input).unwrap();
    output(&mut out, &mut |frame| from.empty(frame).unwrap());
    assert_eq!(out, bytes, "through device memory and back");
    replay.process_buffers(&from, &mut to, Parameters::default()).unwrap();
    assert_eq!(ask("driver_launches"), 7 * kernels);
    assert!(replay.free_memory().unwrap() < 1 << 32);
    assert!(replay.figures().unwrap().copy_bandwidth > 0.0);
    backend.time_stages(true);
    output(&mut out, &mut |frame| {
        let report = unfold(&mut backend, &schedule, &input, Parameters::default(), frame).unwrap();
        // Each measured span is a quarter of a millisecond on this driver.
        let spans = report.stages.map(|s| (s.as_secs_f64() * 4e3).round() as u32);
        assert_eq!(spans, [1, 1, rounds - 1, rounds, rounds, 1, 1]);
    });
    assert_eq!(backend.read(Quantity::Q).unwrap().len(), 64 * 48);
    backend.prepare(&Geometry::new(spec, 0, 8)).unwrap();
    assert_eq!(ask("driver_depth"), 0, "the thread has the context that it had before");
    drop((backend, from, to));
    assert_eq!(ask("driver_live"), 0, "something was not given back");
}

/// Stages that cannot be captured are issued for every frame.
fn without_capture() {
    let (mut backend, spec) = backend(Cuda::open(0, None).unwrap(), (64, 48)).unwrap();
    let bytes = vec![0; 64 * 48];
    let plane = Plane {
        data: &bytes,
        stride: 64,
    };
    let replay: &mut dyn Replay = &mut backend;
    // The updates ran once, to see that they run.
    let rounds = Pack::open("lite").unwrap().manifest().schedule.rounds as i32;
    assert_eq!(ask("driver_launches"), rounds - 1);
    let before = ask("driver_launches");
    replay
        .submit(&Frame::new(spec, &[plane]).unwrap(), Parameters::default())
        .unwrap();
    assert_eq!(ask("driver_launches") - before, rounds + 1);
    drop(backend);
    assert_eq!(ask("driver_live"), 0);
}

fn refused(error: Result<impl Sized>, kind: ErrorKind, parts: &[&str]) {
    let error: Error = error.err().expect("an error");
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "no '{part}' in: {error}");
    }
}

fn run(case: &str) {
    use ErrorKind::{BackendUnavailable, InvalidOption, OutOfMemory};
    let open = |ordinal| Cuda::open(ordinal, None);
    match case {
        "works" | "works without pools" => frames_go_through(),
        "no capture" => without_capture(),
        "old driver" => refused(open(0), BackendUnavailable, &["11.8", "525"]),
        "old GPU" => refused(open(0), BackendUnavailable, &["6.1", "7.0", "device-id"]),
        "no GPU" => refused(open(0), BackendUnavailable, &["100", "nvidia-smi"]),
        "another GPU" => refused(open(5), InvalidOption, &["no GPU 5", "0 (Pretended GPU)", "device-id"]),
        "PTX" => refused(open(0), BackendUnavailable, &["Ingest", "Pretended GPU", "525"]),
        "memory" => {
            let cuda = open(0).unwrap();
            let short = backend(cuda.clone(), (1920, 1080)).map(|_| ());
            refused(
                short,
                OutOfMemory,
                &[
                    "GPU memory",
                    "MiB were asked for",
                    "of 32 MiB are free",
                    "precision=fp16",
                ],
            );
            // What was taken has been given back, and smaller frames fit.
            drop(backend(cuda, (64, 48)).unwrap());
            assert_eq!(ask("driver_live"), 0);
        }
        other => panic!("no case {other}"),
    }
}

#[test]
fn on_a_driver_that_is_pretended() {
    if let Ok(case) = std::env::var(CASE) {
        return run(&case);
    }
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cuda/context/driver.c");
    let folder = std::env::temp_dir().join(format!("uretinex-driver-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let made = Command::new(&compiler)
        .args([
            "-std=c11",
            "-D_GNU_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O1",
            "-shared",
            "-fPIC",
        ])
        .arg("-Wl,-soname,libcuda.so.1")
        .arg(&source)
        .arg("-o")
        .arg(folder.join("libcuda.so.1"))
        .output()
        .unwrap_or_else(|e| panic!("{compiler} cannot be started ({e}): install build-essential"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let test = "cuda::context::tests::on_a_driver_that_is_pretended";
    let mut failures = Vec::new();
    for (case, variable, value) in [
        ("works", "DRIVER_POOLS", "1"),
        ("works without pools", "DRIVER_POOLS", "0"),
        ("no capture", "DRIVER_REFUSES_CAPTURE", "1"),
        ("old driver", "DRIVER_CUDA", "11080"),
        ("old GPU", "DRIVER_CAPABILITY", "61"),
        ("no GPU", "DRIVER_INIT", "100"),
        ("another GPU", "DRIVER_POOLS", "1"),
        ("PTX", "DRIVER_REFUSES_PTX", "1"),
        ("memory", "DRIVER_MEMORY", "33554432"),
    ] {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env("LD_LIBRARY_PATH", &folder)
            .env(CASE, case)
            .env(variable, value)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        if !out.status.success() || !said.contains("1 passed") {
            failures.push(format!("{case}: {said}{}", String::from_utf8_lossy(&out.stderr)));
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
