//! The device on a driver that stands in for NVIDIA's (`tests/doubles/cuda_driver.c`): that calls are made as documented,
//! that nothing leaks, and what is said when something goes wrong. Each case is a process of its own, as a driver is looked
//! for once.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use libloading::Library;

use crate::backend::{Backend, Executor, Geometry};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{FrameSpec, PixelFormat};
use crate::gpu::driver::cuda::Cuda;
use crate::gpu::{GpuBackend, GpuExecutor};
use crate::pack::{Pack, Precision, Schedule};
use crate::session::{BackendChoice, Enhancer, Options};
use crate::stages::{Parameters, Plan, Quantity};
use crate::testing::{IdleNetworks, Picture, spec};

/// The case that a process is to run.
const CASE: &str = "URETINEX_TEST_CASE";

/// A number that the driver tells of itself.
fn ask(what: &str) -> i32 {
    // SAFETY: the library is the stand-in, already open, and the functions have this signature.
    unsafe {
        let library = Library::new("libcuda.so.1").unwrap();
        library.get::<unsafe extern "C" fn() -> i32>(what.as_bytes()).unwrap()()
    }
}

fn schedule() -> Schedule {
    Pack::open("lite").unwrap().manifest().schedule
}

/// Networks that compute nothing on the stand-in, and grey frames of `size`.
fn prepared(device: Arc<Cuda>, size: (usize, usize)) -> Result<(GpuBackend, GpuExecutor, FrameSpec)> {
    let networks = IdleNetworks::new(Precision::Fp16, None);
    let mut backend = GpuBackend::new(device, Box::new(networks), &schedule())?;
    let spec = spec(PixelFormat::Gray8, size);
    let executor = backend.executor(&Geometry::new(spec, 0, 4))?;
    Ok((backend, executor, spec))
}

const PLAN: Plan = Plan::single(Parameters {
    ratio: 4.0,
    strength: 1.0,
    brightness: 0.0,
    temporal: 0.0,
});

/// Frames in every way that there is. Kernels are not run: they are counted, and output is what memory was cleared to.
fn frames_go_through() {
    let cuda = Cuda::open(0, None).unwrap();
    assert!(Arc::ptr_eq(&cuda, &Cuda::open(0, None).unwrap()));
    let (mut backend, mut executor, spec) = prepared(cuda, (64, 48)).unwrap();
    let input = Picture::dark(spec, 1);
    let mut output = input.clone();
    let rounds = schedule().rounds;
    // Ingest, an update for each round but the first, compose.
    let kernels = rounds as i32 + 1;
    assert_eq!((executor.alignment(), ask("driver_launches")), (16, 0));
    for _ in 0..3 {
        executor.submit(&input.frame(), &PLAN).unwrap();
        executor.submit(&input.frame(), &PLAN).unwrap();
        for _ in 0..2 {
            executor.collect(&mut output.frame_mut()).unwrap();
        }
    }
    assert_eq!(ask("driver_launches"), 6 * kernels);
    assert!(output == Picture::black(spec), "memory is cleared when it is allocated");
    let [mut from, to] = [0, 1].map(|_| backend.device_buffer(&spec).unwrap());
    from.upload(&input.frame()).unwrap();
    from.download(&mut output.frame_mut()).unwrap();
    assert!(output == input, "through device memory and back");
    let (input_there, output_there) = (from.frame().unwrap(), to.frame().unwrap());
    executor
        .process_device(&input_there, &output_there, None, &PLAN, None)
        .unwrap();
    assert_eq!(ask("driver_launches"), 7 * kernels);
    assert!(backend.free_memory().unwrap() < 1 << 32);
    assert!(executor.memory_figures().unwrap().copy_bandwidth > 0.0);
    let report = executor
        .process_timed(&input.frame(), &mut output.frame_mut(), &PLAN)
        .unwrap();
    // Each measured span is a quarter of a millisecond on this driver.
    let spans = report.stages.map(|s| (s.as_secs_f64() * 4e3).round() as u32);
    assert_eq!(spans, [1, 0, 1, rounds - 1, rounds, rounds, 1, 1]);
    assert_eq!(Executor::read(&mut executor, Quantity::Q).unwrap().len(), 64 * 48);
    let another = backend.prepare(&Geometry::new(spec, 0, 8)).unwrap();
    assert_eq!(ask("driver_depth"), 0, "the thread has the context that it had before");
    drop((backend, executor, another, from, to));
    assert_eq!(ask("driver_live"), 0, "something was not given back");
}

/// Stages that cannot be captured are issued for every frame.
fn without_capture() {
    let (backend, mut executor, spec) = prepared(Cuda::open(0, None).unwrap(), (64, 48)).unwrap();
    // The updates ran once, to see that they run.
    let rounds = schedule().rounds as i32;
    assert_eq!(ask("driver_launches"), rounds - 1);
    let before = ask("driver_launches");
    executor.submit(&Picture::black(spec).frame(), &PLAN).unwrap();
    assert_eq!(ask("driver_launches") - before, rounds + 1);
    drop((backend, executor));
    assert_eq!(ask("driver_live"), 0);
}

/// Our own networks: the driver takes their modules, launches go out as a frame's do, and as no kernel is run, the comparison
/// with the processor finds them wrong. `auto` then goes on without them.
fn our_own_networks() {
    let spec = spec(PixelFormat::Nv12, (64, 48));
    let options = |backend| Options {
        backend,
        model: "video".into(),
        threads: 1,
        ..Options::default()
    };
    let began = Instant::now();
    let mut enhancer = Enhancer::new(&options(BackendChoice::Cuda)).unwrap();
    println!("the backend starts in {:.0?}", began.elapsed());
    assert_eq!((enhancer.backend_name(), ask("driver_launches")), ("cuda", 0));
    let parts = ["of video", "dB are needed", "backend=cpu"];
    refused(enhancer.prepare(&spec), ErrorKind::BackendFailed, &parts);
    // All networks twice, in 16 and in 32 bits.
    assert!(ask("driver_launches") > 60, "{}", ask("driver_launches"));
    drop(enhancer);
    assert_eq!(ask("driver_live"), 0, "something was not given back");
    let mut enhancer = Enhancer::new(&options(BackendChoice::Auto)).unwrap();
    assert_eq!(enhancer.backend_name(), "cuda", "there is no TensorRT");
    enhancer.prepare(&spec).unwrap();
    assert_eq!(enhancer.backend_name(), "cpu");
    drop(enhancer);
    assert_eq!((ask("driver_live"), ask("driver_depth")), (0, 0));
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
        "our own networks" | "our own networks on tensor cores" => our_own_networks(),
        "old driver" => refused(open(0), BackendUnavailable, &["11.8", "525"]),
        "old GPU" => refused(open(0), BackendUnavailable, &["6.1", "7.0", "device-id"]),
        "no GPU" => refused(
            open(0),
            BackendUnavailable,
            &["cuInit found no CUDA device (100)", "nvidia-smi"],
        ),
        "other kernel" => refused(open(0), BackendUnavailable, &["different versions (803)"]),
        "stub" => refused(open(0), BackendUnavailable, &["stub", "LD_LIBRARY_PATH"]),
        "another error" => refused(open(0), BackendUnavailable, &["cuInit returned CUDA error 999"]),
        "another GPU" => refused(open(5), InvalidOption, &["no GPU 5", "0 (Pretended GPU)", "device-id"]),
        "PTX" => refused(open(0), BackendUnavailable, &["ingest", "Pretended GPU", "525"]),
        "memory" => {
            let cuda = open(0).unwrap();
            let short = prepared(cuda.clone(), (1920, 1080));
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
            drop(prepared(cuda, (64, 48)).unwrap());
            assert_eq!(ask("driver_live"), 0);
        }
        other => panic!("no case {other}"),
    }
}

#[test]
fn cases_on_a_stand_in_driver() {
    if let Ok(case) = std::env::var(CASE) {
        return run(&case);
    }
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/doubles/cuda_driver.c");
    let folder = std::env::temp_dir().join(format!("uretinex-driver-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let made = Command::new(&compiler)
        .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1"])
        .args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"])
        .arg(&source)
        .arg("-o")
        .arg(folder.join("libcuda.so.1"))
        .output()
        .unwrap_or_else(|e| panic!("{compiler} cannot be started ({e}): install build-essential"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let test = "gpu::driver::cuda::tests::cases_on_a_stand_in_driver";
    let mut failures = Vec::new();
    for (case, variable, value) in [
        ("works", "DRIVER_POOLS", "1"),
        ("works without pools", "DRIVER_POOLS", "0"),
        ("no capture", "DRIVER_REFUSES_CAPTURE", "1"),
        ("our own networks", "DRIVER_CAPABILITY", "75"),
        ("our own networks on tensor cores", "DRIVER_CAPABILITY", "90"),
        ("old driver", "DRIVER_CUDA", "11080"),
        ("old GPU", "DRIVER_CAPABILITY", "61"),
        ("no GPU", "DRIVER_INIT", "100"),
        ("other kernel", "DRIVER_INIT", "803"),
        ("stub", "DRIVER_INIT", "34"),
        ("another error", "DRIVER_INIT", "999"),
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
