//! Logs that have an entry of the same index and term agree on it and on all before it.
//!
//! Source: Ongaro and Ousterhout, figure 3, Log Matching. By induction it is enough that they agree on the entry itself
//! and on the term of the one before.
//! Does not see: the entry before the first that a node appends after a restart or a snapshot (what its log kept is not
//! observed), entries that are damaged on disk (the log's own checksums, and `state_machine_safety`).

use std::collections::BTreeMap;

use bytes::Bytes;
use doorbuster_protocol::types::{NodeId, ShardId};

use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{LogEntry, Observation, Seen};

/// See the module.
#[derive(Debug, Default)]
pub struct LogMatching {
    /// By shard, index and term: the bytes, and the term of the entry before, if that was seen.
    entries: BTreeMap<(ShardId, u64, u64), (Bytes, Option<u64>)>,
    /// What each log is known to have: terms by index.
    logs: BTreeMap<(NodeId, ShardId), BTreeMap<u64, u64>>,
}

impl LogMatching {
    fn append(&mut self, node: NodeId, shard: ShardId, entries: &[LogEntry]) -> Result<(), String> {
        let log = self.logs.entry((node, shard)).or_default();
        let Some(first) = entries.first() else { return Ok(()) };
        log.split_off(&first.index.0);
        for entry in entries {
            let index = entry.index.0;
            let before = if index == 1 { Some(0) } else { log.get(&(index - 1)).copied() };
            log.insert(index, entry.term);
            let here = (entry.payload.clone(), before);
            let known = self.entries.entry((shard, index, entry.term)).or_insert_with(|| here.clone());
            if known.0 != here.0 {
                return Err(format!(
                    "node {node} appends another entry {index} of term {} to shard {shard}",
                    entry.term
                ));
            }
            match (known.1, before) {
                (Some(known), Some(before)) if known != before => {
                    return Err(format!(
                        "node {node} has entry {index} of term {} of shard {shard} behind one of term {before}, another \
                         log behind one of term {known}",
                        entry.term
                    ));
                }
                (None, before) => known.1 = before,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Checker for LogMatching {
    fn property(&self) -> &'static str {
        "log_matching"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        match &seen.what {
            Observation::Appends { node, shard, entries, .. } => {
                self.append(*node, *shard, entries).map_err(|what| Violation::of(self.property(), what))
            }
            Observation::Started { node } => {
                self.logs.retain(|(of, _), _| of != node);
                Ok(())
            }
            Observation::Covered { node, shard, index, term } => {
                let log = self.logs.entry((*node, *shard)).or_default();
                *log = log.split_off(&(index.0 + 1));
                log.insert(index.0, *term);
                Ok(())
            }
            // A snapshot may have replaced the log.
            Observation::Applied { node, shard, entries: [], .. } => {
                self.logs.remove(&(*node, *shard));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::types::LogIndex;

    use super::*;
    use crate::history::Moment;

    fn entry(index: u64, term: u64, payload: &'static str) -> LogEntry {
        LogEntry { index: LogIndex(index), term, payload: Bytes::from_static(payload.as_bytes()) }
    }

    fn append(checker: &mut LogMatching, node: u16, entries: &[LogEntry]) -> Result<(), Violation> {
        let what = Observation::Appends { node: NodeId(node), shard: ShardId(0), entries, hard_state: None };
        checker.see(&Seen { at: Moment(0), what })
    }

    #[test]
    fn logs_may_differ_in_their_ends() {
        let mut checker = LogMatching::default();
        append(&mut checker, 1, &[entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")]).unwrap();
        append(&mut checker, 2, &[entry(1, 1, "a"), entry(2, 2, "x")]).unwrap();
        append(&mut checker, 1, &[entry(2, 2, "x"), entry(3, 2, "y")]).unwrap();
        assert_eq!(append(&mut checker, 2, &[entry(3, 2, "y")]), Ok(()));
    }

    #[test]
    fn a_snapshot_takes_the_place_of_what_stood_there() {
        for (term, fine) in [(2, true), (1, false)] {
            let mut checker = LogMatching::default();
            append(&mut checker, 1, &[entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")]).unwrap();
            append(&mut checker, 2, &[entry(1, 1, "a"), entry(2, 2, "x"), entry(3, 2, "y")]).unwrap();
            let what = Observation::Covered { node: NodeId(1), shard: ShardId(0), index: LogIndex(2), term };
            checker.see(&Seen { at: Moment(0), what }).unwrap();
            assert_eq!(append(&mut checker, 1, &[entry(3, 2, "y")]).is_ok(), fine, "{term}");
        }
    }

    #[test]
    fn one_index_and_term_is_one_entry() {
        let mut checker = LogMatching::default();
        append(&mut checker, 1, &[entry(1, 1, "a")]).unwrap();
        assert!(append(&mut checker, 2, &[entry(1, 1, "b")]).is_err());
    }

    #[test]
    fn before_an_equal_entry_logs_are_equal() {
        let mut checker = LogMatching::default();
        append(&mut checker, 1, &[entry(1, 1, "a"), entry(2, 3, "b")]).unwrap();
        append(&mut checker, 2, &[entry(1, 2, "x")]).unwrap();
        assert!(append(&mut checker, 2, &[entry(2, 3, "b")]).is_err());
    }

    #[test]
    fn after_a_restart_nothing_is_presumed_of_what_was_kept() {
        let mut checker = LogMatching::default();
        append(&mut checker, 1, &[entry(1, 1, "a"), entry(2, 3, "b")]).unwrap();
        append(&mut checker, 2, &[entry(1, 2, "x")]).unwrap();
        checker.see(&Seen { at: Moment(0), what: Observation::Started { node: NodeId(2) } }).unwrap();
        assert_eq!(append(&mut checker, 2, &[entry(2, 3, "b")]), Ok(()));
    }
}
