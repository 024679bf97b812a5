//! What operators see of the node on its admin port.

use std::sync::Arc;

use doorbuster_protocol::reply::{NodeStatus, PeerStatus, ShardStatus};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::admin::AdminSource;
use crate::desk::Condition;
use crate::fatal::Fatal;
use crate::metrics::Metrics;
use crate::service::Service;

/// The node as its admin port shows it.
pub struct Report {
    service: Arc<Service>,
    fatal: Fatal,
    stop: CancellationToken,
}

impl Report {
    /// Of a node that must end when `fatal` is raised, and shuts down when `stop` is cancelled.
    #[must_use]
    pub fn new(service: Arc<Service>, fatal: Fatal, stop: CancellationToken) -> Self {
        Self { service, fatal, stop }
    }
}

impl AdminSource for Report {
    fn live(&self) -> Result<(), String> {
        self.fatal.reason().map_or(Ok(()), |reason| Err(reason.to_owned()))
    }

    fn ready(&self) -> Result<(), String> {
        self.live()?;
        if self.stop.is_cancelled() {
            return Err("shutting down".into());
        }
        let statuses = self.service.desk.view.statuses();
        if let Some(shard) = statuses.iter().find(|shard| shard.diverged) {
            return Err(format!("shard {} differs from its other replicas and serves no more", shard.shard));
        }
        if let Some(shard) = self.service.desk.view.disputed().next() {
            return Err(format!("shard {shard} differs from another replica, and nobody can tell yet which is right"));
        }
        let orphans = statuses.iter().filter(|shard| shard.leader.is_none()).count();
        if orphans > 0 { Err(format!("{orphans} of {} shards have no leader", statuses.len())) } else { Ok(()) }
    }

    fn status(&self) -> Value {
        let NodeStatus { node, version, uptime, durable, wall_clock, log_bytes, peers, shards } = self.service.status();
        json!({
            "node": node.0,
            "version": version,
            "uptime_ms": uptime.0,
            "durable": durable,
            "wall_clock_ms": wall_clock.0,
            "log_bytes": log_bytes,
            "peers": peers.iter().map(peer).collect::<Vec<_>>(),
            "shards": shards.iter().map(shard).collect::<Vec<_>>(),
        })
    }

    #[allow(clippy::cast_precision_loss)] // gauges are floats; sizes and counts are far below 2^52
    fn refresh_gauges(&self) {
        let metrics = &self.service.desk.metrics;
        let status = self.service.status();
        let count = |matching: fn(&ShardStatus) -> bool| status.shards.iter().filter(|shard| matching(shard)).count();
        metrics.shards_leading.set(count(|shard| shard.leading) as f64);
        metrics.shards_diverged.set(count(|shard| shard.diverged) as f64);
        let usage = self.service.log_usage();
        metrics.log_bytes.set(usage.bytes as f64);
        metrics.log_segments.set(usage.segments as f64);
        metrics.reservations.set(self.service.desk.view.reservations() as f64);
        metrics.feed_entries.set(self.service.desk.view.feed() as f64);
        metrics.shards_disputed.set(self.service.desk.view.disputed().count() as f64);
        metrics.filter_bytes.set(self.service.desk.gate.filter_bytes() as f64);
        for (thread, inbox) in self.service.desk.inboxes.iter().enumerate() {
            Metrics::inbox_depth(thread).set(inbox.depth() as f64);
        }
        for peer in &status.peers {
            Metrics::peer_connected(peer.node).set(if peer.connected { 1.0 } else { 0.0 });
            Metrics::peer_clock_offset(peer.node).set(peer.clock_offset as f64 / 1000.0);
        }
    }
}

fn peer(peer: &PeerStatus) -> Value {
    json!({ "node": peer.node.0, "connected": peer.connected, "clock_offset_ms": peer.clock_offset })
}

fn shard(shard: &ShardStatus) -> Value {
    json!({
        "shard": shard.shard.0,
        "term": shard.term,
        "leader": shard.leader.map(|leader| leader.0),
        "leading": shard.leading,
        "commit": shard.commit.0,
        "applied": shard.applied.0,
        "first": shard.first.0,
        "state_hash": format!("{:016x}", shard.state_hash.0),
        "time_ms": shard.time.0,
        "diverged": shard.diverged,
    })
}
