//! A reserve on PostgreSQL: `benches/peers/reserve.sql`, prepared. What goes out together is one transaction, committed by
//! one sync of the log; its operations count once it is.

use super::in_order::InOrder;
use super::lua::judge;
use super::messages::{self, Message};
use bytes::{Buf, BytesMut};
use doorbuster_cli::bench::dialect::{Dialect, Heard};
use doorbuster_cli::bench::work::Work;
use doorbuster_cli::clock;
use doorbuster_cli::error::CliError;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The tables.
const TABLES: &str = include_str!("../../peers/tables.sql");
/// The statement.
const RESERVE: &str = include_str!("../../peers/reserve.sql");
/// Types of its parameters: uuid, int8, uuid, int4, int8, by the numbers that PostgreSQL has always given them.
const TYPES: [i32; 5] = [2950, 20, 2950, 23, 20];
/// Its name.
const NAME: &str = "reserve";
/// It takes connections before it lets anybody in: `cannot_connect_now`.
const STARTING: &str = "57P03";
/// It may take so long.
const WITHIN: Duration = Duration::from_secs(20);
/// Pause between two looks whether it does.
const LOOK: Duration = Duration::from_millis(20);
/// How long reservations are held, in ms.
const TTL: i64 = 3_600_000;

/// A workload, asked of one server.
#[derive(Clone)]
pub struct Sql {
    work: Work,
    address: String,
    product: i64,
    /// What is wanted is a refusal.
    refusals: bool,
    order: InOrder,
    /// The command under way has given a row.
    row: bool,
}

impl Sql {
    /// Reserves of this product.
    #[must_use]
    pub fn new(work: Work, address: String, product: i64, refusals: bool) -> Self {
        Self { work, address, product, refusals, order: InOrder::default(), row: false }
    }
}

impl Dialect for Sql {
    fn next(&mut self) -> Option<u64> {
        self.work.next()
    }

    async fn dial(&mut self, _input: &mut BytesMut) -> Result<Option<TcpStream>, CliError> {
        self.order.forget();
        self.row = false;
        let Ok(mut stream) = connect(&self.address).await else { return Ok(None) };
        let mut out = Vec::new();
        messages::parse(NAME, RESERVE, &TYPES, &mut out);
        messages::sync(&mut out);
        exchange(&mut stream, &out).await?;
        Ok(Some(stream))
    }

    fn ask(&mut self, slot: usize, number: u64, out: &mut Vec<u8>) {
        let id = self.work.id(number).to_be_bytes();
        let (product, quantity, ttl) = (self.product.to_be_bytes(), 1_i32.to_be_bytes(), TTL.to_be_bytes());
        messages::execute(NAME, &[&id, &product, &id, &quantity, &ttl], out);
        self.order.ask(slot);
    }

    fn seal(&mut self, out: &mut Vec<u8>) {
        if self.order.seal() {
            messages::sync(out);
        }
    }

    fn hear(&mut self, input: &mut BytesMut, heard: &mut Vec<(usize, Heard)>) -> Result<(), CliError> {
        let mut taken = 0;
        while let Some((message, length)) = messages::message(&input[taken..])? {
            match message.kind {
                b'D' => self.row = true,
                b'C' => self.order.answered(judge(std::mem::take(&mut self.row), self.refusals))?,
                b'Z' => self.order.sealed(heard)?,
                b'E' => return Err(refused(&message)),
                _ => {}
            }
            taken += length;
        }
        input.advance(taken);
        Ok(())
    }
}

/// Makes the tables, as soon as PostgreSQL lets anybody in.
///
/// # Errors
/// PostgreSQL says no.
pub async fn make_tables(address: &str) -> Result<(), CliError> {
    let deadline = clock::now() + WITHIN;
    loop {
        match run(address, TABLES).await {
            Err(error) if error.message.contains(STARTING) && clock::now() < deadline => {
                tokio::time::sleep(LOOK).await;
            }
            done => return done,
        }
    }
}

/// Puts so many units of a product on sale.
///
/// # Errors
/// PostgreSQL says no.
pub async fn put_on_sale(address: &str, product: i64, stock: i64) -> Result<(), CliError> {
    run(address, &format!("INSERT INTO products (id, stock) VALUES ({product}, {stock})")).await
}

async fn run(address: &str, sql: &str) -> Result<(), CliError> {
    let mut out = Vec::new();
    messages::query(sql, &mut out);
    exchange(&mut connect(address).await?, &out).await
}

async fn connect(address: &str) -> Result<TcpStream, CliError> {
    let wrong = |error| CliError::failed(format!("PostgreSQL at {address} cannot be reached: {error}"));
    let mut stream = TcpStream::connect(address).await.map_err(wrong)?;
    stream.set_nodelay(true).map_err(wrong)?;
    let mut out = Vec::new();
    messages::startup("shop", "postgres", &mut out);
    exchange(&mut stream, &out).await?;
    Ok(stream)
}

/// Says something, and reads until the next may be said.
async fn exchange(stream: &mut TcpStream, out: &[u8]) -> Result<(), CliError> {
    let wrong = |error| CliError::failed(format!("the connection to PostgreSQL: {error}"));
    stream.write_all(out).await.map_err(wrong)?;
    let mut input = BytesMut::new();
    loop {
        while let Some((message, length)) = messages::message(&input)? {
            match message.kind {
                b'Z' => return Ok(()),
                b'E' => return Err(refused(&message)),
                _ if message.wants_password() => {
                    return Err(CliError::failed("PostgreSQL wants a password, and ours never does"));
                }
                _ => input.advance(length),
            }
        }
        if stream.read_buf(&mut input).await.map_err(wrong)? == 0 {
            return Err(CliError::failed("PostgreSQL has closed the connection; see its log"));
        }
    }
}

fn refused(message: &Message<'_>) -> CliError {
    CliError::failed(format!("PostgreSQL says: {}", message.error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_cli::bench::work::Ask;
    use doorbuster_protocol::types::ProductId;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = i32::try_from(body.len() + 4).expect("it is short");
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn answers_count_once_they_are_committed() {
        let work = Work::endless(Ask::Unit, ProductId(1), 7);
        let (mut sql, mut out) = (Sql::new(work, "127.0.0.1:1".to_owned(), 1, false), Vec::new());
        (4..6).for_each(|slot| sql.ask(slot, 0, &mut out));
        sql.seal(&mut out);
        sql.seal(&mut out);
        assert!(out.ends_with(b"S\0\0\0\x04") && !out.ends_with(b"S\0\0\0\x04S\0\0\0\x04"), "one transaction");
        let (mut input, mut heard) = (BytesMut::new(), Vec::new());
        let answers = [message(b'2', b""), message(b'D', b"row"), message(b'C', b"SELECT 1\0")].concat();
        let none = [message(b'2', b""), message(b'C', b"SELECT 0\0")].concat();
        for byte in [answers, none].concat() {
            input.extend_from_slice(&[byte]);
            sql.hear(&mut input, &mut heard).expect("they are messages");
        }
        assert_eq!(heard, []);
        input.extend_from_slice(&message(b'Z', b"I"));
        sql.hear(&mut input, &mut heard).expect("it is one");
        assert_eq!(heard, [(4, Heard::Right), (5, Heard::Other("sold_out"))]);
        input.extend_from_slice(&message(b'E', b"SERROR\0C23505\0Mduplicate key\0\0"));
        let error = sql.hear(&mut input, &mut heard).expect_err("it is an error").message;
        assert!(error.contains("duplicate key (23505)"), "{error}");
    }
}
