//! The short run of a fuzz target on stable Rust, in `make test`: its seeds, and copies of them with damage that is the
//! same every time. The long run is `make fuzz`.

use std::fs;
use std::path::Path;

/// Bytes that are the boundaries of something.
const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x0a, b'"', b'0'];

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Damages `bytes` in one to four places.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            bytes.push(random.next() as u8);
            continue;
        }
        let at = random.below(bytes.len());
        // Most of a model is weights: half of the damage is near its beginning or its end.
        let at = match random.below(4) {
            0 => at.min(random.below(256)),
            1 => bytes.len() - 1 - (bytes.len() - 1 - at).min(random.below(256)),
            _ => at,
        };
        let length = 1 + random.below(16).min(bytes.len() - at - 1);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = EDGES[random.below(EDGES.len())],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let copy = bytes[at..at + length].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => bytes[at..at + length].fill(random.next() as u8),
        }
    }
}

/// Runs `target` on the files of `seeds`, on `extra`, and on `copies` damaged copies of each.
///
/// # Panics
/// If there are no seeds, and with `target`.
pub fn replay(seeds: &Path, extra: &[Vec<u8>], copies: usize, mut target: impl FnMut(&[u8])) {
    let entries = fs::read_dir(seeds).unwrap_or_else(|e| panic!("{}: {e}", seeds.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a folder's entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{}: no seeds", seeds.display());
    let read = |path| fs::read(path).expect("a seed");
    for seed in files.iter().map(read).chain(extra.iter().cloned()) {
        target(&seed);
        let mut random = Random(seed.len() as u64);
        for _ in 0..copies {
            let mut copy = seed.clone();
            damage(&mut copy, &mut random);
            target(&copy);
        }
    }
}
