//! Dark, noisy frames of any format, made on the spot.

use uretinex::{Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut};

/// A frame in memory, without gaps between its rows.
#[derive(Clone, PartialEq)]
pub struct Picture {
    spec: FrameSpec,
    planes: Vec<Vec<u8>>,
}

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// A faint gradient, a few lamps, and a sensor's noise.
    Night,
    /// No light at all.
    Black,
    /// As bright as it gets.
    White,
    /// Noise over the whole range.
    Noise,
}

impl Scene {
    pub const ALL: [Scene; 4] = [Scene::Night, Scene::Black, Scene::White, Scene::Noise];
}

impl Picture {
    /// A scene; different seeds give different noise.
    pub fn new(spec: FrameSpec, scene: Scene, seed: u32) -> Self {
        Self::moved(spec, scene, seed, 0)
    }

    /// The same as it is seen so many samples further to the right.
    pub fn moved(spec: FrameSpec, scene: Scene, seed: u32, offset: usize) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut noise = move |span: u32| {
            // xorshift32
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state % span
        };
        let rgb = spec.format.name().contains("GBR");
        let chroma = |plane| plane > 0 && !rgb;
        let words = (spec.format.depth() > 8).then(|| spec.format.depth() - 8 + spec.format.shift());
        let mut plane = |number| {
            let row = spec.format.row_bytes(number, spec.width);
            let sample = match words {
                // Three the same.
                _ if spec.format.shares_words() => 4,
                Some(_) => 2,
                None => 1,
            };
            let mut bytes = Vec::with_capacity(row * spec.format.rows(number, spec.height));
            for at in 0..row / sample * spec.format.rows(number, spec.height) {
                let (x, y) = (at * sample % row, at * sample / row);
                let value = match scene {
                    _ if chroma(number) => 124 + noise(9),
                    Scene::Night => {
                        let x = x + offset;
                        let lamp = u32::from(x % 97 < 6 && y % 61 < 6) * 150;
                        18 + (20 * x / row) as u32 + noise(9) + lamp
                    }
                    Scene::Black => 16,
                    Scene::White => 235,
                    Scene::Noise => 16 + noise(220),
                };
                match words {
                    Some(shift) if sample == 4 => bytes.extend(((value << shift) * 0x0010_0401).to_le_bytes()),
                    Some(shift) => bytes.extend(((value as u16) << shift).to_le_bytes()),
                    None => bytes.push(value as u8),
                }
            }
            bytes
        };
        Self {
            spec,
            planes: (0..spec.format.planes()).map(&mut plane).collect(),
        }
    }

    pub fn spec(&self) -> &FrameSpec {
        &self.spec
    }

    fn stride(&self, plane: usize) -> usize {
        self.spec.format.row_bytes(plane, self.spec.width)
    }

    pub fn frame(&self) -> uretinex::Result<Frame<'_>> {
        let planes: Vec<_> = self
            .planes
            .iter()
            .enumerate()
            .map(|(i, data)| Plane {
                data,
                stride: self.stride(i),
            })
            .collect();
        Frame::new(self.spec, &planes)
    }

    pub fn frame_mut(&mut self) -> uretinex::Result<FrameMut<'_>> {
        let strides: Vec<_> = (0..self.planes.len()).map(|i| self.stride(i)).collect();
        let planes = self.planes.iter_mut().zip(strides);
        FrameMut::from_iter(self.spec, planes.map(|(data, stride)| PlaneMut { data, stride }))
    }

    /// The root of the mean squared difference of all samples, and the greatest difference, in codes of 8 bits.
    pub fn difference(&self, other: &Picture) -> (f64, f64) {
        let format = self.spec.format;
        let scale = f64::from(1u32 << (format.depth() + format.shift() - 8));
        let words = format.depth() > 8;
        // The last group of a packed row may have samples of no pixel, whose values mean nothing.
        let row = self.stride(0);
        if format.shares_words() {
            return self.difference_of_thirds(other, 2 * self.spec.width + self.spec.width % 2);
        }
        let spare = match format {
            _ if self.spec.width.is_multiple_of(2) => None,
            PixelFormat::Yuy2 | PixelFormat::Yvyu => Some(row - 2),
            PixelFormat::Uyvy | PixelFormat::Vyuy => Some(row - 1),
            PixelFormat::Y210 | PixelFormat::Y212le => Some(row - 4),
            _ => None,
        };
        let (mut squares, mut greatest, mut count) = (0.0f64, 0.0f64, 0u64);
        for (a, b) in self.planes.iter().zip(&other.planes) {
            let value = |p: &[u8], i: usize| match words {
                true => f64::from(u16::from_le_bytes([p[i], p[i + 1]])),
                false => f64::from(p[i]),
            };
            for i in (0..a.len()).step_by(if words { 2 } else { 1 }) {
                if spare == Some(i % row) {
                    continue;
                }
                let difference = (value(a, i) - value(b, i)).abs() / scale;
                squares += difference * difference;
                greatest = greatest.max(difference);
                count += 1;
            }
        }
        ((squares / count.max(1) as f64).sqrt(), greatest)
    }

    /// The same where three samples share a word and `used` samples of a row mean something.
    fn difference_of_thirds(&self, other: &Picture, used: usize) -> (f64, f64) {
        let samples = |row: &[u8]| -> Vec<f64> {
            let words = row
                .as_chunks()
                .0
                .iter()
                .map(|bytes: &[u8; 4]| u32::from_le_bytes(*bytes));
            let codes = words.flat_map(|word| [0, 10, 20].map(|bit| f64::from(word >> bit & 0x3ff) / 4.0));
            codes.take(used).collect()
        };
        let (mut squares, mut greatest, mut count) = (0.0f64, 0.0f64, 0u64);
        let row = self.stride(0);
        for (a, b) in self.planes[0].chunks(row).zip(other.planes[0].chunks(row)) {
            for (a, b) in samples(a).into_iter().zip(samples(b)) {
                squares += (a - b) * (a - b);
                greatest = greatest.max((a - b).abs());
                count += 1;
            }
        }
        ((squares / count.max(1) as f64).sqrt(), greatest)
    }
}
