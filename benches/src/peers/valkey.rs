//! Processes of Valkey or Redis, which are run alike: one, or a primary with two replicas.

use super::lua::{self, SCRIPT};
use super::resp::{self, Reply};
use bytes::BytesMut;
use doorbuster_cli::bench::cpu::{Cpus, Pinned};
use doorbuster_cli::clock;
use doorbuster_cli::demo::ports::free_ports;
use doorbuster_cli::demo::process::{Process, log_tail};
use doorbuster_cli::error::CliError;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// It may take so long to answer, replicas to follow.
const WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks whether it does.
const LOOK: Duration = Duration::from_millis(20);

/// How it is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Its program.
    pub binary: &'a Path,
    /// Each write is synced to disk before it is answered.
    pub on_disk: bool,
    /// Replicas, besides the primary.
    pub replicas: usize,
    /// Processors.
    pub cpus: Option<&'a Cpus>,
}

/// What runs; ends when dropped.
pub struct Valkey {
    processes: Vec<Process>,
    address: String,
    digest: String,
    replicas: usize,
}

impl Valkey {
    /// Starts it with its data under `folder`, and loads the script.
    ///
    /// # Errors
    /// It does not start, or the replicas do not follow.
    pub async fn start(plan: Plan<'_>, folder: &Path) -> Result<Self, CliError> {
        let ports = free_ports::<3>()?;
        let mut processes = Vec::new();
        for (number, port) in ports.into_iter().enumerate().take(plan.replicas + 1) {
            let primary = (number > 0).then_some(ports[0]);
            processes.push(plan.process(port, primary, &folder.join(number.to_string()))?);
        }
        let address = format!("127.0.0.1:{}", ports[0]);
        let mut valkey = Self { processes, address, digest: String::new(), replicas: plan.replicas };
        valkey.wait_ready().await?;
        valkey.digest = ask(&valkey.address, &["SCRIPT", "LOAD", SCRIPT]).await?;
        Ok(valkey)
    }

    /// Where the primary listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the script is called by.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Replicas, besides the primary.
    #[must_use]
    pub const fn replicas(&self) -> usize {
        self.replicas
    }

    /// Its processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// Puts so many units of a product on sale.
    ///
    /// # Errors
    /// It says no.
    pub async fn put_on_sale(&self, product: u64, stock: u64) -> Result<(), CliError> {
        ask(&self.address, &["SET", &lua::stock_key(product), &stock.to_string()]).await.map(drop)
    }

    /// How many are left, and how many reservations there are.
    ///
    /// # Errors
    /// It says no.
    pub async fn count(&self, product: u64) -> Result<(String, String), CliError> {
        let left = ask(&self.address, &["GET", &lua::stock_key(product)]).await?;
        Ok((left, ask(&self.address, &["ZCARD", &lua::deadlines_key(product)]).await?))
    }

    async fn wait_ready(&mut self) -> Result<(), CliError> {
        let deadline = clock::now() + WITHIN;
        loop {
            let said = ask(&self.address, &["INFO", "replication"]).await.unwrap_or_default();
            if said.matches("state=online").count() == self.replicas && said.contains("role:master") {
                return Ok(());
            }
            let ended = self.processes.iter_mut().position(|process| process.ended().is_some());
            if ended.is_some() || clock::now() > deadline {
                let log = self.processes[ended.unwrap_or(0)].log();
                return Err(CliError::failed(format!("it does not start; it logged last\n{}", log_tail(log, 15))));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Plan<'_> {
    fn process(&self, port: u16, primary: Option<u16>, folder: &Path) -> Result<Process, CliError> {
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::failed(format!("cannot make {}: {error}", folder.display())))?;
        let mut command = Command::new(self.binary);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]).arg("--dir").arg(folder);
        command.args(["--appendonly", if self.on_disk { "yes" } else { "no" }, "--appendfsync", "always"]);
        // Neither a rewrite of its file nor a pause before replicas are served is to be measured.
        command.args(["--auto-aof-rewrite-percentage", "0", "--repl-diskless-sync-delay", "0"]);
        if let Some(primary) = primary {
            command.args(["--replicaof", "127.0.0.1", &primary.to_string()]);
        }
        // Children run where the thread ran that started them.
        let _pinned = self.cpus.map(Pinned::to).transpose()?;
        Process::spawn("valkey", command, &folder.join("log.txt"))
    }
}

/// One command on a connection of its own; its answer as text.
///
/// # Errors
/// It cannot be reached, or says no.
pub async fn ask(address: &str, words: &[&str]) -> Result<String, CliError> {
    let wrong = |error| CliError::failed(format!("{address}: {error}"));
    let mut stream = TcpStream::connect(address).await.map_err(wrong)?;
    let mut out = Vec::new();
    resp::command(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), &mut out);
    stream.write_all(&out).await.map_err(wrong)?;
    let mut input = BytesMut::new();
    loop {
        if let Some((reply, _)) = resp::reply(&input).map_err(|error| CliError::failed(error.to_string()))? {
            return match reply {
                Reply::Bulk(text) | Reply::Status(text) => Ok(String::from_utf8_lossy(text).into_owned()),
                Reply::Integer(number) => Ok(number.to_string()),
                Reply::Error(text) => Err(CliError::failed(format!("{} says: {}", address, text.escape_ascii()))),
                Reply::Nil | Reply::Array(_) => Ok(String::new()),
            };
        }
        if stream.read_buf(&mut input).await.map_err(wrong)? == 0 {
            return Err(CliError::failed(format!("{address} has closed the connection")));
        }
    }
}
