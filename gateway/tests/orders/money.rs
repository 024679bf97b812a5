//! Payments and refunds, whatever the database.

use doorbuster_gateway::orders::{OrderMetrics, OrderStore, Payment, Refund, Retried};
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{Currency, FeedPosition, Money, Quantity, ReservationId, Timestamp};

use crate::bodies::{SHARD, entries, start};
use crate::database::{Database, eventually};
use crate::feed::{Feeds, entry};

fn of(position: u64, reservation: u128, kind: FeedKind) -> FeedEntry {
    let late = kind != FeedKind::Confirmed;
    FeedEntry { kind, reservation: ReservationId(reservation), quantity: Quantity(3), late, ..entry(0, position) }
}

fn paid(entry: &FeedEntry, refund: Option<Refund>) -> Payment {
    let amount = Money { minor: 3 * 4999, currency: Currency(*b"EUR") };
    Payment { reservation: entry.reservation, amount, late: entry.late, recorded_at: entry.at, refund }
}

async fn payments(store: &OrderStore) -> Vec<Payment> {
    store.payments(ReservationId(0), 1000).await.unwrap()
}

pub async fn every_order_has_its_payment_and_a_refund_if_one_is_due(database: Database) {
    let (feeds, store) = (Feeds::new(1), database.store());
    let batch = [
        of(1, 100, FeedKind::Confirmed),
        of(2, 200, FeedKind::RefundDue),
        of(3, 300, FeedKind::RefundDue),
        of(4, 300, FeedKind::Refunded),
    ];
    batch.iter().for_each(|entry| feeds.push(0, *entry));
    let writer = start(&feeds, store.clone(), OrderMetrics::none());
    eventually("all is acknowledged", async || feeds.is_done()).await;
    let due = |entry: &FeedEntry, end: Option<Timestamp>| Some(Refund { due_at: entry.at, refunded_at: end });
    let refunded = paid(&batch[2], due(&batch[2], Some(batch[3].at)));
    let expected = [paid(&batch[0], None), paid(&batch[1], due(&batch[1], None)), refunded];
    assert_eq!(payments(&store).await, expected);
    assert_eq!(store.payments(ReservationId(100), 1).await.unwrap(), expected[1..2], "page by page");

    let end = of(5, 200, FeedKind::Refunded);
    feeds.push(0, end);
    eventually("the refund is acknowledged", async || feeds.is_done()).await;
    let expected = [expected[0], paid(&batch[1], due(&batch[1], Some(end.at))), refunded];
    assert_eq!(payments(&store).await, expected);
    writer.stop().await;
}

/// The migration that makes them meets a database that has orders already.
pub async fn orders_of_before_get_their_payments(database: Database) {
    let store = database.store();
    let batch = [of(1, 100, FeedKind::Confirmed), of(2, 200, FeedKind::RefundDue), of(3, 200, FeedKind::Refunded)];
    store.store(SHARD, &batch).await.unwrap();
    let before = payments(&store).await;
    store.close().await;
    for statement in [
        "DROP TABLE refunds",
        "DROP TABLE payments",
        "DROP INDEX orders_amount",
        "DELETE FROM _sqlx_migrations WHERE version = 4",
    ] {
        database.execute(statement).await;
    }
    assert_eq!(payments(&database.store()).await, before);
}

pub async fn the_schema_refuses_what_must_never_be(database: Database) {
    let store = database.store();
    store.store(SHARD, &[of(1, 0xa, FeedKind::Confirmed), of(2, 0xb, FeedKind::RefundDue)]).await.unwrap();
    let (sold, due, none) = (format!("{:032x}", 0xa), format!("{:032x}", 0xb), format!("{:032x}", 0xc));
    let order = "INSERT INTO orders (reservation, shard, position, product, user_id, quantity, price_minor, currency, \
                 state, late, created_at_ms, changed_at_ms) \
                 SELECT reservation, shard, 77, product, user_id, quantity, price_minor, currency, state, late, \
                 created_at_ms, changed_at_ms FROM orders WHERE position = 1";
    let payment = |reservation: &str, minor: u64, currency: &str| {
        format!(
            "INSERT INTO payments SELECT '{reservation}', {minor}, '{currency}', late, 1 FROM orders WHERE position = 1"
        )
    };
    let refund = |reservation: &str, minor: u64, currency: &str, end: &str| {
        format!("INSERT INTO refunds VALUES ('{reservation}', {minor}, '{currency}', 10, {end})")
    };
    for (what, statement) in [
        ("a second order", order.to_owned()),
        ("a second payment", payment(&sold, 3 * 4999, "EUR")),
        ("a payment without an order", payment(&none, 3 * 4999, "EUR")),
        ("a payment of another amount", format!("UPDATE payments SET amount_minor = 1 WHERE reservation = '{sold}'")),
        ("a payment in another currency", format!("UPDATE payments SET currency = 'USD' WHERE reservation = '{sold}'")),
        ("an order of another amount", "UPDATE orders SET quantity = 4 WHERE position = 1".to_owned()),
        ("a second refund", refund(&due, 3 * 4999, "EUR", "NULL")),
        ("a refund without a payment", refund(&none, 3 * 4999, "EUR", "NULL")),
        ("a refund of less", refund(&sold, 4999, "EUR", "NULL")),
        ("a refund of more", refund(&sold, 4 * 4999, "EUR", "NULL")),
        ("a refund in another currency", refund(&sold, 3 * 4999, "USD", "NULL")),
        ("a refund that was paid before it was due", refund(&sold, 3 * 4999, "EUR", "9")),
        ("an order that takes its payment with it", "DELETE FROM orders WHERE position = 1".to_owned()),
        ("a payment that takes its refund with it", format!("DELETE FROM payments WHERE reservation = '{due}'")),
    ] {
        let refused = database.attempt(&statement).await;
        assert!(matches!(refused, Err(sqlx::Error::Database(_))), "{what}: {refused:?}");
    }
    // The statements are refused for what they say, not for how they say it.
    database.execute(&refund(&sold, 3 * 4999, "EUR", "10")).await;
    assert_eq!(payments(&store).await.len(), 2);
}

pub async fn an_order_whose_payment_is_refused_is_parked_whole(database: Database) {
    let (feeds, store) = (Feeds::new(1), database.store());
    assert_eq!(store.count().await.unwrap(), 0);
    database.poison("payments", "recorded_at_ms % 1000 = 7").await;
    feeds.confirm(20);
    let writer = start(&feeds, store.clone(), OrderMetrics::none());
    eventually("all is acknowledged", async || feeds.is_done()).await;
    let counts = (store.count().await.unwrap(), payments(&store).await.len(), store.parked_count().await.unwrap());
    assert_eq!(counts, (19, 19, 1));
    database.cure("payments").await;
    assert_eq!(store.retry(SHARD, &[FeedPosition(7)]).await.unwrap(), Retried { stored: 1, parked: 0 });
    let found: Vec<_> = payments(&store).await.iter().map(|payment| payment.reservation).collect();
    assert_eq!(found, entries(0, 1..=20).iter().map(|entry| entry.reservation).collect::<Vec<_>>());
    writer.stop().await;
}
