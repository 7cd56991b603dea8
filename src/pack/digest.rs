//! SHA-256 as text.

use sha2::{Digest, Sha256};

/// The SHA-256 of `parts`, one after the other, as lower-case hexadecimal.
pub(crate) fn sha256_hex<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of FIPS 180-2, appendix B.
    #[test]
    fn known_digests() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(["abc"]), abc);
        assert_eq!(sha256_hex(["a", "bc"]), abc);
    }
}
