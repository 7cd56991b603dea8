//! How a kernel is launched: its module, name, grid and arguments, and the block of settings that a frame may change
//! without a new launch. Nothing here calls CUDA.
#![allow(unsafe_code)]

use std::ffi::c_void;

/// The type of the networks' planes in device memory; I is always of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Storage {
    F32,
    F16,
}

impl Storage {
    /// Bytes of a value.
    pub const fn bytes(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::F16 => 2,
        }
    }

    /// The one of two kernels that works on this type.
    pub(super) const fn choose(self, f32: &'static str, f16: &'static str) -> &'static str {
        match self {
            Storage::F32 => f32,
            Storage::F16 => f16,
        }
    }

    /// A value's bits in this type, in the low bytes; rounded to nearest, ties to even.
    pub fn bits(self, value: f32) -> u32 {
        match self {
            Storage::F32 => value.to_bits(),
            Storage::F16 => half(value).into(),
        }
    }
}

/// A file of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Module {
    Ingest,
    Update,
    Compose,
}

impl Module {
    /// All of them.
    pub const ALL: [Module; 3] = [Module::Ingest, Module::Update, Module::Compose];

    /// The PTX for compute capability 7.0 and later, as made by `kernels/build.py` from the source beside it.
    pub const fn ptx(self) -> &'static str {
        match self {
            Module::Ingest => include_str!("kernels/ingest.ptx"),
            Module::Update => include_str!("kernels/update.ptx"),
            Module::Compose => include_str!("kernels/compose.ptx"),
        }
    }

    /// The kernels in it.
    pub const fn kernels(self) -> &'static [&'static str] {
        match self {
            Module::Ingest => super::ingest::KERNELS,
            Module::Update => super::update::KERNELS,
            Module::Compose => super::compose::KERNELS,
        }
    }
}

/// A kernel and how it is launched.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub module: Module,
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
    const WORDS: usize = 40;

    pub(super) fn new<T: Plain>(value: &T) -> Self {
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
    #[cfg_attr(not(test), expect(dead_code, reason = "the driver knows each kernel's"))]
    pub fn len(&self) -> usize {
        self.bytes
    }
}

/// A struct whose bytes may be copied as they are.
///
/// # Safety
/// `#[repr(C)]`, made of numbers alone, and without padding between them or at the end.
pub(super) unsafe trait Plain: Copy {}

/// A frame's planes in device memory. Planes that the format does not have are 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Surface {
    /// Device address of each plane's first row.
    pub address: [u64; 3],
    /// Bytes from one row to the next.
    pub stride: [u64; 3],
}

impl Surface {
    /// The greatest power of two, at most 16, that divides all addresses and strides.
    pub fn alignment(&self) -> u32 {
        let all = self.address.iter().chain(&self.stride).fold(16, |all, v| all | v);
        1 << all.trailing_zeros()
    }
}

/// What may change with each frame; lies in device memory, aligned to 256 bytes, and is written whole, sums 0, before
/// the frame's first kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Settings {
    /// The ratio in the networks' type ([`Storage::bits`]): the Adjustment network's input `[1, 1, 1, 1]`.
    pub ratio: u32,
    /// Share of the result over the input, 0 to 1.
    pub strength: f32,
    /// Sum of I's luma over the working size, in units of 2^-16; [`crate::colour::luma_mean`] makes it a mean.
    pub luma_in: u64,
    /// The same of the frame that goes out, over the frame's size.
    pub luma_out: u64,
    /// The frame that comes in.
    pub input: Surface,
    /// The frame that goes out.
    pub output: Surface,
}

// SAFETY: numbers of 4, 4, 8, 8, 48 and 48 bytes, each aligned where it stands.
unsafe impl Plain for Settings {}

impl Settings {
    /// The bytes that go to the device.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `Plain` has no padding, so every byte is a value; the borrow keeps the struct alive.
        unsafe { std::slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }
}

/// The bits of the nearest 16-bit float (IEEE 754 binary16), ties to even.
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let rounded = if magnitude > 0x7f80_0000 {
        0x7e00
    } else if magnitude >= 0x477f_f000 {
        0x7c00
    } else if magnitude < 0x3880_0000 {
        // Below the least normal number: whole multiples of 2^-24; adding 0.5 rounds to them.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        let odd = magnitude >> 13 & 1;
        (magnitude + 0xfff + odd - (112 << 23)) >> 13
    };
    sign | rounded as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_to_nearest() {
        for (value, bits) in [
            (0.0, 0x0000),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (4.0, 0x4400),
            (1.0 / 3.0, 0x3555),
            (65504.0, 0x7bff),
            (65519.9, 0x7bff),
            (65520.0, 0x7c00),
            (f32::INFINITY, 0x7c00),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (2.980_233e-8, 0x0001),
            (1.000_488_3, 0x3c00),
            (1.001_464_8, 0x3c02),
        ] {
            assert_eq!(half(value), bits, "{value}");
        }
        assert_eq!(half(f32::NAN) & 0x7fff, 0x7e00);
    }

    #[test]
    fn alignment_of_a_surface() {
        for (address, stride, alignment) in [
            ([256, 512, 0], [64, 64, 0], 16),
            ([256, 512, 0], [64, 68, 0], 4),
            ([256, 514, 0], [64, 64, 0], 2),
            ([257, 512, 0], [64, 64, 0], 1),
        ] {
            assert_eq!(
                Surface { address, stride }.alignment(),
                alignment,
                "{address:?} {stride:?}"
            );
        }
    }
}
