//! The first look at a request: a head that is too large is refused with 431 before anything else reads it. (hyper has
//! hard limits of its own well beyond these.)

use hyper::http::request::Parts;

use crate::config::HttpConfig;
use crate::problem::{Problem, kinds};

/// Counts the head's bytes and headers.
///
/// # Errors
/// 431 beyond `http.max_head_bytes` or `http.max_headers`.
pub fn check(parts: &Parts, config: &HttpConfig) -> Result<(), Problem> {
    if parts.headers.len() > config.max_headers {
        let detail = format!("The request has more than {} headers.", config.max_headers);
        return Err(Problem::new(&kinds::HEAD_TOO_LARGE, detail).with("limit", config.max_headers));
    }
    let uri = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let headers: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if uri + headers > config.max_head_bytes {
        let detail = format!("Request line and headers have more than {} bytes.", config.max_head_bytes);
        return Err(Problem::new(&kinds::HEAD_TOO_LARGE, detail).with("limit", config.max_head_bytes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn heads_are_bounded_in_bytes_and_headers() {
        let config = HttpConfig { max_head_bytes: 1024, max_headers: 8, ..HttpConfig::default() };
        for (path, headers, length, fine) in [
            ("/".to_owned(), 8, 10, true),
            ("/".to_owned(), 9, 10, false),
            ("/".to_owned(), 1, 1100, false),
            (format!("/{}", "x".repeat(1000)), 0, 0, true),
            (format!("/{}", "x".repeat(1024)), 0, 0, false),
        ] {
            let mut request = Request::get(&path);
            for index in 0..headers {
                request = request.header(format!("x-{index}"), "v".repeat(length));
            }
            let parts = request.body(()).unwrap().into_parts().0;
            assert_eq!(check(&parts, &config).is_ok(), fine, "{headers} headers of {length}");
        }
    }
}
