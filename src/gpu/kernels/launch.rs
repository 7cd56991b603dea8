//! How a kernel is launched: its module, name, grid and arguments, and the block of settings that a frame may change
//! without a new launch. Nothing here calls CUDA.
#![allow(unsafe_code)]

use std::ffi::c_void;

use crate::cpu::NOISE_BINS;
use crate::frame::{DeviceFrame, MAX_PLANES};

/// A file of kernels.
#[derive(Debug)]
pub(crate) struct Module {
    /// The stem of its `.cu` file.
    pub name: &'static str,
    /// The PTX, as made by `build.py`.
    pub ptx: &'static str,
    /// The names of its kernels.
    pub kernels: &'static [&'static str],
    /// The first compute capability that the PTX is for. On older GPUs the file is left out.
    pub since: (i32, i32),
}

/// A kernel and how it is launched.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub module: &'static Module,
    /// One of [`Module::kernels`].
    pub kernel: &'static str,
    /// Blocks, x y z.
    pub grid: [u32; 3],
    /// Threads of a block, x y z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    pub arguments: Arguments,
}

/// The one parameter of a kernel: a `#[repr(C)]` struct by value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arguments {
    words: [u64; Self::WORDS],
    bytes: usize,
}

impl Arguments {
    const WORDS: usize = 136;

    pub(crate) fn new<T: Plain>(value: &T) -> Self {
        const { assert!(size_of::<T>() <= 8 * Self::WORDS && align_of::<T>() <= 8) };
        let mut words = [0u64; Self::WORDS];
        // SAFETY: the array is at least as long, checked above; `Plain` has no padding, so every byte is a value.
        unsafe {
            std::ptr::copy_nonoverlapping(
                (&raw const *value).cast::<u8>(),
                words.as_mut_ptr().cast(),
                size_of::<T>(),
            )
        };
        Self {
            words,
            bytes: size_of::<T>(),
        }
    }

    /// Where the struct is, aligned to 8 bytes: what `cuLaunchKernel` wants as the only entry of `kernelParams`.
    pub fn as_ptr(&self) -> *const c_void {
        self.words.as_ptr().cast()
    }

    /// The struct's size in bytes.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// The struct, if it is a `T`.
    #[cfg(test)]
    pub fn get<T: Plain>(&self) -> Option<T> {
        // SAFETY: `bytes` are those of a struct of the same size; `Plain` is made of numbers, so every byte pattern is a
        // value.
        (self.bytes == size_of::<T>()).then(|| unsafe { self.words.as_ptr().cast::<T>().read() })
    }
}

/// A struct whose bytes may be copied as they are.
///
/// # Safety
/// `#[repr(C)]`, made of numbers alone, and without padding between them or at the end.
pub(crate) unsafe trait Plain: Copy {}

/// A frame's planes in device memory. Planes that the format does not have are 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Surface {
    /// Device address of each plane's first row.
    pub address: [u64; MAX_PLANES],
    /// Bytes from one row to the next.
    pub stride: [u64; MAX_PLANES],
}

impl From<&DeviceFrame> for Surface {
    fn from(frame: &DeviceFrame) -> Self {
        let mut surface = Surface::default();
        for (i, plane) in frame.planes().iter().enumerate() {
            surface.address[i] = plane.address;
            surface.stride[i] = plane.stride as u64;
        }
        surface
    }
}

/// What may change with each frame; lies in device memory, aligned to 256 bytes, and is written whole, sums 0, before
/// the frame's first kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Settings {
    /// The ratio in the networks' type ([`Storage::bits`](super::Storage::bits)): the Adjustment network's input `[1, 1, 1, 1]`.
    pub ratio: u32,
    /// Share of the result over the input, 0 to 1.
    pub strength: f32,
    /// The most frames that a pixel may have in it where frames are fused, 1 or more.
    pub most: f32,
    /// 1: the frame is the first of its stream, and nothing is taken from the memory.
    pub fresh: u32,
    /// Sum of I's luma over the working size, in units of 2^-16; [`luma_mean`](crate::cpu::luma_mean) makes it a mean.
    pub luma_in: u64,
    /// The same of the frame that goes out, over the frame's size.
    pub luma_out: u64,
    /// 1, once frames are fused: the frame shows another scene than the one before.
    pub cut: u32,
    /// 1: the frame is the one before once more, and the memory is taken in its place. Not with `fresh`.
    pub repeated: u32,
    /// The frame that comes in.
    pub input: Surface,
    /// The frame that goes out.
    pub output: Surface,
    /// Once frames are fused: variances by intensity, in squared codes of 8 bits, if `noise_known` is 1.
    pub noise: [f32; NOISE_BINS],
    /// Whether the stream's noise is known.
    pub noise_known: u32,
    /// 0.
    pub unused: u32,
}

// SAFETY: numbers of 4, 4, 4, 4, 8, 8, 4, 4, 64, 64, 96, 4 and 4 bytes, each aligned where it stands.
unsafe impl Plain for Settings {}

impl Settings {
    /// The bytes that go to the device.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `Plain` has no padding, so every byte is a value; the borrow keeps the struct alive.
        unsafe { std::slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }
}
