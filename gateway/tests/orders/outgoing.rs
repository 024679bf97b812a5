//! What is to be published is written down with the orders, all of it and once.

use std::time::Duration;

use doorbuster_gateway::events::{Outbox, Page, Waiting};
use doorbuster_gateway::orders::{OrderMetrics, Stored};
use doorbuster_protocol::command::{CancelReason, Cancellation};
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{FeedPosition, ShardId};

use crate::bodies::{SHARD, entries, start};
use crate::database::{Database, eventually};
use crate::feed::{Feeds, entry};
use crate::parked::after;

const ALL: u32 = 100_000;
const MINUTE: Duration = Duration::from_secs(60);

pub async fn entries_wait_once_somebody_publishes(database: Database) {
    let (store, other) = (database.store(), database.store());
    let outbox = Outbox::beside(&store);
    store.store(SHARD, &entries(0, 1..=3)).await.unwrap();
    assert_eq!(outbox.read(SHARD, ALL).await.unwrap(), Page::default(), "nobody publishes");
    assert_eq!(outbox.waiting().await.unwrap(), Waiting::default());

    outbox.subscribe(2).await.unwrap();
    // By a gateway that was not told of Kafka.
    let cancelled = Cancellation { reason: CancelReason::Fraud, return_stock: false };
    let undone = FeedEntry { kind: FeedKind::Cancelled, cancelled: Some(cancelled), ..entry(0, 6) };
    let batch = [entry(0, 4), entry(0, 5), FeedEntry { reservation: entry(0, 5).reservation, ..undone }];
    other.store(SHARD, &batch).await.unwrap();
    other.store(SHARD, &batch).await.unwrap();
    outbox.subscribe(2).await.unwrap();
    let page = Page { published: FeedPosition(3), entries: batch.to_vec() };
    assert_eq!(outbox.read(SHARD, ALL).await.unwrap(), page);
    assert_eq!(outbox.read(SHARD, 2).await.unwrap().entries, &batch[..2]);
    let waiting = outbox.waiting().await.unwrap();
    assert_eq!(waiting.events, 3);
    assert!(waiting.since.is_some_and(|since| since.get() > 1_700_000_000_000), "{waiting:?}");

    for through in [5, 4] {
        outbox.advance(SHARD, FeedPosition(through)).await.unwrap();
        let left = Page { published: FeedPosition(5), entries: vec![batch[2]] };
        assert_eq!(outbox.read(SHARD, ALL).await.unwrap(), left, "it never moves back");
    }
    // Another shard has a position of its own.
    store.store(ShardId(1), &entries(1, 1..=2)).await.unwrap();
    assert_eq!(outbox.read(ShardId(1), ALL).await.unwrap().published, FeedPosition(0));
    assert_eq!(outbox.waiting().await.unwrap().events, 3);
    outbox.advance(SHARD, FeedPosition(6)).await.unwrap();
    outbox.advance(ShardId(1), FeedPosition(2)).await.unwrap();
    assert_eq!(outbox.waiting().await.unwrap(), Waiting::default());
}

/// What the order database refuses is sold all the same.
pub async fn what_is_parked_is_published(database: Database) {
    let store = database.store();
    let outbox = Outbox::beside(&store);
    outbox.subscribe(1).await.unwrap();
    database.poison("orders", "position = 2").await;
    assert_eq!(store.store(SHARD, &entries(0, 1..=3)).await.unwrap().parked, 1);
    database.cure("orders").await;
    assert_eq!(store.retry(SHARD, &[FeedPosition(2)]).await.unwrap().stored, 1);
    assert_eq!(outbox.read(SHARD, ALL).await.unwrap().entries, entries(0, 1..=3), "each once");
}

pub async fn an_order_and_its_event_are_stored_together_or_neither(database: Database) {
    let store = database.store();
    let outbox = Outbox::beside(&store);
    outbox.subscribe(1).await.unwrap();
    let (mut drops, mut batches) = (0, 0);
    while drops < 20 {
        let batch = entries(0, 10 * batches + 1..=10 * batches + 10);
        for steps in 1.. {
            let ended = after(&store, steps, store.store(SHARD, &batch)).await;
            let page = outbox.read(SHARD, ALL).await.unwrap();
            let position = store.position(SHARD).await.unwrap().get();
            assert_eq!(page.entries, entries(0, 1..=position), "after {steps} steps");
            if position == 10 * batches + 10 {
                break;
            }
            assert!(ended.is_none(), "it said {ended:?} and stored nothing");
            drops += 1;
        }
        batches += 1;
        let again = store.store(SHARD, &batch).await.unwrap();
        assert_eq!(again, Stored { position: FeedPosition(10 * batches), entries: 0, parked: 0 });
    }
}

/// Whenever publishing begins, what comes behind where it began is there without a gap.
pub async fn publishing_begins_beside_a_writer(database: Database) {
    let (feeds, store) = (Feeds::new(4), database.store());
    let writer = start(&feeds, store.clone(), OrderMetrics::none());
    let outbox = Outbox::beside(&database.store());
    for round in 1..=60 {
        feeds.confirm(20);
        if round == 20 {
            outbox.subscribe(4).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eventually("all is acknowledged", async || feeds.is_done()).await;
    writer.stop().await;
    for shard in 0..4 {
        let Page { published, entries: waiting } = outbox.read(ShardId(shard), ALL).await.unwrap();
        assert!(published.get() < 1200, "it began before the end");
        assert_eq!(waiting, entries(shard, published.get() + 1..=1200));
    }
}

pub async fn one_publishes_at_a_time(database: Database) {
    let (one, other) = (Outbox::beside(&database.store()), Outbox::beside(&database.store()));
    one.subscribe(2).await.unwrap();
    assert!(one.claim(SHARD, "one", MINUTE).await.unwrap());
    let claimed = one.waiting().await.unwrap().claimed_until;
    assert!(!other.claim(SHARD, "other", MINUTE).await.unwrap());
    assert_eq!(one.waiting().await.unwrap(), Waiting { claimed_until: claimed, ..Waiting::default() });
    assert!(other.claim(ShardId(1), "other", MINUTE).await.unwrap(), "shard by shard");
    other.release(SHARD, "other").await.unwrap();
    assert!(!other.claim(SHARD, "other", MINUTE).await.unwrap(), "it was not its own to release");
    assert!(one.claim(SHARD, "one", MINUTE).await.unwrap(), "renewed");
    assert!(one.waiting().await.unwrap().claimed_until > claimed);
    one.release(SHARD, "one").await.unwrap();
    assert!(other.claim(SHARD, "other", Duration::from_millis(300)).await.unwrap());
    assert!(!one.claim(SHARD, "one", MINUTE).await.unwrap());
    eventually("it has ended", async || one.claim(SHARD, "one", MINUTE).await.unwrap()).await;
    // A shard that nobody subscribed to.
    assert!(!one.claim(ShardId(7), "one", MINUTE).await.unwrap());
}
