//! Which backend works, frames that are submitted, frames in device memory.

use super::*;
use crate::frame::DevicePlane;
use crate::probe::probe;

fn spec(width: usize, height: usize) -> FrameSpec {
    FrameSpec {
        format: PixelFormat::Rgb,
        width,
        height,
        colorimetry: Colorimetry::FULL,
    }
}

fn options(backend: BackendChoice) -> Options {
    Options {
        model: "lite".into(),
        backend,
        ..Options::default()
    }
}

fn frame(bytes: &[u8], spec: FrameSpec) -> Frame<'_> {
    let stride = 3 * spec.width;
    Frame::new(spec, &[Plane { data: bytes, stride }]).unwrap()
}

fn frame_mut(bytes: &mut [u8], spec: FrameSpec) -> FrameMut<'_> {
    let stride = 3 * spec.width;
    FrameMut::new(spec, [PlaneMut { data: bytes, stride }]).unwrap()
}

/// On a recorder with that much memory, as `auto` would have it on a GPU.
fn on_recorder(memory: usize) -> Enhancer {
    Enhancer {
        backend: Box::new(crate::cuda::on_recorder(memory)),
        may_fall_back: true,
        ..Enhancer::new(&options(BackendChoice::Cpu)).unwrap()
    }
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
    let mut enhancer = on_recorder(1 << 20);
    enhancer.prepare(&spec(32, 32)).unwrap();
    assert_eq!(enhancer.backend_name(), "tensorrt");
    assert_eq!(enhancer.depth(), 2);
    enhancer.prepare(&spec(640, 360)).unwrap();
    assert_eq!((enhancer.backend_name(), enhancer.depth()), ("cpu", 1));
    let dark = vec![20; 3 * 640 * 360];
    let mut bright = vec![0; dark.len()];
    let s = spec(640, 360);
    let report = enhancer
        .process(&frame(&dark, s), &mut frame_mut(&mut bright, s), Parameters::default())
        .unwrap();
    assert!(report.luma_out > report.luma_in);

    let mut asked_for = on_recorder(1 << 20);
    asked_for.may_fall_back = false;
    let error = asked_for.prepare(&spec(640, 360)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    asked_for.prepare(&spec(32, 32)).unwrap();
}

#[test]
fn submitted_frames_come_out_as_processed_ones() {
    let mut enhancer = Enhancer::new(&options(BackendChoice::Cpu)).unwrap();
    let s = spec(48, 32);
    let dark: Vec<u8> = (0..3 * 48 * 32).map(|i| (i % 60) as u8).collect();
    let [mut processed, mut collected] = [0, 1].map(|_| vec![0u8; dark.len()]);
    let parameters = Parameters {
        ratio: 5.0,
        strength: 0.8,
    };
    enhancer
        .process(&frame(&dark, s), &mut frame_mut(&mut processed, s), parameters)
        .unwrap();
    assert_eq!(
        enhancer.collect(&mut frame_mut(&mut collected, s)).unwrap_err().kind(),
        ErrorKind::InvalidOption
    );
    enhancer.submit(&frame(&dark, s), parameters).unwrap();
    assert_eq!((enhancer.pending(), enhancer.depth()), (1, 1));
    for (what, refused) in [
        ("a second frame", enhancer.submit(&frame(&dark, s), parameters)),
        ("another size", enhancer.prepare(&spec(32, 32))),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidOption, "{what}");
    }
    enhancer.collect(&mut frame_mut(&mut collected, s)).unwrap();
    assert_eq!(processed, collected);
    assert_eq!(enhancer.pending(), 0);
    // One that nobody wants leaves the enhancer as it was.
    enhancer.submit(&frame(&vec![200; dark.len()], s), parameters).unwrap();
    enhancer.discard().unwrap();
    assert_eq!(enhancer.discard().unwrap_err().kind(), ErrorKind::InvalidOption);
    enhancer.submit(&frame(&dark, s), parameters).unwrap();
    enhancer.collect(&mut frame_mut(&mut collected, s)).unwrap();
    assert_eq!(processed, collected);
}

#[test]
fn a_recording_is_made_anew_for_frames_aligned_to_less() {
    let mut enhancer = on_recorder(64 << 20);
    let s = spec(32, 32);
    let at = |address, stride| {
        // SAFETY: on a recorder nothing is read or written through it.
        #[allow(unsafe_code)]
        unsafe { DeviceFrame::new(s, &[DevicePlane { address, stride }]) }.unwrap()
    };
    for (input, output, alignment) in [
        (at(1 << 20, 96), at(2 << 20, 96), 16),
        (at(1 << 20, 96), at(2 << 20, 100), 4),
        (at(1 << 20, 96), at(2 << 20, 96), 4),
        (at((1 << 20) + 1, 96), at(2 << 20, 96), 1),
    ] {
        enhancer
            .process_device(&input, &output, None, Parameters::default())
            .unwrap();
        let recorded = enhancer.backend.replay().unwrap().alignment();
        assert_eq!(recorded, alignment, "{input:?} {output:?}");
    }
    let same = at(1 << 20, 96);
    for (what, error, kind) in [
        (
            "overlap",
            enhancer.process_device(&same, &at((1 << 20) + 64, 96), None, Parameters::default()),
            ErrorKind::InvalidFrame,
        ),
        (
            "parameters",
            enhancer.process_device(
                &same,
                &at(2 << 20, 96),
                None,
                Parameters {
                    ratio: f32::NAN,
                    strength: 1.0,
                },
            ),
            ErrorKind::InvalidOption,
        ),
        (
            "on the processor",
            Enhancer::new(&options(BackendChoice::Cpu)).unwrap().process_device(
                &same,
                &at(2 << 20, 96),
                None,
                Parameters::default(),
            ),
            ErrorKind::Unsupported,
        ),
    ] {
        assert_eq!(error.unwrap_err().kind(), kind, "{what}");
    }
}
