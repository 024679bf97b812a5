//! A leader's process is killed: the others see its connections close, and do not wait until they would miss it.

use doorbuster_protocol::types::{NodeId, ShardId};
use doorbuster_tests::http;

use crate::sale::{Ledger, SHARDS, Sale, WITHIN, assert_nothing_lost, load};

/// Much longer than a busy machine keeps a heartbeat waiting: nobody is missed who is there.
const ELECTION_MS: i64 = 3000;

/// How many campaigns a node's replicas have begun for a reason.
async fn campaigns(sale: &Sale, node: NodeId, cause: &str) -> u64 {
    let admin = &sale.cluster.addresses(node).expect("a node of the cluster").admin;
    let page = http::ask(admin, "GET", "/metrics", "", "").await.expect("the admin port answers").is(200);
    let name = format!("doorbuster_campaigns_total{{cause=\"{cause}\"}} ");
    let value = page.as_str().into_iter().flat_map(str::lines).find_map(|line| line.strip_prefix(&name));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}in {page}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_election_after_a_kill_begins_with_the_closed_connection() {
    let sale = Sale::start_with(|config| config.with("election_ms", ELECTION_MS)).await;
    let ledger = Ledger::default();
    let mut callers = load(&sale.client, 16, 1, &ledger);
    let leader = |shard| sale.cluster.leader(&sale.client, ShardId(shard), WITHIN);
    let killed = leader(sale.shard().0).await.expect("the shard has a leader");
    let others: Vec<NodeId> = sale.cluster.nodes().into_iter().filter(|node| *node != killed).collect();
    let mut before = Vec::new();
    for node in &others {
        before.push((campaigns(&sale, *node, "silence").await, campaigns(&sale, *node, "closed").await));
    }
    sale.cluster.kill(killed).expect("a running node can be killed");
    for shard in 0..SHARDS {
        assert_ne!(leader(shard).await.expect("two of three lead on"), killed, "shard {shard}");
    }
    let mut by_close = 0;
    for (node, (silence, closed)) in others.iter().zip(before) {
        assert_eq!(campaigns(&sale, *node, "silence").await, silence, "node {node} waited in silence");
        by_close += campaigns(&sale, *node, "closed").await - closed;
    }
    assert!(by_close >= 1, "who was elected then?");
    callers.shutdown().await;
    assert_nothing_lost(&sale.client, &ledger).await;
}
