//! A frame in the memory of a GPU, checked once as far as addresses can be.
#![allow(unsafe_code)]

use std::ffi::c_void;

use crate::error::{Error, ErrorKind, Result};
use crate::frame::view::{FrameSpec, MAX_PLANES};

/// A CUDA context of the caller's, such as the one that GStreamer's CUDA elements share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawContext(usize);

impl RawContext {
    /// The context behind a `CUcontext`.
    ///
    /// # Safety
    /// `context` is a `CUcontext` on the GPU that `Options::device_id` names, and lives until every enhancer that was
    /// made with it has been dropped.
    pub unsafe fn new(context: *mut c_void) -> Self {
        Self(context as usize)
    }

    pub(crate) fn handle(self) -> usize {
        self.0
    }
}

/// A `CUstream` of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawStream(usize);

impl RawStream {
    /// The stream behind a `CUstream`.
    ///
    /// # Safety
    /// `stream` is a stream of the context that `Options::cuda_context` names, and lives while this is in use.
    pub unsafe fn new(stream: *mut c_void) -> Self {
        Self(stream as usize)
    }

    pub(crate) fn handle(self) -> usize {
        self.0
    }
}

/// One plane in device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DevicePlane {
    /// The device address of the plane's first row, a `CUdeviceptr`.
    pub address: u64,
    /// Bytes from one row to the next.
    pub stride: usize,
}

/// A frame in device memory, to read or to write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceFrame {
    spec: FrameSpec,
    planes: [DevicePlane; MAX_PLANES],
}

impl DeviceFrame {
    /// A frame over `planes`, in the order of the format. Formats of 16-bit words want even addresses and strides, those
    /// whose samples share words multiples of 4; addresses and strides that are multiples of 16 are the fastest.
    ///
    /// # Safety
    /// Each plane is device memory of the context that `Options::cuda_context` names (the GPU's primary context if it
    /// names none), `stride · (rows − 1)` bytes and a row long, and lives while this is in use. Nothing else writes it
    /// meanwhile, nor reads it where it is written.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a size outside the limits, [`ErrorKind::InvalidFrame`] for planes that cannot
    /// hold a frame of `spec`.
    pub unsafe fn new(spec: FrameSpec, planes: &[DevicePlane]) -> Result<Self> {
        let name = spec.format.name();
        // How long the memory is, is the caller's word.
        spec.check(planes.iter().map(|p| (usize::MAX, p.stride)))?;
        let word = spec.format.layout().sample_bytes() as u64;
        for (i, plane) in planes.iter().enumerate() {
            let fits = |number: u64| number.is_multiple_of(word);
            if plane.address == 0 || !fits(plane.address) || !fits(plane.stride as u64) {
                return Err(Error::new(
                    ErrorKind::InvalidFrame,
                    format!(
                        "plane {i} of {name} at device address {:#x} with stride {}: the address has to be that of \
                         device memory, and both multiples of {word}",
                        plane.address, plane.stride
                    ),
                ));
            }
        }
        let mut all = [DevicePlane::default(); MAX_PLANES];
        all[..planes.len()].copy_from_slice(planes);
        Ok(Self { spec, planes: all })
    }

    /// What the frame is.
    pub fn spec(&self) -> &FrameSpec {
        &self.spec
    }

    /// The planes, in the order of the format.
    pub fn planes(&self) -> &[DevicePlane] {
        &self.planes[..self.spec.format.planes()]
    }

    /// The greatest power of two, at most 16, that divides all addresses and strides.
    pub(crate) fn alignment(&self) -> u32 {
        let bits = self
            .planes()
            .iter()
            .fold(16, |bits, p| bits | p.address | p.stride as u64);
        1 << bits.trailing_zeros()
    }

    /// Whether the two share a byte.
    pub(crate) fn overlaps(&self, other: &DeviceFrame) -> bool {
        (0..self.planes().len()).any(|i| {
            let (start, end) = self.extent(i);
            (0..other.planes().len()).any(|j| {
                let (other_start, other_end) = other.extent(j);
                start < other_end && other_start < end
            })
        })
    }

    /// The addresses of plane `i`: its first byte, and the one after its last.
    fn extent(&self, i: usize) -> (u64, u64) {
        let (spec, plane) = (&self.spec, &self.planes[i]);
        let before = (plane.stride as u64).saturating_mul(spec.format.rows(i, spec.height) as u64 - 1);
        let row = spec.format.row_bytes(i, spec.width) as u64;
        (plane.address, plane.address.saturating_add(before).saturating_add(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::colorimetry::Colorimetry;
    use crate::frame::format::PixelFormat;

    fn frame(format: PixelFormat, planes: &[(u64, usize)]) -> Result<DeviceFrame> {
        let spec = FrameSpec {
            format,
            width: 64,
            height: 32,
            colorimetry: Colorimetry::default(),
        };
        let planes: Vec<_> = planes
            .iter()
            .map(|&(address, stride)| DevicePlane { address, stride })
            .collect();
        // SAFETY: nothing is read or written through it.
        unsafe { DeviceFrame::new(spec, &planes) }
    }

    #[test]
    fn refuses_planes_that_cannot_hold_a_frame() {
        use PixelFormat::{Nv12, P010_10le};
        for (what, made, right) in [
            ("good", frame(Nv12, &[(0x1000, 64), (0x2000, 64)]), true),
            ("one plane", frame(Nv12, &[(0x1000, 64)]), false),
            ("short stride", frame(Nv12, &[(0x1000, 63), (0x2000, 64)]), false),
            ("null", frame(Nv12, &[(0, 64), (0x2000, 64)]), false),
            ("odd words", frame(P010_10le, &[(0x1001, 128), (0x3000, 128)]), false),
            ("odd stride", frame(P010_10le, &[(0x1000, 129), (0x3000, 128)]), false),
        ] {
            assert_eq!(made.is_ok(), right, "{what}: {made:?}");
        }
    }

    #[test]
    fn alignment_is_that_of_all_addresses_and_strides() {
        for (planes, alignment) in [
            ([(256, 64), (512, 64)], 16),
            ([(256, 64), (512, 68)], 4),
            ([(256, 64), (514, 64)], 2),
            ([(257, 64), (512, 64)], 1),
        ] {
            let frame = frame(PixelFormat::Nv12, &planes).unwrap();
            assert_eq!(frame.alignment(), alignment, "{planes:?}");
        }
    }

    #[test]
    fn knows_overlap() {
        let at = |luma, chroma| frame(PixelFormat::Nv12, &[(luma, 64), (chroma, 64)]).unwrap();
        let a = at(0x1000, 0x1800);
        // 32 rows of 64 bytes of luma, 16 of chroma.
        for (other, overlaps) in [
            (at(0x1c00, 0x2400), false),
            (at(0x1bff, 0x2400), true),
            (at(0x800, 0xc00), false),
            (at(0x801, 0x400), true),
        ] {
            assert_eq!(a.overlaps(&other), overlaps, "{other:?}");
        }
    }
}
