//! What all connections of a node share.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::reply::{NodeStatus, PeerStatus};
use doorbuster_protocol::types::Millis;
use doorbuster_raft::Monotonic;
use doorbuster_raft::log::{Log, LogUsage};
use doorbuster_raft::transport::Transport;

use crate::clock::{self, WallClocks};
use crate::cluster::ClusterView;
use crate::credentials::Credentials;
use crate::gate::Gate;
use crate::inbox::Inboxes;
use crate::metrics::Metrics;
use crate::shard::node_id;

/// What all connections of a node share. Everything in it is used without waiting.
pub struct Service {
    /// The cluster's name.
    pub cluster: String,
    /// What clients may show.
    pub credentials: Credentials,
    /// Admits or refuses reserves.
    pub gate: Arc<Gate>,
    /// Who leads what, and what time it is.
    pub view: Arc<ClusterView>,
    /// The ways to the shard threads.
    pub inboxes: Inboxes,
    /// What is counted.
    pub metrics: Metrics,
    /// The peers' wall clocks.
    pub wall_clocks: Arc<WallClocks>,
    /// The log, for its size.
    pub log: Log,
    /// The connections to the peers, for their condition; none in a cluster of one.
    pub transport: Option<Transport>,
    /// Whether a reply means that it is on disk.
    pub durable: bool,
    /// When the node started.
    pub started: Monotonic,
    /// How long a request waits that does not say.
    pub default_wait: Duration,
    /// How long a client may take for its handshake.
    pub handshake_timeout: Duration,
    /// How long a client may leave answers unread before it is disconnected.
    pub write_timeout: Duration,
}

impl Service {
    /// The node's condition.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let (now, wall) = (clock::monotonic(), clock::wall());
        let links = self.transport.as_ref().map(Transport::links).unwrap_or_default();
        let peers = self.wall_clocks.offsets(now, wall).map(|(node, offset)| PeerStatus {
            node,
            connected: links.iter().any(|link| node_id(link.node) == node && link.connected),
            clock_offset: offset.unwrap_or(0),
        });
        NodeStatus {
            node: self.view.node(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: Millis(u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX)),
            durable: self.durable,
            wall_clock: wall,
            log_bytes: self.log_usage().bytes,
            peers: peers.collect(),
            shards: self.view.statuses(),
        }
    }

    /// What the log takes on disk.
    #[must_use]
    pub fn log_usage(&self) -> LogUsage {
        self.log.usage()
    }
}
