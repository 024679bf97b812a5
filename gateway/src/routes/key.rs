//! The `Idempotency-Key` header: 1 to 255 visible ASCII characters that the caller chooses anew for each thing it wants done
//! once.

use hyper::HeaderMap;

use crate::problem::{Problem, kinds};

/// Longest key, in bytes.
pub const MAX_KEY: usize = 255;

/// Reads the key.
///
/// # Errors
/// 400 without one, with more than one, or with one that is too long or has other characters.
pub fn read(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        let detail =
            "Send an Idempotency-Key: any text of your choice, new for each request, the same for its retries.";
        return Err(Problem::new(&kinds::IDEMPOTENCY_KEY_REQUIRED, detail));
    };
    let visible = |text: &&str| (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    match (value.to_str().ok().filter(visible), values.next()) {
        (Some(key), None) => Ok(key),
        _ => {
            let detail = format!("Send one Idempotency-Key of 1 to {MAX_KEY} visible ASCII characters.");
            Err(Problem::new(&kinds::IDEMPOTENCY_KEY_INVALID, detail).with("limit", MAX_KEY))
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn keys_are_visible_and_bounded() {
        let longest = "k".repeat(255);
        for (values, expected) in [
            (vec![], Err("idempotency_key_required")),
            (vec!["order-1"], Ok("order-1")),
            (vec!["\"8e03978e-40d5-43e8-bc93-6894a57f9324\""], Ok("\"8e03978e-40d5-43e8-bc93-6894a57f9324\"")),
            (vec![longest.as_str()], Ok(longest.as_str())),
            (vec![""], Err("idempotency_key_invalid")),
            (vec!["two words"], Err("idempotency_key_invalid")),
            (vec!["schlüssel"], Err("idempotency_key_invalid")),
            (vec!["a", "a"], Err("idempotency_key_invalid")),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append("idempotency-key", HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert_eq!(read(&headers).map_err(|problem| problem.kind.code), expected, "{values:?}");
        }
        let headers = HeaderMap::from_iter([(
            hyper::header::HeaderName::from_static("idempotency-key"),
            HeaderValue::from_str(&"k".repeat(256)).unwrap(),
        )]);
        assert!(read(&headers).is_err());
    }
}
