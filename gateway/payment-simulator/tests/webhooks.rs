//! What the provider tells by webhook, heard by a real HTTP server that answers as it is told to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use doorbuster_payment_simulator::faults::Faults;
use doorbuster_payment_simulator::sender::Webhooks;
use doorbuster_payment_simulator::signature::Secrets;
use doorbuster_payment_simulator::tally::Told;
use doorbuster_payment_simulator::{Config, PaymentSimulator};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const SECRETS: &str = "whsec_0123456789abcdef0123456789 whsec_9876543210fedcba9876543210";

/// A webhook as it came.
#[derive(Clone, Debug)]
struct Heard {
    signature: String,
    body: Bytes,
    at: Instant,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `succeeded a`
    fn short(&self) -> String {
        let json = self.json();
        let type_name = json["type"].as_str().unwrap().strip_prefix("charge.").unwrap().to_owned();
        format!("{type_name} {}", json["data"]["key"].as_str().unwrap())
    }
}

/// Hears webhooks.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    answer: Arc<AtomicU16>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (heard, answer) = (Arc::default(), Arc::new(AtomicU16::new(200)));
        let receiver = Self { address: listener.local_addr().unwrap(), heard, answer };
        let served = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = served.clone();
                let service = service_fn(move |request| receiver.clone().take(request));
                tokio::spawn(server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        receiver
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/hook"));
        assert_eq!(head.headers["content-type"], "application/json");
        let signature = head.headers["doorbuster-signature"].to_str().unwrap().to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        self.heard.lock().push(Heard { signature, body, at: Instant::now() });
        let mut response = Response::new(Full::default());
        *response.status_mut() = self.answer.load(Ordering::SeqCst).try_into().unwrap();
        Ok(response)
    }

    fn webhooks(&self) -> Webhooks {
        Webhooks::to(&format!("http://{}/hook", self.address), Secrets::read(SECRETS).unwrap()).unwrap()
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().clone()
    }

    /// Waits until so many have come.
    async fn hears(&self, number: usize) -> Vec<Heard> {
        for _ in 0..1000 {
            if self.heard().len() >= number {
                return self.heard();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{number} do not come: {:?}", self.heard());
    }
}

fn quick() -> Faults {
    Faults { min_latency_ms: 0, max_latency_ms: 2, ..Faults::default() }
}

async fn start(folder: &Path, faults: Faults, to: &Receiver) -> PaymentSimulator {
    let ledger = format!("sqlite:{}", folder.join("ledger.db").display());
    let listen = "127.0.0.1:0".parse().unwrap();
    PaymentSimulator::start(Config { listen, ledger, faults, webhooks: Some(to.webhooks()) }).await.unwrap()
}

async fn ask(to: SocketAddr, method: &str, path: &str, body: Value) -> Value {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).header("host", "provider").body(Full::new(body)).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

async fn charge(to: SocketAddr, key: &str, card: &str) {
    let body = json!({ "amount": 500, "currency": "EUR", "card_token": card });
    ask(to, "PUT", &format!("/v1/charges/{key}"), body).await;
}

async fn refund(to: SocketAddr, key: &str) {
    ask(to, "POST", &format!("/v1/charges/{key}/refund"), Value::Null).await;
}

/// Waits until nothing is left to be told; each event's number of deliveries.
async fn told(to: SocketAddr) -> Vec<u64> {
    for _ in 0..1000 {
        let page = ask(to, "GET", "/v1/events?after=0&limit=100", Value::Null).await;
        let events = page["events"].as_array().unwrap();
        if events.iter().all(|event| event["remaining"] == 0) {
            return events.iter().map(|event| event["deliveries"].as_u64().unwrap()).collect();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("something is never acknowledged");
}

/// Waits until the tally of what was told is this.
async fn tallied(to: SocketAddr, expected: Told) {
    let mut seen = Value::Null;
    for _ in 0..1000 {
        seen = ask(to, "GET", "/admin/tally", Value::Null).await;
        if seen["waiting"] == 0 && serde_json::from_value::<Told>(seen["webhooks"].clone()).unwrap() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{seen} never becomes {expected:?}");
}

#[tokio::test]
async fn every_decision_is_told_once_signed_until_it_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    receiver.answer.store(503, Ordering::SeqCst);
    let provider = start(folder.path(), quick(), &receiver).await;
    let at = provider.address;
    charge(at, "a", "tok_visa").await;
    let heard = receiver.hears(3).await;
    assert!(heard[2].at - heard[1].at >= Duration::from_millis(300), "pauses become longer");
    receiver.answer.store(200, Ordering::SeqCst);
    assert!(told(at).await[0] >= 4);
    charge(at, "a", "tok_visa").await;
    charge(at, "b", "tok_declined").await;
    ask(at, "POST", "/v1/charges/c/cancel", Value::Null).await;
    for _ in 0..2 {
        refund(at, "a").await;
    }
    assert_eq!(told(at).await[1..], [1, 1, 1]);
    let heard = receiver.heard();
    assert!(heard.iter().all(|heard| heard.short() != "succeeded a" || heard.body == receiver.heard()[0].body));
    let mut last: Vec<String> = heard[heard.len() - 3..].iter().map(Heard::short).collect();
    last.sort();
    assert_eq!(last, ["declined b", "declined c", "refunded a"]);
    let first = heard[0].json();
    assert_eq!((&first["data"]["amount"], &first["data"]["state"]), (&json!(500), &json!("succeeded")));
    let ids: std::collections::BTreeSet<_> = heard.iter().map(|heard| heard.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), 4);
    for heard in &heard {
        let seconds = heard.signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
        assert_eq!(heard.signature, Secrets::read(SECRETS).unwrap().sign(seconds, &heard.body));
        assert!(heard.json()["created"].as_i64().unwrap() / 1000 <= seconds);
    }
    let failed = heard.len() as u64 - 4;
    tallied(at, Told { events: 4, delivered: 4, failed, ..Told::default() }).await;
    provider.shutdown().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    receiver.answer.store(400, Ordering::SeqCst);
    let provider = start(folder.path(), quick(), &receiver).await;
    charge(provider.address, "a", "tok_visa").await;
    let before = receiver.hears(1).await;
    provider.shutdown().await;
    let heard = receiver.heard().len();
    receiver.answer.store(204, Ordering::SeqCst);
    let provider = start(folder.path(), quick(), &receiver).await;
    assert_eq!(receiver.hears(heard + 1).await[heard].body, before[0].body);
    told(provider.address).await;
    provider.shutdown().await;
}

#[tokio::test]
async fn duplicates_and_disorder_are_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let provider = start(folder.path(), Faults { webhook_duplicate_rate: 1.0, ..quick() }, &receiver).await;
    let at = provider.address;
    for key in ["a", "b", "c", "d", "e", "f"] {
        charge(at, key, "tok_visa").await;
    }
    let times = told(at).await;
    assert!(
        times.iter().all(|times| (2..=5).contains(times)) && times.iter().any(|more| *more != times[0]),
        "{times:?}"
    );
    let delivered = times.iter().sum::<u64>();
    assert_eq!(receiver.heard().len() as u64, delivered);
    tallied(at, Told { events: 6, delivered, repeated: delivered - 6, ..Told::default() }).await;

    let set = |faults: Faults| ask(at, "PUT", "/admin/faults", serde_json::to_value(faults).unwrap());
    let heard = receiver.heard().len();
    set(Faults { webhook_reorder_rate: 1.0, webhook_reorder_ms: 800, ..quick() }).await;
    charge(at, "g", "tok_visa").await;
    set(Faults { webhook_delay_ms: 200, ..quick() }).await;
    let begun = Instant::now();
    refund(at, "g").await;
    let later = receiver.hears(heard + 2).await[heard..].to_vec();
    assert_eq!(later.iter().map(Heard::short).collect::<Vec<_>>(), ["refunded g", "succeeded g"]);
    assert!(later[0].at - begun >= Duration::from_millis(195), "delayed");

    // Its own answer comes last.
    set(Faults { slow_answer_rate: 1.0, slow_answer_ms: 1500, ..quick() }).await;
    charge(at, "h", "tok_visa").await;
    let answered = Instant::now();
    let last = receiver.hears(heard + 3).await[heard + 2].clone();
    assert!(last.short() == "succeeded h" && answered - last.at >= Duration::from_millis(1000));

    // What is decided late is told late, and in an outage nothing is told.
    set(Faults { late_rate: 1.0, late_ms: 500, ..quick() }).await;
    charge(at, "i", "tok_visa").await;
    set(Faults { is_down: true, ..quick() }).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(receiver.heard().len(), heard + 3);
    set(quick()).await;
    assert_eq!(receiver.hears(heard + 4).await[heard + 3].short(), "succeeded i");
    let told = Told { events: 10, held_back: 1, delivered: delivered + 4, repeated: delivered - 6, failed: 0 };
    tallied(at, told).await;
    provider.shutdown().await;
}
