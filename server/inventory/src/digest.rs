//! Hashing that is the same on every replica and every build: of ids for the indexes, and of records
//! for the state hash, which is the wrapping sum of its records' digests. Sums do not depend on order
//! and are taken back exactly, so a change costs two digests, whatever the size of the state.
//!
//! This guards against bugs and bad memory, not against somebody who looks for collisions.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const INCREMENT: u64 = 0xd6e8_feb8_6659_fd93;

/// What a digest is of: records of two kinds never hash alike by having equal fields.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Key = 1,
    Reservation,
    Product,
    UserCount,
    Operation,
    FeedEntry,
    FeedMark,
    Fingerprint,
}

/// A digest under way, fed word by word.
#[derive(Clone, Copy)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) const fn of(kind: Kind) -> Self {
        Self(INCREMENT).word(kind as u64)
    }

    pub(crate) const fn word(self, word: u64) -> Self {
        Self(folded(self.0 ^ word).wrapping_add(INCREMENT))
    }

    pub(crate) const fn wide(self, value: u128) -> Self {
        let (low, high) = halves(value);
        self.word(low).word(high)
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        bytes.chunks(8).fold(self.word(bytes.len() as u64), |digest, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            digest.word(u64::from_le_bytes(word))
        })
    }

    pub(crate) const fn finish(self) -> u64 {
        folded(self.0)
    }
}

/// Hash of an id, for an index.
pub(crate) const fn key(id: u128) -> u64 {
    Digest::of(Kind::Key).wide(id).finish()
}

/// Both halves of the product, so that every bit of the input reaches every bit of the result.
const fn folded(word: u64) -> u64 {
    let (low, high) = halves(word as u128 * MULTIPLIER as u128);
    (low ^ high).rotate_left(23) ^ word
}

#[allow(clippy::cast_possible_truncation)] // both halves are taken
const fn halves(wide: u128) -> (u64, u64) {
    (wide as u64, (wide >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_ids_spread_over_the_top_bits() {
        let mut buckets = [0_u32; 256];
        for id in 0..256_000_u128 {
            buckets[usize::try_from(key(id) >> 56).unwrap()] += 1;
        }
        let (least, most) = (buckets.iter().min().unwrap(), buckets.iter().max().unwrap());
        assert!(*least > 800 && *most < 1200, "{least}..{most} where 1000 are expected");
    }

    #[test]
    fn a_digest_depends_on_kind_order_and_length() {
        let of = |kind, words: &[u64]| words.iter().fold(Digest::of(kind), |digest, word| digest.word(*word)).finish();
        assert_ne!(of(Kind::Product, &[1, 2]), of(Kind::Operation, &[1, 2]));
        assert_ne!(of(Kind::Product, &[1, 2]), of(Kind::Product, &[2, 1]));
        assert_ne!(Digest::of(Kind::Product).bytes(b"a\0"), Digest::of(Kind::Product).bytes(b"a"));
    }

    impl PartialEq for Digest {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    impl std::fmt::Debug for Digest {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt(f)
        }
    }
}
