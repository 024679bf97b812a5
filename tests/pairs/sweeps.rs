//! Two gateways come upon the same payments and refunds, at the same time.

use doorbuster_protocol::command::LatePaymentPolicy::{AlwaysRefund, RetakeOrRefund};
use doorbuster_protocol::types::Millis;
use doorbuster_tests::http::{WITHIN, ask, until};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

use crate::shop::{LONG, Plan, Shop};
use crate::shopper::Shopper;

/// Of each kind.
const EACH: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_sweep_the_same_payments() {
    let Some(mut shop) = Shop::open(Plan { gateways: 0, ..Plan::default() }).await else { return };
    shop.product(1, 100, LONG, RetakeOrRefund).await;
    shop.product(2, 100, Millis(600), AlwaysRefund).await;
    let mut dying = shop.front(None, 0).await;
    let mut bought = Vec::new();
    for (kind, product, life, faults) in [
        // The money is taken, and nobody is told.
        ("taken", 1, LONG, json!({ "slow_answer_rate": 1.0, "slow_answer_ms": 60_000 })),
        // It is taken when the reservation is gone.
        ("late", 2, Millis(600), json!({ "late_rate": 1.0, "late_ms": 1500 })),
        // The request is still under way when its sender dies.
        ("lost", 1, LONG, json!({ "lost_before_rate": 1.0, "min_latency_ms": 3000, "max_latency_ms": 3000 })),
    ] {
        shop.provider.faults(&faults).await;
        for number in 0..EACH {
            let shopper = Shopper::at(dying.address(), &format!("{kind}{number}"));
            let path = shopper.buy(product, life).await;
            bought.push((shopper, path));
        }
        if kind != "lost" {
            until("the provider has them", WITHIN, async || shop.provider.all("charges").await.len() == bought.len())
                .await;
        }
    }
    dying.kill().expect("it is ours");
    // Both have come upon all of them when the provider is there again; and it takes so long that both ask before either is told.
    shop.provider.faults(&json!({ "is_down": true })).await;
    let (one, other) = tokio::join!(shop.front(None, 100), shop.front(None, 100));
    shop.fronts = vec![one, other];
    for gateway in 0..2 {
        until("it has seen them all", WITHIN, async || {
            counted(shop.gateway(gateway), "doorbuster_gateway_payments_open ").await == bought.len()
        })
        .await;
    }
    shop.provider.faults(&json!({ "min_latency_ms": 1000, "max_latency_ms": 1100 })).await;
    for (number, (shopper, _)) in bought.iter_mut().enumerate() {
        *shopper = shopper.goes_to(shop.gateway(number % 2));
    }
    let ends = shop.agree(&bought).await;
    assert_eq!(ends, [("confirmed", EACH), ("held", EACH), ("refunded", EACH)].into());

    let (refunds, cancellations) = (most_asked(&shop, "refund").await, most_asked(&shop, "cancel").await);
    assert!(
        refunds > 1 && cancellations > 1,
        "both asked for the same refund {refunds} times, to close {cancellations}"
    );
}

/// How often the provider was asked for this under the same key.
async fn most_asked(shop: &Shop, operation: &str) -> i64 {
    let mut ledger = SqliteConnection::connect(&shop.provider.file()).await.expect("it is there");
    let most = "SELECT max(times) FROM arrivals WHERE operation = ?1";
    sqlx::query_scalar(most).bind(operation).fetch_one(&mut ledger).await.expect("somebody asked")
}

async fn counted(gateway: &str, name: &str) -> usize {
    let text = ask(gateway, "GET", "/metrics", "", "").await.expect("it answers").is(200);
    let value = text.as_str().and_then(|text| text.lines().find_map(|line| line.strip_prefix(name)));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}
