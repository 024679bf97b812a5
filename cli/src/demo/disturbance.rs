//! What goes wrong on purpose: in the middle of the sale the server that leads the hot product is killed with `kill -9`, and
//! started again a little later; and twice, with payments under way, the gateway.

use super::buyers::Sale;
use super::cluster::Cluster;
use super::front::Front;
use super::plan::PRODUCT;
use crate::clock;
use crate::error::CliError;
use doorbuster_client::{Client, Error};
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::types::{Millis, NodeId, shard_of};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The leader is killed when this share of the buyers, in percent, has been answered.
const KILL_AT_PERCENT: u64 = 30;
/// How long the killed server stays down.
const DOWN_FOR: Duration = Duration::from_secs(3);
/// How long the others may take to choose a new leader, and the killed one to come back.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
/// The gateway is killed when this share of the units, in percent, is sold, and somebody is paying.
const KILL_GATEWAY_AT_PERCENT: [u64; 2] = [20, 55];
/// Between two looks at how much is sold.
const LOOK: Duration = Duration::from_millis(10);

/// How the leader was killed, and how the cluster took it.
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

/// How a gateway was killed.
#[derive(Clone, Copy, Debug)]
pub struct GatewayKill {
    /// Units that were sold then.
    pub sold: u32,
    /// Payments that were under way then.
    pub paying: u64,
    /// From the kill until another gateway served in its place.
    pub down: Millis,
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
    let leaderless = since(at);
    tokio::time::sleep(DOWN_FOR.saturating_sub(at.elapsed())).await;
    cluster.start_node(node)?;
    cluster.wait_ready(RECOVERED_WITHIN).await?;
    Ok(Kill { node, after_attempts, successor, leaderless })
}

/// Kills the gateway whenever so much is sold and somebody is paying, and starts another in its place.
pub async fn kill_the_gateways(
    sale: &Sale,
    front: &Mutex<Front>,
    client: &Client,
) -> Result<Vec<GatewayKill>, CliError> {
    let mut kills = Vec::new();
    for percent in KILL_GATEWAY_AT_PERCENT {
        let (sold, paying) = until_paying(sale, client, percent).await;
        let mut front = front.lock().await;
        let at = clock::now();
        front.start_again()?;
        front.wait_ready().await?;
        kills.push(GatewayKill { sold, paying, down: since(at) });
    }
    Ok(kills)
}

/// Waits until that share of the units is sold while somebody is paying; no longer than until everything is sold. Units sold
/// and payments under way.
async fn until_paying(sale: &Sale, client: &Client, percent: u64) -> (u32, u64) {
    loop {
        // Without a leader nobody knows; there will be one.
        if let Ok((sold, paying)) = look(client).await {
            let enough = u64::from(sold) >= u64::from(sale.plan.units) * percent / 100;
            if (enough && paying > 0) || sold >= sale.plan.units || sale.over.is_cancelled() {
                return (sold, paying);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(client: &Client) -> Result<(u32, u64), Error> {
    let shard = shard_of(PRODUCT, client.shards());
    let sold = client.product(PRODUCT).await?.product.sold.0;
    let paying = client.unsettled(shard, Unsettled::Payments, Changed::default(), 1).await?.total;
    Ok((sold, paying))
}

fn since(at: Instant) -> Millis {
    Millis(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
}
