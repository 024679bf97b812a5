//! Gateways that are told by the payment simulator, a process of its own as far as HTTP can tell: signed webhooks from its ledger,
//! out of order, repeated, and before the answer to the charge. No gateway here sweeps.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use doorbuster_gateway::GatewayConfig;
use doorbuster_payment_simulator::faults::Faults;
use doorbuster_payment_simulator::sender::Webhooks;
use doorbuster_payment_simulator::signature::Secrets;
use doorbuster_payment_simulator::{Config, PaymentSimulator};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::agent::{Agent, PATIENCE};
use crate::cluster::{Cluster, until};
use crate::provider::{ledger, settled};
use crate::sweeps::{begun, in_state, metrics_with};
use crate::webhooks::{SECRET, told};

/// A port that nobody has now.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A gateway that listens there, charges at this provider, and takes its webhooks.
fn at(cluster: &Cluster, listen: SocketAddr, provider: SocketAddr) -> impl FnOnce(&mut GatewayConfig) + use<> {
    let told = told(cluster.folder.path());
    move |config| {
        told(config);
        config.listen = listen.to_string();
        config.payment.simulator.url = format!("http://{provider}");
    }
}

fn file(cluster: &Cluster) -> String {
    format!("sqlite:{}", cluster.folder.path().join("payments.db").display())
}

/// A provider that listens at `listen` and tells the gateway at `to`.
async fn provider(cluster: &Cluster, listen: SocketAddr, to: SocketAddr, faults: Faults) -> PaymentSimulator {
    let url = format!("http://{to}/v1/webhooks/simulator");
    let webhooks = Some(Webhooks::to(&url, Secrets::read(SECRET).unwrap()).unwrap());
    PaymentSimulator::start(Config { listen, ledger: file(cluster), faults, webhooks }).await.unwrap()
}

fn quick() -> Faults {
    Faults { min_latency_ms: 1, max_latency_ms: 20, ..Faults::default() }
}

/// Every event's number of deliveries, once all have been acknowledged.
async fn deliveries(provider: SocketAddr) -> Vec<u64> {
    until(|| async {
        let page = Agent::new(provider, "").send_unjudged("GET", "/v1/events", "").await.body;
        let events = page["events"].as_array().unwrap().clone();
        let number = |event: &Value| event["deliveries"].as_u64().unwrap();
        events.iter().all(|event| event["remaining"] == 0).then(|| events.iter().map(number).collect())
    })
    .await
}

#[tokio::test]
async fn a_payment_is_settled_before_its_charge_is_answered() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 100, json!({})).await;
    let (selling, telling) = (free(), free());
    cluster.gateway(at(&cluster, selling, telling)).await;
    let slow = Faults { slow_answer_rate: 1.0, slow_answer_ms: 60_000, ..quick() };
    let provider = provider(&cluster, telling, selling, slow.clone()).await;
    let mut longest = Duration::ZERO;
    for (name, card, end) in [("alice", "tok_visa", "confirmed"), ("bob", "tok_declined", "held")] {
        let buyer = Agent::user(selling, name);
        let start = Instant::now();
        let path = begun(&buyer, card).await;
        in_state(&buyer, &path, end).await;
        longest = longest.max(start.elapsed());
    }
    eprintln!("settled within {longest:?}, while the charges are answered after 60 s and nobody sweeps");
    assert!(longest < PATIENCE / 2, "{longest:?}");
    assert_eq!(deliveries(telling).await, [1, 1]);
    let processed = "doorbuster_gateway_webhooks_total{outcome=\"processed\"} 2";
    metrics_with(&Agent::user(selling, "alice"), &[processed]).await;

    // The same without a word: nothing is settled.
    let silent = Faults { webhook_delay_ms: 3_600_000, ..slow };
    Agent::new(telling, "").send_unjudged("PUT", "/admin/faults", json!(silent).to_string()).await.ok(200);
    let carol = Agent::user(selling, "carol");
    let path = begun(&carol, "tok_visa").await;
    tokio::time::sleep((longest * 3).max(Duration::from_secs(1))).await;
    assert_eq!(carol.get(&path).await.body["state"], "paying");
    assert_eq!(ledger(&file(&cluster)).await.len(), 3);
    cluster.end().await;
    drop(provider);
}

#[tokio::test]
async fn what_a_dead_gateway_left_is_told_to_the_next_once_it_is_up() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let (dying, next, telling) = (free(), free(), free());
    cluster.gateway(at(&cluster, dying, telling)).await;
    let slow = Faults { slow_answer_rate: 1.0, slow_answer_ms: 1000, ..quick() };
    let provider = provider(&cluster, telling, next, slow).await;
    let path = begun(&Agent::user(dying, "alice"), "tok_visa").await;
    until(|| async { (ledger(&file(&cluster)).await.len() == 1).then_some(()) }).await;
    cluster.end_last_gateway().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    cluster.gateway(at(&cluster, next, telling)).await;
    in_state(&Agent::user(next, "alice"), &path, "confirmed").await;
    let tries = deliveries(telling).await;
    assert!(tries.len() == 1 && tries[0] > 1, "sent in vain before: {tries:?}");
    assert_eq!(cluster.units(1).await, (8, 0, 2));
    provider.shutdown().await;
    cluster.end().await;
}

#[tokio::test]
async fn repeated_and_out_of_order_nothing_is_charged_or_refunded_twice() {
    const BUYERS: usize = 40;
    let mut cluster = Cluster::start().await;
    // Pins end long before the provider has decided: only its word settles what is late.
    let short = json!({ "ttl_ms": 2000, "max_life_ms": 2000, "payment_cap_ms": 400, "late_payment": "always_refund" });
    cluster.product(1, 100, json!({ "payment_cap_ms": 20_000 })).await;
    cluster.product(2, 100, short).await;
    let (selling, hearing, telling) = (free(), free(), free());
    cluster.gateway(at(&cluster, selling, telling)).await;
    cluster.gateway(at(&cluster, hearing, telling)).await;
    let faults = Faults {
        seed: 5,
        decline_rate: 0.1,
        lost_before_rate: 0.1,
        lost_after_rate: 0.2,
        late_rate: 0.4,
        late_ms: 2500,
        slow_answer_rate: 0.2,
        slow_answer_ms: 3000,
        webhook_delay_ms: 20,
        webhook_duplicate_rate: 0.5,
        webhook_reorder_rate: 0.5,
        webhook_reorder_ms: 1500,
        ..quick()
    };
    let provider = provider(&cluster, telling, hearing, faults).await;
    let mut buyers = Vec::new();
    for buyer in 0..BUYERS {
        let agent = Agent::user([selling, hearing][buyer % 2], &format!("buyer{buyer}"));
        let id = agent.reserve("k", 1 + u64::from(buyer % 4 > 1), 1).await.ok(201).id();
        let path = format!("/v1/reservations/{id}");
        agent.post(&format!("{path}/payment"), &json!({ "card_token": "tok_visa" })).await.ok(202);
        buyers.push((agent, id, path));
    }
    settled(&cluster.client().await).await;
    let times = deliveries(telling).await;
    assert!(times.iter().any(|times| *times > 1), "{times:?}");
    let taken = ledger(&file(&cluster)).await;
    let mut refunded = 0;
    for (agent, id, path) in buyers {
        let state = agent.get(&path).await.ok(200).body["state"].clone();
        let entries = &taken[id.split_once('-').unwrap().1];
        let expected = match state.as_str().unwrap() {
            "confirmed" => "succeeded",
            "refunded" => "refunded",
            "held" | "expired" => "declined",
            other => panic!("{path} is {other}"),
        };
        assert_eq!(entries[..], [expected.to_owned()], "{path} is {state}");
        refunded += usize::from(expected == "refunded");
    }
    assert!(refunded > 0, "some came too late");
    provider.shutdown().await;
    cluster.end().await;
}
