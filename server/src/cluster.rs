//! What this node knows of the cluster at the moment: who leads which shard, what time it is there, how its
//! own replicas stand. Written by the shards' turns, read by everybody else.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use doorbuster_protocol::reply::{NodeAddress, ShardMap, ShardStatus};
use doorbuster_protocol::types::{LogIndex, NodeId, ShardId, StateHash, Timestamp};
use doorbuster_raft::Monotonic;
use parking_lot::Mutex;

use crate::clock::SharedTime;

/// A node's view of the cluster.
#[derive(Debug)]
pub struct ClusterView {
    node: NodeId,
    nodes: Vec<NodeAddress>,
    shards: Box<[ShardView]>,
}

#[derive(Debug)]
struct ShardView {
    /// 0 while unknown.
    leader: AtomicU16,
    time: SharedTime,
    status: Mutex<ShardStatus>,
    reservations: AtomicUsize,
    feed: AtomicUsize,
    disputed: AtomicBool,
}

/// What a replica holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reservations, live and retained.
    pub reservations: usize,
    /// Entries of the order feed that wait to be stored.
    pub feed: usize,
    /// It differs from another replica, and nobody can tell yet who is right.
    pub disputed: bool,
}

impl ClusterView {
    /// Before anything is known.
    #[must_use]
    pub fn new(node: NodeId, nodes: Vec<NodeAddress>, shards: u16) -> Self {
        Self { node, nodes, shards: (0..shards).map(|shard| ShardView::new(ShardId(shard))).collect() }
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// How many shards there are.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // `new` was given a u16
    pub fn shard_count(&self) -> u16 {
        self.shards.len() as u16
    }

    /// The shard's leader, if known.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        match self.shard(shard).leader.load(Ordering::Relaxed) {
            0 => None,
            node => Some(NodeId(node)),
        }
    }

    /// The shard's leader changed. Shard thread.
    pub fn set_leader(&self, shard: ShardId, leader: Option<NodeId>) {
        self.shard(shard).leader.store(leader.map_or(0, NodeId::get), Ordering::Relaxed);
    }

    /// The shard's cluster time at a moment of the monotonic clock, as its leader's clock goes here.
    #[must_use]
    pub fn time(&self, shard: ShardId, now: Monotonic) -> Timestamp {
        self.shard(shard).time.at(now)
    }

    /// The shard's cluster time is `time` at `now`. Shard thread, while leading.
    pub fn set_time(&self, shard: ShardId, now: Monotonic, time: Timestamp) {
        self.shard(shard).time.set(time, now);
    }

    /// How this node's replica of the shard stands.
    #[must_use]
    pub fn status(&self, shard: ShardId) -> ShardStatus {
        *self.shard(shard).status.lock()
    }

    /// How this node's replicas stand, by shard.
    #[must_use]
    pub fn statuses(&self) -> Vec<ShardStatus> {
        self.shards.iter().map(|shard| *shard.status.lock()).collect()
    }

    /// Reservations known on this node's replicas, live and retained.
    #[must_use]
    pub fn reservations(&self) -> usize {
        self.shards.iter().map(|shard| shard.reservations.load(Ordering::Relaxed)).sum()
    }

    /// Entries of the order feeds of this node's replicas that wait to be stored.
    #[must_use]
    pub fn feed(&self) -> usize {
        self.shards.iter().map(|shard| shard.feed.load(Ordering::Relaxed)).sum()
    }

    /// Shards whose replica here differs from another, while nobody can tell who is right.
    pub fn disputed(&self) -> impl Iterator<Item = ShardId> {
        let disputed = self.shards.iter().zip(0..).filter(|(shard, _)| shard.disputed.load(Ordering::Relaxed));
        disputed.map(|(_, shard)| ShardId(shard))
    }

    /// How this node's replica of the shard stands now, and what it holds. Shard thread.
    pub fn set_status(&self, status: ShardStatus, counts: Counts) {
        let shard = self.shard(status.shard);
        shard.reservations.store(counts.reservations, Ordering::Relaxed);
        shard.feed.store(counts.feed, Ordering::Relaxed);
        shard.disputed.store(counts.disputed, Ordering::Relaxed);
        *self.shard(status.shard).status.lock() = status;
    }

    /// Shards and their leaders as this node knows them.
    #[must_use]
    pub fn shard_map(&self) -> ShardMap {
        let leaders = (0..self.shard_count()).map(|shard| self.leader(ShardId(shard))).collect();
        ShardMap { leaders, nodes: self.nodes.clone() }
    }

    fn shard(&self, shard: ShardId) -> &ShardView {
        &self.shards[usize::from(shard.0)]
    }
}

impl ShardView {
    fn new(shard: ShardId) -> Self {
        let status = ShardStatus {
            shard,
            term: 0,
            leader: None,
            leading: false,
            commit: LogIndex(0),
            applied: LogIndex(0),
            first: LogIndex(0),
            state_hash: StateHash(0),
            time: Timestamp(0),
            diverged: false,
        };
        Self {
            leader: AtomicU16::new(0),
            time: SharedTime::new(),
            status: Mutex::new(status),
            reservations: AtomicUsize::new(0),
            feed: AtomicUsize::new(0),
            disputed: AtomicBool::new(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_shows_known_leaders() {
        let view = ClusterView::new(NodeId(1), Vec::new(), 3);
        view.set_leader(ShardId(1), Some(NodeId(2)));
        assert_eq!(view.shard_map().leaders, [None, Some(NodeId(2)), None]);
        view.set_leader(ShardId(1), None);
        assert_eq!(view.leader(ShardId(1)), None);
    }
}
