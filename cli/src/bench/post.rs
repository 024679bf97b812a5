//! Reserves over HTTP/1.1: kept-alive connections, one request under way on each, no more of HTTP than the answers need.

use super::dialect::{Dialect, Heard};
use super::work::{Ask, Work};
use crate::entropy;
use crate::error::CliError;
use bytes::{Buf, BytesMut};
use doorbuster_protocol::types::ProductId;
use std::io::Write as _;
use std::sync::Arc;
use tokio::net::TcpStream;

/// No answer's head is longer, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// What a refusal says.
const CODE: &[u8] = b"\"sold_out\"";

/// Reserves of a product that is sold out, by many users in turn.
#[derive(Clone)]
pub struct Post {
    asked: Work,
    address: Arc<str>,
    tokens: Arc<[String]>,
    body: Arc<str>,
    series: u64,
    /// Whose answer is awaited.
    slot: usize,
}

impl Post {
    /// To the server at this address.
    #[must_use]
    pub fn new(address: &str, product: ProductId, tokens: Vec<String>) -> Self {
        let series = entropy::number();
        Self {
            asked: Work::endless(Ask::Refusal, product, series),
            address: address.into(),
            tokens: tokens.into(),
            body: format!("{{\"product\":{},\"quantity\":1}}", product.0).into(),
            series,
            slot: 0,
        }
    }

    /// What counts its requests.
    #[must_use]
    pub const fn asked(&self) -> &Work {
        &self.asked
    }
}

impl Dialect for Post {
    fn next(&mut self) -> Option<u64> {
        self.asked.next()
    }

    async fn dial(&mut self, _input: &mut BytesMut) -> Result<Option<TcpStream>, CliError> {
        let Ok(stream) = TcpStream::connect(&*self.address).await else { return Ok(None) };
        let _ = stream.set_nodelay(true);
        Ok(Some(stream))
    }

    fn ask(&mut self, slot: usize, number: u64, out: &mut Vec<u8>) {
        self.slot = slot;
        let user = usize::try_from(number % self.tokens.len() as u64).unwrap_or(0);
        // A vector takes whatever is written.
        let _ = write!(
            out,
            "POST /v1/reservations HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nidempotency-key: {:016x}-{number}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
            self.address,
            self.tokens[user],
            self.series,
            self.body.len(),
            self.body
        );
    }

    fn seal(&mut self, _out: &mut Vec<u8>) {}

    fn hear(&mut self, input: &mut BytesMut, heard: &mut Vec<(usize, Heard)>) -> Result<(), CliError> {
        while let Some(answer) = Answer::read(input)? {
            heard.push((self.slot, answer.judge(&input[answer.head..answer.whole])));
            input.advance(answer.whole);
        }
        Ok(())
    }
}

/// Where an answer's parts end.
struct Answer {
    status: u16,
    head: usize,
    whole: usize,
}

impl Answer {
    /// The answer at the front; `None` while it is not whole.
    fn read(input: &[u8]) -> Result<Option<Self>, CliError> {
        let wrong = |what: &str| CliError::failed(format!("the server does not keep to HTTP/1.1: {what}"));
        let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return if input.len() > MAX_HEAD { Err(wrong("a head without an end")) } else { Ok(None) };
        };
        let head = std::str::from_utf8(&input[..end]).map_err(|_| wrong("a head that is not text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|rest| rest.get(..3));
        let status = status.and_then(|status| status.parse().ok()).ok_or_else(|| wrong("no status"))?;
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize =
            length.and_then(|(_, value)| value.trim().parse().ok()).ok_or_else(|| wrong("no length"))?;
        let (head, whole) = (end + 4, end + 4 + length);
        Ok((input.len() >= whole).then_some(Self { status, head, whole }))
    }

    fn judge(&self, body: &[u8]) -> Heard {
        match self.status {
            409 if body.windows(CODE.len()).any(|bytes| bytes == CODE) => Heard::Right,
            409 => Heard::Other("another_409"),
            401 => Heard::Other("http_401"),
            429 => Heard::Other("http_429"),
            503 => Heard::Other("http_503"),
            504 => Heard::Other("http_504"),
            _ => Heard::Other("another_status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(bytes: &[u8]) -> (Vec<(usize, Heard)>, usize) {
        let mut post = Post::new("127.0.0.1:1", ProductId(7), vec!["token".to_owned()]);
        post.ask(3, 0, &mut Vec::new());
        let (mut input, mut heard) = (BytesMut::from(bytes), Vec::new());
        post.hear(&mut input, &mut heard).expect("it keeps to HTTP");
        (heard, input.len())
    }

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let whole = b"HTTP/1.1 409 Conflict\r\nContent-Length: 19\r\n\r\n{\"code\":\"sold_out\"}";
        assert_eq!(heard(whole), (vec![(3, Heard::Right)], 0));
        for end in 0..whole.len() {
            assert_eq!(heard(&whole[..end]), (Vec::new(), end), "{end}");
        }
        let other = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(heard(other), (vec![(3, Heard::Other("http_503"))], 0));
        assert_eq!(heard(b"HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\n{}").0[0].1, Heard::Other("another_409"));
    }

    #[test]
    fn what_is_not_http_ends_the_bench() {
        for wrong in [&b"HTTP/1.0 200 OK\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; MAX_HEAD + 1]] {
            assert!(Answer::read(wrong).is_err());
        }
    }
}
