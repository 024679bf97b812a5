//! What [`Node::poll`](crate::Node::poll) asks of whoever drives the node. The order within one poll is free, except that
//! `persist` batches of a shard reach the log in the order in which they came out.

use crate::message::PeerMessage;
use crate::types::{Append, NodeId, SnapshotMark};

/// The effects of one poll.
#[derive(Debug)]
pub struct Effects<O> {
    /// Messages for peers, to be sent now. Any of them may be lost.
    pub send: Vec<(NodeId, PeerMessage)>,
    /// To be handed to the log; [`Node::durable`](crate::Node::durable) when it is on disk.
    pub persist: Option<Append>,
    /// Entries that were applied to the machine, in order.
    pub applied: Vec<Applied<O>>,
    /// Reads that may be answered once `index` is applied (it is, on return).
    pub reads: Vec<ReadReady>,
    /// Set when the leader or the term changed.
    pub role: Option<RoleChange>,
    /// A campaign has begun here, for this reason.
    pub campaign: Option<Cause>,
    /// Followers that lag behind the log: send them the snapshot, then call
    /// [`Node::snapshot_sent`](crate::Node::snapshot_sent).
    pub send_snapshot: Vec<SnapshotSend>,
    /// There is more to do: poll again before waiting.
    pub more: bool,
}

impl<O> Default for Effects<O> {
    fn default() -> Self {
        Self {
            send: Vec::new(),
            persist: None,
            applied: Vec::new(),
            reads: Vec::new(),
            role: None,
            campaign: None,
            send_snapshot: Vec::new(),
            more: false,
        }
    }
}

/// An entry was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied<O> {
    /// Its term: with `index`, the key of whoever waits for it.
    pub term: u64,
    /// Its index.
    pub index: u64,
    /// What the machine said.
    pub outcome: O,
}

/// A quorum has confirmed that this node led when the read was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// What the caller gave to [`Node::request_read`](crate::Node::request_read).
    pub token: u64,
    /// The state at this index or later answers the read.
    pub index: u64,
}

/// Who leads now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The leader, if known.
    pub leader: Option<NodeId>,
    /// The present term.
    pub term: u64,
    /// This node is the leader.
    pub leading: bool,
}

/// Why a replica campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No leader was heard for a random election timeout.
    Silence,
    /// The leader's connection to this node has ended, and it was not heard again.
    Closed,
}

/// A follower needs a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotSend {
    /// The follower.
    pub to: NodeId,
    /// The snapshot to send is the one with this mark; if only a newer one is left, answer `snapshot_sent(to, false)`.
    pub mark: SnapshotMark,
    /// Goes before the snapshot's bytes, and is given to [`Node::install`](crate::Node::install) there.
    pub message: PeerMessage,
}
