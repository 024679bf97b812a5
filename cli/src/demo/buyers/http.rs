//! Buyers who reach the shop through the gateway, as a browser would: keep-alive connections, a bearer token
//! of their own each, an address of their own (told by the loopback proxy that the demo's gateway trusts).

use super::{Card, Denied, Grant, PATIENCE, Paid, Shop};
use crate::clock;
use crate::demo::plan::{Buyer, PRODUCT, Plan};
use crate::error::CliError;
use crate::names::{parse_reservation, reservation_text};
use crate::token;
use bytes::Bytes;
use doorbuster_gateway::ids;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jsonwebtoken::EncodingKey;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How long one request may take before its connection is given up and it is sent again.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Looks at a payment under way before it is asked for again.
const LOOKS: u32 = 30;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The shop by its gateway.
pub struct HttpShop {
    plan: Plan,
    address: String,
    key: EncodingKey,
    expires: u64,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    connections: Semaphore,
}

/// An answer that was received whole.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    replayed: bool,
    body: Value,
}

impl Answer {
    fn code(&self) -> String {
        self.body
            .get("code")
            .and_then(Value::as_str)
            .map_or_else(|| format!("http_{}", self.status.as_u16()), str::to_owned)
    }

    fn state(&self) -> Option<&str> {
        self.body.get("state").and_then(Value::as_str)
    }

    /// Whether the answer settles nothing: asking again with the same key may.
    fn says_try_again(&self) -> bool {
        self.status.is_server_error()
            || self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::REQUEST_TIMEOUT
    }
}

impl HttpShop {
    /// The shop behind the gateway at `address`, with tokens signed by `secret`, over at most so many connections.
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

    /// Asks until the answer is certain.
    async fn ask(&self, buyer: Buyer, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Denied> {
        let deadline = clock::now() + PATIENCE;
        let token = self.token(buyer).map_err(|error| Denied::Unanswered(error.to_string()))?;
        let mut tries = 0;
        loop {
            let outcome = match self.send(buyer, &token, method.clone(), path, body).await {
                Ok(answer) if !answer.says_try_again() => return Ok(answer),
                Ok(answer) => format!("{} {}", answer.status, answer.code()),
                Err(why) => why,
            };
            if clock::now() > deadline {
                return Err(Denied::Unanswered(outcome));
            }
            tries += 1;
            tokio::time::sleep(self.plan.pause(buyer, tries)).await;
        }
    }

    fn token(&self, buyer: Buyer) -> Result<String, CliError> {
        token::sign(&self.key, &self.plan.subject(buyer.index), false, self.expires)
    }

    async fn send(
        &self,
        buyer: Buyer,
        token: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let request = self.request(buyer, token, method, path, body).map_err(|error| error.to_string())?;
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

    fn request(
        &self,
        buyer: Buyer,
        token: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let [_, a, b, c] = u32::try_from(buyer.index & 0xff_ffff).unwrap_or(0).to_be_bytes();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(IDEMPOTENCY_KEY, self.plan.key(buyer))
            .header(FORWARDED_FOR, format!("10.{a}.{b}.{c}"));
        match body {
            Some(body) => {
                request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body.to_string())))
            }
            None => request.body(Full::new(Bytes::new())),
        }
    }

    /// Looks at a payment that is under way until it has ended. One that takes long is asked for again, which takes it
    /// up where it stands.
    async fn follow(&self, buyer: Buyer, status: &str, path: &str, body: &Value) -> Result<Answer, Denied> {
        for look in 1..=LOOKS {
            tokio::time::sleep(self.plan.pause(buyer, look)).await;
            let seen = self.ask(buyer, Method::GET, status, None).await?;
            if seen.state() != Some("paying") {
                return Ok(seen);
            }
        }
        self.ask(buyer, Method::POST, path, Some(body)).await
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Answer, hyper::Error> {
    let text = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let location = text(LOCATION);
    let replayed = text(HeaderName::from_static("idempotent-replayed")).as_deref() == Some("true");
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Answer { status, location, replayed, body })
}

impl Shop for HttpShop {
    async fn reserve(&self, buyer: Buyer) -> Result<Grant, Denied> {
        let body = json!({ "product": PRODUCT.0, "quantity": 1 });
        let answer = self.ask(buyer, Method::POST, "/v1/reservations", Some(&body)).await?;
        if !answer.status.is_success() {
            return Err(Denied::Refused(answer.code()));
        }
        let id = answer.body.get("id").and_then(Value::as_str).unwrap_or_default();
        let name = parse_reservation(id)
            .map_err(|error| Denied::Unanswered(format!("{} without an id: {error}", answer.status)))?;
        let user = ids::user(&self.plan.subject(buyer.index));
        Ok(Grant { reservation: name.reservation, user, replayed: answer.replayed })
    }

    async fn pay(&self, buyer: Buyer, grant: Grant, card: Card, attempt: u16) -> Result<Paid, Denied> {
        let token = match card {
            Card::Good => "tok_visa",
            Card::Declined => "tok_declined",
        };
        let path = format!("/v1/reservations/{}/payment", reservation_text(PRODUCT, grant.reservation));
        let body = json!({ "card_token": token, "attempt": attempt });
        let deadline = clock::now() + PATIENCE;
        let mut answer = self.ask(buyer, Method::POST, &path, Some(&body)).await?;
        while answer.status == StatusCode::ACCEPTED && clock::now() < deadline {
            let status = answer.location.take().unwrap_or_else(|| path.trim_end_matches("/payment").to_owned());
            answer = self.follow(buyer, &status, &path, &body).await?;
        }
        match (answer.status, answer.state()) {
            (StatusCode::PAYMENT_REQUIRED, _) => Ok(Paid::Declined),
            (_, Some("confirmed")) => Ok(Paid::Confirmed),
            (_, Some("refund_due" | "refunded")) => Ok(Paid::Refunded),
            (_, Some("held")) => Ok(Paid::Declined),
            (_, Some(state @ ("expired" | "released"))) => Ok(Paid::Gone(state.to_owned())),
            _ => match answer.code() {
                code if code == "reservation_expired" => Ok(Paid::Gone(code)),
                code if code == "refunding" => Ok(Paid::Refunded),
                code => Err(Denied::Refused(code)),
            },
        }
    }

    async fn release(&self, buyer: Buyer, grant: Grant) -> Result<(), Denied> {
        let path = format!("/v1/reservations/{}", reservation_text(PRODUCT, grant.reservation));
        let answer = self.ask(buyer, Method::DELETE, &path, None).await?;
        if answer.status.is_success() { Ok(()) } else { Err(Denied::Refused(answer.code())) }
    }
}
