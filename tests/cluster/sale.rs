//! What the scenarios share: a cluster with a product on sale, callers that load it and write down what they heard.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use doorbuster_cli::demo::cluster::{Cluster, ClusterConfig};
use doorbuster_client::{Client, Error};
use doorbuster_protocol::command::{LatePaymentPolicy, ProductSpec, Reserve, Target};
use doorbuster_protocol::reply::ReservationState;
use doorbuster_protocol::types::{
    Currency, Millis, Money, NodeId, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId, shard_of,
};
use doorbuster_tests::binary::binary;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::task::JoinSet;

pub const PRODUCT: ProductId = ProductId(42);
pub const SHARDS: u16 = 4;
pub const WITHIN: Duration = Duration::from_secs(60);

/// A cluster in a folder of its own, both gone when dropped.
pub struct Sale {
    pub cluster: Cluster,
    pub client: Client,
    _folder: TempDir,
}

impl Sale {
    /// Three nodes with a log that is cut early, and one product with plenty of stock.
    pub async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    /// The same with other settings.
    pub async fn start_with(settings: impl FnOnce(ClusterConfig) -> ClusterConfig) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let often = ClusterConfig::new(binary(), folder.path()).with("snapshot_entries", 200);
        let mut config = often.with("snapshot_spacing_ms", 0).with("segment_bytes", 1 << 20);
        config.shards = SHARDS;
        let config = settings(config);
        let cluster = Cluster::start(config).await.expect("a new cluster starts");
        let client = cluster.client().await.expect("the cluster answers");
        client.create_product(product()).await.expect("a new product is accepted");
        Self { cluster, client, _folder: folder }
    }

    pub fn shard(&self) -> ShardId {
        shard_of(PRODUCT, SHARDS)
    }

    /// A node that does not lead the product's shard.
    pub async fn follower(&self) -> NodeId {
        let leader = self.cluster.leader(&self.client, self.shard(), WITHIN).await.expect("the shard has a leader");
        self.cluster.nodes().into_iter().find(|node| *node != leader).expect("three nodes have two followers")
    }

    /// `doorbuster audit` against this cluster.
    pub fn audit(&self) -> Output {
        let nodes = self.cluster.client_addresses().join(",");
        Command::new(binary())
            .args(["audit", "--nodes", &nodes, "--cluster", self.cluster.name(), "--credential-file"])
            .arg(self.cluster.credential_file())
            .output()
            .expect("the binary runs")
    }

    pub fn assert_audit_agrees(&self) {
        let output = self.audit();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "audit disagrees:\n{text}");
    }

    /// Waits until a node that was started ends by itself, and gives what it logged.
    pub async fn log_of_refusal(&self, node: NodeId) -> String {
        for _ in 0..600 {
            if !self.cluster.is_running(node) {
                return self.cluster.log_tail(node, 40);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("node {node} serves on:\n{}", self.cluster.log_tail(node, 40));
    }
}

pub fn product() -> ProductSpec {
    ProductSpec {
        product: PRODUCT,
        name: "phone".to_owned(),
        stock: Quantity(10_000_000),
        price: Money { minor: 49_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(0),
        limit_per_reservation: Quantity(0),
        ttl: Millis(3_600_000),
        max_life: Millis(3_600_000),
        payment_cap: Millis(60_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    }
}

/// What callers heard: the last state acknowledged of each reservation.
pub type Ledger = Arc<Mutex<Vec<(ReservationId, ReservationState)>>>;

/// Callers that reserve, and confirm every other reservation, until they are aborted. `round` keeps their ids apart.
pub fn load(client: &Client, callers: u64, round: u64, ledger: &Ledger) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (client, ledger) = (client.clone(), Arc::clone(ledger));
        tasks.spawn(async move {
            for attempt in 1_u64.. {
                let id = (u128::from(round) << 96) | (u128::from(caller + 1) << 48) | u128::from(attempt);
                buy(&client, ReservationId(id), attempt % 2 == 0, &ledger).await;
            }
        });
    }
    tasks
}

async fn buy(client: &Client, reservation: ReservationId, confirm: bool, ledger: &Ledger) {
    let user = UserId(reservation.get());
    let reserve = Reserve { product: PRODUCT, reservation, user, quantity: Quantity(1), ttl: Millis(0) };
    match client.reserve(reserve).await {
        Ok(_) => ledger.lock().push((reservation, ReservationState::Held)),
        Err(Error::OutcomeUnknown | Error::Unavailable { .. }) => return,
        Err(error) => panic!("reserve {reservation}: {error}"),
    }
    if !confirm {
        return;
    }
    match client.confirm(Target { product: PRODUCT, reservation, user }).await {
        Ok(_) => ledger.lock().push((reservation, ReservationState::Confirmed)),
        Err(Error::OutcomeUnknown | Error::Unavailable { .. }) => {}
        Err(error) => panic!("confirm {reservation}: {error}"),
    }
}

/// Compares what was acknowledged with what the cluster has, one by one.
pub async fn assert_nothing_lost(client: &Client, ledger: &Ledger) {
    let heard = ledger.lock().clone();
    assert!(!heard.is_empty(), "nothing was acknowledged, so nothing was tested");
    for chunk in heard.chunks(256) {
        let mut reads = JoinSet::new();
        for (reservation, state) in chunk.iter().copied() {
            let client = client.clone();
            reads.spawn(async move {
                let found = client.reservation(Target { product: PRODUCT, reservation, user: UserId(0) }).await;
                let now =
                    found.unwrap_or_else(|error| panic!("{reservation} was acknowledged {}: {error}", state.name()));
                let now = now.reservation.state;
                let kept = now == state || (state == ReservationState::Held && now == ReservationState::Confirmed);
                assert!(kept, "{reservation} was acknowledged {}, and is {}", state.name(), now.name());
            });
        }
        while let Some(read) = reads.join_next().await {
            read.expect("every acknowledged result is there");
        }
    }
}
