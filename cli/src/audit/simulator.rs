//! What `doorbuster payment-simulator` says: its ledger, every key that was decided, page by page; and what it has counted.

use super::ledger::{Charge, State};
use crate::error::CliError;
use bytes::Bytes;
use doorbuster_payment_simulator::routes::Happened;
use doorbuster_protocol::types::Timestamp;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::net::TcpStream;

/// Entries of a page.
const PAGE: usize = 1000;
/// Longest page, in bytes.
const MAX_ANSWER: usize = 4 << 20;
/// How long a page may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Tries of a page: the provider may be busy with the sale.
const TRIES: u32 = 5;
/// Pause before the first repetition; doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// An entry as it is told.
#[derive(Debug, Deserialize)]
struct Entry {
    /// Its place in the ledger.
    number: i64,
    key: String,
    amount: u64,
    currency: String,
    state: State,
    made_at: u64,
}

#[derive(Debug, Deserialize)]
struct Page {
    charges: Vec<Entry>,
}

impl From<Entry> for Charge {
    fn from(Entry { key, amount, currency, state, made_at, .. }: Entry) -> Self {
        let given_back = if state == State::Refunded { amount } else { 0 };
        let changed_at = Timestamp(made_at);
        Self { key, place: None, amount, currency, state, given_back, going_back: 0, changed_at }
    }
}

/// The whole ledger of the provider at `http://host:port`.
pub async fn ledger(url: &str) -> Result<Vec<Charge>, CliError> {
    let authority = authority(url)?;
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page: Page =
            get(authority, &format!("/v1/charges?after={after}&limit={PAGE}")).await.map_err(|problem| {
                CliError::unavailable(format!(
                    "--provider-url {url}: the ledger cannot be read: {problem}; is it running?"
                ))
            })?;
        let Some(last) = page.charges.last() else { return Ok(all) };
        after = last.number;
        all.extend(page.charges.into_iter().map(Charge::from));
    }
}

/// What the provider at `http://host:port` has counted since it started.
pub async fn happened(url: &str) -> Result<Happened, CliError> {
    get(authority(url)?, "/admin/tally").await.map_err(|problem| {
        CliError::unavailable(format!("the provider at {url} does not say what it counted: {problem}; is it running?"))
    })
}

fn authority(url: &str) -> Result<&str, CliError> {
    let wrong = || CliError::usage(format!("--provider-url {url}: wanted http://HOST:PORT of the payment provider"));
    let authority = url.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
    let is_plain = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    (is_plain && !authority.contains(['/', '?', '@'])).then_some(authority).ok_or_else(wrong)
}

/// What is at a path, asked for until it comes.
async fn get<T: DeserializeOwned>(authority: &str, path: &str) -> Result<T, String> {
    let mut pause = PAUSE;
    let mut tries = 1;
    loop {
        let asked = tokio::time::timeout(ANSWER_WITHIN, ask(authority, path)).await;
        let problem = match asked {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(problem)) => problem,
            Err(_) => format!("no answer within {}s", ANSWER_WITHIN.as_secs()),
        };
        if tries == TRIES {
            return Err(problem);
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

async fn ask<T: DeserializeOwned>(authority: &str, path: &str) -> Result<T, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(authority).await.map_err(|error| said(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    // It ends with its sender; what went wrong on it the sender hears.
    tokio::spawn(connection);
    let request =
        Request::get(path).header(HOST, authority).body(Empty::<Bytes>::new()).map_err(|error| said(&error))?;
    let (head, body) = sender.send_request(request).await.map_err(|error| said(&error))?.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("it answers {}", head.status));
    }
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| said(&error))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| format!("its answer makes no sense: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_plain() {
        for (url, expected) in [
            ("http://127.0.0.1:8090", Some("127.0.0.1:8090")),
            ("http://localhost:8090/", Some("localhost:8090")),
            ("http://[::1]:8090", Some("[::1]:8090")),
            ("https://127.0.0.1:8090", None),
            ("http://127.0.0.1", None),
            ("http://u@h:1", None),
            ("http://h:1/v1", None),
            ("127.0.0.1:8090", None),
        ] {
            assert_eq!(authority(url).ok(), expected, "{url}");
        }
    }

    #[test]
    fn a_page_is_read() {
        for (state, expected, given_back) in [
            ("in_progress", State::InProgress, 0),
            ("refunded", State::Refunded, 500),
            ("declined", State::Declined, 0),
        ] {
            let text = format!(
                r#"{{"charges":[{{"number":3,"key":"k","amount":500,"currency":"EUR","state":"{state}","reason":null,
                "made_at":1800000000000}}]}}"#
            );
            let page: Page = serde_json::from_str(&text).expect("it is one");
            let charge = Charge::from(page.charges.into_iter().next().expect("there is one"));
            assert_eq!(
                (charge.state, charge.given_back, charge.changed_at.0),
                (expected, given_back, 1_800_000_000_000)
            );
        }
    }
}
