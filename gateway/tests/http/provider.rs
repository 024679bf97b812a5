//! Gateways before the payment simulator as a process of its own: real HTTP, a ledger on disk, and everything that goes wrong
//! with providers. In the end the ledger and the reservations must say the same, one by one.

use std::collections::BTreeMap;

use doorbuster_client::Client;
use doorbuster_gateway::GatewayConfig;
use doorbuster_payment_simulator::faults::Faults;
use doorbuster_payment_simulator::ledger::Ledger;
use doorbuster_payment_simulator::{Config, PaymentSimulator};
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::types::ShardId;
use serde_json::json;

use crate::agent::Agent;
use crate::cluster::{Cluster, until};

const BUYERS: usize = 60;
/// After this buyer, one of the two gateways dies.
const DEATH: usize = 45;

fn eager(url: String) -> impl FnOnce(&mut GatewayConfig) {
    move |config| {
        config.payment.simulator.url = url;
        config.payment.charge_timeout_ms = 2000;
        config.payment.sweep_every_ms = 50;
        config.payment.sweep_after_ms = 300;
        config.drain_ms = 0;
    }
}

fn faults() -> Faults {
    Faults {
        seed: 3,
        min_latency_ms: 1,
        max_latency_ms: 100,
        decline_rate: 0.1,
        lost_before_rate: 0.2,
        lost_after_rate: 0.2,
        late_rate: 0.4,
        late_ms: 2500,
        ..Faults::default()
    }
}

/// Waits until nothing is left to settle on any shard.
pub async fn settled(client: &Client) {
    until(|| async {
        let mut left = 0;
        for shard in (0..client.shards()).map(ShardId) {
            for of in [Unsettled::Payments, Unsettled::Refunds] {
                left += client.unsettled(shard, of, Changed::default(), 1).await.unwrap().total;
            }
        }
        (left == 0).then_some(())
    })
    .await;
}

/// What the provider says of each reservation's keys.
pub async fn ledger(file: &str) -> BTreeMap<String, Vec<String>> {
    let mut taken: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in Ledger::open(file).await.unwrap().page(0, 1000).await.unwrap() {
        let reservation = entry.key.split('-').next().unwrap().to_owned();
        taken.entry(reservation).or_default().push(entry.state);
    }
    taken
}

#[tokio::test]
async fn every_key_of_the_ledger_is_a_sale_or_took_nothing() {
    let mut cluster = Cluster::start().await;
    let file = format!("sqlite:{}", cluster.folder.path().join("payments.db").display());
    let config =
        Config { listen: "127.0.0.1:0".parse().unwrap(), ledger: file.clone(), faults: faults(), webhooks: None };
    let provider = PaymentSimulator::start(config).await.unwrap();
    let url = format!("http://{}", provider.address);
    // Some pins end before the provider has decided; one product never takes units again.
    cluster.product(1, 100, json!({ "payment_cap_ms": 20_000 })).await;
    let short = json!({ "ttl_ms": 2000, "max_life_ms": 2000, "payment_cap_ms": 500, "late_payment": "always_refund" });
    cluster.product(2, 100, short).await;

    let lasting = cluster.gateway(eager(url.clone())).await;
    let dying = cluster.gateway(eager(url)).await;
    let mut begun = Vec::new();
    for buyer in 0..BUYERS {
        let address = if buyer % 2 == 0 || buyer > DEATH { lasting } else { dying };
        let agent = Agent::user(address, &format!("buyer{buyer}"));
        let id = agent.reserve("k", 1 + u64::from(buyer % 3 == 0), 1).await.ok(201).id();
        let path = format!("/v1/reservations/{id}");
        agent.post(&format!("{path}/payment"), &json!({ "card_token": "tok_visa" })).await.ok(202);
        begun.push((Agent::user(lasting, &format!("buyer{buyer}")), id, path));
        if buyer == DEATH {
            cluster.end_last_gateway().await;
        }
    }
    settled(&cluster.client().await).await;
    provider.shutdown().await;

    let taken = ledger(&file).await;
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for (agent, id, path) in begun {
        let shown = agent.get(&path).await;
        let state = shown.ok(200).body["state"].as_str().unwrap().to_owned();
        let told = &taken[id.split_once('-').unwrap().1];
        let expected = match state.as_str() {
            "confirmed" => "succeeded",
            "refunded" => "refunded",
            "held" | "expired" => "declined",
            other => panic!("{path} is {other}"),
        };
        assert_eq!(told[..], [expected.to_owned()], "{path} is {state}");
        *ends.entry(state).or_default() += 1;
    }
    assert!(ends.get("confirmed") >= Some(&20) && ends.contains_key("refunded"), "{ends:?}");
    cluster.end().await;
}
