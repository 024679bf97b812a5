//! Order feeds: one of which reading costs nothing, and one that tells when everything of it is stored.

use doorbuster_client::{Client, Error};
use doorbuster_gateway::orders::Feed;
use doorbuster_protocol::reply::{FeedEntry, FeedPage};
use doorbuster_protocol::types::{FeedPosition, ShardId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Entries in a page that is read from a server.
const PAGE: u32 = 1000;

/// The feed of a cluster that has one shard with entries, in memory.
#[derive(Clone, Debug)]
pub struct Remembered {
    shards: u16,
    shard: ShardId,
    /// From position 1 on.
    entries: Arc<[FeedEntry]>,
    acknowledged: Arc<AtomicU64>,
}

impl Remembered {
    /// That of as many shards, with these entries on one.
    #[must_use]
    pub fn new(shards: u16, shard: ShardId, entries: Arc<[FeedEntry]>) -> Self {
        Self { shards, shard, entries, acknowledged: Arc::default() }
    }
}

impl Feed for Remembered {
    fn shards(&self) -> u16 {
        self.shards
    }

    async fn read(&self, shard: ShardId, after: FeedPosition, limit: u32) -> Result<FeedPage, Error> {
        let entries: &[FeedEntry] = if shard == self.shard { &self.entries } else { &[] };
        let acknowledged = if shard == self.shard { self.acknowledged.load(Ordering::Relaxed) } else { 0 };
        let behind = entries.partition_point(|entry| entry.position <= after.max(FeedPosition(acknowledged)));
        let page = entries[behind..].iter().take(limit as usize).copied().collect();
        let last = entries.last().map(|entry| entry.position).unwrap_or_default();
        Ok(FeedPage { entries: page, acknowledged: FeedPosition(acknowledged), last })
    }

    async fn acknowledge(&self, shard: ShardId, through: FeedPosition) -> Result<FeedPosition, Error> {
        if shard != self.shard {
            return Ok(FeedPosition(0));
        }
        let before = self.acknowledged.fetch_max(through.get(), Ordering::Relaxed);
        Ok(FeedPosition(before.max(through.get())))
    }
}

/// A feed of which `done` is told when this position of this shard is acknowledged.
#[derive(Clone, Debug)]
pub struct Watched<F> {
    /// The feed.
    pub feed: F,
    /// Whose end is waited for.
    pub shard: ShardId,
    /// Its end.
    pub last: FeedPosition,
    /// Who waits.
    pub done: CancellationToken,
}

impl<F: Feed> Feed for Watched<F> {
    fn shards(&self) -> u16 {
        self.feed.shards()
    }

    async fn read(&self, shard: ShardId, after: FeedPosition, limit: u32) -> Result<FeedPage, Error> {
        self.feed.read(shard, after, limit).await
    }

    async fn acknowledge(&self, shard: ShardId, through: FeedPosition) -> Result<FeedPosition, Error> {
        let acknowledged = self.feed.acknowledge(shard, through).await?;
        if shard == self.shard && acknowledged >= self.last {
            self.done.cancel();
        }
        Ok(acknowledged)
    }
}

/// Everything that is on a shard's feed.
///
/// # Errors
/// The cluster does not answer.
pub async fn all(client: &Client, shard: ShardId) -> Result<Arc<[FeedEntry]>, Error> {
    let (mut entries, mut after): (Vec<FeedEntry>, _) = (Vec::new(), FeedPosition(0));
    loop {
        let page = client.feed(shard, after, PAGE).await?;
        let Some(last) = page.entries.last().map(|entry| entry.position) else { return Ok(entries.into()) };
        entries.extend(page.entries);
        after = last;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use doorbuster_protocol::reply::FeedKind;
    use doorbuster_protocol::types::{Currency, Money, ProductId, Quantity, ReservationId, Timestamp, UserId};

    /// So many confirmed reservations.
    pub fn entries(count: u64) -> Arc<[FeedEntry]> {
        let entry = |position: u64| FeedEntry {
            position: FeedPosition(position),
            kind: FeedKind::Confirmed,
            product: ProductId(7),
            reservation: ReservationId(u128::from(position) << 60),
            user: UserId(u128::from(position % 5) + 1),
            quantity: Quantity(1),
            price: Money { minor: 4999, currency: Currency(*b"EUR") },
            at: Timestamp(1_800_000_000_000 + position),
            late: false,
            cancelled: None,
        };
        (1..=count).map(entry).collect()
    }

    #[tokio::test]
    async fn it_is_read_like_a_server_s_and_its_end_is_told() {
        let (shard, done) = (ShardId(1), CancellationToken::new());
        let feed = Remembered::new(2, shard, entries(5));
        let watched = Watched { feed, shard, last: FeedPosition(5), done: done.clone() };
        let read = async |shard, after, limit| {
            let page = watched.read(shard, FeedPosition(after), limit).await.expect("it is in memory");
            let positions: Vec<u64> = page.entries.iter().map(|entry| entry.position.get()).collect();
            (positions, page.acknowledged.get(), page.last.get())
        };
        assert_eq!(read(shard, 0, 3).await, (vec![1, 2, 3], 0, 5));
        assert_eq!(read(ShardId(0), 0, 3).await, (vec![], 0, 0));
        watched.acknowledge(shard, FeedPosition(4)).await.expect("it is in memory");
        watched.acknowledge(ShardId(0), FeedPosition(9)).await.expect("it is in memory");
        assert_eq!(read(shard, 0, 3).await, (vec![5], 4, 5), "what is acknowledged is gone");
        assert!(!done.is_cancelled());
        watched.acknowledge(shard, FeedPosition(5)).await.expect("it is in memory");
        assert!(done.is_cancelled());
    }
}
