//! The gateway's configuration: one documented structure, read from defaults, then a TOML file, then
//! `DOORBUSTER_GATEWAY_*` environment variables, then what the command line overlays; and one [`GatewayConfig::validate`]
//! that names the field that is wrong, its value and the fix.
//!
//! A nested field's variable joins its path with two underscores: `DOORBUSTER_GATEWAY_LIMITS__ADDRESS_PER_SECOND=100`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use doorbuster_protocol::limits::RETENTION;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::saga::remote::RemoteSimulator;

mod kafka;
mod stripe;

pub use kafka::KafkaConfig;
#[cfg(feature = "kafka")]
pub(crate) use kafka::is_secret;
pub use stripe::{AccountConfig, StripeConfig};

/// Prefix of the environment variables that set fields.
pub const ENVIRONMENT_PREFIX: &str = "DOORBUSTER_GATEWAY_";
/// Shortest secret an HS256 key may have, in bytes: as long as the digest it keys.
pub const MIN_SECRET_BYTES: usize = 32;
/// Most token keys: a token without `kid` is tried against each.
pub const MAX_KEYS: usize = 16;

/// Everything a gateway can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Where HTTP is served, `address:port`. Default `127.0.0.1:8080`; port 0 takes a free one.
    pub listen: String,
    /// Where the servers' client ports are, `host:port` each; one that answers is enough to find the others.
    pub nodes: Vec<String>,
    /// Name of the cluster the servers must belong to. Default `doorbuster`.
    pub cluster: String,
    /// File that holds the credential (shared secret) the servers want. Default none.
    pub credential_file: Option<PathBuf>,
    /// Name of the environment variable that holds the credential instead. Default none.
    pub credential_env: Option<String>,
    /// Connections to each server node. Default 2, 1..=64.
    pub connections_per_node: usize,
    /// How long one operation on the cluster may take, retries included, in ms. Default 5000, 100..=60000.
    pub deadline_ms: u64,
    /// Where orders are stored: `sqlite:PATH`, `sqlite::memory:` or `postgres://...`; empty for no order writer on this gateway.
    /// Default `sqlite:doorbuster-orders.db`.
    pub database: String,
    /// Accept `Authorization: Bearer dev:<sub>[:admin]` from anybody. Only on a loopback address, and only without
    /// keys. Default false.
    pub insecure_dev: bool,
    /// Networks of proxies whose `X-Forwarded-For` is believed. Default none.
    pub trusted_proxies: Vec<String>,
    /// Networks that may read `/metrics`; others get 404. Default loopback.
    pub metrics_from: Vec<String>,
    /// On shutdown, how long requests and payments under way may take to end, in ms. Default 10000.
    pub drain_ms: u64,
    /// Connections, heads and bodies.
    pub http: HttpConfig,
    /// Rates.
    pub limits: LimitsConfig,
    /// Who may ask.
    pub auth: AuthConfig,
    /// Payments.
    pub payment: PaymentConfig,
    /// Where events are published. Default none: nowhere.
    pub kafka: Option<KafkaConfig>,
}

/// Connections, heads and bodies.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Most connections at once; more are answered 503 and closed. Default 20000, at least 1.
    pub max_connections: usize,
    /// Most requests in progress at once; more are answered 503. Default 10000, at least 1.
    pub max_in_flight: usize,
    /// How long a request's head may take to arrive, counted from the end of the one before, in ms; so also how long
    /// an idle connection is kept. Default 15000, 100..=600000.
    pub head_timeout_ms: u64,
    /// How long a request's body may take to arrive, in ms. Default 10000, 100..=600000.
    pub body_timeout_ms: u64,
    /// Largest body, in bytes. Default 65536, 1024..=1048576.
    pub max_body_bytes: usize,
    /// Largest head (request line and headers), in bytes. Default 16384, 1024..=65536.
    pub max_head_bytes: usize,
    /// Most headers in a request. Default 64, 8..=96 (hyper itself refuses more than 100).
    pub max_headers: usize,
}

/// Rates. A client address is an IPv4 address or an IPv6 /64.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests a second that one client address may make for long; 0 for no limit. Default 50.
    pub address_per_second: u32,
    /// Requests one client address may make at once before that rate counts. Default 200, at least 1.
    pub address_burst: u32,
    /// Client addresses remembered at once (8 bytes each, taken at start); beyond it, those that asked least lately are
    /// forgotten first. Default 262144, 1024..=67108864.
    pub addresses: usize,
    /// Requests a second of everybody together; 0 for no limit. Default 0.
    pub global_per_second: u32,
    /// Requests at once of everybody together before that rate counts. Default 10000, at least 1.
    pub global_burst: u32,
    /// Networks whose addresses have no limit of their own (the global one counts). Default none.
    pub exempt: Vec<String>,
}

/// Who may ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Keys that sign tokens; at least one unless `insecure_dev`, at most 16.
    pub keys: Vec<KeyConfig>,
    /// The `iss` a token must have. Default none: not looked at.
    pub issuer: Option<String>,
    /// The `aud` a token must contain. Default none: not looked at.
    pub audience: Option<String>,
    /// By how much the token issuer's clock may differ from ours, in seconds. Default 5, 0..=300.
    pub leeway_seconds: u64,
}

/// A key that signs tokens. Exactly one of its four sources is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyConfig {
    /// The `kid` of the tokens it signs. Without one it is tried for tokens that no key with a `kid` matches.
    pub kid: Option<String>,
    /// The one algorithm it is used with, whatever a token's head claims.
    pub algorithm: KeyAlgorithm,
    /// HS256: file with the secret, at least 32 bytes; one trailing newline is not part of it.
    pub secret_file: Option<PathBuf>,
    /// HS256: name of the environment variable with the secret, at least 32 bytes.
    pub secret_env: Option<String>,
    /// RS256, ES256, EdDSA: file with the public key in PEM.
    pub public_key_file: Option<PathBuf>,
    /// RS256, ES256, EdDSA: name of the environment variable with the public key in PEM.
    pub public_key_env: Option<String>,
}

/// Algorithms a key can be used with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// HMAC with SHA-256: a secret shared with the issuer.
    #[default]
    HS256,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// Payments.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaymentConfig {
    /// Payments in progress on this gateway at once; more are answered 503 before any effect. Default 1024, at least 1.
    pub max_in_flight: usize,
    /// Longest time a request may wait for its payment's end (`?wait=`, `Prefer: wait=`), in ms. Default 30000, at most 60000.
    pub max_wait_ms: u64,
    /// How long one try to reach the provider may take, in ms. Default 20000, 100..=120000.
    pub charge_timeout_ms: u64,
    /// How often this gateway looks, on all shards, for payments that nobody carries on and for refunds that are due, in ms.
    /// Default 5000, 50..=600000.
    pub sweep_every_ms: u64,
    /// How long nothing must have happened to a payment or a refund before this gateway takes it up, in ms; 0 for never,
    /// where something else than gateways takes the money. Default 60000, at most 3600000.
    pub sweep_after_ms: u64,
    /// How long after a sale its customer may cancel it over HTTP, in ms; its units then go back on sale and what was paid goes back.
    /// 0 for not at all; operators may always. Default 0, at most 86400000: longer, the cluster knows of no reservation.
    pub cancel_within_ms: u64,
    /// File with the secret that the provider signs its webhooks with, at least 32 bytes; of each of its accounts, if there are
    /// several; and the one before it, while it is being changed. Default none: then `POST /v1/webhooks/...` answers 404.
    pub webhook_secrets_file: Option<PathBuf>,
    /// Name of the environment variable that holds them instead, with spaces between. Default none.
    pub webhook_secrets_env: Option<String>,
    /// Who takes the money: `simulator`, which takes none, or `stripe`. Default `simulator`.
    pub provider: Provider,
    /// The simulator.
    pub simulator: SimulatorConfig,
    /// Stripe.
    pub stripe: StripeConfig,
}

/// Who takes the money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Nobody: a simulator.
    #[default]
    Simulator,
    /// Stripe.
    Stripe,
}

/// The simulated payment provider. Same reservation, same attempt, same card: same answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatorConfig {
    /// Where `doorbuster payment-simulator` serves, `http://host:port`; the fields below then do nothing, for it has faults of
    /// its own. Empty for one inside this gateway, whose ledger ends with it and which no other gateway knows. Default empty.
    pub url: String,
    /// Shortest charge, in ms. Default 50.
    pub min_latency_ms: u64,
    /// Longest charge, in ms. Default 250, at most 60000, at least the shortest.
    pub max_latency_ms: u64,
    /// Share of charges that are declined whatever the card, 0.0..=1.0. Default 0.
    pub decline_rate: f64,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or variable does not have the structure's shape.
    #[error("configuration: {0}")]
    Shape(#[from] Box<figment::Error>),
    /// The file named does not exist or cannot be read.
    #[error("configuration file {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// A field's value is not acceptable.
    #[error("configuration: {field} = {value}: {fix}")]
    Field {
        /// The field's path.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        fix: String,
    },
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            nodes: vec!["127.0.0.1:7400".into()],
            cluster: "doorbuster".into(),
            credential_file: None,
            credential_env: None,
            connections_per_node: 2,
            deadline_ms: 5000,
            database: "sqlite:doorbuster-orders.db".into(),
            insecure_dev: false,
            trusted_proxies: Vec::new(),
            metrics_from: vec!["127.0.0.0/8".into(), "::1/128".into()],
            drain_ms: 10_000,
            http: HttpConfig::default(),
            limits: LimitsConfig::default(),
            auth: AuthConfig::default(),
            payment: PaymentConfig::default(),
            kafka: None,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_in_flight: 10_000,
            head_timeout_ms: 15_000,
            body_timeout_ms: 10_000,
            max_body_bytes: 64 * 1024,
            max_head_bytes: 16 * 1024,
            max_headers: 64,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            address_per_second: 50,
            address_burst: 200,
            addresses: 262_144,
            global_per_second: 0,
            global_burst: 10_000,
            exempt: Vec::new(),
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { keys: Vec::new(), issuer: None, audience: None, leeway_seconds: 5 }
    }
}

impl Default for PaymentConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 1024,
            max_wait_ms: 30_000,
            charge_timeout_ms: 20_000,
            sweep_every_ms: 5000,
            sweep_after_ms: 60_000,
            cancel_within_ms: 0,
            webhook_secrets_file: None,
            webhook_secrets_env: None,
            provider: Provider::default(),
            simulator: SimulatorConfig::default(),
            stripe: StripeConfig::default(),
        }
    }
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self { url: String::new(), min_latency_ms: 50, max_latency_ms: 250, decline_rate: 0.0 }
    }
}

impl GatewayConfig {
    /// Reads the configuration: defaults, then `file`, then the environment, then `overlay` (what the command line
    /// says; fields it leaves out must not be serialized). Validates it.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown field, a value of the wrong type, or one that [`Self::validate`] refuses.
    pub fn load(file: Option<&Path>, overlay: impl Serialize) -> Result<Self, ConfigError> {
        let config = Self::read(file, overlay)?;
        config.validate()?;
        Ok(config)
    }

    /// The payments' part alone, read the same way from `file` and the environment, whatever else there is: for those who
    /// look after payments and serve nothing.
    ///
    /// # Errors
    /// As [`Self::load`], of that part.
    pub fn load_payment(file: &Path) -> Result<PaymentConfig, ConfigError> {
        let payment = Self::read(Some(file), toml::Table::new())?.payment;
        payment.validate()?;
        Ok(payment)
    }

    fn read(file: Option<&Path>, overlay: impl Serialize) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File(path.into(), error))?;
            figment = figment.merge(Toml::string(&text));
        }
        let figment = figment.merge(Env::prefixed(ENVIRONMENT_PREFIX).split("__"));
        Ok(figment.merge(Serialized::defaults(overlay)).extract().map_err(Box::new)?)
    }

    /// Checks every field against its bounds and against the others.
    ///
    /// # Errors
    /// The first field that is not acceptable, with its value and what to do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_cluster()?;
        self.validate_auth()?;
        networks("trusted_proxies", &self.trusted_proxies)?;
        networks("metrics_from", &self.metrics_from)?;
        networks("limits.exempt", &self.limits.exempt)?;
        self.http.validate()?;
        self.limits.validate()?;
        self.payment.validate()?;
        self.validate_webhooks()?;
        self.validate_kafka()
    }

    /// The listening address.
    ///
    /// # Errors
    /// [`ConfigError::Field`] when it is not `address:port`.
    pub fn listen_address(&self) -> Result<SocketAddr, ConfigError> {
        self.listen.parse().map_err(|_| field("listen", &self.listen, "give address:port, such as 127.0.0.1:8080"))
    }

    fn validate_cluster(&self) -> Result<(), ConfigError> {
        if self.nodes.is_empty() {
            return Err(field("nodes", "[]", "name at least one server's client address, host:port"));
        }
        if let Some(bad) = self.nodes.iter().find(|node| !is_host_port(node)) {
            return Err(field("nodes", bad, "give host:port, such as 127.0.0.1:7400"));
        }
        let longest = doorbuster_protocol::limits::MAX_CLUSTER_NAME_BYTES;
        if self.cluster.is_empty() || self.cluster.len() > longest || !self.cluster.is_ascii() {
            return Err(field("cluster", &self.cluster, &format!("give 1 to {longest} ASCII characters")));
        }
        if self.credential_file.is_some() && self.credential_env.is_some() {
            return Err(field("credential_env", "set", "give either credential_file or credential_env"));
        }
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if !self.database.is_empty() && !known.iter().any(|scheme| self.database.starts_with(scheme)) {
            return Err(field("database", &self.database, "give sqlite:PATH or postgres://..., or nothing"));
        }
        within("connections_per_node", self.connections_per_node as u64, 1, 64)?;
        within("deadline_ms", self.deadline_ms, 100, 60_000)?;
        within("drain_ms", self.drain_ms, 0, 600_000)
    }

    fn validate_webhooks(&self) -> Result<(), ConfigError> {
        let PaymentConfig { webhook_secrets_file: file, webhook_secrets_env: env, .. } = &self.payment;
        if file.is_some() && env.is_some() {
            let fix = "give either payment.webhook_secrets_file or payment.webhook_secrets_env";
            return Err(field("payment.webhook_secrets_env", "set", fix));
        }
        if (file.is_some() || env.is_some()) && self.database.is_empty() {
            return Err(field("database", "", "name one: events of webhooks are written down in it"));
        }
        Ok(())
    }

    fn validate_kafka(&self) -> Result<(), ConfigError> {
        let Some(kafka) = &self.kafka else { return Ok(()) };
        kafka.validate()?;
        if self.database.is_empty() {
            return Err(field("database", "", "name one: events are published from what is stored there"));
        }
        Ok(())
    }

    fn validate_auth(&self) -> Result<(), ConfigError> {
        let loopback = self.listen_address()?.ip().is_loopback();
        within("auth.leeway_seconds", self.auth.leeway_seconds, 0, 300)?;
        within("auth.keys (how many)", self.auth.keys.len() as u64, 0, MAX_KEYS as u64)?;
        match (self.insecure_dev, self.auth.keys.is_empty()) {
            (true, _) if !loopback => {
                Err(field("insecure_dev", "true", "listen on a loopback address, or configure auth.keys instead"))
            }
            (true, false) => Err(field("insecure_dev", "true", "remove it, or remove auth.keys")),
            (false, true) => Err(field(
                "auth.keys",
                "[]",
                "configure a key that signs tokens, or set insecure_dev to try things out",
            )),
            _ => self.auth.keys.iter().try_for_each(KeyConfig::validate),
        }
    }
}

impl KeyConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let secret = usize::from(self.secret_file.is_some()) + usize::from(self.secret_env.is_some());
        let public = usize::from(self.public_key_file.is_some()) + usize::from(self.public_key_env.is_some());
        let value = self.kid.as_deref().unwrap_or("(no kid)");
        match (self.algorithm, secret, public) {
            (KeyAlgorithm::HS256, 1, 0) => Ok(()),
            (KeyAlgorithm::HS256, ..) => {
                Err(field("auth.keys", value, "an HS256 key has secret_file or secret_env, one of them"))
            }
            (_, 0, 1) => Ok(()),
            _ => Err(field("auth.keys", value, "such a key has public_key_file or public_key_env, one of them")),
        }
    }
}

impl HttpConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        within("http.max_connections", self.max_connections as u64, 1, 1_000_000)?;
        within("http.max_in_flight", self.max_in_flight as u64, 1, 1_000_000)?;
        within("http.head_timeout_ms", self.head_timeout_ms, 100, 600_000)?;
        within("http.body_timeout_ms", self.body_timeout_ms, 100, 600_000)?;
        within("http.max_body_bytes", self.max_body_bytes as u64, 1024, 1 << 20)?;
        within("http.max_head_bytes", self.max_head_bytes as u64, 1024, 1 << 16)?;
        within("http.max_headers", self.max_headers as u64, 8, 96)
    }
}

impl LimitsConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        within("limits.address_burst", u64::from(self.address_burst), 1, u64::from(u32::MAX))?;
        within("limits.global_burst", u64::from(self.global_burst), 1, u64::from(u32::MAX))?;
        within("limits.addresses", self.addresses as u64, 1024, 1 << 26)
    }
}

impl PaymentConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        within("payment.max_in_flight", self.max_in_flight as u64, 1, 1_000_000)?;
        within("payment.max_wait_ms", self.max_wait_ms, 0, 60_000)?;
        within("payment.charge_timeout_ms", self.charge_timeout_ms, 100, 120_000)?;
        within("payment.sweep_every_ms", self.sweep_every_ms, 50, 600_000)?;
        within("payment.sweep_after_ms", self.sweep_after_ms, 0, 3_600_000)?;
        within("payment.cancel_within_ms", self.cancel_within_ms, 0, RETENTION.0)?;
        if self.provider == Provider::Stripe {
            self.stripe.terms().map(drop)?;
        }
        let simulator = &self.simulator;
        if !simulator.url.is_empty() {
            RemoteSimulator::at(&simulator.url)?;
        }
        within("payment.simulator.max_latency_ms", simulator.max_latency_ms, simulator.min_latency_ms, 60_000)?;
        if !(0.0..=1.0).contains(&simulator.decline_rate) {
            return Err(field(
                "payment.simulator.decline_rate",
                &simulator.decline_rate.to_string(),
                "give 0.0 to 1.0",
            ));
        }
        Ok(())
    }
}

/// Parses a list of networks; a bare address is a network of one.
///
/// # Errors
/// [`ConfigError::Field`] with the first that is neither.
pub(crate) fn networks(name: &'static str, list: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    let parse = |text: &String| {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| field(name, text, "give networks such as 10.0.0.0/8 or fd00::/8"))
    };
    list.iter().map(parse).collect()
}

fn within(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(field(name, &value.to_string(), &format!("give {least} to {most}")))
}

/// A [`ConfigError::Field`].
pub(crate) fn field(field: &'static str, value: &str, fix: &str) -> ConfigError {
    ConfigError::Field { field, value: value.to_owned(), fix: fix.to_owned() }
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests;
