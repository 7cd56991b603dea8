//! Where the images of a network lie in its scratch memory, for one size: those that are never needed at the same time may
//! lie in the same place.

use super::prepare::{Preparation, Prepared};
use crate::gpu::kernels::{PARTS, Storage, scaled_bytes};
use crate::network::{Class, Kind, LANES};

/// What every place is a multiple of, in bytes.
const ALIGNMENT: u64 = 256;

/// Places in scratch memory, in bytes from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Of each slot.
    pub slots: Vec<u64>,
    pub pooled: u64,
    /// Sums of means.
    pub sums: u64,
    /// Weights multiplied by pooled values, of one convolution at a time.
    pub scaled: u64,
    pub bytes: u64,
}

/// Bytes of a slot for frames of `size`.
fn slot_bytes(class: Class, size: (usize, usize), blocks: Storage, planes: Storage) -> u64 {
    let pixels = (size.0 / class.down * (size.1 / class.down)) as u64;
    let pixel = match class.kind {
        Kind::Plane => planes.bytes(),
        Kind::Block | Kind::Paired => LANES * blocks.bytes(),
    };
    (pixels * pixel as u64).next_multiple_of(ALIGNMENT)
}

impl Layout {
    /// For frames of `size`, planes of type `planes`.
    pub fn new(preparation: &Preparation, size: (usize, usize), planes: Storage) -> Self {
        let blocks = preparation.products.blocks();
        let mut bytes = 0;
        let mut take = |count: usize| {
            let at = bytes;
            bytes += (count as u64).next_multiple_of(ALIGNMENT);
            at
        };
        let pooled = take(4 * preparation.pooled);
        let units = preparation.steps.iter().filter_map(|s| match s {
            Prepared::Mean(image) => Some(image.units.len()),
            _ => None,
        });
        let sums = take(4 * PARTS * LANES * units.max().unwrap_or(0));
        let scaled = preparation.steps.iter().filter_map(|s| match s {
            Prepared::Conv(c) if c.conv.scale.is_some() => Some(scaled_bytes(&c.division)),
            _ => None,
        });
        let scaled = take(scaled.max().unwrap_or(0));
        // The lowest place that no slot of the same time has, in the order in which they are needed.
        let mut order: Vec<usize> = (0..preparation.slots.len()).collect();
        order.sort_by_key(|&slot| preparation.lives[slot]);
        let mut slots = vec![bytes; preparation.slots.len()];
        let mut placed: Vec<(usize, u64)> = Vec::new();
        let (first, mut end) = (bytes, bytes);
        for slot in order {
            let Some((from, to)) = preparation.lives[slot] else {
                continue;
            };
            let length = slot_bytes(preparation.slots[slot], size, blocks, planes);
            let beside = |other: usize| {
                let life = preparation.lives[other];
                life.is_some_and(|(a, b)| a <= to && from <= b)
            };
            let mut taken: Vec<(u64, u64)> = placed
                .iter()
                .filter(|(other, _)| beside(*other))
                .map(|&(other, length)| (slots[other], slots[other] + length))
                .collect();
            taken.sort_unstable();
            let mut at = first;
            for (begin, end) in taken {
                if at + length <= begin {
                    break;
                }
                at = at.max(end);
            }
            slots[slot] = at;
            end = end.max(at + length);
            placed.push((slot, length));
        }
        Self {
            slots,
            pooled,
            sums,
            scaled,
            bytes: end,
        }
    }
}
