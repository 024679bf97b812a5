//! Starts and stops servers, each on its own temporary folder, its addresses fixed for its life.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use doorbuster_client::Client;
use doorbuster_protocol::types::{NodeId, ProductId, shard_of};
use doorbuster_server::config::Peer;
use doorbuster_server::{Server, ServerConfig, Sockets, format};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The nodes of a cluster, running or not.
pub struct Nodes {
    _folder: TempDir,
    configs: Vec<ServerConfig>,
    servers: Vec<Option<Server>>,
}

impl Nodes {
    /// A formatted cluster of `count` nodes and four shards, all running.
    pub async fn start(count: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Held until all are known, so that no two nodes get the same port.
        let held: Vec<_> = (0..3 * count).map(|_| StdListener::bind("127.0.0.1:0").expect("loopback")).collect();
        let addresses: Vec<SocketAddr> = held.iter().map(|socket| socket.local_addr().expect("bound")).collect();
        drop(held);
        let own = |node: u16| &addresses[usize::from(node - 1) * 3..];
        let peer = |node| Peer { node, client: own(node)[0].to_string(), peer: own(node)[1].to_string() };
        let configs: Vec<_> = (1..=count)
            .map(|node| ServerConfig {
                node,
                data: folder.path().join(format!("node-{node}")),
                listen: own(node)[0],
                peer_listen: own(node)[1],
                admin_listen: own(node)[2],
                peers: if count > 1 { (1..=count).map(peer).collect() } else { Vec::new() },
                shards: 4,
                segment_bytes: 1 << 20,
                ..ServerConfig::default()
            })
            .collect();
        let mut servers = Vec::new();
        for config in &configs {
            format(config).expect("an empty folder");
            servers.push(Some(launch(config).await));
        }
        Self { _folder: folder, configs, servers }
    }

    pub fn addresses(&self) -> Vec<String> {
        self.configs.iter().map(|config| config.listen.to_string()).collect()
    }

    /// The leader of a product's shard, as a reserve finds it.
    pub async fn leader_of(&self, client: &Client, product: ProductId) -> NodeId {
        client.product(product).await.expect("a leader answers");
        let shard = shard_of(product, client.shards());
        client.shard_map().leaders[usize::from(shard.0)].expect("a leader answered")
    }

    /// An end without any handover.
    pub async fn abort(&mut self, node: NodeId) {
        self.servers[usize::from(node.0) - 1].take().expect("it runs").abort().await;
    }

    pub async fn restart(&mut self, node: NodeId) {
        let at = usize::from(node.0) - 1;
        self.servers[at] = Some(launch(&self.configs[at]).await);
    }

    pub async fn end(mut self) {
        for server in self.servers.iter_mut().filter_map(Option::take) {
            server.abort().await;
        }
    }
}

/// The port of a node that just ended may take a moment to come free.
async fn launch(config: &ServerConfig) -> Server {
    for _ in 0..100 {
        let bound = async {
            std::io::Result::Ok(Sockets {
                clients: TcpListener::bind(config.listen).await?,
                peers: TcpListener::bind(config.peer_listen).await?,
                admin: TcpListener::bind(config.admin_listen).await?,
            })
        };
        if let Ok(sockets) = bound.await {
            return Server::start_on(config.clone(), sockets).await.expect("it starts");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the addresses of node {} are taken", config.node);
}
