//! What one pending frame has of its own: staging memory on both sides, its block of settings, its events.

use std::mem::offset_of;
use std::sync::Arc;

use crate::cpu::NOISE_BINS;
use crate::error::Result;
use crate::frame::{Frame, FrameMut, FrameSpec, MAX_PLANES};
use crate::gpu::driver::{Buffer, Device, Event, Pinned, Stream, StreamHandle};
use crate::gpu::kernels::{Settings, Surface};

/// Rows in staging memory begin at multiples of this, so that kernels can load whole vectors.
const ALIGNMENT: usize = 256;

/// Where a frame's planes are in staging memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Staging {
    offset: [usize; MAX_PLANES],
    stride: [usize; MAX_PLANES],
    rows: [usize; MAX_PLANES],
    planes: usize,
    bytes: usize,
}

impl Staging {
    pub fn new(spec: &FrameSpec) -> Self {
        let mut staging = Self {
            offset: [0; MAX_PLANES],
            stride: [0; MAX_PLANES],
            rows: [0; MAX_PLANES],
            planes: spec.format.planes(),
            bytes: 0,
        };
        for i in 0..staging.planes {
            staging.offset[i] = staging.bytes;
            staging.stride[i] = spec.format.row_bytes(i, spec.width).next_multiple_of(ALIGNMENT);
            staging.rows[i] = spec.format.rows(i, spec.height);
            staging.bytes += staging.stride[i] * staging.rows[i];
        }
        staging
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The planes in device memory at `address`.
    pub fn surface(&self, address: u64) -> Surface {
        let mut surface = Surface::default();
        for i in 0..self.planes {
            surface.address[i] = address + self.offset[i] as u64;
            surface.stride[i] = self.stride[i] as u64;
        }
        surface
    }

    pub fn fill(&self, frame: &Frame<'_>, bytes: &mut [u8]) {
        for i in 0..self.planes {
            for y in 0..self.rows[i] {
                let row = frame.row(i, y);
                bytes[self.offset[i] + y * self.stride[i]..][..row.len()].copy_from_slice(row);
            }
        }
    }

    pub fn empty(&self, bytes: &[u8], frame: &mut FrameMut<'_>) {
        let spec = *frame.spec();
        for (i, plane) in frame.planes_mut().iter_mut().enumerate().take(self.planes) {
            let len = spec.format.row_bytes(i, spec.width);
            for y in 0..self.rows[i] {
                let row = &bytes[self.offset[i] + y * self.stride[i]..][..len];
                plane.data[y * plane.stride..][..len].copy_from_slice(row);
            }
        }
    }
}

/// Everything of a frame between `submit` and `collect`.
pub(crate) struct Slot {
    staging: Staging,
    host_in: Pinned,
    host_out: Pinned,
    input: Buffer,
    output: Buffer,
    settings: Pinned,
    results: Pinned,
    uploaded: Event,
    computed: Event,
    downloaded: Event,
}

/// What the kernels say of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Results {
    /// Sums of luma, in the units of [`Settings`].
    pub luma_in: u64,
    pub luma_out: u64,
    /// Whether it shows another scene than the frame before.
    pub cut: bool,
    /// The stream's noise: variances by intensity, where they are known.
    pub noise: Option<[f32; NOISE_BINS]>,
}

impl Slot {
    /// `stream` is the one whose work the slot's memory is first touched after.
    pub fn new(device: &Arc<dyn Device>, stream: &Arc<Stream>, spec: &FrameSpec) -> Result<Self> {
        let staging = Staging::new(spec);
        let event = || Event::new(device, false);
        Ok(Self {
            staging,
            host_in: Pinned::new(device, staging.bytes)?,
            host_out: Pinned::new(device, staging.bytes)?,
            input: Buffer::new(stream, staging.bytes)?,
            output: Buffer::new(stream, staging.bytes)?,
            settings: Pinned::new(device, size_of::<Settings>())?,
            results: Pinned::new(device, size_of::<Settings>())?,
            uploaded: event()?,
            computed: event()?,
            downloaded: event()?,
        })
    }

    /// The staging planes in device memory, to read and to write.
    pub fn surfaces(&self) -> (Surface, Surface) {
        (
            self.staging.surface(self.input.address()),
            self.staging.surface(self.output.address()),
        )
    }

    /// Has `compute` wait for what was issued on a stream of the caller's.
    pub fn follow(&self, stream: StreamHandle, compute: &Stream) -> Result<()> {
        self.uploaded.record_foreign(stream)?;
        compute.wait(&self.uploaded)
    }

    /// Copies the frame's bytes and sends them; `compute` waits for them.
    pub fn upload(&mut self, frame: &Frame<'_>, upload: &Stream, compute: &Stream) -> Result<()> {
        // The last upload from this memory has ended, also where the frame that it was for has failed.
        self.uploaded.synchronize()?;
        self.staging.fill(frame, self.host_in.write());
        self.input.upload(upload, &self.host_in)?;
        self.uploaded.record(upload)?;
        compute.wait(&self.uploaded)
    }

    /// Sends the block of settings to `block`. Nothing that reads the last one sent from here is under way.
    pub fn send_settings(&mut self, settings: &Settings, block: &Buffer, compute: &Stream) -> Result<()> {
        self.settings.write().copy_from_slice(settings.as_bytes());
        block.upload(compute, &self.settings)
    }

    /// Has the block of settings, with the sums in it, sent back; `computed` happens after it.
    pub fn request_results(&mut self, block: &Buffer, compute: &Stream) -> Result<()> {
        block.download(compute, &mut self.results)?;
        self.computed.record(compute)
    }

    /// Has the output sent back after what [`request_results`](Self::request_results) marked.
    pub fn download(&mut self, download: &Stream) -> Result<()> {
        download.wait(&self.computed)?;
        self.output.download(download, &mut self.host_out)?;
        self.downloaded.record(download)
    }

    /// Waits for what the kernels left in the block of settings.
    pub fn results(&self) -> Result<Results> {
        self.computed.synchronize()?;
        let bytes = self.results.read();
        let sum = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        let word = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        let flag = |at: usize| word(at) != [0; size_of::<u32>()];
        let noise = |i: usize| f32::from_ne_bytes(word(offset_of!(Settings, noise) + i * size_of::<f32>()));
        Ok(Results {
            luma_in: sum(offset_of!(Settings, luma_in)),
            luma_out: sum(offset_of!(Settings, luma_out)),
            cut: flag(offset_of!(Settings, cut)),
            noise: flag(offset_of!(Settings, noise_known)).then(|| std::array::from_fn(noise)),
        })
    }

    /// Waits for everything of this slot.
    pub fn finish(&self) -> Result<()> {
        [&self.uploaded, &self.computed, &self.downloaded]
            .into_iter()
            .try_for_each(Event::synchronize)
    }

    /// Waits for the output and writes it to `frame`.
    pub fn collect(&self, frame: &mut FrameMut<'_>) -> Result<()> {
        self.downloaded.synchronize()?;
        self.staging.empty(self.host_out.read(), frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Colorimetry, PixelFormat, Plane, PlaneMut};

    #[test]
    fn frames_come_out_of_staging_as_they_went_in() {
        for format in PixelFormat::ALL {
            for (width, height) in [(16, 16), (33, 17)] {
                let spec = FrameSpec {
                    format,
                    width,
                    height,
                    colorimetry: Colorimetry::default(),
                };
                let staging = Staging::new(&spec);
                let strides: Vec<_> = (0..format.planes())
                    .map(|i| format.row_bytes(i, width) + 3 * i)
                    .collect();
                let plane = |i: usize| strides[i] * format.rows(i, height);
                let sent: Vec<Vec<u8>> = (0..format.planes())
                    .map(|i| (0..plane(i)).map(|b| (b * 7 + i) as u8).collect())
                    .collect();
                let mut back: Vec<Vec<u8>> = (0..format.planes()).map(|i| vec![0; plane(i)]).collect();
                let planes: Vec<_> = sent
                    .iter()
                    .zip(&strides)
                    .map(|(data, &stride)| Plane { data, stride })
                    .collect();
                let mut bytes = vec![0u8; staging.bytes];
                staging.fill(&Frame::new(spec, &planes).unwrap(), &mut bytes);
                let out = back
                    .iter_mut()
                    .zip(&strides)
                    .map(|(data, &stride)| PlaneMut { data, stride });
                staging.empty(&bytes, &mut FrameMut::from_iter(spec, out).unwrap());
                for i in 0..format.planes() {
                    let row = format.row_bytes(i, width);
                    for (a, b) in sent[i].chunks(strides[i]).zip(back[i].chunks(strides[i])) {
                        assert_eq!(a[..row], b[..row], "{} {width}x{height} plane {i}", format.name());
                    }
                }
                let surface = staging.surface(1 << 20);
                let lowest = surface
                    .address
                    .iter()
                    .chain(&surface.stride)
                    .fold(0, |all, v| all | v)
                    .trailing_zeros();
                assert!(lowest >= 4, "{}", format.name());
            }
        }
    }
}
