//! What a caller hears when a request was not done: `application/problem+json` (RFC 9457) with a stable `code`, whether
//! to retry, and the values at stake. `Retry-After` is jittered, so that those refused together do not return together.

use std::borrow::Cow;

use bytes::Bytes;
use doorbuster_protocol::types::Millis;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::entropy::jittered;

pub mod cluster;
pub mod kinds;

use kinds::Kind;

/// What the gateway sends.
pub type HttpResponse = Response<Full<Bytes>>;

/// When a retryable problem does not say when to retry.
const DEFAULT_RETRY: Millis = Millis(1000);

/// One occurrence of a [`Kind`].
#[derive(Debug)]
pub struct Problem {
    /// Its kind.
    pub kind: &'static Kind,
    detail: Cow<'static, str>,
    retry_after: Option<Millis>,
    values: Vec<(&'static str, Value)>,
    allow: Option<&'static str>,
}

impl Problem {
    /// A problem of this kind; `detail` says what happened and what to do.
    #[must_use]
    pub fn new(kind: &'static Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None, values: Vec::new(), allow: None }
    }

    /// The same with a member beside the standard ones: a limit, a value, a time.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// The same with the earliest time at which a retry makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Millis) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same with the methods that the path does know.
    #[must_use]
    pub fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The answer to send.
    #[must_use]
    pub fn into_response(self) -> HttpResponse {
        let wait = self.kind.retryable.then(|| jittered(self.retry_after.unwrap_or(DEFAULT_RETRY)));
        let mut body = Vec::with_capacity(320);
        // Writing JSON into memory cannot fail; were it to, the status would still tell.
        let _ = serde_json::to_writer(&mut body, &Document { problem: &self, wait });
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.0.div_ceil(1000).max(1)));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        match self.kind.status {
            401 => drop(headers.insert(WWW_AUTHENTICATE, challenge(self.kind))),
            // What is left of the request is not worth reading.
            408 | 413 | 431 => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
            _ => {}
        }
        response
    }
}

fn challenge(kind: &Kind) -> HeaderValue {
    HeaderValue::from_static(match kind.code {
        "unauthenticated" => "Bearer",
        "token_expired" => "Bearer error=\"invalid_token\", error_description=\"expired\"",
        _ => "Bearer error=\"invalid_token\"",
    })
}

struct Document<'a> {
    problem: &'a Problem,
    wait: Option<Millis>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Problem { kind, detail, values, .. } = self.problem;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("urn:doorbuster:problem:{}", kind.code))?;
        map.serialize_entry("title", kind.title)?;
        map.serialize_entry("status", &kind.status)?;
        map.serialize_entry("detail", detail)?;
        map.serialize_entry("code", kind.code)?;
        map.serialize_entry("retryable", &kind.retryable)?;
        if let Some(wait) = self.wait {
            map.serialize_entry("retry_after_ms", &wait.0)?;
        }
        for (name, value) in values {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http_body_util::BodyExt;

    use super::*;

    async fn parts(problem: Problem) -> (Response<()>, Value) {
        let (head, body) = problem.into_response().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let codes: BTreeSet<_> = kinds::ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), kinds::ALL.len());
        assert!(kinds::ALL.iter().all(|kind| (400..600).contains(&kind.status)));
    }

    #[tokio::test]
    async fn a_problem_carries_code_limit_and_jittered_retry() {
        let problem = Problem::new(&kinds::ALL_HELD, "wait").with("limit", 7).retry_after(Millis(2500));
        let (head, body) = parts(problem).await;
        assert_eq!(head.status(), 409);
        assert_eq!(head.headers()[CONTENT_TYPE], "application/problem+json");
        let seconds: u64 = head.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((3..=5).contains(&seconds), "{seconds}");
        let wait = body["retry_after_ms"].as_u64().unwrap();
        assert!((2500..=5000).contains(&wait), "{wait}");
        assert_eq!(body["type"], "urn:doorbuster:problem:all_held");
        assert_eq!(body["code"], "all_held");
        assert_eq!(body["status"], 409);
        assert_eq!(body["retryable"], true);
        assert_eq!(body["limit"], 7);
        assert_eq!(body["detail"], "wait");
    }

    #[tokio::test]
    async fn what_cannot_succeed_later_says_no_time() {
        let (head, body) = parts(Problem::new(&kinds::SOLD_OUT, "gone")).await;
        assert!(!head.headers().contains_key(RETRY_AFTER));
        assert_eq!(body["retryable"], false);
        assert!(body.get("retry_after_ms").is_none());
    }

    #[tokio::test]
    async fn a_401_challenges_and_a_413_closes() {
        let (head, _) = parts(Problem::new(&kinds::INVALID_TOKEN, "")).await;
        assert_eq!(head.headers()[WWW_AUTHENTICATE], "Bearer error=\"invalid_token\"");
        let (head, _) = parts(Problem::new(&kinds::BODY_TOO_LARGE, "")).await;
        assert_eq!(head.headers()[CONNECTION], "close");
    }
}
