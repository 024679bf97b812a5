//! A hierarchical timing wheel over slots of somebody else's memory: [`LEVELS`] rings of 1024 buckets,
//! the lowest with a bucket for each millisecond. Insert and cancel take constant time; what is due
//! comes out never before its time.
//!
//! A timer waits at the level where its time first differs from the cursor's, and moves to a lower
//! level ("is sorted") when the cursor reaches its bucket; at most four moves in its life. Both moving
//! and firing draw on a [`Budget`], so a call does bounded work however much is due.
//!
//! The order in which timers come out follows from the calls made, and from nothing else. It is part
//! of the state: a snapshot keeps the lists of the buckets, and [`Wheel::append`] rebuilds them.

use std::fmt;

const LEVEL_BITS: u32 = 10;
const BUCKETS: u32 = 1 << LEVEL_BITS;
/// Rings. Each bucket of a ring spans all of the ring below.
pub const LEVELS: u32 = 5;
/// Times are below this: 2^50 ms, some 35,000 years.
pub const END_OF_TIME: u64 = 1 << (LEVEL_BITS * LEVELS);
/// A link that leads to no slot but to the bucket it is in has this bit.
const BUCKET: u32 = 1 << 31;

const _: () = assert!(BUCKETS * LEVELS < BUCKET);

/// Neighbours of a slot in its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Link {
    /// The slot before, or the bucket.
    pub previous: u32,
    /// The slot behind, or the bucket.
    pub next: u32,
}

impl Link {
    /// Of a slot that waits in no bucket.
    pub const NONE: Self = Self { previous: u32::MAX, next: u32::MAX };
}

/// Memory that holds the timers' links. Slots are below 2^31.
pub trait Links {
    /// A slot's link; [`Link::NONE`] to begin with.
    fn link(&self, slot: u32) -> Link;
    /// Keeps a slot's link.
    fn set_link(&mut self, slot: u32, link: Link);
    /// The time that a waiting slot was inserted with, in milliseconds.
    fn due(&self, slot: u32) -> u64;
}

/// How much work a call may do.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Timers it may still fire.
    pub fire: usize,
    /// Timers it may still move to a lower level.
    pub sort: usize,
}

/// See the module.
#[derive(Clone)]
pub struct Wheel {
    /// No timer waits for an earlier time; no later than the owner's time.
    cursor: u64,
    lists: Vec<List>,
    occupied: [Occupied; LEVELS as usize],
    len: usize,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

impl Default for Wheel {
    fn default() -> Self {
        Self::starting_at(0)
    }
}

impl Wheel {
    /// An empty wheel that will be given no time before `cursor`.
    #[must_use]
    pub fn starting_at(cursor: u64) -> Self {
        let buckets = 0..BUCKETS * LEVELS;
        let lists = buckets.map(|bucket| List { head: BUCKET | bucket, tail: BUCKET | bucket }).collect();
        Self { cursor, lists, occupied: [Occupied::NONE; LEVELS as usize], len: 0 }
    }

    /// The time no timer waits before.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Timers waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes `slot` wait for the time `due`; what is already past fires next.
    pub fn insert(&mut self, links: &mut impl Links, slot: u32, due: u64) {
        assert!(links.link(slot) == Link::NONE, "slot {slot} waits already");
        self.len += 1;
        self.push(links, slot, self.bucket_for(due));
    }

    /// Makes `slot` wait no more. Nothing happens if it does not.
    pub fn cancel(&mut self, links: &mut impl Links, slot: u32) {
        if links.link(slot) != Link::NONE {
            self.unlink(links, slot);
            self.len -= 1;
        }
    }

    /// Takes out one timer that is due at `now`; `None` when none is, or when the budget is used up.
    pub fn pop_due(&mut self, links: &mut impl Links, now: u64, budget: &mut Budget) -> Option<u32> {
        loop {
            if !self.sort_reached(links, budget) {
                return None;
            }
            if let Some(slot) = self.front(bucket(0, self.cursor)) {
                budget.fire = budget.fire.checked_sub(1)?;
                self.cancel(links, slot);
                return Some(slot);
            }
            if !self.step(now) {
                return None;
            }
        }
    }

    /// Moves the cursor as near to `now` as it can go without work: what comes later is then inserted
    /// at the level it belongs to.
    pub fn advance(&mut self, now: u64) {
        if self.next() != Some(self.cursor) {
            self.step(now);
        }
    }

    /// The earliest time at which [`Wheel::pop_due`] has work. Never later than the first timer; it may be
    /// earlier, when timers have to be sorted first.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        let reached = (0..LEVELS).any(|level| self.front(bucket(level, self.cursor)).is_some());
        if reached { Some(self.cursor) } else { self.next_bucket() }
    }

    /// The bucket that a slot waits in, for a snapshot.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u32)> {
        let lists = (0_u16..).zip(&self.lists);
        lists.filter(|(_, list)| list.head & BUCKET == 0).map(|(bucket, list)| (bucket, list.head))
    }

    /// The slots of one bucket's list, beginning with the slot it is headed by.
    pub fn slots_from(links: &impl Links, head: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(head), |slot| Some(links.link(*slot).next).filter(|next| next & BUCKET == 0))
    }

    /// The slots before and behind this one in its bucket's list.
    pub fn neighbours(links: &impl Links, slot: u32) -> impl Iterator<Item = u32> {
        let Link { previous, next } = links.link(slot);
        [previous, next].into_iter().filter(|neighbour| neighbour & BUCKET == 0)
    }

    /// Appends `slot`, due at `due`, to a bucket's list as a snapshot had it. Whether it may stand there.
    #[must_use]
    pub fn append(&mut self, links: &mut impl Links, slot: u32, bucket: u16, due: u64) -> bool {
        let bucket = u32::from(bucket);
        let level = bucket >> LEVEL_BITS;
        let ring = LEVEL_BITS * (level + 1);
        let fits = level < LEVELS
            && (self.cursor..END_OF_TIME).contains(&due)
            && due >> ring == self.cursor >> ring
            && bucket == self::bucket(level, due);
        if fits {
            self.len += 1;
            self.push(links, slot, bucket);
        }
        fits
    }

    /// Moves what waits in the higher levels' buckets at the cursor to where it belongs. Whether all of it was.
    fn sort_reached(&mut self, links: &mut impl Links, budget: &mut Budget) -> bool {
        for level in (1..LEVELS).rev() {
            let reached = bucket(level, self.cursor);
            while let Some(slot) = self.front(reached) {
                if budget.sort == 0 {
                    return false;
                }
                budget.sort -= 1;
                self.unlink(links, slot);
                let place = self.bucket_for(links.due(slot));
                self.push(links, slot, place);
            }
        }
        true
    }

    /// Moves the cursor on to the next bucket with something in it, or to `now`. Whether there is work there.
    fn step(&mut self, now: u64) -> bool {
        match self.next_bucket() {
            Some(next) if next <= now => {
                self.cursor = next;
                true
            }
            _ => {
                self.cursor = self.cursor.max(now);
                false
            }
        }
    }

    /// Start of the first occupied bucket behind the cursor.
    fn next_bucket(&self) -> Option<u64> {
        (0..LEVELS).find_map(|level| {
            let position = position(level, self.cursor);
            let next = self.occupied[level as usize].next_after(position)?;
            let ring = LEVEL_BITS * (level + 1);
            Some(self.cursor >> ring << ring | u64::from(next) << (LEVEL_BITS * level))
        })
    }

    /// Where a timer for `due` waits, seen from the cursor.
    fn bucket_for(&self, due: u64) -> u32 {
        assert!(due < END_OF_TIME, "a timer for {due} ms is beyond the end of time");
        let due = due.max(self.cursor);
        let level = (63 - (due ^ self.cursor | 1).leading_zeros()) / LEVEL_BITS;
        bucket(level, due)
    }

    fn front(&self, bucket: u32) -> Option<u32> {
        Some(self.lists[bucket as usize].head).filter(|head| head & BUCKET == 0)
    }

    fn push(&mut self, links: &mut impl Links, slot: u32, bucket: u32) {
        let end = BUCKET | bucket;
        let list = &mut self.lists[bucket as usize];
        let previous = std::mem::replace(&mut list.tail, slot);
        if previous == end {
            list.head = slot;
            self.occupied[(bucket >> LEVEL_BITS) as usize].set(bucket);
        } else {
            links.set_link(previous, Link { next: slot, ..links.link(previous) });
        }
        links.set_link(slot, Link { previous, next: end });
    }

    fn unlink(&mut self, links: &mut impl Links, slot: u32) {
        let Link { previous, next } = links.link(slot);
        if previous & BUCKET == 0 {
            links.set_link(previous, Link { next, ..links.link(previous) });
        } else {
            self.lists[(previous & !BUCKET) as usize].head = next;
        }
        if next & BUCKET == 0 {
            links.set_link(next, Link { previous, ..links.link(next) });
        } else {
            self.lists[(next & !BUCKET) as usize].tail = previous;
        }
        if previous & next & BUCKET != 0 {
            let bucket = next & !BUCKET;
            self.occupied[(bucket >> LEVEL_BITS) as usize].clear(bucket);
        }
        links.set_link(slot, Link::NONE);
    }
}

impl fmt::Debug for Wheel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel").field("cursor", &self.cursor).field("len", &self.len).finish_non_exhaustive()
    }
}

/// Where in its ring a time is.
fn position(level: u32, time: u64) -> u32 {
    (time >> (LEVEL_BITS * level) & 0x3ff) as u32
}

/// The bucket that a time within the wheel's reach is in at `level`.
fn bucket(level: u32, time: u64) -> u32 {
    level << LEVEL_BITS | position(level, time)
}

const WORDS: usize = BUCKETS as usize / 64;

/// Which buckets of a ring have something in them.
#[derive(Clone, Copy)]
struct Occupied {
    words: [u64; WORDS],
    /// Which words are not 0.
    summary: u64,
}

impl Occupied {
    const NONE: Self = Self { words: [0; WORDS], summary: 0 };

    fn set(&mut self, bucket: u32) {
        let (word, bit) = Self::split(bucket);
        self.words[word] |= 1 << bit;
        self.summary |= 1 << word;
    }

    fn clear(&mut self, bucket: u32) {
        let (word, bit) = Self::split(bucket);
        self.words[word] &= !(1 << bit);
        if self.words[word] == 0 {
            self.summary &= !(1 << word);
        }
    }

    fn next_after(&self, position: u32) -> Option<u32> {
        let (word, bit) = Self::split(position);
        let here = self.words[word] & above(bit);
        if here != 0 {
            return Some(position & !63 | here.trailing_zeros());
        }
        let further = self.summary & above(u32::try_from(word).unwrap_or(63));
        if further == 0 {
            return None;
        }
        let word = further.trailing_zeros();
        Some(word << 6 | self.words[word as usize].trailing_zeros())
    }

    fn split(bucket: u32) -> (usize, u32) {
        let position = bucket & (BUCKETS - 1);
        ((position >> 6) as usize, position & 63)
    }
}

/// The bits above this one.
fn above(bit: u32) -> u64 {
    u64::MAX.checked_shl(bit + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests;
