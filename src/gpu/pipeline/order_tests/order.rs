//! Which operations there are, and that every read waits for its write.

use super::*;

#[test]
fn every_read_waits_for_its_write() {
    for precision in [Precision::Fp32, Precision::Fp16] {
        for (format, size, max_pixels) in SPECS {
            let what = format!("{} {} {size:?}", precision.name(), format.name());
            let mut bench = Bench::new(precision, spec(format, size), max_pixels);
            bench.check(&what);
            bench.step_through().unwrap();
            bench.check(&what);
            for _ in 0..3 {
                bench.submit().unwrap();
                bench.submit().unwrap();
                bench.collect().unwrap();
                bench.submit().unwrap();
                bench.collect().unwrap();
                bench.collect().unwrap();
            }
            bench.check(&what);
            bench.executor.read(Quantity::R).unwrap();
            bench.step_through().unwrap();
            bench.check(&what);
            // Whatever is under way is waited for.
            bench.submit().unwrap();
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
    let prepared = bench.device.take();
    let is_capture = |o: &Operation| matches!(o, Operation::BeginCapture(_));
    assert_eq!(count(&prepared, is_capture), 1);
    let begin = prepared.iter().position(is_capture).unwrap();
    let recording = &prepared[begin..];
    assert_eq!(allocations(recording), 0);
    // Ingest, four networks, rounds 2 and 3 with update and two networks each, compose.
    let work: Vec<_> = recording
        .iter()
        .filter_map(|o| match o {
            Operation::Launch(kernel, _) => kernel.split('_').next(),
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
        let plan = Plan::single(Parameters {
            ratio,
            strength: 0.5,
            brightness: 0.0,
            temporal: 0.0,
        });
        bench.executor.submit(&bench.input.frame(), &plan).unwrap();
        bench.collect().unwrap();
    }
    let frames = bench.device.take();
    assert_eq!((allocations(&frames), count(&frames, is_capture)), (0, 0));
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

/// The memory of a stream is read and written where it is, in an order that every read waits for, and its frames have a
/// graph of their own, captured when the first one comes.
#[test]
fn the_memory_of_a_stream_stays_on_the_device() {
    for precision in [Precision::Fp32, Precision::Fp16] {
        for (format, size, max_pixels) in SPECS {
            let what = format!("{} {} {size:?}", precision.name(), format.name());
            let mut bench = Bench::new(precision, spec(format, size), max_pixels);
            bench.device.take();
            bench.submit_as(&THROUGH_TIME).unwrap();
            assert!(bench.device.is_fresh(), "{what}: nothing is remembered yet");
            let issued = bench.device.take();
            let is_capture = |o: &Operation| matches!(o, Operation::BeginCapture(_));
            assert_eq!((allocations(&issued), count(&issued, is_capture)), (0, 1), "{what}");
            let mut work: Vec<_> = issued
                .iter()
                .filter_map(|o| match o {
                    Operation::Launch(kernel, _) if kernel.starts_with("fuse_") => Some(*kernel),
                    Operation::Launch(kernel, _) => kernel.split('_').next(),
                    Operation::Enqueue(name, _) => Some(name),
                    _ => None,
                })
                .collect();
            work.dedup();
            let expected = [
                &["ingest", "pyramid", "motion", "camera", "motion"][..],
                // The memory is moved into a second buffer, and the fused picture written back to the first.
                &["fuse_expect", "fuse_cells", "trust", "fuse_merge"],
                &["decomposition", "restoration", "illumination", "adjustment"],
            ]
            .concat();
            assert_eq!(work[..expected.len()], expected, "{what}");
            assert!(
                work[expected.len()..].iter().all(|w| ["guide", "compose"].contains(w)),
                "{what}: {work:?}"
            );

            for _ in 0..3 {
                bench.submit_as(&THROUGH_TIME).unwrap();
                assert!(!bench.device.is_fresh(), "{what}: the frame before is there");
                bench.collect().unwrap();
            }
            bench.collect().unwrap();
            let issued = bench.device.take();
            let copies = [
                count(&issued, |o| matches!(o, Operation::Upload(_))),
                count(&issued, |o| matches!(o, Operation::Download(_))),
            ];
            assert_eq!(copies, [6, 6], "{what}: frames, settings and sums alone");

            // Alone and back: both graphs are there, and what was before is forgotten.
            for (plan, fresh) in [(PLAN, true), (THROUGH_TIME, true), (THROUGH_TIME, false)] {
                bench.submit_as(&plan).unwrap();
                assert_eq!(bench.device.is_fresh(), fresh, "{what}");
                bench.collect().unwrap();
            }
            let first = Plan {
                fresh: true,
                ..THROUGH_TIME
            };
            for (plan, fresh) in [(first, true), (THROUGH_TIME, false)] {
                bench.submit_as(&plan).unwrap();
                assert_eq!(bench.device.is_fresh(), fresh, "{what}");
                bench.collect().unwrap();
            }
            let issued = bench.device.take();
            assert_eq!((allocations(&issued), count(&issued, is_capture)), (0, 0), "{what}");
            bench.step_through_as(&THROUGH_TIME).unwrap();
            bench.check(&what);

            // Of a frame that fails nobody knows how much is in the memory.
            bench.device.refuse(Call::LaunchGraph, 0);
            assert!(bench.submit_as(&THROUGH_TIME).is_err(), "{what}");
            bench.submit_as(&THROUGH_TIME).unwrap();
            assert!(bench.device.is_fresh(), "{what}: after an error");
            bench.collect().unwrap();
            bench.check(&what);
        }
    }
}

#[test]
fn two_frames_are_under_way_at_once() {
    let mut bench = Bench::new(Precision::Fp32, spec(PixelFormat::Rgb, (64, 48)), 0);
    let theirs = bench.device.create_stream().unwrap();
    let (from, to) = (bench.theirs(theirs, 0, 192), bench.theirs(theirs, 0, 192));
    bench.submit().unwrap();
    bench.collect().unwrap();
    bench.device.take();
    bench.submit().unwrap();
    bench.submit().unwrap();
    let issued = bench.device.take();
    // A slot's memory is waited for before it is used again; nothing else is.
    let waits = issued.iter().filter_map(|o| match o {
        Operation::Synchronize(event) => Some(*event),
        _ => None,
    });
    let waits: Vec<_> = waits.collect();
    assert!(waits.len() == 2 && waits[0] != waits[1], "{issued:?}");
    let recorded = |event| {
        issued
            .iter()
            .position(|o| matches!(o, Operation::Record(e, _) if *e == event))
    };
    let waited = |event| issued.iter().position(|o| *o == Operation::Synchronize(event));
    for event in waits {
        assert!(waited(event) < recorded(event), "for the upload before: {issued:?}");
    }
    let kinds = [
        count(&issued, |o| matches!(o, Operation::Upload(_))),
        count(&issued, |o| matches!(o, Operation::LaunchGraph(_))),
        count(&issued, |o| matches!(o, Operation::Download(_))),
    ];
    // For each frame: its bytes and its settings go up, one graph runs, its bytes and its sums come down.
    assert_eq!(kinds, [4, 2, 4]);
    let device_frame = bench.executor.process_device(&from, &to, None, &PLAN, None).map(drop);
    for (what, outcome) in [
        ("a third frame", bench.submit()),
        ("a frame stage by stage", bench.step_through()),
        ("a frame in device memory", device_frame),
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
fn a_frame_that_is_discarded_is_waited_for() {
    let mut bench = Bench::new(Precision::Fp16, spec(PixelFormat::Nv12, (64, 48)), 0);
    for collected in [[false, false], [true, false], [false, true]] {
        bench.submit().unwrap();
        bench.submit().unwrap();
        for collect in collected {
            bench.device.take();
            match collect {
                true => bench.collect().unwrap(),
                false => bench.executor.discard().unwrap(),
            }
            let done = bench.device.take();
            assert!(
                done.iter().any(|o| matches!(o, Operation::Synchronize(_))),
                "{collected:?}: {done:?}"
            );
        }
        assert_eq!(bench.executor.pending(), 0, "{collected:?}");
        // Its memory is used again at once.
        bench.submit().unwrap();
        bench.collect().unwrap();
        bench.check(&format!("{collected:?}"));
    }
    assert_eq!(bench.executor.discard().unwrap_err().kind(), ErrorKind::InvalidOption);
}

#[test]
fn frames_in_device_memory_are_not_copied() {
    let mut bench = Bench::new(Precision::Fp16, spec(PixelFormat::Nv12, (64, 48)), 0);
    let theirs = bench.device.create_stream().unwrap();
    let (input, output) = (bench.theirs(theirs, 0, 64), bench.theirs(theirs, 0, 64));
    bench.device.take();
    // SAFETY: the recorder takes any number for a stream.
    let after = unsafe { RawStream::new(theirs.0 as *mut _) };
    bench
        .executor
        .process_device(&input, &output, Some(after), &PLAN, None)
        .unwrap();
    bench.check("with their stream");
    let issued = bench.device.take();
    let copies = [
        count(&issued, |o| matches!(o, Operation::Upload(_))),
        count(&issued, |o| matches!(o, Operation::Download(_))),
    ];
    assert_eq!(copies, [1, 1], "settings and sums alone: {issued:?}");
    // Without their stream nothing orders the kernels after whoever wrote the frame: the recorder sees that.
    let input = bench.theirs(theirs, 0, 64);
    bench
        .executor
        .process_device(&input, &output, None, &PLAN, None)
        .unwrap();
    assert!(!bench.device.faults().is_empty());
}

/// An automatic ratio takes a thumbnail, sent back after the sums; where the ratio is far off, one network and the composition
/// more. Without a meter nothing of it is issued.
#[test]
fn a_meter_costs_a_thumbnail_and_its_copy() {
    let (nv12, rgb) = (spec(PixelFormat::Nv12, (640, 480)), spec(PixelFormat::Rgb, (64, 48)));
    for (s, max_pixels, thumbnail) in [
        (nv12, 0, "ingest_reduced"),
        (nv12, 320 * 240, "ingest_reduced"),
        (rgb, 0, "ingest_any"),
    ] {
        for plan in [PLAN, THROUGH_TIME] {
            let what = format!("{s:?} {max_pixels} {plan:?}");
            let mut bench = Bench::new(Precision::Fp16, s, max_pixels);
            let theirs = bench.device.create_stream().unwrap();
            let stride = s.format.row_bytes(0, s.width);
            let (input, output) = (bench.theirs(theirs, 0, stride), bench.theirs(theirs, 0, stride));
            // SAFETY: the recorder takes any number for a stream.
            let after = || Some(unsafe { RawStream::new(theirs.0 as *mut _) });
            let mut issued = |meter: Option<Meter<'_>>| {
                bench.device.take();
                bench
                    .executor
                    .process_device(&input, &output, after(), &plan, meter)
                    .unwrap();
                bench.check(&what);
                bench.device.take()
            };
            issued(None);
            let fixed = issued(None);
            let near = issued(Some(&mut |planes: &[f32]| {
                assert!(planes.len() <= 3 * 160 * 90 && planes.len().is_multiple_of(3));
                Ok(None)
            }));
            let far = issued(Some(&mut |_: &[f32]| Ok(Some(7.0))));
            assert_eq!(issued(None), fixed, "{what}: back to a number");
            // All of a fixed ratio but the wait at the end, then the thumbnail.
            let frame = fixed.len() - 1;
            assert_eq!(near[..frame], fixed[..frame], "{what}");
            assert!(
                matches!(
                    near[frame..],
                    [
                        Operation::Launch(kernel, _),
                        Operation::Download(_),
                        Operation::Record(..),
                        Operation::Synchronize(_),
                        Operation::Synchronize(_),
                    ] if kernel == thumbnail
                ),
                "{what}: {near:?}"
            );
            assert_eq!(far[..near.len()], near, "{what}");
            let anew = far[near.len()..].iter().filter_map(|o| match o {
                Operation::Enqueue(name, _) => Some(*name),
                Operation::Launch(kernel, _) => kernel.split('_').next(),
                Operation::Upload(_) => Some("settings"),
                Operation::Download(_) => Some("sums"),
                Operation::Synchronize(_) => Some("wait"),
                _ => None,
            });
            let compose = match max_pixels {
                0 => &["compose"][..],
                _ => &["guide", "guide", "compose"],
            };
            let expected = [&["settings", "adjustment"][..], compose, &["sums", "wait"]].concat();
            assert_eq!(anew.collect::<Vec<_>>(), expected, "{what}");
            assert_eq!(allocations(&far), 0, "{what}");
        }
    }
}

/// The graph is of kernels for what addresses and strides are multiples of.
#[test]
fn a_frame_is_recorded_anew_where_it_is_aligned_to_less() {
    let mut bench = Bench::new(Precision::Fp32, spec(PixelFormat::Rgb, (32, 32)), 0);
    let theirs = bench.device.create_stream().unwrap();
    assert_eq!(bench.executor.alignment(), 16);
    for (input, output, alignment, anew) in [
        ((0, 96), (0, 96), 16, false),
        ((0, 96), (0, 100), 4, true),
        ((0, 96), (0, 96), 4, false),
        ((1, 96), (0, 96), 1, true),
    ] {
        let what = format!("{input:?} {output:?}");
        let frame = |(offset, stride)| bench.theirs(theirs, offset, stride);
        let (from, to) = (frame(input), frame(output));
        bench.device.take();
        // SAFETY: the recorder takes any number for a stream.
        let after = unsafe { RawStream::new(theirs.0 as *mut _) };
        bench
            .executor
            .process_device(&from, &to, Some(after), &PLAN, None)
            .unwrap();
        let captures = count(&bench.device.take(), |o| matches!(o, Operation::BeginCapture(_)));
        assert_eq!(captures, usize::from(anew), "{what}");
        assert_eq!(bench.executor.alignment(), alignment, "{what}");
        bench.check(&what);
    }
}

/// Networks that cannot be captured run all the same; those that cannot run at all are an error.
#[test]
fn what_cannot_be_captured_is_issued_for_every_frame() {
    let spec = spec(PixelFormat::Rgb, (32, 32));
    let bench = |device: &Recorder, times| {
        let refusal = Refusal {
            which: Subnetwork::Illumination,
            call: "enqueue",
            times,
        };
        Bench::try_new(Precision::Fp32, spec, 0, device, Some(refusal))
    };
    // The first run is the warm-up, the second that of the capture.
    let mut stream = bench(&Recorder::default(), 5..=5).unwrap();
    // The first to fourth run are the warm-up and the rounds of a frame alone, the fifth that of a stream's frames.
    stream.device.take();
    for fresh in [true, false, false] {
        stream.submit_as(&THROUGH_TIME).unwrap();
        assert_eq!(stream.device.is_fresh(), fresh);
        stream.collect().unwrap();
    }
    let issued = stream.device.take();
    assert_eq!(count(&issued, |o| matches!(o, Operation::LaunchGraph(_))), 0);
    assert_eq!(
        count(&issued, |o| matches!(o, Operation::Launch("fuse_merge", _))),
        1 + 1 + 3
    );
    assert_eq!(allocations(&issued), 0);
    stream.check("a stream without a graph");

    let mut once = bench(&Recorder::default(), 2..=2).unwrap();
    assert_eq!(once.executor.alignment(), 16);
    once.device.take();
    for _ in 0..2 {
        once.submit().unwrap();
        once.submit().unwrap();
        once.collect().unwrap();
        once.collect().unwrap();
    }
    let issued = once.device.take();
    assert_eq!(count(&issued, |o| matches!(o, Operation::LaunchGraph(_))), 0);
    let runs = count(&issued, |o| matches!(o, Operation::Enqueue("illumination", _)));
    assert_eq!(runs, 4 * 3);
    assert_eq!(allocations(&issued), 0);
    once.check("without a graph");

    let device = Recorder::default();
    let error = bench(&device, 2..=usize::MAX).err().unwrap();
    assert_eq!(error.to_string(), "as planned");
    assert_eq!(device.faults(), Vec::<String>::new());
    assert_eq!(device.allocated(), 0);
}
