//! How long a caller wants to wait for a payment's end: `?wait=SECONDS`, or `Prefer: wait=SECONDS` (RFC 7240), at most as
//! long as the configuration allows.

use std::time::Duration;

use hyper::http::request::Parts;

use crate::problem::{Problem, kinds};

/// Reads the wish; zero without one.
///
/// # Errors
/// 400 when the query has anything but one `wait` of whole seconds. A preference that cannot be read is no wish.
pub fn read(parts: &Parts, most: Duration) -> Result<Duration, Problem> {
    let wish = match parts.uri.query().filter(|query| !query.is_empty()) {
        Some(query) => Some(query.strip_prefix("wait=").and_then(seconds).ok_or_else(|| {
            Problem::new(&kinds::INVALID_QUERY, "The only query parameter is wait, in whole seconds: ?wait=10.")
                .with("field", "wait")
        })?),
        None => preferred(parts),
    };
    Ok(wish.unwrap_or_default().min(most))
}

fn preferred(parts: &Parts) -> Option<Duration> {
    let lines = parts.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut wishes = lines.flat_map(|line| line.split(',')).filter_map(|wish| wish.trim().strip_prefix("wait="));
    wishes.next().and_then(seconds)
}

fn seconds(text: &str) -> Option<Duration> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok().map(Duration::from_secs))?
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn wishes_in_query_and_header() {
        for (uri, prefer, expected) in [
            ("/", "", Some(0)),
            ("/?wait=5", "", Some(5)),
            ("/?wait=5", "wait=9", Some(5)),
            ("/?wait=500", "", Some(30)),
            ("/", "wait=9", Some(9)),
            ("/", "respond-async, wait=9", Some(9)),
            ("/", "wait=soon", Some(0)),
            ("/?wait=", "", None),
            ("/?wait=-1", "", None),
            ("/?wait=1.5", "", None),
            ("/?wait=1&wait=2", "", None),
            ("/?weight=1", "", None),
        ] {
            let request = Request::get(uri).header("prefer", prefer).body(()).unwrap();
            let wait = read(&request.into_parts().0, Duration::from_secs(30)).ok();
            assert_eq!(wait.map(|wait| wait.as_secs()), expected, "{uri} {prefer}");
        }
    }
}
