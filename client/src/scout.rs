//! Finds leaders: one task for the whole client, so that a thousand callers who miss a leader cost the
//! cluster no more than one. It rests until the bell rings, then asks every node which shards it leads,
//! round after round with a growing, jittered pause, until nobody waits any more.

use std::sync::{Arc, Weak};
use std::time::Duration;

use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::Millis;
use futures_util::future::join_all;

use crate::clock::now;
use crate::cluster::Cluster;
use crate::decision::Outcome;
use crate::entropy::jittered;
use crate::node::Node;

/// Longest time that one node may hold up a round.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
/// Pause after the first round; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// Runs until the client is gone.
pub(crate) async fn scout(cluster: Weak<Cluster>) {
    let Some(bell) = cluster.upgrade().map(|cluster| Arc::clone(&cluster.bell)) else { return };
    loop {
        bell.notified().await;
        let mut pause = FIRST_PAUSE;
        loop {
            {
                let Some(cluster) = cluster.upgrade() else { return };
                if cluster.is_closed() {
                    return;
                }
                ask_all(&cluster).await;
                tokio::time::sleep(jittered(pause)).await;
                if !cluster.is_awaited() {
                    break;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn ask_all(cluster: &Cluster) {
    let nodes = cluster.nodes();
    let heard = join_all(nodes.iter().map(|node| ask(cluster, node))).await;
    if !heard.contains(&true) {
        cluster.ask_configured().await;
    }
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
