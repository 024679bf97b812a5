//! The words this crate shares between its node, its log and its transport. Plain data: no I/O, no invariants beyond what
//! each item says. Entries of a shard are numbered from 1 without gaps; index 0 and term 0 mean "before everything".

use std::time::Duration;

use bytes::Bytes;

/// One Raft group. The same number means the same group on every node.
pub type ShardId = u16;

/// A node of the cluster, from 1. The same number is used for it in every shard.
pub type NodeId = u64;

/// What an entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Bytes for the state machine; empty bytes are a new leader's first entry and do not reach it.
    Normal,
    /// A change of membership. Kept apart so that the log format has room for it; not proposed by this version.
    ConfChange,
}

/// One entry of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the shard's log, from 1.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
    /// What `data` is.
    pub kind: EntryKind,
    /// The payload, shared and never copied.
    pub data: Bytes,
}

/// What a replica must never forget, besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term seen.
    pub term: u64,
    /// Whom this replica voted for in `term`; 0 is nobody.
    pub vote: NodeId,
    /// All entries up to here are known to be committed. May lag behind the truth, never runs ahead of it.
    pub commit: u64,
}

/// The last entry that a state machine snapshot covers. Zero is "no snapshot".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotMark {
    /// Index of that entry.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
}

/// Nanoseconds of one process's monotonic clock. Never compared between processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// The instant `duration` later; stays at the end of time instead of overflowing.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// What one round of a node wants on disk. When all of it is durable (and everything this shard submitted before), the
/// log reports `ticket` and the adaptor passes it to [`Node::durable`](crate::Node::durable).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Whose log.
    pub shard: ShardId,
    /// Rises by one with every `Append` of a shard.
    pub ticket: u64,
    /// Consecutive entries. If the first has the index of an entry already in the log, that one and all after it are
    /// replaced.
    pub entries: Vec<Entry>,
    /// Replaces the hard state, if there is one.
    pub hard_state: Option<HardState>,
    /// A snapshot up to here is durable: entries at or before it are obsolete. If the log does not hold this very entry
    /// (index and term), all of the log is obsolete. A mark at or before one that the log has noted changes nothing. Never
    /// comes together with entries.
    pub mark: Option<SnapshotMark>,
}

/// What the log found for one shard when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Whose log.
    pub shard: ShardId,
    /// The last durable hard state; zeros if there was none.
    pub hard_state: HardState,
    /// The last durable snapshot mark; zeros if there was none.
    pub mark: SnapshotMark,
    /// The entries after `mark`, without gaps.
    pub entries: Vec<Entry>,
}

impl Recovered {
    /// A shard that has never stored anything.
    #[must_use]
    pub fn empty(shard: ShardId) -> Self {
        Self { shard, hard_state: HardState::default(), mark: SnapshotMark::default(), entries: Vec::new() }
    }

    /// Moves up to the newest durable snapshot. A snapshot becomes durable a moment before the log notes its mark, so
    /// that a process which stops in between finds a snapshot that is newer than the log's mark. What a snapshot covers
    /// is committed, therefore it wins: entries that it covers go, and if the log has another entry in its place (or
    /// none), all of them.
    #[must_use]
    pub fn with_snapshot(mut self, snapshot: SnapshotMark) -> Self {
        if snapshot.index <= self.mark.index {
            return self;
        }
        let continues = self.entries.iter().any(|entry| entry.index == snapshot.index && entry.term == snapshot.term);
        if continues {
            self.entries.retain(|entry| entry.index > snapshot.index);
        } else {
            self.entries.clear();
        }
        self.mark = snapshot;
        self.hard_state.commit = self.hard_state.commit.max(snapshot.index);
        if self.hard_state.term < snapshot.term {
            // Nothing was voted for in a term that was never recorded.
            self.hard_state.term = snapshot.term;
            self.hard_state.vote = 0;
        }
        self
    }
}
