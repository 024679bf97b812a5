//! HTTP as the tests of real processes speak it: one connection a request, as long as an answer may take.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest that anything may take in these tests, unless it says otherwise.
pub const WITHIN: Duration = Duration::from_secs(40);

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// JSON, or else a string.
    pub body: Value,
}

impl Answer {
    /// The body of an answer that must have this status.
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

/// One exchange, of text on both sides that may be JSON.
///
/// # Errors
/// Nobody answers, or not in [`WITHIN`].
pub async fn ask(address: &str, method: &str, path: &str, headers: &str, body: &str) -> std::io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             {headers}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let status = status.ok_or_else(|| std::io::Error::other("no answer"))?;
        Ok(Answer { status, body: serde_json::from_str(body).unwrap_or_else(|_| body.into()) })
    };
    tokio::time::timeout(WITHIN, exchange).await?
}

/// Waits until it is so.
pub async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(within, waiting).await.is_ok(), "not within {within:?}: {what}");
}
