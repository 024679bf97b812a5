//! Connections: slow ones, too many, rates by address, the cluster away, and a shutdown that answers what it has.

use std::net::SocketAddr;
use std::time::Duration;

use doorbuster_gateway::Gateway;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::agent::{Agent, PATIENCE};
use crate::cluster::{Cluster, quiet};

/// A gateway whose cluster is nowhere.
async fn alone(change: impl FnOnce(&mut doorbuster_gateway::GatewayConfig)) -> Gateway {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut config = quiet(&nobody.to_string());
    change(&mut config);
    Gateway::start(config).await.unwrap()
}

/// Sends bytes and reads until the gateway closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> (String, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("the gateway closes");
    drop(reading);
    (String::from_utf8_lossy(&text).into_owned(), begun.elapsed())
}

#[tokio::test]
async fn a_head_that_dribbles_in_is_cut_off() {
    let gateway = alone(|config| config.http.head_timeout_ms = 300).await;
    for start in [b"".as_slice(), b"GET /livez HTTP/1.1\r\n", b"GET /livez HTTP/1.1\r\nhost: x\r\nx-a: "] {
        let (_, took) = raw(gateway.address, start).await;
        assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(5), "{took:?}");
    }
    // One byte at a time does not stretch it.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let begun = Instant::now();
    while stream.write_all(b"G").await.is_ok() && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    gateway.shutdown().await;
}

#[tokio::test]
async fn a_body_that_dribbles_in_is_408() {
    let gateway = alone(|config| config.http.body_timeout_ms = 300).await;
    let head =
        "POST /v1/reservations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer dev:a\r\ncontent-length: 20\r\n\r\n{";
    let (text, _) = raw(gateway.address, head.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("\"code\":\"body_timeout\""), "{text}");
    gateway.shutdown().await;
}

#[tokio::test]
async fn garbage_is_refused_and_closed() {
    let gateway = alone(|_| {}).await;
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        let (text, _) = raw(gateway.address, bytes).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
    }
    let endless = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'x'; 1 << 20]].concat();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let _ = stream.write_all(&endless).await;
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    let text = String::from_utf8_lossy(&text);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    Agent::new(gateway.address, "").get("/livez").await.ok(200);
    gateway.shutdown().await;
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let gateway = alone(|_| {}).await;
    let one = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (text, _) = raw(gateway.address, format!("{}{last}", one.repeat(9)).as_bytes()).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 10, "{text}");
    gateway.shutdown().await;
}

#[tokio::test]
async fn connections_are_bounded() {
    let gateway = alone(|config| config.http.max_connections = 2).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut some = [0; 64];
        assert!(stream.read(&mut some).await.unwrap() > 0);
        held.push(stream);
    }
    let (text, _) = raw(gateway.address, b"").await;
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\"code\":\"overloaded\""), "{text}");
    drop(held);
    let agent = Agent::new(gateway.address, "");
    tokio::time::sleep(Duration::from_millis(200)).await;
    agent.get("/livez").await.ok(200);
    gateway.shutdown().await;
}

#[tokio::test]
async fn each_address_has_its_rate() {
    let gateway = alone(|config| {
        config.limits.address_per_second = 1;
        config.limits.address_burst = 3;
        config.trusted_proxies = vec!["127.0.0.0/8".into()];
    })
    .await;
    let agent = Agent::user(gateway.address, "alice");
    for _ in 0..3 {
        agent.get("/v1/products").await.is(503, "no_leader");
    }
    let limited = agent.get("/v1/products").await;
    assert_eq!(limited.is(429, "rate_limited").body["scope"], "address");
    assert_eq!(limited.body["limit"], 1);
    agent.get("/nowhere").await.is(429, "rate_limited");
    let behind = agent.with("x-forwarded-for", "203.0.113.7");
    behind.get("/v1/products").await.is(503, "no_leader");
    let forged = agent.with("x-forwarded-for", "198.51.100.1, 203.0.113.7");
    for _ in 0..2 {
        forged.get("/v1/products").await.is(503, "no_leader");
    }
    forged.get("/v1/products").await.is(429, "rate_limited");
    agent.get("/livez").await.ok(200);
    gateway.shutdown().await;
}

#[tokio::test]
async fn everybody_together_has_a_rate() {
    let gateway = alone(|config| {
        config.limits.global_per_second = 1;
        config.limits.global_burst = 2;
    })
    .await;
    let agent = Agent::user(gateway.address, "alice");
    agent.get("/v1/products").await.is(503, "no_leader");
    agent.get("/v1/products").await.is(503, "no_leader");
    assert_eq!(agent.get("/v1/products").await.is(429, "rate_limited").body["scope"], "everybody");
    gateway.shutdown().await;
}

#[tokio::test]
async fn without_a_cluster_it_lives_and_is_not_ready() {
    let gateway = alone(|_| {}).await;
    let agent = Agent::user(gateway.address, "alice");
    agent.get("/livez").await.ok(200);
    agent.get("/readyz").await.is(503, "not_ready");
    agent.reserve("k", 1, 1).await.is(503, "no_leader");
    gateway.shutdown().await;
}

#[tokio::test]
async fn a_cluster_that_went_away_is_no_leader() {
    let cluster = Cluster::start_with(|config| config.deadline_ms = 500).await;
    cluster.product(1, 10, json!({})).await;
    let alice = cluster.user("alice");
    alice.reserve("k", 1, 1).await.ok(201);
    let gateways = cluster.kill_server().await;
    let refused = alice.reserve("l", 1, 1).await;
    assert!([503, 504].contains(&refused.status), "{refused:?}");
    alice.get("/v1/products/1").await.is(503, "no_leader");
    for gateway in gateways {
        gateway.shutdown().await;
    }
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_progress() {
    let mut cluster = Cluster::start_with(|config| {
        config.payment.simulator.min_latency_ms = 700;
        config.payment.simulator.max_latency_ms = 700;
    })
    .await;
    cluster.product(1, 10, json!({})).await;
    let alice = cluster.user("alice");
    let id = alice.reserve("k", 1, 1).await.ok(201).id();
    let paying = tokio::spawn(async move { alice.pay(&id, "tok_visa").await });
    // An idle connection does not hold it up.
    let idle = TcpStream::connect(cluster.address()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (address, begun) = (cluster.address(), Instant::now());
    cluster.end_gateway().await;
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    paying.await.unwrap().ok(200);
    assert!(TcpStream::connect(address).await.is_err(), "it listens no more");
    drop(idle);
    cluster.end().await;
}
