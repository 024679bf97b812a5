//! A buyer's or operator's HTTP client: one connection a request, every answer checked against the document.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::specification::judge;

/// Longest time for any answer in these tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody with a token.
#[derive(Clone)]
pub struct Agent {
    pub gateway: SocketAddr,
    authorization: String,
    headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Agent {
    /// An agent with this `Authorization`; none if it is empty.
    pub fn new(gateway: SocketAddr, authorization: &str) -> Self {
        Self { gateway, authorization: authorization.to_owned(), headers: Vec::new() }
    }

    /// The user of this name, on a gateway in development mode.
    pub fn user(gateway: SocketAddr, name: &str) -> Self {
        Self::new(gateway, &format!("Bearer dev:{name}"))
    }

    /// The same with one more header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut agent = self.clone();
        agent.headers.push((name.to_owned(), value.to_owned()));
        agent
    }

    /// The same with an `Idempotency-Key`.
    pub fn key(&self, key: &str) -> Self {
        self.with("idempotency-key", key)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body.to_string()).await
    }

    /// Reserves under a key.
    pub async fn reserve(&self, key: &str, product: u64, quantity: u32) -> Answer {
        self.key(key).post("/v1/reservations", &json!({ "product": product, "quantity": quantity })).await
    }

    /// Pays and waits for the end.
    pub async fn pay(&self, reservation: &str, card: &str) -> Answer {
        self.post(&format!("/v1/reservations/{reservation}/payment?wait=15"), &json!({ "card_token": card })).await
    }

    pub async fn send(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Answer {
        let answer = self.send_unjudged(method, path, body).await;
        judge(method, path, answer.status, answer.code());
        answer
    }

    /// To somebody who is no gateway.
    pub async fn send_unjudged(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        let mut request = Request::builder().method(method).uri(path.parse::<Uri>().unwrap()).header("host", "gateway");
        if !self.authorization.is_empty() {
            request = request.header("authorization", &self.authorization);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = tokio::time::timeout(PATIENCE, exchange(self.gateway, request.body(Full::new(body)).unwrap()));
        answer.await.expect("an answer in time")
    }
}

async fn exchange(gateway: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(gateway).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    driver.abort();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into()));
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

impl Answer {
    /// The code of a problem.
    pub fn code(&self) -> Option<&str> {
        let problem = self.headers.get("content-type").is_some_and(|value| value == "application/problem+json");
        problem.then(|| self.body["code"].as_str().expect("a problem has a code"))
    }

    /// Checks status and code, and that the problem is whole.
    pub fn is(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.code()), (status, Some(code)), "{self:?}");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:doorbuster:problem:{code}"));
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{self:?}");
        assert_eq!(self.body["retryable"].as_bool().unwrap(), self.headers.contains_key("retry-after"), "{self:?}");
        self
    }

    /// Checks the status of what is no problem.
    pub fn ok(&self, status: u16) -> &Self {
        assert_eq!((self.status, self.code()), (status, None), "{self:?}");
        self
    }

    /// A reservation's id.
    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}")).to_owned()
    }

    pub fn replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }
}
