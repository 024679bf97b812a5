//! Equal index, equal state hash: on every replica, after a snapshot or a restart too, and as the proposers say.
//!
//! Source: DESIGN section 3, "equal index, equal state hash on every replica: RULE".
//! Does not see: a state that is wrong on all replicas alike (`conservation` does), states in the middle of a turn.

use std::collections::BTreeMap;

use doorbuster_protocol::types::{NodeId, ShardId, StateHash};

use super::ledger::{SharedLedger, index_of};
use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{Observation, Seen};

/// See the module.
#[derive(Debug)]
pub struct StateHashes {
    ledger: SharedLedger,
    seen: BTreeMap<(ShardId, u64), (StateHash, NodeId)>,
}

impl StateHashes {
    /// Reads what proposers say from this ledger.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger, seen: BTreeMap::new() }
    }

    fn compare(&mut self, node: NodeId, shard: ShardId, index: u64, hash: StateHash) -> Result<(), String> {
        let (known, of) = *self.seen.entry((shard, index)).or_insert((hash, node));
        if known == hash {
            return Ok(());
        }
        Err(format!(
            "shard {shard} at index {index} has the state hash {:016x} on node {of} and {:016x} on node {node}",
            known.0, hash.0
        ))
    }
}

impl Checker for StateHashes {
    fn property(&self) -> &'static str {
        "state_hash"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Observation::Applied { node, shard, entries, inventory, .. } = &seen.what else { return Ok(()) };
        let hash = inventory.state_hash();
        let mut compared = self.compare(*node, *shard, index_of(inventory), hash);
        let ledger = self.ledger.borrow();
        let proposers = entries.iter().filter_map(|entry| {
            let (at, hash) = ledger.shard(*shard)?.entry(entry.index.0)?.checked?;
            let (known, of) = self.seen.get(&(*shard, at.0)).filter(|(known, _)| at.0 > 0 && *known != hash)?;
            Some(format!(
                "the proposer of entry {} of shard {shard} had the state hash {:016x} at {at}, node {of} has {:016x}",
                entry.index, hash.0, known.0
            ))
        });
        compared = compared.and(proposers.map(Err).next().unwrap_or(Ok(())));
        drop(ledger);
        compared.map_err(|what| Violation::of(self.property(), what))
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}
