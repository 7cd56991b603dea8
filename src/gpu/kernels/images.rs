//! Where the images of the networks lie in device memory (`images.cuh`): planes of one channel, and blocks of 16.
#![allow(unsafe_code)]

use crate::gpu::kernels::launch::Plain;

/// The most units of an image: 256 channels in blocks.
pub(crate) const MAX_UNITS: usize = 16;

/// A plane or block. Pixel (y, x) is number `y · row + x · step` from `address` on.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    pub address: u64,
    pub row: u32,
    pub step: u32,
}

// SAFETY: numbers of 8, 4 and 4 bytes.
unsafe impl Plain for Unit {}

/// Planes or blocks that lie alike; those that an image does not have are 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Image {
    pub units: [u64; MAX_UNITS],
    pub row: u32,
    pub step: u32,
}

// SAFETY: 16 numbers of 8 bytes, then two of 4.
unsafe impl Plain for Image {}
