//! The networks' planes: 32-bit floats, channel by channel, row by row.

use crate::cpu::memory::Floats;
use crate::error::Result;

/// `channels` planes of `width` × `height` values, without gaps.
pub(crate) struct Planes {
    pub channels: usize,
    pub width: usize,
    pub height: usize,
    pub data: Floats,
}

impl Planes {
    /// Zeros.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory).
    pub fn new(channels: usize, (width, height): (usize, usize)) -> Result<Self> {
        Ok(Self {
            channels,
            width,
            height,
            data: Floats::try_zeroed(channels.saturating_mul(width).saturating_mul(height))?,
        })
    }

    /// Values in one plane.
    pub fn plane_len(&self) -> usize {
        self.width * self.height
    }

    /// Row `y` of channel `c`.
    #[inline(always)]
    pub fn row(&self, c: usize, y: usize) -> &[f32] {
        &self.data[c * self.plane_len() + y * self.width..][..self.width]
    }

    /// The upper left `width` × `height` of every channel.
    pub fn crop(&self, (width, height): (usize, usize)) -> Vec<f32> {
        let rows = (0..self.channels).flat_map(|c| (0..height).map(move |y| (c, y)));
        rows.flat_map(|(c, y)| self.row(c, y)[..width].iter().copied())
            .collect()
    }

    /// Takes `values`, the upper left `width` × `height` of every channel, and repeats their edges.
    pub fn fill(&mut self, (width, height): (usize, usize), values: &[f32]) {
        let (stride, plane) = (self.width, self.plane_len());
        for (to, from) in self.data.chunks_mut(plane).zip(values.chunks(width * height)) {
            for (y, row) in to.chunks_mut(stride).enumerate() {
                let from = &from[y.min(height - 1) * width..][..width];
                row[..width].copy_from_slice(from);
                row[width..].fill(from[width - 1]);
            }
        }
    }
}
