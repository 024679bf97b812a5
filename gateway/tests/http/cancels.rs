//! Sales that are undone: by whom, when, what becomes of units, money and order; and that the money goes back once, whatever
//! happens meanwhile. The provider is the product's simulator; its ledger says what was really given back.

use std::time::Duration;

use doorbuster_gateway::{GatewayConfig, Known, Simulator};
use doorbuster_protocol::command::Target;
use doorbuster_protocol::types::{ProductId, ReservationId, UserId};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::cluster::{Cluster, until};
use crate::sweeps::{in_state, ledger_of, simulator};

const NOTHING: Value = Value::Null;

fn generous(config: &mut GatewayConfig) {
    config.payment.sweep_every_ms = 50;
    config.payment.sweep_after_ms = 200;
    config.payment.cancel_within_ms = 3_600_000;
}

/// Two units of product 1, sold. The path of the reservation.
async fn bought(agent: &Agent) -> String {
    let id = agent.reserve("k", 1, 2).await.ok(201).id();
    agent.pay(&id, "tok_visa").await.ok(200);
    format!("/v1/reservations/{id}")
}

fn cancel(path: &str) -> String {
    format!("{path}/cancel")
}

/// As operators do it.
fn cancel_any(path: &str) -> String {
    format!("{}/cancel", path.replace("/v1/", "/v1/admin/"))
}

fn known(provider: &Simulator) -> Vec<Known> {
    provider.ledger().into_iter().map(|(_, known)| known).collect()
}

#[tokio::test]
async fn a_customer_cancels_and_the_money_goes_back_once() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({ "limit_per_user": 2 })).await;
    let provider = simulator();
    let database = format!("sqlite:{}", cluster.folder.path().join("orders.db").display());
    let configure = |config: &mut GatewayConfig| {
        generous(config);
        config.database = database;
    };
    let address = cluster.gateway_before(&provider, configure).await;
    let (alice, mallory) = (Agent::user(address, "alice"), Agent::user(address, "mallory"));
    let operator = Agent::user(address, "root:admin");
    let path = bought(&alice).await;
    mallory.post(&cancel(&path), &NOTHING).await.is(404, "unknown_reservation");
    mallory.post(&cancel_any(&path), &json!({ "return_stock": true, "reason": "shop" })).await.is(403, "forbidden");
    alice.key("x").post("/v1/reservations", &json!({ "product": 1, "quantity": 1 })).await.is(409, "limit_reached");
    assert_eq!(known(&provider), [Known::Succeeded]);

    let done = alice.post(&cancel(&path), &NOTHING).await;
    let how = json!({ "reason": "customer", "stock_returned": true });
    assert_eq!((&done.ok(200).body["state"], &done.body["cancelled"]), (&json!("refund_due"), &how));
    assert_eq!(done.body["payment"], json!({ "state": "refund_due", "attempts": 1, "reason": "cancelled" }));
    assert!(!done.replayed());
    assert_eq!(cluster.units(1).await, (10, 0, 0));
    assert!(alice.post(&cancel(&path), &NOTHING).await.ok(200).replayed());

    let refunded = in_state(&alice, &path, "refunded").await;
    assert_eq!(refunded["payment"], json!({ "state": "refunded", "attempts": 1, "reason": "cancelled" }));
    assert_eq!(refunded["cancelled"], how);
    let again = json!({ "return_stock": true, "reason": "fraud" });
    assert!(operator.post(&cancel_any(&path), &again).await.ok(200).replayed());
    let other = json!({ "return_stock": false, "reason": "fraud" });
    operator.post(&cancel_any(&path), &other).await.is(409, "reservation_cancelled");
    alice.delete(&path).await.is(409, "refunding");
    alice.post(&format!("{path}/payment"), &json!({ "card_token": "tok_visa" })).await.is(409, "refunding");
    assert_eq!(known(&provider), [Known::Refunded]);
    assert_eq!(cluster.units(1).await, (10, 0, 0));
    alice.reserve("another", 1, 2).await.ok(201);

    let order = until(|| async {
        let order = alice.get(&path.replace("reservations", "orders")).await;
        (order.status == 200 && order.body["status"] == "refunded").then_some(order.body)
    })
    .await;
    assert_eq!(order["cancelled"]["reason"], "customer");
    assert!(order["cancelled"]["at"].is_string(), "{order}");
    cluster.end().await;
}

#[tokio::test]
async fn a_customer_may_not_unless_the_shop_says_so_and_for_how_long() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let path = bought(&cluster.user("alice")).await;
    cluster.user("alice").post(&cancel(&path), &NOTHING).await.is(409, "cancel_not_allowed");
    let brief = cluster.gateway(|config| config.payment.cancel_within_ms = 50).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let late = Agent::user(brief, "alice").post(&cancel(&path), &NOTHING).await;
    assert!(late.is(409, "cancel_too_late").body["until"].is_string());
    assert_eq!(cluster.user("alice").get(&path).await.body["state"], "confirmed");
    assert_eq!(cluster.units(1).await, (8, 0, 2));
    cluster.end().await;
}

#[tokio::test]
async fn operators_say_why_and_what_becomes_of_the_units() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let provider = simulator();
    let address = cluster.gateway_before(&provider, generous).await;
    let (alice, operator) = (Agent::user(address, "alice"), Agent::user(address, "root:admin"));
    let path = bought(&alice).await;
    for (body, status, code) in [
        (json!({}), 422, "missing_field"),
        (json!({ "reason": "shop" }), 422, "missing_field"),
        (json!({ "return_stock": true }), 422, "missing_field"),
        (json!({ "return_stock": true, "reason": "whim" }), 422, "invalid_field"),
        (json!({ "return_stock": true, "reason": "shop", "note": "x" }), 422, "unknown_field"),
    ] {
        operator.post(&cancel_any(&path), &body).await.is(status, code);
    }
    let lost = json!({ "return_stock": false, "reason": "fraud" });
    operator.post("/v1/admin/reservations/1-00/cancel", &lost).await.is(404, "unknown_reservation");
    let done = operator.post(&cancel_any(&path), &lost).await;
    assert_eq!(done.ok(200).body["cancelled"], json!({ "reason": "fraud", "stock_returned": false }));
    assert_eq!(cluster.units(1).await, (8, 0, 0), "two of ten are written off");
    in_state(&alice, &path, "refunded").await;
    alice.post(&cancel(&path), &NOTHING).await.is(409, "reservation_cancelled");
    assert_eq!(known(&provider), [Known::Refunded]);
    cluster.end().await;
}

#[tokio::test]
async fn what_nobody_paid_for_here_is_cancelled_and_what_is_not_sold_is_not() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({ "ttl_ms": 600_000 })).await;
    let provider = simulator();
    let address = cluster.gateway_before(&provider, generous).await;
    let alice = Agent::user(address, "alice");
    let id = alice.reserve("k", 1, 2).await.ok(201).id();
    let path = format!("/v1/reservations/{id}");
    alice.post(&cancel(&path), &NOTHING).await.is(409, "not_confirmed");
    // Whoever takes the money elsewhere confirms through the client library.
    let digits = u128::from_str_radix(id.split_once('-').unwrap().1, 16).unwrap();
    let target = Target { product: ProductId(1), reservation: ReservationId(digits), user: UserId(0) };
    cluster.client().await.confirm(target).await.unwrap();
    let done = alice.post(&cancel(&path), &NOTHING).await;
    assert_eq!((&done.ok(200).body["state"], &done.body["payment"]), (&json!("cancelled"), &NOTHING));
    alice.delete(&path).await.is(409, "reservation_cancelled");
    let released = alice.reserve("r", 1, 1).await.ok(201).id();
    let released = format!("/v1/reservations/{released}");
    alice.delete(&released).await.ok(200);
    alice.post(&cancel(&released), &NOTHING).await.is(409, "reservation_released");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(alice.get(&path).await.body["state"], "cancelled", "nothing is owed, so nothing is given back");
    assert_eq!(known(&provider), []);
    assert_eq!(cluster.units(1).await, (10, 0, 0));
    cluster.end().await;
}

#[tokio::test]
async fn cancelled_at_two_gateways_at_once_before_a_provider_that_is_down() {
    const BUYERS: usize = 8;
    let mut cluster = Cluster::start().await;
    cluster.product(1, 100, json!({})).await;
    let provider = simulator();
    let gateways =
        [cluster.gateway_before(&provider, generous).await, cluster.gateway_before(&provider, generous).await];
    let mut sold = Vec::new();
    for buyer in 0..BUYERS {
        let agents = gateways.map(|address| Agent::user(address, &format!("buyer{buyer}")));
        let path = bought(&agents[0]).await;
        sold.push((agents, path));
    }
    provider.set_down(true);
    let cancelling = sold.iter().flat_map(|(agents, path)| agents.iter().map(move |agent| (agent, cancel(path))));
    let answers = cancelling.map(|(agent, path)| async move { agent.post(&path, &NOTHING).await });
    let answers = futures_util::future::join_all(answers).await;
    let fresh = answers.iter().filter(|answer| !answer.ok(200).replayed()).count();
    assert_eq!((answers.len(), fresh), (2 * BUYERS, BUYERS), "each is undone once");
    assert_eq!(cluster.units(1).await, (100, 0, 0));
    assert_eq!(known(&provider), [Known::Succeeded; BUYERS]);
    provider.set_down(false);
    for (agents, path) in &sold {
        in_state(&agents[1], path, "refunded").await;
    }
    ledger_of(&provider, BUYERS).await;
    assert_eq!(known(&provider), [Known::Refunded; BUYERS]);
    assert_eq!(cluster.units(1).await, (100, 0, 0));
    cluster.end().await;
}
