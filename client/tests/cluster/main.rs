//! The client, and the one in Python, against real servers in this process, on real sockets and disks.

mod nodes;

use std::collections::HashSet;
use std::path::Path;
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_client::{Client, Config, Error};
use doorbuster_protocol::command::{LatePaymentPolicy, Payment, ProductSpec, Reserve, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::ReservationState;
use doorbuster_protocol::types::*;
use nodes::Nodes;

fn spec(product: u64, stock: u32) -> ProductSpec {
    ProductSpec {
        product: ProductId(product),
        name: format!("product {product}"),
        stock: Quantity(stock),
        price: Money { minor: 999, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(0),
        limit_per_reservation: Quantity(0),
        ttl: Millis(600_000),
        max_life: Millis(600_000),
        payment_cap: Millis(600_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    }
}

fn reserve(product: u64, id: u128) -> Reserve {
    Reserve {
        product: ProductId(product),
        reservation: ReservationId(id),
        user: UserId(id),
        quantity: Quantity(1),
        ttl: Millis(0),
    }
}

fn target(product: u64, id: u128) -> Target {
    Target { product: ProductId(product), reservation: ReservationId(id), user: UserId(id) }
}

async fn connect(nodes: &Nodes) -> Client {
    let config = Config::new("doorbuster", nodes.addresses()).with_deadline(Duration::from_secs(15));
    Client::connect(config).await.expect("the cluster is up")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_the_runtime_that_it_was_made_on() {
    let nodes = Nodes::start(3).await;
    let client = connect(&nodes).await;
    let elsewhere = client.clone();
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for node in elsewhere.nodes() {
            runtime.block_on(elsewhere.status(node.node)).expect("every node answers");
        }
    });
    asked.join().expect("it ends");
    for node in client.nodes() {
        let status = tokio::time::timeout(Duration::from_secs(20), client.status(node.node)).await;
        status.expect("an answer within the deadline").expect("a new connection is made");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_a_client_can_ask() {
    let nodes = Nodes::start(1).await;
    let client = connect(&nodes).await;
    for product in 1..=20 {
        client.create_product(spec(product, 5)).await.expect("created");
    }
    let products = client.products().await.expect("listed");
    assert_eq!(products.iter().map(|view| view.spec.product.0).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    let held = client.reserve(reserve(7, 1)).await.expect("granted");
    assert!(!held.replayed && client.reserve(reserve(7, 1)).await.expect("granted").replayed);
    client.begin_payment(Payment { target: target(7, 1), attempt: 1 }).await.expect("pinned");
    client.payment_failed(Payment { target: target(7, 1), attempt: 1 }).await.expect("held again");
    let sold = client.confirm(target(7, 1)).await.expect("sold");
    assert_eq!(sold.reservation.state, ReservationState::Confirmed);
    client.reserve(reserve(8, 1)).await.expect("the same id on another product");
    assert_eq!(client.find_reservations(ReservationId(1)).await.expect("all shards answer").len(), 2);
    let first = client.find_reservation(ReservationId(1)).await.expect("all shards answer").expect("found");
    assert_eq!(first.reservation.product, ProductId(7));
    assert_eq!(client.find_reservation(ReservationId(2)).await, Ok(None));
    let shard = shard_of(ProductId(7), client.shards());
    let feed = client.feed(shard, FeedPosition(0), 10).await.expect("read");
    assert_eq!(feed.entries.len(), 1);
    assert_eq!(client.acknowledge_feed(shard, feed.last).await, Ok(feed.last));
    let page = client.reservations(shard, ReservationId(0), 10).await.expect("read");
    assert!(page.iter().any(|view| view.product == ProductId(7)), "{page:?}");
    let audit = client.audit(NodeId(1), shard).await.expect("recounted");
    assert_eq!((audit.problems, audit.state_hash), (Vec::<String>::new(), audit.recounted_hash));
    assert_eq!(client.status(NodeId(1)).await.expect("answered").shards.len(), usize::from(client.shards()));
    let unknown = client.product(ProductId(99)).await;
    assert_eq!(unknown, Err(Error::Refused(Refusal::UnknownProduct)));
    client.close().await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_written_from_the_page_buys() {
    if Process::new("python3").arg("--version").output().is_err() {
        return eprintln!("no python3 here: not checked");
    }
    let nodes = Nodes::start(1).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/examples/python");
    let address = nodes.addresses().remove(0);
    let run = tokio::task::spawn_blocking(move || {
        Process::new("python3").args(["-B", "sale.py", "doorbuster", &address]).current_dir(folder).output()
    });
    let run = run.await.expect("no panic").expect("python3 runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    nodes.end().await;
}

/// What a client was told stays true, and it is told something, whatever happens to the leaders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_die_and_nothing_granted_is_lost() {
    let mut nodes = Nodes::start(3).await;
    let client = connect(&nodes).await;
    client.create_product(spec(1, 100_000)).await.expect("created");
    let ended = Arc::new(AtomicBool::new(false));
    let buyers: Vec<_> = (1..=50).map(|buyer| tokio::spawn(buy(client.clone(), Arc::clone(&ended), buyer))).collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let leader = nodes.leader_of(&client, ProductId(1)).await;
        nodes.abort(leader).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        nodes.restart(leader).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    ended.store(true, Ordering::Relaxed);
    let mut granted = HashSet::new();
    for buyer in buyers {
        granted.extend(buyer.await.expect("no panic"));
    }
    assert!(granted.len() > 100, "only {} were granted", granted.len());
    for &id in &granted {
        let found = client.reservation(target(1, id)).await.expect("a granted reservation is there");
        assert_eq!(found.reservation.state, ReservationState::Held);
    }
    let product = client.product(ProductId(1)).await.expect("there").product;
    assert_eq!(product.held.0 as usize, granted.len(), "one unit a reservation, however often it was asked for");
    nodes.end().await;
}

/// Reserves under new ids until the end, each until the answer is certain.
async fn buy(client: Client, ended: Arc<AtomicBool>, buyer: u128) -> Vec<u128> {
    let mut granted = Vec::new();
    for id in (1..).map(|count| buyer << 64 | count) {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        loop {
            match client.reserve(reserve(1, id)).await {
                Ok(_) => break granted.push(id),
                Err(Error::OutcomeUnknown | Error::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    granted
}
