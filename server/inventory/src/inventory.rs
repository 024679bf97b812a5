//! One shard's state and the commands that change it.
#![allow(clippy::todo, unused_variables, clippy::needless_pass_by_value)]

use doorbuster_protocol::command::{Command, Reserve, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{AuditReport, FeedPage, ProductView, Reply, ReservationView};
use doorbuster_protocol::types::{FeedPosition, LogIndex, ProductId, ReservationId, ShardId, StateHash, Timestamp};

use crate::{Frozen, GateView, Limits, SnapshotError};

/// One shard's state.
#[derive(Debug)]
pub struct Inventory {
    shard: ShardId,
    limits: Limits,
    applied: LogIndex,
    time: Timestamp,
}

impl Inventory {
    /// An empty shard.
    #[must_use]
    pub fn new(shard: ShardId, limits: Limits) -> Self {
        Self { shard, limits, applied: LogIndex(0), time: Timestamp(0) }
    }

    /// Applies one command of the log entry at `index`, stamped `time`. Many commands of one entry share both.
    ///
    /// # Errors
    /// A refusal: nothing changed, except that a reservation the command names and whose deadline has passed has expired.
    ///
    /// # Panics
    /// When `index` or `time` go back, or a count is about to be wrong: a crash beats a corrupt count.
    pub fn apply(&mut self, index: LogIndex, time: Timestamp, command: &Command) -> Result<Reply, Refusal> {
        todo!()
    }

    /// Log index of the last command applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Stamp of the last command applied.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Digest of the whole state, kept incrementally. Does not depend on the index.
    #[must_use]
    pub fn state_hash(&self) -> StateHash {
        todo!()
    }

    /// Earliest cluster time at which an `Expire` command has work to do. Never late; it may be early, when timers have to be sorted.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        todo!()
    }

    /// Hands over the products that changed since the last call.
    pub fn drain_touched(&mut self, sink: &mut dyn FnMut(ProductId)) {
        todo!()
    }

    /// What the gate needs to know of a product.
    #[must_use]
    pub fn gate_view(&self, product: ProductId) -> Option<GateView> {
        todo!()
    }

    /// Whether the reservation is known, live or retained.
    #[must_use]
    pub fn knows(&self, reservation: ReservationId) -> bool {
        todo!()
    }

    /// The refusal that `apply` would give at `time`; `None` if it would grant or replay.
    #[must_use]
    pub fn refuse_reserve(&self, time: Timestamp, reserve: &Reserve) -> Option<Refusal> {
        todo!()
    }

    /// One product.
    ///
    /// # Errors
    /// [`Refusal::UnknownProduct`].
    pub fn product(&self, product: ProductId) -> Result<ProductView, Refusal> {
        todo!()
    }

    /// Products with a greater id than `after`, by id, at most `limit` (and at most a page).
    #[must_use]
    pub fn products(&self, after: ProductId, limit: u32) -> Vec<ProductView> {
        todo!()
    }

    /// One reservation, if it is the user's.
    ///
    /// # Errors
    /// [`Refusal::UnknownProduct`], [`Refusal::UnknownReservation`].
    pub fn reservation(&self, target: &Target) -> Result<ReservationView, Refusal> {
        todo!()
    }

    /// A reservation of whatever product.
    ///
    /// # Errors
    /// [`Refusal::UnknownReservation`].
    pub fn find(&self, reservation: ReservationId) -> Result<ReservationView, Refusal> {
        todo!()
    }

    /// Reservations with a greater id than `after`, live and retained, by id, at most `limit` (and at most a page).
    #[must_use]
    pub fn reservations(&self, after: ReservationId, limit: u32) -> Vec<ReservationView> {
        todo!()
    }

    /// The order feed behind `after`, at most `limit` entries (and at most a page).
    #[must_use]
    pub fn feed(&self, after: FeedPosition, limit: u32) -> FeedPage {
        todo!()
    }

    /// Recounts everything against the kept counters and the digest.
    #[must_use]
    pub fn audit(&self) -> AuditReport {
        todo!()
    }

    /// A copy-on-write copy of the state, cheap to take.
    #[must_use]
    pub fn freeze(&mut self) -> Frozen {
        todo!()
    }

    /// Reads back what [`Frozen::write_to`] wrote. Total: any bytes give a state or an error.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn restore(shard: ShardId, limits: Limits, bytes: &[u8]) -> Result<Self, SnapshotError> {
        todo!()
    }
}
