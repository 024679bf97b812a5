//! A model of the order database: one transaction stores a batch and the feed's position, or neither. It fails in all the
//! ways that look alike from outside: before anything was done, or after the commit with the answer lost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use doorbuster_gateway::orders::{Cancelled, Order, StoreError, Stored};
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{FeedPosition, ReservationId, ShardId};

/// See the module.
#[derive(Debug, Default)]
pub struct Database {
    positions: BTreeMap<ShardId, FeedPosition>,
    orders: BTreeMap<ReservationId, Order>,
}

/// A database that several writers use.
pub type Shared = Rc<RefCell<Database>>;

impl Database {
    /// How far a shard's feed is stored.
    #[must_use]
    pub fn position(&self, shard: ShardId) -> FeedPosition {
        self.positions.get(&shard).copied().unwrap_or_default()
    }

    /// Where in the shard's feed the order of a reservation came from; nothing is ever parked here.
    #[must_use]
    pub fn find(&self, shard: ShardId, reservation: ReservationId) -> Vec<FeedPosition> {
        let order = self.orders.get(&reservation).filter(|order| order.shard == shard);
        order.map(|order| order.position).into_iter().collect()
    }

    /// One transaction, under the lock of the position's row. Gives also what it has stored that was not there.
    ///
    /// # Errors
    /// A gap, or an order that is there already with other contents; nothing is stored then.
    pub fn store(&mut self, shard: ShardId, entries: &[FeedEntry]) -> Result<(Stored, Vec<FeedEntry>), StoreError> {
        let stored = self.position(shard);
        let new: Vec<FeedEntry> = entries.iter().filter(|entry| entry.position > stored).copied().collect();
        for (expected, entry) in (stored.get() + 1..).zip(&new) {
            if entry.position.get() != expected {
                return Err(StoreError::Gap { shard, stored, next: entry.position });
            }
            self.check(shard, entry)?;
        }
        for entry in &new {
            self.write(shard, entry);
        }
        let position = new.last().map_or(stored, |last| last.position);
        self.positions.insert(shard, position);
        Ok((Stored { position, entries: new.len() as u64, parked: 0 }, new))
    }

    fn check(&self, shard: ShardId, entry: &FeedEntry) -> Result<(), StoreError> {
        let Some(order) = self.orders.get(&entry.reservation) else { return Ok(()) };
        let goes_on = entry.kind == FeedKind::Refunded || entry.cancelled.is_some();
        if goes_on && order.shard == shard && order.product == entry.product {
            return Ok(());
        }
        let position = i64::try_from(order.position.get()).unwrap_or(i64::MAX);
        let reservation = format!("{:032x}", entry.reservation.get());
        Err(StoreError::Conflict { reservation, shard: i64::from(order.shard.get()), position })
    }

    fn write(&mut self, shard: ShardId, entry: &FeedEntry) {
        let order = self.orders.entry(entry.reservation).or_insert(Order {
            shard,
            position: entry.position,
            product: entry.product,
            reservation: entry.reservation,
            user: entry.user,
            quantity: entry.quantity,
            price: entry.price,
            state: entry.kind,
            late: entry.late,
            created_at: entry.at,
            changed_at: entry.at,
            cancelled: None,
        });
        (order.state, order.changed_at) = (entry.kind, entry.at);
        if let Some(how) = entry.cancelled {
            order.cancelled.get_or_insert(Cancelled { at: entry.at, how });
        }
    }
}
