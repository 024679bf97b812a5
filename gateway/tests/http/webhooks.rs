//! Webhooks, signed by hand: what is believed, what is written down, and what it moves. Gateways here never sweep, so whatever
//! is settled without an answer to the charge is settled by an event.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorbuster_gateway::webhooks::signature::Secrets;
use doorbuster_gateway::{Gateway, GatewayConfig, Key, Known, PaymentProvider, Purchase, Simulator};
use doorbuster_protocol::types::{Currency, Money, ProductId, Timestamp, UserId};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::agent::{Agent, Answer};
use crate::cluster::{Cluster, quiet};
use crate::sweeps::{begun, in_state, ledger_of, metrics_with, simulator};

pub const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";
const OLD: &str = "whsec_fedcba9876543210fedcba9876543210";
const PATH: &str = "/v1/webhooks/simulator";

/// Takes webhooks, writes them down in `folder`, and sweeps nothing.
pub fn told(folder: &Path) -> impl FnOnce(&mut GatewayConfig) + use<> {
    let secrets = folder.join("webhook-secrets");
    std::fs::write(&secrets, SECRET).unwrap();
    let database = database(folder);
    move |config| {
        config.database = database;
        config.payment.webhook_secrets_file = Some(secrets);
        config.payment.sweep_after_ms = 0;
        config.drain_ms = 0;
    }
}

fn database(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("orders.db").display())
}

#[allow(clippy::disallowed_methods)] // a provider has a clock of its own
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

fn event(id: &str, type_name: &str, key: &str) -> Value {
    json!({ "id": id, "type": type_name, "created": now().0, "data": { "key": key, "amount": 1000 } })
}

/// Posts it as the provider would have, so many ms later than now.
async fn post_at(to: &Agent, secrets: &Secrets, body: &str, later: i64) -> Answer {
    let at = Timestamp(now().0.saturating_add_signed(later));
    let signature = secrets.sign(at, body.as_bytes()).to_string();
    to.with("doorbuster-signature", &signature).send("POST", PATH, body.to_owned()).await
}

async fn post(to: &Agent, event: &Value) -> Answer {
    post_at(to, &Secrets::new(SECRET.as_bytes(), None), &event.to_string(), 0).await
}

/// Every event in the database: id, type, payment, and whether it is processed.
async fn written(folder: &Path) -> Vec<(String, String, Option<String>, bool)> {
    let mut connection = SqliteConnection::connect(&database(folder)).await.unwrap();
    let all = "SELECT event, type, payment, processed_at_ms IS NOT NULL FROM webhook_events ORDER BY event";
    sqlx::query_as(all).fetch_all(&mut connection).await.unwrap()
}

/// Where a gateway that takes webhooks before this provider is asked, by nobody in particular.
async fn taking(cluster: &mut Cluster, provider: &Arc<Simulator>) -> Agent {
    let told = told(cluster.folder.path());
    Agent::new(cluster.gateway_before(provider, told).await, "")
}

fn counted(outcome: &str, number: usize) -> String {
    format!("doorbuster_gateway_webhooks_total{{outcome=\"{outcome}\"}} {number}")
}

/// A gateway whose cluster is nowhere.
async fn alone(change: impl FnOnce(&mut GatewayConfig)) -> (Gateway, Agent) {
    let mut config = quiet("127.0.0.1:1");
    change(&mut config);
    let gateway = Gateway::start(config).await.unwrap();
    let agent = Agent::new(gateway.address, "");
    (gateway, agent)
}

#[tokio::test]
async fn only_what_the_provider_signed_lately_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, nobody) = alone(told(folder.path())).await;
    let body = event("evt_1", "something.new", "").to_string();
    let (ours, forged) = (Secrets::new(SECRET.as_bytes(), None), Secrets::new(OLD.as_bytes(), None));
    for (secrets, later, says) in [
        (&forged, 0, "no signature fits"),
        (&ours, -302_000, "more than 300 s apart"),
        (&ours, 302_000, "more than 300 s apart"),
    ] {
        let refused = post_at(&nobody, secrets, &body, later).await;
        let detail = refused.is(400, "invalid_signature").body["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(says) && !detail.contains("whsec"), "{detail}");
    }
    nobody.send("POST", PATH, body.clone()).await.is(400, "invalid_signature");
    nobody.with("doorbuster-signature", "t=1,v1=x").send("POST", PATH, body.clone()).await.is(400, "invalid_signature");
    let signature = ours.sign(now(), body.as_bytes()).to_string();
    let other = body.replace("evt_1", "evt_2");
    nobody.with("doorbuster-signature", &signature).send("POST", PATH, other).await.is(400, "invalid_signature");
    // A token is no signature.
    Agent::user(gateway.address, "root:admin").send("POST", PATH, body.clone()).await.is(400, "invalid_signature");
    for bad in ["", "{", "[]", r#"{"id": "evt_1"}"#, r#"{"id": "two words", "type": "t"}"#] {
        post_at(&nobody, &ours, bad, 0).await.is(400, "malformed_json");
    }
    post_at(&nobody, &ours, &" ".repeat(65_537), 0).await.is(413, "body_too_large");
    metrics_with(&nobody, &[&counted("refused", 12)]).await;

    for later in [-299_000, 0, 299_000] {
        post_at(&nobody, &ours, &body, later).await.ok(200);
    }
    let expected = [("evt_1".to_owned(), "something.new".to_owned(), None, true)];
    assert_eq!(written(folder.path()).await, expected);
    gateway.shutdown().await;
}

#[tokio::test]
async fn while_secrets_change_both_are_good() {
    let folder = tempfile::tempdir().unwrap();
    let configured = told(folder.path());
    std::fs::write(folder.path().join("webhook-secrets"), format!("{SECRET}\n{OLD}\n")).unwrap();
    let (gateway, nobody) = alone(configured).await;
    let body = event("evt_1", "something.new", "").to_string();
    let third = "x".repeat(32);
    for (secrets, status) in [
        (Secrets::new(SECRET.as_bytes(), None), 200),
        (Secrets::new(OLD.as_bytes(), None), 200),
        (Secrets::new(SECRET.as_bytes(), Some(OLD.as_bytes())), 200),
        (Secrets::new(third.as_bytes(), Some(OLD.as_bytes())), 200),
        (Secrets::new(third.as_bytes(), None), 400),
    ] {
        assert_eq!(post_at(&nobody, &secrets, &body, 0).await.status, status);
    }
    gateway.shutdown().await;
}

#[tokio::test]
async fn webhooks_that_are_not_configured_are_404() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, nobody) = alone(|_| {}).await;
    post(&nobody, &event("evt_1", "charge.succeeded", "")).await.is(404, "unknown_provider");
    gateway.shutdown().await;
    let (gateway, nobody) = alone(told(folder.path())).await;
    nobody.send("POST", "/v1/webhooks/paypal", "{}").await.is(404, "unknown_provider");
    nobody.get(PATH).await.is(405, "method_not_allowed");
    gateway.shutdown().await;
    let mut config = quiet("127.0.0.1:1");
    told(folder.path())(&mut config);
    std::fs::write(folder.path().join("webhook-secrets"), "whsec_short").unwrap();
    let error = Gateway::start(config).await.err().unwrap().to_string();
    assert!(error.contains("payment.webhook_secrets_file") && !error.contains("whsec_short"), "{error}");
}

#[tokio::test]
async fn what_does_not_matter_here_is_taken_and_counted() {
    let mut cluster = Cluster::start().await;
    let nobody = taking(&mut cluster, &simulator()).await;
    let stranger = "000000000000000000000000000000ab-7-1";
    for _ in 0..2 {
        for (id, type_name, key) in [
            ("evt_1", "charge.disputed", stranger),
            ("evt_2", "charge.succeeded", stranger),
            ("evt_3", "charge.refunded", "not-ours"),
        ] {
            let taken = post(&nobody, &event(id, type_name, key)).await;
            assert_eq!(taken.ok(200).body, json!({ "received": true }));
        }
    }
    metrics_with(&nobody, &[&counted("unknown_type", 1), &counted("unknown_reservation", 2), &counted("duplicate", 3)])
        .await;
    let written = written(cluster.folder.path()).await;
    let payments: Vec<_> =
        written.iter().map(|(id, _, payment, done)| (id.as_str(), payment.as_deref(), *done)).collect();
    assert_eq!(payments, [("evt_1", Some(stranger), true), ("evt_2", Some(stranger), true), ("evt_3", None, true)]);
    cluster.end().await;
}

#[tokio::test]
async fn an_event_settles_a_payment_whose_charge_is_never_answered() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let provider = simulator();
    let nobody = taking(&mut cluster, &provider).await;
    let alice = Agent::user(nobody.gateway, "alice");
    let path = begun(&alice, "tok_lost_answer").await;
    let [(key, Known::Succeeded)] = ledger_of(&provider, 1).await[..] else { panic!("{:?}", provider.ledger()) };
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(alice.get(&path).await.body["state"], "paying", "nobody else settles it");
    post(&nobody, &event("evt_1", "charge.succeeded", &key.to_string())).await.ok(200);
    let paid = in_state(&alice, &path, "confirmed").await;
    assert_eq!(paid["payment"], json!({ "state": "succeeded", "attempts": 1 }));
    post(&nobody, &event("evt_2", "charge.succeeded", &key.to_string())).await.ok(200);
    metrics_with(&nobody, &[&counted("processed", 1), &counted("settled", 1)]).await;
    assert_eq!(provider.ledger(), [(key, Known::Succeeded)]);
    assert_eq!(cluster.units(1).await, (8, 0, 2));
    cluster.end().await;
}

#[tokio::test]
async fn an_event_overtakes_the_answer_to_the_charge() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let slow = doorbuster_gateway::config::SimulatorConfig {
        min_latency_ms: 60_000,
        max_latency_ms: 60_000,
        ..Default::default()
    };
    let provider = Arc::new(Simulator::new(slow));
    let nobody = taking(&mut cluster, &provider).await;
    let alice = Agent::user(nobody.gateway, "alice");
    let path = begun(&alice, "tok_visa").await;
    let key = key_of(&cluster, &alice, &path).await;
    // An event before the provider has decided anything: the charge goes on, and is not closed.
    post(&nobody, &event("evt_1", "charge.succeeded", &key.to_string())).await.ok(200);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((provider.ledger(), &alice.get(&path).await.body["state"]), (Vec::new(), &json!("paying")));
    // Its decision, while the charge waits for an answer for most of a minute.
    let amount = Money { minor: 1000, currency: Currency(*b"EUR") };
    provider.cancel(Purchase { key, user: UserId(1), product: ProductId(1), amount }).await;
    post(&nobody, &event("evt_2", "charge.declined", &key.to_string())).await.ok(200);
    let failed = in_state(&alice, &path, "held").await;
    assert_eq!(failed["payment"], json!({ "state": "payment_failed", "attempts": 1 }));
    metrics_with(&nobody, &[&counted("processed", 2)]).await;
    cluster.end().await;
}

/// The key of a reservation's first attempt.
async fn key_of(cluster: &Cluster, agent: &Agent, path: &str) -> Key {
    let id = agent.get(path).await.id();
    let reservation = u128::from_str_radix(id.split_once('-').unwrap().1, 16).unwrap();
    let reservation = doorbuster_protocol::types::ReservationId(reservation);
    let found = cluster.client().await.find_reservation(reservation).await.unwrap().unwrap();
    Key { reservation, made_at: found.reservation.created_at, attempt: 1 }
}

#[tokio::test]
async fn five_copies_in_reverse_order_with_the_refund_before_the_success() {
    let mut cluster = Cluster::start().await;
    let times = json!({ "ttl_ms": 300, "max_life_ms": 300, "payment_cap_ms": 300, "late_payment": "always_refund" });
    cluster.product(1, 4, times).await;
    let provider = simulator();
    let alice = taking(&mut cluster, &provider).await;
    let alice = Agent::user(alice.gateway, "alice");
    let path = begun(&alice, "tok_lost_answer").await;
    let key = ledger_of(&provider, 1).await[0].0;
    in_state(&alice, &path, "expired").await;
    cluster.end_last_gateway().await;

    // Two gateways, neither of which began it.
    let gateways = [taking(&mut cluster, &provider).await, taking(&mut cluster, &provider).await];
    let alice = Agent::user(gateways[0].gateway, "alice");
    let [refunded, succeeded] = [("evt_2", "charge.refunded"), ("evt_1", "charge.succeeded")]
        .map(|(id, kind)| event(id, kind, &key.to_string()));
    for event in [&refunded, &succeeded] {
        let copies = (0..5).map(|copy| post(&gateways[copy % 2], event));
        for answer in futures_util::future::join_all(copies).await {
            answer.ok(200);
        }
    }
    let refunded = in_state(&alice, &path, "refunded").await;
    assert_eq!(refunded["payment"], json!({ "state": "refunded", "attempts": 1, "reason": "paid_too_late" }));
    assert_eq!(provider.ledger(), [(key, Known::Refunded)]);
    let written = written(cluster.folder.path()).await;
    assert_eq!(
        written.iter().map(|(id, _, _, done)| (id.as_str(), *done)).collect::<Vec<_>>(),
        [("evt_1", true), ("evt_2", true)]
    );
    assert_eq!(cluster.units(1).await, (4, 0, 0));
    cluster.end().await;
}

#[tokio::test]
async fn what_another_gateway_left_is_settled_by_an_event() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let provider = simulator();
    let first = Agent::user(taking(&mut cluster, &provider).await.gateway, "alice");
    let second = Agent::user(first.gateway, "bob");
    let (paid, unsent) = (begun(&first, "tok_lost_answer").await, begun(&second, "tok_unreachable").await);
    let key = ledger_of(&provider, 1).await[0].0;
    let unknown = key_of(&cluster, &second, &unsent).await;
    cluster.end_last_gateway().await;

    let nobody = taking(&mut cluster, &provider).await;
    for (id, key) in [("evt_1", key), ("evt_2", unknown)] {
        post(&nobody, &event(id, "charge.succeeded", &key.to_string())).await.ok(200);
    }
    in_state(&Agent::user(nobody.gateway, "alice"), &paid, "confirmed").await;
    // The provider does not know what it told of: a charge may be under way, so the key is not closed.
    metrics_with(&nobody, &["doorbuster_gateway_payments_total{outcome=\"unresolved\"} 1"]).await;
    assert_eq!(provider.ledger(), [(key, Known::Succeeded)]);
    assert_eq!(Agent::user(nobody.gateway, "bob").get(&unsent).await.body["state"], "paying");
    cluster.end().await;
}

#[tokio::test]
async fn without_the_database_or_the_cluster_the_provider_is_to_send_it_again() {
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let folder = cluster.folder.path().to_owned();
    let provider = simulator();
    let nobody = taking(&mut cluster, &provider).await;
    let alice = Agent::user(nobody.gateway, "alice");
    let path = begun(&alice, "tok_lost_answer").await;
    let key = ledger_of(&provider, 1).await[0].0.to_string();
    // The tables are there, and somebody holds the write lock.
    post(&nobody, &event("evt_0", "something.new", "")).await.ok(200);
    let mut holder = SqliteConnection::connect(&database(&folder)).await.unwrap();
    holder.execute("BEGIN IMMEDIATE").await.unwrap();
    let paid = event("evt_1", "charge.succeeded", &key);
    post(&nobody, &paid).await.is(503, "events_unavailable");
    assert_eq!(alice.get(&path).await.body["state"], "paying", "not written down, not acted upon");
    holder.execute("ROLLBACK").await.unwrap();
    post(&nobody, &paid).await.ok(200);
    in_state(&alice, &path, "confirmed").await;
    metrics_with(&nobody, &[&counted("failed", 1), &counted("processed", 1)]).await;
    cluster.end_last_gateway().await;

    // Written down, and the cluster cannot be asked: its next delivery is no duplicate.
    let (gateway, lonely) = alone(told(&folder)).await;
    let again = event("evt_2", "charge.succeeded", &key);
    post(&lonely, &again).await.is(503, "no_leader");
    assert!(written(&folder).await.contains(&("evt_2".into(), "charge.succeeded".into(), Some(key), false)));
    gateway.shutdown().await;
    let nobody = taking(&mut cluster, &provider).await;
    for _ in 0..2 {
        post(&nobody, &again).await.ok(200);
    }
    metrics_with(&nobody, &[&counted("settled", 1), &counted("duplicate", 1)]).await;
    cluster.end().await;
}

#[tokio::test]
async fn old_events_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, nobody) = alone(told(folder.path())).await;
    for id in ["evt_1", "evt_2"] {
        post(&nobody, &event(id, "something.new", "")).await.ok(200);
    }
    gateway.shutdown().await;
    let mut connection = SqliteConnection::connect(&database(folder.path())).await.unwrap();
    let days = |days: u64| i64::try_from(now().0 - days * 86_400_000).unwrap();
    for (id, received) in [("evt_1", days(31)), ("evt_2", days(29))] {
        let age = sqlx::query("UPDATE webhook_events SET received_at_ms = ?1 WHERE event = ?2");
        age.bind(received).bind(id).execute(&mut connection).await.unwrap();
    }
    let (gateway, _) = alone(told(folder.path())).await;
    crate::cluster::until(|| async {
        let left = written(folder.path()).await;
        (left.len() == 1).then(|| assert_eq!(left[0].0, "evt_2"))
    })
    .await;
    gateway.shutdown().await;
}
