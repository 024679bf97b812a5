//! From a data folder to a running node: identity → snapshots → log → replicas → threads → listeners.
//!
//! Nothing is served from a folder that is missing, another node's or damaged; the error says what is wrong
//! and what to do. Whatever was recovered is what a quorum may have been told is durable, so nothing of it is
//! skipped to get going.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use doorbuster_inventory::Limits;
use doorbuster_protocol::types::{NodeId, ShardId};
use doorbuster_raft::disk::{Disk, RealDisk};
use doorbuster_raft::log::{self, Log, LogConfig};
use doorbuster_raft::snapshot::SnapshotStore;
use doorbuster_raft::transport::{self, Timing, Transport, TransportConfig};
use doorbuster_raft::{Node, NodeConfig, Recovered};
use tokio::net::TcpListener;

use crate::archive::{Archive, Job};
use crate::clock::{self, WallClocks};
use crate::cluster::ClusterView;
use crate::config::{Durability, ServerConfig};
use crate::error::ServerError;
use crate::fatal::Fatal;
use crate::gate::Gate;
use crate::identity::{self, DataFolder, Identity};
use crate::inbox::Inboxes;
use crate::metrics::Metrics;
use crate::replication::Replication;
use crate::service::Service;
use crate::shard::{Machine, QueueLimits, Shard, SnapshotPolicy, Surroundings};
use crate::shard_thread::{Outlets, ShardThread};

/// A client that leaves its answers unread for so long is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Segments of log beyond which a shard that keeps the oldest of them writes a snapshot.
const MAX_SEGMENTS: u64 = 8;

/// The node's sockets, bound.
pub struct Sockets {
    /// For clients.
    pub clients: TcpListener,
    /// For peers.
    pub peers: TcpListener,
    /// For operators.
    pub admin: TcpListener,
}

impl Sockets {
    /// Binds what the configuration says.
    ///
    /// # Errors
    /// Which address cannot be had, and why.
    pub async fn bind(config: &ServerConfig) -> Result<Self, ServerError> {
        Ok(Self {
            clients: bind("listen", config.listen).await?,
            peers: bind("peer_listen", config.peer_listen).await?,
            admin: bind("admin_listen", config.admin_listen).await?,
        })
    }
}

async fn bind(field: &'static str, address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| ServerError::Bind { field, address, source })
}

/// Makes an empty folder the configured node's. Done once, before its first start.
///
/// # Errors
/// The folder is not empty, or the disk refuses.
pub fn format(config: &ServerConfig) -> Result<Identity, ServerError> {
    config.validate()?;
    let identity = identity::format(config)?;
    log::format(&RealDisk, &log_config(config, &identity))?;
    Ok(identity)
}

/// What was found on disk.
pub(crate) struct Recovery {
    folder: Arc<DataFolder>,
    stores: Vec<SnapshotStore>,
    log: Log,
    replicas: Vec<(Recovered, Machine)>,
}

/// Opens and reads the data folder. Blocks for as long as the disk takes.
pub(crate) fn recover(config: &ServerConfig, inboxes: &Inboxes, fatal: &Fatal) -> Result<Recovery, ServerError> {
    let folder = Arc::new(identity::open(config)?);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let stores = (0..config.shards)
        .map(|shard| SnapshotStore::open(Arc::clone(&disk), &snapshot_folder(folder.path(), shard), shard))
        .collect::<Result<Vec<_>, _>>()?;
    let notices = inboxes.clone();
    let durable = Arc::new(move |shard, ticket| notices.push_durable(ShardId(shard), ticket));
    let raise = fatal.clone();
    let failed = Arc::new(move |reason| raise.raise(reason));
    let (log, recovered) = log::open(disk, log_config(config, folder.identity()), durable, failed)?;
    let replicas =
        recovered.into_iter().zip(&stores).map(|(shard, store)| replica(shard, store)).collect::<Result<_, _>>()?;
    Ok(Recovery { folder, stores, log, replicas })
}

/// The state at the newest snapshot, and the entries behind it.
fn replica(recovered: Recovered, store: &SnapshotStore) -> Result<(Recovered, Machine), ServerError> {
    let shard = ShardId(recovered.shard);
    let Some((file, bytes)) = store.load()? else {
        if recovered.mark.index > 0 {
            return Err(ServerError::SnapshotMissing { shard, index: recovered.mark.index });
        }
        return Ok((recovered, Machine::new(shard, Limits::default())));
    };
    if file.mark.index < recovered.mark.index {
        return Err(ServerError::SnapshotMissing { shard, index: recovered.mark.index });
    }
    let machine = Machine::restored(shard, Limits::default(), &bytes)
        .map_err(|reason| ServerError::SnapshotUnusable { file: file.path.clone(), reason })?;
    Ok((recovered.with_snapshot(file.mark), machine))
}

fn snapshot_folder(data: &Path, shard: u16) -> std::path::PathBuf {
    data.join("snapshots").join(format!("{shard:03}"))
}

fn log_config(config: &ServerConfig, identity: &Identity) -> LogConfig {
    let half = identity.incarnation.0.first_chunk().copied().unwrap_or_default();
    LogConfig {
        identity: u64::from_le_bytes(half),
        segment_bytes: config.segment_bytes,
        sync: config.durability == Durability::Disk,
        sync_delay: Duration::from_micros(config.sync_delay_us),
        ..LogConfig::new(config.data.join("log"), config.shards)
    }
}

/// The threads and connections of a node that are not the clients'.
pub(crate) struct Engine {
    pub(crate) service: Arc<Service>,
    pub(crate) folder: Arc<DataFolder>,
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) archive: JoinHandle<()>,
    pub(crate) archive_jobs: Sender<Job>,
}

/// Starts the node's replicas and threads. Must be called on the runtime that carries the connections.
pub(crate) fn start_engine(
    config: &ServerConfig,
    recovery: Recovery,
    inboxes: &Inboxes,
    peers: TcpListener,
    clients: SocketAddr,
    fatal: &Fatal,
) -> Result<Engine, ServerError> {
    let Recovery { folder, stores, log, replicas } = recovery;
    let metrics = Metrics::new();
    let wall_clocks = Arc::new(WallClocks::new(config.others().map(|peer| NodeId(peer.node))));
    let (archive_jobs, jobs) = crossbeam::channel::unbounded();
    let handler = Replication {
        inboxes: inboxes.clone(),
        archive: archive_jobs.clone(),
        folder: Arc::clone(&folder),
        wall_clocks: Arc::clone(&wall_clocks),
        fatal: fatal.clone(),
    };
    let transport = start_transport(config, &folder, &stores, handler, peers)?;
    let service = Arc::new(Service {
        cluster: config.cluster.clone(),
        credentials: config.client_credentials()?,
        gate: Arc::new(Gate::new(config.shards)),
        view: Arc::new(ClusterView::new(config.node(), config.client_addresses(clients), config.shards)),
        inboxes: inboxes.clone(),
        metrics: metrics.clone(),
        wall_clocks,
        log: log.clone(),
        transport: transport.clone(),
        durable: config.durability == Durability::Disk,
        started: clock::monotonic(),
        default_wait: Duration::from_millis(config.default_wait_ms),
        handshake_timeout: Duration::from_millis(config.handshake_ms),
        write_timeout: WRITE_TIMEOUT,
    });
    let archive = spawn_archive(Archive { stores, inboxes: inboxes.clone(), metrics: metrics.clone() }, jobs, fatal)?;
    let outlets = Outlets { log, transport, archive: archive_jobs.clone(), metrics };
    let threads = start_shards(config, replicas, &service, &outlets, fatal)?;
    Ok(Engine { service, folder, threads, archive, archive_jobs })
}

fn start_transport(
    config: &ServerConfig,
    folder: &DataFolder,
    stores: &[SnapshotStore],
    handler: Replication,
    listener: TcpListener,
) -> Result<Option<Transport>, ServerError> {
    let peers: Vec<_> = config.others().map(|peer| (u64::from(peer.node), peer.peer.clone())).collect();
    if peers.is_empty() {
        return Ok(None);
    }
    let transport = TransportConfig {
        node: u64::from(config.node),
        cluster: config.cluster.clone(),
        incarnation: folder.identity().incarnation,
        secret: config.peer_credentials()?.own().to_vec(),
        peers,
        snapshots: stores.to_vec(),
        timing: Timing::default(),
        queue: transport::QueueLimits::default(),
    };
    Ok(Some(Transport::start(transport, listener, Arc::new(handler))))
}

fn spawn_archive(archive: Archive, jobs: Receiver<Job>, fatal: &Fatal) -> Result<JoinHandle<()>, ServerError> {
    let guard = fatal.on_panic("archive");
    let run = move || {
        let _guard = guard;
        archive.run(&jobs);
    };
    std::thread::Builder::new().name("archive".into()).spawn(run).map_err(ServerError::Thread)
}

fn start_shards(
    config: &ServerConfig,
    replicas: Vec<(Recovered, Machine)>,
    service: &Arc<Service>,
    outlets: &Outlets,
    fatal: &Fatal,
) -> Result<Vec<JoinHandle<()>>, ServerError> {
    let inboxes = &service.inboxes;
    let mut threads: Vec<Vec<Shard>> = Vec::new();
    threads.resize_with(inboxes.len(), Vec::new);
    for (recovered, machine) in replicas {
        let shard = start_shard(config, recovered, machine, service)?;
        threads[inboxes.thread_of(shard.id())].push(shard);
    }
    let spawn = |(thread, shards)| {
        let work = ShardThread {
            shards,
            inboxes: inboxes.clone(),
            thread,
            outlets: outlets.clone(),
            tick: config.tick(),
            log_bound: MAX_SEGMENTS.saturating_mul(config.segment_bytes),
        };
        let guard = fatal.on_panic("shard");
        let run = move || {
            let _guard = guard;
            work.run();
        };
        std::thread::Builder::new().name(format!("shards-{thread}")).spawn(run).map_err(ServerError::Thread)
    };
    threads.into_iter().enumerate().map(spawn).collect()
}

fn start_shard(
    config: &ServerConfig,
    recovered: Recovered,
    machine: Machine,
    service: &Service,
) -> Result<Shard, ServerError> {
    let id = ShardId(recovered.shard);
    let voters = config.nodes().into_iter().map(|node| u64::from(node.0)).collect();
    let node = NodeConfig {
        tick: config.tick(),
        election_ticks: u32::try_from(config.election_ticks()).unwrap_or(u32::MAX),
        lease_margin: Duration::from_millis(config.election_ms / 10),
        // A follower that lags by less than this needs no snapshot; a sixteenth of what a snapshot may cut is 4 MiB by default.
        trailing_bytes: config.snapshot_bytes / 16,
        seed: u64::from(config.node),
        ..NodeConfig::new(u64::from(config.node), recovered.shard, voters)
    };
    let node = Node::new(node, recovered, machine)?;
    let around = Surroundings {
        gate: Arc::clone(&service.gate),
        view: Arc::clone(&service.view),
        wall_clocks: Arc::clone(&service.wall_clocks),
        metrics: service.metrics.clone(),
    };
    let limits =
        QueueLimits { backlog: config.inbox, waiting: config.inbox, reads: config.inbox, batch: config.max_batch };
    let policy = SnapshotPolicy { entries: config.snapshot_entries, bytes: config.snapshot_bytes };
    Ok(Shard::new(id, node, around, limits, policy, clock::monotonic()))
}
