//! The reservation expires, and a second later the provider has the money.

use std::time::Duration;

use doorbuster_gateway::orders::OrderStore;
use doorbuster_protocol::command::LatePaymentPolicy::{AlwaysRefund, RetakeOrRefund};
use doorbuster_protocol::types::Millis;

use crate::shop::{LONG, Plan, Shop, Tells, id};
use crate::shopper::Shopper;

/// How long a reservation may be paid for; the provider decides a second later.
const LIFE: Millis = Millis(1000);
const LATE: Plan = Plan {
    gateways: 1,
    postgres: false,
    tells: Tells::Gateway,
    provider: &["--late-rate", "1", "--late-ms", "2000"],
    sweep_after_ms: 300,
};

/// Pays, and sees the reservation expire while the provider knows no more than that it is in progress.
async fn expired(shop: &Shop, shopper: &Shopper, product: u64) -> String {
    let path = shopper.buy(product, LIFE).await;
    let shown = shopper.sees(&path, &["expired"]).await;
    assert_eq!(shop.provider.charges(&path).await, ["in_progress"], "{shown}");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_after_expiry_with_units_left_they_are_taken_again_once() {
    let Some(shop) = Shop::open(LATE).await else { return };
    shop.product(1, 3, LIFE, RetakeOrRefund).await;
    let alice = shop.shopper("alice");
    let path = expired(&shop, &alice, 1).await;
    assert_eq!(shop.units(1).await, [3, 0, 0]);
    let sold = alice.sees(&path, &["confirmed"]).await;
    assert_eq!(sold["payment"]["state"], "succeeded", "{sold}");
    assert_eq!(shop.agree(&[(alice, path.clone())]).await, [("confirmed", 1)].into());
    assert_eq!(shop.units(1).await, [2, 0, 1], "once");
    is_late(&shop, &path).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_after_expiry_without_units_left_the_money_goes_back_once() {
    let Some(shop) = Shop::open(LATE).await else { return };
    shop.product(1, 1, LIFE, RetakeOrRefund).await;
    shop.product(2, 3, LIFE, AlwaysRefund).await;
    let (alice, bob, carol) = (shop.shopper("alice"), shop.shopper("bob"), shop.shopper("carol"));
    let (first, other) = tokio::join!(expired(&shop, &alice, 1), expired(&shop, &carol, 2));
    bob.reserve(1, LONG).await;
    assert_eq!((shop.units(1).await, shop.units(2).await), ([0, 1, 0], [3, 0, 0]));
    for (shopper, path) in [(&alice, &first), (&carol, &other)] {
        let shown = shopper.sees(path, &["refunded"]).await;
        assert_eq!(
            (&shown["payment"]["state"], &shown["payment"]["reason"]),
            (&"refunded".into(), &"paid_too_late".into())
        );
    }
    assert_eq!(shop.agree(&[(alice, first.clone()), (carol, other.clone())]).await, [("refunded", 2)].into());
    is_late(&shop, &first).await;
    is_late(&shop, &other).await;
    assert_eq!(
        (shop.units(1).await, shop.units(2).await),
        ([0, 1, 0], [3, 0, 0]),
        "the policy is to refund, or bob has it"
    );
}

/// Both order and payment say so, and a second has passed.
async fn is_late(shop: &Shop, path: &str) {
    let store = OrderStore::open(&shop.database()).expect("it has a database");
    let order = store.order(id(path).1).await.expect("it is up").expect("it is there");
    let view = shop.view(path).await;
    assert!(order.late && view.late, "{order:?}");
    let after = order.created_at.since(view.expires_at);
    assert!(after >= Millis(900), "the money came {after} ms after the reservation had expired");
    tokio::time::timeout(Duration::from_secs(5), store.close()).await.expect("it closes");
}
