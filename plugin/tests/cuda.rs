//! CUDA memory on a machine without a GPU: the element is what it was without it, and says why. The parts that need a
//! GPU's library are tested against a mock, in `src/gstcuda/tests.rs` and `src/uretinexenhance/device/tests.rs`.

mod common;

use std::sync::{Arc, Mutex};

use common::{Rig, caps, element, frame};
use gst::prelude::*;

const FEATURE: &str = "memory:CUDAMemory";

/// What the machine lacks to take frames in CUDA memory; otherwise says that the test is skipped.
fn lacking() -> bool {
    let lacks = uretinex::probe().tensorrt_lacks().is_some();
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

#[test]
fn only_system_memory_is_offered_without_a_gpu() {
    if !lacking() {
        return;
    }
    for backend in ["auto", "tensorrt", "cpu"] {
        let element = element(backend);
        for pad in ["sink", "src"] {
            let pad = element.static_pad(pad).unwrap();
            assert!(!has_cuda(&pad.query_caps(None)), "{backend} {}", pad.name());
            let filter: gst::Caps = "video/x-raw(memory:CUDAMemory), format=NV12".parse().unwrap();
            assert!(pad.query_caps(Some(&filter)).is_empty(), "{backend} {}", pad.name());
        }
    }
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
    let lack = uretinex::probe().tensorrt_lacks().unwrap();
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
    let lack = uretinex::probe().tensorrt_lacks().unwrap();
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
            "only backend=tensorrt and auto"
        };
        for part in [FEATURE, reason, "cudadownload"] {
            assert!(errors[0].contains(part), "{backend}: no '{part}' in {errors:?}");
        }
    }
}

#[test]
fn a_link_that_allows_only_cuda_memory_is_refused() {
    if !lacking() {
        return;
    }
    common::init();
    let error = gst::parse::launch("uretinexenhance ! video/x-raw(memory:CUDAMemory) ! fakesink").err();
    let error = error.expect("a refusal");
    println!("not linked: {error}");
    assert!(error.matches(gst::ParseError::Link), "{error}");
}
