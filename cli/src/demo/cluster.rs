//! A cluster of real server processes on this machine: formatted, started, killed, restarted, by the demo
//! and by whole-system tests.
//!
//! Every node has its folder under the cluster's (`node1/data`, `node1/server.toml`, `node1/log.txt`) and keeps
//! its ports over restarts. The processes die with the thread that started them and with the [`Cluster`].

use super::ports::free_ports;
use super::process::{Process, log_tail};
use crate::error::CliError;
use crate::{clock, entropy};
use doorbuster_client::{Client, Config};
use doorbuster_protocol::types::{NodeId, ShardId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use toml::{Table, Value};

/// How long a cluster may take from start to a leader on every shard.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may take to hand over and end when asked to.
const END_WITHIN: Duration = Duration::from_secs(15);

/// What cluster to start.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The `doorbuster` binary.
    pub binary: PathBuf,
    /// Where the nodes' folders go.
    pub folder: PathBuf,
    /// How many nodes: 1, 3 or 5.
    pub nodes: u16,
    /// How many shards.
    pub shards: u16,
    /// Further fields for every node's configuration.
    pub settings: Table,
    /// Data folders that are not `data` in the node's own folder: on another disk.
    pub data: BTreeMap<NodeId, PathBuf>,
    /// Environment of each node's process, besides ours.
    pub environment: BTreeMap<NodeId, Vec<(String, String)>>,
    /// What stands between the nodes, and between clients and nodes; none: they connect directly.
    pub detour: Option<Arc<dyn Detour>>,
}

/// Something in between that connections go through. Asked once for each, before the node's first start.
pub trait Detour: fmt::Debug + Send + Sync {
    /// Where `from` reaches the peer port of `to`, which listens at `address`.
    fn between(&self, from: NodeId, to: NodeId, address: &str) -> Result<String, CliError>;

    /// Where clients reach the client port of `node`, which listens at `address`.
    fn to_clients_of(&self, node: NodeId, address: &str) -> Result<String, CliError>;
}

impl ClusterConfig {
    /// Three nodes with eight shards under `folder`. Their log's segments are smaller than the default: writing them
    /// full of zeros is most of what a start takes.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        let whole = Self {
            binary: binary.into(),
            folder: folder.into(),
            nodes: 3,
            shards: 8,
            settings: Table::new(),
            data: BTreeMap::new(),
            environment: BTreeMap::new(),
            detour: None,
        };
        whole.with("segment_bytes", 16 << 20)
    }

    /// The same with one more field in every node's configuration.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(field.to_owned(), value.into());
        self
    }
}

/// Where a node listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// For clients.
    pub client: String,
    /// For the other nodes.
    pub peer: String,
    /// For metrics and health.
    pub admin: String,
}

/// A running cluster. Its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    name: String,
    credential: String,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    id: NodeId,
    folder: PathBuf,
    addresses: Addresses,
    /// Where clients are told that it is.
    told: String,
    process: Mutex<Option<Process>>,
}

impl Cluster {
    /// Formats and starts every node of a new cluster, and waits until each shard has a leader.
    pub async fn start(config: ClusterConfig) -> Result<Self, CliError> {
        let cluster = Self::format(config).await?;
        for node in cluster.nodes() {
            cluster.start_node(node)?;
        }
        cluster.wait_ready(READY_WITHIN).await?;
        Ok(cluster)
    }

    /// Formats every node's folder without starting any.
    pub async fn format(config: ClusterConfig) -> Result<Self, CliError> {
        let mut nodes = Vec::new();
        for id in 1..=config.nodes {
            let [client, peer, admin] = free_ports::<3>()?.map(|port| format!("127.0.0.1:{port}"));
            let folder = config.folder.join(format!("node{id}"));
            let told = match &config.detour {
                Some(detour) => detour.to_clients_of(NodeId(id), &client)?,
                None => client.clone(),
            };
            let addresses = Addresses { client, peer, admin };
            nodes.push(Node { id: NodeId(id), folder, addresses, told, process: Mutex::new(None) });
        }
        let name = format!("cluster-{:016x}", entropy::number());
        let cluster = Self { config, name, credential: entropy::secret(), nodes };
        cluster.write_configurations()?;
        for node in &cluster.nodes {
            cluster.format_node(node).await?;
        }
        Ok(cluster)
    }

    /// The cluster's name, unlike any other's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// Where clients reach its nodes.
    #[must_use]
    pub fn client_addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.told.clone()).collect()
    }

    /// Where a node listens.
    pub fn addresses(&self, node: NodeId) -> Result<&Addresses, CliError> {
        self.node(node).map(|node| &node.addresses)
    }

    /// A node's folder: `data/`, `server.toml` and `log.txt`.
    pub fn folder(&self, node: NodeId) -> Result<&Path, CliError> {
        self.node(node).map(|node| node.folder.as_path())
    }

    /// The file with the secret that clients show.
    #[must_use]
    pub fn credential_file(&self) -> PathBuf {
        self.config.folder.join("credential")
    }

    /// What a client needs to connect.
    #[must_use]
    pub fn client_config(&self) -> Config {
        Config {
            nodes: self.client_addresses(),
            cluster: self.name.clone(),
            credential: Some(self.credential.clone().into_bytes()),
            ..Config::default()
        }
    }

    /// A new client.
    pub async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::connect(self.client_config()).await?)
    }

    /// Starts a node that does not run; its data and addresses are those it had.
    pub fn start_node(&self, node: NodeId) -> Result<(), CliError> {
        let node = self.node(node)?;
        let mut process = node.process.lock();
        if process.as_mut().is_some_and(|process| process.ended().is_none()) {
            return Err(CliError::failed(format!("node {} runs already", node.id)));
        }
        let mut command = Command::new(&self.config.binary);
        command.args(["server", "run", "--config"]).arg(node.folder.join("server.toml"));
        let environment = self.config.environment.get(&node.id).into_iter().flatten();
        command.envs(environment.map(|(name, value)| (name, value)));
        *process = Some(Process::spawn(&format!("node {}", node.id), command, &node.folder.join("log.txt"))?);
        Ok(())
    }

    /// How a node's process ended by itself (or when asked to), if it has and was not started since.
    #[must_use]
    pub fn ended(&self, node: NodeId) -> Option<ExitStatus> {
        self.node(node).ok()?.process.lock().as_mut().and_then(Process::ended)
    }

    /// `kill -9`: the node is gone when this returns.
    pub fn kill(&self, node: NodeId) -> Result<(), CliError> {
        self.with_process(node, Process::kill)?;
        self.node(node)?.process.lock().take();
        Ok(())
    }

    /// Stops a node in its tracks (SIGSTOP).
    pub fn freeze(&self, node: NodeId) -> Result<(), CliError> {
        self.with_process(node, Process::freeze)
    }

    /// Lets a stopped node go on (SIGCONT).
    pub fn unfreeze(&self, node: NodeId) -> Result<(), CliError> {
        self.with_process(node, Process::unfreeze)
    }

    /// Asks a node to hand over and end (SIGTERM), and waits until it has.
    pub async fn terminate(&self, node: NodeId) -> Result<(), CliError> {
        self.with_process(node, Process::terminate)?;
        let deadline = clock::now() + END_WITHIN;
        while self.is_running(node) {
            if clock::now() > deadline {
                return Err(self.failure(
                    node,
                    &format!("node {node} did not end within {}s of being asked to", END_WITHIN.as_secs()),
                ));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Asks every running node to end, all at once, and waits until they have.
    pub async fn shutdown(&self) -> Result<(), CliError> {
        let running: Vec<NodeId> = self.nodes().into_iter().filter(|node| self.is_running(*node)).collect();
        for node in &running {
            self.with_process(*node, Process::terminate)?;
        }
        for node in running {
            self.terminate(node).await?;
        }
        Ok(())
    }

    /// Whether a node's process runs.
    #[must_use]
    pub fn is_running(&self, node: NodeId) -> bool {
        self.with_process(node, |process| Ok(process.ended().is_none())).unwrap_or(false)
    }

    /// A node's process id, while it runs.
    #[must_use]
    pub fn pid(&self, node: NodeId) -> Option<u32> {
        self.is_running(node).then(|| self.with_process(node, |process| Ok(process.pid())).ok()).flatten()
    }

    /// The last lines a node logged.
    #[must_use]
    pub fn log_tail(&self, node: NodeId, lines: usize) -> String {
        self.node(node).map(|node| log_tail(&node.folder.join("log.txt"), lines)).unwrap_or_default()
    }

    /// The node that leads a shard, as a freshly asked node says; waits until there is one.
    pub async fn leader(&self, client: &Client, shard: ShardId, within: Duration) -> Result<NodeId, CliError> {
        let deadline = clock::now() + within;
        loop {
            for node in self.nodes().into_iter().filter(|node| self.is_running(*node)) {
                let Ok(status) = client.status(node).await else { continue };
                if status.shards.iter().any(|replica| replica.shard == shard && replica.leading) {
                    return Ok(node);
                }
            }
            if clock::now() > deadline {
                return Err(CliError::unavailable(format!("shard {shard} has no leader after {}s", within.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every running node answers and every shard has a leader that serves.
    pub async fn wait_ready(&self, within: Duration) -> Result<(), CliError> {
        let deadline = clock::now() + within;
        let mut client = None;
        loop {
            if let Some(node) = self.nodes.iter().find(|node| self.has_died(node)) {
                return Err(self.failure(node.id, &format!("node {} ended by itself", node.id)));
            }
            if client.is_none() {
                client = tokio::time::timeout(Duration::from_secs(2), self.client()).await.ok().and_then(Result::ok);
            }
            if let Some(client) = &client
                && self.all_led(client).await
            {
                return Ok(());
            }
            if clock::now() > deadline {
                let nodes = self.nodes().into_iter().map(|node| format!("node {node}:\n{}", self.log_tail(node, 8)));
                let tails = nodes.collect::<Vec<_>>().join("\n");
                return Err(CliError::unavailable(format!(
                    "the cluster is not ready after {}s; its logs end with\n{tails}",
                    within.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    async fn all_led(&self, client: &Client) -> bool {
        let mut led = vec![false; usize::from(self.config.shards)];
        for node in self.nodes().into_iter().filter(|node| self.is_running(*node)) {
            match tokio::time::timeout(Duration::from_secs(2), client.status(node)).await {
                Ok(Ok(status)) => {
                    for replica in status.shards.iter().filter(|replica| replica.leading) {
                        led[usize::from(replica.shard.0)] = true;
                    }
                }
                _ => return false,
            }
        }
        led.iter().all(|led| *led)
    }

    fn has_died(&self, node: &Node) -> bool {
        node.process.lock().as_mut().is_some_and(|process| process.ended().is_some())
    }

    fn failure(&self, node: NodeId, what: &str) -> CliError {
        CliError::failed(format!("{what}; its log ends with\n{}", self.log_tail(node, 20)))
    }

    fn node(&self, node: NodeId) -> Result<&Node, CliError> {
        let known = self.nodes.iter().find(|known| known.id == node);
        known.ok_or_else(|| CliError::usage(format!("there is no node {node}; this cluster has {}", self.nodes.len())))
    }

    fn with_process<T>(
        &self,
        node: NodeId,
        act: impl FnOnce(&mut Process) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let mut process = self.node(node)?.process.lock();
        act(process.as_mut().ok_or_else(|| CliError::failed(format!("node {node} does not run")))?)
    }

    fn write_configurations(&self) -> Result<(), CliError> {
        let wrong = |error: std::io::Error| {
            CliError::failed(format!("cannot write under {}: {error}", self.config.folder.display()))
        };
        for node in &self.nodes {
            std::fs::create_dir_all(&node.folder).map_err(wrong)?;
            let text =
                toml::to_string(&self.configuration(node)?).map_err(|error| CliError::failed(error.to_string()))?;
            std::fs::write(node.folder.join("server.toml"), text).map_err(wrong)?;
        }
        std::fs::write(self.credential_file(), &self.credential).map_err(wrong)
    }

    fn configuration(&self, node: &Node) -> Result<Table, CliError> {
        let credential = self.credential_file().display().to_string();
        let mut peers = Vec::new();
        for peer in &self.nodes {
            let address = match &self.config.detour {
                Some(detour) if peer.id != node.id => detour.between(node.id, peer.id, &peer.addresses.peer)?,
                _ => peer.addresses.peer.clone(),
            };
            let entry = [
                ("node", Value::from(i64::from(peer.id.0))),
                ("peer", Value::from(address)),
                ("client", Value::from(peer.told.clone())),
            ];
            peers.push(Value::Table(entry.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()));
        }
        let data = self.config.data.get(&node.id).cloned().unwrap_or_else(|| node.folder.join("data"));
        let fields = [
            ("node", Value::from(i64::from(node.id.0))),
            ("cluster", Value::from(self.name.clone())),
            ("data", Value::from(data.display().to_string())),
            ("listen", Value::from(node.addresses.client.clone())),
            ("peer_listen", Value::from(node.addresses.peer.clone())),
            ("admin_listen", Value::from(node.addresses.admin.clone())),
            ("shards", Value::from(i64::from(self.config.shards))),
            ("credential_file", Value::from(credential.clone())),
            ("peer_credential_file", Value::from(credential)),
            ("peers", Value::Array(peers)),
        ];
        let mut table: Table = fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        table.extend(self.config.settings.clone());
        Ok(table)
    }

    async fn format_node(&self, node: &Node) -> Result<(), CliError> {
        let output = tokio::process::Command::new(&self.config.binary)
            .args(["server", "format", "--config"])
            .arg(node.folder.join("server.toml"))
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| CliError::failed(format!("cannot start {}: {error}", self.config.binary.display())))?;
        if output.status.success() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(CliError::failed(format!("cannot format node {}: {}", node.id, errors.trim_end())))
    }
}
