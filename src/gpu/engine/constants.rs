//! What of a network never changes, as one piece of device memory.

use crate::gpu::kernels::Storage;

/// Pieces begin at multiples of this, in bytes.
const ALIGNMENT: usize = 256;

/// Bytes that are collected before they go to the device.
#[derive(Default)]
pub(crate) struct Constants {
    bytes: Vec<u8>,
    floats: Vec<f32>,
}

impl Constants {
    /// Adds a piece; returns where it begins, in bytes.
    pub fn add(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        at as u64
    }

    /// Adds numbers in a type.
    pub fn add_numbers(&mut self, values: &[f32], storage: Storage) -> u64 {
        self.add(&storage.encode(values))
    }

    /// Adds words.
    pub fn add_words<const N: usize>(&mut self, words: &[[u32; N]]) -> u64 {
        let bytes: Vec<u8> = words.iter().flatten().flat_map(|w| w.to_ne_bytes()).collect();
        self.add(&bytes)
    }

    /// Adds numbers for steps on pooled values; returns how many there were before.
    pub fn add_floats(&mut self, values: &[f32]) -> usize {
        let at = self.floats.len();
        self.floats.extend_from_slice(values);
        at
    }

    /// All bytes, and where the numbers for steps on pooled values begin.
    pub fn finish(mut self) -> (Vec<u8>, u64) {
        let floats = std::mem::take(&mut self.floats);
        let at = self.add_numbers(&floats, Storage::F32);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGNMENT).max(ALIGNMENT), 0);
        (self.bytes, at)
    }
}
