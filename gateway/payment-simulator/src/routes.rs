//! What it answers.
//!
//! | request | answer |
//! | --- | --- |
//! | `PUT /v1/charges/{key}` with [`ChargeBody`] | 200 with the entry; 202 while it is in progress; 409 for another amount |
//! | `GET /v1/charges/{key}` | 200 with the entry, or 404 |
//! | `POST /v1/charges/{key}/cancel` | 200 with the entry: an undecided key is declined from then on |
//! | `POST /v1/charges/{key}/refund` | 200 with the entry, or 404 |
//! | `GET /v1/charges?after=N&limit=M` | the ledger behind entry N, at most M (1000) |
//! | `GET /v1/events?after=N&limit=M` | the events behind event N, with how often each was sent and has still to be acknowledged |
//! | `GET /admin/tally` | what has happened since the start, [`Counts`], and `waiting`: events that have still to be acknowledged |
//! | `GET /admin/faults`, `PUT /admin/faults` | what goes wrong, from now on |
//!
//! Under `/v1`, an outage is 503 and too many requests are 429; what is lost gets no answer at all: the connection ends.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::faults::{Fate, Faults, FaultsError, Lost, Operation, Telling};
use crate::ledger::{Decision, Entry, Ledger};
use crate::outbox::Shown;
use crate::tally::{Counts, Tally};

/// Longest body, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// Longest key, in bytes.
const MAX_KEY: usize = 255;
/// Most entries in a page.
const MAX_PAGE: i64 = 1000;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
pub type HttpResponse = Response<Full<Bytes>>;

/// What is charged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeBody {
    /// In minor units.
    pub amount: i64,
    /// Of which currency.
    pub currency: String,
    /// `tok_declined` and `tok_insufficient_funds` are declined.
    pub card_token: String,
}

/// A page of the ledger.
#[derive(Clone, Debug, Serialize)]
struct Page {
    charges: Vec<Entry>,
}

/// A page of events.
#[derive(Clone, Debug, Serialize)]
struct Events {
    events: Vec<Shown>,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// Counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// Events that have still to be acknowledged, those of before the start included.
    pub waiting: i64,
}

/// Everything that requests share.
#[derive(Debug)]
pub struct Shop {
    ledger: Ledger,
    tally: Tally,
    setting: RwLock<Arc<Setting>>,
    /// Whether events are told to somebody.
    tells: bool,
    decided: Notify,
}

#[derive(Debug)]
struct Setting {
    faults: Faults,
    limiter: Option<DefaultDirectRateLimiter>,
}

/// No answer: the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost, as was asked for")]
pub struct Silence;

/// Why a request is not answered with what it wants.
enum Stop {
    Silence,
    Problem(StatusCode, String),
}

impl Setting {
    fn new(faults: Faults) -> Arc<Self> {
        let limiter =
            NonZeroU32::new(faults.requests_per_second).map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Arc::new(Self { faults, limiter })
    }
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the ledger fails");
        stop(StatusCode::INTERNAL_SERVER_ERROR, "the ledger fails")
    }
}

impl Shop {
    /// What is sold here is nothing.
    #[must_use]
    pub fn new(ledger: Ledger, faults: Faults, tells: bool) -> Self {
        let (tally, setting) = (Tally::default(), RwLock::new(Setting::new(faults)));
        Self { ledger, tally, setting, tells, decided: Notify::new() }
    }

    /// The ledger.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is counted.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether there is an outage, as was asked for.
    pub(crate) fn is_down(&self) -> bool {
        self.setting.read().faults.is_down
    }

    /// Until something is decided.
    pub(crate) async fn decided(&self) {
        self.decided.notified().await;
    }

    /// How an event is told, if it is.
    fn telling(&self, fate: &Fate) -> Option<Telling> {
        self.tells.then_some(fate.telling)
    }

    /// Closes the ledger.
    pub async fn close(&self) {
        self.ledger.close().await;
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`Silence`] where the answer is lost.
    pub async fn answer(&self, request: Request<Incoming>) -> Result<HttpResponse, Silence> {
        match self.route(request).await {
            Ok(response) => Ok(response),
            Err(Stop::Problem(status, error)) => Ok(json(status, &serde_json::json!({ "error": error }))),
            Err(Stop::Silence) => Err(Silence),
        }
    }

    async fn route(&self, request: Request<Incoming>) -> Result<HttpResponse, Stop> {
        let (parts, body) = request.into_parts();
        let path: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
        if path == ["admin", "faults"] {
            return self.admin(&parts.method, body).await;
        }
        if (&parts.method, &path[..]) == (&Method::GET, &["admin", "tally"]) {
            let happened = Happened { counts: self.tally.counts(), waiting: self.ledger.waiting().await? };
            return Ok(json(StatusCode::OK, &happened));
        }
        self.let_in()?;
        match (&parts.method, &path[..]) {
            (&Method::GET, ["v1", "charges"]) => self.page(parts.uri.query().unwrap_or_default()).await,
            (&Method::GET, ["v1", "events"]) => {
                let (after, limit) = page_of(parts.uri.query().unwrap_or_default())?;
                Ok(json(StatusCode::OK, &Events { events: self.ledger.events(after, limit).await? }))
            }
            (&Method::GET, ["v1", "charges", key]) => Ok(told(self.ledger.find(checked(key)?).await?)),
            (&Method::PUT, ["v1", "charges", key]) => self.charge(checked(key)?, &read(body).await?).await,
            (&Method::POST, ["v1", "charges", key, "cancel"]) => self.cancel(checked(key)?).await,
            (&Method::POST, ["v1", "charges", key, "refund"]) => self.refund(checked(key)?).await,
            _ => Err(stop(StatusCode::NOT_FOUND, "there is nothing at this path, or not by this method")),
        }
    }

    fn setting(&self) -> Arc<Setting> {
        Arc::clone(&self.setting.read())
    }

    /// Outages and rates.
    fn let_in(&self) -> Result<(), Stop> {
        let setting = self.setting();
        if setting.faults.is_down {
            return Err(stop(StatusCode::SERVICE_UNAVAILABLE, "down, as was asked for"));
        }
        match setting.limiter.as_ref().map(RateLimiter::check) {
            Some(Err(_)) => Err(stop(StatusCode::TOO_MANY_REQUESTS, "too many requests")),
            Some(Ok(())) | None => Ok(()),
        }
    }

    async fn admin(&self, method: &Method, body: Incoming) -> Result<HttpResponse, Stop> {
        match *method {
            Method::GET => {}
            Method::PUT => {
                let faults: Faults = read(body).await?;
                let wrong = |error: FaultsError| stop(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string());
                faults.validate().map_err(wrong)?;
                *self.setting.write() = Setting::new(faults);
            }
            _ => return Err(stop(StatusCode::METHOD_NOT_ALLOWED, "GET or PUT")),
        }
        Ok(json(StatusCode::OK, &self.setting().faults))
    }

    async fn charge(&self, key: &str, body: &ChargeBody) -> Result<HttpResponse, Stop> {
        if body.amount < 0 || body.currency.len() != 3 {
            return Err(stop(StatusCode::UNPROCESSABLE_ENTITY, "an amount and its currency are wanted"));
        }
        let (fate, loses) = self.meet(Operation::Charge, key).await?;
        let decision = match body.card_token.as_str() {
            "tok_declined" => Decision::Declined("card_declined"),
            "tok_insufficient_funds" => Decision::Declined("insufficient_funds"),
            _ if fate.is_declined => Decision::Declined("card_declined"),
            _ => Decision::Taken,
        };
        let after = if fate.is_late { Duration::from_millis(self.setting().faults.late_ms) } else { Duration::ZERO };
        let telling = self.telling(&fate);
        let (entry, made) = self.ledger.decide(key, (body.amount, &body.currency), decision, after, telling).await?;
        self.tally.charged(made, decision, &fate, telling);
        self.decided.notify_one();
        tokio::time::sleep(fate.answer).await;
        if loses {
            return Err(self.lost_answer());
        }
        // A key that was closed before anything was charged has no amount.
        let is_other = (entry.amount, entry.currency.as_str()) != (body.amount, &body.currency);
        if is_other && !entry.currency.is_empty() {
            return Err(stop(StatusCode::CONFLICT, "the key was used for another amount"));
        }
        Ok(told(Some(entry)))
    }

    async fn cancel(&self, key: &str) -> Result<HttpResponse, Stop> {
        let (fate, loses) = self.meet(Operation::Cancel, key).await?;
        let (decision, telling) = (Decision::Declined("cancelled"), self.telling(&fate));
        let (entry, made) = self.ledger.decide(key, (0, ""), decision, Duration::ZERO, telling).await?;
        self.tally.cancelled(made, telling);
        self.decided.notify_one();
        if loses { Err(self.lost_answer()) } else { Ok(told(Some(entry))) }
    }

    async fn refund(&self, key: &str) -> Result<HttpResponse, Stop> {
        let (fate, loses) = self.meet(Operation::Refund, key).await?;
        let telling = self.telling(&fate);
        let (entry, made) = self.ledger.refund(key, telling).await?;
        self.tally.refunded(made, telling);
        self.decided.notify_one();
        if loses { Err(self.lost_answer()) } else { Ok(told(entry)) }
    }

    fn lost_answer(&self) -> Stop {
        self.tally.lost_answer();
        Stop::Silence
    }

    /// Takes as long as it is to take. Whether the answer is to be lost; an error if the request is.
    async fn meet(&self, operation: Operation, key: &str) -> Result<(Fate, bool), Stop> {
        let fate = self.setting().faults.fate(operation, key);
        let is_first = self.ledger.arrive(operation, key).await? == 1;
        tokio::time::sleep(fate.latency).await;
        match fate.lost {
            Lost::Request if is_first => {
                self.tally.lost_request();
                Err(Stop::Silence)
            }
            lost => Ok((fate, is_first && lost == Lost::Answer)),
        }
    }

    async fn page(&self, query: &str) -> Result<HttpResponse, Stop> {
        let (after, limit) = page_of(query)?;
        Ok(json(StatusCode::OK, &Page { charges: self.ledger.page(after, limit).await? }))
    }
}

/// Behind which entry, and at most how many.
fn page_of(query: &str) -> Result<(i64, i64), Stop> {
    let (mut after, mut limit) = (0, MAX_PAGE);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value.parse::<i64>()) {
            ("after", Ok(number)) => after = number,
            ("limit", Ok(number)) if (1..=MAX_PAGE).contains(&number) => limit = number,
            _ => return Err(stop(StatusCode::BAD_REQUEST, "after=N and limit=1 to 1000 are known")),
        }
    }
    Ok((after, limit))
}

fn checked(key: &str) -> Result<&str, Stop> {
    if (1..=MAX_KEY).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        return Ok(key);
    }
    Err(stop(StatusCode::BAD_REQUEST, "a key has 1 to 255 letters, digits, - and _"))
}

async fn read<T: for<'a> Deserialize<'a>>(body: Incoming) -> Result<T, Stop> {
    let unreadable = |what: &str| stop(StatusCode::BAD_REQUEST, what);
    let reading = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    let bytes = reading.map_err(|_| unreadable("the body took too long"))?;
    let bytes = bytes.map_err(|_| unreadable("the body is too long, or was cut off"))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| unreadable(&error.to_string()))
}

fn told(entry: Option<Entry>) -> HttpResponse {
    match entry {
        Some(entry) if entry.state == "in_progress" => json(StatusCode::ACCEPTED, &entry),
        Some(entry) => json(StatusCode::OK, &entry),
        None => json(StatusCode::NOT_FOUND, &serde_json::json!({ "error": "nothing was decided under this key" })),
    }
}

fn stop(status: StatusCode, error: &str) -> Stop {
    Stop::Problem(status, error.to_owned())
}

fn json(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    // Writing JSON into memory cannot fail for these types: their maps have text keys.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
