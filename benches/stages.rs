//! Time of each stage of a frame, for the packs in the library: `cargo bench --bench stages`.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use uretinex::{
    BackendChoice, Colorimetry, Enhancer, Frame, FrameMut, FrameSpec, Options, Parameters, PixelFormat, Plane,
    PlaneMut, Report, Stage,
};

/// Packs with the sizes at which they are measured.
const CASES: &[(&str, &[(usize, usize)])] = &[
    ("lite", &[(640, 360), (1280, 720), (1920, 1080)]),
    ("full", &[(320, 180), (640, 360)]),
];

/// An RGB frame of dark noise.
fn night(width: usize, height: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 27) as u8
    };
    (0..3 * width * height)
        .map(|i| (i % (3 * width) * 40 / (3 * width)) as u8 + next())
        .collect()
}

fn stages(c: &mut Criterion) {
    for &(model, sizes) in CASES {
        for &(width, height) in sizes {
            let options = Options {
                model: model.into(),
                backend: BackendChoice::Cpu,
                ..Options::default()
            };
            let mut enhancer = Enhancer::new(&options).expect("packs of the library load");
            let spec = FrameSpec {
                format: PixelFormat::Rgb,
                width,
                height,
                colorimetry: Colorimetry::FULL,
            };
            let (dark, stride) = (night(width, height), 3 * width);
            let mut bright = vec![0; dark.len()];
            let mut frame = || -> Report {
                let input = Frame::new(spec, &[Plane { data: &dark, stride }]).expect("the frame fits its size");
                let plane = PlaneMut {
                    data: &mut bright,
                    stride,
                };
                let mut output = FrameMut::new(spec, [plane]).expect("the frame fits its size");
                enhancer
                    .process(&input, &mut output, Parameters::default())
                    .expect("frames of this size are processed")
            };
            frame();
            let mut group = c.benchmark_group(format!("{model}/{width}x{height}"));
            group.sample_size(10);
            for stage in Stage::ALL {
                group.bench_function(BenchmarkId::from_parameter(stage.name()), |b| {
                    b.iter_custom(|n| (0..n).map(|_| frame().stages[stage as usize]).sum::<Duration>());
                });
            }
            group.bench_function("total", |b| {
                b.iter_custom(|n| (0..n).map(|_| frame().total).sum::<Duration>())
            });
            group.finish();
        }
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
