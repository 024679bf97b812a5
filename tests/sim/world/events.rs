//! What can happen in the world.

use std::rc::Rc;

use super::super::faults::Fault;
use super::super::port::Link;
use crate::history::Moment;

/// Something that will happen. Where a process is meant, it is the one of that life: what was to happen to an earlier
/// one does not.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A node's process starts.
    Start { node: usize },
    /// A node's shards have their turn.
    Turn { node: usize, life: u64 },
    /// What a node's log has gathered is on disk.
    Flush { node: usize, life: u64 },
    /// A node's archive does its next job.
    Archive { node: usize, life: u64 },
    /// A node's process goes on after a pause.
    Resume { node: usize, life: u64 },
    /// A node stops, whether or not it reached the operation that it was to stop in.
    Stop { node: usize, life: u64 },
    /// Has the node finished what was under way? It ends, then or at the moment given.
    Drain { node: usize, life: u64, until: Moment },
    /// A node says something to peers that have not heard of it for a while.
    Keepalive { node: usize, life: u64 },
    /// One peer tries to connect to another.
    PeerConnect { from: usize, to: usize, life: u64 },
    /// A frame arrives on a connection between peers.
    PeerFrame { from: usize, to: usize, connection: u64, frame: Rc<Vec<u8>> },
    /// A node notices that a peer's connection to it has ended.
    PeerLost { from: usize, to: usize, life: u64 },
    /// A client's connection reaches a node.
    LineOpens { link: Link },
    /// Bytes of a client reach a node.
    ToNode { link: Link, bytes: Vec<u8> },
    /// A client closed its connection.
    LineCloses { link: Link },
    /// A client hears that its connection stands.
    LineStands { link: Link },
    /// Bytes of a node reach a client.
    ToActor { link: Link, bytes: Vec<u8> },
    /// A client hears that its connection is lost.
    LineLost { link: Link },
    /// A client's timer.
    Timer { actor: usize, number: u64 },
    /// A snapshot's transfer goes on.
    Stream { stream: u64 },
    /// A fault strikes.
    Strike { fault: Fault },
    /// A partition ends.
    Mend { ways: Vec<(usize, usize)>, number: u64 },
    /// A node's disk, or the node as a whole, is as quick as it was; its disk has space.
    Recover { node: usize, fault: Fault },
    /// Everything heals.
    Heal,
    /// Is everything quiet?
    Look,
}

impl Event {
    /// The process that it happens to, which does not notice while it stands still.
    pub(super) fn process(&self) -> Option<usize> {
        match self {
            Self::Turn { node, .. }
            | Self::Flush { node, .. }
            | Self::Archive { node, .. }
            | Self::Drain { node, .. }
            | Self::Keepalive { node, .. } => Some(*node),
            Self::PeerFrame { to, .. } | Self::PeerLost { to, .. } => Some(*to),
            _ => None,
        }
    }
}
