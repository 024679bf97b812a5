//! A blocked Bloom filter over 128-bit ids: each id sets one bit in each of the eight words of one block,
//! so a look-up touches a single cache line. It may say "maybe" of an id it never saw, never "no" of one it did.

use crate::sync::{AtomicU64, Ordering};

const WORDS: usize = 8;
/// With 16 bits an id about one stranger in a thousand is a "maybe".
const BITS_PER_ID: usize = 16;

/// A set of ids that errs only towards "maybe".
#[derive(Debug)]
pub struct Bloom {
    blocks: Box<[Block]>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Block([AtomicU64; WORDS]);

impl Bloom {
    /// Sized for so many ids; more may be added, at the price of more false "maybe"s.
    #[must_use]
    pub fn with_capacity(ids: usize) -> Self {
        let blocks = (ids.saturating_mul(BITS_PER_ID)).div_ceil(WORDS * 64).max(1);
        Self { blocks: (0..blocks).map(|_| Block::new()).collect() }
    }

    /// Adds an id. Visible to whoever sees what this thread publishes afterwards. Only ever called by one thread at a time:
    /// of two that add to one block at once, one may be lost.
    pub fn insert(&self, id: u128) {
        let (block, bits) = self.place(id);
        for (word, bit) in block.0.iter().zip(bits) {
            word.store(word.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
        }
    }

    /// Whether the id may have been added.
    #[must_use]
    pub fn contains(&self, id: u128) -> bool {
        let (block, bits) = self.place(id);
        block.0.iter().zip(bits).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        std::mem::size_of_val(&*self.blocks)
    }

    #[allow(clippy::cast_possible_truncation)] // the block index is below the number of blocks, a usize
    fn place(&self, id: u128) -> (&Block, [u64; WORDS]) {
        let first = mix((id as u64) ^ mix((id >> 64) as u64));
        let second = mix(first ^ 0x9e37_79b9_7f4a_7c15);
        let index = ((u128::from(first) * self.blocks.len() as u128) >> 64) as usize;
        (&self.blocks[index], std::array::from_fn(|word| 1 << ((second >> (6 * word)) & 63)))
    }
}

impl Block {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// Finalizer of splitmix64.
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn id(n: u64) -> u128 {
        (u128::from(mix(n)) << 64) | u128::from(mix(n ^ 0xabcd))
    }

    #[test]
    fn never_denies_what_it_holds() {
        let filter = Bloom::with_capacity(10_000);
        (0..30_000).for_each(|n| filter.insert(id(n)));
        assert!((0..30_000).all(|n| filter.contains(id(n))), "an overfull filter still knows every id");
    }

    #[test]
    fn false_positive_rate_is_as_sized() {
        for ids in [(0_u64..100_000).map(id).collect::<Vec<_>>(), (0_u64..100_000).map(u128::from).collect()] {
            let filter = Bloom::with_capacity(ids.len());
            ids.iter().for_each(|id| filter.insert(*id));
            let strangers = 1_000_000_u64;
            let wrong = (0..strangers).filter(|n| filter.contains(id(n + 1_000_000_000))).count();
            assert!(wrong < 3_000, "{wrong} false maybes in a million, expected below 3000");
            assert!(filter.bytes() <= ids.len() * 2 + 64);
        }
    }

    #[test]
    fn an_empty_one_knows_nothing() {
        let filter = Bloom::with_capacity(0);
        assert!(!(0..1000).any(|n| filter.contains(id(n))));
    }
}
