//! What one replica's log must bring back after a restart: everything that was synced, and of what was appended behind it
//! a beginning. Terms and votes are part of it.

use std::collections::BTreeMap;

use doorbuster_raft::{Append, HardState, NodeStatus};

/// A log, by its entries' terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    terms: BTreeMap<u64, u64>,
    hard: HardState,
    mark: u64,
}

impl State {
    fn append(&mut self, append: &Step) {
        if let Some(mark) = append.mark.filter(|(index, _)| *index > self.mark) {
            if self.terms.get(&mark.0) == Some(&mark.1) {
                self.terms = self.terms.split_off(&(mark.0 + 1));
            } else {
                self.terms.clear();
            }
            self.mark = mark.0;
        }
        if let Some((first, _)) = append.entries.first() {
            self.terms.split_off(first);
            self.terms.extend(append.entries.iter().copied());
        }
        if let Some(hard) = append.hard_state {
            self.hard = hard;
        }
    }

    fn last(&self) -> u64 {
        self.terms.last_key_value().map_or(self.mark, |(index, _)| *index)
    }
}

/// One append, without its data.
#[derive(Clone, Debug)]
struct Step {
    entries: Vec<(u64, u64)>,
    hard_state: Option<HardState>,
    mark: Option<(u64, u64)>,
}

/// What a restarted replica says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) term: u64,
    pub(super) vote: u64,
    pub(super) snapshot: u64,
    pub(super) last: u64,
    /// Index and term of every entry in memory.
    pub(super) entries: Vec<(u64, u64)>,
}

impl Found {
    pub(super) fn of(status: &NodeStatus, hard: HardState, entries: Vec<(u64, u64)>) -> Self {
        let last = entries.last().map_or(status.snapshot.index, |(index, _)| *index);
        Self { term: hard.term, vote: hard.vote, snapshot: status.snapshot.index, last, entries }
    }
}

/// The log of one replica, as the world saw it written.
#[derive(Clone, Debug, Default)]
pub(super) struct Shadow {
    durable: State,
    pending: Vec<Step>,
}

impl Shadow {
    /// Appended, not on disk yet. True if it replaces entries.
    pub(super) fn append(&mut self, append: &Append) -> bool {
        let step = Step {
            entries: append.entries.iter().map(|entry| (entry.index, entry.term)).collect(),
            hard_state: append.hard_state,
            mark: append.mark.map(|mark| (mark.index, mark.term)),
        };
        let last = self.pending.iter().rev().find_map(|step| step.entries.last()).map(|(index, _)| *index);
        let last = last.unwrap_or_else(|| self.durable.last());
        let replaces = step.entries.first().is_some_and(|(first, _)| *first <= last);
        self.pending.push(step);
        replaces
    }

    /// Everything appended so far is on disk.
    pub(super) fn synced(&mut self) {
        for step in std::mem::take(&mut self.pending) {
            self.durable.append(&step);
        }
    }

    /// A process has started and says what it found. What it has is the truth from now on.
    ///
    /// # Errors
    /// Something that was on disk is not there.
    pub(super) fn restarted(&mut self, found: &Found) -> Result<(), String> {
        let mut state = self.durable.clone();
        let mut fits = explains(&state, found);
        for step in std::mem::take(&mut self.pending) {
            if fits {
                break;
            }
            state.append(&step);
            fits = explains(&state, found);
        }
        let was = std::mem::take(&mut self.durable);
        self.durable.terms = found.entries.iter().copied().collect();
        self.durable.mark = found.snapshot;
        self.durable.hard = HardState { term: found.term, vote: found.vote, commit: 0 };
        if fits {
            return Ok(());
        }
        let (last, hard) = (was.last(), was.hard);
        Err(format!(
            "its log came back to index {} in term {} with a vote for {}, snapshot {}; on disk it was at index {last}, {hard:?}",
            found.last, found.term, found.vote, found.snapshot
        ))
    }
}

/// Whether a replica with this log may say so. A snapshot may be newer than the log knows.
fn explains(state: &State, found: &Found) -> bool {
    let hard = found.term == state.hard.term && found.vote == state.hard.vote
        || found.term > state.hard.term && found.snapshot > state.mark && found.vote == 0;
    let covered = state.last() <= found.snapshot && found.entries.is_empty() && found.last == found.snapshot;
    let entries = found.last == state.last()
        && state.terms.iter().filter(|(index, _)| **index > found.snapshot).all(|(index, term)| {
            found.entries.binary_search_by_key(index, |(index, _)| *index).is_ok_and(|at| found.entries[at].1 == *term)
        });
    // A snapshot of another history replaces all of the log.
    let replaced = found.snapshot > state.mark && found.entries.is_empty();
    hard && found.snapshot >= state.mark && (covered || entries || replaced)
}

#[cfg(test)]
mod tests {
    use doorbuster_raft::{Entry, EntryKind};

    use super::*;

    fn append(first: u64, terms: &[u64], vote: u64) -> Append {
        let entries = (first..).zip(terms).map(|(index, term)| Entry {
            index,
            term: *term,
            kind: EntryKind::Normal,
            data: vec![1].into(),
        });
        let hard_state = terms.last().map(|term| HardState { term: *term, vote, commit: 0 });
        Append { shard: 0, ticket: 1, entries: entries.collect(), hard_state, mark: None }
    }

    fn found(term: u64, vote: u64, entries: &[(u64, u64)]) -> Found {
        let last = entries.last().map_or(0, |(index, _)| *index);
        Found { term, vote, snapshot: 0, last, entries: entries.to_vec() }
    }

    #[test]
    fn what_was_synced_must_come_back() {
        let mut shadow = Shadow::default();
        shadow.append(&append(1, &[1, 1], 2));
        shadow.synced();
        assert!(shadow.append(&append(2, &[2], 3)), "it replaces an entry");
        assert!(shadow.clone().restarted(&found(1, 2, &[(1, 1), (2, 1)])).is_ok());
        assert!(shadow.clone().restarted(&found(2, 3, &[(1, 1), (2, 2)])).is_ok(), "unsynced appends may be there");
        assert!(shadow.clone().restarted(&found(1, 2, &[(1, 1)])).is_err(), "an entry is gone");
        assert!(shadow.clone().restarted(&found(1, 0, &[(1, 1), (2, 1)])).is_err(), "a vote is gone");
        assert!(shadow.clone().restarted(&found(2, 3, &[(1, 1), (2, 1)])).is_err(), "half of an append");
    }
}
