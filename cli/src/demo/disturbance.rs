//! What goes wrong on purpose: in the middle of the sale the server that leads the hot product is killed with
//! `kill -9`, and started again a little later.

use super::buyers::Sale;
use super::cluster::Cluster;
use super::plan::PRODUCT;
use crate::clock;
use crate::error::CliError;
use doorbuster_client::Client;
use doorbuster_protocol::types::{Millis, NodeId, shard_of};
use std::time::Duration;

/// The kill comes when this share of the buyers, in percent, has been answered.
const KILL_AT_PERCENT: u64 = 30;
/// How long the killed server stays down.
const DOWN_FOR: Duration = Duration::from_secs(3);
/// How long the others may take to choose a new leader, and the killed one to come back.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

/// What was done, and how the cluster took it.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// The server that was killed; it led the product's shard.
    pub node: NodeId,
    /// How many attempts had been answered then.
    pub after_attempts: u64,
    /// The server that leads since.
    pub successor: NodeId,
    /// From the kill until the successor served.
    pub leaderless: Millis,
}

/// Waits for the middle of the sale, kills the leader, and brings it back.
pub async fn kill_the_leader(sale: &Sale, cluster: &Cluster, client: &Client) -> Result<Kill, CliError> {
    while sale.stats.attempts() * 100 < sale.plan.buyers * KILL_AT_PERCENT {
        if sale.over.is_cancelled() {
            return Err(CliError::failed("the sale was over before its middle"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let shard = shard_of(PRODUCT, client.shards());
    let node = cluster.leader(client, shard, RECOVERED_WITHIN).await?;
    let (after_attempts, at) = (sale.stats.attempts(), clock::now());
    cluster.kill(node)?;
    let successor = cluster.leader(client, shard, RECOVERED_WITHIN).await?;
    let leaderless = Millis(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
    tokio::time::sleep(DOWN_FOR.saturating_sub(at.elapsed())).await;
    cluster.start_node(node)?;
    cluster.wait_ready(RECOVERED_WITHIN).await?;
    Ok(Kill { node, after_attempts, successor, leaderless })
}
