//! From a data folder to a running node: lock → [`recovery`] → threads → listeners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use doorbuster_protocol::types::{NodeId, ShardId};
use doorbuster_raft::Recovered;
use doorbuster_raft::disk::{Disk, RealDisk, SyncFailed, WatchedDisk};
use doorbuster_raft::log::{self, Log};
use doorbuster_raft::snapshot::SnapshotStore;
use doorbuster_raft::transport::{self, Incarnation, Timing, Transport, TransportConfig};
use tokio::net::TcpListener;

use crate::archive::{Archive, ArchiveThread, Job};
use crate::clock::{self, WallClocks};
use crate::cluster::ClusterView;
use crate::config::{Durability, ServerConfig};
use crate::desk::Desk;
use crate::entropy;
use crate::error::ServerError;
use crate::fatal::Fatal;
use crate::gate::Gate;
use crate::identity::lock::{self, FolderLock};
use crate::identity::{DataFolder, Identity, IdentityError};
use crate::inbox::Inboxes;
use crate::metrics::Metrics;
use crate::recovery::{self, Recovery};
use crate::replication::Replication;
use crate::service::Service;
use crate::shard::{Machine, Shard};
use crate::shard_group::ShardGroup;
use crate::shard_thread::ShardThread;
use crate::turns::{Outlets, Turns};

/// A client that leaves its answers unread for so long is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

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
    let settings = config.settings();
    lock::prepare(&settings.data)?;
    let _lock = FolderLock::take(&settings.data)?;
    let incarnation = entropy::random_bytes()
        .map_err(|source| ServerError::Identity(IdentityError::Io { file: settings.data.clone(), source }))?;
    recovery::format(&RealDisk, &settings, Incarnation(incarnation))
}

/// Locks, opens and reads the data folder. Blocks for as long as the disk takes.
pub(crate) fn recover(
    config: &ServerConfig,
    inboxes: &Inboxes,
    fatal: &Fatal,
) -> Result<(Option<FolderLock>, Recovery<Log>), ServerError> {
    let settings = config.settings();
    // A folder that is not there, or not formatted, is left as it is: opening it says so.
    let lock = lock::is_formatted(&settings.data).then(|| FolderLock::take(&settings.data)).transpose()?;
    let notices = inboxes.clone();
    let durable = Arc::new(move |tickets: &mut dyn Iterator<Item = (u16, u64)>| {
        tickets.for_each(|(shard, ticket)| notices.push_durable(ShardId(shard), ticket));
        notices.attend();
    });
    let raise = fatal.clone();
    let failed: SyncFailed = Arc::new(move |reason| raise.raise(reason));
    let disk: Arc<dyn Disk> = Arc::new(WatchedDisk::new(Arc::new(RealDisk), Arc::clone(&failed)));
    let recovery = recovery::recover(disk, &settings, |disk, config| log::open(disk, config, durable, failed))?;
    Ok((lock, recovery))
}

/// The threads and connections of a node that are not the clients'.
pub(crate) struct Engine {
    pub(crate) service: Arc<Service>,
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) archive: JoinHandle<()>,
    pub(crate) archive_jobs: Sender<Job>,
}

/// Starts the node's replicas and threads. Must be called on the runtime that carries the connections.
pub(crate) fn start_engine(
    config: &ServerConfig,
    recovery: Recovery<Log>,
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
    let desk = Arc::new(Desk {
        gate: Arc::new(Gate::new(config.shards)),
        view: Arc::new(ClusterView::new(config.node(), config.client_addresses(clients), config.shards)),
        inboxes: inboxes.clone(),
        metrics: metrics.clone(),
        wall_clocks,
        durable: config.durability == Durability::Disk,
        started: clock::monotonic(),
        default_wait: Duration::from_millis(config.default_wait_ms),
    });
    let service = Arc::new(Service {
        cluster: config.cluster.clone(),
        credentials: config.client_credentials()?,
        desk,
        log: log.clone(),
        transport: transport.clone(),
        handshake_timeout: Duration::from_millis(config.handshake_ms),
        write_timeout: WRITE_TIMEOUT,
    });
    let archive = Archive { stores, metrics: metrics.clone() };
    let archive = spawn_archive(ArchiveThread { archive, inboxes: inboxes.clone() }, jobs, fatal)?;
    let outlets = Outlets { log, transport, archive: archive_jobs.clone(), metrics, fatal: fatal.clone() };
    let threads = start_shards(config, replicas, &service, &outlets, fatal)?;
    Ok(Engine { service, threads, archive, archive_jobs })
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

fn spawn_archive(archive: ArchiveThread, jobs: Receiver<Job>, fatal: &Fatal) -> Result<JoinHandle<()>, ServerError> {
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
    let (settings, inboxes, now) = (config.settings(), &service.desk.inboxes, clock::monotonic());
    let shards = recovery::shards(&settings, replicas, &service.desk.surroundings(), now)?;
    let spawn = |(thread, shards): (usize, Vec<Shard>)| {
        let group = ShardGroup::new(shards, settings.tick, settings.log_bound(), now);
        let turns = Arc::new(Turns::new(group, outlets.clone()));
        let work = ShardThread { turns, inboxes: inboxes.clone(), thread };
        let guard = fatal.on_panic("shard");
        let run = move || {
            let _guard = guard;
            work.run();
        };
        std::thread::Builder::new().name(format!("shards-{thread}")).spawn(run).map_err(ServerError::Thread)
    };
    inboxes.deal(shards).into_iter().enumerate().map(spawn).collect()
}
