//! The payment provider: `doorbuster payment-simulator` as a child of ours, with a ledger that outlives it. It declines, keeps
//! silent, decides late, answers late and tells by repeated and reordered webhooks all the time; the rest is for the faults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorbuster_cli::audit::simulator::happened;
use doorbuster_cli::clock;
use doorbuster_cli::demo::ports::free_ports;
use doorbuster_cli::demo::process::{Process, log_tail};
use doorbuster_cli::error::CliError;
use serde_json::Value;
use tokio::net::TcpStream;

use super::buyers::answer::Answer;
use super::buyers::http::exchange;

/// What goes wrong with it all the time. What is late comes when most pins have ended: they last 400 to 1500 ms.
const ALWAYS: [(&str, &str); 12] = [
    ("--min-latency-ms", "20"),
    ("--max-latency-ms", "300"),
    ("--decline-rate", "0.08"),
    ("--lost-before-rate", "0.05"),
    ("--lost-after-rate", "0.05"),
    ("--late-rate", "0.05"),
    ("--late-ms", "2000"),
    ("--slow-answer-rate", "0.1"),
    ("--slow-answer-ms", "500"),
    ("--webhook-duplicate-rate", "0.2"),
    ("--webhook-reorder-rate", "0.2"),
    ("--webhook-reorder-ms", "800"),
];
/// What signs its webhooks.
const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";
/// How long it may take to serve, its ledger's recovery included, and to answer what it is told.
const WITHIN: Duration = Duration::from_secs(30);

/// The provider.
#[derive(Debug)]
pub struct Provider {
    binary: PathBuf,
    folder: PathBuf,
    port: u16,
    webhooks: String,
    process: Option<Process>,
    ended: BTreeMap<String, u64>,
}

impl Provider {
    /// One that is to be started, and will keep everything under `folder`.
    pub fn new(binary: &Path, folder: &Path) -> Result<Self, CliError> {
        let wrong = |error: std::io::Error| CliError::failed(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let [port] = free_ports()?;
        let provider = Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            port,
            webhooks: String::new(),
            process: None,
            ended: BTreeMap::new(),
        };
        std::fs::write(provider.secrets_file(), SECRET).map_err(wrong)?;
        Ok(provider)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The file with what signs its webhooks.
    pub fn secrets_file(&self) -> PathBuf {
        self.folder.join("webhook-secrets")
    }

    /// Starts it for the first time; from now on it tells what happens at this address.
    pub async fn start(&mut self, told: &str) -> Result<(), CliError> {
        self.webhooks = format!("http://{told}/v1/webhooks/simulator");
        self.up().await
    }

    /// Starts it, where it was and with what it knew, and waits until it serves.
    pub async fn up(&mut self) -> Result<(), CliError> {
        let mut process = Process::start("the payment provider", &self.binary, &self.arguments(), &self.log())?;
        let deadline = clock::now() + WITHIN;
        while TcpStream::connect(self.address()).await.is_err() {
            if process.ended().is_some() || clock::now() > deadline {
                let said = log_tail(&self.log(), 15);
                return Err(CliError::failed(format!("the payment provider does not serve; it logged last\n{said}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> Result<(), CliError> {
        self.ended = self.tally().await?;
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Stops it in its tracks: it takes connections and answers nothing.
    pub fn freeze(&mut self) -> Result<(), CliError> {
        self.process.as_mut().map_or(Ok(()), Process::freeze)
    }

    /// Lets it go on.
    pub fn unfreeze(&mut self) -> Result<(), CliError> {
        self.process.as_mut().map_or(Ok(()), Process::unfreeze)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Sets one of its faults beside those that it always has (`is_down`, `requests_per_second`).
    pub async fn set(&self, fault: &str, value: Value) -> Result<(), CliError> {
        let mut faults = self.admin("GET", "").await?;
        faults[fault] = value;
        self.admin("PUT", &faults.to_string()).await.map(drop)
    }

    /// No more goes wrong than always.
    pub async fn plain(&self) -> Result<(), CliError> {
        self.set("is_down", false.into()).await?;
        self.set("requests_per_second", 0.into()).await
    }

    /// What it has counted, before it was killed too.
    pub async fn tally(&self) -> Result<BTreeMap<String, u64>, CliError> {
        let happened = happened(&self.url()).await?;
        let counts = serde_json::to_value(happened).map_err(|error| CliError::failed(error.to_string()))?;
        let mut all = self.ended.clone();
        add(&mut all, "", &counts);
        Ok(all)
    }

    /// Asks it to end.
    pub fn shutdown(&mut self) -> Result<(), CliError> {
        self.process.as_mut().map_or(Ok(()), Process::terminate)
    }

    /// Its last lines.
    pub fn log_tail(&self, lines: usize) -> String {
        log_tail(&self.log(), lines)
    }

    async fn admin(&self, method: &str, body: &str) -> Result<Value, CliError> {
        let (address, length) = (self.address(), body.len());
        let request = format!(
            "{method} /admin/faults HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let exchanged =
            tokio::time::timeout(WITHIN, async { exchange(&mut TcpStream::connect(&address).await?, &request).await });
        match exchanged.await {
            Ok(Ok(Some(Answer { status: 200, body, .. }))) => Ok(body),
            other => Err(CliError::failed(format!("the payment provider does not take its faults: {other:?}"))),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let (ledger, secrets) = (self.folder.join("ledger.db"), self.secrets_file());
        let own = [
            ("--listen", self.address()),
            ("--ledger", format!("sqlite:{}", ledger.display())),
            ("--webhook-url", self.webhooks.clone()),
            ("--webhook-secrets-file", secrets.display().to_string()),
        ];
        let always = ALWAYS.map(|(option, value)| (option, value.to_owned()));
        let options = own.into_iter().chain(always).flat_map(|(option, value)| [option.to_owned(), value]);
        std::iter::once("payment-simulator".to_owned()).chain(options).collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log.txt")
    }
}

/// Adds every number in a document to the one of the same name.
fn add(all: &mut BTreeMap<String, u64>, name: &str, counts: &Value) {
    if let Value::Object(fields) = counts {
        fields.iter().for_each(|(field, value)| add(all, &join(name, field), value));
    } else if let Some(count) = counts.as_u64().filter(|_| name != "waiting") {
        // What waits is no count of what has happened.
        *all.entry(name.to_owned()).or_default() += count;
    }
}

fn join(name: &str, field: &str) -> String {
    if name.is_empty() { field.to_owned() } else { format!("{name}_{field}") }
}
