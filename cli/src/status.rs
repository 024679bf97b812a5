//! `doorbuster status`: every node and shard as the nodes themselves tell it. A node that does not answer
//! is shown as down; what the others say about its shards still stands.

use crate::connect::Connection;
use crate::error::CliError;
use crate::names::duration_text;
use crate::output::{Output, table};
use clap::Args;
use doorbuster_client::Client;
use doorbuster_protocol::reply::{NodeAddress, NodeStatus, ShardStatus};
use doorbuster_protocol::types::{NodeId, ShardId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A node that has not told its status within this time is down.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// `doorbuster status ...`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  doorbuster status\n  doorbuster status --check   # exit code 1 unless all nodes are up and all shards led\n\n\
    lag is how many log entries a replica is behind the furthest one; a clock offset is against the lower median of\n\
    the nodes' wall clocks, which is the time the cluster goes by."
)]
pub struct StatusArgs {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Exit with code 1 unless every node is up and every shard has a leader
    #[arg(long)]
    check: bool,
}

/// What a node told, or why it did not.
struct Node {
    address: NodeAddress,
    status: Result<Box<NodeStatus>, String>,
}

struct Cluster {
    nodes: Vec<Node>,
    shards: u16,
    offsets: BTreeMap<NodeId, i64>,
}

/// Runs it.
pub async fn run(args: StatusArgs, output: Output) -> Result<(), CliError> {
    let client = args.connection.open().await?;
    let cluster = ask(&client).await;
    output.print(|| cluster.tables(), || cluster.json());
    let problems = cluster.problems();
    if args.check && !problems.is_empty() {
        return Err(CliError::wrong(problems.join("; ")));
    }
    Ok(())
}

async fn ask(client: &Client) -> Cluster {
    let mut asked = Vec::new();
    for address in client.nodes() {
        let client = client.clone();
        asked.push(tokio::spawn(async move {
            let status = match tokio::time::timeout(ANSWER_WITHIN, client.status(address.node)).await {
                Ok(Ok(status)) => Ok(Box::new(status)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {}s", ANSWER_WITHIN.as_secs())),
            };
            Node { address, status }
        }));
    }
    let mut nodes = Vec::new();
    for answer in asked {
        if let Ok(node) = answer.await {
            nodes.push(node);
        }
    }
    nodes.sort_by_key(|node| node.address.node);
    let offsets = clock_offsets(&nodes);
    Cluster { nodes, shards: client.shards(), offsets }
}

/// Every known clock against the lower median of them, from the first node that sees the others.
fn clock_offsets(nodes: &[Node]) -> BTreeMap<NodeId, i64> {
    let mut offsets = BTreeMap::new();
    if let Some(status) = nodes.iter().find_map(|node| node.status.as_ref().ok()) {
        offsets.insert(status.node, 0);
        offsets.extend(status.peers.iter().filter(|peer| peer.connected).map(|peer| (peer.node, peer.clock_offset)));
    }
    let mut sorted: Vec<i64> = offsets.values().copied().collect();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    offsets.values_mut().for_each(|offset| *offset -= median);
    offsets
}

impl Cluster {
    fn up(&self) -> impl Iterator<Item = &NodeStatus> {
        self.nodes.iter().filter_map(|node| node.status.as_deref().ok())
    }

    fn replicas(&self, shard: u16) -> Vec<(NodeId, &ShardStatus)> {
        let of = |status: &'_ NodeStatus| status.shards.iter().position(|replica| replica.shard == ShardId(shard));
        self.up().filter_map(|status| of(status).map(|at| (status.node, &status.shards[at]))).collect()
    }

    /// The node that says it leads; two may say so around a change, then the later term counts.
    fn leader(&self, shard: u16) -> Option<NodeId> {
        let leading = self.replicas(shard).into_iter().filter(|(_, replica)| replica.leading);
        leading.max_by_key(|(_, replica)| replica.term).map(|(node, _)| node)
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for node in &self.nodes {
            match &node.status {
                Err(why) => {
                    problems.push(format!("node {} ({}) is down: {why}", node.address.node, node.address.address));
                }
                Ok(status) => problems.extend(status.shards.iter().filter(|replica| replica.diverged).map(|replica| {
                    format!(
                        "node {} stopped serving shard {}: its state differs from the others'",
                        status.node, replica.shard
                    )
                })),
            }
        }
        let leaderless = (0..self.shards).filter(|shard| self.leader(*shard).is_none());
        problems.extend(leaderless.map(|shard| format!("shard {shard} has no leader")));
        problems
    }

    fn tables(&self) -> String {
        format!("{}\n{}", self.node_table(), self.shard_table())
    }

    fn node_table(&self) -> String {
        let mut out =
            table(["node", "address", "state", "leads", "clock offset", "log", "up for", "durability", "version"]);
        for Node { address, status } in &self.nodes {
            let mut row = vec![address.node.to_string(), address.address.clone()];
            match status {
                Err(why) => row.extend([format!("DOWN: {why}")]),
                Ok(status) => row.extend([
                    if status.shards.iter().any(|replica| replica.diverged) { "DIVERGED" } else { "up" }.to_owned(),
                    format!("{} shards", status.shards.iter().filter(|replica| replica.leading).count()),
                    self.offsets.get(&status.node).map_or_else(|| "-".to_owned(), |offset| format!("{offset:+} ms")),
                    format!("{:.1} MiB", mebibytes(status.log_bytes)),
                    duration_text(status.uptime),
                    if status.durable { "disk" } else { "memory" }.to_owned(),
                    status.version.clone(),
                ]),
            }
            out.add_row(row);
        }
        out.to_string()
    }

    fn shard_table(&self) -> String {
        let mut out = table(["shard", "leader", "term", "applied", "first in log", "lag by node"]);
        for shard in 0..self.shards {
            let replicas = self.replicas(shard);
            let furthest =
                replicas.iter().map(|(_, replica)| replica.applied.0.max(replica.commit.0)).max().unwrap_or(0);
            let lags = self.nodes.iter().map(|node| {
                let here = replicas.iter().find(|(id, _)| *id == node.address.node);
                let lag =
                    here.map_or_else(|| "down".to_owned(), |(_, replica)| (furthest - replica.applied.0).to_string());
                format!("{}: {lag}", node.address.node)
            });
            out.add_row([
                shard.to_string(),
                self.leader(shard).map_or_else(|| "NONE".to_owned(), |node| format!("node {node}")),
                replicas.iter().map(|(_, replica)| replica.term).max().unwrap_or(0).to_string(),
                furthest.to_string(),
                replicas.iter().map(|(_, replica)| replica.first.0).max().unwrap_or(0).to_string(),
                lags.collect::<Vec<_>>().join("  "),
            ]);
        }
        out.to_string()
    }

    fn json(&self) -> Value {
        let nodes = self.nodes.iter().map(|node| self.node_json(node)).collect::<Vec<_>>();
        let leaders = (0..self.shards).map(|shard| self.leader(shard).map(|node| node.0)).collect::<Vec<_>>();
        json!({ "nodes": nodes, "leaders": leaders, "problems": self.problems() })
    }

    fn node_json(&self, node: &Node) -> Value {
        let (id, address) = (node.address.node.0, &node.address.address);
        match &node.status {
            Err(why) => json!({ "node": id, "address": address, "state": "down", "why": why }),
            Ok(status) => json!({
                "node": id,
                "address": address,
                "state": "up",
                "version": status.version,
                "uptime_ms": status.uptime.0,
                "durable": status.durable,
                "wall_clock": status.wall_clock.0,
                "clock_offset_ms": self.offsets.get(&status.node),
                "log_bytes": status.log_bytes,
                "peers": status.peers.iter().map(|peer| json!({
                    "node": peer.node.0, "connected": peer.connected, "clock_offset_ms": peer.clock_offset,
                })).collect::<Vec<_>>(),
                "shards": status.shards.iter().map(replica_json).collect::<Vec<_>>(),
            }),
        }
    }
}

fn replica_json(replica: &ShardStatus) -> Value {
    json!({
        "shard": replica.shard.0,
        "term": replica.term,
        "leader": replica.leader.map(|node| node.0),
        "leading": replica.leading,
        "commit": replica.commit.0,
        "applied": replica.applied.0,
        "first": replica.first.0,
        "state_hash": format!("{:016x}", replica.state_hash.0),
        "time": replica.time.0,
        "diverged": replica.diverged,
    })
}

#[allow(clippy::cast_precision_loss)] // shown with one digit behind the point
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
