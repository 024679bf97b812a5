//! Moves orders from the feeds into the database: one task a shard, each in the same small loop.
//!
//! 1. Where is the database? (`position`)
//! 2. What comes behind? (`read`)
//! 3. Store it, position and all, in one transaction.
//! 4. Only then acknowledge, so that the cluster may forget it.
//!
//! A crash between 3 and 4 leaves the database ahead of what is acknowledged; whoever finds that acknowledges again.
//! Another gateway's writer may be anywhere in the same loop: the position row's lock lets one store, and the other
//! finds it done. Every failure is retried for as long as the writer runs.

use std::ops::ControlFlow;
use std::time::Duration;

use doorbuster_protocol::reply::{FeedEntry, FeedKind, FeedPage};
use doorbuster_protocol::types::{FeedPosition, Millis, ShardId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::metrics::OrderMetrics;
use super::row::hex;
use super::store::{Order, OrderStore, StoreError};

/// Entries that one transaction stores.
const BATCH: u32 = 1000;
/// Stored entries that are compared with the feed before the first is acknowledged.
const RECOGNISED_BY: u32 = 16;
/// Pause after a feed had nothing new, growing from the first to the second.
const IDLE: (Millis, Millis) = (Millis(20), Millis(250));
/// Pause after a failure, growing likewise.
const RETRY: (Millis, Millis) = (Millis(100), Millis(5_000));
/// A database that answers nothing at all for so long is treated as one that failed.
const STORE_TIMEOUT: Duration = Duration::from_secs(60);

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
            let task = ShardWriter {
                writer: self.clone(),
                shard,
                position: None,
                recognised: false,
                unacknowledged: None,
                limit: BATCH,
                suspect: FeedPosition(0),
                idle: Pause::between(IDLE),
                retry: Pause::between(RETRY),
                pending: 0,
            };
            let shutdown = shutdown.clone();
            tasks.spawn(async move { shutdown.run_until_cancelled(task.run()).await });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "an order writer ended");
            }
        }
    }
}

struct ShardWriter<F> {
    writer: OrderWriter<F>,
    shard: ShardId,
    /// Stored up to here, as far as known.
    position: Option<FeedPosition>,
    /// The database was seen to hold this feed's orders.
    recognised: bool,
    /// Stored, but the cluster has not been told.
    unacknowledged: Option<FeedPosition>,
    /// Entries a transaction; fewer while looking for one that is refused, which is not behind `suspect`.
    limit: u32,
    suspect: FeedPosition,
    idle: Pause,
    retry: Pause,
    pending: u64,
}

enum Trouble {
    Feed(doorbuster_client::Error),
    Store(StoreError),
}

impl<F: Feed> ShardWriter<F> {
    async fn run(mut self) {
        loop {
            let pause = match self.round().await {
                Ok(ControlFlow::Continue(())) => None,
                Ok(ControlFlow::Break(())) => Some(self.idle.next()),
                Err(trouble) => {
                    self.report(&trouble);
                    Some(self.retry.next())
                }
            };
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// `Continue` if there may be more right now.
    async fn round(&mut self) -> Result<ControlFlow<()>, Trouble> {
        let position = match self.position {
            Some(position) => position,
            None => self.writer.store.position(self.shard).await.map_err(Trouble::Store)?,
        };
        self.position = Some(position);
        if !self.recognised {
            self.recognise(position).await?;
            self.recognised = true;
        }
        let page = self.writer.feed.read(self.shard, position, self.limit).await.map_err(Trouble::Feed)?;
        self.check(position, &page).map_err(Trouble::Store)?;
        self.count_pending(page.last.get().saturating_sub(position.get()));
        if page.entries.is_empty() {
            if position > page.acknowledged {
                self.unacknowledged = Some(position);
            }
            self.acknowledge().await?;
            self.retry.reset();
            return Ok(ControlFlow::Break(()));
        }
        let stored = self.store(&page.entries).await?;
        self.position = Some(stored);
        self.count_pending(page.last.get().saturating_sub(stored.get()));
        self.unacknowledged = Some(stored);
        self.acknowledge().await?;
        self.idle.reset();
        self.retry.reset();
        if stored >= self.suspect {
            self.limit = BATCH;
        }
        Ok(if page.last > stored { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    /// What is stored and not acknowledged (a crash leaves that) must be the orders that the feed has there. In the
    /// database of another cluster, or of an earlier one of the same name, it is not, and these orders would be taken
    /// for stored.
    async fn recognise(&self, position: FeedPosition) -> Result<(), Trouble> {
        let oldest = self.writer.feed.read(self.shard, FeedPosition(0), RECOGNISED_BY).await.map_err(Trouble::Feed)?;
        for entry in oldest.entries.iter().filter(|entry| entry.position <= position) {
            let order = self.writer.store.order(entry.reservation).await.map_err(Trouble::Store)?;
            if !order.is_some_and(|order| is_of(&order, self.shard, entry)) {
                let problem = format!(
                    "shard {} is stored up to position {position}, but not with the reservation {} that its feed has at {}: \
                     this is another cluster's database; give this cluster one of its own",
                    self.shard,
                    hex(entry.reservation.get()),
                    entry.position
                );
                return Err(Trouble::Store(StoreError::Refused { problem }));
            }
        }
        Ok(())
    }

    /// A feed that begins behind what is stored, or ends before it, is not the one this database belongs to.
    fn check(&self, position: FeedPosition, page: &FeedPage) -> Result<(), StoreError> {
        let next = page.entries.first().map(|entry| entry.position);
        if page.acknowledged > position && next.is_none_or(|next| next.get() > position.get() + 1) {
            let next = next.unwrap_or(FeedPosition(page.acknowledged.get() + 1));
            return Err(StoreError::Gap { shard: self.shard, stored: position, next });
        }
        if page.last < position {
            let problem = format!(
                "shard {} is stored up to position {position}, but its feed ends at {}: is this another cluster's database?",
                self.shard, page.last
            );
            return Err(StoreError::Refused { problem });
        }
        Ok(())
    }

    async fn store(&mut self, entries: &[FeedEntry]) -> Result<FeedPosition, Trouble> {
        let storing = tokio::time::timeout(STORE_TIMEOUT, self.writer.store.store(self.shard, entries));
        let stored = storing.await.unwrap_or_else(|_| {
            let problem = format!("no answer within {} s", STORE_TIMEOUT.as_secs());
            Err(StoreError::Unavailable { problem })
        });
        match stored {
            Ok(stored) => {
                self.writer.metrics.stored.increment(stored.entries);
                Ok(stored.position)
            }
            Err(error) => {
                // Where the database stands is read again: another writer may have moved it, or our commit may have
                // arrived although its answer did not.
                (self.position, self.recognised) = (None, false);
                if !error.is_transient() {
                    self.narrow(entries, &error);
                }
                Err(Trouble::Store(error))
            }
        }
    }

    /// The database refused a batch: halves it until what is in front of the refused entry got through and the entry
    /// itself is named.
    fn narrow(&mut self, entries: &[FeedEntry], error: &StoreError) {
        if let [entry] = entries {
            let (position, reservation) = (entry.position, hex(entry.reservation.get()));
            tracing::error!(
                shard = %self.shard, %position, reservation, product = %entry.product, %error,
                "an order cannot be stored; it and those behind it wait on the feed and are tried again"
            );
        } else {
            self.suspect = entries.last().map_or(self.suspect, |last| last.position);
            self.limit = u32::try_from(entries.len() / 2).unwrap_or(BATCH).max(1);
            self.retry.reset();
        }
    }

    async fn acknowledge(&mut self) -> Result<(), Trouble> {
        if let Some(through) = self.unacknowledged {
            self.writer.feed.acknowledge(self.shard, through).await.map_err(Trouble::Feed)?;
            self.unacknowledged = None;
        }
        Ok(())
    }

    fn report(&self, trouble: &Trouble) {
        let metrics = &self.writer.metrics;
        let shard = self.shard;
        match trouble {
            Trouble::Feed(error) => {
                metrics.feed_errors.increment(1);
                tracing::warn!(%shard, %error, "the order feed cannot be read or acknowledged; trying again");
            }
            Trouble::Store(error) if error.is_transient() => {
                metrics.store_errors.increment(1);
                tracing::warn!(%shard, %error, "orders cannot be stored now; they wait on the feed");
            }
            Trouble::Store(error) => {
                metrics.refused.increment(1);
                tracing::error!(%shard, %error, "orders cannot be stored; they wait on the feed, and somebody must look");
            }
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

/// Whether the order is what this entry, or for a refund an earlier one, became.
fn is_of(order: &Order, shard: ShardId, entry: &FeedEntry) -> bool {
    let in_place = match entry.kind {
        FeedKind::Confirmed | FeedKind::RefundDue => order.position == entry.position,
        FeedKind::Refunded => order.position < entry.position,
    };
    order.shard == shard && in_place
}

/// A pause that doubles until something works.
struct Pause {
    shortest: Millis,
    longest: Millis,
    next: Millis,
}

impl Pause {
    const fn between((shortest, longest): (Millis, Millis)) -> Self {
        Self { shortest, longest, next: shortest }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = Millis((pause.get() * 2).min(self.longest.get()));
        Duration::from_millis(pause.get())
    }

    fn reset(&mut self) {
        self.next = self.shortest;
    }
}
