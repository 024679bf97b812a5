//! One end of the tests: a transport on a real port, and a handler that writes down what it hears.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorbuster_raft::disk::RealDisk;
use doorbuster_raft::snapshot::{SnapshotFile, SnapshotStore};
use doorbuster_raft::transport::{
    Incarnation, QueueLimits, Timing, TransferOutcome, Transport, TransportConfig, TransportHandler,
};
use doorbuster_raft::{NodeId, PeerMessage, ShardId};
use parking_lot::Mutex;
use tokio::net::TcpListener;

pub const SHARDS: u16 = 3;

#[derive(Default)]
pub struct Heard {
    pub messages: Vec<(NodeId, u64, ShardId, PeerMessage)>,
    pub clocks: u64,
    pub lost: Vec<NodeId>,
    pub snapshots: Vec<(NodeId, ShardId, PeerMessage, SnapshotFile)>,
    pub sent: Vec<(NodeId, ShardId, TransferOutcome)>,
    pub refused: Vec<(NodeId, String)>,
    pub known: HashMap<NodeId, Incarnation>,
}

#[derive(Clone, Default)]
pub struct Ears(pub Arc<Mutex<Heard>>);

impl TransportHandler for Ears {
    fn wall_clock_ms(&self) -> u64 {
        1_764_000_000_000
    }

    fn messages(&self, from: NodeId, wall_clock_ms: u64, batch: Vec<(ShardId, PeerMessage)>) {
        let mut heard = self.0.lock();
        heard.clocks += 1;
        heard.messages.extend(batch.into_iter().map(|(shard, message)| (from, wall_clock_ms, shard, message)));
    }

    fn lost(&self, peer: NodeId) {
        self.0.lock().lost.push(peer);
    }

    fn snapshot(&self, from: NodeId, shard: ShardId, message: PeerMessage, stored: SnapshotFile) {
        self.0.lock().snapshots.push((from, shard, message, stored));
    }

    fn snapshot_sent(&self, to: NodeId, shard: ShardId, outcome: TransferOutcome) {
        self.0.lock().sent.push((to, shard, outcome));
    }

    fn known_incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.0.lock().known.get(&node).copied()
    }

    fn remember_incarnation(&self, node: NodeId, incarnation: Incarnation) -> io::Result<()> {
        self.0.lock().known.insert(node, incarnation);
        Ok(())
    }

    fn refused(&self, by: NodeId, reason: String) {
        self.0.lock().refused.push((by, reason));
    }
}

pub struct Party {
    pub transport: Transport,
    pub ears: Ears,
    pub stores: Vec<SnapshotStore>,
    _folder: tempfile::TempDir,
}

impl Party {
    pub async fn wait(&self, what: &str, until: impl Fn(&Heard) -> bool) {
        for _ in 0..1000 {
            if until(&self.ears.0.lock()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not happen in ten seconds, links: {:?}", self.transport.links());
    }

    pub async fn connected(&self, node: NodeId) {
        for _ in 0..1000 {
            if self.transport.links().iter().any(|link| link.node == node && link.connected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not connected to node {node}: {:?}", self.transport.links());
    }

    /// Why the last attempt to reach `node` failed, once one has.
    pub async fn problem(&self, node: NodeId) -> String {
        for _ in 0..1000 {
            let links = self.transport.links();
            if let Some(link) = links.iter().find(|link| link.node == node && !link.problem.is_empty()) {
                return link.problem.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing went wrong with node {node}");
    }
}

/// Quick enough for tests.
pub fn timing() -> Timing {
    Timing {
        handshake: Duration::from_millis(500),
        keepalive: Duration::from_millis(50),
        silence: Duration::from_millis(400),
        retry_first: Duration::from_millis(5),
        retry_most: Duration::from_millis(50),
        store: Duration::from_secs(5),
    }
}

pub fn config(node: NodeId, peers: &[(NodeId, String)]) -> TransportConfig {
    TransportConfig {
        node,
        cluster: "shop".into(),
        incarnation: Incarnation([node.to_le_bytes()[0]; 16]),
        secret: b"between us".to_vec(),
        peers: peers.to_vec(),
        snapshots: Vec::new(),
        timing: timing(),
        queue: QueueLimits::default(),
    }
}

pub async fn port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

pub fn start(mut config: TransportConfig, listener: TcpListener, ears: Ears) -> Party {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk);
    let store = |shard: u16| SnapshotStore::open(disk.clone(), &folder.path().join(shard.to_string()), shard).unwrap();
    config.snapshots = (0..SHARDS).map(store).collect();
    let stores = config.snapshots.clone();
    let transport = Transport::start(config, listener, Arc::new(ears.clone()));
    Party { transport, ears, stores, _folder: folder }
}

/// Two that know each other; `adjust` spoils the second.
pub async fn pair(adjust: impl FnOnce(&mut TransportConfig)) -> (Party, Party) {
    let ((one_port, one_address), (two_port, two_address)) = (port().await, port().await);
    let one = start(config(1, &[(2, two_address)]), one_port, Ears::default());
    let mut two_config = config(2, &[(1, one_address)]);
    adjust(&mut two_config);
    let two = start(two_config, two_port, Ears::default());
    (one, two)
}

/// A message by its bytes: a heartbeat of `term`, or with `data` an append of one entry.
pub fn message(from: NodeId, to: NodeId, term: u64, data: Option<&[u8]>) -> PeerMessage {
    let mut bytes = vec![if data.is_some() { 1 } else { 3 }, 0];
    bytes.extend(term.to_le_bytes());
    bytes.extend([0; 6 * 8 + 1 + 2 * 8]);
    bytes.extend(u32::from(data.is_some()).to_le_bytes());
    if let Some(data) = data {
        bytes.extend(term.to_le_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        bytes.extend(data);
    }
    PeerMessage::decode(&mut &bytes[..], from, to).unwrap()
}

/// Announces a snapshot.
pub fn announcement(from: NodeId, to: NodeId, index: u64, term: u64) -> PeerMessage {
    let mut bytes = vec![10, 0];
    bytes.extend((term + 1).to_le_bytes());
    bytes.extend([0; 6 * 8 + 1]);
    bytes.extend(index.to_le_bytes());
    bytes.extend(term.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    PeerMessage::decode(&mut &bytes[..], from, to).unwrap()
}

pub fn noise(length: usize) -> Bytes {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| byte()).collect()
}
