//! When a shard's state is written out, so that its log can be cut.

use std::time::Duration;

use doorbuster_protocol::types::ShardId;
use doorbuster_raft::{Frozen, Monotonic, SnapshotMark};

use super::{Round, Shard};

/// After a snapshot that could not be written, the next is tried no sooner.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How far the log may grow behind a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotPolicy {
    /// Entries applied since the last snapshot.
    pub entries: u64,
    /// Bytes of entries applied since the last snapshot.
    pub bytes: u64,
    /// Least time between the beginnings of two snapshots, unless the log has grown by as much as the last one takes: a large
    /// state would be written all the time otherwise.
    pub spacing: Duration,
}

/// A frozen state on its way to disk.
pub struct SnapshotJob {
    /// Whose state.
    pub shard: ShardId,
    /// What it covers.
    pub mark: SnapshotMark,
    /// The state.
    pub frozen: Box<dyn Frozen>,
}

/// What a shard remembers of its snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    policy: SnapshotPolicy,
    last_index: u64,
    last_bytes: u64,
    /// Bytes of the last one.
    last_size: u64,
    /// When the last one was begun.
    begun: Option<Monotonic>,
    /// Bytes applied when the one under way was frozen.
    under_way: Option<u64>,
    wanted: bool,
    /// The one on disk cannot be read.
    spoilt: bool,
    not_before: Monotonic,
}

impl Snapshots {
    pub(super) fn new(policy: SnapshotPolicy, last_index: u64) -> Self {
        Self {
            policy,
            last_index,
            last_bytes: 0,
            last_size: 0,
            begun: None,
            under_way: None,
            wanted: false,
            spoilt: false,
            not_before: Monotonic(0),
        }
    }

    /// One is due whatever its size.
    pub(super) fn wanted(&mut self) {
        self.wanted = true;
    }

    /// The one on disk cannot be read: another takes its place, even if nothing was applied since.
    pub(super) fn spoilt(&mut self) {
        self.spoilt = true;
    }

    /// One that covers this is durable, and so large.
    pub(super) fn written(&mut self, mark: SnapshotMark, size: u64) {
        self.last_size = size;
        self.last_index = self.last_index.max(mark.index);
        if let Some(bytes) = self.under_way.take() {
            self.last_bytes = bytes;
        }
    }

    /// The one under way could not be written.
    pub(super) fn failed(&mut self, now: Monotonic) {
        self.under_way = None;
        self.not_before = now.after(PAUSE_AFTER_FAILURE);
    }

    /// The state of this moment is on its way to disk.
    fn begin(&mut self, bytes: u64, now: Monotonic) {
        self.under_way = Some(bytes);
        self.begun = Some(now);
        self.wanted = false;
        self.spoilt = false;
    }

    fn is_due(&self, applied: u64, bytes: u64, now: Monotonic) -> bool {
        let (entries, bytes) = (applied.saturating_sub(self.last_index), bytes.saturating_sub(self.last_bytes));
        let grown = entries >= self.policy.entries || bytes >= self.policy.bytes;
        let spaced = bytes >= self.last_size || self.begun.is_none_or(|begun| now >= begun.after(self.policy.spacing));
        let due = entries > 0 && (grown && spaced || self.wanted) || self.spoilt;
        self.under_way.is_none() && due && now >= self.not_before
    }
}

impl Shard {
    /// Freezes the state if it is time to write it out.
    pub(super) fn take_snapshot(&mut self, round: &mut Round) {
        let machine = self.node.machine();
        let (applied, bytes) = (self.applied, machine.applied_bytes());
        // A state that may be wrong is not what a restart shall begin with.
        if !self.is_trusted() || !self.snapshots.is_due(applied, bytes, round.now) {
            return;
        }
        let (mark, frozen) = self.node.freeze();
        self.snapshots.begin(bytes, round.now);
        round.snapshot_jobs.push(SnapshotJob { shard: self.id, mark, frozen });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: SnapshotPolicy = SnapshotPolicy { entries: 100, bytes: 1000, spacing: Duration::from_secs(10) };
    const NOW: Monotonic = Monotonic(1);

    #[test]
    fn one_is_due_by_entries_by_bytes_or_on_demand() {
        let mut snapshots = Snapshots::new(POLICY, 50);
        assert!(!snapshots.is_due(149, 999, NOW));
        assert!(snapshots.is_due(150, 0, NOW));
        assert!(snapshots.is_due(51, 1000, NOW));
        snapshots.wanted();
        assert!(snapshots.is_due(51, 0, NOW));
        assert!(!snapshots.is_due(50, 0, NOW), "nothing was applied since the last");
        snapshots.spoilt();
        assert!(snapshots.is_due(50, 0, NOW), "the last cannot be read");
    }

    #[test]
    fn one_at_a_time_and_not_at_once_after_a_failure() {
        let mut snapshots = Snapshots::new(POLICY, 0);
        snapshots.under_way = Some(700);
        assert!(!snapshots.is_due(500, 5000, NOW));
        snapshots.failed(NOW);
        assert!(!snapshots.is_due(500, 5000, NOW));
        let later = NOW.after(PAUSE_AFTER_FAILURE);
        assert!(snapshots.is_due(500, 5000, later));
        snapshots.under_way = Some(5000);
        snapshots.written(SnapshotMark { index: 500, term: 1 }, 1000);
        assert!(!snapshots.is_due(520, 5900, later));
        assert!(snapshots.is_due(520, 6000, later));
    }

    #[test]
    fn a_large_one_is_not_written_for_every_few_bytes() {
        let mut snapshots = Snapshots::new(POLICY, 0);
        snapshots.begin(5000, NOW);
        snapshots.written(SnapshotMark { index: 500, term: 1 }, 4000);
        assert!(!snapshots.is_due(900, 8999, NOW), "a quarter of what it takes, and nine tenths");
        assert!(snapshots.is_due(900, 9000, NOW));
        let later = NOW.after(POLICY.spacing);
        assert!(!snapshots.is_due(550, 5500, later), "less than the policy's");
        assert!(snapshots.is_due(550, 6000, later));
        snapshots.wanted();
        assert!(snapshots.is_due(501, 5001, NOW), "the log must be cut");
    }
}
