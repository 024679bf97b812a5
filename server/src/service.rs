//! What all connections of a server share.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::reply::NodeStatus;
use doorbuster_raft::log::{Log, LogUsage};
use doorbuster_raft::transport::Transport;

use crate::clock;
use crate::credentials::Credentials;
use crate::desk::{Condition, Desk};
use crate::shard::node_id;

/// What all connections of a server share. Everything in it is used without waiting.
pub struct Service {
    /// The cluster's name.
    pub cluster: String,
    /// What clients may show.
    pub credentials: Credentials,
    /// What requests are answered with.
    pub desk: Arc<Desk>,
    /// The log, for its size.
    pub log: Log,
    /// The connections to the peers, for their condition; none in a cluster of one.
    pub transport: Option<Transport>,
    /// How long a client may take for its handshake.
    pub handshake_timeout: Duration,
    /// How long a client may leave answers unread before it is disconnected.
    pub write_timeout: Duration,
}

impl Service {
    /// What the log takes on disk.
    #[must_use]
    pub fn log_usage(&self) -> LogUsage {
        self.log.usage()
    }
}

impl Condition for Service {
    fn status(&self) -> NodeStatus {
        let links = self.transport.as_ref().map(Transport::links).unwrap_or_default();
        let connected = |node| links.iter().any(|link| node_id(link.node) == node && link.connected);
        self.desk.status(clock::monotonic(), clock::wall(), self.log_usage().bytes, connected)
    }
}
