//! What the pairs happen to: a server, gateways and a payment provider, each a process of the binary; an order database, which
//! is a PostgreSQL where the pair is about it; and `doorbuster audit --payments`, which has the last word.

use std::path::{Path, PathBuf};
use std::process::Command;

use doorbuster_cli::demo::cluster::{Cluster, ClusterConfig};
use doorbuster_cli::demo::front::{Front, FrontConfig};
use doorbuster_cli::demo::ports::free_ports;
use doorbuster_cli::demo::process::Process;
use doorbuster_client::Client;
use doorbuster_protocol::command::{LatePaymentPolicy, ProductSpec, Target};
use doorbuster_protocol::reply::ReservationView;
use doorbuster_protocol::types::{Currency, Millis, Money, ProductId, Quantity, ReservationId, Timestamp, UserId};
use doorbuster_tests::binary::{binary, ending_before};
use doorbuster_tests::chaos::postgres::Postgres;
use doorbuster_tests::http::{WITHIN, ask, until};
use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use crate::shopper::Shopper;

/// What a unit costs.
pub const PRICE: u64 = 500;
/// The life of a reservation that does not expire in a test.
pub const LONG: Millis = Millis(600_000);
/// What webhooks are signed with.
pub const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";

/// What to open.
pub struct Plan {
    pub gateways: usize,
    /// Orders go to a PostgreSQL.
    pub postgres: bool,
    /// Where the provider tells what it has decided.
    pub tells: Tells,
    /// What the provider does, as its command line has it.
    pub provider: &'static [&'static str],
    /// After how long a silence gateways take a payment up; 0 for never.
    pub sweep_after_ms: i64,
}

/// Where webhooks go.
pub enum Tells {
    Nobody,
    /// The first gateway.
    Gateway,
    /// This URL.
    To(String),
}

impl Default for Plan {
    fn default() -> Self {
        Self { gateways: 1, postgres: false, tells: Tells::Nobody, provider: &[], sweep_after_ms: 300 }
    }
}

/// Fields are dropped in this order: processes before what they use.
pub struct Shop {
    pub fronts: Vec<Front>,
    pub provider: Provider,
    pub client: Client,
    pub cluster: Cluster,
    pub postgres: Option<Postgres>,
    folder: TempDir,
}

impl Shop {
    /// Opens it; `None` if it needs a PostgreSQL and this machine has none.
    pub async fn open(plan: Plan) -> Option<Self> {
        let folder = open_folder();
        let postgres = match plan.postgres {
            true => Some(database(folder.path()).await?),
            false => None,
        };
        let config = ClusterConfig { nodes: 1, shards: 2, ..ClusterConfig::new(binary(), folder.path()) };
        let cluster = Cluster::start(config.with("segment_bytes", 1 << 20)).await.expect("the server starts");
        let client = cluster.client().await.expect("the server answers");
        let provider = Provider::new(folder.path(), plan.provider);
        std::fs::write(folder.path().join("webhook-secrets"), SECRET).expect("it can be written");
        let mut shop = Self { fronts: Vec::new(), provider, client, cluster, postgres, folder };
        for _ in 0..plan.gateways {
            let front = shop.front(None, plan.sweep_after_ms).await;
            shop.fronts.push(front);
        }
        shop.provider.tells = match plan.tells {
            Tells::Nobody => None,
            Tells::Gateway => Some(format!("http://{}/v1/webhooks/simulator", shop.gateway(0))),
            Tells::To(url) => Some(url),
        };
        shop.provider.start().await;
        Some(shop)
    }

    /// One more gateway; `ends_before` a step of the saga, should it come to it.
    pub async fn front(&self, ends_before: Option<&str>, sweep_after_ms: i64) -> Front {
        let folder = self.folder.path().join(format!("gateway-{}", free_ports::<1>().expect("there are ports")[0]));
        let database = self.postgres.as_ref().map(|postgres| Postgres::url(&postgres.address()));
        let secrets = self.folder.path().join("webhook-secrets");
        let simulator = Table::from_iter([("url".to_owned(), self.provider.url().into())]);
        let payment = Table::from_iter([
            ("sweep_every_ms".to_owned(), 50.into()),
            ("sweep_after_ms".to_owned(), sweep_after_ms.into()),
            // One that hangs is asked again, and again, within a minute.
            ("charge_timeout_ms".to_owned(), 2000.into()),
            ("webhook_secrets_file".to_owned(), secrets.display().to_string().into()),
            ("simulator".to_owned(), simulator.into()),
        ]);
        let limits = Table::from_iter([("address_per_second".to_owned(), 0.into())]);
        let settings = Table::from_iter([
            ("insecure_dev".to_owned(), true.into()),
            ("auth".to_owned(), Table::new().into()),
            ("limits".to_owned(), limits.into()),
            ("payment".to_owned(), payment.into()),
        ]);
        let sqlite = format!("sqlite:{}", self.folder.path().join("orders.db").display());
        let binary = ends_before.map_or_else(binary, |step| ending_before(step, self.folder.path()));
        let config = FrontConfig { binary, folder, database: Some(database.unwrap_or(sqlite)), settings };
        Front::start(config, &self.cluster).await.expect("a gateway starts")
    }

    /// Where a gateway listens.
    pub fn gateway(&self, number: usize) -> &str {
        self.fronts[number].address()
    }

    /// The order database's URL.
    pub fn database(&self) -> String {
        let sqlite = || format!("sqlite:{}", self.folder.path().join("orders.db").display());
        self.postgres.as_ref().map_or_else(sqlite, |postgres| Postgres::url(&postgres.address()))
    }

    /// Somebody who buys at the first gateway.
    pub fn shopper(&self, name: &str) -> Shopper {
        Shopper::at(self.gateway(0), name)
    }

    /// Puts a product on sale whose payments are waited for so long.
    pub async fn product(&self, product: u64, stock: u32, cap: Millis, late_payment: LatePaymentPolicy) {
        let spec = ProductSpec {
            product: ProductId(product),
            name: "phone".to_owned(),
            stock: Quantity(stock),
            price: Money { minor: PRICE, currency: Currency(*b"EUR") },
            limit_per_user: Quantity(0),
            limit_per_reservation: Quantity(0),
            ttl: LONG,
            max_life: LONG,
            payment_cap: cap,
            opens_at: Timestamp(0),
            closes_at: Timestamp(0),
            late_payment,
        };
        self.client.create_product(spec).await.expect("a new product is accepted");
    }

    /// A reservation as the cluster has it.
    pub async fn view(&self, path: &str) -> ReservationView {
        let (product, reservation) = id(path);
        let target = Target { product, reservation, user: UserId(0) };
        self.client.reservation(target).await.expect("the cluster answers").reservation
    }

    /// available, held and sold of a product.
    pub async fn units(&self, product: u64) -> [u32; 3] {
        let view = self.client.product(ProductId(product)).await.expect("the cluster answers").product;
        assert_eq!(view.spec.stock.0, view.available.0 + view.held.0 + view.sold.0, "{view:?}");
        [view.available.0, view.held.0, view.sold.0]
    }

    /// Runs `doorbuster WORDS --json`, which must end with this exit code.
    pub fn run(&self, words: &str, more: &[&str], exit: i32) -> Value {
        let mut command = Command::new(binary());
        command.args(words.split(' ')).arg("--json").args(more);
        let output = tokio::task::block_in_place(|| command.output()).expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(exit), "{words}: {said}\n{text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// `doorbuster audit --payments`, without mercy for what has just changed; it must end with this exit code.
    pub fn audit(&self, patience: &str, exit: i32) -> Value {
        let (nodes, credential) =
            (self.cluster.client_addresses().join(","), self.cluster.credential_file().display().to_string());
        let (database, provider) = (self.database(), self.provider.url());
        let more = ["--nodes", &nodes, "--cluster", self.cluster.name(), "--credential-file", &credential];
        let books = ["--database", &database, "--provider-url", &provider, "--patience", patience];
        let words = "audit --payments --grace 0s --refund-limit 0s";
        self.run(words, &[&more[..], &books].concat(), exit)["payments"].take()
    }
}

/// The payment provider: a process that can be ended, stopped in its tracks, and told to be down, and its ledger.
pub struct Provider {
    folder: PathBuf,
    port: u16,
    arguments: &'static [&'static str],
    /// How long it takes for everything, at least and at most, once it is started.
    pub latency_ms: [u32; 2],
    tells: Option<String>,
    process: Option<Process>,
}

impl Provider {
    fn new(folder: &Path, arguments: &'static [&'static str]) -> Self {
        let [port] = free_ports().expect("there are ports");
        Self { folder: folder.to_owned(), port, arguments, latency_ms: [1, 10], tells: None, process: None }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its ledger's file.
    pub fn file(&self) -> String {
        format!("sqlite:{}", self.folder.join("ledger.db").display())
    }

    /// Starts it, where it was and with what it knew.
    pub async fn start(&mut self) {
        let (listen, ledger) = (self.address(), self.file());
        let secrets = self.folder.join("webhook-secrets").display().to_string();
        let [least, most] = self.latency_ms.map(|latency| latency.to_string());
        let mut words = vec!["payment-simulator", "--listen", &listen, "--ledger", &ledger];
        words.extend(["--min-latency-ms", &least, "--max-latency-ms", &most]);
        words.extend(self.arguments);
        if let Some(url) = &self.tells {
            words.extend(["--webhook-url", url, "--webhook-secrets-file", &secrets]);
        }
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let log = self.folder.join("provider.txt");
        self.process = Some(Process::start("the provider", &binary(), &words, &log).expect("it starts"));
        until("the provider answers", WITHIN, async || ask(&listen, "GET", "/admin/faults", "", "").await.is_ok())
            .await;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill().expect("it is ours");
    }

    /// Stopped in its tracks, it takes connections and answers nothing.
    pub fn freeze(&mut self) {
        self.process.as_mut().expect("it runs").freeze().expect("it is ours");
    }

    pub fn unfreeze(&mut self) {
        self.process.as_mut().expect("it runs").unfreeze().expect("it is ours");
    }

    /// What goes wrong from now on; what is not named does not.
    pub async fn faults(&self, faults: &Value) {
        ask(&self.address(), "PUT", "/admin/faults", "", &faults.to_string()).await.expect("it answers").is(200);
    }

    /// A page of what it has: `charges` or `events`.
    pub async fn all(&self, what: &str) -> Vec<Value> {
        let path = format!("/v1/{what}?after=0&limit=1000");
        let mut page = ask(&self.address(), "GET", &path, "", "").await.expect("it answers").is(200);
        match page[what].take() {
            Value::Array(all) if all.len() < 1000 => all,
            other => panic!("not a page of {what}, or a full one: {other}"),
        }
    }

    /// What it says of each charge of a reservation.
    pub async fn charges(&self, path: &str) -> Vec<String> {
        let key = format!("{:032x}-", id(path).1.0);
        let all = self.all("charges").await.into_iter();
        let ours = all.filter(|charge| charge["key"].as_str().is_some_and(|it| it.starts_with(&key)));
        ours.map(|charge| charge["state"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// A reservation's product and id, by its path.
pub fn id(path: &str) -> (ProductId, ReservationId) {
    let text = path.rsplit('/').next().unwrap_or_default();
    let (product, digits) = text.split_once('-').expect("a product and a reservation");
    let reservation = u128::from_str_radix(digits, 16).expect("hexadecimal digits");
    (ProductId(product.parse().expect("a number")), ReservationId(reservation))
}

/// A folder that PostgreSQL's user can look through.
fn open_folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix("doorbuster-pairs-").tempdir_in("/tmp").expect("a temporary folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    folder
}

/// A PostgreSQL in this folder; without one on the machine, none, unless one is required.
async fn database(folder: &Path) -> Option<Postgres> {
    match Postgres::start(&folder.join("postgres")).await {
        Ok(postgres) => Some(postgres),
        Err(error) if std::env::var_os("DOORBUSTER_REQUIRE_POSTGRES").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}
