//! Temporal fusion by the kernels against the processor's, over moving sequences: every part after every frame.

use std::collections::BTreeSet;

use super::cases::{Random, Tensor, worst};
use crate::cpu::{Capabilities, Fusion as Reference, Level, Planes, Pool, most_frames};
use crate::gpu::kernels::fusion::{CAMERA, FUSE, Fusion, MOTION, PYRAMID, Parts, TRUST};
use crate::gpu::kernels::launch::Settings;
use crate::gpu::kernels::storage::Storage;
use crate::testing::{Guarded, HostKernels, Rounding, scene};

/// [`scene`] with noise of two codes of 8 bits.
fn noisy(size: (usize, usize), offset: (f32, f32), random: &mut Random) -> Planes {
    let mut planes = scene(size, offset);
    for value in planes.data.iter_mut() {
        let noise: f32 = (0..4).map(|_| random.between(-1.0, 1.0)).sum();
        *value += noise * (2.0 / 255.0);
    }
    planes
}

/// A square that moves by itself.
fn square(planes: &mut Planes, left: usize) {
    let (width, height) = (planes.width, planes.height);
    for c in 0..3 {
        for y in height / 3..2 * height / 3 {
            let row = (c * height + y) * width;
            planes.data[row + left..row + (left + width / 5).min(width)].fill(0.45);
        }
    }
}

/// One frame of a sequence.
struct Frame {
    picture: Planes,
    temporal: f32,
    fresh: bool,
    /// The memory is to be taken in its place.
    repeated: bool,
    /// Every n-th value of the memory becomes this before the frame.
    damage: Option<(usize, f32)>,
}

/// The frames of [`sequence`] that are repeated ones: of a memory of two frames and of one.
const REPEATED: [usize; 2] = [12, 15];

/// A camera that moves, an object that does too, a cut, a memory that is forgotten and one that is damaged, repeated frames.
fn sequence(size: (usize, usize)) -> Vec<Frame> {
    let mut random = Random(11);
    let frames = [
        ((0.0, 0.0), 1.0, true, None),
        ((0.0, 0.0), 1.0, false, None),
        ((1.7, -0.6), 1.0, false, None),
        ((3.4, -1.2), 0.4, false, None),
        ((9.1, 1.8), 1.0, false, None),
        ((777.0, -431.0), 1.0, false, None),
        ((777.5, -431.0), 1.0, false, None),
        ((778.0, -431.0), 0.0, false, None),
        ((778.0, -431.0), 1.0, false, Some((1009, f32::NAN))),
        ((778.0, -431.0), 1.0, false, Some((1, f32::INFINITY))),
        ((779.0, -430.0), 1.0, true, None),
        ((780.0, -429.0), 1.0, false, None),
        ((780.0, -429.0), 1.0, false, None),
        ((781.0, -428.0), 1.0, false, None),
        ((782.0, -427.0), 1.0, true, None),
        ((782.0, -427.0), 1.0, false, None),
        ((783.0, -426.0), 1.0, false, None),
    ];
    let frames = frames.into_iter().enumerate();
    let make = |(t, (offset, temporal, fresh, damage)): (usize, (_, _, _, _))| {
        let mut picture = noisy(size, offset, &mut random);
        square(&mut picture, (5 * t).min(size.0 - 1));
        Frame {
            picture,
            temporal,
            fresh,
            repeated: REPEATED.contains(&t),
            damage,
        }
    };
    frames.map(make).collect()
}

/// The processor's fusion of a stream.
struct Processor {
    fusion: Reference,
    image: Planes,
    room: Planes,
    pool: Pool,
}

impl Processor {
    fn new(size: (usize, usize)) -> Self {
        Self {
            fusion: Reference::new(size).unwrap(),
            image: Planes::new(3, size).unwrap(),
            room: Planes::new(1, size).unwrap(),
            pool: Pool::new(0),
        }
    }

    /// Fuses a frame; returns whether it was a cut.
    fn frame(&mut self, frame: &Frame) -> bool {
        if frame.fresh {
            self.fusion.forget();
        }
        if let Some((step, value)) = frame.damage {
            self.image.data.iter_mut().step_by(step).for_each(|v| *v = value);
            self.fusion.damage(&self.image, step, value);
        }
        self.fusion.remember(&mut self.image);
        self.image.data.copy_from_slice(&frame.picture.data);
        if frame.repeated && self.fusion.repeat(&mut self.image) {
            return false;
        }
        let capabilities = Capabilities::at(Level::Portable);
        let Self { image, room, pool, .. } = self;
        self.fusion.fuse(pool, capabilities, image, room, frame.temporal)
    }
}

/// The kernels' fusion of a stream, each part in memory with a guarded end.
struct Kernels {
    parts: Parts<Guarded>,
    size: (usize, usize),
    ran: BTreeSet<&'static str>,
}

impl Kernels {
    fn new(size: (usize, usize)) -> Self {
        Self {
            parts: Parts::bytes(size).map(|bytes| Guarded::new(bytes.next_multiple_of(16))),
            size,
            ran: BTreeSet::new(),
        }
    }

    /// Fuses a frame: the picture in 32 and in 16 bits, and whether it was a cut.
    fn frame(&mut self, host: &HostKernels, frame: &Frame) -> (Vec<f32>, Vec<f32>, bool) {
        if let Some((step, value)) = frame.damage {
            for part in [&mut self.parts.past, &mut self.parts.count] {
                let values = part.bytes_mut().as_chunks_mut().0.iter_mut();
                values.step_by(step).for_each(|v| *v = value.to_ne_bytes());
            }
        }
        let image = Tensor::new(Storage::F32, &frame.picture.data);
        let half = Tensor::new(Storage::F16, &frame.picture.data);
        let settings = Box::into_raw(Box::new(Settings {
            most: most_frames(frame.temporal),
            fresh: frame.fresh.into(),
            repeated: frame.repeated.into(),
            ..Settings::default()
        }));
        let fusion = Fusion {
            settings: settings as u64,
            image: image.address(),
            image_half: half.address(),
            parts: self.parts.each_ref().map(Guarded::address),
        };
        for launch in fusion.launches(self.size) {
            // SAFETY: all parts are as long as the size asks for, and live until the box is taken back.
            unsafe { host.run(&launch) };
            self.ran.insert(launch.kernel);
        }
        // SAFETY: made by `into_raw` above, and no kernel runs any more.
        let settings = unsafe { Box::from_raw(settings) };
        (image.values(), half.values(), settings.cut == 1)
    }

    /// A part as the processor's numbers are.
    fn part(&self, name: &str) -> Vec<f32> {
        let parts = &self.parts;
        let (part, bytes) = match name {
            "now" => (&parts.now, Parts::bytes(self.size).now),
            "before" => (&parts.before, Parts::bytes(self.size).before),
            "vectors" => (&parts.vectors, Parts::bytes(self.size).vectors),
            "texture" => (&parts.texture, Parts::bytes(self.size).texture),
            "cells" => (&parts.cells, Parts::bytes(self.size).cells),
            "broad" => (&parts.broad, Parts::bytes(self.size).broad),
            "trust" => (&parts.trust, Parts::bytes(self.size).trust),
            _ => (&parts.count, Parts::bytes(self.size).count),
        };
        let bytes = &part.bytes()[..bytes];
        if name == "vectors" {
            let shorts = bytes.as_chunks().0.iter();
            return shorts.map(|b| f32::from(i16::from_ne_bytes(*b))).collect();
        }
        bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect()
    }
}

/// Sides that are no multiple of a block, of a cell, or of two, and ones below a warp.
const SIZES: [(usize, usize); 4] = [(101, 77), (64, 48), (17, 19), (203, 18)];

#[test]
fn fusion_is_exact() {
    let hosts = [
        HostKernels::new(Rounding::Separate),
        HostKernels::new(Rounding::Separate).backwards(),
    ];
    for size in SIZES {
        for (host, order) in hosts.iter().zip(["forwards", "backwards"]) {
            let (mut processor, mut kernels) = (Processor::new(size), Kernels::new(size));
            for (t, frame) in sequence(size).iter().enumerate() {
                let what = format!("{size:?} {order}, frame {t}");
                let cut = processor.frame(frame);
                let (image, half, also) = kernels.frame(host, frame);
                if !frame.fresh {
                    for (name, expected) in processor.fusion.parts() {
                        let off = worst(&kernels.part(name), &expected);
                        assert!(off == 0.0, "{what}: {name} is off by {off}");
                    }
                }
                let off = worst(&image, &processor.image.data);
                assert!(off == 0.0, "{what}: the picture is off by {off}");
                let rounded = Tensor::new(Storage::F16, &image).values();
                assert!(half == rounded, "{what}: the picture in 16 bits");
                assert_eq!(also, cut, "{what}: a cut");
                // Where there are pixels enough to learn the noise from.
                assert!(size != SIZES[0] || cut == (t == 5 || t == 9), "{what}: a cut");
                assert!(image.iter().all(|v| v.is_finite()), "{what}");
                if frame.fresh || frame.temporal == 0.0 || cut {
                    assert!(image == frame.picture.data[..], "{what}: the new picture as it is");
                }
            }
            let modules = [&PYRAMID, &MOTION, &CAMERA, &FUSE, &TRUST];
            let all = modules.iter().flat_map(|module| module.kernels).copied();
            assert_eq!(kernels.ran, all.collect(), "kernels that ran");
        }
    }
}

/// Where products and sums are rounded together, as on a GPU, a vector may be a sixteenth of a pixel away and a pixel at
/// the edge of belief lean to the other side; the pictures are the same within a fraction of a code.
#[test]
fn fusion_with_fused_rounding() {
    let (host, size) = (HostKernels::new(Rounding::Fused), SIZES[0]);
    let (mut processor, mut kernels) = (Processor::new(size), Kernels::new(size));
    for (t, frame) in sequence(size).iter().enumerate() {
        let cut = processor.frame(frame);
        let (image, _, also) = kernels.frame(&host, frame);
        assert_eq!(also, cut, "frame {t}: a cut");
        let pairs = image.iter().zip(processor.image.data.iter());
        let squares: f64 = pairs.map(|(a, b)| f64::from(255.0 * (a - b)).powi(2)).sum();
        let codes = (squares / image.len() as f64).sqrt();
        let most = 255.0 * worst(&image, &processor.image.data);
        println!("frame {t}: off by {codes:.5} codes, by {most:.3} at most");
        assert!(codes < 0.02, "frame {t}: off by {codes} codes, by {most} at most");
    }
}
