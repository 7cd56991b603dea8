//! The frame that goes out, in device memory (`compose.cu`): `input + strength · (clamp(L'·R, 0, 1) − input)`
//! in the input's format, and the sum of its luma. Where the networks saw a reduced copy, the guided filter of
//! `colour/guided.rs` brings L'·R to the frame's size.
#![allow(unsafe_code)]

use crate::backend::Geometry;
use crate::gpu::kernels::format::{Format, Four};
use crate::gpu::kernels::launch::{Arguments, Launch, Module, Plain};
use crate::gpu::kernels::storage::Storage;

/// `compose.cu`.
pub(crate) static MODULE: Module = Module {
    name: "compose",
    ptx: include_str!("ptx/compose.ptx"),
    kernels: &[
        "compose_any_f32",
        "compose_any_f16",
        "compose_semi8_f32",
        "compose_semi8_f16",
        "compose_semi10_f32",
        "compose_semi10_f16",
        "compose_planar8_f32",
        "compose_planar8_f16",
        "compose_planar10_f32",
        "compose_planar10_f16",
        "compose_packed_f32",
        "compose_packed_f16",
        "guide_fit_f32",
        "guide_fit_f16",
        "guide_smooth",
        "compose_guided",
    ],
    since: (7, 0),
};

/// Threads of a block, across and down.
const BLOCK: [usize; 2] = [32, 8];

/// Device addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compose {
    /// [`Settings`](crate::gpu::kernels::launch::Settings): `input`, `output` and `strength` are read, `luma_out` is added to.
    pub settings: u64,
    /// I `[3, h, w]` of the padded size, 32 bits; read only where the networks saw a reduced copy.
    pub image: u64,
    /// R `[3, h, w]` in the networks' type, aligned to 16 bytes.
    pub r: u64,
    /// L' `[h, w]` in the networks' type, aligned to 16 bytes.
    pub adjusted: u64,
    /// [`scratch_bytes`](Self::scratch_bytes) for the guided filter, aligned to 16 bytes; 0 where there are none.
    pub scratch: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComposeArguments {
    pub settings: u64,
    pub image: u64,
    pub r: u64,
    pub adjusted: u64,
    /// Fitted lines, six planes of the working size, then the same smoothed.
    pub fitted: u64,
    pub smooth: u64,
    pub working_width: u32,
    pub working_height: u32,
    pub padded_width: u32,
    pub padded_height: u32,
    pub format: Format,
}

// SAFETY: six numbers of 8 bytes, then four and the format's 38 of 4: 216 bytes in all.
unsafe impl Plain for ComposeArguments {}

impl Compose {
    /// Bytes of scratch memory that a geometry takes.
    pub const fn scratch_bytes(geometry: &Geometry) -> usize {
        let (width, height) = geometry.working;
        if width == geometry.spec.width && height == geometry.spec.height {
            return 0;
        }
        2 * 6 * 4 * width * height
    }

    /// The launches, in their order on one stream, for frames of `geometry`, whose addresses and strides, of input and
    /// output, are multiples of `alignment` bytes.
    pub fn launches(&self, storage: Storage, geometry: &Geometry, alignment: u32) -> Vec<Launch> {
        let format = Format::new(&geometry.spec);
        let (width, height) = geometry.working;
        let smooth = self.scratch + (Self::scratch_bytes(geometry) / 2) as u64;
        let arguments = Arguments::new(&ComposeArguments {
            settings: self.settings,
            image: self.image,
            r: self.r,
            adjusted: self.adjusted,
            fitted: self.scratch,
            smooth,
            working_width: width as u32,
            working_height: height as u32,
            padded_width: geometry.padded.0 as u32,
            padded_height: geometry.padded.1 as u32,
            format,
        });
        // `columns` × `rows` of threads, in `layers`.
        let launch = |kernel, columns: usize, rows: usize, layers: usize| Launch {
            module: &MODULE,
            kernel,
            grid: [
                columns.div_ceil(BLOCK[0]) as u32,
                rows.div_ceil(BLOCK[1]) as u32,
                layers as u32,
            ],
            block: [BLOCK[0] as u32, BLOCK[1] as u32, 1],
            shared: 0,
            arguments: arguments.clone(),
        };
        // A thread writes the pixels that share a chroma sample.
        let cells = (
            geometry.spec.width.div_ceil(1 << format.sub_x),
            geometry.spec.height.div_ceil(1 << format.sub_y),
        );
        if geometry.is_reduced() {
            return vec![
                launch(storage.choose("guide_fit_f32", "guide_fit_f16"), width, height, 3),
                launch("guide_smooth", width, height, 6),
                launch("compose_guided", cells.0, cells.1, 1),
            ];
        }
        let (kernel, columns) = match Four::of(geometry, alignment) {
            None => (storage.choose("compose_any_f32", "compose_any_f16"), cells.0),
            Some(four) => (four.compose(storage), geometry.spec.width / 4),
        };
        vec![launch(kernel, columns, cells.1, 1)]
    }
}

impl Four {
    fn compose(self, storage: Storage) -> &'static str {
        match self {
            Four::Semi8 => storage.choose("compose_semi8_f32", "compose_semi8_f16"),
            Four::Semi10 => storage.choose("compose_semi10_f32", "compose_semi10_f16"),
            Four::Planar8 => storage.choose("compose_planar8_f32", "compose_planar8_f16"),
            Four::Planar10 => storage.choose("compose_planar10_f32", "compose_planar10_f16"),
            Four::Packed => storage.choose("compose_packed_f32", "compose_packed_f16"),
        }
    }
}
