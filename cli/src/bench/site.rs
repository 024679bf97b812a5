//! Where a bench takes place: a running cluster, or one that is started for it in a temporary folder; its hot product; and
//! the way to whoever leads that product's shard.

use super::cpu::{Cpus, Pinned, Used};
use super::options::{Durability, PlaceArgs};
use crate::demo::cluster::{Cluster, ClusterConfig};
use crate::error::CliError;
use crate::{clock, entropy};
use bytes::{Buf, BytesMut};
use doorbuster_client::{Client, Config};
use doorbuster_protocol::command::{LatePaymentPolicy, ProductSpec, Reserve, Target};
use doorbuster_protocol::frame::VERSION;
use doorbuster_protocol::handshake::{Hello, WelcomeOrFailure, decode_welcome, encode_hello};
use doorbuster_protocol::limits::MAX_STOCK;
use doorbuster_protocol::reply::NodeAddress;
use doorbuster_protocol::types::{
    Currency, Millis, Money, NodeId, ProductId, Quantity, ShardId, Timestamp, UserId, shard_of,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use toml::Table;

/// A node is waited for so long before it is asked anew whether it leads.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before it is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A cluster to measure.
pub struct Site {
    cluster: Option<Cluster>,
    /// Dropped after the cluster that lives in it.
    folder: Option<TempDir>,
    config: Config,
    client: Client,
    server_cpus: Option<Cpus>,
}

impl Site {
    /// Connects to it, after starting it if that was asked for.
    ///
    /// # Errors
    /// If it cannot be started or reached.
    pub async fn open(place: &PlaceArgs) -> Result<Self, CliError> {
        let Some(nodes) = place.spawn else {
            return Self::reached(place.connection.config()?, None, None, None).await;
        };
        let binary = binary()?;
        let (durability, sync_delay, settings) = (place.durability, place.sync_delay, place.settings.clone());
        let (data, server_cpus) = (place.data.clone(), place.server_cpus.clone());
        Self::spawn(Spawn { binary, nodes, durability, sync_delay, settings, data, server_cpus }).await
    }

    /// Starts a cluster of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn spawn(spawn: Spawn) -> Result<Self, CliError> {
        let folder = temporary_folder(spawn.data.as_deref())?;
        let cluster = spawn.start(folder.path()).await?;
        Self::reached(cluster.client_config(), Some(cluster), Some(folder), spawn.server_cpus).await
    }

    async fn reached(
        config: Config,
        cluster: Option<Cluster>,
        folder: Option<TempDir>,
        server_cpus: Option<Cpus>,
    ) -> Result<Self, CliError> {
        let config = Config { deadline: Duration::from_secs(10), name: "doorbuster-bench".to_owned(), ..config };
        let client = Client::connect(config.clone()).await?;
        Ok(Self { cluster, folder, config, client, server_cpus })
    }

    /// Its client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How its clients connect.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The temporary folder of what was started.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(TempDir::path)
    }

    /// The cluster, if it was started for the bench.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// How to find the leader of that product's shard.
    pub fn guide(&self, product: ProductId) -> Guide {
        let shard = shard_of(product, self.client.shards());
        Guide { client: self.client.clone(), config: self.config.clone(), shard, found: Arc::default() }
    }

    /// Processor time that its servers have used so far, if they run here; and how many processors they may use.
    pub fn used(&self) -> Option<(Used, Option<usize>)> {
        Some((Used::by(&self.servers()?), self.server_cpus.as_ref().map(Cpus::count)))
    }

    /// Starts a node that was killed, on the servers' processors.
    ///
    /// # Errors
    /// If the cluster is not the bench's own, or the node does not start.
    pub fn start_node(&self, node: NodeId) -> Result<(), CliError> {
        let cluster = self.cluster.as_ref().ok_or_else(|| CliError::usage("no node of this cluster can be started"))?;
        // Children run where the thread ran that started them.
        let _pinned = self.server_cpus.as_ref().map(Pinned::to).transpose()?;
        cluster.start_node(node)
    }

    /// A client that was told of this node only, as soon as it takes one; `None` if it does not until then.
    ///
    /// # Errors
    /// If the cluster is not the bench's own, or the node does not take this client.
    pub async fn client_of(&self, node: NodeId, until: Instant, look: Duration) -> Result<Option<Client>, CliError> {
        let nodes = self.client.nodes();
        let address = nodes.into_iter().find(|known| known.node == node).map(|known| known.address);
        let address = address.ok_or_else(|| CliError::failed(format!("nobody knows where node {node} is")))?;
        while clock::now() < until {
            if TcpStream::connect(&address).await.is_ok() {
                return Ok(Some(Client::connect(Config { nodes: vec![address], ..self.config.clone() }).await?));
            }
            tokio::time::sleep(look).await;
        }
        Ok(None)
    }

    /// The process ids of its servers, if they run here.
    pub fn servers(&self) -> Option<Vec<u32>> {
        let cluster = self.cluster.as_ref()?;
        Some(cluster.nodes().into_iter().filter_map(|node| cluster.pid(node)).collect())
    }

    /// A new product with more units than anybody can ask for.
    ///
    /// # Errors
    /// If the cluster does not take it.
    pub async fn plenty(&self, ttl: Millis) -> Result<ProductId, CliError> {
        self.product(ProductId(entropy::number() | 1), Quantity(MAX_STOCK), ttl).await
    }

    /// The same on the shard of another product.
    ///
    /// # Errors
    /// If the cluster does not take it.
    pub async fn plenty_beside(&self, other: ProductId, ttl: Millis) -> Result<ProductId, CliError> {
        let shard = |product| shard_of(product, self.client.shards());
        let mut ids = std::iter::repeat_with(|| ProductId(entropy::number() | 1));
        let id = ids.find(|id| *id != other && shard(*id) == shard(other));
        self.product(id.unwrap_or(other), Quantity(MAX_STOCK), ttl).await
    }

    /// A new product with so many units.
    ///
    /// # Errors
    /// If the cluster does not take it.
    pub async fn on_sale(&self, stock: Quantity, ttl: Millis) -> Result<ProductId, CliError> {
        self.product(ProductId(entropy::number() | 1), stock, ttl).await
    }

    async fn product(&self, product: ProductId, stock: Quantity, ttl: Millis) -> Result<ProductId, CliError> {
        let spec = ProductSpec {
            product,
            name: "bench".to_owned(),
            stock,
            price: Money { minor: 100, currency: Currency(*b"EUR") },
            limit_per_user: Quantity(0),
            limit_per_reservation: Quantity(0),
            ttl,
            max_life: ttl,
            payment_cap: ttl.min(Millis(60_000)),
            opens_at: Timestamp(0),
            closes_at: Timestamp(0),
            late_payment: LatePaymentPolicy::default(),
        };
        self.client.create_product(spec).await?;
        Ok(product)
    }

    /// A new product with one unit, and that one sold.
    ///
    /// # Errors
    /// If the cluster does not take it.
    pub async fn sold_out(&self) -> Result<ProductId, CliError> {
        let product = self.product(ProductId(entropy::number() | 1), Quantity(1), Millis(60_000)).await?;
        let (reservation, user) = (entropy::reservation_id(), UserId(1));
        self.client.reserve(Reserve { product, reservation, user, quantity: Quantity(1), ttl: Millis(0) }).await?;
        self.client.confirm(Target { product, reservation, user }).await?;
        Ok(product)
    }

    /// Ends what was started.
    ///
    /// # Errors
    /// If a server did not end in good order.
    pub async fn close(self) -> Result<(), CliError> {
        self.client.close().await;
        if let Some(cluster) = &self.cluster {
            cluster.shutdown().await?;
        }
        drop(self.folder);
        Ok(())
    }
}

fn temporary_folder(under: Option<&Path>) -> Result<TempDir, CliError> {
    let folder = match under {
        Some(under) => tempfile::Builder::new().prefix("doorbuster-bench-").tempdir_in(under),
        None => tempfile::tempdir(),
    };
    folder.map_err(|error| CliError::failed(format!("no temporary folder for the servers' data: {error}; try --data")))
}

/// A cluster to be started.
#[derive(Clone, Debug)]
pub struct Spawn {
    /// The `doorbuster` binary.
    pub binary: PathBuf,
    /// 1, 3 or 5.
    pub nodes: u16,
    /// What an answer means.
    pub durability: Durability,
    /// Added to each sync of the log.
    pub sync_delay: Millis,
    /// Further fields for every node's configuration.
    pub settings: Table,
    /// Where its temporary folder goes, if not where such folders go.
    pub data: Option<PathBuf>,
    /// Processors that the servers run on.
    pub server_cpus: Option<Cpus>,
}

impl Spawn {
    async fn start(&self, folder: &Path) -> Result<Cluster, CliError> {
        let nodes = self.nodes;
        if ![1, 3, 5].contains(&nodes) {
            return Err(CliError::usage(format!("--spawn {nodes}: a cluster has 1, 3 or 5 nodes")));
        }
        let durability = match self.durability {
            Durability::Disk => "disk",
            Durability::Memory => "memory",
        };
        let delay = i64::try_from(self.sync_delay.0.saturating_mul(1000)).unwrap_or(i64::MAX);
        let mut config = ClusterConfig { nodes, ..ClusterConfig::new(&self.binary, folder) }
            .with("durability", durability)
            .with("segment_bytes", 64 << 20)
            .with("sync_delay_us", delay);
        config.settings.extend(self.settings.clone());
        // Children run where the thread ran that started them.
        let pinned = self.server_cpus.as_ref().map(Pinned::to).transpose()?;
        let cluster = Cluster::start(config).await;
        drop(pinned);
        cluster
    }
}

/// This program's own file.
///
/// # Errors
/// If it cannot be found.
pub fn binary() -> Result<PathBuf, CliError> {
    std::env::current_exe().map_err(|error| CliError::failed(format!("cannot find this program's file: {error}")))
}

/// The way to a shard's leader.
#[derive(Clone, Debug)]
pub struct Guide {
    client: Client,
    config: Config,
    shard: ShardId,
    /// The leader that was found last, and when.
    found: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Guide {
    /// A connection to the leader, its handshake done and what came behind it in `input`; `None` if there is no leader, or
    /// it cannot be reached now.
    ///
    /// # Errors
    /// The node does not take this client.
    pub async fn dial(&self, input: &mut BytesMut) -> Result<Option<TcpStream>, CliError> {
        let Some(address) = self.leader().await else { return Ok(None) };
        let Ok(mut stream) = TcpStream::connect(&address).await else { return Ok(None) };
        let _ = stream.set_nodelay(true);
        let hello = Hello {
            versions: VERSION..=VERSION,
            cluster: self.config.cluster.clone(),
            credential: self.config.credential.clone().unwrap_or_default(),
            client: self.config.name.clone(),
        };
        let mut bytes = Vec::new();
        encode_hello(&hello, &mut bytes);
        if stream.write_all(&bytes).await.is_err() {
            return Ok(None);
        }
        loop {
            let welcome = decode_welcome(input)
                .map_err(|error| CliError::failed(format!("{address} does not keep to the protocol: {error}")))?;
            match welcome {
                Some((WelcomeOrFailure::Welcome(_), taken)) => {
                    input.advance(taken);
                    return Ok(Some(stream));
                }
                Some((WelcomeOrFailure::Refused(failure), _)) => {
                    return Err(CliError::usage(format!("{address} does not take this client: {failure}")));
                }
                None if matches!(stream.read_buf(input).await, Ok(1..)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Where the node is that says of itself that it leads. One connection looks for all that have lost theirs.
    async fn leader(&self) -> Option<String> {
        let came = clock::now();
        let mut found = self.found.lock().await;
        if let Some((_, address)) = found.as_ref().filter(|(at, _)| *at > came) {
            return Some(address.clone());
        }
        let address = self.search().await?;
        *found = Some((clock::now(), address.clone()));
        Some(address)
    }

    /// Asks every node until one leads, each on its own: those that are dead or slow keep nobody waiting.
    async fn search(&self) -> Option<String> {
        let nodes = self.client.nodes();
        let mut asked: FuturesUnordered<_> = nodes.into_iter().map(|node| self.leads_at_last(node)).collect();
        asked.next().await
    }

    async fn leads_at_last(&self, node: NodeAddress) -> String {
        while !self.leads(node.node).await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        node.address
    }

    /// Whether it says of itself that it does.
    async fn leads(&self, node: NodeId) -> bool {
        let Ok(Ok(status)) = timeout(LOOK, self.client.status(node)).await else { return false };
        status.shards.iter().any(|replica| replica.shard == self.shard && replica.leading)
    }
}
