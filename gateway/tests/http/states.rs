//! What a shopper is shown of a reservation, in each state that it can come to: before a provider of its own, over HTTP.

use doorbuster_payment_simulator::faults::Faults;
use doorbuster_payment_simulator::{Config, PaymentSimulator};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::cluster::{Cluster, until};
use crate::sweeps::in_state;

/// A gateway that charges at a provider, and sweeps.
struct Shop {
    cluster: Cluster,
    provider: PaymentSimulator,
}

impl Shop {
    async fn open() -> Self {
        let mut cluster = Cluster::start().await;
        let ledger = format!("sqlite:{}", cluster.folder.path().join("payments.db").display());
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = Config { listen, ledger, faults: quick(), webhooks: None };
        let provider = PaymentSimulator::start(config).await.unwrap();
        let url = format!("http://{}", provider.address);
        cluster
            .gateway(|config| {
                config.payment.simulator.url = url;
                config.payment.charge_timeout_ms = 1000;
                config.payment.sweep_every_ms = 50;
                config.payment.sweep_after_ms = 100;
            })
            .await;
        cluster.end_gateway().await;
        Self { cluster, provider }
    }

    async fn faults(&self, faults: Faults) {
        let faults = json!(faults).to_string();
        Agent::new(self.provider.address, "").send_unjudged("PUT", "/admin/faults", faults).await.ok(200);
    }

    /// Reserves, and looks at it.
    async fn reserved(&self, name: &str, product: u64) -> (Agent, String, String) {
        let agent = self.cluster.user(name);
        let id = agent.reserve("k", product, 1).await.ok(201).id();
        let path = format!("/v1/reservations/{id}");
        (agent, id, path)
    }

    async fn paying(&self, name: &str, product: u64) -> (Agent, String, String) {
        let (agent, id, path) = self.reserved(name, product).await;
        agent.post(&format!("{path}/payment"), &json!({ "card_token": "tok_visa" })).await.ok(202);
        (agent, id, path)
    }
}

fn quick() -> Faults {
    Faults { min_latency_ms: 1, max_latency_ms: 5, ..Faults::default() }
}

/// The whole of what is shown: state, payment, that its times are in order, and that a deadline is shown while there is one.
fn is(shown: &Value, state: &str, payment: &Value) {
    assert_eq!((&shown["state"], &shown["payment"]), (&json!(state), payment), "{shown}");
    let time = |name: &str| shown[name].as_str();
    // As text, because they are all of one form and zone.
    assert!(time("created_at") <= time("changed_at") && time("created_at").is_some(), "{shown}");
    let is_live = ["held", "paying"].contains(&state);
    assert_eq!(time("expires_at").is_some() && shown["expires_in"].as_f64() > Some(0.0), is_live, "{shown}");
    assert!(!is_live || time("expires_at") > time("changed_at"), "{shown}");
}

#[tokio::test]
async fn held_failed_held_again_paying_confirmed() {
    let shop = Shop::open().await;
    shop.cluster.product(1, 10, json!({})).await;
    let (alice, id, path) = shop.reserved("alice", 1).await;
    let held = alice.get(&path).await.body;
    is(&held, "held", &Value::Null);
    assert_eq!(held["created_at"], held["changed_at"]);

    // Declined: still hers, and she can try another card.
    alice.pay(&id, "tok_declined").await.is(402, "payment_declined");
    let failed = alice.get(&path).await.body;
    is(&failed, "held", &json!({ "state": "payment_failed", "attempts": 1 }));
    assert!(failed["changed_at"].as_str() > held["changed_at"].as_str(), "when it failed");
    assert!(failed["expires_at"].as_str() >= held["expires_at"].as_str(), "a try costs no time");

    shop.faults(Faults { min_latency_ms: 700, max_latency_ms: 700, ..quick() }).await;
    alice.post(&format!("{path}/payment"), &json!({ "card_token": "tok_visa" })).await.ok(202);
    let paying = alice.get(&path).await.body;
    is(&paying, "paying", &json!({ "state": "in_progress", "attempts": 2 }));
    let confirmed = in_state(&alice, &path, "confirmed").await;
    is(&confirmed, "confirmed", &json!({ "state": "succeeded", "attempts": 2 }));
    assert!(confirmed["changed_at"].as_str() > paying["changed_at"].as_str());
    shop.cluster.end().await;
}

#[tokio::test]
async fn released_expired_and_what_is_not_known_yet() {
    let shop = Shop::open().await;
    shop.cluster.product(1, 10, json!({})).await;
    shop.cluster.product(2, 10, json!({ "ttl_ms": 500, "max_life_ms": 500, "payment_cap_ms": 500 })).await;
    let (alice, id, path) = shop.reserved("alice", 1).await;
    alice.pay(&id, "tok_declined").await.is(402, "payment_declined");
    alice.delete(&path).await.ok(200);
    is(&alice.get(&path).await.body, "released", &json!({ "state": "payment_failed", "attempts": 1 }));
    let (bob, _, path) = shop.reserved("bob", 1).await;
    bob.delete(&path).await.ok(200);
    is(&bob.get(&path).await.body, "released", &Value::Null);
    let (carol, _, path) = shop.reserved("carol", 2).await;
    is(&in_state(&carol, &path, "expired").await, "expired", &Value::Null);

    // Nobody knows what came of it, and nobody says that it failed; until the provider says that it never will.
    shop.faults(Faults { is_down: true, ..quick() }).await;
    let (dave, _, path) = shop.paying("dave", 2).await;
    let unresolved = in_state(&dave, &path, "expired").await;
    is(&unresolved, "expired", &json!({ "state": "unresolved", "attempts": 1 }));
    shop.faults(quick()).await;
    let settled = until(|| async {
        let shown = dave.get(&path).await.body;
        (shown["payment"]["state"] != "unresolved").then_some(shown)
    })
    .await;
    is(&settled, "expired", &json!({ "state": "payment_failed", "attempts": 1 }));
    assert_eq!(settled["changed_at"], unresolved["changed_at"], "it expired when it did");
    shop.cluster.end().await;
}

#[tokio::test]
async fn refund_due_and_refunded_say_why() {
    let shop = Shop::open().await;
    let times = json!({ "ttl_ms": 500, "max_life_ms": 500, "payment_cap_ms": 500, "late_payment": "always_refund" });
    shop.cluster.product(1, 10, times).await;
    // The money comes when it has expired; refunds take a while.
    shop.faults(Faults { late_rate: 1.0, late_ms: 1000, ..quick() }).await;
    let (alice, id, path) = shop.paying("alice", 1).await;
    let expired = in_state(&alice, &path, "expired").await;
    is(&expired, "expired", &json!({ "state": "unresolved", "attempts": 1 }));
    shop.faults(Faults { min_latency_ms: 900, max_latency_ms: 900, ..quick() }).await;
    let due = in_state(&alice, &path, "refund_due").await;
    is(&due, "refund_due", &json!({ "state": "refund_due", "attempts": 1, "reason": "paid_too_late" }));
    alice.pay(&id, "tok_visa").await.is(409, "refunding");
    let refunded = in_state(&alice, &path, "refunded").await;
    is(&refunded, "refunded", &json!({ "state": "refunded", "attempts": 1, "reason": "paid_too_late" }));
    let times = [&expired, &due, &refunded].map(|shown| shown["changed_at"].as_str());
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
    shop.cluster.end().await;
}
