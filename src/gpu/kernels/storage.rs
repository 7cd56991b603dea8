//! The number formats of planes in device memory.

use half::f16;

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
    pub const fn choose(self, f32: &'static str, f16: &'static str) -> &'static str {
        match self {
            Storage::F32 => f32,
            Storage::F16 => f16,
        }
    }

    /// A value's bits in this type, in the low bytes; rounded to nearest, ties to even.
    pub fn bits(self, value: f32) -> u32 {
        match self {
            Storage::F32 => value.to_bits(),
            Storage::F16 => f16::from_f32(value).to_bits().into(),
        }
    }

    /// Appends the numbers in `bytes`, which hold whole values.
    pub fn decode(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Storage::F32 => values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b))),
            Storage::F16 => values.extend(bytes.as_chunks().0.iter().map(|b| f16::from_ne_bytes(*b).to_f32())),
        }
    }

    /// The bytes of `values`, each rounded to nearest.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Storage::F32 => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            Storage::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_ne_bytes()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_encoded_as_they_are_decoded() {
        for storage in [Storage::F32, Storage::F16] {
            let values = [0.0, 1.0, 0.5, -0.25, 4.0, 65504.0];
            let bytes = storage.encode(&values);
            assert_eq!(bytes.len(), values.len() * storage.bytes());
            let mut decoded = Vec::new();
            storage.decode(&bytes, &mut decoded);
            assert_eq!(decoded, values, "{storage:?}");
        }
    }

    /// The kernels read the ratio as these bits: rounding has to be to nearest, ties to even, whatever the processor.
    #[test]
    fn halves_are_rounded_to_nearest() {
        for (value, bits) in [
            (-2.0, 0xc000),
            (1.0 / 3.0, 0x3555),
            (65519.9, 0x7bff),
            (65520.0, 0x7c00),
            (5.960_464_5e-8, 0x0001),
            (2.980_232_2e-8, 0x0000),
            (1.000_488_3, 0x3c00),
            (1.001_464_8, 0x3c02),
        ] {
            assert_eq!(Storage::F16.bits(value), bits, "{value}");
        }
    }
}
