//! Pictures for tests: frames of any format in memory of their own.
#![allow(unsafe_code)]

use crate::frame::{
    Colorimetry, DeviceFrame, DevicePlane, Frame, FrameMut, FrameSpec, PixelFormat, Plane, PlaneMut, subsampled,
};

/// Frames of a format and a size, in the usual colorimetry.
pub(crate) fn spec(format: PixelFormat, (width, height): (usize, usize)) -> FrameSpec {
    FrameSpec {
        format,
        width,
        height,
        colorimetry: Colorimetry::default(),
    }
}

/// A frame's bytes.
#[derive(Clone, PartialEq)]
pub(crate) struct Picture {
    pub spec: FrameSpec,
    planes: Vec<Vec<u8>>,
    strides: Vec<usize>,
}

impl Picture {
    /// Zeros, without gaps between rows.
    pub fn black(spec: FrameSpec) -> Self {
        Self::with_gaps(spec, 0)
    }

    /// Zeros, with that many bytes behind every row.
    pub fn with_gaps(spec: FrameSpec, gap: usize) -> Self {
        let planes = 0..spec.format.planes();
        let strides: Vec<_> = planes.map(|i| spec.format.row_bytes(i, spec.width) + gap).collect();
        let plane = |(i, stride): (usize, &usize)| vec![0; stride * spec.format.rows(i, spec.height)];
        Self {
            spec,
            planes: strides.iter().enumerate().map(plane).collect(),
            strides,
        }
    }

    /// Dark stripes that differ with `seed`, without gaps between rows.
    pub fn dark(spec: FrameSpec, seed: usize) -> Self {
        let layout = spec.format.layout();
        let value = |x: usize, y: usize| (16 + (x * 3 + y * 5 + seed * 11 + x * y / 9) % 90) as u8;
        let mut picture = Self::black(spec);
        if layout.shared {
            for (at, bytes) in picture.planes[0].chunks_exact_mut(4).enumerate() {
                let (x, y) = (at * 4 % picture.strides[0], at * 4 / picture.strides[0]);
                let samples = [0, 1, 2].map(|n| u32::from(value(x + n, y)) << 2);
                let word = samples[0] | samples[1] << 10 | samples[2] << 20;
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            return picture;
        }
        // Empty high bits of a word.
        let above = 8 * layout.sample_bytes() as u32 - layout.depth - layout.shift;
        for (plane, row) in picture.planes.iter_mut().zip(&picture.strides) {
            for (at, byte) in plane.iter_mut().enumerate() {
                let value = value(at % row, at / row);
                *byte = match (layout.is_wide(), at % 2) {
                    (false, _) => value,
                    (true, 0) => value.wrapping_mul(37) << layout.shift,
                    (true, _) => value >> above,
                };
            }
        }
        picture
    }

    /// A dark scene of 8-bit samples with structure of several sizes, seen `offset` pixels away, where it is brighter to the
    /// right, with noise that differs with `seed`, without gaps between rows.
    pub fn scene(spec: FrameSpec, offset: (f32, f32), seed: u32) -> Self {
        let mut picture = Self::black(spec);
        let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
        for (i, (plane, row)) in picture.planes.iter_mut().zip(&picture.strides).enumerate() {
            let (across, down) = (row / spec.width.min(*row), if i > 0 { 2.0 } else { 1.0 });
            for (at, byte) in plane.iter_mut().enumerate() {
                let (x, y) = (at % row / across.max(1), at / row);
                let (u, v) = (x as f32 + offset.0, y as f32 * down + offset.1);
                let value = 6.0 * (u * 0.11).sin() * (v * 0.13).cos() + 5.0 * (u * 0.31 + v * 0.23).sin();
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 24) as f32 / 32.0 - 4.0;
                *byte = (if i > 0 { 128.0 } else { 60.0 + 0.05 * offset.0 } + value + noise) as u8;
            }
        }
        picture
    }

    /// The same picture with that many bytes behind every row.
    pub fn spread(&self, gap: usize) -> Self {
        let mut copy = Self::with_gaps(self.spec, gap);
        let frame = self.frame();
        let mut to = copy.frame_mut();
        for plane in 0..self.planes.len() {
            for y in 0..self.spec.format.rows(plane, self.spec.height) {
                to.row_mut(plane, y).copy_from_slice(frame.row(plane, y));
            }
        }
        copy
    }

    /// The picture, to read.
    pub fn frame(&self) -> Frame<'_> {
        let planes = self.planes.iter().zip(&self.strides);
        let planes: Vec<_> = planes.map(|(data, &stride)| Plane { data, stride }).collect();
        Frame::new(self.spec, &planes).unwrap()
    }

    /// The picture, to write.
    pub fn frame_mut(&mut self) -> FrameMut<'_> {
        let planes = self.planes.iter_mut().zip(&self.strides);
        FrameMut::from_iter(self.spec, planes.map(|(data, &stride)| PlaneMut { data, stride })).unwrap()
    }

    /// The picture in the memory of a device whose addresses are the process's.
    pub fn device_frame(&self) -> DeviceFrame {
        let planes = self.planes.iter().zip(&self.strides);
        let planes: Vec<_> = planes
            .map(|(data, &stride)| DevicePlane {
                address: data.as_ptr() as u64,
                stride,
            })
            .collect();
        // SAFETY: the planes live as long as the picture, and are as long as a frame of the spec.
        unsafe { DeviceFrame::new(self.spec, &planes) }.unwrap()
    }

    /// The mean of all bytes.
    pub fn mean(&self) -> f64 {
        let bytes = self.planes.iter().flatten();
        bytes.clone().map(|b| f64::from(*b)).sum::<f64>() / bytes.count() as f64
    }

    /// The greatest difference of a sample's code, in steps of 8 bits.
    pub fn difference(&self, other: &Picture) -> f64 {
        let layout = self.spec.format.layout();
        let scale = f64::from(1u32 << (layout.depth - 8));
        let mut worst = 0;
        let frames = (self.frame(), other.frame());
        // Samples of no pixel, as the last group of a row may have, are nobody's.
        for c in layout.colour.iter().chain(&layout.carried) {
            for y in 0..subsampled(self.spec.height, c.sub_y) {
                let (a, b) = (frames.0.row(c.plane, y), frames.1.row(c.plane, y));
                let each =
                    (0..subsampled(self.spec.width, c.sub_x)).map(|i| (layout.read(a, c, i), layout.read(b, c, i)));
                worst = each.fold(worst, |worst, (a, b)| worst.max(a.abs_diff(b)));
            }
        }
        f64::from(worst) / scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::night;

    #[test]
    fn pictures_differ_where_a_sample_does() {
        for format in PixelFormat::ALL {
            let spec = spec(format, (33, 17));
            let picture = Picture::dark(spec, 1);
            assert_eq!(picture.difference(&picture.spread(3)), 0.0, "{}", format.name());
            assert!(picture.difference(&Picture::dark(spec, 2)) >= 1.0, "{}", format.name());
            assert!(picture.difference(&Picture::black(spec)) >= 16.0, "{}", format.name());
            assert!(picture.mean() > Picture::black(spec).mean(), "{}", format.name());
        }
        let night = night(96, 64);
        assert_eq!(night.len(), 3 * 96 * 64);
        assert!(night.iter().any(|v| *v > 180) && night.iter().filter(|v| **v < 80).count() > night.len() / 2);
    }
}
