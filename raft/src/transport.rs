//! Messages and snapshots between the processes of a cluster, over TCP.
//!
//! * To each peer goes one connection for messages, which this side opens and keeps open; what the peer has to say comes
//!   over the connection that *it* opens. All shards share it: whatever waits goes out as one frame, with the sender's wall
//!   clock. A queue that is full drops (raft repeats), and says how much.
//! * That the connection of a peer has ended is handed on, too: a process that ends closes it at once.
//! * A snapshot travels on a connection of its own, in chunks, from store to store.
//! * Both ends prove that they know the cluster's secret, by keyed hashes over both ends' random numbers: the secret does
//!   not travel. Nothing is encrypted: the peers' network must be private.
//! * Each end remembers the other's incarnation for good. A node that comes back without its data has another one; it may
//!   have voted and acknowledged, and is told that it cannot come back.
//!
//! Fault model: peers that prove themselves are honest, but their bytes may be garbage: frames are bounded and
//! checksummed, decoders are total, and anything wrong closes the connection. Silence closes it too, from both ends.

mod frame;
mod handshake;
mod incoming;
mod outgoing;
mod queue;
mod secret;
mod streaming;
mod transfer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

pub use self::frame::{pack_messages, unpack_messages};
use self::handshake::Identity;
use self::outgoing::Link;
pub use self::transfer::{SnapshotOffer, SnapshotReceipt, TransferOutcome};
use crate::message::PeerMessage;
use crate::snapshot::{SnapshotFile, SnapshotStore};
use crate::types::{NodeId, ShardId};

/// Random bytes made when a data folder was formatted: tells a node from one that took its number after losing its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub [u8; 16]);

impl std::fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Who this process is and whom it talks to.
#[derive(Clone)]
pub struct TransportConfig {
    /// This node.
    pub node: NodeId,
    /// The cluster's name, 1 to 64 bytes.
    pub cluster: String,
    /// This node's incarnation.
    pub incarnation: Incarnation,
    /// What all nodes of the cluster know, at most 256 bytes. Empty: anybody who gets through to the port is believed.
    pub secret: Vec<u8>,
    /// The other nodes and their `host:port`.
    pub peers: Vec<(NodeId, String)>,
    /// Where the snapshots of each shard are, in the order of shards; there are as many shards as stores.
    pub snapshots: Vec<SnapshotStore>,
    /// How long things may take.
    pub timing: Timing,
    /// How much may wait for one peer.
    pub queue: QueueLimits,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Connecting and handshake together. Default 3 s.
    pub handshake: Duration,
    /// After so long without anything to say, "still here" is said. Default 500 ms.
    pub keepalive: Duration,
    /// After so long without a word from the other end, or without room for ours, the connection is given up. Default 3 s,
    /// at least twice `keepalive`.
    pub silence: Duration,
    /// The pause before the first attempt to connect again; doubles from there, jittered. Default 20 ms.
    pub retry_first: Duration,
    /// The longest such pause. Default 500 ms.
    pub retry_most: Duration,
    /// How long a peer may take to make a received snapshot durable. Default 60 s.
    pub store: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(3),
            keepalive: Duration::from_millis(500),
            silence: Duration::from_secs(3),
            retry_first: Duration::from_millis(20),
            retry_most: Duration::from_millis(500),
            store: Duration::from_secs(60),
        }
    }
}

/// How much may wait for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages. Default 16384.
    pub messages: usize,
    /// Their bytes. Default 16 MiB.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { messages: 16_384, bytes: 16 << 20 }
    }
}

/// What the transport asks of and tells the rest of the process. Called on runtime threads: must not block for long.
pub trait TransportHandler: Send + Sync + 'static {
    /// The wall clock, UTC milliseconds: goes out with every frame.
    fn wall_clock_ms(&self) -> u64;

    /// Messages from a peer, and what its wall clock said when it sent them. An empty batch brings the clock only.
    fn messages(&self, from: NodeId, wall_clock_ms: u64, batch: Vec<(ShardId, PeerMessage)>);

    /// The connection over which a peer sent its messages has ended, and no newer one stands: its process may be gone. What
    /// came over it was handed on before. For [`Node::peer_lost`](crate::Node::peer_lost).
    fn lost(&self, peer: NodeId);

    /// A snapshot from a peer is durable in the shard's store: give `message` and its contents to
    /// [`Node::install`](crate::Node::install).
    fn snapshot(&self, from: NodeId, shard: ShardId, message: PeerMessage, stored: SnapshotFile);

    /// How [`Transport::send_snapshot`] ended. For [`Node::snapshot_sent`](crate::Node::snapshot_sent); after
    /// [`TransferOutcome::Unreadable`] the shard's snapshot is to be written anew.
    fn snapshot_sent(&self, to: NodeId, shard: ShardId, outcome: TransferOutcome);

    /// The incarnation this node remembers of `node`.
    fn known_incarnation(&self, node: NodeId) -> Option<Incarnation>;

    /// Remembers durably. Called before anything from that incarnation is handed on.
    ///
    /// # Errors
    /// Those of the disk; the connection is closed.
    fn remember_incarnation(&self, node: NodeId, incarnation: Incarnation) -> std::io::Result<()>;

    /// A peer that knows the secret refuses this node, for a reason that does not go away by itself: the process should
    /// end with it.
    fn refused(&self, by: NodeId, reason: String);
}

/// How the connection to a peer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLink {
    /// The peer.
    pub node: NodeId,
    /// Our connection to it is up.
    pub connected: bool,
    /// Messages waiting.
    pub queued: usize,
    /// Messages dropped because the queue was full or the connection down, since the start.
    pub dropped: u64,
    /// Why the last attempt or connection failed; empty if none did.
    pub problem: String,
}

/// The connections of this process to all its peers. Cheap to clone; the last clone that goes closes them.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    links: Vec<Arc<Link>>,
    runtime: Handle,
    tasks: Mutex<JoinSet<()>>,
}

/// What all connections share.
struct Shared {
    identity: Identity,
    peers: Vec<(NodeId, String)>,
    snapshots: Vec<SnapshotStore>,
    timing: Timing,
    handler: Arc<dyn TransportHandler>,
    /// One at a time compares and remembers incarnations.
    incarnations: Mutex<()>,
    /// Snapshots on their way out; others wait.
    sending: Semaphore,
    /// Snapshots on their way in; others are refused.
    receiving: Semaphore,
    met: Vec<Met>,
}

/// What is known of a peer by its connections to this node.
struct Met {
    peer: NodeId,
    /// It has connected: try to reach it now.
    awake: Notify,
    /// The number of its newest connection for messages.
    newest: AtomicU64,
}

const SNAPSHOTS_AT_ONCE: usize = 2;

impl Transport {
    /// Starts listening and connecting. Must be called on a tokio runtime, which carries the connections.
    pub fn start(config: TransportConfig, listener: TcpListener, handler: Arc<dyn TransportHandler>) -> Self {
        let queue = config.queue;
        let shared = Arc::new(Shared {
            identity: Identity {
                node: config.node,
                cluster: config.cluster,
                incarnation: config.incarnation,
                secret: config.secret,
            },
            met: config.peers.iter().map(|(peer, _)| Met::new(*peer)).collect(),
            peers: config.peers,
            snapshots: config.snapshots,
            timing: config.timing,
            handler,
            incarnations: Mutex::new(()),
            sending: Semaphore::new(SNAPSHOTS_AT_ONCE),
            receiving: Semaphore::new(SNAPSHOTS_AT_ONCE),
        });
        let links: Vec<_> = shared.peers.iter().map(|(node, _)| Arc::new(Link::new(*node, queue))).collect();
        let mut tasks = JoinSet::new();
        tasks.spawn(incoming::listen(listener, Arc::clone(&shared)));
        for link in &links {
            tasks.spawn(outgoing::keep_connected(Arc::clone(link), Arc::clone(&shared)));
        }
        let inner = Inner { shared, links, runtime: Handle::current(), tasks: Mutex::new(tasks) };
        Self { inner: Arc::new(inner) }
    }

    /// Sends or queues messages; never waits. What does not fit, or has no connection to go over, is dropped and counted.
    pub fn send(&self, to: NodeId, batch: Vec<(ShardId, PeerMessage)>) {
        if let Some(link) = self.inner.links.iter().find(|link| link.node() == to) {
            link.push(batch, self.inner.shared.handler.wall_clock_ms());
        }
    }

    /// Sends a shard's newest snapshot on a connection of its own, if it is the one that `message` announces;
    /// [`TransportHandler::snapshot_sent`] tells the end in any case, unless the transport is closed first.
    pub fn send_snapshot(&self, to: NodeId, shard: ShardId, message: PeerMessage) {
        let shared = Arc::clone(&self.inner.shared);
        let mut tasks = self.inner.tasks.lock();
        while tasks.try_join_next().is_some() {}
        let task = async move {
            let sent = streaming::send(&shared, to, shard, &message).await;
            if let Err(problem) = &sent {
                tracing::warn!(peer = to, shard, %problem, "a snapshot was not sent");
            }
            shared.handler.snapshot_sent(to, shard, TransferOutcome::of(&sent));
        };
        tasks.spawn_on(task, &self.inner.runtime);
    }

    /// How each peer's connection stands.
    #[must_use]
    pub fn links(&self) -> Vec<PeerLink> {
        self.inner.links.iter().map(|link| link.describe()).collect()
    }

    /// Closes all connections and waits for their tasks to end. What is queued is dropped. Not cancellation-safe: once
    /// polled, the transport is closed.
    pub async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.inner.tasks.lock());
        tasks.shutdown().await;
    }
}

impl Met {
    fn new(peer: NodeId) -> Self {
        Self { peer, awake: Notify::new(), newest: AtomicU64::new(0) }
    }
}

impl Shared {
    fn address(&self, node: NodeId) -> Option<&str> {
        self.peers.iter().find(|(peer, _)| *peer == node).map(|(_, address)| address.as_str())
    }

    fn met(&self, peer: NodeId) -> Option<&Met> {
        self.met.iter().find(|met| met.peer == peer)
    }

    /// A peer that has just proved itself can be reached, as far as we know: no reason to wait longer.
    fn wake(&self, peer: NodeId) {
        if let Some(met) = self.met(peer) {
            met.awake.notify_one();
        }
    }

    async fn awakened(&self, peer: NodeId) {
        match self.met(peer) {
            Some(met) => met.awake.notified().await,
            None => std::future::pending().await,
        }
    }

    /// A peer speaks over a new connection: its number.
    fn speaks(&self, peer: NodeId) -> u64 {
        self.met(peer).map_or(0, |met| met.newest.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The peer's connection of this number has ended. One that was replaced is nobody's loss.
    fn ended(&self, peer: NodeId, number: u64) {
        if self.met(peer).is_some_and(|met| met.newest.load(Ordering::Acquire) == number) {
            self.handler.lost(peer);
        }
    }

    /// Compares a peer's incarnation with the one remembered, or remembers it. `Ok(Err(reason))`: it is another one.
    fn recognise(&self, node: NodeId, incarnation: Incarnation) -> std::io::Result<Result<(), String>> {
        let _one_at_a_time = self.incarnations.lock();
        match recognise(node, self.handler.known_incarnation(node), incarnation) {
            Ok(true) => Ok(Ok(())),
            Ok(false) => self.handler.remember_incarnation(node, incarnation).map(Ok),
            Err(reason) => Ok(Err(reason)),
        }
    }
}

/// Whether the peer that is met is the one that is known: true if it is, false if none is known and this one is to be
/// remembered.
///
/// # Errors
/// Another one is known; the reason is for the peer, which must end.
pub fn recognise(node: NodeId, known: Option<Incarnation>, met: Incarnation) -> Result<bool, String> {
    match known {
        None => Ok(false),
        Some(known) if known == met => Ok(true),
        Some(known) => Err(format!(
            "node {node} lost its data: its data folder is incarnation {met}, the cluster knows {known}. It may have voted \
             and acknowledged entries that it has forgotten, so it cannot come back as node {node}: bring its old data \
             folder back, or replace the node"
        )),
    }
}
