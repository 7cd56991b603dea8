//! The number formats in which a pack stores its files.

/// A set of files of a pack, by the number format of weights, inputs and outputs.
///
/// A variant says how numbers are stored. In which format a backend computes is its [`Precision`](super::Precision).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Variant {
    /// 32-bit floating point. Every pack has it.
    Fp32,
    /// 16-bit floating point.
    Fp16,
}

impl Variant {
    /// All variants that this version knows. A manifest may list others, which are ignored.
    pub const ALL: [Variant; 2] = [Variant::Fp32, Variant::Fp16];

    /// The name in `model.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Variant::Fp32 => "fp32",
            Variant::Fp16 => "fp16",
        }
    }

    /// What stands between stem and extension in the file names of packs that name no files.
    pub(crate) const fn infix(self) -> &'static str {
        match self {
            Variant::Fp32 => "",
            Variant::Fp16 => ".fp16",
        }
    }
}
