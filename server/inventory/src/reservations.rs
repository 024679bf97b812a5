//! All reservations of a shard: found by id, woken by the wheel, summed up in a digest. Whoever changes
//! one hands in the whole new value; index, timer and digest follow here.

use doorbuster_planted::{self as planted, Bug};
use doorbuster_protocol::types::{Millis, ReservationId, Timestamp};

use crate::digest::key;
use crate::directory::{Directory, Hashed};
use crate::record::Reservation;
use crate::slab::Slab;
use crate::wheel::{Budget, Links, Wheel};

/// See the module.
pub(crate) struct Reservations {
    slab: Slab,
    index: Directory<Indexed>,
    wheel: Wheel,
    /// Sum of the reservations' digests.
    digest: u64,
}

/// Index entry: 8 bytes.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    /// Top half of the id's hash.
    hash: u32,
    slot: u32,
}

impl Hashed for Indexed {
    fn hash(&self) -> u64 {
        u64::from(self.hash) << 32
    }
}

impl Reservations {
    pub(crate) fn new(retention: Millis) -> Self {
        Self::with_wheel(retention, Wheel::default())
    }

    fn with_wheel(retention: Millis, wheel: Wheel) -> Self {
        Self { slab: Slab::new(retention), index: Directory::new(), wheel, digest: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn find(&self, id: ReservationId) -> Option<u32> {
        let hash = indexed_hash(id);
        let entry = self.index.find(hash, |entry| self.slab.id(entry.slot) == id.get())?;
        Some(entry.slot)
    }

    /// Reads the beginning of what a look-up reads: see `anticipate.rs`.
    pub(crate) fn stir(&self, id: ReservationId) -> usize {
        self.index.stir(indexed_hash(id))
    }

    /// Reads the rest of what a look-up in the index, or an addition to it, reads.
    pub(crate) fn stir_entries(&self, id: ReservationId) -> u64 {
        self.index.stir_entries(indexed_hash(id))
    }

    /// Reads the record.
    pub(crate) fn stir_record(&self, id: ReservationId) -> u32 {
        self.index.find(indexed_hash(id), |_| true).map_or(0, |entry| self.slab.link(entry.slot).next)
    }

    /// Reads the records that wait before and behind it in the wheel.
    pub(crate) fn stir_neighbours(&self, id: ReservationId) -> u32 {
        let Some(entry) = self.index.find(indexed_hash(id), |_| true) else { return 0 };
        Wheel::neighbours(&self.slab, entry.slot).fold(0, |sum, slot| sum ^ self.slab.link(slot).next)
    }

    pub(crate) fn get(&self, slot: u32) -> Reservation {
        self.slab.get(slot)
    }

    /// Every reservation, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Reservation)> {
        self.slab.iter()
    }

    /// Adds a reservation whose id is not known; `product` is its product's id.
    pub(crate) fn insert(&mut self, reservation: &Reservation, product: u64) -> u32 {
        let slot = self.slab.insert(reservation);
        self.enlist(slot, reservation, product);
        self.arm(slot, reservation);
        slot
    }

    /// Replaces a reservation by what became of it.
    pub(crate) fn replace(&mut self, slot: u32, new: &Reservation, product: u64) {
        let old = self.slab.get(slot);
        assert!(old.id == new.id && old.product == new.product, "a reservation became another one");
        self.digest = self.digest.wrapping_sub(old.digest(product)).wrapping_add(new.digest(product));
        let retention = self.slab.retention();
        let keeps_timer = old.timer(retention) == new.timer(retention) && self.waits(slot);
        if !keeps_timer {
            self.wheel.cancel(&mut self.slab, slot);
        }
        self.slab.replace(slot, new);
        if !keeps_timer {
            self.arm(slot, new);
        }
    }

    /// Forgets a reservation.
    pub(crate) fn remove(&mut self, slot: u32, product: u64) {
        let old = self.slab.get(slot);
        self.wheel.cancel(&mut self.slab, slot);
        self.digest = self.digest.wrapping_sub(old.digest(product));
        let removed = self.index.remove(indexed_hash(old.id), |entry| entry.slot == slot);
        assert!(removed.is_some(), "reservation {} was not in the index", old.id);
        self.slab.remove(slot);
    }

    /// Takes one reservation whose deadline or retention is over out of the wheel. It must then be
    /// replaced or removed.
    pub(crate) fn pop_due(&mut self, now: Timestamp, budget: &mut Budget) -> Option<u32> {
        self.wheel.pop_due(&mut self.slab, now.get(), budget)
    }

    /// Earliest time at which [`Self::pop_due`] has work.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.wheel.next().map(Timestamp)
    }

    /// Time has come to `now`.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        self.wheel.advance(now.get());
    }

    /// Whether the wheel will come back to it.
    pub(crate) fn waits(&self, slot: u32) -> bool {
        self.slab.link(slot) != crate::wheel::Link::NONE
    }

    /// Reservations that wait in the wheel.
    pub(crate) fn waiting(&self) -> usize {
        self.wheel.len()
    }

    pub(crate) fn freeze(&self) -> FrozenReservations {
        FrozenReservations { slab: self.slab.clone(), wheel: self.wheel.clone() }
    }

    fn arm(&mut self, slot: u32, reservation: &Reservation) {
        if let Some(due) = reservation.timer(self.slab.retention()) {
            self.wheel.insert(&mut self.slab, slot, due.get());
        }
    }

    fn enlist(&mut self, slot: u32, reservation: &Reservation, product: u64) {
        let hash = (indexed_hash(reservation.id) >> 32) as u32;
        self.index.insert(Indexed { hash, slot });
        self.digest = self.digest.wrapping_add(reservation.digest(product));
    }
}

/// Reservations as they were when they were frozen.
pub(crate) struct FrozenReservations {
    slab: Slab,
    wheel: Wheel,
}

/// In place of a bucket: the reservation waits in none.
pub(crate) const NO_BUCKET: u16 = u16::MAX;

impl FrozenReservations {
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.wheel.cursor()
    }

    /// Each reservation with its bucket: bucket by bucket, each in the order it fires in, then those that wait
    /// for nothing, by id. That order depends on the log alone.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (u16, Reservation)> {
        let lists = self.wheel.buckets();
        let slots =
            lists.flat_map(|(bucket, head)| Wheel::slots_from(&self.slab, head).map(move |slot| (bucket, slot)));
        let waiting = slots.map(|(bucket, slot)| (bucket, self.slab.get(slot)));
        let free = self.slab.iter().filter(|(slot, _)| self.slab.link(*slot) == crate::wheel::Link::NONE);
        let mut free: Vec<_> = free.map(|(_, reservation)| (NO_BUCKET, reservation)).collect();
        free.sort_unstable_by_key(|(_, reservation)| reservation.id);
        waiting.chain(free)
    }
}

/// Rebuilds reservations in the order of [`FrozenReservations::in_order`].
pub(crate) struct Rebuild(Reservations);

impl Rebuild {
    pub(crate) fn new(retention: Millis, cursor: u64) -> Self {
        Self(Reservations::with_wheel(retention, Wheel::starting_at(cursor)))
    }

    /// Adds one. Whether it may stand there.
    #[must_use]
    pub(crate) fn append(&mut self, bucket: u16, reservation: &Reservation, product: u64) -> bool {
        let Self(all) = self;
        if all.find(reservation.id).is_some() {
            return false;
        }
        let slot = all.slab.insert(reservation);
        all.enlist(slot, reservation, product);
        match reservation.timer(all.slab.retention()) {
            // Planted: it is known, and nobody will come for it.
            Some(_) if planted::on(Bug::ExpiryIndexLost) => true,
            Some(due) => all.wheel.append(&mut all.slab, slot, bucket, due.get()),
            None => bucket == NO_BUCKET,
        }
    }

    pub(crate) fn finish(self) -> Reservations {
        self.0
    }
}

/// As much of the id's hash as the index keeps.
fn indexed_hash(id: ReservationId) -> u64 {
    key(id.get()) >> 32 << 32
}
