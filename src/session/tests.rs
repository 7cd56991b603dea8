//! Which backend works, what stays prepared, frames that are submitted, frames in device memory, packs of every form.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::frame::{FrameSpec, PixelFormat};
use crate::gpu::probe;
use crate::pack::{Pack, Precision, Subnetwork, Variant};
use crate::session::backends::Loaded;
use crate::session::enhancer::Enhancer;
use crate::session::options::{BackendChoice, Options};
use crate::stages::{AUTOMATIC, Parameters};
use crate::temporal::Reset;
use crate::testing::{
    HostNetworks, IdleNetworks, Listing, Operation, PackFolder, Picture, Recorder, allocations, spec, with_weights,
};

const PARAMETERS: Parameters = Parameters {
    ratio: 5.0,
    strength: 0.8,
    brightness: 0.0,
    temporal: 0.0,
};

fn rgb(width: usize, height: usize) -> FrameSpec {
    spec(PixelFormat::Rgb, (width, height))
}

fn options(backend: BackendChoice) -> Options {
    Options {
        model: "lite".into(),
        backend,
        ..Options::default()
    }
}

/// On a recorder, as `auto` or `tensorrt` would be on a GPU; other packs, and what takes over, are on the processor.
fn on_recorder(device: &Recorder, may_fall_back: bool) -> Enhancer {
    let options = options(BackendChoice::Cpu);
    let loaded = Loaded {
        pack: Pack::open(&options.model).unwrap(),
        backend: Box::new(IdleNetworks::new(Precision::Fp16, Some(device)).backend()),
        preview: None,
        may_fall_back,
    };
    Enhancer::assemble(&options, loaded)
}

/// With the networks of `lite` on a host that stands in for a GPU.
fn on_host() -> Enhancer {
    let backend = HostNetworks::new(&Pack::open("lite").unwrap()).backend();
    Enhancer::with_backend(&options(BackendChoice::Cpu), Box::new(backend)).unwrap()
}

fn refused(error: Result<impl Sized>, kind: ErrorKind, what: &str) -> Error {
    let error = error.err().unwrap_or_else(|| panic!("{what} is not refused"));
    assert_eq!(error.kind(), kind, "{what}: {error}");
    error
}

#[test]
fn auto_falls_back_and_tensorrt_says_why_it_cannot() {
    let Some(lack) = probe().tensorrt_lacks() else {
        return eprintln!("SKIPPED: this machine has a GPU and TensorRT");
    };
    assert_eq!(
        Enhancer::new(&options(BackendChoice::Auto)).unwrap().backend_name(),
        "cpu"
    );
    let error = Enhancer::new(&options(BackendChoice::TensorRt)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::BackendUnavailable);
    assert!(error.to_string().ends_with(&lack), "{error}");
}

#[test]
fn the_processor_takes_over_where_gpu_memory_is_short() {
    let mut enhancer = on_recorder(&Recorder::with_memory(1 << 20), true);
    enhancer.prepare(&rgb(32, 32)).unwrap();
    assert_eq!((enhancer.backend_name(), enhancer.depth()), ("tensorrt", 2));
    enhancer.prepare(&rgb(640, 360)).unwrap();
    assert_eq!((enhancer.backend_name(), enhancer.depth()), ("cpu", 1));
    let input = Picture::dark(rgb(640, 360), 1);
    let mut output = Picture::black(input.spec);
    let report = enhancer
        .process(&input.frame(), &mut output.frame_mut(), PARAMETERS)
        .unwrap();
    assert!(report.luma_out > report.luma_in);

    let mut asked_for = on_recorder(&Recorder::with_memory(1 << 20), false);
    refused(
        asked_for.prepare(&rgb(640, 360)),
        ErrorKind::OutOfMemory,
        "a large frame",
    );
    asked_for.prepare(&rgb(32, 32)).unwrap();
}

#[test]
fn an_automatic_ratio_is_told_and_not_above_what_the_scene_bears() {
    let spec = rgb(64, 48);
    let (dark, mut output) = (Picture::dark(spec, 1), Picture::black(spec));
    let automatic = |brightness| Parameters {
        ratio: AUTOMATIC,
        brightness,
        ..PARAMETERS
    };
    let mut enhancer = Enhancer::new(&options(BackendChoice::Cpu)).unwrap();
    let mut ratio = |parameters| {
        let report = enhancer.process(&dark.frame(), &mut output.frame_mut(), parameters);
        report.unwrap().ratio
    };
    assert_eq!(ratio(PARAMETERS), PARAMETERS.ratio);
    let first = ratio(automatic(0.0));
    assert!((1.0..=8.0).contains(&first), "{first}");
    assert_eq!(ratio(automatic(0.0)), first, "the scene is the same");
    let darker = ratio(automatic(-1.0));
    assert!(
        darker <= first && darker > 0.9 * first,
        "{first} → {darker} within a frame"
    );
    assert_eq!(ratio(PARAMETERS), PARAMETERS.ratio, "back to a number at once");

    // Of frames that are submitted, each report has its own ratio.
    let mut enhancer = on_host();
    enhancer.prepare(&spec).unwrap();
    for (parameters, expected) in [(PARAMETERS, Some(5.0)), (automatic(0.0), None)] {
        enhancer.submit(&dark.frame(), parameters).unwrap();
        if let Some(expected) = expected {
            assert_eq!(enhancer.pending(), 1);
            assert_eq!(expected, parameters.ratio);
        }
    }
    let ratios = [0, 1].map(|_| enhancer.collect(&mut output.frame_mut()).unwrap().ratio);
    assert_eq!(ratios[0], 5.0);
    assert!((1.0..=8.0).contains(&ratios[1]), "{ratios:?}");
}

/// In device memory the first frame of a scene has the ratio that it has in system memory, and so has the first after a cut.
#[test]
fn an_automatic_ratio_is_the_same_in_device_memory() {
    let automatic = |brightness| Parameters {
        ratio: AUTOMATIC,
        brightness,
        strength: 1.0,
        temporal: 1.0,
    };
    for (format, size) in [(PixelFormat::Nv12, (320, 240)), (PixelFormat::Rgba, (64, 48))] {
        let spec = spec(format, size);
        // Of each frame another noise: a repeated one is known in system memory alone.
        let seen = |offset: f32, frame: usize| Picture::scene(spec, (offset, 0.0), 1 + frame as u32);
        let (dark, bright) = (40.0, 2400.0);
        let mut in_system = Enhancer::new(&options(BackendChoice::Cpu)).unwrap();
        let mut on_device = on_host();
        let automatically = automatic(0.0);
        let mut ratios = Vec::new();
        for (t, (offset, parameters)) in [
            (dark, automatically),
            (dark, automatically),
            (bright, automatically),
            (bright, automatically),
            (bright, PARAMETERS),
            (dark, PARAMETERS),
            (dark, automatically),
            (dark, automatic(0.5)),
            (dark, automatic(0.5)),
            (dark, PARAMETERS),
        ]
        .into_iter()
        .enumerate()
        {
            let what = format!("{} {size:?}, frame {t}", format.name());
            let picture = seen(offset, t);
            let [mut expected, output] = [0, 1].map(|_| Picture::black(spec));
            let report = in_system
                .process(&picture.frame(), &mut expected.frame_mut(), parameters)
                .unwrap();
            let own = on_device
                .process_device(&picture.device_frame(), &output.device_frame(), None, parameters)
                .unwrap();
            // Small changes are the next frame's.
            let lag = if t == 7 || t == 8 { 0.07 } else { 1e-4 };
            let off = (own.ratio / report.ratio).ln().abs();
            assert!(off <= lag, "{what}: {} instead of {}", own.ratio, report.ratio);
            if lag < 0.01 {
                assert!(output.difference(&expected) <= 1.0, "{what}");
                assert!((own.luma_out - report.luma_out).abs() < 2e-3, "{what}");
            }
            ratios.push(own.ratio);
        }
        assert!(
            ratios[0] > 1.3 * ratios[2] && ratios[2] == ratios[3],
            "a cut: {ratios:?}"
        );
        assert_eq!([ratios[4], ratios[5], ratios[9]], [PARAMETERS.ratio; 3], "a number");
        assert!(
            (ratios[6] / ratios[0] - 1.0).abs() < 0.02,
            "automatic again: {ratios:?}"
        );
    }
}

/// Conversion alone has no ratio to find, and its time is not that of a network.
#[test]
fn the_identity_looks_at_no_scene() {
    let spec = rgb(64, 48);
    let (input, mut output) = (Picture::dark(spec, 1), Picture::black(spec));
    let mut enhancer = Enhancer::new(&options(BackendChoice::Identity)).unwrap();
    let parameters = Parameters {
        ratio: AUTOMATIC,
        ..PARAMETERS
    };
    let report = enhancer
        .process(&input.frame(), &mut output.frame_mut(), parameters)
        .unwrap();
    assert_eq!(report.ratio, Parameters::default().ratio);
}

/// With no memory a frame is what it is alone, whatever came before.
#[test]
fn a_frame_with_no_memory_is_as_it_is_alone() {
    let spec = rgb(64, 48);
    let single = |seed| {
        let mut output = Picture::black(spec);
        let mut enhancer = Enhancer::new(&options(BackendChoice::Cpu)).unwrap();
        let input = Picture::dark(spec, seed);
        enhancer
            .process(&input.frame(), &mut output.frame_mut(), PARAMETERS)
            .unwrap();
        output
    };
    let mut enhancer = Enhancer::new(&options(BackendChoice::Cpu)).unwrap();
    let mut output = Picture::black(spec);
    for (seed, temporal) in [(1, 1.0), (1, 0.0), (2, 1.0), (2, 0.5), (3, 0.0)] {
        let input = Picture::dark(spec, seed);
        let parameters = Parameters { temporal, ..PARAMETERS };
        enhancer
            .process(&input.frame(), &mut output.frame_mut(), parameters)
            .unwrap();
        assert!(temporal > 0.0 || output == single(seed), "frame {seed}");
    }
    assert!(enhancer.remembers());
}

/// What was prepared is not prepared again: no memory is allocated, no network loaded, no graph captured.
#[test]
fn going_back_to_what_was_prepared_costs_nothing() {
    let (small, large) = (rgb(32, 32), rgb(64, 48));
    type Change = Box<dyn Fn(&mut Enhancer) -> Result<()>>;
    let sized = |spec: FrameSpec| Box::new(move |e: &mut Enhancer| e.prepare(&spec)) as Change;
    let modelled = |model: &'static str| {
        Box::new(move |e: &mut Enhancer| {
            e.set_model(model)?;
            e.prepare(&small)
        }) as Change
    };
    let reduced = |max_pixels| {
        Box::new(move |e: &mut Enhancer| {
            e.set_max_pixels(max_pixels)?;
            e.prepare(&small)
        }) as Change
    };
    for (what, change, back, backends) in [
        ("another size", sized(large), sized(small), ["tensorrt", "tensorrt"]),
        ("another pack", modelled("full"), modelled("lite"), ["cpu", "tensorrt"]),
        ("a reduced copy", reduced(400), reduced(0), ["tensorrt", "tensorrt"]),
    ] {
        let device = Recorder::default();
        let mut enhancer = on_recorder(&device, false);
        enhancer.prepare(&small).unwrap();
        let first = device.take();
        assert!(first.contains(&Operation::LoadNetworks) && first.contains(&Operation::Allocate));
        change(&mut enhancer).unwrap();
        assert_eq!(enhancer.backend_name(), backends[0], "{what}");
        let there = *enhancer.geometry().unwrap();
        device.take();
        for _ in 0..2 {
            back(&mut enhancer).unwrap();
            assert_eq!(enhancer.backend_name(), backends[1], "{what}");
            assert_eq!(enhancer.geometry().unwrap().spec, small, "{what}");
            change(&mut enhancer).unwrap();
            assert_eq!(enhancer.geometry(), Some(&there), "{what}");
        }
        assert_eq!(device.take(), [], "{what}");
        back(&mut enhancer).unwrap();
        let (input, mut output) = (Picture::black(small), Picture::black(small));
        enhancer
            .process(&input.frame(), &mut output.frame_mut(), PARAMETERS)
            .unwrap();
        assert_eq!(device.faults(), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn the_memory_of_a_stream_is_dropped_with_its_executor() {
    let mut enhancer = on_recorder(&Recorder::default(), true);
    let process = |enhancer: &mut Enhancer, spec| {
        let (input, mut output) = (Picture::black(spec), Picture::black(spec));
        enhancer
            .process(&input.frame(), &mut output.frame_mut(), PARAMETERS)
            .unwrap();
    };
    let resets = |enhancer: &Enhancer| {
        [Reset::NewFormat, Reset::NewExecutor, Reset::Discontinuity].map(|reason| enhancer.memory().resets(reason))
    };
    process(&mut enhancer, rgb(32, 32));
    process(&mut enhancer, rgb(32, 32));
    assert_eq!(resets(&enhancer), [0, 0, 0]);
    process(&mut enhancer, rgb(48, 32));
    assert_eq!(resets(&enhancer), [1, 0, 0]);
    enhancer.set_max_pixels(400).unwrap();
    process(&mut enhancer, rgb(48, 32));
    assert_eq!(resets(&enhancer), [1, 1, 0]);
    enhancer
        .fall_back(Error::new(ErrorKind::BackendFailed, "as planned"))
        .unwrap();
    assert_eq!(resets(&enhancer), [1, 2, 0]);
    process(&mut enhancer, rgb(48, 32));
    enhancer.reset(Reset::Discontinuity);
    assert_eq!(resets(&enhancer), [1, 2, 1]);
}

#[test]
fn a_trial_frame_takes_time_once_and_is_not_remembered() {
    let mut enhancer = Enhancer::new(&options(BackendChoice::Cpu)).unwrap();
    let time = enhancer.trial(&rgb(64, 48)).unwrap();
    assert!(time > Duration::ZERO);
    assert_eq!(enhancer.trial(&rgb(64, 48)).unwrap(), time, "told again");
    assert!(enhancer.memory().plan(PARAMETERS).fresh);
}

#[test]
fn submitted_frames_come_out_as_processed_ones() {
    let mut enhancer = on_host();
    let dark = Picture::dark(rgb(48, 32), 1);
    let [mut processed, mut collected] = [0, 1].map(|_| Picture::black(dark.spec));
    let input = dark.frame();
    enhancer
        .process(&input, &mut processed.frame_mut(), PARAMETERS)
        .unwrap();
    assert!(processed.mean() > dark.mean());
    refused(
        enhancer.collect(&mut collected.frame_mut()),
        ErrorKind::InvalidOption,
        "collecting nothing",
    );
    assert_eq!(enhancer.depth(), 2);
    for _ in 0..2 {
        enhancer.submit(&input, PARAMETERS).unwrap();
    }
    assert_eq!(enhancer.pending(), 2);
    let mut other = Picture::black(rgb(32, 32));
    for (what, outcome, kind) in [
        (
            "a third frame",
            enhancer.submit(&input, PARAMETERS),
            ErrorKind::InvalidOption,
        ),
        ("another size", enhancer.prepare(&other.spec), ErrorKind::InvalidOption),
        ("another pack", enhancer.set_model("full"), ErrorKind::InvalidOption),
        ("a reduced copy", enhancer.set_max_pixels(400), ErrorKind::InvalidOption),
        (
            "a trial",
            enhancer.trial(&dark.spec).map(drop),
            ErrorKind::InvalidOption,
        ),
        (
            "a frame in between",
            enhancer
                .process(&input, &mut collected.frame_mut(), PARAMETERS)
                .map(drop),
            ErrorKind::InvalidOption,
        ),
        (
            "an output of another size",
            enhancer.collect(&mut other.frame_mut()).map(drop),
            ErrorKind::InvalidFrame,
        ),
    ] {
        refused(outcome, kind, what);
        assert_eq!(enhancer.pending(), 2, "{what}");
    }
    for left in [1, 0] {
        let mut collected = Picture::black(dark.spec);
        enhancer.collect(&mut collected.frame_mut()).unwrap();
        assert!(collected == processed);
        assert_eq!(enhancer.pending(), left);
    }
    // A frame that is discarded leaves the enhancer as it was.
    enhancer
        .submit(&Picture::dark(dark.spec, 7).frame(), PARAMETERS)
        .unwrap();
    enhancer.discard().unwrap();
    refused(enhancer.discard(), ErrorKind::InvalidOption, "discarding nothing");
    enhancer.submit(&input, PARAMETERS).unwrap();
    enhancer.collect(&mut collected.frame_mut()).unwrap();
    assert!(collected == processed);
}

/// The processor takes one frame at a time, which is processed and not submitted.
#[test]
fn nothing_can_be_submitted_where_the_depth_is_1() {
    let mut enhancer = Enhancer::new(&options(BackendChoice::Cpu)).unwrap();
    let dark = Picture::dark(rgb(48, 32), 1);
    let mut bright = Picture::black(dark.spec);
    let error = refused(
        enhancer.submit(&dark.frame(), PARAMETERS),
        ErrorKind::Unsupported,
        "a frame",
    );
    assert!(error.to_string().contains("process it instead"), "{error}");
    assert_eq!((enhancer.pending(), enhancer.depth()), (0, 1));
    refused(
        enhancer.collect(&mut bright.frame_mut()),
        ErrorKind::InvalidOption,
        "collecting nothing",
    );
    refused(enhancer.discard(), ErrorKind::InvalidOption, "discarding nothing");
    enhancer
        .process(&dark.frame(), &mut bright.frame_mut(), PARAMETERS)
        .unwrap();
    assert!(bright.mean() > dark.mean());
}

#[test]
fn frames_in_device_memory_are_refused_where_they_cannot_be_taken() {
    let (device, s) = (Recorder::default(), rgb(32, 32));
    let mut enhancer = on_recorder(&device, false);
    let buffers = [0, 1].map(|_| enhancer.device_buffer(&s).unwrap());
    let [input, output] = buffers.each_ref().map(|buffer| buffer.frame().unwrap());
    enhancer.process_device(&input, &output, None, PARAMETERS).unwrap();
    let not_a_number = Parameters {
        ratio: f32::NAN,
        strength: 1.0,
        brightness: 0.0,
        temporal: 0.0,
    };
    let mut on_cpu = Enhancer::new(&options(BackendChoice::Cpu)).unwrap();
    for (what, outcome, kind) in [
        (
            "overlap",
            enhancer.process_device(&input, &input, None, PARAMETERS),
            ErrorKind::InvalidFrame,
        ),
        (
            "parameters",
            enhancer.process_device(&input, &output, None, not_a_number),
            ErrorKind::InvalidOption,
        ),
        (
            "on the processor",
            on_cpu.process_device(&input, &output, None, PARAMETERS),
            ErrorKind::Unsupported,
        ),
    ] {
        refused(outcome, kind, what);
    }
    // Memory of one device is of no use to another.
    let mut other = on_recorder(&Recorder::default(), false);
    let mut theirs = other.device_buffer(&s).unwrap();
    let [from, _] = buffers;
    refused(
        other.process_buffers(&*from, &mut *theirs, PARAMETERS),
        ErrorKind::InvalidOption,
        "memory of another device",
    );
    assert_eq!(device.faults(), Vec::<String>::new());
}

/// Neither frames in device memory nor frames of system memory allocate anything, once the size is prepared.
#[test]
fn frames_allocate_nothing() {
    let (device, s) = (Recorder::default(), spec(PixelFormat::Nv12, (64, 48)));
    let mut enhancer = on_recorder(&device, false);
    let buffers = [0, 1].map(|_| enhancer.device_buffer(&s).unwrap());
    let [input, output] = buffers.each_ref().map(|buffer| buffer.frame().unwrap());
    let (dark, mut bright) = (Picture::dark(s, 1), Picture::black(s));
    let (frame, mut out) = (dark.frame(), bright.frame_mut());
    enhancer.prepare(&s).unwrap();
    let before = allocations();
    for _ in 0..2 {
        enhancer.process_device(&input, &output, None, PARAMETERS).unwrap();
    }
    assert_eq!(allocations() - before, 0, "in device memory");
    for _ in 0..2 {
        enhancer.submit(&frame, PARAMETERS).unwrap();
    }
    for _ in 0..2 {
        enhancer.collect(&mut out).unwrap();
    }
    assert_eq!(allocations() - before, 0, "in system memory");
    assert_eq!(device.faults(), Vec::<String>::new());
}

/// A frame of `model` on the processor.
fn bright(model: &str) -> Picture {
    let mut enhancer = Enhancer::new(&Options {
        model: model.into(),
        ..options(BackendChoice::Cpu)
    })
    .unwrap();
    let dark = Picture::dark(rgb(48, 32), 1);
    let mut bright = Picture::black(dark.spec);
    enhancer
        .process(&dark.frame(), &mut bright.frame_mut(), PARAMETERS)
        .unwrap();
    bright
}

#[test]
fn packs_with_some_variants_and_packs_from_before_them_are_taken() {
    let lite = bright("lite");
    for listing in [Listing::Variants, Listing::Digests] {
        for variants in [&[Variant::Fp32][..], &Variant::ALL] {
            let folder = PackFolder::copy(variants, listing);
            assert_eq!(folder.open().manifest().variants().collect::<Vec<_>>(), variants);
            assert!(bright(&folder.name()) == lite, "{listing:?} {variants:?}");
        }
    }
}

/// Integers have no NaN, so that 16-bit block floating point would hide what 32 bits show.
#[test]
fn packs_that_give_no_numbers_are_refused_in_every_precision() {
    fn not_a_number(weights: &mut [f32]) {
        weights[0] = f32::NAN;
    }
    fn huge(weights: &mut [f32]) {
        weights.iter_mut().for_each(|w| *w *= 1e18);
        assert!(weights.iter().all(|w| w.is_finite()));
    }
    for (what, change) in [
        ("a NaN among the weights", not_a_number as fn(&mut [f32])),
        ("finite weights whose activations overflow", huge),
    ] {
        let folder = PackFolder::new(&[Variant::Fp32], Listing::Variants, |which, file| match which {
            Subnetwork::Restoration => with_weights(file, &mut { change }),
            _ => file.to_vec(),
        });
        for precision in [Precision::Fp32, Precision::Bfp16, Precision::Bf16] {
            let what = format!("{what} in {}", precision.name());
            let error = Enhancer::new(&Options {
                model: folder.name(),
                precision: Some(precision),
                ..options(BackendChoice::Cpu)
            })
            .err();
            let error = error.unwrap_or_else(|| panic!("{what} is not refused"));
            if precision != Precision::Fp32 && error.kind() == ErrorKind::InvalidOption {
                eprintln!("SKIPPED: {what}: {error}");
                continue;
            }
            assert_eq!(error.kind(), ErrorKind::ModelInvalid, "{what}: {error}");
            assert!(error.to_string().contains("NaN or infinite"), "{what}: {error}");
        }
    }
}
