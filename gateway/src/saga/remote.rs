//! The payment simulator as a process of its own, over HTTP: `doorbuster payment-simulator`. What does not answer, or not
//! in a way that can be relied on, is unclear, and asked again.

use bytes::Bytes;
use doorbuster_protocol::types::Money;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::origin::{Failure, Origin};
use super::provider::{Answering, Charge, Charged, Key, Known, PaymentProvider, Purchase};
use crate::config::{ConfigError, field};

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Reasons that buyers are told as they are; any other is `declined`.
const REASONS: [&str; 3] = ["card_declined", "insufficient_funds", "cancelled"];

/// See the module.
pub struct RemoteSimulator {
    origin: Origin,
}

/// What the simulator tells of a key.
#[derive(Debug, Deserialize)]
struct Told {
    #[serde(default)]
    state: String,
    reason: Option<String>,
}

impl RemoteSimulator {
    /// The one at `http://host:port`.
    ///
    /// # Errors
    /// Another kind of address.
    pub fn at(url: &str) -> Result<Self, ConfigError> {
        let wrong = || field("payment.simulator.url", url, "give http://host:port, or nothing");
        let parsed = Url::parse(url).map_err(|_| wrong())?;
        let origin = Origin::new(&parsed, None, MAX_ANSWER).filter(|_| parsed.scheme() == "http");
        origin.map(|origin| Self { origin }).ok_or_else(wrong)
    }

    async fn known(&self, method: Method, key: Key, suffix: &str) -> Known {
        self.ask(method, &format!("/v1/charges/{key}{suffix}"), Bytes::new()).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Known {
        match self.exchange(method, path, body).await {
            Ok((status, told)) => known(status, &told),
            Err(error) => {
                tracing::debug!(error, "the payment provider does not answer");
                Known::Unclear
            }
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Told), Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let reply = self.origin.exchange(request).await?;
        Ok((reply.status, serde_json::from_slice(&reply.body)?))
    }
}

impl PaymentProvider for RemoteSimulator {
    fn charge<'a>(&'a self, charge: &'a Charge) -> Answering<'a, Charged> {
        Box::pin(async move {
            let Money { minor, currency } = charge.purchase.amount;
            let body = json!({ "amount": minor, "currency": currency.to_string(), "card_token": charge.card_token });
            let path = format!("/v1/charges/{}", charge.purchase.key);
            match self.ask(Method::PUT, &path, Bytes::from(body.to_string())).await {
                Known::Succeeded => Charged::Succeeded,
                Known::Declined(reason) => Charged::Declined(reason),
                // Whoever asks what came of it is told.
                Known::NotFound | Known::InProgress | Known::Refunded | Known::Unclear => Charged::Unclear,
            }
        })
    }

    fn outcome(&self, purchase: Purchase) -> Answering<'_, Known> {
        Box::pin(self.known(Method::GET, purchase.key, ""))
    }

    fn cancel(&self, purchase: Purchase) -> Answering<'_, Known> {
        Box::pin(self.known(Method::POST, purchase.key, "/cancel"))
    }

    fn refund(&self, purchase: Purchase) -> Answering<'_, Known> {
        Box::pin(self.known(Method::POST, purchase.key, "/refund"))
    }
}

fn known(status: StatusCode, told: &Told) -> Known {
    match (status, told.state.as_str()) {
        (StatusCode::NOT_FOUND, _) => Known::NotFound,
        (StatusCode::ACCEPTED, "in_progress") => Known::InProgress,
        (StatusCode::OK, "succeeded") => Known::Succeeded,
        (StatusCode::OK, "refunded") => Known::Refunded,
        (StatusCode::OK, "declined") => {
            let told = told.reason.as_deref().unwrap_or_default();
            Known::Declined(REASONS.into_iter().find(|reason| *reason == told).unwrap_or("declined"))
        }
        // 429, 5xx, and whatever else this does not know.
        _ => Known::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_relied_on_counts() {
        let told = |state: &str, reason: Option<&str>| Told { state: state.into(), reason: reason.map(Into::into) };
        for (status, told, expected) in [
            (200, told("succeeded", None), Known::Succeeded),
            (200, told("refunded", None), Known::Refunded),
            (200, told("declined", Some("insufficient_funds")), Known::Declined("insufficient_funds")),
            (200, told("declined", Some("something new")), Known::Declined("declined")),
            (202, told("in_progress", None), Known::InProgress),
            (404, told("", None), Known::NotFound),
            (200, told("", None), Known::Unclear),
            (409, told("", None), Known::Unclear),
            (429, told("", None), Known::Unclear),
            (500, told("succeeded", None), Known::Unclear),
            (503, told("", None), Known::Unclear),
        ] {
            assert_eq!(known(StatusCode::from_u16(status).unwrap(), &told), expected, "{status} {told:?}");
        }
    }

    #[test]
    fn addresses_are_plain() {
        for url in ["http://127.0.0.1:8090", "http://localhost:8090/", "http://[::1]:8090"] {
            assert!(RemoteSimulator::at(url).is_ok(), "{url}");
        }
        for url in ["127.0.0.1:8090", "https://127.0.0.1:8090", "http://x/y", "http://x?y", "http://u@x", "nothing"] {
            assert!(RemoteSimulator::at(url).is_err(), "{url}");
        }
    }
}
