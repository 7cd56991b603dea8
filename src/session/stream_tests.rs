//! Streams that are not as they should be: frames lost, repeated or out of order, sizes that change, colour that comes and
//! goes, black and white. What is shown is compared with a stream that begins at the frame.

use crate::frame::{FrameSpec, PixelFormat};
use crate::session::enhancer::Enhancer;
use crate::session::options::{BackendChoice, Options};
use crate::stages::{AUTOMATIC, Parameters, Report};
use crate::temporal::Reset;
use crate::testing::{Picture, scene, spec};

const SIZE: (usize, usize) = (128, 96);

const FUSED: Parameters = Parameters {
    ratio: 4.0,
    strength: 1.0,
    brightness: 0.0,
    temporal: 1.0,
};

/// The rows and the width of a square that moves to the right by itself.
const ROWS: std::ops::Range<usize> = 32..60;
const SIDE: usize = 20;

/// Where the square is at a time.
fn left(time: usize) -> usize {
    5 * time % (SIZE.0 - SIDE)
}

/// What a camera sees that pans slowly.
#[derive(Clone, Copy)]
struct Shot {
    size: (usize, usize),
    time: usize,
    /// A factor on all values.
    light: f32,
    colour: bool,
    /// Of the sensor's noise, of two codes; `None` is without.
    noise: Option<u32>,
}

impl Shot {
    fn at(time: usize) -> Self {
        Self {
            size: SIZE,
            time,
            light: 1.0,
            colour: true,
            noise: Some(time as u32),
        }
    }

    fn picture(self) -> Picture {
        let planes = scene(self.size, (0.5 * self.time as f32, 0.0));
        let mut picture = Picture::black(spec(PixelFormat::Rgb, self.size));
        let mut state = self.noise.unwrap_or(0).wrapping_mul(747_796_405).wrapping_add(1);
        let mut to = picture.frame_mut();
        for y in 0..self.size.1 {
            for (x, pixel) in to.row_mut(0, y).chunks_exact_mut(3).enumerate() {
                let inside = ROWS.contains(&y) && (left(self.time)..left(self.time) + SIDE).contains(&x);
                for (c, code) in pixel.iter_mut().enumerate() {
                    let channel = if self.colour { c } else { 1 };
                    let value = if inside { 0.45 } else { planes.row(channel, y)[x] };
                    let mut noise = 0.0;
                    if self.noise.is_some() {
                        for _ in 0..if c == 0 || self.colour { 4 } else { 0 } {
                            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            noise += (state >> 24) as f32 / 64.0 - 2.0;
                        }
                    }
                    *code = (255.0 * self.light * value + noise).round() as u8;
                }
                if !self.colour {
                    pixel.fill(pixel[0]);
                }
            }
        }
        picture
    }
}

/// A frame of one value.
fn flat(value: u8) -> Picture {
    let mut picture = Picture::black(spec(PixelFormat::Rgb, SIZE));
    (0..SIZE.1).for_each(|y| picture.frame_mut().row_mut(0, y).fill(value));
    picture
}

fn enhancer() -> Enhancer {
    Enhancer::new(&Options {
        model: "lite".into(),
        backend: BackendChoice::Cpu,
        ..Options::default()
    })
    .unwrap()
}

fn show(enhancer: &mut Enhancer, input: &Picture, parameters: Parameters) -> (Picture, Report) {
    let mut output = Picture::black(input.spec);
    let report = enhancer.process(&input.frame(), &mut output.frame_mut(), parameters);
    (output, report.unwrap())
}

/// As the first frame of a stream.
fn first(input: &Picture) -> Picture {
    show(&mut enhancer(), input, FUSED).0
}

/// The codes of some rows and columns of a picture.
fn codes(picture: &Picture, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> Vec<f64> {
    let frame = picture.frame();
    let pixels = rows.flat_map(|y| frame.row(0, y)[3 * columns.start..3 * columns.end].to_vec());
    pixels.map(f64::from).collect()
}

fn all(picture: &Picture) -> Vec<f64> {
    codes(picture, 0..picture.spec.height, 0..picture.spec.width)
}

fn rms(a: &[f64], b: &[f64]) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (squares / a.len() as f64).sqrt()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn cuts(enhancer: &Enhancer) -> u64 {
    enhancer.memory().resets(Reset::SceneCut)
}

/// No frame is further from the truth than one that stands alone, and nothing of the square stays behind.
#[test]
fn frames_that_are_lost_repeated_or_out_of_order_leave_no_trail() {
    for (what, times) in [
        ("in order", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9][..]),
        ("lost", &[0, 1, 2, 5, 6, 11, 12, 13, 17, 18]),
        ("repeated", &[0, 0, 1, 1, 2, 2, 2, 2, 3, 4]),
        ("out of order", &[0, 1, 3, 2, 4, 7, 6, 5, 8, 9]),
        ("there and back", &[0, 1, 2, 9, 1, 9, 2, 8, 0, 9]),
    ] {
        let mut stream = enhancer();
        let mut before: Option<(usize, Picture)> = None;
        for (i, &time) in times.iter().enumerate() {
            let what = format!("{what}, frame {i}, time {time}");
            let input = Shot::at(time).picture();
            let (output, _) = show(&mut stream, &input, FUSED);
            let truth = first(
                &Shot {
                    noise: None,
                    ..Shot::at(time)
                }
                .picture(),
            );
            let (own, alone) = (
                rms(&all(&output), &all(&truth)),
                rms(&all(&first(&input)), &all(&truth)),
            );
            assert!(own <= 1.02 * alone, "{what}: off by {own} codes, by {alone} alone");
            if let Some((other, shown)) = &before {
                if *other == time {
                    assert!(output == *shown, "{what}: a repeated frame");
                }
                // Where the square was and is no longer.
                let (from, here) = (left(*other), left(time));
                let gone = if here >= from {
                    from..(from + SIDE).min(here)
                } else {
                    from.max(here + SIDE)..from + SIDE
                };
                if !gone.is_empty() {
                    let [own, truth] = [&output, &truth].map(|picture| mean(&codes(picture, ROWS, gone.clone())));
                    assert!((own - truth).abs() < 2.0, "{what}: {own} where {truth} is uncovered");
                }
            }
            before = Some((time, output));
        }
        assert_eq!(cuts(&stream), 0, "{what}");
    }
}

/// A frame that is repeated teaches nothing: the stream goes on as if it had come once.
#[test]
fn repeated_frames_do_not_count() {
    let (mut once, mut often) = (enhancer(), enhancer());
    for time in 0..6 {
        let input = Shot::at(time).picture();
        let (expected, report) = show(&mut once, &input, FUSED);
        for repeat in 0..1 + 3 * (time % 2) {
            let (output, own) = show(&mut often, &input, FUSED);
            assert!(output == expected, "time {time}, repeat {repeat}");
            assert_eq!((own.luma_out, own.cut), (report.luma_out, false), "time {time}");
        }
    }
    // At another ratio a repeated frame is brightened anew; without the memory it stands alone.
    let last = Shot::at(5).picture();
    let darker = Parameters { ratio: 2.0, ..FUSED };
    assert!(show(&mut often, &last, darker).0.mean() < show(&mut often, &last, FUSED).0.mean());
    let alone = Parameters { temporal: 0.0, ..FUSED };
    assert!(show(&mut often, &last, alone).0 == show(&mut enhancer(), &last, alone).0);
    assert!(
        show(&mut often, &last, FUSED).0 == first(&last),
        "nothing was remembered"
    );
}

/// Its reports tell the noise once two frames of a scene were seen, and not without a memory.
#[test]
fn a_stream_tells_its_noise() {
    let mut stream = enhancer();
    let mut noise = |time: usize, size, parameters| {
        let shot = Shot {
            size,
            noise: Some(time as u32),
            ..Shot::at(0)
        };
        show(&mut stream, &shot.picture(), parameters).1.noise
    };
    let told: Vec<_> = (0..8).map(|time| noise(time, SIZE, FUSED)).collect();
    assert_eq!(told[0], None);
    // Four uniform numbers between -2 and 2, and rounding.
    let truth = (4.0f32 * 16.0 / 12.0 + 1.0 / 12.0).sqrt();
    for told in &told[3..] {
        let told = told.unwrap();
        assert!((told / truth - 1.0).abs() < 0.3, "{told}, {truth}");
    }
    assert_eq!(noise(8, (SIZE.0 + 16, SIZE.1), FUSED), None);
    assert_eq!(noise(9, (SIZE.0 + 16, SIZE.1), Parameters::default()), None);
}

#[test]
fn a_size_that_changes_every_ten_frames_begins_a_stream_each_time() {
    let sizes: [FrameSpec; 3] = [SIZE, (160, 96), (150, 117)].map(|size| spec(PixelFormat::Rgb, size));
    let mut stream = enhancer();
    for change in 0..7 {
        let size = sizes[change % 3];
        let mut alone = enhancer();
        for i in 0..10 {
            let what = format!("{change}, frame {i}");
            let shot = Shot {
                size: (size.width, size.height),
                ..Shot::at(10 * change + i)
            };
            let input = shot.picture();
            let ((output, report), (expected, _)) = (show(&mut stream, &input, FUSED), show(&mut alone, &input, FUSED));
            if i == 0 {
                assert!(output == expected, "{what}");
            }
            // Later the noise that is known from the size's last time helps.
            let truth = all(&first(&Shot { noise: None, ..shot }.picture()));
            let (own, expected) = (rms(&all(&output), &truth), rms(&all(&expected), &truth));
            assert!(
                own <= 1.05 * expected,
                "{what}: off by {own} codes, by {expected} in a stream of its own"
            );
            assert!(!report.cut, "{what}");
        }
        assert_eq!(stream.memory().resets(Reset::NewFormat), change as u64, "{change}");
    }
    assert_eq!(cuts(&stream), 0);
}

/// A camera that goes to infrared and back: grey is grey at once, and colour is colour.
#[test]
fn colour_comes_and_goes_without_a_trail() {
    let mut stream = enhancer();
    for time in 0..36 {
        let colour = time / 12 != 1;
        let light = if colour { 1.0 } else { 1.4 };
        let shot = Shot {
            colour,
            light,
            ..Shot::at(time)
        };
        let input = shot.picture();
        let (output, _) = show(&mut stream, &input, FUSED);
        let truth = all(&first(&Shot { noise: None, ..shot }.picture()));
        let (own, alone) = (rms(&all(&output), &truth), rms(&all(&first(&input)), &truth));
        assert!(
            own <= 1.02 * alone,
            "frame {time}: off by {own} codes, by {alone} alone"
        );
        // Mean distance of the channels of a pixel.
        let saturation = |picture: &[f64]| {
            let pixels = picture
                .chunks_exact(3)
                .map(|p| p.iter().fold(0.0f64, |m, v| m.max((v - p[0]).abs())));
            mean(&pixels.collect::<Vec<_>>())
        };
        let [own, expected] = [saturation(&all(&output)), saturation(&truth)];
        match colour {
            true => assert!(own > 0.9 * expected, "frame {time}: colour {own}, not {expected}"),
            false => assert!(own < expected + 1.0, "frame {time}: colour {own}, not {expected}"),
        }
    }
}

/// A hundred black frames, and a white one: each is a cut, is shown as it would be alone, and the picture after it has its
/// brightness at once, with a ratio that is automatic, too.
#[test]
fn black_and_white_frames_leave_nothing_behind() {
    for (what, value, count) in [("black", 0, 100), ("white", 255, 1)] {
        for ratio in [4.0, AUTOMATIC] {
            let what = format!("{what}, ratio {ratio}");
            let parameters = Parameters { ratio, ..FUSED };
            let mut stream = enhancer();
            let mut steady = 0.0;
            for time in 0..10 {
                steady = show(&mut stream, &Shot::at(time).picture(), parameters).0.mean();
            }
            let odd = flat(value);
            let alone = show(&mut enhancer(), &odd, parameters).0;
            for i in 0..count {
                let (output, report) = show(&mut stream, &odd, parameters);
                assert!(output == alone, "{what}: frame {i}");
                assert_eq!(report.cut, i == 0, "{what}: frame {i}");
            }
            assert_eq!(cuts(&stream), 1, "{what}");
            for time in 10..16 {
                let input = Shot::at(time).picture();
                let (output, report) = show(&mut stream, &input, parameters);
                assert_eq!(report.cut, time == 10, "{what}: time {time}");
                if time == 10 {
                    assert!(
                        output == show(&mut enhancer(), &input, parameters).0,
                        "{what}: the first one after"
                    );
                }
                let off = output.mean() / steady - 1.0;
                assert!(off.abs() < 0.03, "{what}: time {time}: brightness off by {off}");
            }
            assert_eq!(cuts(&stream), 2, "{what}");
        }
    }
}
