//! No two replicas apply different entries at one index, and none goes back.
//!
//! Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", figure 3, State Machine Safety.
//! Also keeps the shared ledger up to date: it stands before all checkers that judge by the log.
//! Does not see: entries that were committed and never applied by anybody; what a snapshot brought, for which there are
//! `state_hash` and `conservation`.

use std::collections::BTreeMap;

use doorbuster_protocol::types::{NodeId, ShardId};

use super::ledger::{SharedLedger, index_of};
use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{Observation, Seen};

/// See the module.
#[derive(Debug)]
pub struct StateMachineSafety {
    ledger: SharedLedger,
    /// Where each replica is.
    applied: BTreeMap<(NodeId, ShardId), u64>,
}

impl StateMachineSafety {
    /// Keeps this ledger.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger, applied: BTreeMap::new() }
    }

    fn goes_on(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match &seen.what {
            Observation::Started { node } => self.applied.retain(|(of, _), _| of != node),
            Observation::Applied { node, shard, entries, inventory, .. } => {
                let last = entries.last().map_or(0, |entry| entry.index.0).max(index_of(inventory));
                let before = self.applied.insert((*node, *shard), last).unwrap_or(0);
                let first = entries.first().map(|entry| entry.index.0);
                let gaps = entries.windows(2).any(|pair| pair[0].index.0 + 1 != pair[1].index.0);
                if last < before || first.is_some_and(|first| first <= before) || gaps {
                    return Err(format!(
                        "node {node} had applied shard {shard} up to {before}, and now {:?}: its state is that of {}",
                        entries.iter().map(|entry| entry.index.0).collect::<Vec<_>>(),
                        index_of(inventory)
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Checker for StateMachineSafety {
    fn property(&self) -> &'static str {
        "state_machine_safety"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let observed = self.ledger.borrow_mut().observe(seen);
        observed.and_then(|()| self.goes_on(seen)).map_err(|what| Violation::of(self.property(), what))
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{NODES, SHARD, Stage, product, property, reserve};
    use super::*;

    fn stage() -> Stage {
        let mut stage = Stage::new(|_| Vec::new());
        stage.run(&[product(1, 5)]).unwrap();
        stage
    }

    #[test]
    fn equal_logs_pass() {
        let mut stage = stage();
        for id in 1..5 {
            stage.run(&[reserve(id)]).unwrap();
        }
        assert_eq!(stage.conclude(), Ok(()));
    }

    #[test]
    fn another_entry_at_one_index_is_found() {
        for (term, id) in [(1, 2), (2, 1)] {
            let mut stage = stage();
            let first = stage.entry(&[reserve(1)]);
            stage.log.push(first);
            stage.apply(NODES[0], &[reserve(1)]).unwrap();
            stage.log.pop();
            stage.term = term;
            let other = stage.entry(&[reserve(id)]);
            stage.log.push(other);
            assert_eq!(property(stage.apply(NODES[1], &[reserve(id)])), "state_machine_safety");
        }
    }

    #[test]
    fn a_replica_goes_back_only_by_a_restart() {
        let mut stage = stage();
        stage.run(&[reserve(1)]).unwrap();
        let old = stage.replicas.remove(&NODES[2]).unwrap();
        stage.replicas.insert(NODES[2], doorbuster_inventory::Inventory::new(SHARD, Default::default()));
        assert_eq!(property(stage.shown_bare(NODES[2])), "state_machine_safety");
        stage.show(Observation::Started { node: NODES[2] }).unwrap();
        assert_eq!(stage.shown_bare(NODES[2]), Ok(()));
        assert_eq!(index_of(&old), 2);
    }

    #[test]
    fn an_entry_that_nobody_proposed_in_a_way_one_can_read_is_found() {
        let mut stage = stage();
        let mut entry = stage.entry(&[reserve(1)]);
        entry.payload = bytes::Bytes::from_static(b"nonsense");
        stage.log.push(entry);
        assert_eq!(property(stage.apply(NODES[0], &[])), "state_machine_safety");
    }
}
