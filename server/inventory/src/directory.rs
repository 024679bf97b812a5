//! A hash index that grows without a stall: sorted leaves of at most [`LEAF`] entries behind a table
//! of pointers indexed by the top bits of the hash (extendible hashing). Growth splits one leaf.
//!
//! Entries stand in the order of their hashes, across leaves too: iterating gives every replica the
//! same sequence. Leaves are shared copy-on-write, so a clone costs pointers only.

use std::sync::Arc;

/// Entries at which a leaf is split.
const LEAF: usize = 128;
/// Most bits of the hash that the table looks at. A leaf that would need more is let grow instead.
const MAX_BITS: u32 = 20;
/// Bytes that come from memory together.
const CACHE_LINE: usize = 64;
/// A search steps so far from where it begins, one by one, before it halves what is left.
const STEPS: usize = 24;
/// Room a leaf keeps beyond its entries: memory is spent on entries, not on capacity.
const SLACK: usize = 16;

/// What a directory holds: small, and able to tell its hash. Only the hash's top 32 bits need be told.
pub(crate) trait Hashed: Copy {
    fn hash(&self) -> u64;
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Directory<E> {
    /// How many top bits of a hash index `table`.
    bits: u32,
    /// Leaf numbers; 2^(bits - leaf's bits) neighbours share a leaf.
    table: Vec<u32>,
    leaves: Vec<Arc<Leaf<E>>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Leaf<E> {
    /// How many top bits its entries' hashes have in common.
    bits: u32,
    entries: Vec<E>,
}

impl<E: Hashed> Directory<E> {
    pub(crate) fn new() -> Self {
        Self { bits: 0, table: vec![0], leaves: vec![Arc::new(Leaf { bits: 0, entries: Vec::new() })], len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Reads what a look-up of this hash reads first, and gives something that depends on it. See `anticipate.rs`.
    pub(crate) fn stir(&self, hash: u64) -> usize {
        self.leaves[self.leaf_of(hash)].entries.len()
    }

    /// Reads the rest of what looking it up reads, and what adding an entry there moves.
    pub(crate) fn stir_entries(&self, hash: u64) -> u64 {
        let leaf = &self.leaves[self.leaf_of(hash)];
        let moved = leaf.entries.get(leaf.guess(hash)..).unwrap_or_default();
        moved.iter().step_by((CACHE_LINE / size_of::<E>()).max(1)).fold(0, |sum, entry| sum ^ entry.hash())
    }

    /// The entry with this hash that `is` it.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&E) -> bool) -> Option<&E> {
        let leaf = &self.leaves[self.leaf_of(hash)];
        leaf.position(hash, is).map(|at| &leaf.entries[at])
    }

    /// The entry with this hash that `is` it, to be changed in anything but its hash.
    pub(crate) fn find_mut(&mut self, hash: u64, is: impl Fn(&E) -> bool) -> Option<&mut E> {
        let number = self.leaf_of(hash);
        let at = self.leaves[number].position(hash, is)?;
        Some(&mut Arc::make_mut(&mut self.leaves[number]).entries[at])
    }

    /// Adds an entry that is not there yet.
    pub(crate) fn insert(&mut self, entry: E) {
        let hash = entry.hash();
        let mut number = self.leaf_of(hash);
        while self.leaves[number].entries.len() >= LEAF && self.leaves[number].bits < MAX_BITS {
            self.split(number, hash);
            number = self.leaf_of(hash);
        }
        Arc::make_mut(&mut self.leaves[number]).insert(entry);
        self.len += 1;
    }

    /// Removes the entry with this hash that `is` it.
    pub(crate) fn remove(&mut self, hash: u64, is: impl Fn(&E) -> bool) -> Option<E> {
        let number = self.leaf_of(hash);
        let at = self.leaves[number].position(hash, is)?;
        self.len -= 1;
        Some(Arc::make_mut(&mut self.leaves[number]).remove(at))
    }

    /// All entries in the order of their hashes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &E> {
        let firsts =
            self.table.iter().scan(None, |last, number| Some((last.replace(*number) != Some(*number), *number)));
        firsts.filter(|(first, _)| *first).flat_map(|(_, number)| &self.leaves[number as usize].entries)
    }

    fn leaf_of(&self, hash: u64) -> usize {
        self.table[self.place_of(hash)] as usize
    }

    #[allow(clippy::cast_possible_truncation)] // at most MAX_BITS bits are left
    fn place_of(&self, hash: u64) -> usize {
        hash.checked_shr(64 - self.bits).unwrap_or(0) as usize
    }

    /// Splits the leaf that `hash` belongs to by one more bit.
    fn split(&mut self, number: usize, hash: u64) {
        let bits = self.leaves[number].bits;
        if bits == self.bits {
            self.table = self.table.iter().flat_map(|leaf| [*leaf, *leaf]).collect();
            self.bits += 1;
        }
        let leaf = Arc::make_mut(&mut self.leaves[number]);
        let upper = leaf.split();
        #[allow(clippy::cast_possible_truncation)] // there are at most 2^MAX_BITS leaves
        let added = self.leaves.len() as u32;
        self.leaves.push(Arc::new(upper));
        let shared = 1_usize << (self.bits - bits);
        let start = self.place_of(hash) & !(shared - 1);
        self.table[start + shared / 2..start + shared].fill(added);
    }
}

impl<E: Hashed> Leaf<E> {
    /// Where an entry with this hash stands if hashes are spread evenly, which they are: a few places off at most. Reading
    /// there costs a cache line or two; halving from the middle costs four.
    #[allow(clippy::cast_possible_truncation)] // below the number of entries
    fn guess(&self, hash: u64) -> usize {
        let within = (hash << self.bits) >> 32;
        ((within * self.entries.len() as u64) >> 32) as usize
    }

    /// How many entries have a lower hash.
    fn first_from(&self, hash: u64) -> usize {
        let mut at = self.guess(hash);
        for _ in 0..STEPS {
            if at > 0 && self.entries[at - 1].hash() >= hash {
                at -= 1;
            } else if self.entries.get(at).is_some_and(|entry| entry.hash() < hash) {
                at += 1;
            } else {
                return at;
            }
        }
        self.entries.partition_point(|entry| entry.hash() < hash)
    }

    fn position(&self, hash: u64, is: impl Fn(&E) -> bool) -> Option<usize> {
        let from = self.first_from(hash);
        let equal = self.entries[from..].iter().take_while(|entry| entry.hash() == hash);
        equal.into_iter().position(is).map(|offset| from + offset)
    }

    fn insert(&mut self, entry: E) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(SLACK);
        }
        let hash = entry.hash();
        let from = self.first_from(hash);
        let equal = self.entries[from..].iter().take_while(|other| other.hash() == hash).count();
        self.entries.insert(from + equal, entry);
    }

    fn remove(&mut self, at: usize) -> E {
        let entry = self.entries.remove(at);
        if self.entries.capacity() > self.entries.len() + 3 * SLACK {
            self.entries.shrink_to(self.entries.len() + SLACK);
        }
        entry
    }

    /// Keeps the entries whose next bit is 0 and gives away the others.
    fn split(&mut self) -> Self {
        let bit = 1_u64 << (63 - self.bits);
        let at = self.entries.partition_point(|entry| entry.hash() & bit == 0);
        let upper = self.entries[at..].to_vec();
        self.entries.truncate(at);
        self.entries.shrink_to(at + SLACK);
        self.bits += 1;
        Self { bits: self.bits, entries: upper }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::key;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Item(u128);

    impl Hashed for Item {
        fn hash(&self) -> u64 {
            key(self.0)
        }
    }

    fn contains(directory: &Directory<Item>, id: u128) -> bool {
        directory.find(key(id), |item| item.0 == id).is_some()
    }

    #[test]
    fn finds_what_was_inserted_and_only_that() {
        let mut directory = Directory::new();
        for id in 0..50_000 {
            assert!(!contains(&directory, id));
            directory.insert(Item(id));
        }
        assert!((0..50_000).all(|id| contains(&directory, id)));
        for id in (0..50_000).step_by(2) {
            assert_eq!(directory.remove(key(id), |item| item.0 == id), Some(Item(id)));
        }
        assert!((0..50_000).all(|id| contains(&directory, id) == (id % 2 == 1)));
        assert_eq!((directory.len(), directory.iter().count()), (25_000, 25_000));
    }

    #[test]
    fn iterates_in_hash_order_whatever_the_order_of_insertion() {
        let (mut up, mut down) = (Directory::new(), Directory::new());
        (0..10_000).for_each(|id| up.insert(Item(id)));
        (0..10_000).rev().for_each(|id| down.insert(Item(id)));
        let hashes: Vec<_> = up.iter().map(Hashed::hash).collect();
        assert!(hashes.is_sorted());
        assert!(up.iter().eq(down.iter()));
    }

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut directory = Directory::new();
        (0..1000).for_each(|id| directory.insert(Item(id)));
        let frozen = directory.clone();
        directory.insert(Item(5000));
        directory.remove(key(7), |item| item.0 == 7);
        assert!(contains(&frozen, 7) && !contains(&frozen, 5000) && frozen.iter().count() == 1000);
    }

    #[test]
    fn hashes_that_are_not_spread_evenly_are_found_all_the_same() {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        struct Raw(u64);
        impl Hashed for Raw {
            fn hash(&self) -> u64 {
                self.0
            }
        }
        let top = 1_u64 << 63;
        let mut hashes: Vec<_> = (0..500).chain(top..top + 500).chain((0..64).map(|bit| u64::MAX << bit)).collect();
        let mut directory = Directory::new();
        hashes.iter().rev().for_each(|hash| directory.insert(Raw(*hash)));
        hashes.sort_unstable();
        assert!(directory.iter().map(|raw| raw.0).eq(hashes.iter().copied()));
        for hash in &hashes {
            assert_eq!(directory.find(*hash, |_| true), Some(&Raw(*hash)));
        }
        assert_eq!(directory.find(501, |_| true), None);
        for hash in &hashes {
            assert_eq!(directory.remove(*hash, |_| true), Some(Raw(*hash)));
        }
        assert_eq!(directory.len(), 0);
    }

    #[test]
    fn equal_hashes_only_make_a_leaf_longer() {
        #[derive(Clone, Copy)]
        struct Same(u32);
        impl Hashed for Same {
            fn hash(&self) -> u64 {
                0xffff_ffff_0000_0000
            }
        }
        let mut directory = Directory::new();
        (0..1000).for_each(|id| directory.insert(Same(id)));
        assert!((0..1000).all(|id| directory.find(Same(id).hash(), |item| item.0 == id).is_some()));
    }
}
