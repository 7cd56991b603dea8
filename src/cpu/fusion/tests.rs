//! The memory on pictures whose truth is known.

use super::Fusion;
use super::camera::{Affine, refine, strips};
use super::pyramid::Pyramid;
use crate::cpu::capabilities::{Capabilities, Level};
use crate::cpu::colour::Planes;
use crate::cpu::threads::Pool;
use crate::testing::scene;

const SIZE: (usize, usize) = (160, 96);
/// Standard deviation of the noise: four codes of 8 bits.
const NOISE: f32 = 4.0 / 255.0;

/// Numerical Recipes' linear congruential generator.
struct Numbers(u32);

impl Numbers {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }

    /// Of mean 0 and variance 1: a sum of uniform ones.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

fn noisy(truth: &Planes, numbers: &mut Numbers) -> Planes {
    let mut planes = Planes::new(3, (truth.width, truth.height)).unwrap();
    for (out, value) in planes.data.iter_mut().zip(truth.data.iter()) {
        *out = value + NOISE * numbers.normal();
    }
    planes
}

/// The root of the mean squared difference, away from the edges, in standard deviations of the noise.
fn error(a: &Planes, b: &Planes) -> f32 {
    let (mut sum, mut count) = (0.0, 0);
    for c in 0..3 {
        for y in 8..a.height - 8 {
            for (a, b) in a.row(c, y)[8..a.width - 8].iter().zip(&b.row(c, y)[8..a.width - 8]) {
                sum += (a - b) * (a - b);
                count += 1;
            }
        }
    }
    (sum / count as f32).sqrt() / NOISE
}

struct Stream {
    fusion: Fusion,
    image: Planes,
    room: Planes,
    pool: Pool,
    capabilities: Capabilities,
}

impl Stream {
    fn new(size: (usize, usize)) -> Self {
        Self::at(size, Level::Portable, 0)
    }

    fn at(size: (usize, usize), level: Level, threads: usize) -> Self {
        Self {
            fusion: Fusion::new(size).unwrap(),
            image: Planes::new(3, size).unwrap(),
            room: Planes::new(1, size).unwrap(),
            pool: Pool::new(threads),
            capabilities: Capabilities::at(level),
        }
    }

    /// Fuses a frame; returns whether it was a cut.
    fn frame(&mut self, frame: &Planes, temporal: f32) -> bool {
        self.fusion.remember(&mut self.image);
        self.image.data.copy_from_slice(&frame.data);
        let Self { image, room, pool, .. } = self;
        self.fusion.fuse(pool, self.capabilities, image, room, temporal)
    }
}

#[test]
fn a_still_scene_gets_cleaner_from_frame_to_frame() {
    let truth = scene(SIZE, (0.0, 0.0));
    for &level in Level::available() {
        let (mut stream, mut numbers) = (Stream::at(SIZE, level, 2), Numbers(1));
        let errors: Vec<_> = (0..16)
            .map(|_| {
                assert!(!stream.frame(&noisy(&truth, &mut numbers), 1.0));
                error(&stream.image, &truth)
            })
            .collect();
        assert!((errors[0] - 1.0).abs() < 0.02, "{level}: {errors:?}");
        // Of n frames the mean has a root of n less noise.
        assert!(errors[3] < 0.65 && errors[15] < 0.42, "{level}: {errors:?}");
    }
}

#[test]
fn less_of_the_memory_is_less_calm() {
    let truth = scene(SIZE, (0.0, 0.0));
    let last = |temporal| {
        let (mut stream, mut numbers) = (Stream::new(SIZE), Numbers(1));
        for _ in 0..12 {
            stream.frame(&noisy(&truth, &mut numbers), temporal);
        }
        error(&stream.image, &truth)
    };
    let errors = [0.0, 0.1, 0.4, 1.0].map(last);
    assert!((errors[0] - 1.0).abs() < 0.02, "{errors:?}");
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
}

/// What an encoder leaves of a textured scene: some blocks of each frame are coded anew, each as a plane that is off by a
/// little; the others stay as they were.
#[test]
fn an_encoders_changes_are_calmed_on_texture_too() {
    const BLOCK: usize = 8;
    let mut numbers = Numbers(9);
    let mut truth = scene(SIZE, (0.0, 0.0));
    for value in truth.data.iter_mut() {
        *value += 8.0 / 255.0 * numbers.normal();
    }
    let mut frame = noisy(&truth, &mut numbers);
    frame.data.copy_from_slice(&truth.data);
    let mut stream = Stream::new(SIZE);
    let mut before: Option<(Planes, Planes)> = None;
    let mut shares = Vec::new();
    for _ in 0..24 {
        for top in (0..SIZE.1).step_by(BLOCK) {
            for left in (0..SIZE.0).step_by(BLOCK) {
                if numbers.uniform() > 0.5 {
                    continue;
                }
                let [offset, slope] = [2.0, 1.0].map(|codes| codes / 255.0 * numbers.normal());
                for c in 0..3 {
                    for y in top..top + BLOCK {
                        for x in left..left + BLOCK {
                            let across = (x - left) as f32 / BLOCK as f32 - 0.5;
                            let i = (c * SIZE.1 + y) * SIZE.0 + x;
                            frame.data[i] = truth.data[i] + offset + slope * across;
                        }
                    }
                }
            }
        }
        stream.frame(&frame, 1.0);
        let copy = |planes: &Planes| {
            let mut copy = Planes::new(3, SIZE).unwrap();
            copy.data.copy_from_slice(&planes.data);
            copy
        };
        let now = (copy(&frame), copy(&stream.image));
        if let Some((frame, image)) = &before {
            shares.push(error(image, &now.1) / error(frame, &now.0));
        }
        before = Some(now);
    }
    let last = shares[shares.len() - 6..].iter().sum::<f32>() / 6.0;
    assert!(last < 0.5, "{shares:?}");
}

#[test]
fn a_moving_camera_is_followed() {
    for step in [(0.4, 0.0), (1.7, -0.6), (6.0, 3.0), (-11.3, 0.2)] {
        let (mut stream, mut numbers) = (Stream::new(SIZE), Numbers(3));
        let mut errors = Vec::new();
        for t in 0..10 {
            let truth = scene(SIZE, (step.0 * t as f32, step.1 * t as f32));
            stream.frame(&noisy(&truth, &mut numbers), 1.0);
            errors.push(error(&stream.image, &truth));
        }
        assert!(errors[9] < 0.75, "{step:?}: {errors:?}");
    }
}

#[test]
fn what_moves_leaves_no_trail() {
    let background = scene(SIZE, (0.0, 0.0));
    let (mut stream, mut numbers) = (Stream::new(SIZE), Numbers(5));
    let left = |t: usize| 10 + 5 * t;
    for t in 0..16 {
        let mut truth = scene(SIZE, (0.0, 0.0));
        for c in 0..3 {
            for y in 30..60 {
                for x in left(t)..left(t) + 24 {
                    truth.data[(c * SIZE.1 + y) * SIZE.0 + x] = 0.45;
                }
            }
        }
        stream.frame(&noisy(&truth, &mut numbers), 1.0);
        if t < 4 {
            continue;
        }
        // What has been uncovered is the background again, from the first frame on.
        let (mut sum, mut count) = (0.0, 0);
        for c in 0..3 {
            for y in 30..60 {
                for x in left(t - 1)..left(t) {
                    sum += stream.image.row(c, y)[x] - background.row(c, y)[x];
                    count += 1;
                }
            }
        }
        let trail = sum / count as f32 / 0.25;
        assert!(trail.abs() < 0.03, "frame {t}: {trail} of the square is left");
        assert!(error(&stream.image, &truth) < 1.02, "frame {t}");
    }
}

#[test]
fn a_cut_is_clean_at_once() {
    let scenes = [scene(SIZE, (0.0, 0.0)), scene(SIZE, (777.0, -431.0))];
    let white = {
        let mut white = Planes::new(3, SIZE).unwrap();
        white.data.fill(1.0);
        white
    };
    let black = Planes::new(3, SIZE).unwrap();
    for (what, between) in [
        ("a cut", None),
        ("a white frame", Some(&white)),
        ("black frames", Some(&black)),
    ] {
        let (mut stream, mut numbers) = (Stream::new(SIZE), Numbers(9));
        for _ in 0..8 {
            stream.frame(&noisy(&scenes[0], &mut numbers), 1.0);
        }
        if let Some(frame) = between {
            assert!(stream.frame(frame, 1.0), "{what}");
            assert!(stream.image.data[..] == frame.data[..], "{what}");
            assert!(!stream.frame(frame, 1.0), "{what}: it goes on");
        }
        let next = noisy(&scenes[1], &mut numbers);
        assert!(stream.frame(&next, 1.0), "{what}");
        assert!(stream.image.data[..] == next.data[..], "{what}");
        for _ in 0..6 {
            stream.frame(&noisy(&scenes[1], &mut numbers), 1.0);
        }
        assert!(error(&stream.image, &scenes[1]) < 0.7, "{what}: calm again");
    }
}

#[test]
fn a_forgotten_picture_leaves_nothing() {
    let (mut stream, mut numbers) = (Stream::new(SIZE), Numbers(2));
    stream.frame(&scene(SIZE, (0.0, 0.0)), 1.0);
    stream.fusion.forget();
    let next = noisy(&scene(SIZE, (1.0, 0.0)), &mut numbers);
    assert!(!stream.frame(&next, 1.0), "no cut: there is nothing to cut from");
    assert!(stream.image.data[..] == next.data[..]);
}

#[test]
fn what_is_no_number_is_given_up() {
    let truth = scene(SIZE, (0.0, 0.0));
    for planted in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for everywhere in [false, true] {
            let (mut stream, mut numbers) = (Stream::new(SIZE), Numbers(4));
            for _ in 0..6 {
                stream.frame(&noisy(&truth, &mut numbers), 1.0);
            }
            // The picture and the counts are the state; both are damaged.
            let n = stream.image.data.len();
            for i in (0..n).filter(|i| everywhere || i % 1009 == 0) {
                stream.image.data[i] = planted;
                stream.fusion.count.data[i / 3] = planted;
            }
            for frame in 0..8 {
                stream.frame(&noisy(&truth, &mut numbers), 1.0);
                let finite = stream.image.data.iter().all(|v| v.is_finite());
                assert!(finite, "{planted} everywhere {everywhere}: frame {frame}");
            }
            let left = error(&stream.image, &truth);
            assert!(left < 0.6, "{planted} everywhere {everywhere}: {left}");
        }
    }
}

#[test]
fn any_size_and_any_number_of_threads_will_do() {
    for size in [(16, 16), (17, 19), (16, 200), (203, 18), (100, 33)] {
        let frames: Vec<_> = (0..5)
            .map(|t| noisy(&scene(size, (t as f32 * 3.3, 0.7)), &mut Numbers(t)))
            .collect();
        let mut alone = Stream::at(size, Level::Portable, 1);
        let mut together = Stream::at(size, Level::Portable, 3);
        for frame in &frames {
            alone.frame(frame, 1.0);
            together.frame(frame, 1.0);
            assert!(alone.image.data[..] == together.image.data[..], "{size:?}");
            assert!(alone.image.data.iter().all(|v| v.is_finite()), "{size:?}");
        }
    }
}

#[test]
fn the_state_is_at_most_28_bytes_for_a_pixel() {
    for size in [(640, 360), (1280, 720), (1920, 1080)] {
        let bytes = Fusion::new(size).unwrap().bytes() as f64 / (size.0 * size.1) as f64;
        assert!(bytes <= 28.0, "{size:?}: {bytes}");
    }
}

#[test]
fn a_camera_that_turns_and_zooms_is_found() {
    let size = (320, 200);
    let expected = Affine([1.2, 0.004, -0.003, -0.7, 0.003, 0.005]);
    let before = scene(size, (0.0, 0.0));
    let mut now = Planes::new(3, size).unwrap();
    for y in 0..size.1 {
        for x in 0..size.0 {
            // The scene's own formula at the place where the pixel was.
            let (px, py) = (x as f64 + 0.5 - 160.0, y as f64 + 0.5 - 100.0);
            let (dx, dy) = expected.at(px, py);
            let there = scene((1, 1), ((x as f64 + dx) as f32, (y as f64 + dy) as f32));
            for c in 0..3 {
                now.data[(c * size.1 + y) * size.0 + x] = there.data[c];
            }
        }
    }
    let [a, b] = [&now, &before].map(|image| {
        let mut pyramid = Pyramid::new(size).unwrap();
        pyramid.levels[0].halve(&Pool::new(0), Capabilities::at(Level::Portable), image);
        pyramid.complete(Capabilities::at(Level::Portable));
        pyramid
    });
    let mut found = Affine::default();
    for _ in 0..8 {
        let (a, b) = (&a.levels[0], &b.levels[0]);
        let (pool, capabilities) = (Pool::new(0), Capabilities::at(Level::Portable));
        let mut sums = vec![[0.0; _]; strips(a.height)];
        found = refine(&pool, capabilities, a, b, 2.0, 0.01, found, &mut sums);
    }
    for (x, y) in [(-150.0, -90.0), (150.0, -90.0), (0.0, 0.0), (150.0, 90.0)] {
        let ((ex, ey), (fx, fy)) = (expected.at(x, y), found.at(x, y));
        assert!((ex - fx).abs() < 0.1 && (ey - fy).abs() < 0.1, "at {x}, {y}: {found:?}");
    }
}
