//! Requests to Stripe, and which answers to believe. What a busy or broken Stripe answers (429, 5xx, a key that is in use,
//! no connection, no JSON) is asked again a few times, after a pause that doubles, with jitter, unless the account's breaker
//! has opened meanwhile: it does so at once when Stripe says `Retry-After`.

use std::time::Duration;

use bytes::Bytes;
use doorbuster_protocol::types::Millis;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded;

use crate::entropy::jittered;
use crate::saga::origin::{Failure, Origin, Reply};
use crate::saga::pacing::{Pacer, What};

/// The version of the API that this code was written for; Stripe answers in its shapes whatever the account's default.
pub const VERSION: &str = "2024-06-20";
/// Longest answer, in bytes; the longest that is expected is a page of a hundred intents.
pub const MAX_ANSWER: usize = 2 << 20;
/// Times a request is sent before its asker is told that there is no answer.
const TRIES: u32 = 4;
/// The pause before the second try.
const FIRST_PAUSE: Millis = Millis(250);

/// An account's line to Stripe: what a request looks like.
pub struct Line {
    origin: Origin,
    /// `Bearer sk_...`; never shown.
    authorization: HeaderValue,
}

/// An account's end of the API: its line, and when to use it.
pub struct Api {
    line: Line,
    name: String,
    /// Its turns.
    pub pacer: Pacer,
}

/// There is no answer to rely on. The log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// An answer to rely on: done, or refused for good.
#[derive(Debug)]
pub struct Answer {
    /// Its status. A 5xx is one that Stripe keeps for the idempotency key, and will give every time.
    pub status: StatusCode,
    /// What it says.
    pub body: Value,
}

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// GET or POST.
    pub method: &'a Method,
    /// From `/v1` on.
    pub path: &'a str,
    /// Sent as `Idempotency-Key`, if it is there.
    pub key: Option<&'a str>,
    /// Parameters: of the query for a GET, else of the body.
    pub form: &'a [(&'a str, &'a str)],
}

impl Line {
    /// With the account's secret key. `None` for a key that cannot be one.
    #[must_use]
    pub fn new(origin: Origin, key: &str) -> Option<Self> {
        let is_key = ["sk_", "rk_"].iter().any(|prefix| key.starts_with(prefix));
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}")).ok().filter(|_| is_key)?;
        authorization.set_sensitive(true);
        Some(Self { origin, authorization })
    }

    /// Asks once.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn exchange(&self, ask: Ask<'_>) -> Result<Reply, Failure> {
        let form: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(ask.form).finish();
        let (path, body) = match *ask.method {
            Method::GET => (format!("{}?{form}", ask.path), String::new()),
            _ => (ask.path.to_owned(), form),
        };
        let mut request = Request::builder()
            .method(ask.method)
            .uri(path)
            .header(AUTHORIZATION, &self.authorization)
            .header("stripe-version", VERSION)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(key) = ask.key {
            request = request.header("idempotency-key", key);
        }
        self.origin.exchange(request.body(Full::new(Bytes::from(body)))?).await
    }
}

impl Api {
    /// The account's.
    #[must_use]
    pub fn new(line: Line, name: &str, pacer: Pacer) -> Self {
        Self { line, name: name.to_owned(), pacer }
    }

    /// Asks until there is an answer to rely on, a few times.
    ///
    /// # Errors
    /// There is none.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Answer, NoAnswer> {
        let mut pause = FIRST_PAUSE;
        for tries_left in (0..TRIES).rev() {
            if !self.pacer.send() {
                return Err(NoAnswer);
            }
            let sent = Sent(Some(&self.pacer));
            match self.line.exchange(ask).await.map(|reply| judge(&reply)) {
                Ok(Verdict::Answer(answer)) => {
                    sent.came_to(What::Answered);
                    return Ok(answer);
                }
                Ok(Verdict::Forbidden(status)) => {
                    sent.came_to(What::Forbidden);
                    tracing::error!(
                        account = self.name,
                        %status,
                        "Stripe refuses the account's key (401 or 403): no payment gets through"
                    );
                    return Err(NoAnswer);
                }
                Ok(Verdict::Again { status, after }) => {
                    tracing::warn!(account = self.name, %status, path = ask.path, tries_left, "Stripe does not answer yet");
                    sent.came_to(What::Busy(after));
                }
                Err(error) => {
                    tracing::warn!(account = self.name, error, path = ask.path, tries_left, "Stripe does not answer");
                }
            }
            if tries_left > 0 {
                tokio::time::sleep(Duration::from_millis(jittered(pause).0)).await;
                pause = Millis(pause.0 * 2);
            }
        }
        Err(NoAnswer)
    }
}

impl Sent<'_> {
    fn came_to(mut self, what: What) {
        if let Some(pacer) = self.0.take() {
            pacer.heard(what);
        }
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if let Some(pacer) = self.0 {
            pacer.heard(What::Failed);
        }
    }
}

impl Answer {
    /// What it says, if it says that the request was done.
    ///
    /// # Errors
    /// It was not, or the body has another shape.
    pub fn done<T: DeserializeOwned>(&self) -> Result<T, NoAnswer> {
        if !self.status.is_success() {
            return Err(NoAnswer);
        }
        T::deserialize(&self.body).map_err(|error| {
            tracing::error!(%error, "Stripe's answer has another shape than version {VERSION} says");
            NoAnswer
        })
    }
}

/// A request under way. Nobody has heard of it any more when it is dropped: it has failed, or its asker has given it up.
struct Sent<'a>(Option<&'a Pacer>);

/// What an answer is good for.
#[derive(Debug)]
pub enum Verdict {
    /// To rely on.
    Answer(Answer),
    /// The key is wrong (401), or may not do this (403).
    Forbidden(StatusCode),
    /// To ask again, after `Retry-After` if there is one.
    Again {
        /// What it was.
        status: StatusCode,
        /// `Retry-After`.
        after: Option<Duration>,
    },
}

/// Which it is.
#[must_use]
pub fn judge(reply: &Reply) -> Verdict {
    let status = reply.status;
    let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let again = || {
        let seconds = header(RETRY_AFTER.as_str()).and_then(|value| value.parse().ok());
        Verdict::Again { status, after: seconds.map(Duration::from_secs) }
    };
    let is_kept = header("idempotent-replayed") == Some("true");
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Verdict::Forbidden(status),
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => return again(),
        _ if status.is_server_error() && !is_kept => return again(),
        _ => {}
    }
    match serde_json::from_slice(&reply.body) {
        Ok(body) => Verdict::Answer(Answer { status, body }),
        Err(_) => again(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName};

    use super::*;

    fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Reply {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let status = StatusCode::from_u16(status).unwrap();
        Reply { status, headers: headers.collect::<HeaderMap>(), body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn which_answers_are_believed() {
        let kept = [("idempotent-replayed", "true")];
        for (status, headers, body, expected) in [
            (200, &[][..], "{}", "answer"),
            (402, &[], "{}", "answer"),
            (400, &[], "{}", "answer"),
            (404, &[], "{}", "answer"),
            (401, &[], "{}", "forbidden"),
            (403, &[], "{}", "forbidden"),
            (408, &[], "{}", "again"),
            (409, &[], "{}", "again"),
            (409, &kept, "{}", "again"),
            (429, &[], "{}", "again"),
            (500, &[], "{}", "again"),
            (500, &kept, "{}", "answer"),
            (502, &[], "<html>", "again"),
            (503, &[], "{}", "again"),
            (200, &[], "<html>", "again"),
            (200, &[], "{\"id\":", "again"),
        ] {
            let told = match judge(&reply(status, headers, body)) {
                Verdict::Answer(_) => "answer",
                Verdict::Forbidden(_) => "forbidden",
                Verdict::Again { .. } => "again",
            };
            assert_eq!(told, expected, "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn retry_after_is_read() {
        for (value, expected) in [("2", Some(2)), ("0", Some(0)), ("soon", None)] {
            let Verdict::Again { after, .. } = judge(&reply(429, &[("retry-after", value)], "{}")) else {
                panic!("{value}")
            };
            assert_eq!(after, expected.map(Duration::from_secs), "{value}");
        }
    }
}
