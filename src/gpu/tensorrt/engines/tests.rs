//! Engines of a pack: made once, kept, shared, cancelled.

use std::ops::ControlFlow;
use std::path::Path;

use super::{Request, all, shared};
use crate::backend::Phase;
use crate::error::ErrorKind;
use crate::gpu::driver::Gpu;
use crate::gpu::tensorrt::build::Span;
use crate::gpu::tensorrt::cache::EngineCache;
use crate::gpu::tensorrt::objects::Element;
use crate::gpu::tensorrt::tests::SPAN;
use crate::pack::{Pack, Precision, Precisions, Subnetwork, Variant};
use crate::testing::tensorrt::{Fault, VERSIONS, break_with, calls, library, live};
use crate::testing::{Listing, PackFolder};

fn gpu(name: &str) -> Gpu {
    Gpu {
        name: name.into(),
        compute_capability: (9, 0),
        memory: 1 << 30,
    }
}

/// The engines of `lite` from a cache; how many were built, and what was told.
fn lite(column: usize, gpu: &Gpu, span: Span, precisions: Precisions, cache: &Path) -> (usize, Vec<String>) {
    let pack = Pack::open("lite").unwrap();
    obtained(
        column,
        &Request {
            pack: &pack,
            precisions,
            gpu,
            span,
            context: 0,
            cache: Some(cache),
        },
    )
}

/// The engines of a request; how many were built, and what was told.
fn obtained(column: usize, request: &Request<'_>) -> (usize, Vec<String>) {
    let precisions = request.precisions;
    let mut told = Vec::new();
    let library = library(column);
    let engines = all(request, library, &mut |progress| {
        told.push(progress.to_string());
        ControlFlow::Continue(())
    })
    .unwrap();
    for (engine, which) in engines.iter().zip(Subnetwork::ALL) {
        let names: Vec<_> = engine.tensors().iter().map(|t| t.name.as_str()).collect();
        let ports: Vec<_> = which.inputs().iter().chain(which.outputs()).map(|p| p.0).collect();
        assert_eq!(names, ports, "{which:?}");
        let element = match precisions.planes() {
            Precision::Fp16 => Element::F16,
            Precision::Fp32 | Precision::Bfp16 | Precision::Bf16 => Element::F32,
        };
        let tensors = engine.tensors();
        assert!(
            tensors.iter().all(|t| t.element == element),
            "{which:?} in {precisions}: {tensors:?}"
        );
    }
    let calls = calls();
    let timing = calls
        .iter()
        .filter(|c| c.starts_with("Config.createTimingCache"))
        .cloned();
    told.extend(timing);
    (
        calls.iter().filter(|c| c.contains("buildSerializedNetwork")).count(),
        told,
    )
}

#[test]
fn engines_are_built_once_for_all_that_makes_them_valid() {
    let folder = std::env::temp_dir().join(format!("uretinex-engines-{}", std::process::id()));
    let other = Span { opt: (64, 56), ..SPAN };
    let (h200, orin) = (gpu("NVIDIA H200"), gpu("Orin"));
    let [fp16, fp32] = [Precision::Fp16, Precision::Fp32].map(Precisions::from);
    let mixed = fp16.with(Subnetwork::Restoration, Precision::Fp32);
    let more = mixed.with(Subnetwork::Adjustment, Precision::Fp32);
    for (what, column, gpu, span, precisions, builds) in [
        ("first", 3, &h200, SPAN, fp16, 4),
        ("again", 3, &h200, SPAN, fp16, 0),
        ("another size", 3, &h200, other, fp16, 4),
        ("another precision", 3, &h200, SPAN, fp32, 4),
        ("a mixture, with restoration as before", 3, &h200, SPAN, mixed, 3),
        ("again", 3, &h200, SPAN, mixed, 0),
        ("another mixture of the same", 3, &h200, SPAN, more, 0),
        ("another GPU", 3, &orin, SPAN, fp16, 4),
        ("another TensorRT", 4, &h200, SPAN, fp16, 4),
        ("again", 4, &h200, SPAN, fp16, 0),
        ("as at first", 3, &h200, SPAN, fp16, 0),
    ] {
        let (built, told) = lite(column, gpu, span, precisions, &folder);
        assert_eq!(built, builds, "{what}");
        if what == "first" {
            assert_eq!(
                told[..6],
                [
                    "engine 1 of 4 (decomposition): looking in the cache",
                    "engine 1 of 4 (decomposition): building",
                    "engine 1 of 4 (decomposition): ready",
                    "engine 2 of 4 (restoration): looking in the cache",
                    "engine 2 of 4 (restoration): building",
                    "engine 2 of 4 (restoration): ready",
                ]
            );
            // Each build begins with what those before have measured.
            let timing: Vec<_> = (0..4).map(|n| format!("Config.createTimingCache({n})")).collect();
            assert_eq!(told[12..], timing);
        }
    }
    let entries = EngineCache::new(Some(&folder)).unwrap().entries().unwrap();
    let kinds: Vec<_> = entries
        .iter()
        .map(|e| e.contents.as_ref().unwrap().kind.as_str())
        .collect();
    assert_eq!(kinds.iter().filter(|k| **k == "engine").count(), 23, "{kinds:?}");
    let count = |precision: &str| {
        let told = entries
            .iter()
            .filter(|e| e.contents.as_ref().unwrap().precision == precision);
        let named = told.filter(|e| e.path.to_string_lossy().contains(&format!("-{precision}-")));
        named.count()
    };
    assert_eq!(
        ["fp16", "fp16w", "fp32"].map(count),
        [16, 3, 4],
        "formats by contents and by name"
    );
    assert_eq!(kinds.iter().filter(|k| **k == "timing").count(), 3, "{kinds:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn tensorrt_8_is_given_no_timing_cache() {
    let folder = std::env::temp_dir().join(format!("uretinex-untimed-{}", std::process::id()));
    let fp16 = Precisions::from(Precision::Fp16);
    for (column, engines) in [(0, 4), (1, 8)] {
        let (built, told) = lite(column, &gpu("NVIDIA H100"), SPAN, fp16, &folder);
        assert_eq!(built, 4);
        assert_eq!(told[12..], ["Config.createTimingCache(0)"; 4]);
        let entries = EngineCache::new(Some(&folder)).unwrap().entries().unwrap();
        let kinds: Vec<_> = entries.iter().map(|e| &e.contents.as_ref().unwrap().kind).collect();
        assert_eq!(kinds, vec!["engine"; engines]);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn engines_in_use_are_shared_by_equals_alone() {
    let [lite, full] = ["lite", "full"].map(|pack| Pack::open(pack).unwrap());
    let [h200, orin] = ["NVIDIA H200", "Orin"].map(gpu);
    let fp16 = Precisions::from(Precision::Fp16);
    let first = Request {
        pack: &lite,
        precisions: fp16,
        gpu: &h200,
        span: SPAN,
        context: 1,
        cache: None,
    };
    let with = |change: &dyn Fn(&mut Request<'_>)| {
        let mut request = first;
        change(&mut request);
        shared(&request)
    };
    let keys = [
        ("first", shared(&first)),
        (
            "a mixture",
            with(&|r| r.precisions = fp16.with(Subnetwork::Restoration, Precision::Fp32)),
        ),
        (
            "another mixture",
            with(&|r| r.precisions = fp16.with(Subnetwork::Adjustment, Precision::Fp32)),
        ),
        ("another precision", with(&|r| r.precisions = Precision::Fp32.into())),
        ("another size", with(&|r| r.span.opt = (32, 32))),
        ("another context", with(&|r| r.context = 2)),
        ("another pack", shared(&Request { pack: &full, ..first })),
        ("another GPU", shared(&Request { gpu: &orin, ..first })),
    ];
    for (i, (what, key)) in keys.iter().enumerate() {
        let equal: Vec<_> = keys.iter().filter(|(_, other)| other == key).map(|k| k.0).collect();
        assert_eq!(equal, [*what], "{i}");
    }
    assert_eq!(
        shared(&Request {
            cache: Some(Path::new("/")),
            ..first
        }),
        keys[0].1
    );
}

#[test]
fn a_pack_of_fp32_files_alone_has_engines_in_fp32() {
    let folder = std::env::temp_dir().join(format!("uretinex-fp32-{}", std::process::id()));
    let pack = PackFolder::copy(&[Variant::Fp32], Listing::Variants).open();
    let request = Request {
        pack: &pack,
        precisions: Precision::Fp32.into(),
        gpu: &gpu("NVIDIA H200"),
        span: SPAN,
        context: 0,
        cache: Some(&folder),
    };
    assert_eq!(obtained(3, &request).0, 4);
    let precisions = Precision::Fp16.into();
    let in_fp16 = Request { precisions, ..request };
    let e = all(&in_fp16, library(3), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ModelInvalid);
    assert!(e.to_string().contains("take precision=fp32"), "{e}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn engines_can_be_cancelled_between_phases() {
    let folder = std::env::temp_dir().join(format!("uretinex-cancelled-{}", std::process::id()));
    let pack = Pack::open("lite").unwrap();
    let request = Request {
        pack: &pack,
        precisions: Precision::Fp16.into(),
        gpu: &gpu("NVIDIA H200"),
        span: SPAN,
        context: 0,
        cache: Some(&folder),
    };
    let e = all(
        &request,
        library(3),
        &mut |progress| match (progress.index, progress.phase) {
            (1, Phase::Building) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        },
    )
    .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Cancelled);
    assert!(
        e.to_string().contains("cancelled") && e.to_string().contains("engine 2 of 4"),
        "{e}"
    );
    assert!(live().is_empty(), "{:?}", live());
    std::fs::remove_dir_all(&folder).unwrap();
}

/// From 10.0 on a build ends at its next step; 8.x finishes the engine under way, which is kept.
#[test]
fn engines_can_be_cancelled_within_a_build() {
    for (column, told) in VERSIONS.into_iter().enumerate() {
        let folder = std::env::temp_dir().join(format!("uretinex-build-{told}-{}", std::process::id()));
        let pack = Pack::open("lite").unwrap();
        let request = Request {
            pack: &pack,
            precisions: Precision::Fp16.into(),
            gpu: &gpu("NVIDIA H200"),
            span: SPAN,
            context: 0,
            cache: Some(&folder),
        };
        let library = library(column);
        break_with(Fault::SlowBuild);
        let mut building = 0;
        // That a build begins is told at once; what is told after that, while it goes on, cancels it.
        let e = all(&request, library, &mut |progress| {
            building += usize::from(progress.phase == Phase::Building);
            match building {
                2.. => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Cancelled, "{told}: {e}");
        assert!(e.to_string().contains("engine 1 of 4"), "{told}: {e}");
        assert!(live().is_empty(), "{told}: {:?}", live());
        let calls = calls();
        assert!(!calls.iter().any(|c| c.contains("unexpected")), "{told}: {calls:?}");
        let entries = EngineCache::new(Some(&folder)).unwrap().entries().unwrap();
        let engines = entries.iter().filter(|e| e.contents.as_ref().unwrap().kind == "engine");
        let finished = column < 2;
        assert_eq!(engines.count(), usize::from(finished), "{told}");
        let stopped = calls.contains(&"Builder.a build is stopped".to_string());
        assert_eq!(stopped, !finished, "{told}: {calls:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
