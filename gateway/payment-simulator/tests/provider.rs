//! The process over real HTTP, with its ledger on a real disk: what it takes, what it loses, and what it knows afterwards,
//! also when it was started again.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use doorbuster_payment_simulator::faults::Faults;
use doorbuster_payment_simulator::sender::Webhooks;
use doorbuster_payment_simulator::{Config, PaymentSimulator, StartError};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

fn quick() -> Faults {
    Faults { min_latency_ms: 0, max_latency_ms: 2, ..Faults::default() }
}

async fn start(folder: &Path, faults: Faults) -> PaymentSimulator {
    start_with(folder, faults, None).await
}

async fn start_with(folder: &Path, faults: Faults, webhooks: Option<Webhooks>) -> PaymentSimulator {
    let ledger = format!("sqlite:{}", folder.join("ledger.db").display());
    let listen = "127.0.0.1:0".parse().unwrap();
    PaymentSimulator::start(Config { listen, ledger, faults, webhooks }).await.unwrap()
}

/// Status and body; `None` if the connection ended without an answer.
async fn ask(to: SocketAddr, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).header("host", "provider").body(Full::new(body)).unwrap();
    let (head, body) = sender.send_request(request).await.ok()?.into_parts();
    let bytes = body.collect().await.ok()?.to_bytes();
    Some((head.status.as_u16(), serde_json::from_slice(&bytes).unwrap()))
}

async fn charge(to: SocketAddr, key: &str, card: &str) -> Option<(u16, Value)> {
    let body = json!({ "amount": 500, "currency": "EUR", "card_token": card });
    ask(to, "PUT", &format!("/v1/charges/{key}"), body).await
}

async fn state(to: SocketAddr, key: &str) -> (u16, Value) {
    let (status, body) = ask(to, "GET", &format!("/v1/charges/{key}"), Value::Null).await.unwrap();
    (status, body["state"].clone())
}

async fn post(to: SocketAddr, key: &str, what: &str) -> Option<(u16, Value)> {
    let answer = ask(to, "POST", &format!("/v1/charges/{key}/{what}"), Value::Null).await;
    answer.map(|(status, body)| (status, body["state"].clone()))
}

#[tokio::test]
async fn a_key_is_decided_once_and_the_ledger_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let provider = start(folder.path(), quick()).await;
    let at = provider.address;
    assert_eq!(state(at, "a-1").await, (404, Value::Null));
    let (status, taken) = charge(at, "a-1", "tok_visa").await.unwrap();
    assert_eq!((status, &taken["state"], &taken["number"]), (200, &json!("succeeded"), &json!(1)));
    assert_eq!(charge(at, "a-1", "tok_declined").await.unwrap().1, taken, "decided is decided");
    let other = json!({ "amount": 501, "currency": "EUR", "card_token": "tok_visa" });
    assert_eq!(ask(at, "PUT", "/v1/charges/a-1", other).await.unwrap().0, 409);
    for (key, card, reason) in
        [("b-1", "tok_declined", "card_declined"), ("c-1", "tok_insufficient_funds", "insufficient_funds")]
    {
        let (status, declined) = charge(at, key, card).await.unwrap();
        assert_eq!((status, &declined["state"], &declined["reason"]), (200, &json!("declined"), &json!(reason)));
    }
    provider.shutdown().await;

    let provider = start(folder.path(), quick()).await;
    let at = provider.address;
    assert_eq!(state(at, "a-1").await, (200, json!("succeeded")));
    assert_eq!(post(at, "a-1", "cancel").await, Some((200, json!("succeeded"))), "what is decided cannot be closed");
    for _ in 0..2 {
        assert_eq!(post(at, "a-1", "refund").await, Some((200, json!("refunded"))));
    }
    assert_eq!(post(at, "b-1", "refund").await, Some((200, json!("declined"))));
    assert_eq!(post(at, "d-1", "refund").await, Some((404, Value::Null)));
    assert_eq!(post(at, "d-1", "cancel").await, Some((200, json!("declined"))));
    let late = charge(at, "d-1", "tok_visa").await.unwrap();
    assert_eq!((late.0, &late.1["reason"]), (200, &json!("cancelled")), "a closed key takes nothing");

    let (_, page) = ask(at, "GET", "/v1/charges?after=1&limit=2", Value::Null).await.unwrap();
    let keys: Vec<&str> =
        page["charges"].as_array().unwrap().iter().map(|entry| entry["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["b-1", "c-1"]);
    provider.shutdown().await;
}

#[tokio::test]
async fn what_is_lost_is_lost_once_and_what_is_late_is_in_progress_until_then() {
    let folder = tempfile::tempdir().unwrap();
    let provider = start(folder.path(), Faults { lost_before_rate: 1.0, ..quick() }).await;
    let at = provider.address;
    let set = |faults: Faults| async move {
        ask(at, "PUT", "/admin/faults", serde_json::to_value(&faults).unwrap()).await.unwrap()
    };
    assert_eq!(charge(at, "a", "tok_visa").await, None);
    assert_eq!(state(at, "a").await, (404, Value::Null), "the request was lost");
    assert_eq!(charge(at, "a", "tok_visa").await.unwrap().0, 200);
    assert_eq!(post(at, "a", "refund").await, None);
    assert_eq!(state(at, "a").await, (200, json!("succeeded")));
    assert_eq!(post(at, "a", "refund").await, Some((200, json!("refunded"))));

    assert_eq!(set(Faults { lost_after_rate: 1.0, ..quick() }).await.0, 200);
    assert_eq!(charge(at, "b", "tok_visa").await, None);
    assert_eq!(state(at, "b").await, (200, json!("succeeded")), "the answer was lost");
    assert_eq!(post(at, "c", "cancel").await, None);
    assert_eq!(state(at, "c").await, (200, json!("declined")));

    assert_eq!(set(Faults { late_rate: 1.0, late_ms: 400, ..quick() }).await.0, 200);
    assert_eq!(charge(at, "d", "tok_visa").await.unwrap().0, 202);
    assert_eq!(state(at, "d").await, (202, json!("in_progress")));
    assert_eq!(post(at, "d", "cancel").await, Some((202, json!("in_progress"))));
    assert_eq!(post(at, "d", "refund").await, Some((202, json!("in_progress"))));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(state(at, "d").await, (200, json!("succeeded")));

    assert_eq!(set(quick()).await.0, 200);
    assert_eq!(charge(at, "e", "tok_declined").await.unwrap().0, 200);
    let (_, tally) = ask(at, "GET", "/admin/tally", Value::Null).await.unwrap();
    let none = json!({ "events": 0, "held_back": 0, "delivered": 0, "repeated": 0, "failed": 0 });
    let expected = json!({
        "charges": 4, "declined": 1, "late": 1, "cancelled": 1, "refunded": 1, "lost_requests": 2, "lost_answers": 2,
        "webhooks": none, "waiting": 0,
    });
    assert_eq!(tally, expected, "each key once, whatever is repeated");
    provider.shutdown().await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_is_charged_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let slow = Faults { min_latency_ms: 400, max_latency_ms: 400, ..Faults::default() };
    let provider = start(folder.path(), slow).await;
    let at = provider.address;
    for key in ["a", "b"] {
        let gone = tokio::time::timeout(Duration::from_millis(150), charge(at, key, "tok_visa")).await;
        assert!(gone.is_err(), "it takes longer than the caller lives");
    }
    assert_eq!(state(at, "a").await, (404, Value::Null), "not yet");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(state(at, "a").await, (200, json!("succeeded")));
    assert_eq!(ask(at, "GET", "/admin/tally", Value::Null).await.unwrap().1["charges"], 2);

    // Also when it is to end.
    let gone = tokio::time::timeout(Duration::from_millis(150), charge(at, "c", "tok_visa")).await;
    assert!(gone.is_err());
    provider.shutdown().await;
    let provider = start(folder.path(), quick()).await;
    assert_eq!(state(provider.address, "c").await, (200, json!("succeeded")));
    provider.shutdown().await;
}

#[tokio::test]
async fn outages_and_rates_are_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let provider = start(folder.path(), Faults { is_down: true, ..quick() }).await;
    let at = provider.address;
    assert_eq!(charge(at, "a", "tok_visa").await.unwrap().0, 503);
    let (status, shown) = ask(at, "GET", "/admin/faults", Value::Null).await.unwrap();
    assert_eq!((status, &shown["is_down"]), (200, &json!(true)));
    assert_eq!(ask(at, "PUT", "/admin/faults", json!({ "decline_rate": 2.0 })).await.unwrap().0, 422);
    assert_eq!(ask(at, "PUT", "/admin/faults", json!({ "unknown": 2 })).await.unwrap().0, 400);
    assert_eq!(ask(at, "PUT", "/admin/faults", json!({ "is_down": false })).await.unwrap().0, 200);
    for (method, path, expected) in [
        ("GET", "/v1/charges/bad%20key", 400),
        ("GET", "/v1/charges?limit=1001", 400),
        ("PUT", "/v1/charges/a", 400),
        ("DELETE", "/v1/charges/a", 404),
        ("DELETE", "/admin/faults", 405),
    ] {
        assert_eq!(ask(at, method, path, Value::Null).await.unwrap().0, expected, "{method} {path}");
    }
    assert_eq!(ask(at, "PUT", "/admin/faults", json!({ "requests_per_second": 1 })).await.unwrap().0, 200);
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(state(at, "a").await.0 == 429);
    }
    assert!((1..20).contains(&refused), "{refused} of 20 at 1 a second");
    provider.shutdown().await;
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let config = Config {
        listen: "0.0.0.0:0".parse().unwrap(),
        ledger: "sqlite::memory:".into(),
        faults: quick(),
        webhooks: None,
    };
    assert!(matches!(PaymentSimulator::start(config).await, Err(StartError::NotLoopback(_))));
}
