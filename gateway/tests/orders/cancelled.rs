//! Orders that are cancelled, whatever the database.

use doorbuster_gateway::orders::{Cancelled, Order, OrderMetrics, OrderStore, Retried, Stored};
use doorbuster_protocol::command::{CancelReason, Cancellation};
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{FeedPosition, ReservationId};

use crate::bodies::{SHARD, start};
use crate::database::{Database, eventually};
use crate::feed::{Feeds, entry};

const BACK: Cancellation = Cancellation { reason: CancelReason::Customer, return_stock: true };
const LOST: Cancellation = Cancellation { reason: CancelReason::Fraud, return_stock: false };

fn sold(position: u64, reservation: u128) -> FeedEntry {
    FeedEntry { reservation: ReservationId(reservation), ..entry(0, position) }
}

fn undone(position: u64, reservation: u128, kind: FeedKind, how: Cancellation) -> FeedEntry {
    FeedEntry { kind, cancelled: Some(how), ..sold(position, reservation) }
}

/// One that was paid for, one that was not, and one whose money came when it was cancelled already.
fn lives() -> [FeedEntry; 9] {
    [
        sold(1, 100),
        sold(2, 200),
        undone(3, 100, FeedKind::RefundDue, BACK),
        undone(4, 200, FeedKind::Cancelled, LOST),
        sold(5, 300),
        undone(6, 300, FeedKind::Cancelled, LOST),
        undone(7, 100, FeedKind::Refunded, BACK),
        FeedEntry { late: true, ..undone(8, 300, FeedKind::RefundDue, LOST) },
        FeedEntry { late: true, ..undone(9, 300, FeedKind::Refunded, LOST) },
    ]
}

async fn order(store: &OrderStore, id: u128) -> Order {
    store.order(ReservationId(id)).await.unwrap().unwrap()
}

async fn assert_lived(store: &OrderStore) {
    let lives = lives();
    let expected = [(100, 1, 7, 3, BACK), (200, 2, 4, 4, LOST), (300, 5, 9, 6, LOST)];
    for (id, made, changed, cancelled, how) in expected {
        let [made, changed, at] = [made, changed, cancelled].map(|position: usize| &lives[position - 1]);
        let order = order(store, id).await;
        assert_eq!((order.position, order.created_at), (made.position, made.at), "{id}");
        assert_eq!((order.state, order.changed_at), (changed.kind, changed.at), "{id}");
        assert_eq!(order.cancelled, Some(Cancelled { at: at.at, how }), "{id}");
    }
    let payments = store.payments(ReservationId(0), 10).await.unwrap();
    let refunds: Vec<_> = payments.iter().map(|paid| paid.refund.map(|due| (due.due_at, due.refunded_at))).collect();
    let refund = |due: usize, end: usize| Some((lives[due - 1].at, Some(lives[end - 1].at)));
    assert_eq!(refunds, [refund(3, 7), None, refund(8, 9)]);
    assert_eq!((store.count().await.unwrap(), store.parked_count().await.unwrap()), (3, 0));
}

pub async fn orders_are_marked_in_one_batch_or_in_many(database: Database) {
    let store = database.store();
    let stored = store.store(SHARD, &lives()).await.unwrap();
    assert_eq!(stored, Stored { position: FeedPosition(9), entries: 9, parked: 0 });
    assert_lived(&store).await;
    database.execute("DELETE FROM refunds").await;
    database.execute("DELETE FROM payments").await;
    database.execute("DELETE FROM orders").await;
    database.execute("DELETE FROM feed_positions").await;
    for entry in lives() {
        // Each after a crash that kept the acknowledgement from being sent, or the commit from being heard of.
        for _ in 0..2 {
            store.store(SHARD, &[entry]).await.unwrap();
        }
    }
    assert_lived(&store).await;
}

pub async fn a_writer_brings_them_through_the_feed(database: Database) {
    let feeds = Feeds::new(1);
    lives().iter().for_each(|entry| feeds.push(0, *entry));
    let store = database.store();
    // One that crashed before it could acknowledge.
    store.store(SHARD, &lives()[..4]).await.unwrap();
    let writer = start(&feeds, database.store(), OrderMetrics::none());
    eventually("all is acknowledged", async || feeds.is_done()).await;
    assert_lived(&store).await;
    writer.stop().await;
}

pub async fn what_is_not_sold_is_not_cancelled_twice_or_undone(database: Database) {
    let store = database.store();
    store.store(SHARD, &lives()[..4]).await.unwrap();
    let (due, done) = (order(&store, 100).await, order(&store, 200).await);
    // Nothing that the inventory tells; what it would mean is refused, and parked.
    let wrong = [
        undone(5, 100, FeedKind::Cancelled, BACK),
        undone(6, 200, FeedKind::Refunded, LOST),
        undone(7, 100, FeedKind::RefundDue, LOST),
    ];
    let stored = store.store(SHARD, &wrong).await.unwrap();
    assert_eq!(stored, Stored { position: FeedPosition(7), entries: 0, parked: 3 });
    assert_eq!((order(&store, 100).await, order(&store, 200).await), (due, done));
}

pub async fn a_cancellation_waits_behind_its_parked_order(database: Database) {
    let store = database.store();
    assert_eq!(store.count().await.unwrap(), 0);
    database.poison("orders", "position = 1").await;
    assert_eq!(store.store(SHARD, &lives()).await.unwrap().parked, 3, "its end waits with it");
    assert!(store.order(ReservationId(100)).await.unwrap().is_none());
    database.cure("orders").await;
    let positions = [1, 3, 7].map(FeedPosition);
    assert_eq!(store.retry(SHARD, &positions[1..]).await.unwrap(), Retried { stored: 0, parked: 2 });
    assert_eq!(store.retry(SHARD, &positions).await.unwrap(), Retried { stored: 3, parked: 0 });
    assert_lived(&store).await;
}

/// A database of the version before, with orders and a trigger of the shop's own.
pub async fn orders_of_before_are_kept_and_can_be_cancelled(database: Database) {
    database.migrate_to(4).await;
    for (id, state) in [(100, "confirmed"), (200, "refund_due"), (300, "refunded")] {
        let columns = "reservation, shard, position, product, user_id, quantity, price_minor, currency, state, late, \
                       created_at_ms, changed_at_ms";
        let row = format!("'{id:032x}', 0, {id}, '1', '{:032x}', 1, 4999, 'EUR', '{state}', false, 5, 6", 1);
        database.execute(&format!("INSERT INTO orders ({columns}) VALUES ({row})")).await;
        database.execute(&format!("INSERT INTO payments VALUES ('{id:032x}', 4999, 'EUR', false, 5)")).await;
    }
    database.execute("INSERT INTO feed_positions VALUES (0, 300)").await;
    database.poison("orders", "position = 301").await;
    let store = database.store();
    for (id, state) in [(100_u64, FeedKind::Confirmed), (200, FeedKind::RefundDue), (300, FeedKind::Refunded)] {
        let order = order(&store, id.into()).await;
        assert_eq!((order.state, order.position, order.cancelled), (state, FeedPosition(id), None));
    }
    let more = |position, id| FeedEntry { product: doorbuster_protocol::types::ProductId(1), ..sold(position, id) };
    let cancelled = FeedEntry { kind: FeedKind::Cancelled, cancelled: Some(LOST), ..more(302, 100) };
    let stored = store.store(SHARD, &[more(301, 400), cancelled]).await.unwrap();
    assert_eq!(
        stored,
        Stored { position: FeedPosition(302), entries: 1, parked: 1 },
        "what the shop refuses it still does"
    );
    assert_eq!(order(&store, 100).await.state, FeedKind::Cancelled);
    assert_eq!(store.payments(ReservationId(0), 10).await.unwrap().len(), 3);
    for (what, set) in [
        ("a state that there is not", "state = 'shipped'"),
        ("cancelled, and nobody knows when", "cancelled_at_ms = NULL"),
        ("cancelled, and nobody knows why", "cancel_reason = NULL"),
        ("cancelled, and nobody knows what became of its units", "stock_returned = NULL"),
        ("a reason that there is not", "cancel_reason = 'whim'"),
        ("cancelled, and sold", "state = 'confirmed'"),
    ] {
        let refused = database.attempt(&format!("UPDATE orders SET {set} WHERE state = 'cancelled'")).await;
        assert!(matches!(refused, Err(sqlx::Error::Database(_))), "{what}: {refused:?}");
    }
    database.execute("UPDATE orders SET cancelled_at_ms = 7 WHERE state = 'cancelled'").await;
}
