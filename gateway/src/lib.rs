//! Doorbuster's HTTP front: limits, tokens, reservations, the payment saga, and the routes under `/v1`.
//!
//! A gateway is stateless: whatever matters is in the replicated reservation, so any number of gateways serve the same
//! cluster, and one that dies is replaced by any other. What it keeps in memory are limits, connections and payments
//! that are under way right now, each of which another gateway takes up from the reservation's state.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod app;
mod backend;
mod body;
mod clock;
pub mod config;
mod entropy;
pub mod events;
mod field;
pub mod ids;
mod layers;
mod metrics;
pub mod orders;
mod pause;
mod problem;
mod routes;
mod saga;
mod server;
mod timestamp;
pub mod webhooks;

use app::App;
use clock::Stopwatch;
pub use config::{ConfigError, GatewayConfig};
use config::{PaymentConfig, Provider};
use events::Publisher;
use metrics::Metrics;
use orders::{OrderStore, OrderWriter, StoreError};
pub use routes::bodies;
use routes::orders::OrderReader;
pub use saga::pacing::AccountReport;
pub use saga::pacing::breaker::State as BreakerState;
pub use saga::pacing::queue::Rank;
pub use saga::provider::{Answering, Charge, Charged, Key, Known, PaymentProvider, Purchase};
use saga::remote::RemoteSimulator;
pub use saga::simulator::Simulator;
pub use saga::step as payment;
pub use saga::stripe::{Stripe, ledger};
use saga::sweeper::Sweeper;
use webhooks::Webhooks;

/// How often histograms are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The order database's address cannot be used.
    #[error(transparent)]
    Database(#[from] StoreError),
    /// The listening address cannot be had.
    #[error("listening on {address}: {error}; is the port taken?")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
}

/// A gateway that serves until it is shut down.
#[derive(Debug)]
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    shutdown: CancellationToken,
    main: JoinHandle<()>,
}

impl Gateway {
    /// Validates `config`, listens, and serves in the background.
    ///
    /// # Errors
    /// A configuration that cannot be used, or an address that cannot be had. Servers that cannot be reached yet are no
    /// error: requests get 503 `no_leader` until they can.
    pub async fn start(config: GatewayConfig) -> Result<Self, GatewayError> {
        let provider = provider(&config)?;
        Self::start_with(config, provider).await
    }

    /// The same with another provider than the configured one.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_with(config: GatewayConfig, provider: Arc<dyn PaymentProvider>) -> Result<Self, GatewayError> {
        config.validate()?;
        let client = backend::client_config(&config)?;
        let wanted = config.listen_address()?;
        let orders = match config.database.as_str() {
            "" => None,
            url => Some(OrderStore::open(url)?),
        };
        let reader = orders.clone().map(|store| Arc::new(store) as Arc<dyn OrderReader>);
        let webhooks = Webhooks::load(&config, orders.as_ref())?;
        let app = Arc::new(App::new(config, provider, reader, webhooks)?);
        let publisher = Publisher::load(&app.config, orders.as_ref(), &app.metrics)?;
        let failed = |error| GatewayError::Listen { address: wanted, error };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shutdown = app.draining.clone();
        let main = tokio::spawn(serve(app, listener, client, orders.map(|store| Books { store, publisher })));
        tracing::info!(%address, "the gateway serves");
        Ok(Self { address, shutdown, main })
    }

    /// Stops accepting, lets requests and payments in progress end within `drain_ms`, and returns when all has ended.
    /// Dropping a gateway without this stops it accepting, and lets it drain in the background.
    pub async fn shutdown(mut self) {
        self.shutdown.cancel();
        if let Err(error) = (&mut self.main).await {
            tracing::error!(%error, "the gateway's main task failed");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The provider that the configuration chooses.
fn provider(config: &GatewayConfig) -> Result<Arc<dyn PaymentProvider>, ConfigError> {
    let PaymentConfig { provider, simulator, stripe, .. } = &config.payment;
    Ok(match (provider, simulator.url.as_str()) {
        (Provider::Stripe, _) => Arc::new(Stripe::new(stripe, &config.cluster)?),
        (Provider::Simulator, "") => Arc::new(Simulator::new(simulator.clone())),
        (Provider::Simulator, url) => Arc::new(RemoteSimulator::at(url)?),
    })
}

/// Serves until `shutdown` is cancelled, then drains.
///
/// # Errors
/// As [`Gateway::start`].
pub async fn run(config: GatewayConfig, shutdown: CancellationToken) -> Result<(), GatewayError> {
    let gateway = Gateway::start(config).await?;
    shutdown.cancelled().await;
    gateway.shutdown().await;
    Ok(())
}

/// Where orders are stored, and who tells others of them.
struct Books {
    store: OrderStore,
    publisher: Option<Publisher>,
}

async fn serve(app: Arc<App>, listener: TcpListener, client: doorbuster_client::Config, books: Option<Books>) {
    let stop = app.draining.clone();
    let drain = Duration::from_millis(app.config.drain_ms);
    let background = TaskTracker::new();
    let connecting = Arc::clone(&app);
    let connect_stop = stop.clone();
    let writer_stop = CancellationToken::new();
    let writer_ends = writer_stop.clone();
    if let Some(Books { store, .. }) = &books {
        background.spawn(events::watch(store.clone(), app.metrics.backlog.clone(), stop.clone()));
    }
    background.spawn(async move {
        connecting.backend.connect(client, connect_stop).await;
        if let (Some(books), Some(client)) = (books, connecting.backend.get()) {
            books.keep(client.clone(), &connecting.metrics, writer_ends).await;
        }
    });
    background.spawn(sweep(Arc::clone(&app), stop.clone()));
    if let Some(webhooks) = &app.webhooks {
        background.spawn(webhooks::retention::run(webhooks.store.clone(), stop.clone()));
    }
    background.spawn(upkeep(Arc::clone(&app), stop.clone()));
    background.close();
    let (stopping, ()) = tokio::join!(stopped(&stop), server::serve(listener, Arc::clone(&app), stop.clone(), drain));
    app.saga.shutdown(drain.saturating_sub(stopping.elapsed())).await;
    writer_stop.cancel();
    background.wait().await;
    if let Some(client) = app.backend.get() {
        client.clone().close().await;
    }
    tracing::info!("the gateway has stopped");
}

impl Books {
    /// Stores and publishes until `stop`, and what was handed over by then is published.
    async fn keep(self, client: doorbuster_client::Client, metrics: &Metrics, stop: CancellationToken) {
        let Self { store, publisher } = self;
        let shards = client.shards();
        let publishing = match publisher {
            None => None,
            Some(publisher) => {
                publisher.subscribe(shards, &stop).await;
                Some(tokio::spawn(publisher.run(shards, stop.clone())))
            }
        };
        OrderWriter::new(client, store.clone(), metrics.orders.clone()).run(stop).await;
        if let Some(publishing) = publishing
            && let Err(error) = publishing.await
        {
            tracing::error!(%error, "the publisher of events ended");
        }
        store.close().await;
    }
}

/// Tells how long ago `stop` was cancelled, once it is.
async fn stopped(stop: &CancellationToken) -> Stopwatch {
    stop.cancelled().await;
    Stopwatch::start()
}

/// Sweeps once there is a connection.
async fn sweep(app: Arc<App>, stop: CancellationToken) {
    let connected = stop.run_until_cancelled(app.backend.connected()).await;
    if let Some(client) = connected {
        let metrics = app.metrics.payments.clone();
        Sweeper::new(Arc::clone(&app.saga), client.clone(), metrics, &app.config.payment).run(stop).await;
    }
}

async fn upkeep(app: Arc<App>, stop: CancellationToken) {
    while tokio::time::timeout(UPKEEP, stop.cancelled()).await.is_err() {
        app.metrics.upkeep();
    }
}
