//! Number formats of the networks' arithmetic: one for each subnetwork.

use std::fmt;

use super::subnetwork::Subnetwork;
use super::variant::Variant;

/// The number format of a network's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    Fp32,
    /// 16-bit floating point, on a GPU.
    Fp16,
    /// 16-bit block floating point, on a processor: 16-bit integers that share a factor, with 32-bit sums.
    Bfp16,
    /// 16-bit floating point with the exponents of 32-bit floats (bfloat16), on a processor, with 32-bit sums.
    Bf16,
}

impl Precision {
    /// All formats.
    pub const ALL: [Precision; 4] = [Precision::Fp32, Precision::Fp16, Precision::Bfp16, Precision::Bf16];

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Bfp16 => "bfp16",
            Precision::Bf16 => "bf16",
        }
    }

    /// The files of a pack that it is computed from.
    pub const fn variant(self) -> Variant {
        match self {
            Precision::Fp32 | Precision::Bfp16 | Precision::Bf16 => Variant::Fp32,
            Precision::Fp16 => Variant::Fp16,
        }
    }
}

/// The number format of each subnetwork's arithmetic.
///
/// Displayed as the format if all four have one, else as `fp16 (restoration in fp32)`: the fastest format that occurs, and
/// what is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Precisions([Precision; 4]);

impl Precisions {
    /// That of one subnetwork.
    pub const fn of(self, which: Subnetwork) -> Precision {
        self.0[which as usize]
    }

    /// That of all four, if they have the same.
    pub fn uniform(self) -> Option<Precision> {
        let [first, rest @ ..] = self.0;
        rest.iter().all(|p| *p == first).then_some(first)
    }

    /// That of the planes which the subnetworks exchange: FP16 where all four compute in it, else FP32.
    pub(crate) fn planes(self) -> Precision {
        match self.uniform() {
            Some(Precision::Fp16) => Precision::Fp16,
            _ => Precision::Fp32,
        }
    }

    /// The same with another format for one subnetwork.
    pub(crate) const fn with(mut self, which: Subnetwork, precision: Precision) -> Self {
        self.0[which as usize] = precision;
        self
    }
}

impl From<Precision> for Precisions {
    fn from(all: Precision) -> Self {
        Self([all; 4])
    }
}

impl fmt::Display for Precisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(precision) = self.uniform() {
            return f.write_str(precision.name());
        }
        let main = self.0.into_iter().find(|p| *p != Precision::Fp32).unwrap_or_default();
        write!(f, "{} (", main.name())?;
        let mut first = true;
        for precision in Precision::ALL.into_iter().filter(|p| *p != main) {
            let names: Vec<_> = Subnetwork::ALL
                .into_iter()
                .filter(|w| self.of(*w) == precision)
                .map(Subnetwork::name)
                .collect();
            if !names.is_empty() {
                let separator = if std::mem::take(&mut first) { "" } else { "; " };
                write!(f, "{separator}{} in {}", names.join(", "), precision.name())?;
            }
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixtures_are_displayed() {
        use Precision::{Bf16, Bfp16, Fp16, Fp32};
        for (formats, uniform, planes, text) in [
            ([Fp32; 4], Some(Fp32), Fp32, "fp32"),
            ([Fp16; 4], Some(Fp16), Fp16, "fp16"),
            ([Bfp16; 4], Some(Bfp16), Fp32, "bfp16"),
            ([Bf16; 4], Some(Bf16), Fp32, "bf16"),
            ([Fp16, Fp32, Fp16, Fp16], None, Fp32, "fp16 (restoration in fp32)"),
            ([Fp16, Fp16, Fp16, Fp32], None, Fp32, "fp16 (adjustment in fp32)"),
            (
                [Fp32, Fp16, Fp32, Fp32],
                None,
                Fp32,
                "fp16 (decomposition, illumination, adjustment in fp32)",
            ),
            (
                [Fp16, Fp32, Bfp16, Fp16],
                None,
                Fp32,
                "fp16 (restoration in fp32; illumination in bfp16)",
            ),
        ] {
            let mut found = Precisions::from(Fp16);
            for (which, precision) in Subnetwork::ALL.into_iter().zip(formats) {
                found = found.with(which, precision);
                assert_eq!(found.of(which), precision, "{formats:?}");
            }
            assert_eq!(found, Precisions(formats));
            assert_eq!((found.uniform(), found.planes()), (uniform, planes), "{formats:?}");
            assert_eq!(found.to_string(), text, "{formats:?}");
        }
    }
}
