//! CUDA memory on a machine without a GPU: the element takes system memory only, and says why. The parts that need a
//! GPU's library are tested against a mock, in `src/gstcuda/tests.rs` and `src/uretinexenhance/cuda_memory/tests.rs`.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::{Rig, caps, element, frame};
use gst::prelude::*;

const FEATURE: &str = "memory:CUDAMemory";

/// What the machine lacks to take frames in CUDA memory; otherwise says that the test is skipped.
fn lacking() -> bool {
    let lacks = uretinex::probe().cuda_lacks().is_some();
    if !lacks {
        eprintln!("SKIPPED: this machine has a GPU and TensorRT");
    }
    lacks
}

fn has_cuda(caps: &gst::Caps) -> bool {
    caps.iter_with_features()
        .any(|(_, features)| features.contains(FEATURE))
}

#[test]
fn templates_name_both_memories() {
    common::init();
    let factory = gst::ElementFactory::find("uretinexenhance").unwrap();
    for template in factory.static_pad_templates() {
        let caps = template.caps();
        let features: Vec<_> = caps.iter_with_features().map(|(_, f)| f.to_string()).collect();
        assert_eq!(features, [FEATURE, "memory:SystemMemory"], "{caps}");
    }
}

/// Before the start the property alone decides; what the machine lacks is known from the start on.
#[test]
fn it_is_offered_by_the_property_until_the_start() {
    if !lacking() {
        return;
    }
    common::init();
    let filter: gst::Caps = "video/x-raw(memory:CUDAMemory), format=NV12".parse().unwrap();
    for (backend, before) in [
        ("auto", true),
        ("cuda", true),
        ("tensorrt", true),
        ("cpu", false),
        ("identity", false),
    ] {
        let element = element(backend);
        let offered = || {
            ["sink", "src"].map(|pad| {
                let pad = element.static_pad(pad).unwrap();
                let caps = pad.query_caps(None);
                let system = |(_, f): (_, &gst::CapsFeaturesRef)| f.contains("memory:SystemMemory");
                assert!(caps.iter_with_features().any(system), "{backend} {}", pad.name());
                let cuda = has_cuda(&caps);
                assert_eq!(
                    pad.query_caps(Some(&filter)).is_empty(),
                    !cuda,
                    "{backend} {}",
                    pad.name()
                );
                cuda
            })
        };
        for state in [gst::State::Null, gst::State::Ready] {
            element.set_state(state).unwrap();
            assert_eq!(offered(), [before; 2], "{backend} {state:?}");
        }
        // With `cuda` and `tensorrt` the start fails.
        if element.set_state(gst::State::Paused).is_ok() {
            assert_eq!(offered(), [false; 2], "{backend} started");
            element.set_state(gst::State::Ready).unwrap();
            assert_eq!(offered(), [before; 2], "{backend} stopped");
        } else {
            assert!(matches!(backend, "cuda" | "tensorrt"), "{backend}");
        }
        element.set_state(gst::State::Null).unwrap();
    }
}

/// The environment variable by which a test knows that it is the child.
const INSIDE: &str = "URETINEX_TEST_INSIDE";

/// Whether a library of that name is in this process.
fn is_open(library: &str) -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap().contains(library)
}

/// What `gst-inspect-1.0` and a pipeline that is put together do, in a process that finds libraries in the place of the
/// driver's, TensorRT's and GStreamer's.
#[test]
fn no_library_is_opened_before_the_start() {
    const LIBRARIES: [&str; 3] = ["libcuda.so", "libnvinfer", "libgstcuda"];
    if std::env::var_os(INSIDE).is_some() {
        let open = || LIBRARIES.map(is_open);
        let element = element("auto");
        for property in element.list_properties() {
            let _ = element.property_value(property.name());
        }
        let mut context = gst::Context::new("gst.cuda.context", true);
        context.get_mut().unwrap().structure_mut().set("cuda-device-id", 0u32);
        let mut cuda = caps("NV12", 64, 48);
        cuda.make_mut().set_features(0, Some(gst::CapsFeatures::new([FEATURE])));
        for state in [gst::State::Null, gst::State::Ready, gst::State::Null] {
            element.set_state(state).unwrap();
            element.set_context(&context);
            for pad in ["sink", "src"] {
                let pad = element.static_pad(pad).unwrap();
                assert!(has_cuda(&pad.query_caps(None)));
                assert!(pad.query_accept_caps(&cuda));
                let mut neighbour = gst::query::Context::new("gst.cuda.context");
                assert!(!pad.query(neighbour.query_mut()));
            }
            assert_eq!(open(), [false; 3], "{LIBRARIES:?} in {state:?}");
        }
        // The test sees them: the start looks at the machine.
        let _ = element.set_state(gst::State::Paused);
        assert!(is_open("libcuda.so"), "not even when the element is started");
        element.set_state(gst::State::Null).unwrap();
        return;
    }
    let folder = std::env::temp_dir().join(format!("uretinex-libraries-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // A driver that finds no GPU, and two libraries with nothing in them.
    let source = folder.join("empty.c");
    std::fs::write(&source, "int cuInit (unsigned flags) { return 100; }\n").unwrap();
    for library in ["libcuda.so.1", "libnvinfer.so.10", "libgstcuda-1.0.so.0"] {
        compile(&source, &folder.join(library));
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["no_library_is_opened_before_the_start", "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .env("LD_LIBRARY_PATH", &folder)
        .output()
        .unwrap();
    let _ = std::fs::remove_dir_all(folder);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
}

fn compile(source: &Path, library: &Path) {
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(library).arg(source);
    assert!(
        compiler.status().expect("a C compiler").success(),
        "{}",
        library.display()
    );
}

#[test]
fn the_log_says_why_and_frames_in_system_memory_go_through() {
    if !lacking() {
        return;
    }
    common::init();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = {
        let lines = lines.clone();
        gst::log::add_log_function(move |category, _, _, _, _, _, message| {
            if category.name() == "uretinexenhance" {
                lines.lock().unwrap().extend(message.get().map(|m| m.to_string()));
            }
        })
    };
    gst::log::set_threshold_for_name("uretinexenhance", gst::DebugLevel::Info);
    let caps = caps("NV12", 64, 48);
    let mut rig = Rig::new("auto", &caps);
    rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
    assert_eq!((rig.count("frames"), rig.errors().len()), (1, 0));
    gst::log::remove_log_function(log);
    let lines = lines.lock().unwrap();
    let lack = uretinex::probe().cuda_lacks().unwrap();
    let said = lines
        .iter()
        .filter(|l| l.contains("frames in CUDA memory are not taken") && l.contains(&lack));
    assert!(said.count() >= 1, "{lines:#?}");
}

#[test]
fn frames_in_cuda_memory_are_refused_with_the_reason() {
    if !lacking() {
        return;
    }
    common::init();
    let lack = uretinex::probe().cuda_lacks().unwrap();
    for backend in ["auto", "identity"] {
        let good = caps("NV12", 64, 48);
        let mut rig = Rig::new(backend, &good);
        rig.harness.push_and_pull(frame(&good, 0)).unwrap();
        // In mid-stream, from a source that does not ask what is taken.
        let mut bad = good.clone();
        bad.make_mut().set_features(0, Some(gst::CapsFeatures::new([FEATURE])));
        let pad = rig.harness.srcpad().unwrap();
        let _ = pad.push_event(gst::event::Caps::new(&bad));
        assert_eq!(
            pad.push(frame(&good, 1)),
            Err(gst::FlowError::NotNegotiated),
            "{backend}"
        );
        let errors = rig.errors();
        println!("{backend}: {errors:?}");
        assert_eq!(errors.len(), 1, "{backend}: {errors:?}");
        let reason = if backend == "auto" {
            lack.as_str()
        } else {
            "only backend=cuda, tensorrt and auto"
        };
        for part in [FEATURE, reason, "cudadownload"] {
            assert!(errors[0].contains(part), "{backend}: no '{part}' in {errors:?}");
        }
    }
}

#[test]
fn a_link_that_allows_only_cuda_memory_is_made_where_it_may_be_taken() {
    if !lacking() {
        return;
    }
    common::init();
    let cuda = "video/x-raw(memory:CUDAMemory)";
    let link = |before: &str| gst::parse::launch(&format!("{before} ! {cuda} ! fakesink"));
    for before in [
        // A backend that never takes such frames.
        "uretinexenhance backend=cpu",
        // One that may, behind an element that has none.
        "videotestsrc ! video/x-raw ! uretinexenhance",
    ] {
        let error = link(before).expect_err("a refusal");
        println!("not linked: {error}");
        assert!(error.matches(gst::ParseError::Link), "{error}");
    }
    // Whether this machine can take them is known from the start on.
    link("uretinexenhance").unwrap();
}
