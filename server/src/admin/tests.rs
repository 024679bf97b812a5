//! The admin port over a real socket.

use std::net::SocketAddr;

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[derive(Default)]
struct Node {
    problem: Mutex<Option<String>>,
}

impl AdminSource for Node {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        self.problem.lock().clone().map_or(Ok(()), Err)
    }

    fn status(&self) -> serde_json::Value {
        json!({ "node": 1, "shards": [{ "shard": 0, "leader": 1 }] })
    }

    fn refresh_gauges(&self) {
        metrics::gauge!("doorbuster_admin_test").set(42.0);
    }
}

async fn start(node: Arc<Node>) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let exporter = Exporter::install().unwrap();
    let served = tokio::spawn(serve(listener, node, exporter, shutdown.clone()));
    (address, shutdown, served)
}

async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn each_path_says_what_it_should() {
    let node = Arc::new(Node::default());
    let (address, shutdown, served) = start(Arc::clone(&node)).await;
    *node.problem.lock() = Some("shard 3 has no leader".to_owned());
    let table = [
        ("GET /livez HTTP/1.1", "200 OK", "ok"),
        ("GET /readyz HTTP/1.1", "503 Service Unavailable", "shard 3 has no leader"),
        ("GET /status HTTP/1.1", "200 OK", "\"leader\": 1"),
        ("GET /metrics HTTP/1.1", "200 OK", "doorbuster_admin_test 42"),
        ("GET /metrics?x=1 HTTP/1.1", "200 OK", "text/plain; version=0.0.4"),
        ("GET /nothing HTTP/1.1", "404 Not Found", "/livez, /readyz"),
        ("POST /status HTTP/1.1", "405 Method Not Allowed", "allow: GET, HEAD"),
    ];
    for (head, status, content) in table {
        let answer = ask(address, head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
        assert!(answer.contains(content), "{head}: {answer}");
    }
    *node.problem.lock() = None;
    assert!(ask(address, "GET /readyz HTTP/1.1").await.starts_with("HTTP/1.1 200"));
    shutdown.cancel();
    served.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_shutdown() {
    let (address, shutdown, served) = start(Arc::default()).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), served).await.expect("it waits for an idle client").unwrap();
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let (address, shutdown, served) = start(Arc::default()).await;
    let answer = ask(address, &format!("GET /livez HTTP/1.1\r\nX: {}", "x".repeat(64 << 10))).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    shutdown.cancel();
    served.await.unwrap();
}
