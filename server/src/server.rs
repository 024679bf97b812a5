//! A server from start to shutdown.
//!
//! Shutdown is a handover: no new clients, no new requests; what is under way is answered, leaderships go to
//! other nodes, the answers are written, the log is closed. Each step has its share of a bounded time; what is
//! not finished by then is what a crash would leave, and the log is made for that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::Sender;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::archive::Job;
use crate::clock;
use crate::config::ServerConfig;
use crate::error::ServerError;
use crate::fatal::Fatal;
use crate::identity::lock::FolderLock;
use crate::inbox::Inboxes;
use crate::listener::Listener;
use crate::metrics::{Exporter, Metrics};
use crate::report::Report;
use crate::service::Service;
use crate::startup::{self, Engine, Sockets};
use crate::{admin, logging};

/// How often a draining node looks whether it is done.
const DRAIN_CHECK: Duration = Duration::from_millis(10);
/// Longest time that connections may take to write what is left.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// A process whose node had to end, and that has not ended by itself after this, is ended.
const FATAL_GRACE: Duration = Duration::from_secs(2);
/// Exit code of a process that is ended so.
const FATAL_EXIT: i32 = 70;

/// A running server.
pub struct Server {
    /// Where clients connect.
    pub client_address: SocketAddr,
    /// Where peers connect.
    pub peer_address: SocketAddr,
    /// Where operators connect.
    pub admin_address: SocketAddr,
    service: Arc<Service>,
    _lock: Option<FolderLock>,
    threads: Vec<JoinHandle<()>>,
    archive: JoinHandle<()>,
    archive_jobs: Sender<Job>,
    connections: TaskTracker,
    background: TaskTracker,
    /// No new clients.
    stop: CancellationToken,
    /// Connections end.
    closing: CancellationToken,
    fatal: Fatal,
    shutdown_timeout: Duration,
}

impl Server {
    /// Starts the configured server on a folder that was formatted for it. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// Says what is wrong and what to do.
    pub async fn start(config: ServerConfig) -> Result<Self, ServerError> {
        config.validate()?;
        let sockets = Sockets::bind(&config).await?;
        Self::start_on(config, sockets).await
    }

    /// As [`Self::start`], on sockets that are bound already.
    ///
    /// # Errors
    /// Says what is wrong and what to do.
    pub async fn start_on(config: ServerConfig, sockets: Sockets) -> Result<Self, ServerError> {
        config.validate()?;
        let exporter = Exporter::install().map_err(|error| ServerError::Metrics(error.to_string()))?;
        let Sockets { clients, peers, admin } = sockets;
        let client_address = clients.local_addr().map_err(ServerError::Socket)?;
        let peer_address = peers.local_addr().map_err(ServerError::Socket)?;
        let admin_address = admin.local_addr().map_err(ServerError::Socket)?;
        let inboxes = Inboxes::new(usize::from(config.shard_threads.min(config.shards)), config.inbox);
        let fatal = Fatal::default();
        let (lock, recovery) = {
            let (config, inboxes, fatal) = (config.clone(), inboxes.clone(), fatal.clone());
            let task = tokio::task::spawn_blocking(move || startup::recover(&config, &inboxes, &fatal));
            task.await.map_err(|error| ServerError::Fatal(format!("recovery: {error}")))??
        };
        let Engine { service, threads, archive, archive_jobs } =
            startup::start_engine(&config, recovery, &inboxes, peers, client_address, &fatal)?;
        Metrics::build_info(config.node());
        let (stop, closing) = (CancellationToken::new(), CancellationToken::new());
        let (connections, background) = (TaskTracker::new(), TaskTracker::new());
        let listener = Listener {
            socket: clients,
            service: Arc::clone(&service),
            max_connections: config.max_connections,
            connections: connections.clone(),
            stop: stop.clone(),
            closing: closing.clone(),
        };
        background.spawn(listener.run());
        let report = Arc::new(Report::new(Arc::clone(&service), fatal.clone(), stop.clone()));
        background.spawn(admin::serve(admin, report, exporter, closing.clone()));
        tracing::info!(node = config.node, clients = %client_address, peers = %peer_address, admin = %admin_address, "serving");
        Ok(Self {
            client_address,
            peer_address,
            admin_address,
            service,
            _lock: lock,
            threads,
            archive,
            archive_jobs,
            connections,
            background,
            stop,
            closing,
            fatal,
            shutdown_timeout: Duration::from_millis(config.shutdown_ms),
        })
    }

    /// What the node is told and knows; for tests and embedding programs.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Returns, with the reason, when the node must end. Cancellation-safe.
    pub async fn failed(&self) -> String {
        self.fatal.raised().await
    }

    /// Hands over what the node leads, answers what is under way, and ends. Takes at most about `shutdown_ms`.
    pub async fn shutdown(self) {
        tracing::info!("shutting down");
        self.stop.cancel();
        self.service.desk.inboxes.iter().for_each(crate::inbox::Inbox::drain);
        let drained = async {
            while !self.service.desk.inboxes.iter().all(crate::inbox::Inbox::is_drained) {
                tokio::time::sleep(DRAIN_CHECK).await;
            }
        };
        let since = clock::monotonic();
        if timeout(self.shutdown_timeout, drained).await.is_err() {
            tracing::warn!(waited = ?clock::monotonic().since(since), "not everything was handed over in time");
        }
        self.end().await;
    }

    /// Ends without handing over or answering anything, as near to a crash as a process can do to itself.
    pub async fn abort(self) {
        self.stop.cancel();
        self.end().await;
    }

    async fn end(self) {
        self.closing.cancel();
        self.connections.close();
        self.background.close();
        if timeout(FLUSH_TIMEOUT, self.connections.wait()).await.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "connections that do not take their last answers are cut"
            );
        }
        self.service.desk.inboxes.iter().for_each(crate::inbox::Inbox::stop);
        if let Some(transport) = &self.service.transport {
            transport.close().await;
        }
        let (threads, archive, jobs, log) = (self.threads, self.archive, self.archive_jobs, self.service.log.clone());
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panic has been reported as the reason why the node ends.
                let _panicked = thread.join();
            }
            let _ended = jobs.send(Job::End);
            let _panicked = archive.join();
            log.close();
        });
        let _panicked = ended.await;
        let _late = timeout(FLUSH_TIMEOUT, self.background.wait()).await;
    }
}

/// Runs a server until `shutdown` is cancelled, then shuts it down; or until it must end.
///
/// # Errors
/// It did not start, or had to end; the process should exit with a code other than 0. If it has not done so two seconds
/// after this returned because the node had to end, it is ended with code 70.
pub async fn run(config: ServerConfig, shutdown: CancellationToken) -> Result<(), ServerError> {
    logging::start(&config).map_err(ServerError::Logging)?;
    let server = Server::start(config).await?;
    tokio::select! {
        () = shutdown.cancelled() => {
            server.shutdown().await;
            Ok(())
        }
        reason = server.failed() => {
            // Nothing is handed over: a node whose disk failed, or whose peers refuse it, has nothing to say any more.
            std::thread::spawn(|| {
                std::thread::sleep(FATAL_GRACE);
                std::process::exit(FATAL_EXIT);
            });
            Err(ServerError::Fatal(reason))
        }
    }
}
