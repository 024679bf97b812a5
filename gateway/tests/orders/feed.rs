//! Order feeds as a cluster's shards keep them: positions without gaps, and what is acknowledged is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use doorbuster_client::Error;
use doorbuster_gateway::orders::Feed;
use doorbuster_protocol::reply::{FeedEntry, FeedKind, FeedPage};
use doorbuster_protocol::types::{
    Currency, FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};
use parking_lot::Mutex;

#[derive(Clone)]
pub struct Feeds {
    shards: Arc<Vec<Mutex<ShardFeed>>>,
    deaf: Arc<AtomicBool>,
}

#[derive(Default)]
struct ShardFeed {
    entries: Vec<FeedEntry>,
    acknowledged: u64,
    last: u64,
}

pub fn entry(shard: u16, position: u64) -> FeedEntry {
    FeedEntry {
        position: FeedPosition(position),
        kind: FeedKind::Confirmed,
        product: ProductId(u64::from(shard) + 1),
        reservation: ReservationId((u128::from(shard) << 64) | u128::from(position)),
        user: UserId(u128::from(position % 7) + 1),
        quantity: Quantity(1),
        price: Money { minor: 4999, currency: Currency(*b"EUR") },
        at: Timestamp(1_800_000_000_000 + position),
        late: false,
        cancelled: None,
    }
}

impl Feeds {
    pub fn new(shards: u16) -> Self {
        Self { shards: Arc::new((0..shards).map(|_| Mutex::default()).collect()), deaf: Arc::default() }
    }

    /// So many more confirmed reservations on each shard.
    pub fn confirm(&self, count: u64) {
        for shard in 0..self.shards() {
            let last = self.shards[usize::from(shard)].lock().last;
            (last + 1..=last + count).for_each(|position| self.push(shard, entry(shard, position)));
        }
    }

    pub fn push(&self, shard: u16, entry: FeedEntry) {
        let mut feed = self.shards[usize::from(shard)].lock();
        assert_eq!(entry.position.get(), feed.last + 1);
        feed.last += 1;
        feed.entries.push(entry);
    }

    /// While set, acknowledgements do not arrive.
    pub fn deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    pub fn acknowledged(&self, shard: u16) -> u64 {
        self.shards[usize::from(shard)].lock().acknowledged
    }

    /// Whether everything is acknowledged.
    pub fn is_done(&self) -> bool {
        self.shards.iter().all(|feed| {
            let feed = feed.lock();
            feed.acknowledged == feed.last
        })
    }
}

impl Feed for Feeds {
    fn shards(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap()
    }

    async fn read(&self, shard: ShardId, after: FeedPosition, limit: u32) -> Result<FeedPage, Error> {
        let feed = self.shards[usize::from(shard.get())].lock();
        let behind = feed.entries.iter().filter(|entry| entry.position > after);
        Ok(FeedPage {
            entries: behind.take(limit as usize).copied().collect(),
            acknowledged: FeedPosition(feed.acknowledged),
            last: FeedPosition(feed.last),
        })
    }

    async fn acknowledge(&self, shard: ShardId, through: FeedPosition) -> Result<FeedPosition, Error> {
        if self.deaf.load(Ordering::SeqCst) {
            return Err(Error::OutcomeUnknown);
        }
        let mut feed = self.shards[usize::from(shard.get())].lock();
        assert!(through.get() <= feed.last, "acknowledged {through}, beyond the feed's end {}", feed.last);
        feed.acknowledged = feed.acknowledged.max(through.get());
        let acknowledged = feed.acknowledged;
        feed.entries.retain(|entry| entry.position.get() > acknowledged);
        Ok(FeedPosition(acknowledged))
    }
}
