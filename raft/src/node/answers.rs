//! What a node answers to its caller: results, refusals and its status.

use crate::config::ConfigError;
use crate::types::{NodeId, SnapshotMark};

/// Why a node could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration cannot work.
    #[error("configuration of shard {shard}: {error}")]
    Config {
        /// The shard.
        shard: u16,
        /// The field and the fix.
        error: ConfigError,
    },
    /// What the log recovered contradicts itself.
    #[error("recovered state of shard {shard}: {problem}")]
    Recovered {
        /// The shard.
        shard: u16,
        /// What does not fit.
        problem: String,
    },
}

/// Where a proposal stands in the log if it is ever applied. It was lost if another term's entry is applied at `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proposed {
    /// The term it was proposed in.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// Why nothing was proposed. Nothing has happened in any of these cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead.
    #[error("not the leader")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// Leadership is being handed to another node: it, or this one again, takes proposals in a moment.
    #[error("leadership is being handed over")]
    Transferring,
    /// Too much is proposed and not yet committed, or not yet on this disk: try again when something was applied.
    #[error("too many bytes proposed and not committed or not on disk")]
    Full,
    /// Larger than `max_entry_bytes`: never possible. Empty entries are refused too (`bytes` is 0).
    #[error("an entry of {bytes} bytes is not in 1..={limit}")]
    Size {
        /// The entry's size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// Why a read was not accepted. In none of these cases will its token come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This node does not lead.
    #[error("not the leader")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// Leads, but has not committed an entry of its own term yet: try again in a moment.
    #[error("the new leader has not committed yet")]
    NotReady,
    /// `max_pending_reads` wait already.
    #[error("too many reads waiting for a quorum")]
    Full,
}

/// How a replica stands, for status pages and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The present term.
    pub term: u64,
    /// Whom this replica has voted for in this term; 0 is nobody.
    pub vote: NodeId,
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// This node is the leader.
    pub leading: bool,
    /// Known to be committed up to here.
    pub commit: u64,
    /// Applied up to here.
    pub applied: u64,
    /// The first entry still in memory.
    pub first: u64,
    /// The last entry.
    pub last: u64,
    /// Durable on this node up to here.
    pub persisted: u64,
    /// The newest snapshot of this node.
    pub snapshot: SnapshotMark,
    /// Bytes of entries in memory.
    pub memory_bytes: u64,
    /// On a leader: how far each other replica is.
    pub peers: Vec<PeerProgress>,
}

/// How far a follower is, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The follower.
    pub node: NodeId,
    /// It has everything up to here on disk.
    pub matched: u64,
    /// It answered lately.
    pub active: bool,
    /// It is being sent a snapshot.
    pub snapshot: bool,
}
