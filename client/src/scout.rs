//! Finds leaders: one task for the whole client, so that a thousand callers who miss a leader cost the
//! cluster no more than one. It rests until the bell rings, then asks every node which shards it leads,
//! again and again with a growing, jittered pause, until nobody waits any more. Each node is asked at its own pace: one
//! that does not answer holds up no news of the others.

use std::sync::{Arc, Weak};
use std::time::Duration;

use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::Millis;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::clock::now;
use crate::cluster::Cluster;
use crate::decision::Outcome;
use crate::entropy::jittered;
use crate::node::Node;

/// Longest time that one node is waited for before it is asked anew.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
/// The pause before a node is asked again: this part of the search so far, so that looking adds little to the time that
/// there is no leader, and long outages cost little.
const PART_OF_SEARCH: u32 = 16;
/// Its bounds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// Runs until the client is gone.
pub(crate) async fn scout(cluster: Weak<Cluster>) {
    let Some(bell) = cluster.upgrade().map(|cluster| Arc::clone(&cluster.bell)) else { return };
    loop {
        bell.notified().await;
        let begun = now();
        loop {
            let Some(cluster) = cluster.upgrade() else { return };
            if cluster.is_closed() {
                return;
            }
            search(&cluster, || (now() - begun) / PART_OF_SEARCH).await;
            if !cluster.is_awaited() {
                break;
            }
        }
    }
}

/// Asks the nodes until nobody waits for a leader, or the cluster is known to have other nodes.
async fn search(cluster: &Cluster, pause: impl Fn() -> Duration) {
    let nodes = cluster.nodes();
    let mut asked: FuturesUnordered<_> = nodes.iter().map(|node| ask_after(cluster, node, Duration::ZERO)).collect();
    // Since anybody was heard.
    let mut silent = Vec::new();
    while let Some((node, heard)) = asked.next().await {
        if heard {
            silent.clear();
        } else if !silent.contains(&node.id) {
            silent.push(node.id);
        }
        if silent.len() == nodes.len() {
            cluster.ask_configured().await;
            silent.clear();
        }
        if !cluster.is_awaited() || !cluster.has_nodes(&nodes) {
            return;
        }
        asked.push(ask_after(cluster, node, jittered(pause().clamp(SHORTEST_PAUSE, LONGEST_PAUSE))));
    }
    // There is no node to ask.
    tokio::time::sleep(SHORTEST_PAUSE).await;
}

async fn ask_after<'a>(cluster: &Cluster, node: &'a Node, pause: Duration) -> (&'a Node, bool) {
    tokio::time::sleep(pause).await;
    (node, ask(cluster, node).await)
}

/// Asks one node; what it says is known at once, whatever the others do.
async fn ask(cluster: &Cluster, node: &Node) -> bool {
    let until = now() + ANSWER_TIMEOUT;
    let Ok((connection, welcome)) = node.connection(&cluster.hello, until).await else { return false };
    if let Some(welcome) = welcome {
        cluster.learn(node.id, &welcome.shards);
        return true;
    }
    let wait = Millis(u64::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(u64::MAX));
    let request = Request { body: RequestBody::Query(Query::ShardMap), wait };
    match connection.call(&request, until).await {
        Outcome::Answered(Ok(Reply::ShardMap(map))) => {
            cluster.learn(node.id, &map);
            true
        }
        _ => false,
    }
}
