//! How buyers ask the gateway: over keep-alive connections, each with a bearer token and an address of their own (told by the
//! loopback proxy that the demo's gateway trusts), again and again until the answer is certain. A gateway that is down, was
//! killed meanwhile, or is busy, is no answer.

use super::{Denied, PATIENCE};
use crate::clock;
use crate::demo::plan::{Buyer, Plan};
use crate::error::CliError;
use crate::token;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jsonwebtoken::EncodingKey;
use parking_lot::Mutex;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How long one request may take before its connection is given up and it is sent again.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Pauses become longer up to so many times the first, lest a crowd that waits keeps a busy gateway busy.
const LONGER: u32 = 8;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The gateway, as buyers reach it.
pub struct Browser {
    plan: Plan,
    address: String,
    key: EncodingKey,
    expires: u64,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    connections: Semaphore,
}

/// A buyer's request, however often it is sent.
struct Asked<'a> {
    buyer: Buyer,
    token: String,
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
}

/// An answer that was received whole.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Whether it is that of an earlier request.
    pub replayed: bool,
    /// Whether it is the first try's: nothing that was asked before may have had an effect.
    pub is_first: bool,
    /// JSON, or null.
    pub body: Value,
}

impl Answer {
    /// Why it is no, or else its status.
    #[must_use]
    pub fn code(&self) -> String {
        self.body
            .get("code")
            .and_then(Value::as_str)
            .map_or_else(|| format!("http_{}", self.status.as_u16()), str::to_owned)
    }

    /// The state of the reservation that it tells of.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.body.get("state").and_then(Value::as_str)
    }

    /// Whether a payment of it was begun of which nobody knows what became.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        self.body.pointer("/payment/state").is_some_and(|state| state == "unresolved")
    }

    /// Whether it settles nothing: asking again with the same key may.
    fn says_try_again(&self) -> bool {
        self.status.is_server_error()
            || self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::REQUEST_TIMEOUT
    }
}

impl Browser {
    /// For the gateway at `address`, with tokens signed by `secret`, over at most so many connections.
    #[must_use]
    pub fn new(plan: Plan, address: String, secret: &[u8], connections: usize) -> Self {
        Self {
            plan,
            address,
            key: EncodingKey::from_secret(secret),
            // Longer than any demo runs.
            expires: clock::wall().0 / 1000 + 24 * 3600,
            idle: Mutex::new(Vec::new()),
            connections: Semaphore::new(connections),
        }
    }

    /// Asks until the answer is certain, or for [`PATIENCE`].
    pub async fn ask(&self, buyer: Buyer, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Denied> {
        let deadline = clock::now() + PATIENCE;
        let token = self.token(buyer).map_err(|error| Denied::Unanswered(error.to_string()))?;
        let asked = Asked { buyer, token, method, path, body };
        let mut tries = 0;
        loop {
            let outcome = match self.send(&asked).await {
                Ok(answer) if !answer.says_try_again() => return Ok(Answer { is_first: tries == 0, ..answer }),
                Ok(answer) => format!("{} {}", answer.status, answer.code()),
                Err(why) => why,
            };
            if clock::now() > deadline {
                return Err(Denied::Unanswered(outcome));
            }
            tries += 1;
            self.pause(buyer, tries).await;
        }
    }

    fn token(&self, buyer: Buyer) -> Result<String, CliError> {
        token::sign(&self.key, &self.plan.subject(buyer.index), false, self.expires)
    }

    async fn send(&self, asked: &Asked<'_>) -> Result<Answer, String> {
        let request = self.request(asked).map_err(|error| error.to_string())?;
        // The semaphore is never closed.
        let _connection = self.connections.acquire().await.map_err(|error| error.to_string())?;
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        let exchange = async {
            connection.ready().await?;
            let response = connection.send_request(request).await?;
            read(response).await
        };
        match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(Ok(answer)) => {
                self.idle.lock().push(connection);
                Ok(answer)
            }
            Ok(Err(error)) => Err(format!("the connection to the gateway broke: {error}")),
            Err(_) => Err(format!("the gateway did not answer within {}s", ANSWER_WITHIN.as_secs())),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream =
            TcpStream::connect(&self.address).await.map_err(|error| format!("cannot reach the gateway: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // It ends with its sender; what went wrong on it the sender's caller hears.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, asked: &Asked<'_>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let Asked { buyer, token, method, path, body } = asked;
        let [_, a, b, c] = u32::try_from(buyer.index & 0xff_ffff).unwrap_or(0).to_be_bytes();
        let request = Request::builder()
            .method(method)
            .uri(*path)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(IDEMPOTENCY_KEY, self.plan.key(*buyer))
            .header(FORWARDED_FOR, format!("10.{a}.{b}.{c}"));
        match body {
            Some(body) => {
                request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body.to_string())))
            }
            None => request.body(Full::new(Bytes::new())),
        }
    }

    /// A pause before the next try, or look: longer each time, up to a bound.
    pub async fn pause(&self, buyer: Buyer, tries: u32) {
        tokio::time::sleep(self.plan.pause(buyer, tries) * tries.min(LONGER)).await;
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Answer, hyper::Error> {
    let text = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let replayed = text(HeaderName::from_static("idempotent-replayed")).as_deref() == Some("true");
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Answer { status, replayed, is_first: true, body })
}
