//! A reserve on Valkey or Redis: `benches/peers/reserve.lua`, by EVALSHA. With replicas, one WAIT behind what goes out
//! together: its operations count once a replica has them.

use super::in_order::InOrder;
use super::resp::{self, Reply};
use bytes::{Buf, BytesMut};
use doorbuster_cli::bench::dialect::{Dialect, Heard};
use doorbuster_cli::bench::work::Work;
use doorbuster_cli::error::CliError;
use std::sync::Arc;
use tokio::net::TcpStream;

/// The script.
pub const SCRIPT: &str = include_str!("../../peers/reserve.lua");
/// How long reservations are held, in ms.
const TTL: &[u8] = b"3600000";
/// A replica has to have it within so long, in ms.
const REPLICA_WITHIN: &[u8] = b"10000";

/// The words of the command that do not change, between those that do.
#[derive(Debug)]
struct Words {
    /// Up to the reservation's key.
    head: Vec<u8>,
    /// From there to the user.
    middle: Vec<u8>,
    /// Behind the user.
    tail: Vec<u8>,
    /// The seal, if there is one.
    wait: Option<Vec<u8>>,
}

/// A workload, asked of the primary.
#[derive(Clone)]
pub struct Lua {
    work: Work,
    address: String,
    /// What is wanted is a refusal.
    refusals: bool,
    words: Arc<Words>,
    order: InOrder,
}

impl Lua {
    /// Reserves of this product by the script of this digest; `replicas` have to have each.
    #[must_use]
    pub fn new(work: Work, address: String, digest: &str, product: u64, refusals: bool, replicas: usize) -> Self {
        let (mut head, mut middle, mut tail) = (b"*9\r\n".to_vec(), Vec::new(), Vec::new());
        for word in ["EVALSHA", digest, "3", &stock_key(product)] {
            resp::bulk(word.as_bytes(), &mut head);
        }
        resp::bulk(deadlines_key(product).as_bytes(), &mut middle);
        for word in [b"1", TTL] {
            resp::bulk(word, &mut tail);
        }
        let wait = (replicas > 0).then(|| {
            let mut wait = Vec::new();
            resp::command(&[b"WAIT", replicas.to_string().as_bytes(), REPLICA_WITHIN], &mut wait);
            wait
        });
        let words = Arc::new(Words { head, middle, tail, wait });
        Self { work, address, refusals, words, order: InOrder::default() }
    }

    fn take(&mut self, reply: &Reply<'_>, heard: &mut Vec<(usize, Heard)>) -> Result<(), CliError> {
        if self.order.expects_seal() {
            return match reply {
                Reply::Integer(1..) => self.order.sealed(heard),
                other => Err(CliError::failed(format!("no replica had it in time: WAIT was answered {other:?}"))),
            };
        }
        let granted = match reply {
            Reply::Bulk(_) => true,
            Reply::Nil => false,
            other => return Err(CliError::failed(format!("a reserve was answered {}", shown(other)))),
        };
        self.order.answered(judge(granted, self.refusals))?;
        if self.words.wait.is_none() {
            self.order.release(heard);
        }
        Ok(())
    }
}

impl Dialect for Lua {
    fn next(&mut self) -> Option<u64> {
        self.work.next()
    }

    async fn dial(&mut self, _input: &mut BytesMut) -> Result<Option<TcpStream>, CliError> {
        Ok(self.order.dial(&self.address).await)
    }

    fn ask(&mut self, slot: usize, number: u64, out: &mut Vec<u8>) {
        let id = self.work.id(number).to_be_bytes();
        out.extend_from_slice(&self.words.head);
        out.extend_from_slice(b"$17\r\nr");
        out.extend_from_slice(&id);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.words.middle);
        out.extend_from_slice(b"$16\r\n");
        out.extend_from_slice(&id);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.words.tail);
        self.order.ask(slot);
    }

    fn seal(&mut self, out: &mut Vec<u8>) {
        let words = Arc::clone(&self.words);
        if let Some(wait) = &words.wait
            && self.order.seal()
        {
            out.extend_from_slice(wait);
        }
    }

    fn hear(&mut self, input: &mut BytesMut, heard: &mut Vec<(usize, Heard)>) -> Result<(), CliError> {
        let mut taken = 0;
        while let Some((reply, length)) =
            resp::reply(&input[taken..]).map_err(|error| CliError::failed(error.to_string()))?
        {
            self.take(&reply, heard)?;
            taken += length;
        }
        input.advance(taken);
        Ok(())
    }
}

/// Where a product's stock is.
#[must_use]
pub fn stock_key(product: u64) -> String {
    format!("s{product}")
}

/// Where its reservations are, by deadline.
#[must_use]
pub fn deadlines_key(product: u64) -> String {
    format!("d{product}")
}

/// Whether it is what was wanted, or what else.
pub(super) const fn judge(granted: bool, refusals: bool) -> Heard {
    match (granted, refusals) {
        (true, false) | (false, true) => Heard::Right,
        (true, true) => Heard::Other("held"),
        (false, false) => Heard::Other("sold_out"),
    }
}

fn shown(reply: &Reply<'_>) -> String {
    match reply {
        Reply::Error(text) | Reply::Status(text) => text.escape_ascii().to_string(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_cli::bench::work::Ask;
    use doorbuster_protocol::types::ProductId;

    fn lua(replicas: usize) -> Lua {
        let work = Work::endless(Ask::Unit, ProductId(1), 7);
        Lua::new(work, "127.0.0.1:1".to_owned(), "digest", 1, false, replicas)
    }

    fn hear(lua: &mut Lua, bytes: &[u8]) -> Result<Vec<(usize, Heard)>, CliError> {
        let (mut input, mut heard) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            input.extend_from_slice(&[*byte]);
            lua.hear(&mut input, &mut heard)?;
        }
        Ok(heard)
    }

    #[test]
    fn an_operation_is_one_whole_command() {
        let (mut lua, mut out) = (lua(0), Vec::new());
        lua.ask(3, 0, &mut out);
        lua.seal(&mut out);
        let id = lua.work.id(0).to_be_bytes();
        let words: [&[u8]; 9] =
            [b"EVALSHA", b"digest", b"3", b"s1", &[b"r", &id[..]].concat(), b"d1", &id, b"1", b"3600000"];
        let mut wanted = Vec::new();
        resp::command(&words, &mut wanted);
        assert_eq!(out.escape_ascii().to_string(), wanted.escape_ascii().to_string());
    }

    #[test]
    fn without_replicas_answers_count_as_they_come() {
        let (mut lua, mut out) = (lua(0), Vec::new());
        (4..6).for_each(|slot| lua.ask(slot, 0, &mut out));
        lua.seal(&mut out);
        let heard = hear(&mut lua, b"$2\r\nab\r\n$-1\r\n").expect("both are answers");
        assert_eq!(heard, [(4, Heard::Right), (5, Heard::Other("sold_out"))]);
    }

    #[test]
    fn with_replicas_answers_count_once_one_has_them() {
        let (mut lua, mut out) = (lua(1), Vec::new());
        (4..6).for_each(|slot| lua.ask(slot, 0, &mut out));
        lua.seal(&mut out);
        lua.seal(&mut out);
        assert_eq!(out.windows(4).filter(|word| word == b"WAIT").count(), 1, "{}", out.escape_ascii());
        assert_eq!(hear(&mut lua, b"$2\r\nab\r\n$2\r\ncd\r\n").expect("answers"), []);
        assert_eq!(hear(&mut lua, b":1\r\n").expect("one has them"), [(4, Heard::Right), (5, Heard::Right)]);
        lua.ask(6, 0, &mut out);
        lua.seal(&mut out);
        assert!(hear(&mut lua, b"$2\r\nab\r\n:0\r\n").is_err(), "none has it in time");
    }

    #[test]
    fn what_the_script_complains_of_is_told() {
        let (mut lua, mut out) = (lua(0), Vec::new());
        lua.ask(0, 0, &mut out);
        let error = hear(&mut lua, b"-NOSCRIPT No matching script\r\n").expect_err("it is an error").message;
        assert!(error.contains("NOSCRIPT No matching script"), "{error}");
        assert!(hear(&mut lua, b"+OK\r\n").is_err(), "nothing was asked");
    }
}
