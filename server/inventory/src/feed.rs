//! The order feed: what was sold, is owed back and was paid back, in log order, until whoever stores
//! it says that it is stored.

use doorbuster_protocol::command::{Cancellation, ProductSpec};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{FeedEntry, FeedKind, FeedPage};
use doorbuster_protocol::types::{FeedPosition, Quantity};

use crate::digest::{Digest, Kind};
use crate::journal::Journal;
use crate::record::Reservation;

/// See the module. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Feed {
    entries: Journal<FeedEntry>,
    digest: u64,
}

impl Feed {
    /// A feed of which everything up to here has been acknowledged.
    pub(crate) fn acknowledged_up_to(position: FeedPosition) -> Self {
        Self { entries: Journal::starting_at(position.get().saturating_add(1)), digest: 0 }
    }

    pub(crate) fn acknowledged(&self) -> FeedPosition {
        FeedPosition(self.entries.first() - 1)
    }

    pub(crate) fn last(&self) -> FeedPosition {
        FeedPosition(self.entries.next() - 1)
    }

    /// Its part of the state hash.
    pub(crate) fn digest(&self) -> u64 {
        self.digest.wrapping_add(self.mark_digest())
    }

    /// The same, from the entries.
    pub(crate) fn recounted_digest(&self) -> u64 {
        self.iter().map(digest_of).fold(self.mark_digest(), u64::wrapping_add)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &FeedEntry> {
        self.entries.iter_from(0)
    }

    /// Tells what became of a reservation.
    pub(crate) fn tell(&mut self, kind: FeedKind, spec: &ProductSpec, reservation: &Reservation) {
        self.push(FeedEntry {
            position: FeedPosition(self.entries.next()),
            kind,
            product: spec.product,
            reservation: reservation.id,
            user: reservation.user,
            quantity: Quantity(reservation.quantity),
            price: spec.price,
            at: reservation.changed,
            late: reservation.late,
            cancelled: reservation.cancelled,
        });
    }

    /// Adds an entry that has the next position.
    pub(crate) fn push(&mut self, entry: FeedEntry) {
        assert!(entry.position.get() == self.entries.next(), "the feed has no gaps");
        self.digest = self.digest.wrapping_add(digest_of(&entry));
        self.entries.push(entry);
    }

    /// Drops what is stored. Says up to where everything is.
    pub(crate) fn acknowledge(&mut self, through: FeedPosition) -> Result<FeedPosition, Refusal> {
        if through > self.last() {
            return Err(Refusal::FeedPositionUnknown);
        }
        while self.acknowledged() < through {
            let Some(entry) = self.entries.pop() else { break };
            self.digest = self.digest.wrapping_sub(digest_of(&entry));
        }
        Ok(self.acknowledged())
    }

    pub(crate) fn page(&self, after: FeedPosition, limit: usize) -> FeedPage {
        let entries = self.entries.iter_from(after.get().saturating_add(1)).take(limit).copied().collect();
        FeedPage { entries, acknowledged: self.acknowledged(), last: self.last() }
    }

    fn mark_digest(&self) -> u64 {
        Digest::of(Kind::FeedMark).word(self.entries.first()).word(self.entries.next()).finish()
    }
}

fn digest_of(entry: &FeedEntry) -> u64 {
    let [a, b, c] = entry.price.currency.0;
    let small = [a, b, c, kind_code(entry.kind), u8::from(entry.late), cancellation(entry), 0, 0];
    Digest::of(Kind::FeedEntry)
        .word(entry.position.get())
        .word(entry.product.get())
        .wide(entry.reservation.get())
        .wide(entry.user.get())
        .word(u64::from(entry.quantity.get()))
        .word(entry.price.minor)
        .word(u64::from_le_bytes(small))
        .word(entry.at.get())
        .finish()
}

/// Number of how the entry's reservation was cancelled, 0 if it was not.
pub(crate) fn cancellation(entry: &FeedEntry) -> u8 {
    entry.cancelled.map_or(0, Cancellation::number)
}

/// A kind's number in the digest and in snapshots.
pub(crate) const fn kind_code(kind: FeedKind) -> u8 {
    match kind {
        FeedKind::Confirmed => 0,
        FeedKind::RefundDue => 1,
        FeedKind::Refunded => 2,
        FeedKind::Cancelled => 3,
    }
}
