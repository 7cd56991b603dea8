//! Number formats of the networks' arithmetic: one for each subnetwork.

use std::fmt;

use super::Subnetwork;

/// The number format of a network's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    Fp32,
    /// 16-bit floating point.
    Fp16,
}

impl Precision {
    /// The name that users see: `fp32` or `fp16`.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
        }
    }
}

/// The number format of each subnetwork's arithmetic.
///
/// Shown as the format where all four have one, else as `fp16 (restoration in fp32)`.
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

    /// That of the planes which the subnetworks hand to each other: 16 bits where all four work in 16, else 32.
    pub(crate) fn planes(self) -> Precision {
        self.uniform().unwrap_or(Precision::Fp32)
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
        let wide = Subnetwork::ALL.into_iter().filter(|w| self.of(*w) == Precision::Fp32);
        let names: Vec<_> = wide.map(Subnetwork::name).collect();
        write!(f, "fp16 ({} in fp32)", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_is_told() {
        use Precision::{Fp16, Fp32};
        for (formats, uniform, planes, told) in [
            ([Fp32; 4], Some(Fp32), Fp32, "fp32"),
            ([Fp16; 4], Some(Fp16), Fp16, "fp16"),
            ([Fp16, Fp32, Fp16, Fp16], None, Fp32, "fp16 (restoration in fp32)"),
            ([Fp16, Fp16, Fp16, Fp32], None, Fp32, "fp16 (adjustment in fp32)"),
            (
                [Fp32, Fp16, Fp32, Fp32],
                None,
                Fp32,
                "fp16 (decomposition, illumination, adjustment in fp32)",
            ),
        ] {
            let mut found = Precisions::from(Fp16);
            for (which, precision) in Subnetwork::ALL.into_iter().zip(formats) {
                found = found.with(which, precision);
                assert_eq!(found.of(which), precision, "{formats:?}");
            }
            assert_eq!(found, Precisions(formats));
            assert_eq!((found.uniform(), found.planes()), (uniform, planes), "{formats:?}");
            assert_eq!(found.to_string(), told, "{formats:?}");
        }
    }
}
