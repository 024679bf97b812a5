//! What a simulator sees besides the clients' history: every replica's state, votes, leaders, disks and orders.

use bytes::Bytes;
use doorbuster_gateway::Key;
use doorbuster_inventory::Inventory;
use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::{FeedPosition, LogIndex, NodeId, ShardId, Timestamp};
use doorbuster_raft::HardState;

use crate::history::{Moment, Operation};

/// An entry of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub index: LogIndex,
    /// The term it was proposed in.
    pub term: u64,
    /// Its payload, empty in Raft's own entries.
    pub payload: Bytes,
}

/// Lengths of a shard's queues on one node, each with its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Commands waiting to be proposed.
    pub backlog: (usize, usize),
    /// Reserves waiting for units.
    pub waiting: (usize, usize),
    /// Reads waiting for a quorum.
    pub reads: (usize, usize),
    /// Entries in flight.
    pub in_flight: (usize, usize),
}

/// One thing that was seen, at a moment that never goes back from one to the next.
pub enum Observation<'a> {
    /// A node's process started (again).
    Started {
        /// Which.
        node: NodeId,
    },
    /// A node's process ended, in whatever way.
    Ended {
        /// Which.
        node: NodeId,
        /// Whether it ended itself, and what it said.
        said: Option<&'a str>,
    },
    /// How many nodes' wall clocks a node's process has heard of, its own included: with its first turn, and before
    /// what a turn appends whenever there are more.
    Clocks {
        /// Which.
        node: NodeId,
        /// How many.
        heard: usize,
    },
    /// A node became its shard's leader, as it believes.
    Leads {
        /// Which.
        node: NodeId,
        /// Of what.
        shard: ShardId,
        /// In which term.
        term: u64,
    },
    /// A node that led its shard believes so no more. (One whose process ended is not heard of.)
    Follows {
        /// Which.
        node: NodeId,
        /// Of what.
        shard: ShardId,
    },
    /// A node's log begins behind a snapshot from now on: its own, or its leader's, which takes the place of what stood there.
    Covered {
        /// Which.
        node: NodeId,
        /// Of what.
        shard: ShardId,
        /// The last entry that the snapshot covers.
        index: LogIndex,
        /// Its term.
        term: u64,
    },
    /// A node is about to write to its log (not durable yet).
    Appends {
        /// Which.
        node: NodeId,
        /// Of what.
        shard: ShardId,
        /// The entries, contiguous; they replace whatever stood from the first one on.
        entries: &'a [LogEntry],
        /// Term, vote and commit index, if they changed.
        hard_state: Option<HardState>,
    },
    /// A replica has applied entries, or installed a snapshot. After every turn in which its applied index moved.
    Applied {
        /// Which node.
        node: NodeId,
        /// Of what.
        shard: ShardId,
        /// The entries applied since the last time, in order; none if a snapshot (or a restart) brought it here.
        entries: &'a [LogEntry],
        /// The state now.
        inventory: &'a Inventory,
        /// The median of all nodes' true wall clocks now, as the world knows it.
        cluster_time: Timestamp,
    },
    /// Everything that the node has appended so far is on disk: its log's write and sync have succeeded. Right after the
    /// sync, before anything is done that relies on it.
    Synced {
        /// Which node.
        node: NodeId,
    },
    /// A client heard an answer, or gave up. Right when it did.
    Heard {
        /// What it had asked, and what it heard.
        operation: &'a Operation,
    },
    /// Queue lengths at the end of a node's turn.
    Queues {
        /// Which node.
        node: NodeId,
        /// Of what.
        shard: ShardId,
        /// Lengths and bounds.
        queues: Queues,
    },
    /// The database committed a transaction of the order writer.
    Stored {
        /// Whose feed.
        shard: ShardId,
        /// What it brought.
        entries: &'a [FeedEntry],
        /// The feed's position that was stored with it.
        through: FeedPosition,
    },
    /// The payment provider has taken the money for one try to pay.
    Took {
        /// Which.
        key: Key,
    },
    /// The payment provider has given the money back.
    GaveBack {
        /// Of which try to pay.
        key: Key,
    },
    /// The network has healed, every node that can runs, clients are done and the feed is read: nothing will move any
    /// more. Before it each replica is shown once more, as `Applied` without entries.
    Quiescent,
}

/// An observation and its moment.
pub struct Seen<'a> {
    /// When.
    pub at: Moment,
    /// What.
    pub what: Observation<'a>,
}
