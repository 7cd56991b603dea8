//! Allocations on Rust's heap, counted: none for a frame in steady state, and none left by a start and a stop.
//!
//! GStreamer's own buffers and pads come from C's allocator, which is not counted here.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use common::{Rig, caps, frame, model};
use uretinex::{
    BackendChoice, Colorimetry, Enhancer, Frame, FrameMut, FrameSpec, Options, Parameters, PixelFormat, Plane, PlaneMut,
};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Bytes that are allocated.
static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting has no effect on memory.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        HELD.fetch_add(size as isize - layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counter is the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The fewest allocations of five runs of `f`: threads that start late, and the test runner, allocate on the side, but
/// not in every run.
fn counted(mut f: impl FnMut()) -> usize {
    let run = |_| {
        let before = COUNT.load(Ordering::Relaxed);
        f();
        COUNT.load(Ordering::Relaxed) - before
    };
    (0..5).map(run).min().unwrap()
}

#[test]
fn the_core_allocates_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let identity = PixelFormat::ALL.map(|format| (format, BackendChoice::Identity, 100));
    let networks = [(PixelFormat::Nv12, BackendChoice::Cpu, 10)];
    for (format, backend, frames) in identity.into_iter().chain(networks) {
        let spec = FrameSpec {
            format,
            width: 65,
            height: 49,
            colorimetry: Colorimetry::default(),
        };
        let options = Options {
            backend,
            model: model(),
            ..Options::default()
        };
        let mut enhancer = Enhancer::new(&options).unwrap();
        let planes: Vec<(Vec<u8>, usize)> = (0..format.planes())
            .map(|p| (format.row_bytes(p, spec.width), format.rows(p, spec.height)))
            .map(|(row, rows)| (vec![40; row * rows], row))
            .collect();
        let mut outputs = planes.clone();
        let inputs: Vec<_> = planes
            .iter()
            .map(|(data, stride)| Plane { data, stride: *stride })
            .collect();
        let input = Frame::new(spec, &inputs).unwrap();
        let mut run = || {
            let planes = outputs
                .iter_mut()
                .map(|(data, stride)| PlaneMut { data, stride: *stride });
            let mut output = FrameMut::from_iter(spec, planes).unwrap();
            enhancer.process(&input, &mut output, Parameters::default()).unwrap();
        };
        run();
        run();
        let allocations = counted(|| (0..frames).for_each(|_| run()));
        assert_eq!(allocations, 0, "{frames} frames of {} on {backend:?}", format.name());
    }
}

#[test]
fn the_element_allocates_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for enabled in [true, false] {
        let caps = caps("NV12", 64, 48);
        let mut rig = Rig::new("identity", &caps);
        gst::prelude::ObjectExt::set_property(&rig.element, "enabled", enabled);
        for n in 0..10 {
            rig.harness.push_and_pull(frame(&caps, n)).unwrap();
        }
        let mut input = (10..510).map(|n| frame(&caps, n)).collect::<Vec<_>>().into_iter();
        let allocations = counted(|| {
            for buffer in input.by_ref().take(100) {
                rig.harness.push_and_pull(buffer).unwrap();
            }
        });
        println!("100 frames through the element, enabled={enabled}: {allocations} allocations");
        assert_eq!(allocations, 0, "100 frames, enabled={enabled}");
    }
}

/// Whatever a start and a frame take is given back by the stop, weights and workspace of the network among it.
#[test]
fn starts_and_stops_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let cycle = || {
        let caps = caps("NV12", 64, 48);
        let mut rig = Rig::new("cpu", &caps);
        rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
        let held = HELD.load(Ordering::Relaxed);
        // Messages hold the element, and the element its bus.
        rig.bus.set_flushing(true);
        held
    };
    let started = cycle();
    let held: Vec<_> = (0..20)
        .map(|_| {
            cycle();
            HELD.load(Ordering::Relaxed)
        })
        .collect();
    println!("{started} bytes while started, {held:?} after a stop");
    assert!(held[19] < started, "{held:?}");
    // The test runner's own threads allocate on the side.
    assert!((held[19] - held[4]).abs() < 4096, "15 starts and stops: {held:?}");
}
