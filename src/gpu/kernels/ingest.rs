//! I from a frame in device memory (`ingest.cu`): R'G'B' planes at the working size, edges repeated up to the
//! padded size, and the sum of their luma.
#![allow(unsafe_code)]

use crate::backend::Geometry;
use crate::gpu::kernels::format::{Format, Four};
use crate::gpu::kernels::launch::{Arguments, Launch, Module, Plain};

/// `ingest.cu`.
pub(crate) static MODULE: Module = Module {
    name: "ingest",
    ptx: include_str!("ptx/ingest.ptx"),
    kernels: &[
        "ingest_any",
        "ingest_semi8",
        "ingest_semi10",
        "ingest_planar8",
        "ingest_planar10",
        "ingest_packed",
        "ingest_reduced",
    ],
    since: (7, 0),
};

/// Threads of a block, across and down.
const BLOCK: [usize; 2] = [32, 8];

/// Device addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ingest {
    /// [`Settings`](crate::gpu::kernels::launch::Settings): `input` is read, `luma_in` is added to.
    pub settings: u64,
    /// I `[3, h, w]` of the padded size, 32 bits, aligned to 16 bytes.
    pub image: u64,
    /// The same in 16 bits for networks that take them, aligned to 8 bytes; 0: not wanted.
    pub image_half: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct IngestArguments {
    pub settings: u64,
    pub image: u64,
    pub image_half: u64,
    pub working_width: u32,
    pub working_height: u32,
    pub padded_width: u32,
    pub padded_height: u32,
    pub format: Format,
}

// SAFETY: three numbers of 8 bytes, then four and the format's 38 of 4: 192 bytes in all.
unsafe impl Plain for IngestArguments {}

impl Ingest {
    /// The launch for frames of `geometry`, whose addresses and strides are multiples of `alignment` bytes
    /// ([`Surface::alignment`](crate::gpu::kernels::launch::Surface::alignment)).
    pub fn launch(&self, geometry: &Geometry, alignment: u32) -> Launch {
        let (kernel, each) = match Four::of(geometry, alignment) {
            _ if geometry.is_reduced() => ("ingest_reduced", 1),
            None => ("ingest_any", 1),
            Some(Four::Semi8) => ("ingest_semi8", 4),
            Some(Four::Semi10) => ("ingest_semi10", 4),
            Some(Four::Planar8) => ("ingest_planar8", 4),
            Some(Four::Planar10) => ("ingest_planar10", 4),
            Some(Four::Packed) => ("ingest_packed", 4),
        };
        let (width, height) = geometry.padded;
        Launch {
            module: &MODULE,
            kernel,
            grid: [
                width.div_ceil(BLOCK[0] * each) as u32,
                height.div_ceil(BLOCK[1]) as u32,
                1,
            ],
            block: [BLOCK[0] as u32, BLOCK[1] as u32, 1],
            shared: 0,
            arguments: Arguments::new(&IngestArguments {
                settings: self.settings,
                image: self.image,
                image_half: self.image_half,
                working_width: geometry.working.0 as u32,
                working_height: geometry.working.1 as u32,
                padded_width: width as u32,
                padded_height: height as u32,
                format: Format::new(&geometry.spec),
            }),
        }
    }
}
