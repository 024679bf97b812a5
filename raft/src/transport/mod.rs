//! Messages and snapshots between the processes of a cluster, over TCP.

use std::io;
use std::io::Read;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::message::PeerMessage;
use crate::types::{NodeId, ShardId, SnapshotMark};

/// Random bytes made when a data folder was formatted: tells a node from one that took its number after losing its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub [u8; 16]);

/// Who this process is and whom it talks to.
#[derive(Clone)]
pub struct TransportConfig {
    /// This node.
    pub node: NodeId,
    /// The cluster's name, at most 64 bytes.
    pub cluster: String,
    /// This node's incarnation.
    pub incarnation: Incarnation,
    /// What all nodes of the cluster know, at most 256 bytes; empty: no secret.
    pub secret: Vec<u8>,
    /// The other nodes and their `host:port`.
    pub peers: Vec<(NodeId, String)>,
    /// The shards that exist: 0 to this, exclusive.
    pub shards: u16,
}

/// Where received snapshots go.
pub trait SnapshotSink: Send + Sync + 'static {
    /// Starts to receive a snapshot of `length` bytes.
    ///
    /// # Errors
    /// Those of the disk; the transfer is refused.
    fn begin(&self, shard: ShardId, mark: SnapshotMark, length: u64) -> io::Result<Box<dyn SnapshotReceiver>>;
}

/// A snapshot while it arrives. Dropped without `finish`: it never was.
pub trait SnapshotReceiver: Send {
    /// The next bytes.
    ///
    /// # Errors
    /// Those of the disk; the transfer is given up.
    fn write(&mut self, chunk: &[u8]) -> io::Result<()>;
    /// All bytes are there: returns when they are durable.
    ///
    /// # Errors
    /// Those of the disk, or that the content is not a valid snapshot.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// What the transport asks of and tells the rest of the process. Called on runtime threads: must not block for long.
pub trait TransportHandler: Send + Sync + 'static {
    /// The wall clock, UTC milliseconds: goes out with every frame.
    fn wall_clock_ms(&self) -> u64;
    /// Messages from a peer, and what its wall clock said when it sent them.
    fn messages(&self, from: NodeId, wall_clock_ms: u64, batch: Vec<(ShardId, PeerMessage)>);
    /// A snapshot from a peer is stored durably under `message.snapshot_mark()`: install it.
    fn snapshot(&self, from: NodeId, shard: ShardId, message: PeerMessage);
    /// A snapshot given to [`Transport::send_snapshot`] has arrived and is durable there (or not).
    fn snapshot_sent(&self, to: NodeId, shard: ShardId, ok: bool);
    /// The incarnation this node remembers of `node`.
    fn known_incarnation(&self, node: NodeId) -> Option<Incarnation>;
    /// Remembers durably. Called before anything from that incarnation is handed on.
    ///
    /// # Errors
    /// Those of the disk; the connection is closed.
    fn remember_incarnation(&self, node: NodeId, incarnation: Incarnation) -> io::Result<()>;
    /// A peer refuses to talk to this node, for a reason that does not go away by itself: the process should end with it.
    fn refused(&self, by: NodeId, reason: String);
}

/// A snapshot's bytes on their way out.
pub struct SnapshotSource {
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
    /// How many there are.
    pub length: u64,
}

/// How the connection to a peer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLink {
    /// The peer.
    pub node: NodeId,
    /// Connected, handshake done.
    pub connected: bool,
    /// Messages waiting.
    pub queued: usize,
    /// Messages dropped because the queue was full or the connection down, since the start.
    pub dropped: u64,
}

/// The connections of this process to all its peers. Cheap to clone.
#[derive(Clone)]
pub struct Transport {}

#[allow(clippy::todo, unused_variables, clippy::needless_pass_by_value, clippy::unused_async, missing_docs)]
impl Transport {
    /// Starts listening and connecting. Must be called on a tokio runtime, which carries the connections.
    pub fn start(
        config: TransportConfig,
        listener: TcpListener,
        snapshots: Arc<dyn SnapshotSink>,
        handler: Arc<dyn TransportHandler>,
    ) -> Transport {
        todo!()
    }
    /// Queues messages; never blocks. What does not fit is dropped and counted.
    pub fn send(&self, to: NodeId, batch: Vec<(ShardId, PeerMessage)>) {
        todo!()
    }
    /// Sends a snapshot on its own connection; `TransportHandler::snapshot_sent` tells the end.
    pub fn send_snapshot(&self, to: NodeId, shard: ShardId, message: PeerMessage, source: SnapshotSource) {
        todo!()
    }
    pub fn links(&self) -> Vec<PeerLink> {
        todo!()
    }
    /// Closes all connections and waits for their tasks to end.
    pub async fn close(&self) {
        todo!()
    }
}
