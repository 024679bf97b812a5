//! The server's configuration: one documented structure, filled from defaults, then a TOML file, then
//! `DOORBUSTER_SERVER_*` environment variables, then command-line flags; and one [`ServerConfig::validate`] that
//! names each field that is wrong and what to do about it.
//!
//! `deploy/server.toml` shows them all.

mod validate;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorbuster_inventory::Limits;
use doorbuster_protocol::reply::NodeAddress;
use doorbuster_protocol::types::NodeId;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::credentials::{CredentialError, Credentials, Secret};
use crate::settings::NodeSettings;
use crate::shard::{QueueLimits, SnapshotPolicy};

/// Prefix of the environment variables that set fields: `DOORBUSTER_SERVER_NODE=2`.
pub const ENVIRONMENT_PREFIX: &str = "DOORBUSTER_SERVER_";

/// Everything a server can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Which node of the cluster this is. Default 1, at least 1.
    pub node: u16,
    /// The cluster's name: 1 to 64 ASCII letters, digits, `-`, `_`, `.`. Default `doorbuster`.
    pub cluster: String,
    /// Folder of this node's log, snapshots and identity. Default `data`.
    pub data: PathBuf,
    /// Where clients connect. Default `127.0.0.1:7400`. Not loopback only with credentials.
    pub listen: SocketAddr,
    /// Where the other nodes connect. Default `127.0.0.1:7401`. Not loopback only with peer credentials.
    pub peer_listen: SocketAddr,
    /// Where metrics, health and status are served over HTTP. Default `127.0.0.1:7402`. It asks for no credentials:
    /// keep it on a network that only operators and the metrics collector reach.
    pub admin_listen: SocketAddr,
    /// `host:port` at which clients reach this node, as told to them. Default: this node's own entry in `peers`, else
    /// the address it listens on.
    pub advertise: Option<String>,
    /// The nodes of the cluster: `{ node = 2, peer = "host:port", client = "host:port" }` each. This node may be among
    /// them, so that the list can be the same everywhere. Default none: a cluster of one. 1, 3 or 5 nodes in all.
    pub peers: Vec<Peer>,
    /// Raft groups, each with its part of the products. The same on every node; fixed when the data folder is formatted.
    /// Default 8, 1 to 256.
    pub shards: u16,
    /// Threads that own the shards between them. Default 2, 1 to 64.
    pub shard_threads: u16,
    /// `disk`: a reply means that a quorum has it on disk. `memory`: a quorum has it in memory, and a power cut of all
    /// nodes loses it. Default `disk`.
    pub durability: Durability,
    /// File with the credentials that clients may show, one a line. Default none.
    pub credential_file: Option<PathBuf>,
    /// A credential that clients may show; meant for the environment, `DOORBUSTER_SERVER_CREDENTIAL`. Default none.
    pub credential: Option<Secret>,
    /// File with the credentials that peers may show, one a line; the first is shown to them. Default none.
    pub peer_credential_file: Option<PathBuf>,
    /// A credential that peers share, `DOORBUSTER_SERVER_PEER_CREDENTIAL`. Default none.
    pub peer_credential: Option<Secret>,
    /// Raft's clock tick. Default 20 ms, 1 to 1000.
    pub tick_ms: u64,
    /// Shortest time without a leader's heartbeat before an election; the longest is twice that, less a tick. When the
    /// leader's connection closes, the time from then on, and half a tick. Default 300 ms, at least 10 ticks.
    pub election_ms: u64,
    /// A snapshot is taken, and the log cut behind it, after so many entries of a shard. Default 100000, at least 100.
    pub snapshot_entries: u64,
    /// ... or after so many bytes of its log. Default 64 MiB, at least 64 KiB.
    pub snapshot_bytes: u64,
    /// ... but no sooner after the last, unless the log has grown by as much as that one takes. Default 10000 ms.
    pub snapshot_spacing_ms: u64,
    /// Size of one log segment file, shared by all shards. Default 64 MiB, 1 MiB to 1 GiB.
    pub segment_bytes: u64,
    /// Client connections; more are refused. Default 10000, at least 1.
    pub max_connections: usize,
    /// Requests that may wait in one shard's inbox; more are answered `busy`. Default 65536, at least 1024.
    pub inbox: usize,
    /// Commands that one log entry may carry. Default 1024, 1 to 4096.
    pub max_batch: usize,
    /// Entries of one shard's order feed (about 100 bytes each, in memory on every node) that may wait to be stored; beyond
    /// it new reserves and payments are answered `busy` until the database is back. Default 1000000, at least 1.
    pub max_feed: usize,
    /// How long a request waits at most if it does not say. Default 5000 ms, 10 to 60000.
    pub default_wait_ms: u64,
    /// How long a client may take for its handshake. Default 5000 ms, at least 100.
    pub handshake_ms: u64,
    /// How long a clean shutdown may take to hand leadership over and answer what is under way. Default 10000 ms.
    pub shutdown_ms: u64,
    /// Added to each sync of the log, to try out slow disks. Default 0 µs.
    pub sync_delay_us: u64,
    /// `human` or `json`. Default `human`.
    pub log_format: LogFormat,
    /// What is logged: a level, or `target=level` pairs joined by commas. Default `info`.
    pub log_level: String,
}

/// A node as the others reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Which node.
    pub node: u16,
    /// `host:port` of its `peer_listen`.
    pub peer: String,
    /// `host:port` at which clients reach it.
    pub client: String,
}

/// What a reply means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A quorum has it on disk.
    #[default]
    Disk,
    /// A quorum has it in memory.
    Memory,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A source cannot be read, or has a field that does not exist or of the wrong type.
    #[error("configuration: {0}")]
    Unreadable(String),
    /// Fields contradict each other or their bounds.
    #[error("configuration:{}", list(.0))]
    Invalid(Vec<Invalid>),
    /// Credentials cannot be loaded.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}; {fix}")]
pub struct Invalid {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it, with its value.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            node: 1,
            cluster: "doorbuster".to_owned(),
            data: PathBuf::from("data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            peer_listen: SocketAddr::from(([127, 0, 0, 1], 7401)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 7402)),
            advertise: None,
            peers: Vec::new(),
            shards: 8,
            shard_threads: 2,
            durability: Durability::Disk,
            credential_file: None,
            credential: None,
            peer_credential_file: None,
            peer_credential: None,
            tick_ms: 20,
            election_ms: 300,
            snapshot_entries: 100_000,
            snapshot_bytes: 64 << 20,
            snapshot_spacing_ms: 10_000,
            segment_bytes: 64 << 20,
            max_connections: 10_000,
            inbox: 65_536,
            max_batch: 1024,
            max_feed: 1_000_000,
            default_wait_ms: 5_000,
            handshake_ms: 5_000,
            shutdown_ms: 10_000,
            sync_delay_us: 0,
            log_format: LogFormat::Human,
            log_level: "info".to_owned(),
        }
    }
}

impl ServerConfig {
    /// Reads defaults, then the file, then the environment, then `flags` (a serialisable structure with any of the
    /// fields; leave out what was not given). Does not validate.
    ///
    /// # Errors
    /// If the file cannot be read, or a source has an unknown field or a value of the wrong type.
    pub fn load(file: Option<&Path>, flags: impl Serialize) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = file {
            if !path.is_file() {
                return Err(ConfigError::Unreadable(format!("there is no file {}", path.display())));
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        let figment = figment.merge(Env::prefixed(ENVIRONMENT_PREFIX)).merge(Serialized::defaults(flags));
        figment.extract().map_err(|error| ConfigError::Unreadable(error.to_string()))
    }

    /// Checks every field.
    ///
    /// # Errors
    /// All that is wrong, each with its fix.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let invalid = validate::problems(self);
        if invalid.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(invalid)) }
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }

    /// All nodes of the cluster, this one included, in order.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        let mut nodes: Vec<_> = self.peers.iter().map(|peer| NodeId(peer.node)).chain([self.node()]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The other nodes.
    pub fn others(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.node != self.node)
    }

    /// Where clients reach each node; `bound` is where this one listens in fact (its port may have been 0).
    #[must_use]
    pub fn client_addresses(&self, bound: SocketAddr) -> Vec<NodeAddress> {
        let own = self.peers.iter().find(|peer| peer.node == self.node).map(|peer| peer.client.clone());
        let own = self.advertise.clone().or(own).unwrap_or_else(|| bound.to_string());
        let others = self.others().map(|peer| NodeAddress { node: NodeId(peer.node), address: peer.client.clone() });
        let mut all: Vec<_> = others.chain([NodeAddress { node: self.node(), address: own }]).collect();
        all.sort_unstable_by_key(|address| address.node);
        all
    }

    /// What clients may show.
    ///
    /// # Errors
    /// If the credential file cannot be used.
    pub fn client_credentials(&self) -> Result<Credentials, ConfigError> {
        Ok(Credentials::load(self.credential_file.as_deref(), self.credential.as_ref())?)
    }

    /// What peers may show.
    ///
    /// # Errors
    /// If the credential file cannot be used.
    pub fn peer_credentials(&self) -> Result<Credentials, ConfigError> {
        Ok(Credentials::load(self.peer_credential_file.as_deref(), self.peer_credential.as_ref())?)
    }

    /// What is not about sockets, threads and credentials.
    #[must_use]
    pub fn settings(&self) -> NodeSettings {
        let inbox = self.inbox;
        NodeSettings {
            node: self.node(),
            cluster: self.cluster.clone(),
            voters: self.nodes(),
            shards: self.shards,
            groups: usize::from(self.shard_threads.min(self.shards)),
            data: self.data.clone(),
            segment_bytes: self.segment_bytes,
            durable: self.durability == Durability::Disk,
            sync_delay: Duration::from_micros(self.sync_delay_us),
            snapshots: SnapshotPolicy {
                entries: self.snapshot_entries,
                bytes: self.snapshot_bytes,
                spacing: Duration::from_millis(self.snapshot_spacing_ms),
            },
            // A sixteenth of what a snapshot may cut is 4 MiB by default.
            trailing_bytes: self.snapshot_bytes / 16,
            queues: QueueLimits {
                backlog: inbox,
                waiting: inbox,
                reads: inbox,
                batch: self.max_batch,
                feed: self.max_feed,
            },
            inbox,
            tick: self.tick(),
            election_ticks: u32::try_from(self.election_ticks()).unwrap_or(u32::MAX),
            lease_margin: Duration::from_millis(self.election_ms / 10),
            seed: u64::from(self.node),
            default_wait: Duration::from_millis(self.default_wait_ms),
            limits: Limits::default(),
        }
    }

    /// [`ServerConfig::tick_ms`].
    #[must_use]
    pub fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }

    /// Shortest election timeout, in ticks.
    #[must_use]
    pub fn election_ticks(&self) -> usize {
        usize::try_from(self.election_ms.div_ceil(self.tick_ms.max(1))).unwrap_or(usize::MAX)
    }
}

fn list(invalid: &[Invalid]) -> String {
    invalid.iter().map(|one| format!("\n  {one}")).collect()
}

#[cfg(test)]
mod tests;
