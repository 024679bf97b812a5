//! A server with eight shards, and gateways in front of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_client::{Client, Config};
use doorbuster_gateway::{Gateway, GatewayConfig, PaymentProvider, Simulator};
use doorbuster_protocol::types::{ProductId, shard_of};
use doorbuster_server::{Server, ServerConfig, format};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Agent, PATIENCE};

/// Shards of the test's server.
const SHARDS: u16 = 8;

/// What a test runs against.
pub struct Cluster {
    pub folder: TempDir,
    server: Server,
    gateways: Vec<Gateway>,
}

impl Cluster {
    /// A server, and a gateway in development mode.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// As [`Self::start`], with something changed in the gateway's configuration.
    pub async fn start_with(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = ServerConfig {
            data: folder.path().join("data"),
            listen: any,
            peer_listen: any,
            admin_listen: any,
            shards: SHARDS,
            segment_bytes: 1 << 20,
            ..ServerConfig::default()
        };
        format(&config).unwrap();
        let server = Server::start(config).await.unwrap();
        let mut cluster = Self { folder, server, gateways: Vec::new() };
        cluster.gateway(change).await;
        cluster
    }

    /// One more gateway; returns its address.
    pub async fn gateway(&mut self, change: impl FnOnce(&mut GatewayConfig)) -> SocketAddr {
        let mut config = quiet(&self.server.client_address.to_string());
        change(&mut config);
        let gateway = Gateway::start(config).await.unwrap();
        let address = gateway.address;
        self.gateways.push(gateway);
        await_ready(address).await;
        address
    }

    /// One more gateway, before a provider that it may share with others; returns its address.
    pub async fn gateway_before(
        &mut self,
        provider: &Arc<Simulator>,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> SocketAddr {
        let mut config = quiet(&self.server.client_address.to_string());
        change(&mut config);
        let gateway = Gateway::start_with(config, Arc::clone(provider) as Arc<dyn PaymentProvider>).await.unwrap();
        let address = gateway.address;
        self.gateways.push(gateway);
        await_ready(address).await;
        address
    }

    /// A client of the server's own.
    pub async fn client(&self) -> Client {
        Client::connect(Config::new("doorbuster", vec![self.server.client_address.to_string()])).await.unwrap()
    }

    /// Ends the last gateway and hands back when it has.
    pub async fn end_last_gateway(&mut self) {
        self.gateways.pop().unwrap().shutdown().await;
    }

    /// The first gateway's address.
    pub fn address(&self) -> SocketAddr {
        self.gateways[0].address
    }

    pub fn user(&self, name: &str) -> Agent {
        Agent::user(self.address(), name)
    }

    pub fn operator(&self) -> Agent {
        Agent::user(self.address(), "root:admin")
    }

    /// Puts a product on sale: one unit a reservation costs 500 cents, with what else is given.
    pub async fn product(&self, product: u64, stock: u32, more: Value) {
        let mut body = json!({
            "product": product, "name": "Phone", "stock": stock, "price": { "minor": 500, "currency": "EUR" },
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.operator().post("/v1/admin/products", &body).await.ok(201);
    }

    /// available, held and sold of a product.
    pub async fn units(&self, product: u64) -> (u64, u64, u64) {
        let shown = self.user("anybody").get(&format!("/v1/products/{product}")).await;
        let number = |name: &str| shown.ok(200).body[name].as_u64().unwrap();
        assert_eq!(number("stock"), number("available") + number("held") + number("sold"));
        (number("available"), number("held"), number("sold"))
    }

    /// Ends the first gateway and hands back when it has.
    pub async fn end_gateway(&mut self) {
        self.gateways.remove(0).shutdown().await;
    }

    /// Ends the server without any handover.
    pub async fn kill_server(self) -> Vec<Gateway> {
        self.server.abort().await;
        self.gateways
    }

    pub async fn end(self) {
        for gateway in self.gateways {
            gateway.shutdown().await;
        }
        self.server.abort().await;
    }
}

/// A gateway's configuration with no limits in a test's way.
pub fn quiet(node: &str) -> GatewayConfig {
    let mut config = GatewayConfig {
        listen: "127.0.0.1:0".into(),
        nodes: vec![node.into()],
        database: String::new(),
        insecure_dev: true,
        drain_ms: 3000,
        ..GatewayConfig::default()
    };
    config.limits.address_per_second = 0;
    config.payment.simulator.min_latency_ms = 1;
    config.payment.simulator.max_latency_ms = 5;
    config
}

/// Two products that live on different shards.
pub fn apart() -> (u64, u64) {
    let first = shard_of(ProductId(1), SHARDS);
    let other = (2..).find(|product| shard_of(ProductId(*product), SHARDS) != first).unwrap();
    (1, other)
}

/// Asks until `done` is satisfied.
pub async fn until<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("it comes about in time")
}

async fn await_ready(address: SocketAddr) {
    let agent = Agent::new(address, "");
    until(|| async { (agent.get("/readyz").await.status == 200).then_some(()) }).await;
}
