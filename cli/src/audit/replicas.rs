//! Every replica recounted, and all replicas of a shard compared at an equal log index.
//!
//! A live cluster moves on between two questions, so states are compared index by index: whatever index
//! was seen on every node counts, and asking goes on, within bounds, until each shard has one.

use crate::clock;
use crate::error::CliError;
use doorbuster_client::Client;
use doorbuster_protocol::reply::{AuditReport, ProductCount};
use doorbuster_protocol::types::{LogIndex, NodeId, ShardId, StateHash};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Between two rounds of questions.
const ROUND: Duration = Duration::from_millis(50);

/// What the recount and the comparison of all replicas gave.
#[derive(Debug, Default)]
pub struct Replicas {
    /// Each shard.
    pub shards: Vec<ShardAudit>,
    /// Whatever does not agree, in words.
    pub problems: Vec<String>,
}

/// One shard's replicas.
#[derive(Debug, Default)]
pub struct ShardAudit {
    /// Which shard.
    pub shard: ShardId,
    /// Where all replicas were seen, and their hash there; `None` if never at an equal index, or different.
    pub compared: Option<(LogIndex, StateHash)>,
    /// Nodes whose replica was recounted.
    pub nodes: Vec<NodeId>,
    /// Products as the furthest replica counts them.
    pub products: Vec<ProductCount>,
    /// Confirmed reservations that are known.
    pub confirmed: u64,
}

impl ShardAudit {
    /// The nodes, for people.
    #[must_use]
    pub fn nodes_text(&self) -> String {
        self.nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
    }
}

impl Replicas {
    /// Whether every shard's replicas were seen equal at an equal index.
    #[must_use]
    pub fn hashes_equal(&self) -> bool {
        !self.shards.is_empty() && self.shards.iter().all(|shard| shard.compared.is_some())
    }

    /// For programs.
    #[must_use]
    pub fn shards_json(&self) -> Value {
        let shard = |shard: &ShardAudit| {
            json!({
                "shard": shard.shard.0,
                "index": shard.compared.map(|(index, _)| index.0),
                "state_hash": shard.compared.map(|(_, hash)| format!("{:016x}", hash.0)),
                "nodes": shard.nodes.iter().map(|node| node.0).collect::<Vec<_>>(),
                "confirmed": shard.confirmed,
            })
        };
        Value::Array(self.shards.iter().map(shard).collect())
    }

    /// For programs.
    #[must_use]
    pub fn products_json(&self) -> Value {
        let count = |count: &ProductCount| {
            json!({
                "product": count.product.0, "stock": count.stock.0,
                "available": count.available.0, "held": count.held.0, "sold": count.sold.0,
            })
        };
        Value::Array(self.shards.iter().flat_map(|shard| &shard.products).map(count).collect())
    }
}

/// Recounts every replica on every node, then waits until each shard was seen at an equal index on all.
pub async fn compare(client: &Client, patience: Duration) -> Result<Replicas, CliError> {
    let nodes: Vec<NodeId> = client.nodes().iter().map(|node| node.node).collect();
    let mut rounds = Rounds::new(nodes, client.shards());
    let deadline = clock::now() + patience;
    loop {
        rounds.recount(client).await;
        rounds.look(client).await;
        if rounds.settled() || clock::now() >= deadline {
            break;
        }
        tokio::time::sleep(ROUND).await;
    }
    Ok(rounds.finish(patience))
}

struct Rounds {
    nodes: Vec<NodeId>,
    shards: Vec<ShardAudit>,
    furthest: BTreeMap<ShardId, LogIndex>,
    seen: BTreeMap<(ShardId, LogIndex), BTreeMap<NodeId, StateHash>>,
    /// Replicas that were recounted.
    counted: BTreeSet<(NodeId, ShardId)>,
    /// Nodes whose last question was not answered, and why.
    silent: BTreeMap<NodeId, String>,
    problems: BTreeSet<String>,
}

impl Rounds {
    fn new(nodes: Vec<NodeId>, shards: u16) -> Self {
        let shards = (0..shards).map(|shard| ShardAudit { shard: ShardId(shard), ..ShardAudit::default() }).collect();
        Self {
            nodes,
            shards,
            furthest: BTreeMap::new(),
            seen: BTreeMap::new(),
            counted: BTreeSet::new(),
            silent: BTreeMap::new(),
            problems: BTreeSet::new(),
        }
    }

    /// Recounts what was not recounted yet: all of it at first, later the replicas of nodes that did not answer.
    async fn recount(&mut self, client: &Client) {
        for node in self.nodes.clone() {
            for at in 0..self.shards.len() {
                let shard = self.shards[at].shard;
                if self.counted.contains(&(node, shard)) {
                    continue;
                }
                match client.audit(node, shard).await {
                    Ok(report) => self.take(node, at, &report),
                    Err(error) => {
                        self.silent.insert(node, error.to_string());
                        break;
                    }
                }
            }
        }
    }

    fn take(&mut self, node: NodeId, at: usize, report: &AuditReport) {
        let (shard, index) = (report.shard, report.index);
        let place = format!("node {node}, shard {shard}, index {index}");
        self.problems.extend(report.problems.iter().map(|problem| format!("{place}: {problem}")));
        if report.state_hash != report.recounted_hash {
            let (kept, counted) = (report.state_hash.0, report.recounted_hash.0);
            self.problems
                .insert(format!("{place}: the kept state hash is {kept:016x}, recounted it is {counted:016x}"));
        }
        for count in &report.products {
            let sum = [count.available, count.held, count.sold].iter().map(|units| u64::from(units.0)).sum::<u64>();
            if u64::from(count.stock.0) != sum {
                self.problems.insert(format!(
                    "{place}: product {} has stock {} but {} available + {} held + {} sold = {sum}",
                    count.product, count.stock, count.available, count.held, count.sold
                ));
            }
        }
        self.seen.entry((shard, index)).or_default().insert(node, report.state_hash);
        self.counted.insert((node, shard));
        let audit = &mut self.shards[at];
        audit.nodes.push(node);
        let furthest = self.furthest.entry(shard).or_default();
        if index >= *furthest {
            *furthest = index;
            audit.products.clone_from(&report.products);
            audit.confirmed = report.confirmed;
        }
    }

    /// One look at where every replica is.
    async fn look(&mut self, client: &Client) {
        for node in self.nodes.clone() {
            match client.status(node).await {
                Ok(status) => {
                    if (0..self.shards.len()).all(|at| self.counted.contains(&(node, self.shards[at].shard))) {
                        self.silent.remove(&node);
                    }
                    for replica in status.shards {
                        let seen = self.seen.entry((replica.shard, replica.applied)).or_default();
                        seen.insert(node, replica.state_hash);
                        if replica.diverged {
                            let shard = replica.shard;
                            self.problems
                                .insert(format!("node {node} stopped serving shard {shard}: its state differs"));
                        }
                    }
                }
                Err(error) => {
                    self.silent.insert(node, error.to_string());
                }
            }
        }
        self.compare();
    }

    fn compare(&mut self) {
        for ((shard, index), hashes) in &self.seen {
            let mut distinct: Vec<StateHash> = hashes.values().copied().collect();
            distinct.dedup();
            match distinct[..] {
                [hash] if hashes.len() == self.nodes.len() => {
                    self.shards[usize::from(shard.0)].compared = Some((*index, hash));
                }
                [_] | [] => {}
                _ => {
                    let text = hashes.iter().map(|(node, hash)| format!("node {node} {:016x}", hash.0));
                    let text = text.collect::<Vec<_>>().join(", ");
                    self.problems.insert(format!("shard {shard}: the state hashes at index {index} differ: {text}"));
                }
            }
        }
    }

    fn settled(&self) -> bool {
        self.silent.is_empty() && self.shards.iter().all(|shard| shard.compared.is_some())
    }

    fn finish(self, patience: Duration) -> Replicas {
        let mut problems: Vec<String> = self.problems.into_iter().collect();
        for (node, why) in &self.silent {
            problems.push(format!("node {node} does not answer, so its replicas are not compared: {why}"));
        }
        if self.silent.is_empty() {
            let never = self.shards.iter().filter(|shard| shard.compared.is_none());
            problems.extend(never.map(|shard| {
                let seconds = patience.as_secs();
                format!("shard {}: its replicas were not seen equal at an equal index within {seconds}s", shard.shard)
            }));
        }
        Replicas { shards: self.shards, problems }
    }
}
