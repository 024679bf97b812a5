//! Starts and stops servers: each on its own temporary folder, its addresses fixed for its life.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use doorbuster_protocol::types::{NodeId, ShardId};
use doorbuster_server::config::Peer;
use doorbuster_server::{Server, ServerConfig, ServerError, Sockets, format};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::caller::Caller;

/// Longest time that anything in these tests may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The nodes of a cluster, running or not.
pub struct Nodes {
    _folder: TempDir,
    configs: Vec<ServerConfig>,
    servers: Vec<Option<Server>>,
}

impl Nodes {
    /// A formatted cluster of `count` nodes with `shards` shards, all running.
    pub async fn start(count: u16, shards: u16) -> Self {
        Self::start_with(count, shards, |_| {}).await
    }

    /// As [`Self::start`], with something changed in each node's configuration.
    pub async fn start_with(count: u16, shards: u16, change: impl Fn(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Held until all are known, so that no two nodes get the same port.
        let held: Vec<_> = (0..3 * count).map(|_| StdListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = held.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let peers: Vec<Peer> = (1..=count)
            .map(|node| {
                let own = &addresses[usize::from(node - 1) * 3..];
                Peer { node, client: own[0].to_string(), peer: own[1].to_string() }
            })
            .collect();
        let config = |node: u16| {
            let own = &addresses[usize::from(node - 1) * 3..];
            let mut config = ServerConfig {
                node,
                data: folder.path().join(format!("node-{node}")),
                listen: own[0],
                peer_listen: own[1],
                admin_listen: own[2],
                peers: if count > 1 { peers.clone() } else { Vec::new() },
                shards,
                shard_threads: 2,
                segment_bytes: 1 << 20,
                ..ServerConfig::default()
            };
            change(&mut config);
            config
        };
        let configs: Vec<_> = (1..=count).map(config).collect();
        drop(held);
        let mut nodes = Self { _folder: folder, configs, servers: Vec::new() };
        for node in 0..usize::from(count) {
            format(&nodes.configs[node]).unwrap();
            nodes.servers.push(Some(nodes.launch(node).await.unwrap()));
        }
        nodes.wait_for_leaders().await;
        nodes
    }

    async fn launch(&self, node: usize) -> Result<Server, ServerError> {
        let config = self.configs[node].clone();
        // The port of a node that just ended may take a moment to come free.
        for _ in 0..100 {
            let bound = async {
                std::io::Result::Ok(Sockets {
                    clients: TcpListener::bind(config.listen).await?,
                    peers: TcpListener::bind(config.peer_listen).await?,
                    admin: TcpListener::bind(config.admin_listen).await?,
                })
            };
            if let Ok(sockets) = bound.await {
                return Server::start_on(config, sockets).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the addresses of node {} are taken", node + 1);
    }

    /// Starts a node that is not running. Nodes count from 1.
    pub async fn restart(&mut self, node: u16) -> Result<(), ServerError> {
        let at = usize::from(node) - 1;
        assert!(self.servers[at].is_none(), "node {node} runs");
        self.servers[at] = Some(self.launch(at).await?);
        Ok(())
    }

    /// A clean shutdown.
    pub async fn shut_down(&mut self, node: u16) {
        self.take(node).shutdown().await;
    }

    /// Clean shutdowns of all three nodes at once.
    pub async fn shut_down_all(&mut self) {
        tokio::join!(self.take(1).shutdown(), self.take(2).shutdown(), self.take(3).shutdown());
    }

    /// An end without any handover.
    pub async fn abort(&mut self, node: u16) {
        self.take(node).abort().await;
    }

    fn take(&mut self, node: u16) -> Server {
        self.servers[usize::from(node) - 1].take().expect("a node that runs")
    }

    /// Ends all nodes.
    pub async fn end(mut self) {
        for server in self.servers.iter_mut().filter_map(Option::take) {
            server.abort().await;
        }
    }

    pub fn config(&self, node: u16) -> &ServerConfig {
        &self.configs[usize::from(node) - 1]
    }

    pub fn address(&self, node: u16) -> SocketAddr {
        self.config(node).listen
    }

    pub fn server(&self, node: u16) -> &Server {
        self.servers[usize::from(node) - 1].as_ref().expect("a node that runs")
    }

    pub fn running(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().flatten()
    }

    /// Somebody who asks whichever node leads.
    pub fn caller(&self) -> Caller {
        Caller::new(self.configs.iter().map(|config| (NodeId(config.node), config.listen)).collect())
    }

    /// The node that leads a shard and serves it.
    pub async fn leader(&self, shard: u16) -> u16 {
        let mut leader = None;
        eventually("a shard has a leader that serves", || {
            let statuses = self.running().map(|server| server.service().desk.view.status(ShardId(shard)));
            let mut leaders = statuses.zip(self.running()).filter(|(status, _)| status.leading);
            leader = leaders.next().map(|(_, server)| server.service().desk.view.node().0);
            leader.is_some()
        })
        .await;
        leader.expect("just found")
    }

    /// Every shard has a leader, and all running nodes know it.
    pub async fn wait_for_leaders(&self) {
        eventually("every shard has a leader", || {
            let count = self.configs[0].shards;
            (0..count).all(|shard| {
                let led = self.running().any(|server| server.service().desk.view.status(ShardId(shard)).leading);
                led && self.running().all(|server| server.service().desk.view.leader(ShardId(shard)).is_some())
            })
        })
        .await;
    }

    /// All running replicas of every shard have applied the same entries, and are equal.
    pub async fn wait_until_equal(&self) {
        eventually("all replicas are equal", || {
            (0..self.configs[0].shards).all(|shard| {
                let mut seen = self.running().map(|server| {
                    let status = server.service().desk.view.status(ShardId(shard));
                    (status.applied, status.state_hash)
                });
                let first = seen.next();
                seen.all(|other| Some(other) == first)
            })
        })
        .await;
    }
}

/// For [`Nodes::start_with`]: snapshots every hundred entries, and hardly any entries kept behind them.
pub fn cut_often(config: &mut ServerConfig) {
    config.snapshot_entries = 100;
    config.snapshot_bytes = 64 << 10;
    config.snapshot_spacing_ms = 0;
}

/// Waits until it is so, or fails.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("not within {PATIENCE:?}: {what}");
    }
}
