//! What replicas of a shard say to each other: raft's own message plus the stamps that leases are counted from.

use raft::eraftpb;

use crate::types::{NodeId, SnapshotMark};

/// One message between two replicas of a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerMessage {
    pub(crate) raft: eraftpb::Message,
    /// From a leader: its monotonic clock (ns) when it sent this. From a follower: the newest one it has heard in this
    /// term. Zero: none.
    pub(crate) stamp: u64,
}

impl PeerMessage {
    /// The node it is for.
    #[must_use]
    pub fn to(&self) -> NodeId {
        self.raft.to
    }

    /// The node that sent it.
    #[must_use]
    pub fn from(&self) -> NodeId {
        self.raft.from
    }

    /// The snapshot it announces, if it does.
    #[must_use]
    pub fn snapshot_mark(&self) -> Option<SnapshotMark> {
        if self.raft.msg_type != eraftpb::MessageType::MsgSnapshot {
            return None;
        }
        let metadata = self.raft.get_snapshot().get_metadata();
        Some(SnapshotMark { index: metadata.index, term: metadata.term })
    }
}
