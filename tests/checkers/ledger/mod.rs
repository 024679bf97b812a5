//! What was committed: each shard's log as its replicas applied it, replayed once by the model, with every version of
//! what is in it. The checkers that judge by the log share one.
//!
//! An entry counts as committed when some replica has applied it. The state that a client can see is that between
//! entries, so versions are kept by the index of the entry they follow.
//!
//! Nothing of the product decides what the model does, with one exception: which of the reservations that are due an
//! `Expire` takes (its work is bounded) is read off the first replica that applied it. That they were due is the
//! model's to say.

mod shard;
mod versions;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use doorbuster_inventory::Inventory;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{ShardId, Timestamp, shard_of};

use super::Config;
use crate::history::Moment;
use crate::observation::{Observation, Seen};

pub use shard::{Committed, Done, Key, ShardLedger, key};
pub use versions::Versions;

/// A ledger that several checkers look into. The first of them, `StateMachineSafety`, keeps it up to date.
pub type SharedLedger = Rc<RefCell<Ledger>>;

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    config: Config,
    shards: BTreeMap<ShardId, ShardLedger>,
    /// Cluster time as the world knows it, whenever it was told.
    times: Vec<(Moment, Timestamp)>,
}

impl Ledger {
    /// Nothing was committed.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, shards: BTreeMap::new(), times: Vec::new() }
    }

    /// The same, to be shared.
    #[must_use]
    pub fn shared(config: Config) -> SharedLedger {
        Rc::new(RefCell::new(Self::new(config)))
    }

    /// What the world is like.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes in what a replica has applied.
    ///
    /// # Errors
    /// In words: it is not what another replica applied there, or what nobody can have applied.
    pub fn observe(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Observation::Applied { node, shard, entries, inventory, cluster_time } = &seen.what else { return Ok(()) };
        if self.times.last().is_none_or(|(at, time)| *at != seen.at || time != cluster_time) {
            self.times.push((seen.at, *cluster_time));
        }
        let limits = self.config.limits;
        let ledger = self.shards.entry(*shard).or_insert_with(|| ShardLedger::new(limits));
        for entry in *entries {
            let taken = ledger.take(entry, seen.at, *cluster_time, Some(inventory));
            taken.map_err(|what| format!("node {node}, shard {shard}: {what}"))?;
        }
        Ok(())
    }

    /// One shard's log, if anything of it was applied.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&ShardLedger> {
        self.shards.get(&shard)
    }

    /// All shards' logs.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, &ShardLedger)> {
        self.shards.iter().map(|(shard, ledger)| (*shard, ledger))
    }

    /// The newest index of a shard that is committed.
    #[must_use]
    pub fn last(&self, shard: ShardId) -> u64 {
        self.shards.get(&shard).map_or(0, ShardLedger::last)
    }

    /// The shard that answers a request; none if any node does, for itself.
    #[must_use]
    pub fn shard_of(&self, body: &RequestBody) -> Option<ShardId> {
        let of = |product| Some(shard_of(product, self.config.shards));
        match body {
            RequestBody::Command(doorbuster_protocol::command::Command::AcknowledgeFeed { shard, .. }) => Some(*shard),
            RequestBody::Command(command) => command.product().and_then(of),
            RequestBody::Query(query) => match query {
                Query::Reservation(target) => of(target.product),
                Query::Product(product) => of(*product),
                Query::FindReservation { shard, .. }
                | Query::Products { shard, .. }
                | Query::Reservations { shard, .. }
                | Query::Unsettled { shard, .. }
                | Query::Feed { shard, .. } => Some(*shard),
                Query::Audit { .. } | Query::Status | Query::ShardMap => None,
            },
        }
    }

    /// Cluster time at a moment: what the world last said before it, plus the time since. The first that it said, for
    /// moments before.
    #[must_use]
    pub fn cluster_time(&self, at: Moment) -> Timestamp {
        let after = self.times.partition_point(|(told, _)| *told <= at);
        match after.checked_sub(1).map_or_else(|| self.times.first(), |before| self.times.get(before)) {
            Some((told, time)) if *told <= at => Timestamp(time.0 + (at.0 - told.0) / 1_000_000),
            Some((told, time)) => Timestamp(time.0.saturating_sub((told.0 - at.0) / 1_000_000)),
            None => Timestamp(0),
        }
    }
}

/// The index of the state that an inventory has.
#[must_use]
pub fn index_of(inventory: &Inventory) -> u64 {
    inventory.applied().0
}
