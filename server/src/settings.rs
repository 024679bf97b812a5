//! What a node is, without its sockets, threads and credentials: what a whole server and one that a simulator drives
//! have in common.

use std::path::PathBuf;
use std::time::Duration;

use doorbuster_inventory::Limits;
use doorbuster_protocol::types::NodeId;
use doorbuster_raft::NodeConfig;
use doorbuster_raft::log::LogConfig;
use doorbuster_raft::transport::Incarnation;

use crate::config::ServerConfig;
use crate::identity::Owner;
use crate::shard::{QueueLimits, SnapshotPolicy};

/// Segments of log beyond which a shard that keeps the oldest of them writes a snapshot.
const MAX_SEGMENTS: u64 = 8;

/// One node's replicas: whose they are, where they are kept, and their limits.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// This node.
    pub node: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// All nodes of the cluster, this one included.
    pub voters: Vec<NodeId>,
    /// Raft groups of the cluster.
    pub shards: u16,
    /// Groups that the shards are dealt out to; a thread each, where there are threads.
    pub groups: usize,
    /// The folder with everything that the node keeps.
    pub data: PathBuf,
    /// Size of one log segment, bytes; a multiple of 4096 that the largest entry fits.
    pub segment_bytes: u64,
    /// Whether a reply means that it is on disk.
    pub durable: bool,
    /// Added to each sync of the log.
    pub sync_delay: Duration,
    /// When a shard writes a snapshot.
    pub snapshots: SnapshotPolicy,
    /// Bytes of entries that a shard keeps in memory behind a snapshot, for followers that lag a little.
    pub trailing_bytes: u64,
    /// Bounds of a shard's queues.
    pub queues: QueueLimits,
    /// Requests that may wait in the inbox of one group.
    pub inbox: usize,
    /// Time between two ticks.
    pub tick: Duration,
    /// Shortest election timeout, in ticks.
    pub election_ticks: u32,
    /// Taken off the leases for clocks that run at different rates.
    pub lease_margin: Duration,
    /// Election timeouts follow from this.
    pub seed: u64,
    /// How long a request waits that does not say.
    pub default_wait: Duration,
    /// Bounds of a shard's state.
    pub limits: Limits,
}

impl NodeSettings {
    /// One node of a cluster, with a server's defaults.
    #[must_use]
    pub fn new(node: NodeId, voters: Vec<NodeId>) -> Self {
        Self { node, voters, seed: u64::from(node.0), ..ServerConfig::default().settings() }
    }

    /// Whose the data folder is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { cluster: self.cluster.clone(), node: self.node, shards: self.shards }
    }

    /// The other nodes.
    pub fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().copied().filter(|node| *node != self.node)
    }

    /// The folder of a shard's snapshots.
    #[must_use]
    pub fn snapshot_folder(&self, shard: u16) -> PathBuf {
        self.data.join("snapshots").join(format!("{shard:03}"))
    }

    /// The log of a folder with this incarnation.
    #[must_use]
    pub fn log(&self, incarnation: Incarnation) -> LogConfig {
        let half = incarnation.0.first_chunk().copied().unwrap_or_default();
        LogConfig {
            identity: u64::from_le_bytes(half),
            segment_bytes: self.segment_bytes,
            sync: self.durable,
            sync_delay: self.sync_delay,
            ..LogConfig::new(self.data.join("log"), self.shards)
        }
    }

    /// Bytes of log on disk beyond which the shard that keeps the oldest of it writes a snapshot.
    #[must_use]
    pub fn log_bound(&self) -> u64 {
        MAX_SEGMENTS.saturating_mul(self.segment_bytes)
    }

    /// One shard's replica.
    #[must_use]
    pub fn replica(&self, shard: u16) -> NodeConfig {
        let voters = self.voters.iter().map(|node| u64::from(node.0)).collect();
        NodeConfig {
            tick: self.tick,
            election_ticks: self.election_ticks,
            lease_margin: self.lease_margin,
            trailing_bytes: self.trailing_bytes,
            seed: self.seed,
            ..NodeConfig::new(u64::from(self.node.0), shard, voters)
        }
    }
}
