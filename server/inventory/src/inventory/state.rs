//! An inventory without what follows from the rest of it: what a snapshot has to carry.

use std::collections::BTreeMap;

use doorbuster_planted::{self as planted, Bug};
use doorbuster_protocol::types::{FeedPosition, LogIndex, ShardId, StateHash, Timestamp};

use super::Inventory;
use crate::feed::Feed;
use crate::limits::Limits;
use crate::operations::Operations;
use crate::product::Product;
use crate::reservations::Reservations;
use crate::snapshot::{Frozen, FrozenProduct, SnapshotError};
use crate::unsettled::Unsettled;
use crate::users::Users;

/// See the module. Its products have different ids.
pub(crate) struct State {
    pub(crate) shard: ShardId,
    pub(crate) limits: Limits,
    pub(crate) applied: LogIndex,
    pub(crate) time: Timestamp,
    pub(crate) products: Vec<Product>,
    pub(crate) reservations: Reservations,
    pub(crate) users: Users,
    pub(crate) operations: Operations,
    pub(crate) feed: Feed,
}

impl State {
    pub(crate) fn empty(shard: ShardId, limits: Limits) -> Self {
        Self {
            shard,
            limits,
            applied: LogIndex(0),
            time: Timestamp(0),
            products: Vec::new(),
            reservations: Reservations::new(limits.retention),
            users: Users::new(),
            operations: Operations::new(),
            feed: Feed::acknowledged_up_to(FeedPosition(0)),
        }
    }
}

impl From<State> for Inventory {
    fn from(state: State) -> Self {
        let State { shard, limits, applied, time, mut products, reservations, users, operations, feed } = state;
        let mut unsettled = Unsettled::default();
        for (_, reservation) in reservations.iter() {
            unsettled.add(&reservation);
            if reservation.state.is_live() {
                products[reservation.product as usize].deadlines.add(reservation.expires);
            }
        }
        let mut inventory = Self {
            shard,
            limits,
            applied,
            time,
            products: Vec::new(),
            places: BTreeMap::new(),
            products_digest: 0,
            reservations,
            users,
            operations,
            feed,
            unsettled,
            touched: Vec::new(),
        };
        for product in products {
            let place = inventory.add_product(product);
            inventory.change_product(place, |_| {});
        }
        inventory
    }
}

impl Inventory {
    /// A copy of the state that shares its pages until either side changes them: pointers are copied, records are not.
    #[must_use]
    pub fn freeze(&mut self) -> Frozen {
        let (mut state_hash, mut operations) = (self.state_hash(), self.operations.journal().clone());
        if planted::on(Bug::SnapshotWithoutIdempotency) {
            // Planted: what was answered to which id is not part of the state.
            state_hash = StateHash(state_hash.get().wrapping_sub(self.operations.digest()));
            operations = Operations::new().journal().clone();
        }
        let products = self.products.iter();
        let products = products.map(|product| FrozenProduct {
            spec: product.spec.clone(),
            units: product.units,
            sale: product.sale,
        });
        Frozen {
            shard: self.shard,
            applied: self.applied,
            time: self.time,
            state_hash,
            products: products.collect(),
            reservations: self.reservations.freeze(),
            users: self.users.clone(),
            operations,
            feed: self.feed.clone(),
        }
    }

    /// Reads back what [`Frozen::write_to`] wrote. Total: any bytes give a state or an error, and take no more
    /// memory than their own length justifies.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn restore(shard: ShardId, limits: Limits, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (state, state_hash) = crate::snapshot::read(shard, limits, bytes)?;
        let inventory = Self::from(state);
        let report = inventory.audit();
        // With a bug planted, the recount must not see it first.
        let report = (!planted::on(Bug::ExpiryIndexLost)).then_some(report);
        if let Some(problem) = report.into_iter().flat_map(|report| report.problems).next() {
            return Err(SnapshotError::Inconsistent(problem));
        }
        if inventory.state_hash() != state_hash {
            return Err(SnapshotError::Inconsistent(format!(
                "its state hash is {}, and it says {state_hash}",
                inventory.state_hash()
            )));
        }
        Ok(inventory)
    }
}
