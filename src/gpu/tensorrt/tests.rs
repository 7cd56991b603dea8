//! The binding against objects with the documented layout, for each version family.

use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::gpu::tensorrt::build::{Span, build};
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::objects::{Context, Element, Memory, NarrowDims, ParseError, Runtime, Tensor, WideDims};
use crate::gpu::tensorrt::tables::Table;
use crate::gpu::tensorrt::version::Version;
use crate::pack::{Pack, Precision, Subnetwork, Variant};
use crate::testing::tensorrt::{Fault, VERSIONS, break_with, calls, library, live};

pub(super) const SPAN: Span = Span {
    min: (16, 24),
    opt: (64, 48),
    max: (128, 96),
};

fn onnx(which: Subnetwork) -> Vec<u8> {
    let pack = Pack::open("lite").unwrap();
    pack.onnx(which, Variant::Fp16).unwrap().to_vec()
}

fn plan(which: Subnetwork) -> Vec<u8> {
    format!("plan of {}", which.name()).into_bytes()
}

/// Builds an engine that is wanted to the end, without a timing cache.
fn built(library: &'static Library, onnx: &[u8], which: Subnetwork) -> Result<Vec<u8>> {
    let (precision, mut measured) = (Precision::Fp16, Vec::new());
    build(library, onnx, which, precision, SPAN, &mut measured, &mut || Ok(()))
}

#[test]
fn dimensions_have_the_layout_of_their_version() {
    assert_eq!((size_of::<NarrowDims>(), align_of::<NarrowDims>()), (36, 4));
    assert_eq!((size_of::<WideDims>(), align_of::<WideDims>()), (72, 8));
    assert_eq!(std::mem::offset_of!(WideDims, d), 8);
}

#[test]
fn an_engine_is_built_by_the_right_calls() {
    for (column, told) in VERSIONS.into_iter().enumerate() {
        let library = library(column);
        let (network_flags, tf32) = [(1, 7), (1, 7), (2, 6), (2, 6), (0, 6)][column];
        for precision in [Precision::Fp16, Precision::Fp32] {
            calls();
            let mut measured = b"earlier".to_vec();
            let bytes = onnx(Subnetwork::Adjustment);
            let which = Subnetwork::Adjustment;
            let made = build(library, &bytes, which, precision, SPAN, &mut measured, &mut || Ok(())).unwrap();
            assert_eq!(made, plan(which), "{told}");
            assert_eq!(measured, b"earlier.", "{told}");
            let mut expected = vec![
                "Builder.getLogger()".to_string(),
                "Builder.getMaxThreads()".into(),
                "Builder.setMaxThreads(2)".into(),
                "Builder.getMaxThreads()".into(),
                "Builder.setMaxThreads(1)".into(),
                format!("Builder.createNetworkV2({network_flags})"),
                format!("Parser.parse({} bytes)", bytes.len()),
                "Builder.createBuilderConfig()".into(),
            ];
            if column < 2 && precision == Precision::Fp16 {
                expected.push("Config.setFlag(0)".into());
            }
            expected.push(format!("Config.clearFlag({tf32})"));
            if column < 4 {
                expected.push("Config.setTacticSources(0x18)".into());
            }
            const MONITOR: &str = "Config.setProgressMonitor()";
            expected.extend(
                [
                    "Builder.createOptimizationProfile()",
                    "Tensor.setAllowedFormats(l, 1)",
                    "Tensor.setAllowedFormats(ratio, 1)",
                    "Tensor.setAllowedFormats(l_adjusted, 1)",
                    "Profile.setDimensions(l, 0, [1, 1, 24, 16])",
                    "Profile.setDimensions(l, 1, [1, 1, 48, 64])",
                    "Profile.setDimensions(l, 2, [1, 1, 96, 128])",
                    "Config.addOptimizationProfile(Profile)",
                    "Config.createTimingCache(7)",
                    "Config.setTimingCache(Cache, 0)",
                    MONITOR,
                    "Builder.buildSerializedNetwork(Network, Config)",
                    "delete Memory",
                    "Config.getTimingCache()",
                    "delete Memory",
                    // What is used is deleted after what uses it.
                    "delete Config",
                    "delete Parser",
                    "delete Network",
                    "delete Builder",
                    "delete Cache",
                ]
                .map(String::from)
                .into_iter()
                // 8.x has none.
                .filter(|call| column >= 2 || call != MONITOR),
            );
            assert_eq!(calls(), expected, "{told} {precision:?}");
            assert!(live().is_empty(), "{told}: {:?}", live());
        }
    }
}

fn runtime(column: usize) -> Arc<Runtime> {
    let runtime = library(column).runtime().unwrap();
    calls();
    runtime
}

#[test]
fn a_runtime_is_looked_at_before_it_is_used() {
    for (column, told) in VERSIONS.into_iter().enumerate() {
        drop(library(column).runtime().unwrap());
        let mut expected = vec![
            "Runtime.getLogger()",
            "Runtime.getMaxThreads()",
            "Runtime.setMaxThreads(2)",
            "Runtime.getMaxThreads()",
            "Runtime.setMaxThreads(1)",
            "delete Runtime",
        ];
        if column > 0 {
            expected.insert(0, "Runtime.getPImpl()");
        }
        assert_eq!(calls(), expected, "{told}");
    }
}

#[test]
fn an_engine_runs_by_the_right_calls() {
    for (column, told) in VERSIONS.into_iter().enumerate() {
        let runtime = runtime(column);
        let engine = runtime.engine(plan(Subnetwork::Restoration)).unwrap();
        let tensor = |name: &str, input| Tensor {
            name: name.into(),
            input,
            element: Element::F16,
        };
        assert_eq!(
            engine.tensors(),
            [tensor("p", true), tensor("q", true), tensor("r", false)],
            "{told}"
        );
        let mut context = Context::new(&engine, Memory::Own).unwrap();
        context.set_input_shape("p", &[1, 3, 48, 64]).unwrap();
        assert!(context.set_input_shape("p", &[1, 3, -48, 64]).is_err(), "{told}");
        context.set_address("p", 0x7_0000_0100).unwrap();
        assert!(context.set_address("p", 0).is_err() && context.set_address("absent", 256).is_err());
        assert_eq!(context.shape("r").unwrap(), [1, 3, 48, 64], "{told}");
        assert!(context.shape("absent").is_err(), "{told}");
        run(&mut context, 0xabc0).unwrap();
        assert!(run(&mut context, 0).is_err(), "{told}");
        let made = if column < 2 {
            "Engine.createExecutionContext()"
        } else {
            "Engine.createExecutionContext(0)"
        };
        assert_eq!(
            calls(),
            [
                "Runtime.deserializeCudaEngine(\"plan of restoration\")",
                made,
                "Context.setInputShape(p, [1, 3, 48, 64])",
                "Context.setInputShape(p, [1, 3, -48, 64])",
                "Context.setTensorAddress(p, 0x700000100)",
                "Context.setTensorAddress(absent, 0x100)",
                "Context.getTensorShape(r)",
                "Context.getTensorShape(absent)",
                "Context.enqueueV3(0xabc0)",
                "Context.enqueueV3(0x0)",
            ],
            "{told}"
        );
        // The context keeps what it needs, in the order in which it has to go.
        drop((engine, runtime));
        assert!(calls().is_empty(), "{told}");
        drop(context);
        assert_eq!(calls(), ["delete Context", "delete Engine", "delete Runtime"], "{told}");
    }
}

#[allow(unsafe_code)]
fn run(context: &mut crate::gpu::tensorrt::objects::Context, stream: usize) -> Result<()> {
    // SAFETY: the mock's context uses neither stream nor addresses.
    unsafe { context.enqueue(stream as *mut _) }
}

#[test]
fn a_second_context_of_8_has_an_engine_of_its_own() {
    for (column, told) in VERSIONS.into_iter().enumerate() {
        let runtime = runtime(column);
        let engine = runtime.engine(plan(Subnetwork::Illumination)).unwrap();
        let contexts: Vec<_> = (0..3).map(|_| Context::new(&engine, Memory::Own).unwrap()).collect();
        let engines = calls().iter().filter(|c| c.starts_with("Runtime.deserialize")).count();
        assert_eq!(engines, if column < 2 { 3 } else { 1 }, "{told}");
        drop((contexts, engine, runtime));
        assert!(live().is_empty(), "{told}: {:?}", live());
    }
}

#[test]
#[allow(unsafe_code)]
fn memory_can_be_lent() {
    for (column, told) in VERSIONS.into_iter().enumerate() {
        let runtime = runtime(column);
        let engine = runtime.engine(plan(Subnetwork::Illumination)).unwrap();
        let mut context = Context::new(&engine, Memory::Lent).unwrap();
        let e = context.memory_needed().unwrap_err().to_string();
        assert!(e.contains("shapes of 1 inputs have to be set"), "{told}: {e}");
        context.set_input_shape("q", &[1, 1, 48, 64]).unwrap();
        let bytes = context.memory_needed().unwrap();
        assert_eq!(bytes, 5 << 30, "{told}");
        // SAFETY: the mock's context uses no memory.
        unsafe {
            assert!(context.lend_memory(0x1_0040, bytes).is_err(), "{told}");
            context.lend_memory(0x1_0100, bytes).unwrap();
        }
        let (made, size, lent) = match column {
            0 | 1 => (
                "createExecutionContextWithoutDeviceMemory()",
                "Engine.memory size",
                "(0x10100)",
            ),
            2 => ("createExecutionContext(2)", "Context.memory size", "(0x10100)"),
            _ => (
                "createExecutionContext(2)",
                "Context.memory size",
                "V2(0x10100, 5368709120)",
            ),
        };
        assert_eq!(
            calls()[1..],
            [
                format!("Engine.{made}"),
                "Context.setInputShape(q, [1, 1, 48, 64])".into(),
                "Context.getTensorShape(l)".into(),
                size.into(),
                format!("Context.setDeviceMemory{lent}"),
            ],
            "{told}"
        );
    }
}

#[test]
fn a_file_that_the_parser_refuses_is_a_typed_error() {
    for (column, told) in VERSIONS.into_iter().enumerate() {
        let library = library(column);
        let e = built(library, b"rubbish", Subnetwork::Adjustment).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ModelInvalid, "{told}");
        let cause = std::error::Error::source(&e)
            .unwrap()
            .downcast_ref::<ParseError>()
            .unwrap();
        let expected = ParseError {
            code: 8,
            description: "no such operator: Frobnicate".into(),
            node: 3,
            place: ("ModelImporter.cpp".into(), 77, String::new()),
        };
        assert_eq!(cause, &expected, "{told}");
        assert!(e.to_string().contains("Frobnicate"), "{e}");
        assert!(live().is_empty(), "{told}: {:?}", live());
        let calls = calls();
        assert!(calls.contains(&"Parser.clearErrors()".to_string()), "{told}: {calls:?}");
        assert!(!calls.iter().any(|c| c.contains("unexpected")), "{told}: {calls:?}");
    }
}

#[test]
fn a_network_that_is_another_one_is_refused() {
    let library = library(3);
    break_with(Fault::TakesRubbish);
    let e = built(library, b"\0rubbish", Subnetwork::Illumination).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ModelInvalid);
    assert!(e.to_string().contains("takes [] and gives []"), "{e}");
    break_with(Fault::None);
    let bytes = onnx(Subnetwork::Restoration);
    let e = built(library, &bytes, Subnetwork::Illumination).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ModelInvalid);
    assert!(e.to_string().contains("not the illumination network"), "{e}");
}

#[test]
#[allow(unsafe_code)]
fn what_does_not_behave_as_its_table_says_is_not_used() {
    let make_runtime = |l: &'static Library| l.runtime().map(drop);
    let make_engine = |l: &'static Library| {
        let which = Subnetwork::Adjustment;
        built(l, &onnx(which), which).map(drop)
    };
    let load = |l: &'static Library| {
        l.runtime()
            .and_then(|r| r.engine(plan(Subnetwork::Adjustment)))
            .map(drop)
    };
    let context = |l: &'static Library| {
        let engine = l.runtime().and_then(|r| r.engine(plan(Subnetwork::Adjustment)))?;
        Context::new(&engine, Memory::Own).map(drop)
    };
    let memory = |l: &'static Library| {
        let engine = l.runtime().and_then(|r| r.engine(plan(Subnetwork::Adjustment)))?;
        let mut context = Context::new(&engine, Memory::Lent)?;
        context.set_input_shape("l", &[1, 1, 48, 64])?;
        context.set_input_shape("ratio", &[1, 1, 1, 1])?;
        let bytes = context.memory_needed()?;
        // SAFETY: the mock's context uses no memory.
        unsafe { context.lend_memory(0x1_0100, bytes) }
    };
    type Use<'a> = &'a dyn Fn(&'static Library) -> Result<()>;
    for (fault, work, part) in [
        (Fault::NearNull, &make_runtime as Use<'_>, "no runtime (0x228)"),
        (Fault::NearNull, &make_engine, "no builder (0x228)"),
        (Fault::Unaligned, &make_runtime, "no runtime (0x100004)"),
        (Fault::OtherLogger, &make_runtime, "logger"),
        (Fault::OtherLogger, &make_engine, "logger"),
        (Fault::ForgetsThreads, &make_runtime, "threads"),
        (Fault::ForgetsThreads, &make_engine, "threads"),
        (Fault::OtherPublic, &make_runtime, "does not know itself"),
        (Fault::NetworkNotEmpty, &make_engine, "not empty"),
        (Fault::NoFlags, &make_engine, "builder flag"),
        (Fault::NoEngine, &make_engine, "could not be built"),
        (Fault::RefusesPlan, &load, "no engine from its file"),
        (Fault::ManyTensors, &load, "1025 tensors"),
        (Fault::OddFormat, &load, "not linear"),
        (Fault::SmallMemory, &context, "GPU memory is short"),
        (Fault::SmallMemory, &context, "Cuda Runtime (out of memory)"),
        (Fault::NoContext, &context, "no execution context"),
        (Fault::NoShape, &memory, "shape"),
        (Fault::NoShapes, &memory, "cannot tell the shapes"),
        (Fault::NoSize, &memory, "cannot tell what memory it needs"),
        (Fault::RefusesMemory, &memory, "does not take 5368709120 bytes"),
    ] {
        for (column, told) in VERSIONS.into_iter().enumerate() {
            if fault == Fault::OtherPublic && column == 0 {
                continue;
            }
            let library = library(column);
            break_with(fault);
            let e = work(library).unwrap_err();
            let kind = match fault {
                Fault::SmallMemory => ErrorKind::OutOfMemory,
                _ => ErrorKind::BackendFailed,
            };
            assert_eq!(e.kind(), kind, "{told} {fault:?}");
            assert!(e.to_string().contains(part), "{told} {fault:?}: {e}");
            assert!(live().is_empty(), "{told} {fault:?}: {:?}", live());
            let calls = calls();
            assert!(
                !calls.iter().any(|c| c.contains("unexpected")),
                "{told} {fault:?}: {calls:?}"
            );
        }
    }
}

#[test]
fn a_timing_cache_of_another_kind_is_begun_anew() {
    for (column, told) in VERSIONS.into_iter().enumerate() {
        let library = library(column);
        break_with(Fault::RefusesTimingCache);
        let mut measured = b"of another GPU".to_vec();
        let (which, fp16) = (Subnetwork::Adjustment, Precision::Fp16);
        build(library, &onnx(which), which, fp16, SPAN, &mut measured, &mut || Ok(())).unwrap();
        assert_eq!(measured, b".", "{told}");
        assert!(live().is_empty(), "{told}: {:?}", live());
    }
}

#[test]
fn a_call_beside_its_slot_would_be_seen() {
    // Objects of 10.x behind the table of 8.5: what the other tests rely on.
    let ten = library(3);
    let wrong = Box::leak(Box::new(Library {
        version: ten.version,
        table: Table::of(Version::decode(8503)).unwrap(),
        functions: ten.functions,
        name: "mock".into(),
    }));
    assert_eq!(wrong.runtime().unwrap_err().kind(), ErrorKind::BackendFailed);
    assert_eq!(calls(), ["Runtime.slot 9 is unexpected", "delete Runtime"]);
}
