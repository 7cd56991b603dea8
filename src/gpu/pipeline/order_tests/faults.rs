//! What becomes of frames in flight where a call, a network or memory fails.

use super::*;

/// Whatever fails, an error leaves nothing under way: the caller's frames are its own, and the memory of the slot can be
/// filled again.
#[test]
fn an_error_of_a_frame_waits_for_what_was_issued() {
    let spec = spec(PixelFormat::Nv12, (64, 48));
    // The frame's bytes, then the settings; the sums, then the frame's bytes; the events after uploads, results, downloads.
    let in_system_memory = [
        (Call::Upload, 0),
        (Call::Upload, 1),
        (Call::LaunchGraph, 0),
        (Call::Download, 0),
        (Call::Download, 1),
        (Call::Record, 0),
        (Call::Record, 1),
        (Call::Record, 2),
    ];
    for (call, before) in in_system_memory {
        for others in [0, 1] {
            let what = format!("submit, {call:?} {before}, {others} pending");
            let mut bench = Bench::new(Precision::Fp16, spec, 0);
            (0..others).for_each(|_| bench.submit().unwrap());
            bench.device.refuse(call, before);
            assert_eq!(bench.submit().unwrap_err().to_string(), "as planned", "{what}");
            assert_eq!(bench.device.under_way(), [0; 0], "{what}");
            assert_eq!(bench.executor.pending(), others, "{what}");
            // The slot is used again, as if nothing had happened.
            bench.submit().unwrap();
            (0..=others).for_each(|_| bench.collect().unwrap());
            bench.check(&what);
        }
    }
    // The settings, the graph, the sums, the thumbnail, the settings and the sums of a frame adjusted anew; the events of the
    // caller's stream, of the results, of the thumbnail, of the results anew.
    let in_device_memory = [
        (Call::Upload, 0),
        (Call::Upload, 1),
        (Call::LaunchGraph, 0),
        (Call::Download, 0),
        (Call::Download, 1),
        (Call::Download, 2),
        (Call::Record, 0),
        (Call::Record, 1),
        (Call::Record, 2),
        (Call::Record, 3),
    ];
    for (call, before) in in_device_memory {
        let what = format!("process_device, {call:?} {before}");
        let mut bench = Bench::new(Precision::Fp16, spec, 0);
        let theirs = bench.device.create_stream().unwrap();
        let (input, output) = (bench.theirs(theirs, 0, 64), bench.theirs(theirs, 0, 64));
        // SAFETY: the recorder takes any number for a stream.
        let after = unsafe { RawStream::new(theirs.0 as *mut _) };
        // What was issued on their stream is theirs to wait for.
        let finished = bench.device.create_event(false).unwrap();
        bench.device.record(finished, theirs).unwrap();
        bench.device.synchronize(finished).unwrap();
        let process = |bench: &mut Bench| {
            let meter = &mut |_: &[f32]| Ok(Some(2.0));
            let done = bench
                .executor
                .process_device(&input, &output, Some(after), &PLAN, Some(meter));
            done.map(drop)
        };
        bench.device.refuse(call, before);
        assert_eq!(process(&mut bench).unwrap_err().to_string(), "as planned", "{what}");
        let own: Vec<_> = bench
            .device
            .under_way()
            .into_iter()
            .filter(|s| *s != theirs.0)
            .collect();
        assert_eq!(own, [0; 0], "{what}");
        process(&mut bench).unwrap();
        bench.submit().unwrap();
        bench.collect().unwrap();
        bench.check(&what);
    }
    // Stage by stage.
    let stage_by_stage = [
        (Call::Upload, 0),
        (Call::Upload, 1),
        (Call::Download, 0),
        (Call::Download, 1),
        (Call::Download, 2),
    ];
    for (call, before) in stage_by_stage {
        let what = format!("stage by stage, {call:?} {before}");
        let mut bench = Bench::new(Precision::Fp16, spec, 0);
        bench.device.refuse(call, before);
        assert_eq!(bench.step_through().unwrap_err().to_string(), "as planned", "{what}");
        assert_eq!(bench.device.under_way(), [0; 0], "{what}");
        bench.step_through().unwrap();
        bench.check(&what);
    }
}

/// An error of networks is told only after the runs before it have ended: what they use goes with the error.
#[test]
fn an_error_of_networks_waits_for_what_was_issued() {
    let refusal = |call| {
        Some(Refusal {
            which: Subnetwork::Adjustment,
            call,
            times: 1..=usize::MAX,
        })
    };
    let device = Recorder::default();
    let rgb = spec(PixelFormat::Rgb, (32, 32));
    let error = Bench::try_new(Precision::Fp32, rgb, 0, &device, refusal("enqueue")).err();
    assert_eq!(error.unwrap().to_string(), "as planned");
    let issued = device.take();
    assert!(issued.iter().any(|o| matches!(o, Operation::Enqueue("restoration", _))));
    // The end of the other networks comes after their runs, or the recorder would say so.
    assert_eq!(device.faults(), Vec::<String>::new(), "{issued:?}");
    assert_eq!(device.allocated(), 0);

    let reference = Reference {
        size: (16, 16),
        samples: vec![Sample {
            which: Subnetwork::Adjustment,
            inputs: vec![vec![0.5; 256], vec![4.0]],
            outputs: vec![vec![0.7; 256]],
        }],
    };
    for call in ["shape", "address", "scratch_bytes", "lend", "enqueue"] {
        let device = Recorder::default();
        let mut networks = IdleNetworks {
            refusal: refusal(call),
            ..IdleNetworks::new(Precision::Fp32, Some(&device))
        };
        let as_device: Arc<dyn Device> = Arc::new(device.clone());
        let error = compare(&as_device, networks.load((16, 16)).unwrap(), &reference).err();
        assert_eq!(error.unwrap().to_string(), "as planned");
        assert_eq!(device.faults(), Vec::<String>::new(), "{call}");
        assert_eq!(device.allocated(), 0, "{call}");
    }
}

#[test]
fn short_memory_is_an_error_and_the_backend_can_be_prepared_again() {
    let device = Recorder::with_memory(4 << 20);
    let mut backend = IdleNetworks::new(Precision::Fp32, Some(&device)).backend();
    for (size, fits) in [((64, 48), true), ((1920, 1080), false), ((64, 48), true)] {
        let prepared = backend.prepare(&Geometry::new(spec(PixelFormat::Nv12, size), 0, 4));
        match prepared {
            Ok(_) => assert!(fits, "{size:?}"),
            Err(e) => assert!(!fits && e.kind() == ErrorKind::OutOfMemory, "{size:?}: {e}"),
        }
    }
    assert_eq!(device.faults(), Vec::<String>::new());
    drop(backend);
    assert_eq!(device.allocated(), 0);
}

/// Wherever memory ends, what was taken goes back.
#[test]
fn memory_may_end_anywhere() {
    let prepare = |bytes: usize| {
        let device = Recorder::with_memory(bytes);
        let mut backend = IdleNetworks::new(Precision::Fp16, Some(&device)).backend();
        let prepared = backend.prepare(&Geometry::new(spec(PixelFormat::Nv12, (64, 48)), 0, 4));
        let kind = prepared.as_ref().err().map(|e| e.kind());
        drop((prepared, backend));
        assert_eq!(device.faults(), Vec::<String>::new(), "{bytes} bytes");
        assert_eq!(device.allocated(), 0, "{bytes} bytes");
        kind
    };
    const ENOUGH: usize = 4 << 20;
    assert_eq!(prepare(ENOUGH), None);
    let least = (0..ENOUGH).step_by(4096).find(|&bytes| prepare(bytes).is_none());
    let least = least.unwrap();
    // The memory of the stream is in it, 32 bytes a pixel and more.
    assert!(least > 64 * 48 * 60, "{least}");
    assert_eq!(prepare(least - 4096), Some(ErrorKind::OutOfMemory));
}
