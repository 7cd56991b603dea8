//! The closed-form updates of a round on the GPU (`update.cu`; URetinex-Net, CVPR 2022, section 3).
#![allow(unsafe_code)]

use crate::gpu::kernels::launch::{Arguments, Launch, Module, Plain};
use crate::gpu::kernels::storage::Storage;

/// `update.cu`.
pub(crate) static MODULE: Module = Module {
    name: "update",
    ptx: include_str!("ptx/update.ptx"),
    kernels: &["update_f32", "update_f16", "update_f32_single", "update_f16_single"],
    since: (7, 0),
};

/// Threads of a block.
const THREADS: usize = 256;

/// Device addresses of contiguous planes, aligned to 16 bytes: I `[3, h, w]` of 32 bits; R `[3, h, w]`, L, P `[3, h, w]`
/// and Q in the networks' type. P and Q are overwritten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update {
    pub image: u64,
    pub r: u64,
    pub l: u64,
    pub p: u64,
    pub q: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpdateArguments {
    pub image: u64,
    pub r: u64,
    pub l: u64,
    pub p: u64,
    pub q: u64,
    /// Values in a plane.
    pub pixels: u32,
    pub gamma: f32,
    pub lambda: f32,
    pub reserved: u32,
}

// SAFETY: five numbers of 8 bytes, then four of 4.
unsafe impl Plain for UpdateArguments {}

impl Update {
    /// Bytes that the kernel moves for each pixel: I, R, L and Q are read, P and Q written.
    pub const fn bytes_per_pixel(storage: Storage) -> usize {
        3 * 4 + (3 + 1 + 1 + 3 + 1) * storage.bytes()
    }

    /// The launch for planes of `pixels` values each. γ and λ are above 0.
    pub fn launch(&self, storage: Storage, pixels: usize, gamma: f32, lambda: f32) -> Launch {
        // Pixels of a thread: as many values as 16 bytes hold, if that keeps every plane aligned.
        let vector = 16 / storage.bytes();
        let (kernel, each) = if pixels.is_multiple_of(vector) {
            (storage.choose("update_f32", "update_f16"), vector)
        } else {
            (storage.choose("update_f32_single", "update_f16_single"), SINGLE)
        };
        Launch {
            module: &MODULE,
            kernel,
            grid: [pixels.div_ceil(each * THREADS) as u32, 1, 1],
            block: [THREADS as u32, 1, 1],
            shared: 0,
            arguments: Arguments::new(&UpdateArguments {
                image: self.image,
                r: self.r,
                l: self.l,
                p: self.p,
                q: self.q,
                pixels: pixels as u32,
                gamma,
                lambda,
                reserved: 0,
            }),
        }
    }
}

/// Pixels of a thread where planes are not aligned, [`THREADS`] apart.
const SINGLE: usize = 4;
