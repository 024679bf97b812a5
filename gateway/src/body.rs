//! Request bodies: read within a size and a time, then parsed strictly, borrowing from the bytes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, EXPECT};
use serde::Deserialize;
use serde_json::error::Category;

use crate::config::HttpConfig;
use crate::problem::{Problem, kinds};

/// How much of a body that is too large is read and thrown away, so that its sender, who may look for an answer only
/// after sending everything, finds one.
const MOST_DISCARDED: usize = 16 << 20;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Reads a whole body.
///
/// # Errors
/// 413 beyond `http.max_body_bytes`, 408 beyond `http.body_timeout_ms`, 400 when the connection breaks it off.
pub async fn read<B>(headers: &HeaderMap, mut body: B, config: &HttpConfig) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let most = config.max_body_bytes;
    if body.size_hint().lower() > most as u64 {
        if !headers.contains_key(EXPECT) {
            discard(&mut body).await;
        }
        return Err(too_large(most));
    }
    let time = Duration::from_millis(config.body_timeout_ms);
    match tokio::time::timeout(time, collect(&mut body, most)).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(
            &kinds::BODY_TIMEOUT,
            format!("The body was not complete within {} ms; send it faster.", config.body_timeout_ms),
        )
        .with("limit", config.body_timeout_ms)),
    }
}

async fn collect<B: Body<Data = Bytes> + Unpin>(body: &mut B, most: usize) -> Result<Bytes, Problem> {
    let mut whole = Bytes::new();
    let mut gathered = Vec::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(&kinds::MALFORMED_JSON, "The body broke off.");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if whole.len() + gathered.len() + data.len() > most {
            discard(body).await;
            return Err(too_large(most));
        }
        // Nearly every body comes in one piece, which is then not copied.
        if whole.is_empty() && gathered.is_empty() {
            whole = data;
        } else {
            gathered.extend_from_slice(&std::mem::take(&mut whole));
            gathered.extend_from_slice(&data);
        }
    }
    Ok(if gathered.is_empty() { whole } else { gathered.into() })
}

async fn discard<B: Body<Data = Bytes> + Unpin>(body: &mut B) {
    let all = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > MOST_DISCARDED {
                break;
            }
        }
    };
    // Whether it came to the body's end does not matter: the connection is closed after the answer.
    let _ = tokio::time::timeout(DISCARD_TIME, all).await;
}

fn too_large(most: usize) -> Problem {
    Problem::new(&kinds::BODY_TOO_LARGE, format!("A body may have at most {most} bytes.")).with("limit", most)
}

/// Parses a JSON body into a structure that refuses unknown fields.
///
/// # Errors
/// 415 for another content type, 400 for what is not JSON, 422 for a field that is unknown, missing or of the wrong type.
pub fn parse<'a, T: Deserialize<'a>>(headers: &HeaderMap, bytes: &'a [u8]) -> Result<T, Problem> {
    check_content_type(headers)?;
    serde_json::from_slice(bytes).map_err(|error| explain(&error))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = format!("Content-Type is {essence:?}: send application/json.");
    Err(Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE, detail))
}

fn explain(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if error.classify() != Category::Data {
        return Problem::new(&kinds::MALFORMED_JSON, format!("The body is not a JSON object: {text}."));
    }
    let kind = if text.starts_with("unknown field") {
        &kinds::UNKNOWN_FIELD
    } else if text.starts_with("missing field") {
        &kinds::MISSING_FIELD
    } else {
        &kinds::INVALID_FIELD
    };
    let named = text.split('`').nth(1).map(str::to_owned);
    let problem = Problem::new(kind, format!("The body does not fit: {text}."));
    match named {
        Some(field) => problem.with("field", field),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use hyper::header::HeaderValue;

    use super::*;
    use crate::field::Number;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Sample<'a> {
        name: &'a str,
        quantity: Number,
    }

    fn code(json: &str) -> &'static str {
        let parsed = parse::<Sample<'_>>(&HeaderMap::new(), json.as_bytes());
        parsed.map_or_else(
            |problem| problem.kind.code,
            |sample| {
                assert!(!sample.name.is_empty() && sample.quantity == Number::Whole(1));
                "ok"
            },
        )
    }

    #[test]
    fn bodies_are_taken_strictly() {
        for (json, expected) in [
            (r#"{"name":"a","quantity":1}"#, "ok"),
            (r#"{"name":"a","quantity":1,"extra":2}"#, "unknown_field"),
            (r#"{"name":"a"}"#, "missing_field"),
            (r#"{"name":5,"quantity":1}"#, "invalid_field"),
            (r#"{"name":"a","name":"b","quantity":1}"#, "invalid_field"),
            (r#"{"name":"a","quantity":1"#, "malformed_json"),
            (r#"{"name":"a","quantity":1} x"#, "malformed_json"),
            (r#"{"name":"a","quantity":1e999}"#, "malformed_json"),
            ("", "malformed_json"),
            ("name=a", "malformed_json"),
            ("\u{0}", "malformed_json"),
        ] {
            assert_eq!(code(json), expected, "{json}");
        }
    }

    #[test]
    fn nesting_does_not_overflow_the_stack() {
        let deep = format!("{{\"name\":\"a\",\"quantity\":{}", "[".repeat(60_000));
        assert_eq!(code(&deep), "malformed_json");
    }

    #[test]
    fn only_json_is_read_as_json() {
        for (value, fine) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/x-www-form-urlencoded", false),
            ("text/plain", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(check_content_type(&headers).is_ok(), fine, "{value}");
        }
    }

    fn config() -> HttpConfig {
        HttpConfig { max_body_bytes: 1024, body_timeout_ms: 100, ..HttpConfig::default() }
    }

    #[tokio::test]
    async fn sizes_are_bounded_declared_or_not() {
        let headers = HeaderMap::new();
        for (size, fine) in [(0, true), (1024, true), (1025, false), (1 << 20, false)] {
            let whole = read(&headers, Full::new(Bytes::from(vec![0; size])), &config()).await;
            assert_eq!(whole.as_ref().map(Bytes::len).ok(), fine.then_some(size));
            let pieces = vec![0; size]
                .chunks(100)
                .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))))
                .collect::<Vec<_>>();
            let chunked = read(&headers, StreamBody::new(stream::iter(pieces)), &config()).await;
            assert_eq!(chunked.as_ref().map(Bytes::len).ok(), fine.then_some(size));
            if let Err(problem) = chunked {
                assert_eq!(problem.kind, &kinds::BODY_TOO_LARGE);
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_dawdles_is_given_up() {
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let problem = read(&HeaderMap::new(), body, &config()).await.unwrap_err();
        assert_eq!(problem.kind, &kinds::BODY_TIMEOUT);
    }
}
