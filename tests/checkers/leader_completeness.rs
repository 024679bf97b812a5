//! A leader has every entry that was committed in an earlier term.
//!
//! Source: Ongaro and Ousterhout, figure 3, Leader Completeness.
//! What is not observed is in which term an entry was committed; it was not later than the newest term that anybody
//! had led in when it was first applied, and that is what is used. Of a leader's log is known what was seen of its
//! appends, and that its first own entry stands right behind the rest: an entry of its term at a committed index shows
//! that it lacks what was committed there.
//! Does not see: a leader that lacks entries and never appends.

use std::collections::BTreeMap;

use doorbuster_protocol::types::{NodeId, ShardId};

use super::ledger::SharedLedger;
use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{LogEntry, Observation, Seen};

/// See the module.
#[derive(Debug)]
pub struct LeaderCompleteness {
    ledger: SharedLedger,
    shards: BTreeMap<ShardId, Terms>,
    /// Terms of the entries that each log is known to have.
    logs: BTreeMap<(NodeId, ShardId), BTreeMap<u64, u64>>,
}

#[derive(Debug, Default)]
struct Terms {
    /// The newest that anybody led in.
    newest: u64,
    /// By committed index, in order: no later than in this term it was committed. Entry `i` stands at `i - 1`.
    committed_in: Vec<u64>,
}

impl LeaderCompleteness {
    /// Takes what was committed from this ledger.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger, shards: BTreeMap::new(), logs: BTreeMap::new() }
    }

    fn commits(&mut self, shard: ShardId) {
        let terms = self.shards.entry(shard).or_default();
        let last = usize::try_from(self.ledger.borrow().last(shard)).unwrap_or(usize::MAX);
        terms.committed_in.resize(last.max(terms.committed_in.len()), terms.newest);
    }

    fn leads(&mut self, node: NodeId, shard: ShardId, term: u64) -> Result<(), String> {
        let terms = self.shards.entry(shard).or_default();
        terms.newest = terms.newest.max(term);
        let ledger = self.ledger.borrow();
        let (Some(log), Some(committed)) = (self.logs.get(&(node, shard)), ledger.shard(shard)) else { return Ok(()) };
        let other = log.iter().find(|(index, has)| {
            let earlier = terms.is_committed_before(**index, term);
            earlier && committed.entry(**index).is_some_and(|committed| committed.term != **has)
        });
        other.map_or(Ok(()), |(index, has)| {
            Err(format!(
                "node {node} leads shard {shard} in term {term} and has an entry of term {has} at index {index}, where \
                 one of term {:?} was committed",
                committed.entry(*index).map(|entry| entry.term)
            ))
        })
    }

    fn append(&mut self, node: NodeId, shard: ShardId, entries: &[LogEntry]) -> Result<(), String> {
        let log = self.logs.entry((node, shard)).or_default();
        if let Some(first) = entries.first() {
            log.split_off(&first.index.0);
        }
        log.extend(entries.iter().map(|entry| (entry.index.0, entry.term)));
        let Some(terms) = self.shards.get(&shard) else { return Ok(()) };
        let ledger = self.ledger.borrow();
        let Some(committed) = ledger.shard(shard) else { return Ok(()) };
        for entry in entries {
            let earlier = terms.is_committed_before(entry.index.0, entry.term);
            let Some(there) = committed.entry(entry.index.0).filter(|there| earlier && there.term != entry.term) else {
                continue;
            };
            return Err(format!(
                "node {node} appends entry {} of term {} to shard {shard}, where one of term {} had been committed: the \
                 leader of term {} lacks it",
                entry.index, entry.term, there.term, entry.term
            ));
        }
        Ok(())
    }
}

impl Terms {
    fn is_committed_before(&self, index: u64, term: u64) -> bool {
        let at = usize::try_from(index).unwrap_or(usize::MAX).checked_sub(1);
        at.and_then(|at| self.committed_in.get(at)).is_some_and(|committed| *committed < term)
    }
}

impl Checker for LeaderCompleteness {
    fn property(&self) -> &'static str {
        "leader_completeness"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let found = match &seen.what {
            Observation::Leads { node, shard, term } => self.leads(*node, *shard, *term),
            Observation::Appends { node, shard, entries, .. } => self.append(*node, *shard, entries),
            Observation::Applied { node, shard, entries, .. } => {
                self.commits(*shard);
                // A snapshot or a restart: what the log has now was not seen.
                if entries.is_empty() {
                    self.logs.remove(&(*node, *shard));
                }
                Ok(())
            }
            // A snapshot has taken the place of what the log had up to there.
            Observation::Covered { node, shard, index, term } => {
                let log = self.logs.entry((*node, *shard)).or_default();
                *log = log.split_off(&(index.0 + 1));
                log.insert(index.0, *term);
                Ok(())
            }
            Observation::Started { node } => {
                self.logs.retain(|(of, _), _| of != node);
                Ok(())
            }
            _ => Ok(()),
        };
        found.map_err(|what| Violation::of(self.property(), what))
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::types::LogIndex;

    use super::super::stage::{NODES, SHARD, Stage, product, property};
    use super::*;

    /// Node 1 leads in term 1, and has committed two entries.
    fn stage() -> Stage {
        let mut stage = Stage::new(|ledger| vec![Box::new(LeaderCompleteness::new(ledger))]);
        stage.show(Observation::Leads { node: NODES[0], shard: SHARD, term: 1 }).unwrap();
        stage.run(&[product(1, 5)]).unwrap();
        stage.run(&[product(2, 5)]).unwrap();
        stage
    }

    fn append(stage: &mut Stage, node: NodeId, index: u64, term: u64) -> Result<(), Violation> {
        let entries = [LogEntry { index: LogIndex(index), term, payload: bytes::Bytes::new() }];
        stage.show(Observation::Appends { node, shard: SHARD, entries: &entries, hard_state: None })
    }

    #[test]
    fn a_leader_goes_on_behind_what_was_committed() {
        let mut stage = stage();
        stage.show(Observation::Leads { node: NODES[1], shard: SHARD, term: 2 }).unwrap();
        assert_eq!(append(&mut stage, NODES[1], 3, 2), Ok(()));
    }

    #[test]
    fn a_leader_that_lacks_what_was_committed_is_found() {
        let mut stage = stage();
        stage.show(Observation::Leads { node: NODES[1], shard: SHARD, term: 2 }).unwrap();
        assert_eq!(property(append(&mut stage, NODES[1], 2, 2)), "leader_completeness");
    }

    #[test]
    fn a_leader_with_another_entry_at_a_committed_index_is_found() {
        let mut stage = stage();
        append(&mut stage, NODES[2], 2, 0).unwrap();
        let leads = Observation::Leads { node: NODES[2], shard: SHARD, term: 2 };
        assert_eq!(property(stage.show(leads)), "leader_completeness");
    }

    #[test]
    fn a_snapshot_takes_the_place_of_what_stood_there() {
        for (term, fine) in [(1, true), (0, false)] {
            let mut stage = stage();
            append(&mut stage, NODES[2], 2, 0).unwrap();
            let covered = Observation::Covered { node: NODES[2], shard: SHARD, index: LogIndex(2), term };
            stage.show(covered).unwrap();
            let leads = Observation::Leads { node: NODES[2], shard: SHARD, term: 2 };
            assert_eq!(stage.show(leads).is_ok(), fine, "{term}");
        }
    }

    #[test]
    fn a_leader_of_an_old_term_may_still_append_what_it_has() {
        let mut stage = stage();
        stage.show(Observation::Leads { node: NODES[1], shard: SHARD, term: 5 }).unwrap();
        stage.term = 5;
        stage.run(&[product(3, 5)]).unwrap();
        assert_eq!(append(&mut stage, NODES[0], 3, 1), Ok(()), "it was cut off, and this will not be committed");
    }
}
