//! Why a server did not start, or had to end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use doorbuster_protocol::types::ShardId;

/// Why a server did not start, or had to end. None of these goes away by trying again as it is.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] doorbuster_raft::log::LogError),
    /// A snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] doorbuster_raft::snapshot::SnapshotError),
    /// The log was cut behind a snapshot that is not there.
    #[error(
        "shard {shard}: the log begins behind index {index}, but no snapshot covers it: part of the data folder is \
         lost; do not serve from it, replace the node"
    )]
    SnapshotMissing {
        /// Which shard.
        shard: ShardId,
        /// Index that the snapshot should cover.
        index: u64,
    },
    /// A stored snapshot is whole, but not a state that this build reads.
    #[error("{file}: {reason}", file = file.display())]
    SnapshotUnusable {
        /// The snapshot.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A replica cannot be built from what was recovered.
    #[error(transparent)]
    Node(#[from] doorbuster_raft::NodeError),
    /// An address cannot be had.
    #[error("`{field}`: cannot listen on {address}: {source}")]
    Bind {
        /// The field of the configuration.
        field: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// A socket cannot be used.
    #[error("socket: {0}")]
    Socket(#[source] io::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// Metrics cannot be kept.
    #[error("metrics: {0}")]
    Metrics(String),
    /// Logging cannot be started.
    #[error("logging: {0}")]
    Logging(String),
    /// The node had to end: its disk failed, or its peers refuse it.
    #[error("{0}")]
    Fatal(String),
}
