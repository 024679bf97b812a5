//! The protocol of Valkey and Redis (RESP2): commands out, replies in. What comes from the socket is checked against limits
//! before it is believed.

use std::fmt;

/// Longest bulk or line that we ever ask for, in bytes.
const LONGEST: usize = 1 << 20;
/// Most items of an array.
const MOST: usize = 1 << 16;
/// Arrays within arrays.
const DEEPEST: u8 = 8;

/// A reply, as it lies in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `+OK`
    Status(&'a [u8]),
    /// `-ERR ...`
    Error(&'a [u8]),
    /// `:7`
    Integer(i64),
    /// `$3`, and three bytes
    Bulk(&'a [u8]),
    /// `$-1` or `*-1`
    Nil,
    /// `*2`, and two replies
    Array(Vec<Reply<'a>>),
}

/// What came is no RESP, or longer than anything that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(&'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer does not keep to RESP: {}", self.0)
    }
}

impl std::error::Error for Broken {}

/// Appends a command.
pub fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bulk(word, out);
    }
}

/// Appends one word of a command.
pub fn bulk(word: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// The reply at the front of the input and how many bytes it takes; `None` if it is not whole yet.
///
/// # Errors
/// It is no reply.
pub fn reply(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Broken> {
    nested(input, DEEPEST)
}

fn nested(input: &[u8], depth: u8) -> Result<Option<(Reply<'_>, usize)>, Broken> {
    let Some((line, head)) = line(input)? else { return Ok(None) };
    let Some((kind, rest)) = line.split_first() else { return Err(Broken("an empty line")) };
    let reply = match kind {
        b'+' => Reply::Status(rest),
        b'-' => Reply::Error(rest),
        b':' => Reply::Integer(number(rest)?),
        b'$' => return body(input, head, number(rest)?),
        b'*' => return array(input, head, number(rest)?, depth),
        _ => return Err(Broken("a kind of reply that we do not know")),
    };
    Ok(Some((reply, head)))
}

fn body(input: &[u8], head: usize, length: i64) -> Result<Option<(Reply<'_>, usize)>, Broken> {
    if length == -1 {
        return Ok(Some((Reply::Nil, head)));
    }
    let length = limited(length, LONGEST)?;
    let Some(whole) = input.get(head..head + length + 2) else { return Ok(None) };
    match whole.strip_suffix(b"\r\n") {
        Some(bytes) => Ok(Some((Reply::Bulk(bytes), head + whole.len()))),
        None => Err(Broken("a bulk longer than it said")),
    }
}

fn array(input: &[u8], head: usize, count: i64, depth: u8) -> Result<Option<(Reply<'_>, usize)>, Broken> {
    if count == -1 {
        return Ok(Some((Reply::Nil, head)));
    }
    let (mut items, mut taken) = (Vec::new(), head);
    let depth = depth.checked_sub(1).ok_or(Broken("arrays too deep"))?;
    for _ in 0..limited(count, MOST)? {
        let Some((item, length)) = nested(&input[taken..], depth)? else { return Ok(None) };
        items.push(item);
        taken += length;
    }
    Ok(Some((Reply::Array(items), taken)))
}

/// The first line without its end, and how many bytes it takes with it.
fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, Broken> {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(0) => Err(Broken("a line without a carriage return")),
        Some(end) if input[end - 1] == b'\r' => Ok(Some((&input[..end - 1], end + 1))),
        Some(_) => Err(Broken("a line without a carriage return")),
        None if input.len() > LONGEST => Err(Broken("a line without an end")),
        None => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, Broken> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Broken("no number where one must be"))
}

fn limited(length: i64, limit: usize) -> Result<usize, Broken> {
    usize::try_from(length).ok().filter(|length| *length <= limit).ok_or(Broken("a length beyond the limit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_and_says_how_long_it_is() {
        let cases: [(&[u8], Reply<'_>); 8] = [
            (b"+OK\r\n", Reply::Status(b"OK")),
            (b"-NOSCRIPT none\r\n", Reply::Error(b"NOSCRIPT none")),
            (b":-42\r\n", Reply::Integer(-42)),
            (b"$5\r\na\r\nbc\r\n", Reply::Bulk(b"a\r\nbc")),
            (b"$0\r\n\r\n", Reply::Bulk(b"")),
            (b"$-1\r\n", Reply::Nil),
            (b"*-1\r\n", Reply::Nil),
            (b"*0\r\n", Reply::Array(vec![])),
        ];
        for (bytes, wanted) in cases {
            let more = [bytes, b"+next"].concat();
            assert_eq!(reply(&more), Ok(Some((wanted, bytes.len()))), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn arrays_may_be_within_arrays() {
        let bytes = b"*3\r\n:1\r\n*2\r\n$-1\r\n-ERR no\r\n$2\r\nab\r\n";
        let inner = Reply::Array(vec![Reply::Nil, Reply::Error(b"ERR no")]);
        let wanted = Reply::Array(vec![Reply::Integer(1), inner, Reply::Bulk(b"ab")]);
        assert_eq!(reply(bytes), Ok(Some((wanted, bytes.len()))));
    }

    #[test]
    fn what_is_not_whole_waits_for_the_rest_wherever_it_is_cut() {
        for whole in [&b"*2\r\n$3\r\nabc\r\n*1\r\n:7\r\n"[..], b"$3\r\nabc\r\n", b"+OK\r\n", b"-ERR x\r\n", b"$-1\r\n"]
        {
            for cut in 0..whole.len() {
                assert_eq!(reply(&whole[..cut]), Ok(None), "{} cut at {cut}", whole.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let deep = b"*1\r\n".repeat(9);
        let cases: [&[u8]; 12] = [
            b"\r\n",
            b"\n",
            b"+OK\n",
            b"?1\r\n",
            b":x\r\n",
            b":\r\n",
            b"$-2\r\n",
            b"$1048577\r\n",
            b"$99999999999999999999\r\n",
            b"*65537\r\n",
            b"$1\r\nabc",
            &deep,
        ];
        for bytes in cases {
            assert!(reply(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        assert!(reply(&vec![b'+'; LONGEST + 1]).is_err(), "a line without an end");
    }

    #[test]
    fn a_command_is_an_array_of_bulks() {
        let mut out = Vec::new();
        command(&[b"SET", b"k\r\n", b""], &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n");
    }
}
