//! What it takes to answer a client or to pass it on to a shard: shared by all connections of a node and its shards.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::reply::{NodeStatus, PeerStatus};
use doorbuster_protocol::types::{Millis, NodeId, Timestamp};
use doorbuster_raft::Monotonic;

use crate::clock::WallClocks;
use crate::cluster::ClusterView;
use crate::gate::Gate;
use crate::inbox::Inboxes;
use crate::metrics::Metrics;
use crate::shard::Surroundings;

/// What all connections and shards of a node share. Everything in it is used without waiting.
pub struct Desk {
    /// Admits or refuses reserves.
    pub gate: Arc<Gate>,
    /// Who leads what, and what time it is.
    pub view: Arc<ClusterView>,
    /// The ways to the shards.
    pub inboxes: Inboxes,
    /// What is counted.
    pub metrics: Metrics,
    /// The peers' wall clocks.
    pub wall_clocks: Arc<WallClocks>,
    /// Whether a reply means that it is on disk.
    pub durable: bool,
    /// When the node started.
    pub started: Monotonic,
    /// How long a request waits that does not say.
    pub default_wait: Duration,
}

/// What only the node as a whole can tell of its condition.
pub trait Condition {
    /// The node's condition now.
    fn status(&self) -> NodeStatus;
}

impl Desk {
    /// What the shards get of it.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        Surroundings {
            gate: Arc::clone(&self.gate),
            view: Arc::clone(&self.view),
            wall_clocks: Arc::clone(&self.wall_clocks),
            metrics: self.metrics.clone(),
        }
    }

    /// The node's condition at `now`, when its wall clock says `wall`.
    #[must_use]
    pub fn status(
        &self,
        now: Monotonic,
        wall: Timestamp,
        log_bytes: u64,
        connected: impl Fn(NodeId) -> bool,
    ) -> NodeStatus {
        let peers = self.wall_clocks.offsets(now, wall).map(|(node, offset)| PeerStatus {
            node,
            connected: connected(node),
            clock_offset: offset.unwrap_or(0),
        });
        NodeStatus {
            node: self.view.node(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: Millis(u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX)),
            durable: self.durable,
            wall_clock: wall,
            log_bytes,
            peers: peers.collect(),
            shards: self.view.statuses(),
        }
    }
}
