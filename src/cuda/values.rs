//! Numbers as the networks store them, on the host.

use super::launch::Storage;

/// Appends the numbers in `bytes`, which are those of whole values.
pub(super) fn decode(bytes: &[u8], storage: Storage, values: &mut Vec<f32>) {
    match storage {
        Storage::F32 => {
            let (words, _) = bytes.as_chunks();
            values.extend(words.iter().map(|b| f32::from_ne_bytes(*b)));
        }
        Storage::F16 => {
            let (words, _) = bytes.as_chunks();
            values.extend(words.iter().map(|b| widen(u16::from_ne_bytes(*b))));
        }
    }
}

/// The bytes of `values`, each rounded to the nearest number that there is.
pub(super) fn encode(values: &[f32], storage: Storage) -> Vec<u8> {
    match storage {
        Storage::F32 => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        Storage::F16 => values
            .iter()
            .flat_map(|v| (storage.bits(*v) as u16).to_ne_bytes())
            .collect(),
    }
}

/// The number behind the bits of a 16-bit float (IEEE 754 binary16).
fn widen(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = match (bits >> 10 & 0x1f, u32::from(bits & 0x3ff)) {
        // Whole multiples of 2^-24.
        (0, fraction) => (fraction as f32 / (1 << 24) as f32).to_bits(),
        (0x1f, fraction) => 0x7f80_0000 | fraction << 13,
        (exponent, fraction) => (u32::from(exponent) + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_comes_back() {
        for bits in 0..=u16::MAX {
            let value = widen(bits);
            if value.is_nan() {
                assert!(bits & 0x7c00 == 0x7c00 && bits & 0x3ff != 0, "{bits:#x}");
                continue;
            }
            assert_eq!(Storage::F16.bits(value) as u16, bits, "{value}");
        }
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 2f32.powi(-24)),
            (0x7bff, 65504.0),
        ] {
            assert_eq!(widen(bits), value, "{bits:#x}");
        }
    }

    #[test]
    fn planes_are_encoded_as_they_are_decoded() {
        for storage in [Storage::F32, Storage::F16] {
            let values = [0.0, 1.0, 0.5, -0.25, 4.0];
            let bytes = encode(&values, storage);
            assert_eq!(bytes.len(), values.len() * storage.bytes());
            let mut back = Vec::new();
            decode(&bytes, storage, &mut back);
            assert_eq!(back, values, "{storage:?}");
        }
    }
}
