//! Reserving: what a buyer is told, and for each refusal of the sale that nothing moved.

use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, until};

#[tokio::test]
async fn a_reservation_is_made_shown_extended_and_released() {
    let cluster = Cluster::start().await;
    cluster.product(1, 10, json!({ "ttl_ms": 60_000, "max_life_ms": 100_000 })).await;
    let alice = cluster.user("alice");
    let made = alice.reserve("k1", 1, 2).await;
    let path = format!("/v1/reservations/{}", made.ok(201).id());
    assert_eq!(made.headers["location"], path);
    assert_eq!(made.body["state"], "held");
    assert!(made.body["expires_at"].as_str().unwrap().ends_with('Z'));
    let left = made.body["expires_in"].as_f64().unwrap();
    assert!((55.0..=60.0).contains(&left), "{left}");
    assert_eq!(cluster.units(1).await, (8, 2, 0));

    let shown = alice.get(&path).await;
    assert_eq!(shown.ok(200).body["expires_at"], made.body["expires_at"]);

    let extend = |key: &str, by: u64| {
        let (alice, path) = (alice.key(key), format!("{path}/extend"));
        async move { alice.post(&path, &json!({ "by_ms": by })).await }
    };
    let extended = extend("e1", 20_000).await;
    assert!(extended.ok(200).body["expires_in"].as_f64().unwrap() > 70.0, "{extended:?}");
    let again = extend("e1", 20_000).await;
    assert!(again.ok(200).replayed());
    assert_eq!(again.body["expires_at"], extended.body["expires_at"], "once");
    extend("e1", 21_000).await.is(422, "conflicting_retry");
    let beyond = extend("e2", 90_000).await;
    assert!(beyond.is(409, "life_limit_reached").body["latest"].is_string());

    let released = alice.delete(&path).await;
    assert_eq!(released.ok(200).body["state"], "released");
    assert!(released.body.get("expires_in").is_none());
    assert!(alice.delete(&path).await.ok(200).replayed());
    assert_eq!(cluster.units(1).await, (10, 0, 0));
    extend("e3", 1000).await.is(409, "reservation_released");
    alice.pay(&made.id(), "tok_visa").await.is(409, "reservation_released");
    cluster.end().await;
}

#[tokio::test]
async fn each_refusal_says_why_and_moves_nothing() {
    let cluster = Cluster::start().await;
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    cluster.product(1, 3, json!({ "limit_per_user": 2, "limit_per_reservation": 2 })).await;
    alice.reserve("unknown", 999, 1).await.is(404, "unknown_product");
    let large = alice.reserve("large", 1, 3).await;
    assert_eq!(large.is(422, "quantity_too_large").body["limit"], 2);
    alice.reserve("a", 1, 2).await.ok(201);
    let limited = alice.reserve("b", 1, 1).await;
    assert_eq!(limited.is(409, "limit_reached").body["limit"], 2);
    assert_eq!(limited.body["used"], 2);
    let short = bob.reserve("a", 1, 2).await;
    assert_eq!(short.is(409, "insufficient_stock").body["available"], 1);
    assert_eq!(cluster.units(1).await, (1, 2, 0));

    let last = bob.reserve("b", 1, 1).await;
    let held = cluster.user("carol").reserve("a", 1, 1).await;
    assert!(held.is(409, "all_held").body["next_expiry"].is_string());
    bob.pay(&last.ok(201).id(), "tok_visa").await.ok(200);
    let first = alice.reserve("a", 1, 2).await;
    alice.pay(&first.ok(201).id(), "tok_visa").await.ok(200);
    cluster.user("carol").reserve("a", 1, 1).await.is(409, "sold_out");
    assert_eq!(cluster.units(1).await, (0, 0, 3));
    cluster.end().await;
}

#[tokio::test]
async fn the_sale_has_its_times_and_its_switches() {
    let cluster = Cluster::start().await;
    let alice = cluster.user("alice");
    cluster.product(1, 5, json!({ "opens_at": "2999-01-01T00:00:00Z" })).await;
    let early = alice.reserve("a", 1, 1).await;
    assert_eq!(early.is(409, "not_open").body["opens_at"], "2999-01-01T00:00:00.000Z");
    cluster.product(2, 5, json!({ "closes_at": "2001-01-01T00:00:00Z" })).await;
    alice.reserve("b", 2, 1).await.is(409, "closed");
    cluster.product(3, 5, json!({})).await;
    let switch = |action: &'static str, key: &'static str| {
        let operator = cluster.operator().key(key);
        async move { operator.send("POST", &format!("/v1/admin/products/3/{action}"), "").await }
    };
    assert_eq!(switch("pause", "s1").await.ok(200).body["sale"], "paused");
    alice.reserve("c", 3, 1).await.is(409, "paused");
    assert_eq!(switch("resume", "s2").await.ok(200).body["sale"], "active");
    alice.reserve("c", 3, 1).await.ok(201);
    assert!(switch("resume", "s2").await.ok(200).replayed());
    switch("pause", "s2").await.is(422, "conflicting_retry");
    assert_eq!(switch("close", "s3").await.ok(200).body["sale"], "closed");
    alice.reserve("d", 3, 1).await.is(409, "closed");
    for (product, units) in [(1, (5, 0, 0)), (2, (5, 0, 0)), (3, (4, 1, 0))] {
        assert_eq!(cluster.units(product).await, units);
    }
    cluster.end().await;
}

#[tokio::test]
async fn what_expires_is_back_in_stock_and_cannot_be_paid() {
    let cluster = Cluster::start().await;
    cluster.product(1, 1, json!({ "ttl_ms": 300 })).await;
    let alice = cluster.user("alice");
    let id = alice.reserve("a", 1, 1).await.ok(201).id();
    let path = format!("/v1/reservations/{id}");
    until(|| async { (alice.get(&path).await.body["state"] == "expired").then_some(()) }).await;
    alice.pay(&id, "tok_visa").await.is(409, "reservation_expired");
    alice.delete(&path).await.is(409, "reservation_expired");
    assert_eq!(cluster.units(1).await, (1, 0, 0));
    let replay = alice.reserve("a", 1, 1).await;
    assert!(replay.ok(201).replayed());
    assert_eq!((&replay.body["state"], &replay.body["now"]["state"]), (&json!("held"), &json!("expired")));
    tokio::time::sleep(Duration::from_millis(1)).await;
    alice.reserve("b", 1, 1).await.ok(201);
    cluster.end().await;
}

#[tokio::test]
async fn a_shorter_hold_may_be_asked_for() {
    let cluster = Cluster::start().await;
    cluster.product(1, 5, json!({ "ttl_ms": 60_000 })).await;
    let alice = cluster.user("alice").key("short");
    let body = json!({ "product": 1, "quantity": 1, "ttl_ms": 5000 });
    let made = alice.post("/v1/reservations", &body).await;
    assert!(made.ok(201).body["expires_in"].as_f64().unwrap() <= 5.0, "{made:?}");
    alice.post("/v1/reservations", &json!({ "product": 1, "quantity": 1 })).await.is(422, "conflicting_retry");
    cluster.end().await;
}

#[tokio::test]
async fn nobody_sees_or_touches_anothers() {
    let cluster = Cluster::start().await;
    cluster.product(1, 5, json!({})).await;
    let id = cluster.user("alice").reserve("a", 1, 1).await.ok(201).id();
    let path = format!("/v1/reservations/{id}");
    for mallory in [cluster.user("mallory"), cluster.operator()] {
        mallory.get(&path).await.is(404, "unknown_reservation");
        mallory.delete(&path).await.is(404, "unknown_reservation");
        let extend = mallory.key("e").post(&format!("{path}/extend"), &json!({ "by_ms": 1000 })).await;
        extend.is(404, "unknown_reservation");
        mallory.pay(&id, "tok_visa").await.is(404, "unknown_reservation");
        let own = mallory.reserve("a", 1, 1).await;
        assert_ne!(own.ok(201).id(), id, "the same key of another user is another reservation");
    }
    let alice = cluster.user("alice");
    for nothing in ["x", "1", "1-0", "0-00000000000000000000000000000001", "1-00000000000000000000000000000001"] {
        alice.get(&format!("/v1/reservations/{nothing}")).await.is(404, "unknown_reservation");
    }
    let elsewhere = format!("/v1/reservations/77-{}", id.split_once('-').unwrap().1);
    let status = alice.get(&elsewhere).await;
    status.is(404, "unknown_reservation");
    assert_eq!(cluster.units(1).await, (2, 3, 0));
    cluster.end().await;
}
