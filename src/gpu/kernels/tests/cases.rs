//! What the kernels are tested on: frames and tensors in memory with guarded ends, of every format and size.

use crate::frame::{ChromaSite, Colorimetry, Frame, FrameMut, FrameSpec, Matrix, PixelFormat, Plane, PlaneMut, Range};
use crate::gpu::kernels::launch::Surface;
use crate::gpu::kernels::storage::Storage;
use crate::testing::Guarded;

/// Numbers without a pattern.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// Between `from` and `to`.
    pub fn between(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * (self.next() % 65536) as f32 / 65535.0
    }
}

/// How a frame lies in memory: bytes behind each row, and the multiple of bytes to which rows are padded then.
pub(crate) type Padding = (usize, usize);

/// A frame's memory, whose planes end where their last row ends.
#[derive(Clone)]
pub(crate) struct Memory {
    pub spec: FrameSpec,
    pub planes: Vec<Guarded>,
    pub strides: Vec<usize>,
}

impl Memory {
    pub fn new(spec: FrameSpec, (slack, multiple): Padding, mut fill: impl FnMut() -> u8) -> Self {
        let format = spec.format;
        let row = |p| format.row_bytes(p, spec.width);
        let planes = 0..format.planes();
        let strides: Vec<_> = planes
            .clone()
            .map(|p| (row(p) + slack).next_multiple_of(multiple))
            .collect();
        let memory = planes.map(|p| {
            let mut memory = Guarded::new(strides[p] * (format.rows(p, spec.height) - 1) + row(p));
            memory.bytes_mut().fill_with(&mut fill);
            memory
        });
        Self {
            spec,
            planes: memory.collect(),
            strides: strides.clone(),
        }
    }

    /// The same with every byte set to 0x55.
    pub fn blank(&self) -> Self {
        let mut blank = self.clone();
        blank.planes.iter_mut().for_each(|p| p.bytes_mut().fill(0x55));
        blank
    }

    pub fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.planes.iter().map(Guarded::bytes)
    }

    pub fn frame(&self) -> Frame<'_> {
        let planes = self.planes.iter().zip(&self.strides);
        let planes: Vec<_> = planes
            .map(|(memory, &stride)| Plane {
                data: memory.bytes(),
                stride,
            })
            .collect();
        Frame::new(self.spec, &planes).expect("a frame")
    }

    pub fn frame_mut(&mut self) -> FrameMut<'_> {
        let planes = self
            .planes
            .iter_mut()
            .zip(&self.strides)
            .map(|(memory, &stride)| PlaneMut {
                data: memory.bytes_mut(),
                stride,
            });
        FrameMut::from_iter(self.spec, planes).expect("a frame")
    }

    /// The greatest power of two, at most 16, that divides all addresses and strides.
    pub fn alignment(&self) -> u32 {
        let surface = self.surface();
        let all = surface.address.iter().chain(&surface.stride);
        1 << all.fold(16, |bits, number| bits | number).trailing_zeros()
    }

    pub fn surface(&self) -> Surface {
        let mut surface = Surface::default();
        for (i, memory) in self.planes.iter().enumerate() {
            surface.address[i] = memory.address();
            surface.stride[i] = self.strides[i] as u64;
        }
        surface
    }
}

/// Values in memory aligned as device memory is.
pub(crate) struct Tensor {
    memory: Guarded,
    storage: Storage,
    len: usize,
}

impl Tensor {
    pub fn new(storage: Storage, values: &[f32]) -> Self {
        let bytes = storage.encode(values);
        let mut memory = Guarded::new(bytes.len().next_multiple_of(16));
        memory.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
        Self {
            memory,
            storage,
            len: values.len(),
        }
    }

    pub fn address(&self) -> u64 {
        self.memory.address()
    }

    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.len);
        let bytes = &self.memory.bytes()[..self.len * self.storage.bytes()];
        self.storage.decode(bytes, &mut values);
        values
    }
}

/// The greatest difference; NaN differs from everything else.
pub(crate) fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let far = |(a, b): (&f32, &f32)| if a.to_bits() == b.to_bits() { 0.0 } else { (a - b).abs() };
    a.iter()
        .zip(b)
        .map(far)
        .fold(0.0, |m, d| if d.is_nan() || d > m { d } else { m })
}

/// Groups of four can be read at once, odd strides, even strides that are no multiple of four.
const PADDINGS: [Padding; 3] = [(0, 16), (3, 1), (1, 2)];

/// Sizes of frames and of the packs' multiple: groups of four that fill rows, that do not, a padded width that keeps
/// groups and one that does not.
const SIZES: [(usize, usize, usize); 6] = [
    (64, 18, 1),
    (36, 17, 8),
    (33, 19, 1),
    (34, 16, 4),
    (160, 16, 1),
    (129, 21, 8),
];

/// Every format in every size, each with three colorimetries, so that each kernel meets every matrix, range and siting.
pub(crate) fn cases() -> impl Iterator<Item = (FrameSpec, usize, Padding)> {
    let each = |format, size: usize, padding, turn: usize| {
        let (width, height, multiple) = SIZES[size];
        let i = 5 * (3 * size + turn) % 24;
        let colorimetry = Colorimetry {
            matrix: [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020][i % 3],
            range: [Range::Full, Range::Limited][i / 3 % 2],
            site: ChromaSite {
                cosited_x: i / 6 > 1,
                cosited_y: (i / 6).is_multiple_of(2),
            },
        };
        let spec = FrameSpec {
            format,
            width,
            height,
            colorimetry,
        };
        (spec, multiple, padding)
    };
    let sized = PixelFormat::ALL
        .into_iter()
        .flat_map(|format| (0..SIZES.len()).map(move |size| (format, size)));
    sized.flat_map(move |(format, size)| {
        PADDINGS
            .into_iter()
            .flat_map(move |padding| [0, 1, 2].map(|turn| each(format, size, padding, turn)))
    })
}

pub(crate) fn name(spec: &FrameSpec, padding: Padding) -> String {
    let FrameSpec { width, height, .. } = spec;
    format!(
        "{} {width}x{height} {padding:?} {:?}",
        spec.format.name(),
        spec.colorimetry
    )
}
