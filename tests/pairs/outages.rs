//! A minute without the provider, and a minute without PostgreSQL: both true minutes, at the same time and in shops of their
//! own, so that the tests take one. The sale goes on in both.

use std::time::Duration;

use doorbuster_protocol::command::LatePaymentPolicy::{AlwaysRefund, RetakeOrRefund};
use doorbuster_protocol::types::Millis;
use doorbuster_tests::chaos::postgres::Ending;
use doorbuster_tests::http::{WITHIN, ask, until};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use crate::shop::{LONG, Plan, Shop, Tells};
use crate::shopper::Shopper;

const MINUTE: Duration = Duration::from_secs(60);
/// Of the ways in which the provider is down, each lasts so long.
const PART: Duration = Duration::from_secs(20);
/// Buyers of each part.
const EACH: usize = 6;
/// A payment of this product is waited for longer than the outage lasts; of the other, not.
const PATIENT: (u64, Millis) = (1, Millis(180_000));
const HASTY: (u64, Millis) = (2, Millis(5000));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_without_the_provider_and_a_minute_without_postgresql() {
    tokio::join!(Box::pin(without_the_provider()), Box::pin(without_postgresql()));
}

/// It answers 503; then it is gone, and comes back with what it knew, but hangs; what it was sent meanwhile arrives in the end.
async fn without_the_provider() {
    let plan = Plan { gateways: 2, tells: Tells::Gateway, sweep_after_ms: 2000, ..Plan::default() };
    let Some(mut shop) = Shop::open(plan).await else { return };
    shop.product(PATIENT.0, 1000, PATIENT.1, RetakeOrRefund).await;
    shop.product(HASTY.0, 1000, HASTY.1, AlwaysRefund).await;
    // The money of these is taken as it goes down, and nobody has been told.
    shop.provider
        .faults(&json!({ "slow_answer_rate": 1.0, "slow_answer_ms": 60_000, "webhook_delay_ms": 60_000 }))
        .await;
    let mut bought = buyers(&shop, "before").await;
    until("their money is taken", WITHIN, async || shop.provider.all("charges").await.len() == bought.len()).await;

    let start = Instant::now();
    shop.provider.faults(&json!({ "is_down": true })).await;
    bought.extend(buyers(&shop, "refused").await);
    tokio::time::sleep_until(start + PART).await;
    shop.provider.kill();
    bought.extend(buyers(&shop, "gone").await);
    tokio::time::sleep_until(start + 2 * PART).await;
    // It takes so long for everything that it has decided nothing when it is stopped.
    shop.provider.latency_ms = [5000, 5000];
    shop.provider.start().await;
    shop.provider.freeze();
    bought.extend(buyers(&shop, "hanging").await);
    tokio::time::sleep_until(start + MINUTE).await;
    for (number, (shopper, path)) in bought.iter().enumerate() {
        let state = shopper.get(path).await.is(200)["state"].clone();
        let expected = if number % 2 == 0 { "paying" } else { "expired" };
        assert_eq!(state, expected, "{path}: nobody knows more, and nobody is told more");
    }
    shop.provider.unfreeze();
    shop.provider.faults(&json!({})).await;
    for (shopper, path) in bought.iter().step_by(2) {
        is_sold(shopper, path).await;
    }
    let ends = shop.agree(&bought).await;
    let (sold, all) = (bought.len() / 2, bought.len());
    assert_eq!(ends.get("confirmed"), Some(&sold), "{ends:?}");
    // Their money was taken, and their reservations were gone before anybody knew.
    assert!(ends.get("refunded") >= Some(&(EACH / 2)), "{ends:?}");
    assert_eq!(ends.values().sum::<usize>(), all, "{ends:?}");
    assert_eq!(shop.units(PATIENT.0).await, [1000 - u32::try_from(sold).unwrap(), 0, u32::try_from(sold).unwrap()]);
    assert_eq!(shop.units(HASTY.0).await, [1000, 0, 0]);
}

/// The gateway that has the card charges it; unless another, which has not, was quicker and has closed the attempt. Then the
/// unit is still held, and can be paid for.
async fn is_sold(shopper: &Shopper, path: &str) {
    let shown = shopper.sees(path, &["confirmed", "held"]).await;
    if shown["state"] == "held" {
        shopper.pay(path).await;
        shopper.sees(path, &["confirmed"]).await;
    }
}

/// Buyers who are told, at once, that their cards are being charged.
async fn buyers(shop: &Shop, part: &str) -> Vec<(Shopper, String)> {
    let mut bought = Vec::new();
    for buyer in 0..EACH {
        let (product, life) = if buyer % 2 == 0 { (PATIENT.0, LONG) } else { (HASTY.0, HASTY.1) };
        let shopper = Shopper::at(shop.gateway(buyer / 2 % 2), &format!("{part}{buyer}"));
        let start = Instant::now();
        let path = shopper.buy(product, life).await;
        assert!(start.elapsed() < Duration::from_secs(3), "who pays waits for the provider: {:?}", start.elapsed());
        bought.push((shopper, path));
    }
    bought
}

/// It is killed, and comes back after a minute.
async fn without_postgresql() {
    let plan = Plan { gateways: 2, postgres: true, tells: Tells::Gateway, sweep_after_ms: 0, ..Plan::default() };
    let Some(mut shop) = Shop::open(plan).await else { return };
    shop.product(PATIENT.0, 100_000, PATIENT.1, RetakeOrRefund).await;
    let mut bought = vec![sold(&shop, 0).await];
    until("the provider is told that this was heard", WITHIN, async || unheard(&shop).await == 0).await;
    shop.database_mut().down(Ending::Killed).await.expect("it is ours");
    let start = Instant::now();
    while start.elapsed() < MINUTE {
        bought.push(sold(&shop, bought.len()).await);
        let (shopper, path) = bought.last().expect("one was just bought");
        let asked = Instant::now();
        let order = shopper.get(&path.replace("reservations", "orders")).await;
        assert_eq!((order.status, &order.body["code"]), (503, &"orders_unavailable".into()), "{}", order.body);
        assert!(asked.elapsed() < Duration::from_secs(3), "a place of the sale's for {:?}", asked.elapsed());
        let ready = ask(shop.gateway(bought.len() % 2), "GET", "/readyz", "", "").await.expect("it answers");
        ready.is(200);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(unheard(&shop).await, bought.len() - 1, "what is not written down is not acknowledged");
    shop.database_mut().up().await.expect("it starts again");

    let sold = bought.len();
    until("the provider is told that all was heard", 2 * MINUTE, async || unheard(&shop).await == 0).await;
    let mut session = PgConnection::connect(&shop.database()).await.expect("it is up");
    let processed = "SELECT count(*) FROM webhook_events WHERE processed_at_ms IS NOT NULL";
    let heard: i64 = sqlx::query_scalar(processed).fetch_one(&mut session).await.expect("it has the table");
    assert_eq!(usize::try_from(heard), Ok(sold));
    assert_eq!(shop.agree(&bought).await, [("confirmed", sold)].into());
}

/// Webhooks that nobody has acknowledged.
async fn unheard(shop: &Shop) -> usize {
    shop.provider.all("events").await.iter().filter(|event| event["remaining"] != 0).count()
}

/// Somebody buys, and it is sold.
async fn sold(shop: &Shop, number: usize) -> (Shopper, String) {
    let shopper = Shopper::at(shop.gateway(number % 2), &format!("buyer{number}"));
    let path = shopper.buy(PATIENT.0, LONG).await;
    shopper.sees(&path, &["confirmed"]).await;
    (shopper, path)
}
