//! What a simulator and its checkers see of a shard. Nothing here changes anything.

use doorbuster_inventory::Inventory;
use doorbuster_protocol::reply::ShardStatus;
use doorbuster_protocol::types::LogIndex;
use doorbuster_raft::{Entry, Monotonic, NodeStatus};

use super::{Shard, node_id};
use crate::cluster::Counts;

/// How many wait in a queue, and how many may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLength {
    /// How many wait.
    pub length: usize,
    /// How many may.
    pub bound: usize,
}

/// A shard's queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLengths {
    /// Commands waiting to be proposed.
    pub backlog: QueueLength,
    /// Reserves waiting for units.
    pub waiting: QueueLength,
    /// Reads waiting for a quorum.
    pub reads: QueueLength,
    /// Entries in flight.
    pub in_flight: QueueLength,
}

impl Shard {
    /// How this replica stands.
    #[must_use]
    pub fn status(&self, now: Monotonic) -> ShardStatus {
        let status = self.node.status();
        let machine = self.node.machine();
        ShardStatus {
            shard: self.id,
            term: status.term,
            leader: status.leader.map(node_id),
            leading: self.serves() && self.node.lease_holds(now),
            commit: LogIndex(status.commit),
            applied: LogIndex(status.applied),
            first: LogIndex(status.first),
            state_hash: machine.inventory().state_hash(),
            time: machine.inventory().time(),
            diverged: machine.diverged().is_some(),
        }
    }

    /// What it holds.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let inventory = self.node.machine().inventory();
        Counts {
            reservations: inventory.reservation_ids().len(),
            feed: inventory.feed_len(),
            disputed: self.dispute.is_contradicted(),
        }
    }

    /// How its Raft node stands.
    #[must_use]
    pub fn raft(&self) -> NodeStatus {
        self.node.status()
    }

    /// The term in which it was elected, if it leads as far as it knows.
    #[must_use]
    pub fn leads_in(&self) -> Option<u64> {
        self.node.leads_in()
    }

    /// The last entry that was applied: its index, entries without commands included.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.node.applied().index
    }

    /// The entries of the log behind `after` up to `through`, as far as they are in memory.
    #[must_use]
    pub fn entries(&self, after: u64, through: u64) -> Vec<Entry> {
        self.node.entries(after, through)
    }

    /// Its state, as of the last applied entry.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        self.node.machine().inventory()
    }

    /// Why it serves no more, if so.
    #[must_use]
    pub fn diverged(&self) -> Option<&str> {
        self.node.machine().diverged()
    }

    /// How full its queues are.
    #[must_use]
    pub fn queues(&self) -> QueueLengths {
        QueueLengths {
            backlog: QueueLength { length: self.backlog.len(), bound: self.backlog.limit() },
            waiting: QueueLength { length: self.waiting.len(), bound: self.waiting.limit() },
            reads: QueueLength { length: self.reads.len(), bound: self.reads.limit() },
            in_flight: QueueLength { length: self.pending.len(), bound: super::advance::MAX_ENTRIES_IN_FLIGHT },
        }
    }
}
