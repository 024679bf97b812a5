//! The demo's gateway process: its configuration, its start, and waiting until it serves.

use super::cluster::Cluster;
use super::ports::free_ports;
use super::process::{Process, log_tail};
use crate::error::CliError;
use crate::{clock, entropy};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use toml::{Table, Value};

/// How long the gateway may take to serve: its database's migrations are in it.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What gateway to start.
#[derive(Clone, Debug)]
pub struct FrontConfig {
    /// The `doorbuster` binary.
    pub binary: PathBuf,
    /// Where its configuration, key and log go; SQLite's file too.
    pub folder: PathBuf,
    /// The order database; `None` for SQLite in `folder`.
    pub database: Option<String>,
    /// Further fields for its configuration.
    pub settings: Table,
}

/// A running gateway; killed when it is dropped.
#[derive(Debug)]
pub struct Front {
    binary: PathBuf,
    folder: PathBuf,
    address: String,
    secret: String,
    key_file: PathBuf,
    database: String,
    process: Process,
}

impl Front {
    /// Starts a gateway in front of a cluster and waits until it is ready.
    pub async fn start(config: FrontConfig, cluster: &Cluster) -> Result<Self, CliError> {
        let mut front = Self::launch(&config, cluster)?;
        front.wait_ready().await?;
        Ok(front)
    }

    /// Starts a gateway in front of a cluster.
    pub fn launch(config: &FrontConfig, cluster: &Cluster) -> Result<Self, CliError> {
        let wrong = |error: std::io::Error| {
            CliError::failed(format!("cannot write under {}: {error}", config.folder.display()))
        };
        std::fs::create_dir_all(&config.folder).map_err(wrong)?;
        let [port] = free_ports::<1>()?;
        let address = format!("127.0.0.1:{port}");
        let secret = entropy::secret();
        let key_file = config.folder.join("token.key");
        std::fs::write(&key_file, &secret).map_err(wrong)?;
        let database =
            config.database.clone().unwrap_or_else(|| format!("sqlite:{}", config.folder.join("orders.db").display()));
        let table = configuration(config, cluster, &address, &key_file, &database);
        let text = toml::to_string(&table).map_err(|error| CliError::failed(error.to_string()))?;
        std::fs::write(config.folder.join("gateway.toml"), text).map_err(wrong)?;
        let (binary, folder) = (config.binary.clone(), config.folder.clone());
        let process = run(&binary, &folder)?;
        Ok(Self { binary, folder, address, secret, key_file, database, process })
    }

    /// Starts it again, where it was and as it was; one that runs is killed.
    pub fn start_again(&mut self) -> Result<(), CliError> {
        self.process.kill()?;
        self.process = run(&self.binary, &self.folder)?;
        Ok(())
    }

    /// Whether its process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Its folder: `gateway.toml`, `log.txt`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it serves HTTP.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The secret its tokens are signed with.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// The file with that secret.
    #[must_use]
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// The URL of its order database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The last lines it logged.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        log_tail(self.process.log(), lines)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<(), CliError> {
        self.process.kill()
    }

    /// Stops it in its tracks (SIGSTOP).
    pub fn freeze(&mut self) -> Result<(), CliError> {
        self.process.freeze()
    }

    /// Lets it go on (SIGCONT).
    pub fn unfreeze(&mut self) -> Result<(), CliError> {
        self.process.unfreeze()
    }

    /// Asks it to drain and end.
    pub async fn shutdown(&mut self) -> Result<(), CliError> {
        self.process.terminate()?;
        let deadline = clock::now() + Duration::from_secs(15);
        while self.process.ended().is_none() {
            if clock::now() > deadline {
                return Err(CliError::failed("the gateway did not end within 15s of being asked to"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub async fn wait_ready(&mut self) -> Result<(), CliError> {
        let deadline = clock::now() + READY_WITHIN;
        loop {
            if self.process.ended().is_some() {
                return Err(CliError::failed(format!(
                    "the gateway ended by itself; its log ends with\n{}",
                    self.log_tail(20)
                )));
            }
            let asked = tokio::time::timeout(Duration::from_secs(2), status_of(&self.address, "/readyz")).await;
            if matches!(asked, Ok(Ok(200))) {
                return Ok(());
            }
            if clock::now() > deadline {
                let (seconds, tail) = (READY_WITHIN.as_secs(), self.log_tail(20));
                return Err(CliError::unavailable(format!(
                    "the gateway is not ready after {seconds}s; its log ends with\n{tail}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn run(binary: &Path, folder: &Path) -> Result<Process, CliError> {
    let file = folder.join("gateway.toml").display().to_string();
    let arguments = ["gateway".to_owned(), "--config".to_owned(), file];
    Process::start("the gateway", binary, &arguments, &folder.join("log.txt"))
}

fn configuration(config: &FrontConfig, cluster: &Cluster, address: &str, key_file: &Path, database: &str) -> Table {
    let key = Table::from_iter([("secret_file".to_owned(), Value::from(key_file.display().to_string()))]);
    let auth = Table::from_iter([("keys".to_owned(), Value::Array(vec![Value::Table(key)]))]);
    let fields = [
        ("listen", Value::from(address)),
        ("nodes", Value::from(cluster.client_addresses())),
        ("cluster", Value::from(cluster.name())),
        ("credential_file", Value::from(cluster.credential_file().display().to_string())),
        ("database", Value::from(database)),
        // Buyers come with an address each, as behind a proxy: the limits by address are at work.
        ("trusted_proxies", Value::from(vec!["127.0.0.0/8"])),
        ("auth", Value::Table(auth)),
    ];
    let mut table: Table = fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
    table.extend(config.settings.clone());
    table
}

/// The status of a plain GET.
async fn status_of(address: &str, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no status line"))
}
