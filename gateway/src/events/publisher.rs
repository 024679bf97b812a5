//! Publishes what waits in the database: one task a shard. See `events` for what is promised and why.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::types::{FeedPosition, Millis, ShardId};
use rdkafka::error::KafkaError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::kafka::{Kafka, Sent};
use super::metrics::EventMetrics;
use super::outbox::{Outbox, Page};
use crate::clock::Stopwatch;
use crate::config::{ConfigError, GatewayConfig, KafkaConfig};
use crate::entropy;
use crate::metrics::Metrics;
use crate::orders::{OrderStore, StoreError};
use crate::pause::{Pause, spread};

/// Entries of a shard that are on their way at once.
const BATCH: u32 = 1000;
/// Pause after nothing was to be published, growing from the first to the second.
const IDLE: (Millis, Millis) = (Millis(20), Millis(250));
/// Pause after a failure, growing likewise.
const RETRY: (Millis, Millis) = (Millis(100), Millis(5_000));
/// How long a gateway that is gone keeps the others from publishing.
const CLAIM: Duration = Duration::from_secs(10);
/// How often who publishes says so again.
const RENEWED_EVERY: Duration = Duration::from_secs(3);
/// How often who does not publish looks whether it may.
const LOOKS_EVERY: Duration = Duration::from_secs(2);
/// At shutdown, how long what was handed to Kafka may take to arrive.
const FLUSH: Duration = Duration::from_secs(5);

/// Publishes every shard's events. `Clone` shares its connections.
#[derive(Clone)]
pub struct Publisher {
    outbox: Outbox,
    kafka: Arc<Kafka>,
    cluster: Arc<str>,
    /// Among gateways.
    name: Arc<str>,
    metrics: EventMetrics,
}

impl Publisher {
    /// Of this cluster's events, from the database of these orders. Begins to connect in the background.
    ///
    /// # Errors
    /// A property that the Kafka client does not take; a secret that cannot be read.
    pub fn new(
        config: &KafkaConfig,
        cluster: &str,
        orders: &OrderStore,
        metrics: EventMetrics,
    ) -> Result<Self, ConfigError> {
        let kafka = Arc::new(Kafka::new(config, metrics.kafka_errors.clone())?);
        Ok(Self {
            outbox: Outbox::beside(orders),
            kafka,
            cluster: cluster.into(),
            name: entropy::name().into(),
            metrics,
        })
    }

    /// The one that the configuration asks for, if it does.
    ///
    /// # Errors
    /// As [`Publisher::new`].
    pub(crate) fn load(
        config: &GatewayConfig,
        orders: Option<&OrderStore>,
        metrics: &Metrics,
    ) -> Result<Option<Self>, ConfigError> {
        let (Some(kafka), Some(orders)) = (&config.kafka, orders) else { return Ok(None) };
        Self::new(kafka, &config.cluster, orders, metrics.events()).map(Some)
    }

    /// Has entries of these shards written down for publishing from now on; tries until it is so, or `stop`.
    pub async fn subscribe(&self, shards: u16, stop: &CancellationToken) {
        let mut retry = Pause::between(RETRY);
        let subscribed = async {
            while let Err(error) = self.outbox.subscribe(shards).await {
                self.metrics.store_errors.increment(1);
                tracing::warn!(%error, "publishing cannot begin, and neither can storing orders; trying again");
                tokio::time::sleep(spread(retry.next())).await;
            }
        };
        stop.run_until_cancelled(subscribed).await;
    }

    /// Publishes until `stop`, and then waits for what is on its way, five seconds at most.
    pub async fn run(self, shards: u16, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for shard in (0..shards).map(ShardId) {
            let task =
                ShardPublisher { publisher: self.clone(), shard, claimed: None, delivered: FeedPosition::default() };
            tasks.spawn(task.run(stop.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a publisher of events ended");
            }
        }
        self.kafka.close().await;
    }
}

struct ShardPublisher {
    publisher: Publisher,
    shard: ShardId,
    /// Since when this one is known to be who publishes.
    claimed: Option<Stopwatch>,
    /// Up to here this one has published, whether or not the database knows.
    delivered: FeedPosition,
}

/// What a round did.
enum Round {
    Published,
    Nothing,
    /// Another gateway publishes this shard's events.
    Elsewhere,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
}

impl ShardPublisher {
    async fn run(mut self, stop: CancellationToken) {
        let (mut idle, mut retry) = (Pause::between(IDLE), Pause::between(RETRY));
        while !stop.is_cancelled() {
            let pause = match self.round(&stop).await {
                Ok(Round::Published) => {
                    idle.reset();
                    retry.reset();
                    continue;
                }
                Ok(Round::Nothing) => {
                    retry.reset();
                    idle.next()
                }
                Ok(Round::Elsewhere) => LOOKS_EVERY,
                Err(failure) => {
                    self.report(&failure);
                    retry.next()
                }
            };
            stop.run_until_cancelled(tokio::time::sleep(spread(pause))).await;
        }
        let Publisher { outbox, name, .. } = &self.publisher;
        if self.claimed.is_some()
            && let Err(error) = outbox.release(self.shard, name).await
        {
            tracing::debug!(shard = %self.shard, %error, "another gateway publishes after {} s", CLAIM.as_secs());
        }
    }

    /// Publishes some of what waits, and has the database know.
    async fn round(&mut self, stop: &CancellationToken) -> Result<Round, Failure> {
        let mut page = self.read().await?;
        if page.entries.is_empty() {
            return Ok(Round::Nothing);
        }
        if self.claimed.as_ref().is_none_or(|claimed| claimed.elapsed() > RENEWED_EVERY) {
            if !self.claim().await? {
                return Ok(Round::Elsewhere);
            }
            // Another one may have published some of it until just now.
            page = self.read().await?;
        }
        let known = page.entries.partition_point(|entry| entry.position <= self.delivered);
        let Publisher { kafka, cluster, metrics, outbox, .. } = self.publisher.clone();
        let mut sent = kafka.send(&cluster, self.shard, &page.entries[known..])?;
        let arrived = self.wait(&mut sent, stop).await;
        if arrived.is_err() {
            kafka.give_up(sent.generation());
        }
        metrics.published.increment(sent.delivered as u64);
        let count = known + sent.delivered;
        let last = count.checked_sub(1).map(|last| page.entries[last].position);
        if let Some(last) = last {
            self.delivered = last;
            outbox.advance(self.shard, last).await?;
            self.report_missing(&page, last, count);
        }
        arrived?;
        Ok(if last.is_some() { Round::Published } else { Round::Nothing })
    }

    async fn read(&self) -> Result<Page, StoreError> {
        self.publisher.outbox.read(self.shard, BATCH).await
    }

    async fn claim(&mut self) -> Result<bool, StoreError> {
        let watch = Stopwatch::start();
        let is_ours = self.publisher.outbox.claim(self.shard, &self.publisher.name, CLAIM).await?;
        self.claimed = is_ours.then_some(watch);
        Ok(is_ours)
    }

    /// Until all have arrived or one has failed, and at shutdown only so long; keeps others from publishing meanwhile.
    async fn wait(&mut self, sent: &mut Sent, stop: &CancellationToken) -> Result<(), KafkaError> {
        let flushed = async {
            stop.cancelled().await;
            tokio::time::sleep(FLUSH).await;
        };
        tokio::pin!(flushed);
        loop {
            tokio::select! {
                biased;
                arrived = sent.all() => return arrived,
                () = &mut flushed => return Ok(()),
                () = tokio::time::sleep(RENEWED_EVERY) => {
                    // Whether it is ours or not: what is handed over, is.
                    if let Some(Err(error)) = stop.run_until_cancelled(self.claim()).await {
                        tracing::debug!(shard = %self.shard, %error, "the claim cannot be renewed now");
                    }
                }
            }
        }
    }

    fn report(&self, failure: &Failure) {
        let (metrics, shard) = (&self.publisher.metrics, self.shard);
        match failure {
            Failure::Store(error) => {
                metrics.store_errors.increment(1);
                tracing::warn!(%shard, %error, "events cannot be read or marked now; trying again");
            }
            Failure::Kafka(error) => {
                metrics.kafka_errors.increment(1);
                tracing::error!(%shard, %error, "events cannot be published; they wait in the database and are tried again");
            }
        }
    }

    /// Entries between what was published before and `last`, of which there were `count`.
    fn report_missing(&self, page: &Page, last: FeedPosition, count: usize) {
        let missing = last.get().saturating_sub(page.published.get()).saturating_sub(count as u64);
        if missing > 0 {
            self.publisher.metrics.missing.increment(missing);
            let (shard, after) = (self.shard, page.published);
            tracing::error!(
                %shard, missing, %after, %last,
                "events are missing: a gateway of an older version stored orders; replace it, and see orders for what it stored"
            );
        }
    }
}
