//! A node whose state is not the others', valid in every way: it stops, whoever leads; the others sell on; the operator's
//! tools name it.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use doorbuster_inventory::{Inventory, Limits};
use doorbuster_protocol::command::{AdjustStock, Command as Order, Reserve};
use doorbuster_protocol::types::{Millis, NodeId, OperationId, Quantity, ReservationId, UserId};
use doorbuster_raft::disk::RealDisk;
use doorbuster_raft::snapshot::SnapshotStore;
use doorbuster_tests::binary::binary;

use crate::sale::{Ledger, PRODUCT, Sale, WITHIN, assert_nothing_lost, load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_leader_stops_and_the_others_sell_on() {
    let sale = Sale::start().await;
    let ledger = sale.sold_until_snapshots().await;
    let wrong = sale.preferred();
    sale.sold_until_covered(wrong).await;
    let before = sale.log_of(wrong).len();
    for node in sale.cluster.nodes() {
        sale.cluster.kill(node).expect("a running node can be killed");
    }
    sale.tamper(wrong);
    // All at once: its log is as good as the others', and it has campaigned long before they would.
    for node in sale.cluster.nodes() {
        if node != wrong {
            sale.make_patient(node);
        }
        sale.cluster.start_node(node).expect("a killed node starts again");
    }
    sale.cluster.wait_ready(WITHIN).await.expect("the others lead");
    let log = sale.log_of(wrong).split_off(before);
    assert!(
        log.lines().any(|line| line.contains("leading") && line.contains(&format!("shard={}", sale.shard()))),
        "{log}"
    );
    sale.assert_found(wrong, &ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_follower_stops_and_the_others_sell_on() {
    let sale = Sale::start().await;
    let ledger = sale.sold_until_snapshots().await;
    let wrong = sale.follower().await;
    sale.cluster.kill(wrong).expect("a running node can be killed");
    sale.tamper(wrong);
    sale.cluster.start_node(wrong).expect("a killed node starts again");
    sale.assert_found(wrong, &ledger).await;
}

impl Sale {
    /// The node that leads the product's shard when it can.
    fn preferred(&self) -> NodeId {
        let nodes = self.cluster.nodes();
        nodes[usize::from(self.shard().0) % nodes.len()]
    }

    fn snapshots(&self, node: NodeId) -> SnapshotStore {
        let folder = self.snapshot_folder(node);
        SnapshotStore::open(Arc::new(RealDisk), &folder, self.shard().0).expect("its snapshots can be read")
    }

    fn snapshot_folder(&self, node: NodeId) -> PathBuf {
        let data = self.cluster.folder(node).expect("it has a folder").join("data");
        data.join("snapshots").join(format!("{:03}", self.shard().0))
    }

    fn log_of(&self, node: NodeId) -> String {
        let log = self.cluster.folder(node).expect("it has a folder").join("log.txt");
        String::from_utf8_lossy(&std::fs::read(log).expect("it can be read")).into_owned()
    }

    /// The index that a running node's newest snapshot of the product's shard covers, from its name; 0 without one.
    fn snapshot_index(&self, node: NodeId) -> u64 {
        let names = std::fs::read_dir(self.snapshot_folder(node)).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // What is being written has another ending.
        let whole = names.filter_map(|name| name.strip_suffix(".snap").map(str::to_owned));
        whole.filter_map(|name| name.split('-').next()?.parse().ok()).max().unwrap_or(0)
    }

    /// Sells one by one until a node's snapshot covers all that it has applied. With entries behind the snapshot it would
    /// find out at its start, from its own log, long before anybody leads.
    async fn sold_until_covered(&self, node: NodeId) {
        let covered = async {
            for number in 1_u128.. {
                let status = self.client.status(node).await.expect("it runs");
                let replica = status.shards.iter().find(|replica| replica.shard == self.shard());
                let applied = replica.expect("it has every shard").applied.get();
                tokio::time::sleep(Duration::from_millis(40)).await;
                if self.snapshot_index(node) >= applied {
                    return;
                }
                let reservation = ReservationId((3 << 96) | number);
                let user = UserId(reservation.get());
                let reserve = Reserve { product: PRODUCT, reservation, user, quantity: Quantity(1), ttl: Millis(0) };
                self.client.reserve(reserve).await.expect("there is plenty");
            }
        };
        tokio::time::timeout(WITHIN, covered).await.expect("a snapshot every 200 entries");
    }

    /// Sells until every node has taken a snapshot of the product's shard.
    async fn sold_until_snapshots(&self) -> Ledger {
        let ledger = Ledger::default();
        let mut callers = load(&self.client, 8, 1, &ledger);
        let taken = async {
            while !self.cluster.nodes().iter().all(|node| self.snapshot_index(*node) > 0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(WITHIN, taken).await.expect("every node takes a snapshot");
        callers.shutdown().await;
        ledger
    }

    /// A stopped node will wait ten times the usual election timeout before it campaigns: more than another's start takes.
    fn make_patient(&self, node: NodeId) {
        let file = self.cluster.folder(node).expect("it has a folder").join("server.toml");
        let settings = std::fs::read_to_string(&file).expect("it was started with it");
        std::fs::write(&file, format!("election_ms = 3000\n{settings}")).expect("it can be written");
    }

    /// Rewrites a stopped node's newest snapshot: a unit more than was ever put on sale.
    fn tamper(&self, node: NodeId) {
        let store = self.snapshots(node);
        let (file, contents) = store.load().expect("it can be read").expect("it has taken a snapshot");
        let restored = Inventory::restore(self.shard(), Limits::default(), &contents);
        let mut inventory = restored.expect("the snapshot is sound");
        let more = Order::AdjustStock(AdjustStock { operation: OperationId(77), product: PRODUCT, delta: 1 });
        inventory.apply(inventory.applied(), inventory.time(), &more).expect("a unit more");
        let frozen = inventory.freeze();
        store.write_with(file.mark, |out| frozen.write_to(out)).expect("it can be written");
    }

    /// The others sell while this node, and only this one, says that it has stopped.
    async fn assert_found(&self, wrong: NodeId, before: &Ledger) {
        let mut callers = load(&self.client, 8, 2, before);
        let sold = before.lock().len() + 200;
        let sentence = format!("node {wrong} stopped serving shard {}", self.shard());
        let found = async {
            loop {
                let status: serde_json::Value =
                    serde_json::from_slice(&self.tool("status").stdout).expect("it is JSON");
                let problems: Vec<_> =
                    status["problems"].as_array().into_iter().flatten().map(ToString::to_string).collect();
                let stopped: Vec<_> = problems.into_iter().filter(|one| one.contains("stopped serving")).collect();
                assert!(stopped.iter().all(|one| one.contains(&sentence)), "{stopped:?}");
                if before.lock().len() >= sold && !stopped.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(WITHIN, found).await.expect("the node stops and the others sell on");
        callers.shutdown().await;
        assert_nothing_lost(&self.client, before).await;
        let audit = self.tool("audit");
        let text = String::from_utf8_lossy(&audit.stdout).into_owned() + &String::from_utf8_lossy(&audit.stderr);
        assert!(!audit.status.success() && text.contains(&sentence), "the audit does not say so:\n{text}");
        let log = self.cluster.log_tail(wrong, 400);
        assert!(log.contains("serves no more"), "its log does not say why:\n{log}");
    }

    fn tool(&self, name: &str) -> Output {
        let nodes = self.cluster.client_addresses().join(",");
        let arguments = [name, "--json", "--nodes", &nodes, "--cluster", self.cluster.name(), "--credential-file"];
        Command::new(binary()).args(arguments).arg(self.cluster.credential_file()).output().expect("the binary runs")
    }
}
