//! A payment provider that takes no money, as a process of its own: HTTP, a durable ledger, and whatever goes wrong with
//! real providers, on request. It outlives the gateways before it, so what they leave behind can be compared with what it
//! says was taken.
//!
//! Charges by idempotency key, what came of them, cancellations and refunds are under `/v1/charges`; what goes wrong is
//! under `/admin/faults`; [`routes`] has the table. It listens on loopback addresses only, and asks nobody who they are. A request
//! that has come is carried out, whether or not its caller lives to hear the answer.
//! What it decides it also tells by signed webhooks ([`sender`]), to a loopback address, until they are acknowledged.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod clock;
pub mod faults;
pub mod ledger;
pub mod outbox;
pub mod routes;
pub mod sender;
pub mod signature;
pub mod tally;
mod writer;

use faults::{Faults, FaultsError};
use ledger::Ledger;
use routes::{Shop, Silence};
use sender::Webhooks;

/// Connections at once; more are closed.
const MAX_CONNECTIONS: usize = 4096;
/// How long a request's head may take, and an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in progress may take to end when it shuts down: a charge takes its latency.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after the system could not give a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What it can be told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the ledger is: `sqlite:PATH`.
    pub ledger: String,
    /// What goes wrong.
    pub faults: Faults,
    /// Where events are told.
    pub webhooks: Option<Webhooks>,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It asks nobody who they are.
    #[error("listen on a loopback address, not {0}: this provider asks nobody who they are")]
    NotLoopback(SocketAddr),
    /// What shall go wrong cannot.
    #[error("faults: {0}")]
    Faults(#[from] FaultsError),
    /// The ledger cannot be had.
    #[error("ledger: {0}")]
    Ledger(#[from] sqlx::Error),
    /// The listening address cannot be had.
    #[error("listening on {0}: {1}; is the port taken?")]
    Listen(SocketAddr, std::io::Error),
}

/// A provider that serves until it is shut down.
#[derive(Debug)]
pub struct PaymentSimulator {
    /// Where it listens.
    pub address: SocketAddr,
    shutdown: CancellationToken,
    main: JoinHandle<()>,
}

impl PaymentSimulator {
    /// Opens the ledger, listens, and serves in the background.
    ///
    /// # Errors
    /// What cannot be had or used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.faults.validate()?;
        if !config.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(config.listen));
        }
        let failed = |error| StartError::Listen(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shop = Arc::new(Shop::new(Ledger::open(&config.ledger).await?, config.faults, config.webhooks.is_some()));
        let shutdown = CancellationToken::new();
        let main = tokio::spawn(serve(listener, shop, config.webhooks, shutdown.clone()));
        tracing::info!(%address, "the payment simulator serves");
        Ok(Self { address, shutdown, main })
    }

    /// Lets requests in progress end, and returns when all has ended. Dropping it does the same in the background.
    pub async fn shutdown(mut self) {
        self.shutdown.cancel();
        if let Err(error) = (&mut self.main).await {
            tracing::error!(%error, "the payment simulator's main task failed");
        }
    }
}

impl Drop for PaymentSimulator {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn serve(listener: TcpListener, shop: Arc<Shop>, webhooks: Option<Webhooks>, stop: CancellationToken) {
    let telling = webhooks.map(|webhooks| tokio::spawn(webhooks.run(Arc::clone(&shop), stop.clone())));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match (accepted, Arc::clone(&places).try_acquire_owned()) {
            (Ok((stream, _)), Ok(place)) => {
                connections.spawn(connection(stream, Arc::clone(&shop), stop.clone(), connections.clone(), place));
            }
            // One too many: closed.
            (Ok(_), Err(_)) => {}
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are left open");
    }
    if let Some(telling) = telling
        && let Err(error) = telling.await
    {
        tracing::error!(%error, "the sender of webhooks failed");
    }
    shop.close().await;
}

async fn connection(
    stream: TcpStream,
    shop: Arc<Shop>,
    stop: CancellationToken,
    requests: TaskTracker,
    _place: OwnedSemaphorePermit,
) {
    // Without it answers only wait a little longer.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shop = Arc::clone(&shop);
        // A task of its own: it does not end with the connection.
        let answering = requests.spawn(async move { shop.answer(request).await });
        async move { answering.await.unwrap_or(Err(Silence)) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
