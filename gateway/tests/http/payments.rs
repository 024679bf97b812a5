//! Paying: the saga's ends as a buyer sees them, and that a gateway's death in between loses nothing.

use std::time::Duration;

use serde_json::json;

use crate::agent::Agent;
use crate::cluster::{Cluster, until};

async fn reserved(cluster: &Cluster, name: &str) -> (Agent, String, String) {
    let agent = cluster.user(name);
    let id = agent.reserve("k", 1, 2).await.ok(201).id();
    let path = format!("/v1/reservations/{id}");
    (agent, id, path)
}

#[tokio::test]
async fn a_payment_is_accepted_and_its_end_can_be_looked_up() {
    let cluster = Cluster::start_with(slow).await;
    cluster.product(1, 10, json!({})).await;
    let (alice, id, path) = reserved(&cluster, "alice").await;
    let accepted = alice.post(&format!("{path}/payment"), &json!({ "card_token": "tok_visa" })).await;
    assert_eq!(accepted.ok(202).headers["location"], path);
    assert_eq!((&accepted.body["status_url"], &accepted.body["state"]), (&json!(path), &json!("paying")));
    assert_eq!(accepted.body["payment"], json!({ "state": "in_progress", "attempts": 1 }));
    let paid = until(|| async {
        let shown = alice.get(&path).await;
        (shown.body["state"] == "confirmed").then_some(shown)
    })
    .await;
    assert_eq!(paid.body["payment"], json!({ "state": "succeeded", "attempts": 1 }));
    let again = alice.pay(&id, "tok_visa").await;
    assert!(again.ok(200).replayed());
    alice.delete(&path).await.is(409, "already_confirmed");
    let late = alice.key("e").post(&format!("{path}/extend"), &json!({ "by_ms": 1000 })).await;
    late.is(409, "already_confirmed");
    assert_eq!(cluster.units(1).await, (8, 0, 2));
    cluster.end().await;
}

#[tokio::test]
async fn a_declined_card_is_402_and_the_units_stay_held() {
    let cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let (alice, id, path) = reserved(&cluster, "alice").await;
    let declined = alice.pay(&id, "tok_declined").await;
    let problem = &declined.is(402, "payment_declined").body;
    assert_eq!((&problem["reason"], &problem["state"]), (&json!("card_declined"), &json!("held")));
    let shown = alice.get(&path).await;
    assert_eq!(shown.body["payment"], json!({ "state": "payment_failed", "attempts": 1 }));
    assert_eq!((&shown.body["state"], &shown.body["expires_at"]), (&json!("held"), &problem["expires_at"]));
    assert_eq!(cluster.units(1).await, (8, 2, 0));

    // A retry of the attempt that ended tells how, and charges nothing.
    let first = json!({ "card_token": "tok_visa", "attempt": 1 });
    alice.post(&format!("{path}/payment?wait=5"), &first).await.is(402, "payment_declined");
    let third = json!({ "card_token": "tok_visa", "attempt": 3 });
    let beyond = alice.post(&format!("{path}/payment?wait=5"), &third).await;
    assert_eq!(beyond.is(409, "payment_not_in_progress").body["attempts"], 1);

    let prefer = alice.with("prefer", "wait=10");
    let reason = prefer.post(&format!("{path}/payment"), &json!({ "card_token": "tok_insufficient_funds" })).await;
    assert_eq!(reason.is(402, "payment_declined").body["reason"], "insufficient_funds");
    let paid = alice.pay(&id, "tok_visa").await;
    assert_eq!(paid.ok(200).body["payment"], json!({ "state": "succeeded", "attempts": 3 }));
    assert_eq!(cluster.units(1).await, (8, 0, 2));
    cluster.end().await;
}

#[tokio::test]
async fn twenty_clicks_on_pay_are_one_payment() {
    let mut cluster = Cluster::start_with(slow).await;
    let second = cluster.gateway(slow).await;
    cluster.product(1, 10, json!({})).await;
    let (alice, id, path) = reserved(&cluster, "alice").await;
    let clicks: Vec<_> = (0..20)
        .map(|click| {
            let agent = if click % 2 == 0 { alice.clone() } else { Agent::user(second, "alice") };
            let id = id.clone();
            tokio::spawn(async move { agent.pay(&id, "tok_visa").await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    alice.delete(&path).await.is(409, "payment_in_progress");
    for click in clicks {
        let answer = click.await.unwrap();
        assert_eq!(answer.ok(200).body["payment"], json!({ "state": "succeeded", "attempts": 1 }));
    }
    assert_eq!(cluster.units(1).await, (8, 0, 2));
    cluster.end().await;
}

fn slow(config: &mut doorbuster_gateway::GatewayConfig) {
    config.payment.simulator.min_latency_ms = 500;
    config.payment.simulator.max_latency_ms = 500;
}

#[tokio::test]
async fn another_gateway_takes_up_what_one_left() {
    let mut cluster = Cluster::start_with(|config| {
        config.payment.simulator.min_latency_ms = 60_000;
        config.payment.simulator.max_latency_ms = 60_000;
        config.drain_ms = 0;
    })
    .await;
    let second = cluster.gateway(|_| {}).await;
    cluster.product(1, 10, json!({})).await;
    let (alice, id, path) = reserved(&cluster, "alice").await;
    alice.post(&format!("{path}/payment"), &json!({ "card_token": "tok_visa" })).await.ok(202);
    cluster.end_gateway().await;
    let alice = Agent::user(second, "alice");
    assert_eq!(alice.get(&path).await.body["state"], "paying");
    let paid = alice.pay(&id, "tok_visa").await;
    assert_eq!(paid.ok(200).body["payment"], json!({ "state": "succeeded", "attempts": 1 }));
    cluster.end().await;
}

#[tokio::test]
async fn money_that_comes_after_the_cap_takes_units_again_or_is_owed_back() {
    let cluster = Cluster::start_with(|config| {
        config.payment.simulator.min_latency_ms = 1200;
        config.payment.simulator.max_latency_ms = 1200;
    })
    .await;
    cluster.product(1, 2, json!({ "ttl_ms": 300, "max_life_ms": 300, "payment_cap_ms": 300 })).await;
    let (alice, id, path) = reserved(&cluster, "alice").await;
    let paying = tokio::spawn({
        let (alice, id) = (alice.clone(), id.clone());
        async move { alice.pay(&id, "tok_visa").await }
    });
    until(|| async { (alice.get(&path).await.body["state"] == "expired").then_some(()) }).await;
    assert_eq!(paying.await.unwrap().ok(200).body["state"], "confirmed", "units were left");
    assert_eq!(cluster.units(1).await, (0, 0, 2));

    cluster.operator().key("s").post("/v1/admin/products/1/stock", &json!({ "delta": 2 })).await.ok(200);
    let (bob, id, path) = reserved(&cluster, "bob").await;
    let paying = tokio::spawn({
        let (bob, id) = (bob.clone(), id.clone());
        async move { bob.pay(&id, "tok_visa").await }
    });
    until(|| async { (bob.get(&path).await.body["state"] == "expired").then_some(()) }).await;
    cluster.operator().key("t").post("/v1/admin/products/1/stock", &json!({ "delta": -2 })).await.ok(200);
    paying.await.unwrap().is(409, "refunding");
    let refunded = until(|| async {
        let shown = bob.get(&path).await;
        (shown.body["state"] == "refunded").then_some(shown)
    })
    .await;
    let payment = json!({ "state": "refunded", "attempts": 1, "reason": "paid_too_late" });
    assert_eq!(refunded.body["payment"], payment);
    assert_eq!(cluster.units(1).await, (0, 0, 2));
    cluster.end().await;
}

#[tokio::test]
async fn payments_are_bounded_and_checked() {
    let cluster = Cluster::start_with(|config| {
        slow(config);
        config.payment.max_in_flight = 1;
    })
    .await;
    cluster.product(1, 10, json!({})).await;
    let (alice, _, path) = reserved(&cluster, "alice").await;
    let (bob, _, other) = reserved(&cluster, "bob").await;
    let payment = format!("{path}/payment");
    for (body, status, code) in [
        (json!({}), 422, "missing_field"),
        (json!({ "card_token": "" }), 422, "invalid_field"),
        (json!({ "card_token": "two words" }), 422, "invalid_field"),
        (json!({ "card_token": "x".repeat(256) }), 422, "invalid_field"),
        (json!({ "card_token": 7 }), 422, "invalid_field"),
        (json!({ "card_token": "tok_visa", "attempt": 0 }), 422, "invalid_field"),
        (json!({ "card_token": "tok_visa", "attempt": 65_536 }), 422, "invalid_field"),
        (json!({ "card_token": "tok_visa", "amount": 1 }), 422, "unknown_field"),
    ] {
        alice.post(&payment, &body).await.is(status, code);
    }
    alice.post(&format!("{payment}?wait=soon"), &json!({ "card_token": "tok_visa" })).await.is(400, "invalid_query");
    assert_eq!(alice.get(&path).await.body["state"], "held");
    alice.post(&payment, &json!({ "card_token": "tok_visa" })).await.ok(202);
    let full = bob.post(&format!("{other}/payment"), &json!({ "card_token": "tok_visa" })).await;
    assert_eq!(full.is(503, "overloaded").body["limit"], 1);
    assert_eq!(bob.get(&other).await.body["state"], "held", "refused before any effect");
    cluster.end().await;
}
