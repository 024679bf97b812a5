//! Moves orders from the feeds into the database: one task a shard, each carrying out its [`Plan`].

use std::time::Duration;

use doorbuster_protocol::types::ShardId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::metrics::OrderMetrics;
use super::plan::{Event, Plan, Step};
use super::store::{OrderStore, StoreError, Stored};
use crate::pause::spread;

/// A database that answers nothing at all for so long is treated as one that failed.
const STORE_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two counts of what is parked.
const PARKED_EVERY: Duration = Duration::from_secs(5);

/// Stores every shard's orders.
#[derive(Clone)]
pub struct OrderWriter<F> {
    feed: F,
    store: OrderStore,
    metrics: OrderMetrics,
}

impl<F: Feed> OrderWriter<F> {
    /// Reads from `feed`, writes to `store`.
    #[must_use]
    pub fn new(feed: F, store: OrderStore, metrics: OrderMetrics) -> Self {
        Self { feed, store, metrics }
    }

    /// Works until `shutdown`. What a cancelled transaction had not committed is found again by the next writer.
    ///
    /// Returns early only by panic of one of its tasks.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        for shard in (0..self.feed.shards()).map(ShardId) {
            let task = ShardWriter { writer: self.clone(), shard, plan: Plan::new(shard), pending: 0 };
            let shutdown = shutdown.clone();
            tasks.spawn(async move { shutdown.run_until_cancelled(task.run()).await });
        }
        let Self { store, metrics, .. } = self;
        tasks.spawn(async move { shutdown.run_until_cancelled(count_parked(&store, &metrics)).await });
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "an order writer ended");
            }
        }
    }
}

/// Keeps the gauge at what is in the table, whoever parked it or put it back. What cannot be read leaves it as it was.
async fn count_parked(store: &OrderStore, metrics: &OrderMetrics) {
    loop {
        match store.parked_count().await {
            // Far below 2^52, where a float counts exactly.
            #[allow(clippy::cast_precision_loss)]
            Ok(count) => metrics.parked.set(count as f64),
            Err(error) => tracing::debug!(%error, "parked orders cannot be counted now"),
        }
        tokio::time::sleep(PARKED_EVERY).await;
    }
}

struct ShardWriter<F> {
    writer: OrderWriter<F>,
    shard: ShardId,
    plan: Plan,
    /// As the gauge has it.
    pending: u64,
}

impl<F: Feed> ShardWriter<F> {
    async fn run(mut self) {
        loop {
            let step = self.plan.step().clone();
            let event = self.take(step).await;
            if let Err(error) = self.plan.next(event) {
                self.report_store(&error);
            }
            self.count_pending(self.plan.pending());
        }
    }

    async fn take(&self, step: Step) -> Event {
        let (store, feed) = (&self.writer.store, &self.writer.feed);
        match step {
            Step::Position => self.of_store(store.position(self.shard).await, Event::Position),
            Step::Find(reservation) => self.of_store(store.find(self.shard, reservation).await, Event::Found),
            Step::Store(entries) => {
                let storing = tokio::time::timeout(STORE_TIMEOUT, store.store(self.shard, &entries));
                let stored = storing.await.unwrap_or_else(|_| {
                    let problem = format!("no answer within {} s", STORE_TIMEOUT.as_secs());
                    Err(StoreError::Unavailable { problem })
                });
                let count = |stored: Stored| {
                    self.writer.metrics.stored.increment(stored.entries);
                    self.report_parked(stored);
                    Event::Stored(stored)
                };
                self.of_store(stored, count)
            }
            Step::Read { after, limit } => self.of_feed(feed.read(self.shard, after, limit).await, Event::Page),
            Step::Acknowledge(through) => {
                self.of_feed(feed.acknowledge(self.shard, through).await, |_| Event::Acknowledged)
            }
            Step::Pause(pause) => {
                tokio::time::sleep(spread(pause)).await;
                Event::Rested
            }
        }
    }

    fn of_store<T>(&self, result: Result<T, StoreError>, event: impl FnOnce(T) -> Event) -> Event {
        result.map_or_else(
            |error| {
                self.report_store(&error);
                Event::StoreFailed(error)
            },
            event,
        )
    }

    fn of_feed<T>(&self, result: Result<T, doorbuster_client::Error>, event: impl FnOnce(T) -> Event) -> Event {
        result.map_or_else(
            |error| {
                self.writer.metrics.feed_errors.increment(1);
                let shard = self.shard;
                tracing::warn!(%shard, %error, "the order feed cannot be read or acknowledged; trying again");
                Event::FeedFailed
            },
            event,
        )
    }

    fn report_store(&self, error: &StoreError) {
        let (metrics, shard) = (&self.writer.metrics, self.shard);
        if error.is_transient() {
            metrics.store_errors.increment(1);
            tracing::warn!(%shard, %error, "orders cannot be stored now; they wait on the feed");
        } else {
            metrics.refused.increment(1);
            tracing::error!(%shard, %error, "orders cannot be stored; they wait on the feed, and somebody must look");
        }
    }

    fn report_parked(&self, stored: Stored) {
        let Stored { parked, position, .. } = stored;
        if parked > 0 {
            let shard = self.shard;
            tracing::error!(
                %shard, parked, up_to = %position,
                "the database refuses orders, which are parked; `doorbuster orders parked` says why"
            );
        }
    }

    fn count_pending(&mut self, pending: u64) {
        let change = pending.abs_diff(self.pending);
        // Far below 2^52, where a float counts exactly.
        #[allow(clippy::cast_precision_loss)]
        let change = change as f64;
        if pending > self.pending {
            self.writer.metrics.pending.increment(change);
        } else {
            self.writer.metrics.pending.decrement(change);
        }
        self.pending = pending;
    }
}
