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

#[cfg(test)]
mod tests {
    use super::super::stage::{NODES, SHARD, Stage, product, property, reserve};
    use super::*;
    use crate::observation::LogEntry;
    use doorbuster_inventory::Inventory;
    use doorbuster_protocol::types::LogIndex;

    fn stage() -> Stage {
        let mut stage = Stage::new(|ledger| vec![Box::new(StateHashes::new(ledger))]);
        stage.run(&[product(1, 5)]).unwrap();
        stage.run(&[reserve(1)]).unwrap();
        stage
    }

    #[test]
    fn equal_states_pass_also_after_a_snapshot() {
        let mut stage = stage();
        let mut bytes = Vec::new();
        stage.replicas.get_mut(&NODES[0]).unwrap().freeze().write_to(&mut bytes).unwrap();
        stage.replicas.insert(NODES[1], Inventory::restore(SHARD, Default::default(), &bytes).unwrap());
        assert_eq!(stage.shown_bare(NODES[1]), Ok(()));
    }

    #[test]
    fn another_state_at_one_index_is_found() {
        let mut stage = stage();
        let (time, index) = (stage.time(), LogIndex(2));
        stage.replicas.get_mut(&NODES[1]).unwrap().apply(index, time, &reserve(2)).unwrap();
        assert_eq!(property(stage.shown_bare(NODES[1])), "state_hash");
    }

    #[test]
    fn a_proposer_with_another_state_is_found() {
        use doorbuster_server::shard::entry::{Builder, Header};
        let mut stage = stage();
        let header = Header { stamp: stage.time(), checked: LogIndex(2), hash: StateHash(17) };
        let mut entry = Builder::new(header);
        entry.push(&reserve(3));
        stage.log.push(LogEntry { index: LogIndex(3), term: 1, payload: entry.finish() });
        assert_eq!(property(stage.apply(NODES[0], &[reserve(3)])), "state_hash");
    }
}
