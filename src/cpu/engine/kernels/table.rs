//! Which kernels this processor runs a network with.

use std::fmt;

use super::floats::FloatKernels;
use super::matrices::MatrixKernel;
use super::portable::PortableKernels;
use super::products::ProductKernel;
use crate::cpu::capabilities::Capabilities;
use crate::pack::Precision;

type NewFloats = fn(Capabilities) -> Option<&'static dyn FloatKernels>;
type NewProducts = fn(Capabilities) -> Option<&'static dyn ProductKernel>;
type NewMatrices = fn(Capabilities) -> Option<&'static dyn MatrixKernel>;

/// Kernels on 32-bit floats, best first; the portable ones come after them.
const FLOATS: &[NewFloats] = &[
    #[cfg(target_arch = "x86_64")]
    super::avx512::Avx512Kernels::available,
    #[cfg(target_arch = "x86_64")]
    super::avx2::Avx2Kernels::available,
    #[cfg(target_arch = "aarch64")]
    super::neon::NeonKernels::available,
];

/// Kernels for products in other number formats, best first.
const PRODUCTS: &[NewProducts] = &[
    #[cfg(target_arch = "x86_64")]
    super::vnni::Avx512Vnni::available,
];

/// Kernels for whole convolutions in other number formats, best first.
const MATRICES: &[NewMatrices] = &[
    #[cfg(target_arch = "x86_64")]
    super::amx::AmxBf16::available,
];

/// The kernels that a network runs with.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// For everything that is computed in 32-bit floats.
    pub floats: &'static dyn FloatKernels,
    /// For the products inside Winograd's filtering; 32-bit floats if none.
    pub products: Option<&'static dyn ProductKernel>,
    /// For convolutions of blocks of channels; in the formats above if none.
    pub matrices: Option<&'static dyn MatrixKernel>,
}

impl Kernels {
    /// The best kernels in 32-bit floats, which every processor has.
    pub fn floats(capabilities: Capabilities) -> Self {
        let best = FLOATS.iter().find_map(|new| new(capabilities));
        Self {
            floats: best.unwrap_or(PortableKernels::ANYWHERE),
            products: None,
            matrices: None,
        }
    }

    /// The best kernels for arithmetic in `precision`; none if the processor has none.
    pub fn new(capabilities: Capabilities, precision: Precision) -> Option<Self> {
        let floats = Self::floats(capabilities);
        if precision == Precision::Fp32 {
            return Some(floats);
        }
        let products = PRODUCTS.iter().filter_map(|new| new(capabilities));
        let matrices = MATRICES.iter().filter_map(|new| new(capabilities));
        let found = Self {
            products: products.into_iter().find(|p| p.precision() == precision),
            matrices: matrices.into_iter().find(|m| m.precision() == precision),
            ..floats
        };
        (found.precision() == precision).then_some(found)
    }

    /// The same for 32-bit floats alone.
    pub fn in_floats(self) -> Self {
        Self {
            products: None,
            matrices: None,
            ..self
        }
    }

    /// All float kernels, and all others with the best float kernels.
    #[cfg(test)]
    pub fn all(capabilities: Capabilities) -> Vec<Self> {
        let floats = FLOATS.iter().filter_map(|new| new(capabilities));
        let floats = floats.chain([PortableKernels::ANYWHERE]);
        let floats = floats.map(|floats| Self {
            floats,
            products: None,
            matrices: None,
        });
        let mut all: Vec<_> = floats.collect();
        let products = PRODUCTS.iter().filter_map(|new| new(capabilities));
        let best = Self::floats(capabilities);
        all.extend(products.map(|p| Self {
            products: Some(p),
            ..best
        }));
        let matrices = MATRICES.iter().filter_map(|new| new(capabilities));
        all.extend(matrices.map(|m| Self {
            matrices: Some(m),
            ..best
        }));
        all
    }

    /// The number format of the products that are most of the work.
    pub fn precision(&self) -> Precision {
        let matrices = self.matrices.map(|m| m.precision());
        let products = self.products.map(|p| p.precision());
        matrices.or(products).unwrap_or_default()
    }
}

impl Kernels {
    /// The name of the kernel that computes in a format other than 32-bit floats.
    fn other(&self) -> Option<&'static str> {
        self.matrices.map(|m| m.name()).or(self.products.map(|p| p.name()))
    }
}

impl PartialEq for Kernels {
    fn eq(&self, other: &Self) -> bool {
        let names = |k: &Self| (k.floats.name(), k.other(), k.precision());
        names(self) == names(other)
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.other() {
            None => f.write_str(self.floats.name()),
            Some(name) => write!(f, "{}, {} by {name}", self.floats.name(), self.precision().name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::capabilities::{Extensions, Level};

    /// A kernel is there exactly where the capabilities have what it needs.
    #[test]
    fn kernels_follow_the_capabilities() {
        for &level in Level::available() {
            let capabilities = Capabilities::at(level);
            let has = |e| capabilities.has(e);
            let expected = match () {
                () if has(Extensions::VECTORS_512) => "avx512",
                () if has(Extensions::VECTORS_256) => "avx2",
                () if has(Extensions::NEON) => "neon",
                () => "portable",
            };
            assert_eq!(Kernels::floats(capabilities).floats.name(), expected, "{level}");
            let bfp16 = has(Extensions::VECTORS_512) && has(Extensions::AVX512VNNI);
            let found = Kernels::new(capabilities, Precision::Bfp16);
            assert_eq!(found.is_some(), bfp16, "{level}");
            assert!(found.is_none_or(|k| k.precision() == Precision::Bfp16), "{level}");
            // AMX besides needs the system's permission.
            let amx = Extensions::AMX_TILE
                .with(Extensions::AMX_BF16)
                .with(Extensions::AVX512BF16);
            let found = Kernels::new(capabilities, Precision::Bf16);
            assert!(found.is_none() || has(Extensions::VECTORS_512.with(amx)), "{level}");
            assert!(found.is_none_or(|k| k.precision() == Precision::Bf16), "{level}");
            assert!(Kernels::new(capabilities, Precision::Fp32) == Some(Kernels::floats(capabilities)));
            assert!(Kernels::new(capabilities, Precision::Fp16).is_none(), "{level}");
        }
    }
}
