//! Where the demo plays: the folder, the servers, the gateway, the payment provider, the client; set up before the sale, struck
//! after it.

use super::DemoArgs;
use super::buyers::browser::Browser;
use super::buyers::http::HttpShop;
use super::buyers::tcp::TcpShop;
use super::buyers::till::Till;
use super::buyers::{Crowd, Doors, Sale};
use super::cluster::{Cluster, ClusterConfig};
use super::database;
use super::front::{Front, FrontConfig};
use super::ledger::Ledger;
use super::plan::{PRODUCT_TO_TRY, Plan};
use super::ports::free_ports;
use super::progress::Progress;
use super::provider::{self, Place, Provider};
use super::stats::Stats;
use crate::audit::judgement::Rules;
use crate::audit::ledger::Provider as Books;
use crate::audit::orders::Orders;
use crate::audit::{Audit, orders, payments, replicas};
use crate::error::CliError;
use crate::overlay::Overlay;
use crate::{clock, entropy, token};
use doorbuster_client::{Client, Config, RetryBudget};
use doorbuster_protocol::types::{Millis, Timestamp};
use jsonwebtoken::EncodingKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use toml::{Table, Value};

/// How long replicas may take to be seen at an equal index: one was killed and may still catch up.
const REPLICAS_WITHIN: Duration = Duration::from_secs(30);
/// When payments are compared, nothing is under way any more: nothing is spared for being young.
const AT_THE_END: Rules = Rules { grace: Millis(0), refund_limit: Millis(0) };
/// Payments under way at once: so many that none waits long for the provider, so few that those before it are done before a
/// reservation's pin ends.
const PAYMENTS_IN_FLIGHT: i64 = 2048;
/// A gateway takes up what another has left behind after this time, in ms: a buyer who has waited asks sooner. And how often
/// it looks.
const SWEEP_AFTER_MS: i64 = 3000;
const SWEEP_EVERY_MS: i64 = 500;

/// Everything that runs.
pub struct Stage {
    binary: PathBuf,
    folder: Folder,
    client: Client,
    doors: Doors,
    front: tokio::sync::Mutex<Front>,
    address: String,
    database: String,
    secret: Vec<u8>,
    provider: Provider,
    cluster: Cluster,
}

enum Folder {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn new(kept: Option<&Path>) -> Result<Self, CliError> {
        let wrong = |error: std::io::Error| CliError::failed(format!("cannot make the data folder: {error}"));
        let Some(path) = kept else {
            return tempfile::Builder::new().prefix("doorbuster-demo-").tempdir().map(Self::Temporary).map_err(wrong);
        };
        std::fs::create_dir_all(path).map_err(wrong)?;
        if std::fs::read_dir(path).map_err(wrong)?.next().is_some() {
            return Err(CliError::usage(format!("--data {}: the folder is not empty; name a new one", path.display())));
        }
        path.canonicalize().map(Self::Kept).map_err(wrong)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Where gateway and payment provider find each other, before either runs.
struct Counter {
    folder: PathBuf,
    port: u16,
    secrets_file: PathBuf,
}

impl Counter {
    fn new(folder: &Path) -> Result<Self, CliError> {
        let folder = folder.join("provider");
        let secrets_file = folder.join("webhook.secrets");
        let [port] = free_ports::<1>()?;
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&secrets_file, entropy::secret()))
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", secrets_file.display())))?;
        Ok(Self { folder, port, secrets_file })
    }

    /// What the gateway must know.
    fn settings(&self) -> Table {
        let table = |fields: Vec<(&str, Value)>| {
            Table::from_iter(fields.into_iter().map(|(field, value)| (field.to_owned(), value)))
        };
        let simulator = table(vec![("url", provider::url(self.port).into())]);
        let payment = table(vec![
            ("max_in_flight", PAYMENTS_IN_FLIGHT.into()),
            ("sweep_after_ms", SWEEP_AFTER_MS.into()),
            ("sweep_every_ms", SWEEP_EVERY_MS.into()),
            ("webhook_secrets_file", self.secrets_file.display().to_string().into()),
            ("simulator", simulator.into()),
        ]);
        // Webhooks come from one address, and more of them than one buyer would send.
        let limits = table(vec![("exempt", vec!["127.0.0.1"].into())]);
        table(vec![("payment", payment.into()), ("limits", limits.into())])
    }

    async fn provider(&self, binary: &Path, gateway: &str, plan: &Plan) -> Result<Provider, CliError> {
        let (folder, secrets_file) = (&self.folder, &self.secrets_file);
        Provider::start(Place { binary, folder, port: self.port, gateway, secrets_file }, plan).await
    }
}

impl Stage {
    /// Starts everything.
    pub async fn set(args: &DemoArgs, plan: &Plan, progress: &Progress) -> Result<Self, CliError> {
        let folder = Folder::new(args.data.as_deref())?;
        let binary = std::env::current_exe()
            .map_err(|error| CliError::failed(format!("cannot find this program's file: {error}")))?;
        progress.step(&format!("starting three servers in {}", folder.path().display()));
        let mut settings = Overlay::default();
        settings.assign(&args.server_set)?;
        let mut config = ClusterConfig { shards: args.shards, ..ClusterConfig::new(&binary, folder.path()) };
        config.settings.extend(settings.into_table());
        let cluster = Cluster::start(config).await?;
        let own = match &args.database {
            Some(url) => Some(database::own_schema(url, plan.run).await?),
            None => None,
        };
        let place =
            own.as_ref().map_or_else(|| "SQLite".to_owned(), |own| format!("PostgreSQL, schema {}", own.schema));
        progress.step(&format!("starting the gateway, orders go to {place}"));
        let counter = Counter::new(folder.path())?;
        let front = FrontConfig {
            binary: binary.clone(),
            folder: folder.path().join("gateway"),
            database: own.map(|own| own.url),
            settings: counter.settings(),
        };
        let front = Front::start(front, &cluster).await?;
        let provider = counter.provider(&binary, front.address(), plan).await?;
        let client = Client::connect(Config {
            deadline: Duration::from_secs(10),
            // The buyers' own pauses bound what they ask; the library's budget is for callers that do not.
            retry_budget: RetryBudget { burst: 100_000, per_success: 1.0, per_second: 10_000 },
            name: "doorbuster-demo".to_owned(),
            ..cluster.client_config()
        })
        .await?;
        let (address, secret) = (front.address().to_owned(), front.secret().to_vec());
        let connections = usize::from(args.http_connections);
        let browser = Arc::new(Browser::new(plan.clone(), address.clone(), &secret, connections));
        // The other half is for those who reserve, and those who look.
        let till = Till::new(Arc::clone(&browser), connections.div_ceil(2));
        let tcp = TcpShop::new(plan.clone(), client.clone(), till.clone());
        let doors = Doors::new(tcp, HttpShop::new(plan.clone(), browser, till));
        let database = front.database().to_owned();
        Ok(Self {
            binary,
            folder,
            client,
            doors,
            front: tokio::sync::Mutex::new(front),
            address,
            database,
            secret,
            provider,
            cluster,
        })
    }

    /// Puts the product on sale.
    pub async fn open(&self, plan: Plan) -> Result<Arc<Sale>, CliError> {
        self.client.create_product(plan.product()).await?;
        let ledger = Ledger::create(&self.folder.path().join("ledger.txt"))?;
        Ok(Arc::new(Sale {
            plan,
            ledger,
            stats: Stats::default(),
            crowd: Crowd::default(),
            everybody_came: CancellationToken::new(),
            over: CancellationToken::new(),
            visits: TaskTracker::new(),
            opened: clock::now(),
        }))
    }

    /// The ways into the shop.
    pub const fn doors(&self) -> &Doors {
        &self.doors
    }

    /// A client of the cluster.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The servers.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The gateway.
    pub const fn front(&self) -> &tokio::sync::Mutex<Front> {
        &self.front
    }

    /// The payment provider.
    pub const fn provider(&self) -> &Provider {
        &self.provider
    }

    /// Waits for the orders and compares everything with everything.
    pub async fn audit(&self, orders_within: Duration) -> Result<Audit, CliError> {
        let orders = match orders::compare(&self.client, &self.database, orders_within, Millis::default()).await {
            Ok(orders) => orders,
            Err(error) => Orders { problems: vec![format!("the orders: {error}")], ..Orders::default() },
        };
        let (provider, since) = (Books::Simulator(self.provider.url().to_owned()), Timestamp(0));
        let payments =
            payments::compare(&self.client, &self.database, &provider, since, AT_THE_END, orders_within).await?;
        let replicas = replicas::compare(&self.client, REPLICAS_WITHIN).await?;
        Ok(Audit { replicas, orders: Some(orders), payments: Some(payments) })
    }

    /// An error of the sale, with the ends of all logs.
    pub fn explain(&self, mut error: CliError) -> CliError {
        for node in self.cluster.nodes() {
            error.message += &format!("\n--- node {node} logged last\n{}", self.cluster.log_tail(node, 12));
        }
        if let Ok(front) = self.front.try_lock() {
            error.message += &format!("\n--- the gateway logged last\n{}", front.log_tail(12));
        }
        error.message += &format!("\n--- the payment provider logged last\n{}", self.provider.log_tail(12));
        error
    }

    /// Puts a product on sale that is held long enough to type, and gives commands for a person to try it with: real
    /// tokens, real ports.
    pub async fn what_to_try(&self, plan: &Plan) -> Result<String, CliError> {
        self.client.create_product(plan.product_to_try()).await?;
        let key = EncodingKey::from_secret(&self.secret);
        let expires = clock::wall().0 / 1000 + 24 * 3600;
        let (user, admin) = (token::sign(&key, "alice", false, expires)?, token::sign(&key, "root", true, expires)?);
        let (url, product, database) = (format!("http://{}/v1", self.address), PRODUCT_TO_TRY, &self.database);
        let provider = self.provider.url();
        let binary = self.binary.display();
        let connection = format!(
            "--nodes {} --cluster {} --credential-file '{}'",
            self.cluster.client_addresses().join(","),
            self.cluster.name(),
            self.cluster.credential_file().display()
        );
        Ok(format!(
            "\nEverything keeps running until Ctrl-C. Product {product} is on sale for you: 10 units, held 10 minutes. Try:\n\n\
             TOKEN={user}\n\
             ADMIN={admin}\n\
             curl {url}/products/{product}\n\
             curl -X POST {url}/reservations -H \"Authorization: Bearer $TOKEN\" -H 'Idempotency-Key: one' \\\n  \
             -H 'Content-Type: application/json' -d '{{\"product\":{product},\"quantity\":1}}' | tee reservation.json\n\
             ID=$(sed 's/.*\"id\":\"\\([^\"]*\\).*/\\1/' reservation.json)\n\
             curl -X POST \"{url}/reservations/$ID/payment?wait=5\" -H \"Authorization: Bearer $TOKEN\" \\\n  \
             -H 'Content-Type: application/json' -d '{{\"card_token\":\"tok_visa\"}}'\n\
             curl {url}/orders/$ID -H \"Authorization: Bearer $TOKEN\"\n\
             curl -X POST {url}/admin/products/{product}/stock -H \"Authorization: Bearer $ADMIN\" -H 'Idempotency-Key: more' \\\n  \
             -H 'Content-Type: application/json' -d '{{\"delta\":5}}'\n\n\
             {binary} status {connection}\n\
             {binary} audit {connection} \\\n  --database '{database}' --payments --provider-url {provider} --grace 1s\n\
             curl {provider}/admin/tally\n"
        ))
    }

    /// Ends everything, and keeps the folder if somebody wants to look into it. What does not end by itself is killed.
    pub async fn strike(mut self, progress: &Progress, keep: bool) {
        self.client.close().await;
        let front = self.front.lock().await.shutdown().await;
        for ended in [front, self.provider.shutdown().await, self.cluster.shutdown().await] {
            if let Err(error) = ended {
                progress.step(&error.message);
            }
        }
        if keep {
            let path = match self.folder {
                Folder::Kept(path) => path,
                Folder::Temporary(folder) => folder.keep(),
            };
            progress.step(&format!("logs, ledger and data are in {}", path.display()));
        }
    }
}
