//! What raft reads its log from: all entries that are not covered by a snapshot, in memory, and some behind it.
//!
//! The view runs ahead of the disk: entries and hard state are visible here as soon as they are handed to the log, because
//! raft wants to send them on while they are written. What is durable, raft counts by itself. A snapshot mark gets here
//! only when the snapshot is durable.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry as RaftEntry, EntryType, HardState as RaftHardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use crate::types::{Entry, EntryKind, HardState, NodeId, Recovered, SnapshotMark};

/// What an entry weighs beside its data.
const ENTRY_OVERHEAD: u64 = 64;

/// See the head of this file.
pub(crate) struct View {
    voters: Vec<NodeId>,
    hard_state: HardState,
    /// The newest durable snapshot.
    mark: SnapshotMark,
    /// The entry before the first one in memory: `mark` or one before it.
    floor: SnapshotMark,
    entries: VecDeque<RaftEntry>,
    bytes: u64,
    trailing_bytes: u64,
    /// Followers that get no snapshot for the moment.
    withheld: Vec<NodeId>,
}

impl View {
    /// Takes over what the log recovered; refuses what contradicts itself.
    pub(crate) fn new(
        voters: Vec<NodeId>,
        trailing_bytes: u64,
        recovered: Recovered,
    ) -> std::result::Result<Self, String> {
        let Recovered { mark, entries, mut hard_state, .. } = recovered;
        let (mut index, mut term) = (mark.index, mark.term);
        for entry in &entries {
            if entry.index != index + 1 || entry.term < term {
                return Err(format!("entry {} (term {}) follows entry {index} (term {term})", entry.index, entry.term));
            }
            (index, term) = (entry.index, entry.term);
        }
        if hard_state.term < term {
            return Err(format!("hard state of term {} beside an entry of term {term}", hard_state.term));
        }
        // The commit index is written lazily, and may have been written just before entries that were torn off.
        hard_state.commit = hard_state.commit.clamp(mark.index, index);
        let mut view = Self {
            voters,
            hard_state,
            mark,
            floor: mark,
            entries: VecDeque::with_capacity(entries.len()),
            bytes: 0,
            trailing_bytes,
            withheld: Vec::new(),
        };
        for entry in entries {
            view.push(to_raft(entry));
        }
        Ok(view)
    }

    /// The newest durable snapshot.
    pub(crate) fn mark(&self) -> SnapshotMark {
        self.mark
    }

    /// The first entry in memory.
    pub(crate) fn first(&self) -> u64 {
        self.floor.index + 1
    }

    /// The last entry; the one before `first` if there is none.
    pub(crate) fn last(&self) -> u64 {
        self.floor.index + self.entries.len() as u64
    }

    /// Bytes of all entries in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The entries behind `after` up to `through`, as far as they are here.
    pub(crate) fn between(&self, after: u64, through: u64) -> Vec<Entry> {
        let skipped = usize::try_from(after.saturating_sub(self.floor.index)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped).take_while(|entry| entry.index <= through).map(from_raft).collect()
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        assert!(hard_state.term >= self.hard_state.term, "the term never goes back");
        assert!(hard_state.commit >= self.hard_state.commit, "the commit index never goes back");
        self.hard_state = hard_state;
    }

    /// Appends, replacing the entries from the first one's index on.
    pub(crate) fn append(&mut self, entries: &[RaftEntry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.mark.index, "entry {} is covered by the snapshot {:?}", first.index, self.mark);
        assert!(first.index <= self.last() + 1, "entry {} leaves a gap after {}", first.index, self.last());
        while self.last() >= first.index {
            let dropped = self.entries.pop_back().expect("last() counts the entries");
            self.bytes -= weight(&dropped);
        }
        for entry in entries {
            self.push(entry.clone());
        }
    }

    /// A snapshot is durable. Keeps some entries behind it, for followers that lag a little.
    pub(crate) fn compact(&mut self, mark: SnapshotMark) {
        assert!(mark.index > self.mark.index && mark.index <= self.last(), "{mark:?} is not in the log");
        self.mark = mark;
        while self.floor.index < mark.index && self.bytes > self.trailing_bytes {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= weight(&entry);
            self.floor = SnapshotMark { index: entry.index, term: entry.term };
        }
    }

    /// Another node's snapshot takes the place of the whole log.
    pub(crate) fn restore(&mut self, mark: SnapshotMark) {
        assert!(mark.index > self.mark.index, "{mark:?} is older than {:?}", self.mark);
        self.entries.clear();
        self.bytes = 0;
        self.mark = mark;
        self.floor = mark;
    }

    /// From now on `node` gets no snapshot (or does again): raft asks in vain until then.
    pub(crate) fn withhold(&mut self, node: NodeId, withheld: bool) {
        self.withheld.retain(|&other| other != node);
        if withheld {
            self.withheld.push(node);
        }
    }

    pub(crate) fn conf_state(&self) -> ConfState {
        let mut conf_state = ConfState::default();
        conf_state.set_voters(self.voters.clone());
        conf_state
    }

    fn push(&mut self, entry: RaftEntry) {
        assert_eq!(entry.index, self.last() + 1, "entries have no gaps");
        self.bytes += weight(&entry);
        self.entries.push_back(entry);
    }

    fn at(&self, index: u64) -> Option<&RaftEntry> {
        let offset = index.checked_sub(self.first())?;
        self.entries.get(usize::try_from(offset).ok()?)
    }
}

impl Storage for View {
    fn initial_state(&self) -> Result<RaftState> {
        let mut hard_state = RaftHardState::default();
        hard_state.term = self.hard_state.term;
        hard_state.vote = self.hard_state.vote;
        hard_state.commit = self.hard_state.commit;
        Ok(RaftState::new(hard_state, self.conf_state()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> Result<Vec<RaftEntry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut taken = Vec::new();
        let mut size = 0;
        for entry in (low..high).map_while(|index| self.at(index)) {
            size += weight(entry);
            if size > limit && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Ok(taken)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.floor.index {
            return Ok(self.floor.term);
        }
        if index < self.floor.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.at(index).map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> Result<Snapshot> {
        if self.mark.index == 0 || self.mark.index < request_index || self.withheld.contains(&to) {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = self.mark.index;
        metadata.term = self.mark.term;
        metadata.set_conf_state(self.conf_state());
        Ok(snapshot)
    }
}

/// Raft's form of an entry.
pub(crate) fn to_raft(entry: Entry) -> RaftEntry {
    let entry_type = match entry.kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::ConfChange => EntryType::EntryConfChangeV2,
    };
    RaftEntry { index: entry.index, term: entry.term, entry_type, data: entry.data, ..RaftEntry::default() }
}

/// The log's form of an entry; shares the data.
pub(crate) fn from_raft(entry: &RaftEntry) -> Entry {
    let kind = match entry.entry_type {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => EntryKind::ConfChange,
    };
    Entry { index: entry.index, term: entry.term, kind, data: entry.data.clone() }
}

/// What an entry counts for in every limit on bytes.
pub(crate) fn weight(entry: &RaftEntry) -> u64 {
    entry.data.len() as u64 + ENTRY_OVERHEAD
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn entry(index: u64, term: u64, size: usize) -> RaftEntry {
        to_raft(Entry { index, term, kind: EntryKind::Normal, data: Bytes::from(vec![7; size]) })
    }

    fn empty(trailing_bytes: u64) -> View {
        View::new(vec![1, 2, 3], trailing_bytes, Recovered::empty(0)).unwrap()
    }

    fn indexes(view: &View, low: u64, high: u64, limit: u64) -> Vec<u64> {
        let entries = view.entries(low, high, limit, GetEntriesContext::empty(false)).unwrap();
        entries.iter().map(|entry| entry.index).collect()
    }

    #[test]
    fn gives_at_least_one_entry_and_stops_at_the_limit() {
        let mut view = empty(0);
        view.append(&(1..=5).map(|index| entry(index, 1, 100)).collect::<Vec<_>>());
        assert_eq!(indexes(&view, 1, 6, 0), [1]);
        assert_eq!(indexes(&view, 1, 6, 2 * 164), [1, 2]);
        assert_eq!(indexes(&view, 2, 4, u64::MAX), [2, 3]);
    }

    #[test]
    fn a_conflict_replaces_the_tail() {
        let mut view = empty(0);
        view.append(&[entry(1, 1, 10), entry(2, 1, 10), entry(3, 1, 10)]);
        view.append(&[entry(2, 2, 10)]);
        assert_eq!((view.last(), view.term(2), view.bytes()), (2, Ok(2), 2 * 74));
        assert_eq!(view.term(3), Err(Error::Store(StorageError::Unavailable)));
    }

    #[test]
    fn compaction_keeps_trailing_entries_in_memory() {
        let mut view = empty(3 * 74);
        view.append(&(1..=10).map(|index| entry(index, 1, 10)).collect::<Vec<_>>());
        view.compact(SnapshotMark { index: 9, term: 1 });
        assert_eq!((view.first(), view.last(), view.term(7)), (8, 10, Ok(1)));
        assert_eq!(view.term(6), Err(Error::Store(StorageError::Compacted)));
        view.restore(SnapshotMark { index: 20, term: 2 });
        assert_eq!((view.first(), view.last(), view.term(20), view.bytes()), (21, 20, Ok(2), 0));
    }

    #[test]
    fn a_snapshot_is_withheld_until_there_is_one() {
        let mut view = empty(0);
        let unavailable = Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        assert_eq!(view.snapshot(0, 2), unavailable);
        view.append(&[entry(1, 1, 1)]);
        view.compact(SnapshotMark { index: 1, term: 1 });
        assert_eq!(view.snapshot(0, 2).unwrap().get_metadata().index, 1);
        view.withhold(2, true);
        assert_eq!(view.snapshot(0, 2), unavailable);
        assert!(view.snapshot(0, 3).is_ok());
        view.withhold(2, false);
        assert!(view.snapshot(0, 2).is_ok());
    }

    #[test]
    fn a_gap_in_what_was_recovered_is_refused() {
        let mut recovered = Recovered::empty(0);
        recovered.hard_state.term = 1;
        recovered.entries = vec![from_raft(&entry(1, 1, 1)), from_raft(&entry(3, 1, 1))];
        let error = View::new(vec![1], 0, recovered).err().unwrap();
        assert!(error.contains("entry 3"), "{error}");
    }

    proptest! {
        #[test]
        fn a_recovered_commit_index_stays_within_the_log(commit in 0u64..20, mark in 0u64..5, count in 0u64..8) {
            let mut recovered = Recovered::empty(0);
            recovered.hard_state = HardState { term: 3, vote: 0, commit };
            recovered.mark = SnapshotMark { index: mark, term: u64::from(mark > 0) };
            recovered.entries = (1..=count).map(|i| from_raft(&entry(mark + i, 1, 3))).collect();
            let view = View::new(vec![1], 0, recovered).unwrap();
            prop_assert!((mark..=mark + count).contains(&view.hard_state().commit));
            prop_assert_eq!(view.last(), mark + count);
        }
    }
}
