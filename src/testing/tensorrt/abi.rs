//! Calls with structures, the logger and the progress monitor, against what the C++ compiler makes of them.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::process::Command;

use libloading::Library;

use crate::gpu::{
    Context, Generation, Memory, Monitor, Network, Profile, Selector, complaints, forget, load, logger, symbol,
};
use crate::pack::{Pack, Subnetwork, Variant};
use crate::testing::tensorrt::{library, network, replace};

/// The methods of abi.cpp, in their order there.
const BY_VALUE: i32 = 0;
const BY_REFERENCE: i32 = 1;
const SET_SHAPE: i32 = 2;
const SHAPE_OF: i32 = 3;
const DIMENSIONS: i32 = 4;

fn compiled() -> &'static Library {
    let folder = std::env::temp_dir().join(format!("uretinex-abi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (source, library) = (folder.join("abi.cpp"), folder.join("libabi.so"));
    std::fs::write(&source, include_str!("abi.cpp")).unwrap();
    let out = Command::new("c++")
        .args(["-std=c++14", "-O2", "-Wall", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let library = load(&library).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    library
}

fn seen(library: &Library) -> String {
    // SAFETY: the signature in abi.cpp; the text stays.
    unsafe {
        let ask = symbol::<unsafe extern "C" fn() -> *const c_char>(library, "what_was_seen").unwrap();
        CStr::from_ptr(ask()).to_string_lossy().into_owned()
    }
}

#[test]
fn calls_and_objects_are_those_of_the_compiler() {
    let cpp = compiled();
    for (column, is_wide) in [(0, 0), (3, 1)] {
        // SAFETY: the signature in abi.cpp.
        let method = |slot: i32| unsafe {
            symbol::<unsafe extern "C" fn(i32, i32) -> usize>(cpp, "method")
                .map(|m| m(is_wide, slot))
                .unwrap()
        };
        let library = library(column);
        let set_dimensions = if is_wide == 1 { BY_REFERENCE } else { BY_VALUE };
        replace("Profile", "setDimensions", method(set_dimensions));
        replace("Context", "setInputShape", method(SET_SHAPE));
        replace("Context", "getTensorShape", method(SHAPE_OF));
        replace("Tensor", "getDimensions", method(DIMENSIONS));

        let builder = library.builder().unwrap();
        let mut profile = Profile::create(&builder).unwrap();
        profile.set("image", Selector::Opt, &[1, 3, 1080, 1920]).unwrap();
        assert_eq!(seen(cpp), "image 1: 1 3 1080 1920", "column {column}");
        assert!(profile.set("image", Selector::Max, &[1, 3]).is_err());
        assert_eq!(seen(cpp), "image 2: 1 3", "column {column}");

        let engine = library
            .runtime()
            .unwrap()
            .engine(b"plan of illumination".to_vec())
            .unwrap();
        let mut context = Context::new(&engine, Memory::Own).unwrap();
        context.set_input_shape("q", &[1, 1, 32, 24]).unwrap();
        assert_eq!(seen(cpp), "q -1: 1 1 32 24", "column {column}");
        assert!(context.set_input_shape("q", &[1, 1, -1, 24]).is_err());
        assert_eq!(context.shape("four").unwrap(), [4, 3, 48, 64], "column {column}");

        let mut network = Network::around(library, network()).unwrap();
        let pack = Pack::open("lite").unwrap();
        network
            .parse(pack.onnx(Subnetwork::Illumination, Variant::Fp32).unwrap())
            .unwrap();
        let expected = [("q", true), ("l", false)].map(|(name, input)| (name.to_string(), vec![1, 3, 48, 64], input));
        assert_eq!(network.ports().unwrap(), expected, "column {column}");
    }

    type Log = unsafe extern "C" fn(*mut c_void, i32, *const c_char) -> i32;
    for (function, generation) in [
        ("log_plain", Generation::Eight),
        ("log_plain", Generation::Ten),
        ("log_versioned", Generation::Eleven),
    ] {
        forget();
        // SAFETY: the signature in abi.cpp; the logger is static, the message is read during the call.
        let known = unsafe {
            let log = symbol::<Log>(cpp, function).unwrap();
            log(logger(generation), 2, c"a warning".as_ptr());
            log(logger(generation), 1, c"no such kernel".as_ptr())
        };
        assert_eq!(known, 0, "{generation:?}");
        let said = complaints();
        assert!(
            said.contains("no such kernel") && !said.contains("a warning"),
            "{generation:?}: {said}"
        );
    }

    // SAFETY: the signature in abi.cpp.
    let ask = |monitor: &Monitor| unsafe {
        symbol::<unsafe extern "C" fn(*mut c_void) -> i32>(cpp, "goes_on")
            .map(|ask| ask(monitor.address()))
            .unwrap()
    };
    let monitor = Monitor::new();
    assert_eq!(ask(&monitor), 1);
    monitor.cancel();
    assert_eq!(ask(&monitor), 0);
}
