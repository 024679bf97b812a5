//! What must hold whatever the database.

use std::time::Duration;

use doorbuster_gateway::orders::{Feed as _, Order, OrderMetrics, OrderStore, OrderWriter, StoreError, Stored};
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{
    Currency, FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database::{Database, eventually};
use crate::feed::{Feeds, entry};

pub const SHARD: ShardId = ShardId(0);

pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub fn start(feeds: &Feeds, store: OrderStore, metrics: OrderMetrics) -> Running {
    let stop = CancellationToken::new();
    let task = tokio::spawn(OrderWriter::new(feeds.clone(), store, metrics).run(stop.clone()));
    Running { stop, task }
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

pub fn entries(shard: u16, positions: std::ops::RangeInclusive<u64>) -> Vec<FeedEntry> {
    positions.map(|position| entry(shard, position)).collect()
}

async fn all(store: &OrderStore) -> Vec<Order> {
    let mut orders = Vec::new();
    let mut after = ReservationId(0);
    loop {
        let page = store.orders(after, 700).await.unwrap();
        let Some(last) = page.last() else { return orders };
        after = last.reservation;
        orders.extend(page);
    }
}

/// Every order of the shards' feeds, each once, from its place.
pub async fn assert_complete(store: &OrderStore, shards: u16, each: u64) {
    let mut found: Vec<_> = all(store).await.iter().map(|order| (order.shard.get(), order.position.get())).collect();
    found.sort_unstable();
    let expected: Vec<_> = (0..shards).flat_map(|shard| (1..=each).map(move |position| (shard, position))).collect();
    assert_eq!(found.len(), expected.len());
    assert_eq!(found, expected);
    assert_eq!(store.count().await.unwrap(), u64::from(shards) * each);
}

pub async fn an_order_is_read_as_it_was_written(database: Database) {
    let store = database.store();
    assert_eq!(store.position(SHARD).await.unwrap(), FeedPosition(0));
    assert_eq!(store.count().await.unwrap(), 0);
    let plain = entry(0, 1);
    let extreme = FeedEntry {
        position: FeedPosition(2),
        kind: FeedKind::Confirmed,
        product: ProductId(u64::MAX),
        reservation: ReservationId(u128::MAX),
        user: UserId(u128::MAX - 1),
        quantity: Quantity(10_000),
        price: Money { minor: 1_000_000_000_000, currency: Currency(*b"JPY") },
        at: Timestamp(253_402_300_799_000),
        late: true,
        cancelled: None,
    };
    let stored = store.store(SHARD, &[plain, extreme]).await.unwrap();
    assert_eq!(stored, Stored { position: FeedPosition(2), entries: 2, parked: 0 });
    for written in [plain, extreme] {
        let expected = Order {
            shard: SHARD,
            position: written.position,
            product: written.product,
            reservation: written.reservation,
            user: written.user,
            quantity: written.quantity,
            price: written.price,
            state: written.kind,
            late: written.late,
            created_at: written.at,
            changed_at: written.at,
            cancelled: None,
        };
        assert_eq!(store.order(written.reservation).await.unwrap(), Some(expected));
    }
    assert_eq!(store.order(ReservationId(77)).await.unwrap(), None);
    let page = store.orders(plain.reservation, 10).await.unwrap();
    assert_eq!(page.iter().map(|order| order.reservation).collect::<Vec<_>>(), [extreme.reservation]);
    // What was closed is still there for the next one.
    store.close().await;
    assert_eq!(database.store().position(SHARD).await.unwrap(), FeedPosition(2));
}

pub async fn nothing_is_stored_twice(database: Database) {
    let (store, other) = (database.store(), database.store());
    store.store(SHARD, &entries(0, 1..=10)).await.unwrap();
    let again = other.store(SHARD, &entries(0, 1..=10)).await.unwrap();
    assert_eq!(again, Stored { position: FeedPosition(10), entries: 0, parked: 0 });
    let overlapping = other.store(SHARD, &entries(0, 6..=15)).await.unwrap();
    assert_eq!(overlapping, Stored { position: FeedPosition(15), entries: 5, parked: 0 });
    let behind = store.store(SHARD, &entries(0, 3..=4)).await.unwrap();
    assert_eq!(behind, Stored { position: FeedPosition(15), entries: 0, parked: 0 });
    assert_eq!(store.store(SHARD, &[]).await.unwrap(), Stored { position: FeedPosition(15), entries: 0, parked: 0 });
    assert_complete(&store, 1, 15).await;
}

pub async fn a_gap_is_refused_whole(database: Database) {
    let store = database.store();
    store.store(SHARD, &entries(0, 1..=3)).await.unwrap();
    let gap = store.store(SHARD, &entries(0, 5..=6)).await.unwrap_err();
    let (stored, next) = (FeedPosition(3), FeedPosition(5));
    assert_eq!(gap, StoreError::Gap { shard: SHARD, stored, next });
    assert_complete(&store, 1, 3).await;
}

pub async fn refunds_change_the_order(database: Database) {
    let store = database.store();
    let as_kind = |position, reservation, kind| FeedEntry {
        kind,
        reservation: ReservationId(reservation),
        late: kind != FeedKind::Confirmed,
        ..entry(0, position)
    };
    let batch = [
        as_kind(1, 100, FeedKind::RefundDue),
        as_kind(2, 200, FeedKind::Confirmed),
        as_kind(3, 300, FeedKind::RefundDue),
        as_kind(4, 300, FeedKind::Refunded),
    ];
    assert_eq!(store.store(SHARD, &batch).await.unwrap().entries, 4);
    let state = async |id| store.order(ReservationId(id)).await.unwrap().unwrap().state;
    assert_eq!(state(100).await, FeedKind::RefundDue);
    assert_eq!(state(200).await, FeedKind::Confirmed);
    assert_eq!(state(300).await, FeedKind::Refunded);

    store.store(SHARD, &[as_kind(5, 100, FeedKind::Refunded)]).await.unwrap();
    let refunded = store.order(ReservationId(100)).await.unwrap().unwrap();
    assert_eq!((refunded.state, refunded.position), (FeedKind::Refunded, FeedPosition(1)));
    assert!(refunded.changed_at > refunded.created_at);

    // Sold is sold: a refund that was never due does not undo it.
    let stored = store.store(SHARD, &[as_kind(6, 200, FeedKind::Refunded)]).await.unwrap();
    assert_eq!(stored, Stored { position: FeedPosition(6), entries: 0, parked: 1 });
    assert_eq!(state(200).await, FeedKind::Confirmed);
}

pub async fn two_writers_at_once_write_each_order_once(database: Database) {
    let feeds = Feeds::new(2);
    feeds.confirm(1500);
    let writers = [0; 2].map(|_| start(&feeds, database.store(), OrderMetrics::none()));
    for _ in 0..20 {
        feeds.confirm(50);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eventually("all is acknowledged", async || feeds.is_done()).await;
    assert_complete(&database.store(), 2, 2500).await;
    for writer in writers {
        writer.stop().await;
    }
}

pub async fn a_writer_goes_on_behind_what_another_stored(database: Database) {
    let (feeds, store) = (Feeds::new(1), database.store());
    let writer = start(&feeds, database.store(), OrderMetrics::none());
    let mut last = 0;
    for _ in 0..4 {
        // Another gateway's writer stores and acknowledges, whether this one is about to or not.
        feeds.confirm(2);
        store.store(SHARD, &entries(0, last + 1..=last + 2)).await.unwrap();
        feeds.acknowledge(SHARD, FeedPosition(last + 2)).await.unwrap();
        feeds.confirm(1);
        last += 3;
        eventually("the rest is stored", || async { feeds.is_done() }).await;
    }
    writer.stop().await;
    assert_complete(&store, 1, last).await;
}

pub async fn a_crash_between_commit_and_acknowledgement_is_made_good(database: Database) {
    let feeds = Feeds::new(2);
    feeds.confirm(30);
    feeds.deaf(true);
    let store = database.store();
    let first = start(&feeds, store.clone(), OrderMetrics::none());
    eventually("all is stored", async || store.count().await.unwrap() == 60).await;
    first.stop().await;
    assert_eq!((feeds.acknowledged(0), feeds.acknowledged(1)), (0, 0));

    feeds.deaf(false);
    let second = start(&feeds, database.store(), OrderMetrics::none());
    eventually("all is acknowledged", async || feeds.is_done()).await;
    second.stop().await;
    assert_complete(&store, 2, 30).await;
}

pub async fn cancelled_at_any_moment_nothing_is_lost_or_doubled(database: Database) {
    let feeds = Feeds::new(2);
    // The tables are there, so that the moments below fall into transactions.
    assert_eq!(database.store().count().await.unwrap(), 0);
    for round in 0..15 {
        feeds.confirm(100);
        let writer = start(&feeds, database.store(), OrderMetrics::none());
        tokio::time::sleep(Duration::from_millis(2 + 3 * round)).await;
        writer.stop().await;
    }
    let last = start(&feeds, database.store(), OrderMetrics::none());
    eventually("all is acknowledged", async || feeds.is_done()).await;
    last.stop().await;
    assert_complete(&database.store(), 2, 1500).await;
}

pub async fn a_database_that_stops_delays_orders(mut database: Database) {
    let feeds = Feeds::new(2);
    let recorder = PrometheusBuilder::new().build_recorder();
    let writer = start(&feeds, database.store(), OrderMetrics::new(&recorder));
    feeds.confirm(10);
    eventually("the first are acknowledged", async || feeds.is_done()).await;
    database.down().await;
    feeds.confirm(500);
    let handle = recorder.handle();
    eventually("the failure is counted", async || {
        !handle.render().contains("doorbuster_gateway_order_store_errors_total 0")
    })
    .await;
    assert_eq!((feeds.acknowledged(0), feeds.acknowledged(1)), (10, 10), "acknowledged what is not stored");
    database.up().await;
    eventually("the rest is acknowledged", async || feeds.is_done()).await;
    assert_complete(&database.store(), 2, 510).await;
    let text = handle.render();
    assert!(text.contains("doorbuster_gateway_orders_stored_total 1020"), "{text}");
    assert!(text.contains("doorbuster_gateway_orders_pending 0"), "{text}");
    assert_eq!(database.store().parked_count().await.unwrap(), 0, "a database that was down had nothing to object to");
    writer.stop().await;
}

pub async fn a_database_that_is_down_at_the_start_is_waited_for(mut database: Database) {
    database.down().await;
    let feeds = Feeds::new(2);
    feeds.confirm(20);
    let writer = start(&feeds, database.store(), OrderMetrics::none());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!feeds.is_done());
    database.up().await;
    eventually("all is acknowledged", async || feeds.is_done()).await;
    assert_complete(&database.store(), 2, 20).await;
    writer.stop().await;
}

pub async fn another_clusters_database_is_left_alone(database: Database) {
    not_this_feeds_database(database, 0, 5).await;
}

/// The dangerous one: the new cluster's feed is further on than what the old one's database has, so that its first orders
/// look stored.
pub async fn an_earlier_clusters_database_is_left_alone(database: Database) {
    not_this_feeds_database(database, 1 << 100, 80).await;
}

/// A database with 50 orders, of reservations `beyond` those that the feed has there, meets a feed of `confirmed`.
async fn not_this_feeds_database(database: Database, beyond: u128, confirmed: u64) {
    let store = database.store();
    let mut others = entries(0, 1..=50);
    others.iter_mut().for_each(|entry| entry.reservation.0 += beyond);
    store.store(SHARD, &others).await.unwrap();
    let feeds = Feeds::new(1);
    feeds.confirm(confirmed);
    let recorder = PrometheusBuilder::new().build_recorder();
    let writer = start(&feeds, store.clone(), OrderMetrics::new(&recorder));
    eventually("a person is called for", async || {
        recorder.handle().render().contains("doorbuster_gateway_order_rows_refused_total 1")
    })
    .await;
    assert_eq!(feeds.acknowledged(0), 0, "acknowledged orders that were never stored");
    assert_eq!(store.count().await.unwrap(), 50);
    writer.stop().await;
}
