//! What a gateway leaves behind when it dies in the middle of a payment, and who finishes it. The provider is the product's
//! simulator, which outlives the gateways before it; its ledger says what was really taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_gateway::config::SimulatorConfig;
use doorbuster_gateway::{Charge, Charged, GatewayConfig, Key, Known, PaymentProvider, Purchase, Simulator};
use doorbuster_protocol::command::{LatePayment, Target};
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::reply::ReservationView;
use doorbuster_protocol::types::{Currency, Money, ProductId, UserId, shard_of};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::cluster::{Cluster, until};

pub fn simulator() -> Arc<Simulator> {
    Arc::new(Simulator::new(SimulatorConfig { min_latency_ms: 1, max_latency_ms: 5, ..SimulatorConfig::default() }))
}

/// Finishes nothing of its own when it is shut down, and nothing of others.
fn careless(config: &mut GatewayConfig) {
    config.drain_ms = 0;
    config.payment.sweep_after_ms = 0;
}

fn eager(config: &mut GatewayConfig) {
    config.payment.sweep_every_ms = 50;
    config.payment.sweep_after_ms = 200;
}

/// Reserves two units of product 1 and posts a payment.
pub async fn begun(agent: &Agent, card: &str) -> String {
    let path = format!("/v1/reservations/{}", agent.reserve("k", 1, 2).await.ok(201).id());
    agent.post(&format!("{path}/payment"), &json!({ "card_token": card })).await.ok(202);
    path
}

/// Buyers who have posted a payment, each with the path of the reservation.
async fn all_pay(gateway: SocketAddr, buyers: usize) -> Vec<(Agent, String)> {
    let mut paying = Vec::new();
    for buyer in 0..buyers {
        let agent = Agent::user(gateway, &format!("buyer{buyer}"));
        let path = begun(&agent, "tok_visa").await;
        paying.push((agent, path));
    }
    paying
}

/// Waits until the reservation is in this state.
pub async fn in_state(agent: &Agent, path: &str, state: &str) -> Value {
    until(|| async {
        let shown = agent.get(path).await;
        (shown.ok(200).body["state"] == state).then_some(shown.body)
    })
    .await
}

/// Waits until the provider knows so many keys.
pub async fn ledger_of(provider: &Simulator, length: usize) -> Vec<(Key, Known)> {
    until(|| async { Some(provider.ledger()).filter(|ledger| ledger.len() == length) }).await
}

/// Waits until the gateway's metrics have these lines.
pub async fn metrics_with(agent: &Agent, lines: &[&str]) {
    until(|| async {
        let shown = agent.get("/metrics").await;
        let text = shown.body.as_str().unwrap().to_owned();
        lines.iter().all(|line| text.contains(line)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_found_and_sold() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let provider = simulator();
    let alice = Agent::user(cluster.gateway_before(&provider, careless).await, "alice");
    let path = begun(&alice, "tok_lost_answer").await;
    ledger_of(&provider, 1).await;
    cluster.end_last_gateway().await;

    let alice = Agent::user(cluster.gateway_before(&provider, eager).await, "alice");
    let paid = in_state(&alice, &path, "confirmed").await;
    assert_eq!(paid["payment"], json!({ "state": "succeeded", "attempts": 1 }));
    assert_eq!(provider.ledger().len(), 1);
    assert_eq!(cluster.units(1).await, (8, 0, 2));
    cluster.end().await;
}

#[tokio::test]
async fn a_charge_that_never_arrived_is_closed_before_it_fails() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let provider = simulator();
    let alice = Agent::user(cluster.gateway_before(&provider, careless).await, "alice");
    let path = begun(&alice, "tok_unreachable").await;
    cluster.end_last_gateway().await;
    assert_eq!(provider.ledger(), []);

    let alice = Agent::user(cluster.gateway_before(&provider, eager).await, "alice");
    let failed = in_state(&alice, &path, "held").await;
    assert_eq!(failed["payment"], json!({ "state": "payment_failed", "attempts": 1 }));
    let [(key, Known::Declined("cancelled"))] = provider.ledger()[..] else { panic!("{:?}", provider.ledger()) };
    // The dead gateway's request was still under way, and arrives now.
    let amount = Money { minor: 1000, currency: Currency(*b"EUR") };
    let purchase = Purchase { key, user: UserId(1), product: ProductId(1), amount };
    let late = Charge { purchase, card_token: "tok_visa".into() };
    assert_eq!(provider.charge(&late).await, Charged::Declined("cancelled"));

    let paid = alice.post(&format!("{path}/payment?wait=15"), &json!({ "card_token": "tok_visa" })).await;
    assert_eq!(paid.ok(200).body["payment"], json!({ "state": "succeeded", "attempts": 2 }));
    assert_eq!(cluster.units(1).await, (8, 0, 2));
    cluster.end().await;
}

#[tokio::test]
async fn money_taken_is_found_after_the_reservation_has_expired() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 4, json!({ "ttl_ms": 300, "max_life_ms": 300, "payment_cap_ms": 300 })).await;
    let provider = simulator();
    let address = cluster.gateway_before(&provider, careless).await;
    let (alice, bob, carol) =
        (Agent::user(address, "alice"), Agent::user(address, "bob"), Agent::user(address, "carol"));
    let (first, second) = (begun(&alice, "tok_lost_answer").await, begun(&bob, "tok_lost_answer").await);
    ledger_of(&provider, 2).await;
    in_state(&alice, &first, "expired").await;
    in_state(&bob, &second, "expired").await;
    let third = begun(&carol, "tok_unreachable").await;
    in_state(&carol, &third, "expired").await;
    cluster.end_last_gateway().await;
    // Units are left for one of the two.
    cluster.operator().key("s").post("/v1/admin/products/1/stock", &json!({ "delta": -2 })).await.ok(200);

    provider.set_down(true);
    let address = cluster.gateway_before(&provider, eager).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let alice = Agent::user(address, "alice");
    assert_eq!(alice.get(&first).await.body["state"], "expired", "what is not known is not guessed");
    provider.set_down(false);
    // Which of the two comes first is nobody's business.
    let ended = |agent: Agent, path: String| async move {
        until(|| async {
            let shown = agent.get(&path).await;
            ["confirmed", "refunded"]
                .contains(&shown.body["state"].as_str().unwrap())
                .then(|| shown.body["payment"].clone())
        })
        .await
    };
    let mut ends = [ended(alice, first).await, ended(Agent::user(address, "bob"), second).await];
    ends.sort_by_key(Value::to_string);
    let refunded = json!({ "state": "refunded", "attempts": 1, "reason": "paid_too_late" });
    assert_eq!(ends, [refunded, json!({ "state": "succeeded", "attempts": 1 })]);
    let mut known: Vec<Known> = ledger_of(&provider, 3).await.into_iter().map(|(_, known)| known).collect();
    known.sort_by_key(|known| format!("{known:?}"));
    assert_eq!(known, [Known::Declined("cancelled"), Known::Refunded, Known::Succeeded]);
    assert_eq!(cluster.units(1).await, (0, 0, 2));
    cluster.end().await;
}

#[tokio::test]
async fn a_refund_waits_for_the_provider_and_is_counted_until_then() {
    let mut cluster = Cluster::start().await;
    let times = json!({ "ttl_ms": 300, "max_life_ms": 300, "payment_cap_ms": 300, "late_payment": "always_refund" });
    cluster.product(1, 4, times).await;
    let provider = simulator();
    let alice = Agent::user(cluster.gateway_before(&provider, careless).await, "alice");
    let path = begun(&alice, "tok_lost_answer").await;
    ledger_of(&provider, 1).await;
    in_state(&alice, &path, "expired").await;
    // The gateway has told the cluster that it was paid, and died before the refund.
    provider.set_down(true);
    let client = cluster.client().await;
    let shard = shard_of(ProductId(1), client.shards());
    let left = client.unsettled(shard, Unsettled::Payments, Changed::default(), 10).await.unwrap().reservations;
    let [ReservationView { product, reservation, user, quantity, .. }] = left[..] else { panic!("{left:?}") };
    let target = Target { product, reservation, user };
    client.late_payment(LatePayment { target, quantity }).await.unwrap();
    let alice = Agent::user(cluster.gateway_before(&provider, eager).await, "alice");
    metrics_with(&alice, &["doorbuster_gateway_refunds_due 1", "doorbuster_gateway_payments_open 0"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let due = alice.get(&path).await;
    assert_eq!(due.body["payment"], json!({ "state": "refund_due", "attempts": 1, "reason": "paid_too_late" }));
    provider.set_down(false);
    in_state(&alice, &path, "refunded").await;
    let refunded = "doorbuster_gateway_refunds_total{outcome=\"refunded\"} 1";
    metrics_with(&alice, &[refunded, "doorbuster_gateway_refunds_due 0"]).await;
    assert_eq!(provider.ledger().into_iter().map(|(_, known)| known).collect::<Vec<_>>(), [Known::Refunded]);
    cluster.end().await;
}

#[tokio::test]
async fn gateways_that_sweep_the_same_payments_do_no_harm() {
    const BUYERS: usize = 24;
    let mut cluster = Cluster::start().await;
    cluster.product(1, 100, json!({})).await;
    let provider = simulator();
    let address = cluster.gateway_before(&provider, careless).await;
    let mut left = Vec::new();
    for buyer in 0..BUYERS {
        let agent = Agent::user(address, &format!("buyer{buyer}"));
        let card = ["tok_lost_answer", "tok_unreachable", "tok_lost_answer"][buyer % 3];
        left.push((buyer, begun(&agent, card).await));
    }
    ledger_of(&provider, BUYERS / 3 * 2).await;
    // The first lives on, and goes on trying, while three others come upon its payments.
    let mut last = address;
    for _ in 0..3 {
        last = cluster.gateway_before(&provider, eager).await;
    }
    for (buyer, path) in &left {
        let agent = Agent::user(last, &format!("buyer{buyer}"));
        let state = if buyer % 3 == 1 { "held" } else { "confirmed" };
        assert_eq!(in_state(&agent, path, state).await["payment"]["attempts"], 1);
    }
    let ledger = ledger_of(&provider, BUYERS).await;
    let taken = ledger.iter().filter(|(_, known)| *known == Known::Succeeded).count();
    assert_eq!(taken, BUYERS / 3 * 2);
    assert_eq!(cluster.units(1).await, (100 - 2 * 24, 2 * 8, 2 * 16));
    cluster.end().await;
}

#[tokio::test]
async fn nothing_is_charged_once_the_pin_has_ended() {
    const BUYERS: usize = 10;
    let mut cluster = Cluster::start().await;
    cluster.product(1, 100, json!({ "ttl_ms": 1000, "max_life_ms": 1000, "payment_cap_ms": 1000 })).await;
    let provider = simulator();
    let address = cluster.gateway_before(&provider, careless).await;
    provider.set_down(true);
    let paying = all_pay(address, BUYERS).await;
    for (agent, path) in &paying {
        in_state(agent, path, "expired").await;
    }
    // By the gateway's clock, which began to count a little later, it has ended, too; but most still wait for their next try.
    tokio::time::sleep(Duration::from_millis(100)).await;
    provider.set_down(false);
    metrics_with(&paying[0].0, &["doorbuster_gateway_payments_total{outcome=\"unresolved\"} 10"]).await;
    assert_eq!(provider.ledger(), []);
    for (agent, path) in &paying {
        assert_eq!(agent.get(path).await.body["payment"], json!({ "state": "unresolved", "attempts": 1 }));
    }
    cluster.end().await;
}

#[tokio::test]
async fn who_has_the_card_charges_first_when_the_provider_is_back() {
    const BUYERS: usize = 12;
    let mut cluster = Cluster::start().await;
    cluster.product(1, 100, json!({ "payment_cap_ms": 60_000 })).await;
    let provider = simulator();
    let address = cluster.gateway_before(&provider, careless).await;
    provider.set_down(true);
    let paying = all_pay(address, BUYERS).await;
    // Another comes upon them while it is down, and asks; its next round is 4 s later at least, and the next charge of who has the
    // card 2 s at most.
    let second = Agent::user(
        cluster
            .gateway_before(&provider, |config| {
                config.payment.sweep_every_ms = 8000;
                config.payment.sweep_after_ms = 100;
            })
            .await,
        "anybody",
    );
    metrics_with(&second, &["doorbuster_gateway_payments_open 12"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    provider.set_down(false);
    for (agent, path) in &paying {
        let paid = in_state(agent, path, "confirmed").await;
        assert_eq!(paid["payment"], json!({ "state": "succeeded", "attempts": 1 }));
    }
    cluster.end().await;
}
