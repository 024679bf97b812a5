//! A server, a payment provider and gateways that publish, each a process; their order database, and Kafka.

use std::path::Path;
use std::time::Duration;

use doorbuster_cli::demo::cluster::{Cluster, ClusterConfig};
use doorbuster_cli::demo::front::{Front, FrontConfig};
use doorbuster_cli::demo::ports::free_ports;
use doorbuster_cli::demo::process::Process;
use doorbuster_client::Client;
use doorbuster_gateway::events::{Outbox, Waiting};
use doorbuster_gateway::orders::OrderStore;
use doorbuster_protocol::command::{LatePaymentPolicy, ProductSpec};
use doorbuster_protocol::types::{Currency, Millis, Money, ProductId, Quantity, ShardId, Timestamp};
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;
use toml::{Table, Value, toml};

use crate::broker::Broker;
use crate::http::{WITHIN, ask, until};
use crate::postgres;

const BINARY: &str = env!("CARGO_BIN_EXE_doorbuster");
/// On sale are 1 to this one.
pub const PRODUCTS: u64 = 6;
/// Nothing expires.
const LONG: Millis = Millis(600_000);
/// As if there were nothing for now.
const FORGET: &str = "UPDATE event_positions SET claimed_until_ms = 0";

pub enum Database {
    Sqlite(TempDir),
    Postgres(postgres::Cluster),
}

impl Database {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a temporary folder"))
    }

    /// `None` if there is none on this machine.
    pub fn postgres() -> Option<Self> {
        postgres::Cluster::start().map(Self::Postgres)
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.path().join("orders.db").display()),
            Self::Postgres(cluster) => cluster.url(),
        }
    }

    /// What fails within a second if a writer or publisher does not come to its end.
    fn lock(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "PRAGMA busy_timeout = 1000; BEGIN IMMEDIATE; ROLLBACK",
            Self::Postgres(_) => {
                "SET lock_timeout = '1s'; BEGIN; LOCK TABLE feed_positions, event_positions, outgoing_events; ROLLBACK"
            }
        }
    }

    async fn attempt(&self, statements: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => SqliteConnection::connect(&self.url()).await?.execute(statements).await?.rows_affected(),
            Self::Postgres(_) => PgConnection::connect(&self.url()).await?.execute(statements).await?.rows_affected(),
        };
        Ok(())
    }
}

/// Fields are dropped in this order: processes before what they use.
pub struct Shop {
    pub fronts: Vec<Front>,
    pub client: Client,
    pub broker: Broker,
    pub orders: OrderStore,
    _provider: Process,
    _cluster: Cluster,
    database: Database,
    _folder: TempDir,
}

impl Shop {
    /// Opens it, with so many gateways.
    pub async fn open(database: Database, gateways: usize) -> Self {
        let (folder, broker) = (tempfile::tempdir().expect("a temporary folder"), Broker::start());
        let config = ClusterConfig { nodes: 1, shards: 2, ..ClusterConfig::new(BINARY, folder.path()) };
        let cluster = Cluster::start(config.with("segment_bytes", 1 << 20)).await.expect("the server starts");
        let client = cluster.client().await.expect("the server answers");
        for product in 1..=PRODUCTS {
            client.create_product(on_sale(ProductId(product))).await.expect("a new product is accepted");
        }
        let (provider, url) = provider(folder.path()).await;
        let mut fronts = Vec::new();
        for number in 0..gateways {
            let config = FrontConfig {
                binary: BINARY.into(),
                folder: folder.path().join(format!("gateway-{number}")),
                database: Some(database.url()),
                settings: settings(&url, &broker),
            };
            fronts.push(Front::start(config, &cluster).await.expect("a gateway starts"));
        }
        let orders = OrderStore::open(&database.url()).expect("it is a database's URL");
        Self { fronts, client, broker, orders, _provider: provider, _cluster: cluster, database, _folder: folder }
    }

    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.client.shards()).map(ShardId)
    }

    /// How long what brokers say is on its way.
    pub fn brokers_answer_after(&self, time: Duration) {
        self.broker.mock.broker_round_trip_time(-1, time).expect("the mock cluster takes it");
    }

    /// What is stored and not published.
    pub async fn waiting(&self) -> Waiting {
        Outbox::beside(&self.orders).waiting().await.expect("the database is up")
    }

    /// Entries that are stored, over all shards.
    pub async fn stored(&self) -> u64 {
        let mut stored = 0;
        for shard in self.shards() {
            stored += self.orders.position(shard).await.expect("the database is up").get();
        }
        stored
    }

    /// Waits until somebody has published something from now on, and has the database know.
    pub async fn something_is_published(&self) {
        let before = self.published().await;
        until("something is published", WITHIN, async || self.published().await > before).await;
    }

    async fn published(&self) -> u64 {
        // In this order: entries that are stored in between are not taken for published ones.
        let stored = self.stored().await;
        stored.saturating_sub(self.waiting().await.events)
    }

    /// Of two gateways, the one that publishes something first from now on.
    pub async fn who_publishes(&self) -> usize {
        tokio::select! {
            () = self.publishes(0) => 0,
            () = self.publishes(1) => 1,
        }
    }

    /// Waits until this gateway has published something from now on.
    pub async fn publishes(&self, number: usize) {
        let count = async || metric(&self.fronts[number], "doorbuster_gateway_events_published_total").await;
        let before = count().await;
        until("the gateway publishes", WITHIN, async || count().await > before).await;
    }

    /// As if the time of whoever publishes were over.
    pub async fn forget_claims(&self) {
        self.database.attempt(FORGET).await.expect("the database is up");
    }

    /// Stops a gateway in its tracks (SIGSTOP) at a moment at which it has no lock: SQLite would keep it for as long as that takes,
    /// PostgreSQL for half a minute.
    pub async fn stop(&mut self, number: usize) {
        loop {
            self.fronts[number].freeze().expect("the gateway is ours");
            if self.database.attempt(self.database.lock()).await.is_ok() {
                return;
            }
            self.fronts[number].unfreeze().expect("the gateway is ours");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

/// What a gateway shows on `/metrics`.
pub async fn metric(front: &Front, name: &str) -> u64 {
    let page = ask(front.address(), "GET", "/metrics", "", "").await.expect("the gateway answers").is(200);
    let line = page.as_str().unwrap_or_default().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}:\n{page}"))
}

fn on_sale(product: ProductId) -> ProductSpec {
    ProductSpec {
        product,
        name: "phone".to_owned(),
        stock: Quantity(1_000_000),
        price: Money { minor: 500, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(0),
        limit_per_reservation: Quantity(0),
        ttl: LONG,
        max_life: LONG,
        payment_cap: LONG,
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    }
}

async fn provider(folder: &Path) -> (Process, String) {
    let [port] = free_ports().expect("there are ports");
    let (listen, ledger) = (format!("127.0.0.1:{port}"), format!("sqlite:{}", folder.join("ledger.db").display()));
    let quick = ["payment-simulator", "--min-latency-ms", "1", "--max-latency-ms", "5", "--listen", &listen];
    let words: Vec<String> = quick.into_iter().chain(["--ledger", &ledger]).map(str::to_owned).collect();
    let log = folder.join("provider.txt");
    let process = Process::start("the payment simulator", Path::new(BINARY), &words, &log).expect("it starts");
    until("the provider answers", WITHIN, async || ask(&listen, "GET", "/admin/faults", "", "").await.is_ok()).await;
    (process, format!("http://{listen}"))
}

fn settings(provider: &str, broker: &Broker) -> Table {
    let mut settings = toml! {
        insecure_dev = true
        [auth]
        [limits]
        address_per_second = 0
        [payment]
        sweep_every_ms = 50
        sweep_after_ms = 500
        cancel_within_ms = 3600000
    };
    let url = Table::from_iter([("url".to_owned(), provider.into())]);
    if let Some(Value::Table(payment)) = settings.get_mut("payment") {
        payment.insert("simulator".to_owned(), url.into());
    }
    let mut kafka = broker.config();
    // What the client was handed is not yet on its way for most of the time: whoever took it for delivered would lose it.
    kafka.properties.insert("linger.ms".to_owned(), "50".to_owned());
    settings.insert("kafka".to_owned(), Value::try_from(kafka).expect("it is as in a file"));
    settings
}
