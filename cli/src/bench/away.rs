//! A follower that was away: killed, kept from what happened meanwhile, started again, and watched until it has caught up.

use super::admin::Snapshots;
use super::event::Aftermath;
use super::site::Site;
use crate::clock;
use crate::error::CliError;
use crate::output::grouped;
use doorbuster_client::Client;
use doorbuster_protocol::reply::ShardStatus;
use doorbuster_protocol::types::{NodeId, ProductId, ShardId, shard_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A leader is looked for so long.
pub const FIND: Duration = Duration::from_secs(10);
/// How often it is looked for a node that starts.
const LOOK: Duration = Duration::from_millis(5);
/// It is watched so much longer than the load lasts.
const GRACE: Duration = Duration::from_secs(30);
/// A follower that has whatever its leader had so long ago has caught up.
const CLOSE: Duration = Duration::from_millis(50);

/// A follower that is away.
#[derive(Clone, Copy, Debug)]
pub struct Away {
    /// Which node it is.
    pub node: NodeId,
    leader: NodeId,
    shard: ShardId,
    /// The last entry that it is known to have applied.
    applied: u64,
}

/// What came of its return.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    node: NodeId,
    /// Entries of the shard that it missed.
    missed: u64,
    /// From its start until it answered.
    answered: Duration,
    /// From its start until it had caught up; `None` if it never had.
    caught_up: Option<Duration>,
    /// Whether the load lasted as long.
    under_load: bool,
    /// Snapshots that it installed for that.
    installed: u64,
    /// Entries that it was behind when last looked at.
    behind: u64,
}

impl Away {
    /// Kills a follower of that product's shard.
    ///
    /// # Errors
    /// If the cluster is not the bench's own, or has no follower.
    pub async fn leave(site: &Site, product: ProductId) -> Result<Self, CliError> {
        let cluster = site.cluster().ok_or_else(|| CliError::usage("a node of its own is killed: give --spawn 3"))?;
        let shard = shard_of(product, site.client().shards());
        let leader = cluster.leader(site.client(), shard, FIND).await?;
        let follower = cluster.nodes().into_iter().find(|node| *node != leader);
        let node = follower.ok_or_else(|| CliError::usage("one node has no follower: give --spawn 3"))?;
        let applied = replica(site.client(), node, shard).await?.applied.get();
        cluster.kill(node)?;
        Ok(Self { node, leader, shard, applied })
    }

    /// Whether the leader's log does not reach back to what the follower has, so that only a snapshot can help it.
    ///
    /// # Errors
    /// If the leader does not answer.
    pub async fn needs_snapshot(&self, site: &Site) -> Result<bool, CliError> {
        Ok(replica(site.client(), self.leader, self.shard).await?.first.get() > self.applied + 1)
    }

    /// Starts it again at that moment, and watches it until it has caught up; the load ends then.
    ///
    /// # Errors
    /// If it does not start, or the leader does not answer any more.
    pub async fn come_back(&self, site: &Site, at: Instant, until: Instant) -> Result<Return, CliError> {
        tokio::time::sleep_until(at.into()).await;
        let begun = clock::now();
        let missed = replica(site.client(), self.leader, self.shard).await?.applied.get().saturating_sub(self.applied);
        site.start_node(self.node)?;
        let mut outcome = Return {
            node: self.node,
            missed,
            answered: Duration::ZERO,
            caught_up: None,
            under_load: false,
            installed: 0,
            behind: missed,
        };
        let Some(client) = site.client_of(self.node, until + GRACE, LOOK).await? else {
            outcome.answered = clock::now().saturating_duration_since(begun);
            return Ok(outcome);
        };
        outcome.answered = clock::now().saturating_duration_since(begun);
        loop {
            let wanted = replica(site.client(), self.leader, self.shard).await?.applied;
            tokio::time::sleep(CLOSE).await;
            let has = replica(&client, self.node, self.shard).await?.applied;
            let now = clock::now();
            outcome.behind = wanted.get().saturating_sub(has.get());
            if outcome.behind == 0 {
                outcome.caught_up = Some(now.saturating_duration_since(begun));
                outcome.under_load = now < until;
                break;
            }
            if now >= until + GRACE {
                break;
            }
        }
        if let Some(cluster) = site.cluster() {
            outcome.installed = Snapshots::of(cluster, self.node).await?.installed;
        }
        Ok(outcome)
    }
}

impl Return {
    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        let (node, missed) = (self.node, grouped(self.missed as f64));
        let load = if self.under_load { "under load" } else { "when the load was over" };
        let how = if self.installed > 0 { "by snapshot" } else { "from the log" };
        match self.caught_up {
            Some(after) => format!(
                "node {node} {:.3} s after its start, {load}, {how}; it answered after {:.3} s, and had missed {missed} entries",
                after.as_secs_f64(),
                self.answered.as_secs_f64()
            ),
            None => format!(
                "node {node} did NOT catch up, {how}: it answered after {:.3} s, had missed {missed} entries, and is {} behind",
                self.answered.as_secs_f64(),
                grouped(self.behind as f64)
            ),
        }
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "node": self.node.0, "missed_entries": self.missed, "answered_seconds": self.answered.as_secs_f64(),
            "caught_up_seconds": self.caught_up.map(|after| after.as_secs_f64()), "under_load": self.under_load,
            "snapshots_installed": self.installed,
        })
    }

    /// What there is to tell of it.
    #[must_use]
    pub fn told(&self) -> Aftermath {
        let text = self.describe();
        let wrong = self.caught_up.is_none().then(|| text.clone());
        Aftermath {
            rows: vec![("caught up".to_owned(), text)],
            fields: vec![("caught_up", self.json())],
            wrong,
            ..Aftermath::default()
        }
    }
}

async fn replica(client: &Client, node: NodeId, shard: ShardId) -> Result<ShardStatus, CliError> {
    let status = client.status(node).await?;
    let replica = status.shards.into_iter().find(|replica| replica.shard == shard);
    replica.ok_or_else(|| CliError::failed(format!("node {node} has no replica of shard {shard}")))
}
