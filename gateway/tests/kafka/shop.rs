//! Feeds, an order writer and publishers over one database.

use std::ops::RangeInclusive;

use doorbuster_gateway::config::KafkaConfig;
use doorbuster_gateway::events::{BacklogMetrics, EventMetrics, Outbox, Publisher, watch};
use doorbuster_gateway::orders::{Feed as _, OrderMetrics, OrderWriter};
use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::ProductId;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::feed::{Feeds, entry};

/// Products of each shard.
const PRODUCTS: u64 = 5;
pub const CLUSTER: &str = "blue";

/// A task, and how it is ended.
pub struct Running {
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As kill -9 does.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Stores and acknowledges what the feeds have.
pub fn write(feeds: &Feeds, database: &Database) -> Running {
    let stop = CancellationToken::new();
    let writer = OrderWriter::new(feeds.clone(), database.store(), OrderMetrics::none());
    Running { task: tokio::spawn(writer.run(stop.clone())), stop }
}

/// Publishes, as a gateway of its own; and what it counts.
pub async fn publish(config: &KafkaConfig, database: &Database, shards: u16) -> (Running, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let publisher = Publisher::new(config, CLUSTER, &database.store(), EventMetrics::new(&recorder)).unwrap();
    let stop = CancellationToken::new();
    publisher.subscribe(shards, &stop).await;
    let watching = watch(database.store(), BacklogMetrics::new(&recorder), stop.clone());
    let publishing = publisher.run(shards, stop.clone());
    let task = tokio::spawn(async {
        tokio::join!(publishing, watching);
    });
    (Running { stop, task }, recorder.handle())
}

/// These entries on each shard's feed, of several products.
pub fn sell(feeds: &Feeds, positions: RangeInclusive<u64>) {
    for shard in 0..feeds.shards() {
        positions.clone().for_each(|position| feeds.push(shard, sold(shard, position)));
    }
}

/// The entry that [`sell`] puts there.
pub fn sold(shard: u16, position: u64) -> FeedEntry {
    let product = ProductId(u64::from(shard) * PRODUCTS + position % PRODUCTS + 1);
    FeedEntry { product, ..entry(shard, position) }
}

/// How many entries wait to be published.
pub async fn waiting(database: &Database) -> u64 {
    Outbox::beside(&database.store()).waiting().await.unwrap().events
}
