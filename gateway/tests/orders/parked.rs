//! What becomes of an entry that the database refuses, whatever the database.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use doorbuster_gateway::orders::{OrderMetrics, OrderStore, Parked, Retried, Stored};
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{Currency, FeedPosition, Quantity, ReservationId, ShardId};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::bodies::{SHARD, assert_complete, entries, start};
use crate::database::{Database, eventually};
use crate::feed::{Feeds, entry};

const ALL: (ShardId, FeedPosition) = (ShardId(0), FeedPosition(0));

async fn parked(store: &OrderStore) -> Vec<Parked> {
    store.parked(ALL, 10_000).await.unwrap()
}

async fn retry_all(store: &OrderStore) -> Retried {
    let positions: Vec<_> = parked(store).await.iter().map(|parked| parked.entry.position).collect();
    store.retry(SHARD, &positions).await.unwrap()
}

pub async fn one_poison_row_among_a_hundred_is_parked_and_put_back(database: Database) {
    let (feeds, store) = (Feeds::new(1), database.store());
    assert_eq!(store.count().await.unwrap(), 0);
    database.poison("orders", "position = 50").await;
    feeds.confirm(100);
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let writer = start(&feeds, store.clone(), OrderMetrics::new(&recorder));
    eventually("all is acknowledged", async || feeds.is_done()).await;
    assert_eq!(store.count().await.unwrap(), 99);
    let found = parked(&store).await;
    assert_eq!((found.len(), found[0].entry, found[0].tries), (1, entry(0, 50), 1));
    assert!(found[0].error.contains("poison") && found[0].parked_at.get() > 1_700_000_000_000, "{found:?}");
    let gauge = |count: u64| format!("doorbuster_gateway_orders_parked {count}\n");
    eventually("it is counted", async || handle.render().contains(&gauge(1))).await;

    assert_eq!(retry_all(&store).await, Retried { stored: 0, parked: 1 });
    assert_eq!(parked(&store).await[0].tries, 2);
    database.cure("orders").await;
    // By somebody else, as the command line is.
    assert_eq!(retry_all(&database.store()).await, Retried { stored: 1, parked: 0 });
    assert_eq!(store.retry(SHARD, &[FeedPosition(50)]).await.unwrap(), Retried::default(), "once");
    assert_complete(&store, 1, 100).await;
    eventually("it is no longer counted", async || handle.render().contains(&gauge(0))).await;
    assert!(!handle.render().contains("rows_refused_total 1"), "nobody waited for it");
    writer.stop().await;
}

pub async fn contents_that_no_column_takes_are_parked(database: Database) {
    let store = database.store();
    type Spoil = fn(&mut FeedEntry);
    let table: [(&str, Spoil); 4] = [
        ("a currency that is none", |entry| entry.price.currency = Currency(*b"EU\0")),
        ("no units", |entry| entry.quantity = Quantity(0)),
        ("more money than fits", |entry| entry.price.minor = u64::MAX),
        ("more money in all than fits", |entry| {
            (entry.price.minor, entry.quantity) = (i64::MAX as u64, Quantity(3));
        }),
    ];
    for (shard, (what, spoil)) in (0..).zip(table) {
        let mut batch = entries(shard, 1..=3);
        spoil(&mut batch[1]);
        let stored = store.store(ShardId(shard), &batch).await.unwrap();
        assert_eq!(stored, Stored { position: FeedPosition(3), entries: 2, parked: 1 }, "{what}");
        let found = store.parked((ShardId(shard), FeedPosition(0)), 10).await.unwrap();
        assert_eq!(found.iter().map(|parked| parked.entry).collect::<Vec<_>>(), [batch[1]], "{what}");
    }
    assert_eq!((store.count().await.unwrap(), store.parked_count().await.unwrap()), (8, 4));
}

pub async fn a_reservation_that_is_another_order_is_parked(database: Database) {
    let (feeds, store) = (Feeds::new(3), database.store());
    // Position 37 of shard 1 has the id of an order that is there already, and so has position 40 that of its own shard.
    let taken = FeedEntry { reservation: entry(1, 37).reservation, ..entry(2, 1) };
    store.store(ShardId(2), &[taken]).await.unwrap();
    feeds.push(2, taken);
    let again = |at| FeedEntry { reservation: entry(1, if at == 40 { 2 } else { at }).reservation, ..entry(1, at) };
    (1..=100).for_each(|position| feeds.push(1, again(position)));
    (1..=100).for_each(|position| feeds.push(0, entry(0, position)));
    let writer = start(&feeds, store.clone(), OrderMetrics::none());
    eventually("all is acknowledged", async || feeds.is_done()).await;
    assert_eq!(store.count().await.unwrap(), 199);
    let found = parked(&store).await;
    assert_eq!(found.iter().map(|parked| parked.entry.position.get()).collect::<Vec<_>>(), [37, 40]);
    assert!(found[0].error.contains("position 1 of shard 2") && found[1].error.contains("position 2 of shard 1"));

    database.execute(&format!("DELETE FROM payments WHERE reservation = '{:032x}'", taken.reservation.get())).await;
    database.execute("DELETE FROM orders WHERE shard = 2").await;
    let both = [37, 40].map(FeedPosition);
    assert_eq!(store.retry(ShardId(1), &both).await.unwrap(), Retried { stored: 1, parked: 1 });
    assert_eq!(store.order(taken.reservation).await.unwrap().unwrap().shard, ShardId(1));
    writer.stop().await;
}

pub async fn entries_of_a_reservation_stay_in_order(database: Database) {
    let store = database.store();
    assert_eq!(store.count().await.unwrap(), 0);
    database.poison("orders", "position = 2").await;
    let of = |position, reservation, kind| FeedEntry {
        kind,
        reservation: ReservationId(reservation),
        late: true,
        ..entry(0, position)
    };
    let batch = [of(1, 100, FeedKind::Confirmed), of(2, 200, FeedKind::RefundDue), of(3, 200, FeedKind::Refunded)];
    assert_eq!(store.store(SHARD, &batch).await.unwrap().parked, 2, "its end waits with it");
    let later = [of(4, 300, FeedKind::RefundDue), of(5, 300, FeedKind::Refunded)];
    assert_eq!(store.store(SHARD, &later).await.unwrap().parked, 0);
    let end = [FeedPosition(3)];
    assert_eq!(store.retry(SHARD, &end).await.unwrap(), Retried { stored: 0, parked: 1 });
    assert!(parked(&store).await[1].error.contains("waits behind position 2"));

    database.cure("orders").await;
    assert_eq!(store.retry(SHARD, &end).await.unwrap(), Retried { stored: 0, parked: 1 }, "not before its beginning");
    assert_eq!(retry_all(&store).await, Retried { stored: 2, parked: 0 });
    let order = store.order(ReservationId(200)).await.unwrap().unwrap();
    assert_eq!((order.state, order.position, order.changed_at), (FeedKind::Refunded, FeedPosition(2), batch[2].at));
    assert_eq!(store.count().await.unwrap(), 3);
}

pub async fn batches_of_nothing_but_poison_are_parked(database: Database) {
    let (feeds, store) = (Feeds::new(1), database.store());
    assert_eq!(store.count().await.unwrap(), 0);
    database.poison("orders", "position <= 1500").await;
    feeds.confirm(1600);
    let writer = start(&feeds, store.clone(), OrderMetrics::none());
    eventually("all is acknowledged", async || feeds.is_done()).await;
    assert_eq!((store.count().await.unwrap(), store.parked_count().await.unwrap()), (100, 1500));
    let first = store.parked(ALL, 1000).await.unwrap();
    let last = first.last().map(|parked| (parked.shard, parked.entry.position)).unwrap();
    assert_eq!(store.parked(last, 1000).await.unwrap().len(), 500, "page by page");
    database.cure("orders").await;
    assert_eq!(retry_all(&store).await, Retried { stored: 1500, parked: 0 });
    assert_complete(&store, 1, 1600).await;
    writer.stop().await;
}

/// Drives a future a number of steps, each to the next time it waits for the database, then drops it.
struct Dropped<F> {
    work: F,
    steps: usize,
}

impl<F: Future> Future for Dropped<Pin<Box<F>>> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.steps == 0 {
            return Poll::Ready(None);
        }
        this.steps -= 1;
        match this.work.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// How often work is dropped at least: a database that answers at once leaves few moments in one batch.
const DROPS: usize = 30;

pub async fn dropped_between_any_two_steps_it_is_an_order_or_parked(database: Database) {
    let store = database.store();
    assert_eq!(store.count().await.unwrap(), 0);
    database.poison("orders", "position % 100 = 50").await;
    let (mut drops, mut batches) = (0, 0);
    while drops < DROPS {
        let batch = entries(0, 100 * batches + 1..=100 * batches + 100);
        let seen = |batches| (100 * batches, 99 * batches, batches);
        for steps in 1.. {
            let ended = after(&store, steps, store.store(SHARD, &batch)).await;
            let position = store.position(SHARD).await.unwrap().get();
            let found = (position, store.count().await.unwrap(), store.parked_count().await.unwrap());
            if found == seen(batches + 1) {
                break;
            }
            assert_eq!(found, seen(batches), "after {steps} steps");
            assert!(ended.is_none(), "it said {ended:?} and stored nothing");
            drops += 1;
        }
        batches += 1;
        let again = store.store(SHARD, &batch).await.unwrap();
        assert_eq!(again, Stored { position: FeedPosition(100 * batches), entries: 0, parked: 0 });
    }
}

pub async fn a_retry_dropped_between_any_two_steps_makes_one_order(database: Database) {
    let store = database.store();
    let (mut drops, mut batches) = (0, 0);
    while drops < DROPS {
        let first = 4 * batches + 1;
        assert_eq!(store.count().await.unwrap(), 4 * batches);
        database.poison("orders", "position % 4 IN (2, 3)").await;
        assert_eq!(store.store(SHARD, &entries(0, first..=first + 3)).await.unwrap().parked, 2);
        database.cure("orders").await;
        let poison = [first + 1, first + 2];
        for steps in 1.. {
            let ended = after(&store, steps, store.retry(SHARD, &poison.map(FeedPosition))).await;
            let seen = (store.count().await.unwrap(), store.parked_count().await.unwrap());
            if seen == (4 * batches + 4, 0) {
                break;
            }
            assert_eq!(seen, (4 * batches + 2, 2), "after {steps} steps");
            assert!(ended.is_none(), "it said {ended:?} and stored nothing");
            drops += 1;
        }
        batches += 1;
    }
    assert_complete(&store, 1, 4 * batches).await;
}

/// What comes of some steps of the work, once the database has done, or forgotten, whatever it was told of it.
pub async fn after<F: Future>(store: &OrderStore, steps: usize, work: F) -> Option<F::Output> {
    let ended = Dropped { work: Box::pin(work), steps }.await;
    // A commit may be under way yet: this waits for the lock under which it is.
    assert_eq!(store.retry(SHARD, &[]).await.unwrap(), Retried::default());
    ended
}

pub async fn retries_and_writers_at_once_store_each_order_once(database: Database) {
    let feeds = Feeds::new(1);
    assert_eq!(database.store().count().await.unwrap(), 0);
    database.poison("orders", "position % 10 = 3").await;
    let writers = [0; 2].map(|_| start(&feeds, database.store(), OrderMetrics::none()));
    for _ in 0..10 {
        feeds.confirm(50);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    database.cure("orders").await;
    let stores = [database.store(), database.store()];
    eventually("everything is an order", async || {
        feeds.confirm(1);
        let (one, other) = tokio::join!(retry_all(&stores[0]), retry_all(&stores[1]));
        assert_eq!((one.parked, other.parked), (0, 0));
        feeds.is_done() && stores[0].parked_count().await.unwrap() == 0
    })
    .await;
    let all = feeds.acknowledged(0);
    assert_complete(&stores[0], 1, all).await;
    for writer in writers {
        writer.stop().await;
    }
}

pub async fn what_is_parked_and_not_acknowledged_is_recognised(database: Database) {
    let (feeds, store) = (Feeds::new(1), database.store());
    assert_eq!(store.count().await.unwrap(), 0);
    database.poison("orders", "position < 4").await;
    feeds.deaf(true);
    feeds.confirm(10);
    let first = start(&feeds, store.clone(), OrderMetrics::none());
    eventually("all is stored or parked", async || store.count().await.unwrap() == 7).await;
    first.stop().await;
    feeds.deaf(false);
    let second = start(&feeds, database.store(), OrderMetrics::none());
    eventually("all is acknowledged", async || feeds.is_done()).await;
    assert_eq!(store.parked_count().await.unwrap(), 3);
    second.stop().await;
}

pub async fn what_cannot_even_be_parked_holds_up_only_those_behind_it(database: Database) {
    let (feeds, store) = (Feeds::new(2), database.store());
    assert_eq!(store.count().await.unwrap(), 0);
    database.poison("orders", "position = 37").await;
    database.poison("parked_orders", "position = 37").await;
    (1..=100).for_each(|position| feeds.push(1, entry(1, position)));
    (1..=30).for_each(|position| feeds.push(0, entry(0, position)));
    let recorder = PrometheusBuilder::new().build_recorder();
    let writer = start(&feeds, store.clone(), OrderMetrics::new(&recorder));
    eventually("the other shard is done", async || feeds.acknowledged(0) == 30).await;
    eventually("those in front are done", async || feeds.acknowledged(1) == 36).await;
    eventually("a person is called for", async || {
        let text = recorder.handle().render();
        text.contains("order_rows_refused_total ") && !text.contains("order_rows_refused_total 0")
    })
    .await;
    assert_eq!(store.position(ShardId(1)).await.unwrap(), FeedPosition(36));
    database.cure("parked_orders").await;
    eventually("the rest follows", async || feeds.is_done()).await;
    assert_eq!((store.count().await.unwrap(), store.parked_count().await.unwrap()), (129, 1));
    writer.stop().await;
}

/// SQLite can only put off foreign keys, and its orders have none.
pub async fn what_would_be_refused_at_the_commit_is_parked(database: Database) {
    let (feeds, store) = (Feeds::new(1), database.store());
    assert_eq!(store.count().await.unwrap(), 0);
    let refuse =
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'poison'; END $$";
    let trigger = "CREATE CONSTRAINT TRIGGER poison AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
                   FOR EACH ROW WHEN (NEW.position = 5) EXECUTE FUNCTION refuse()";
    database.execute(refuse).await;
    database.execute(trigger).await;
    feeds.confirm(10);
    let writer = start(&feeds, store.clone(), OrderMetrics::none());
    eventually("all is acknowledged", async || feeds.is_done()).await;
    assert_eq!((store.count().await.unwrap(), store.parked_count().await.unwrap()), (9, 1));
    assert_eq!(parked(&store).await[0].entry.position, FeedPosition(5));
    database.execute("DROP TRIGGER poison ON orders").await;
    assert_eq!(retry_all(&store).await, Retried { stored: 1, parked: 0 });
    assert_complete(&store, 1, 10).await;
    writer.stop().await;
}
