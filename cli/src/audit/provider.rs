//! What the payment provider says, `doorbuster payment-simulator`: its ledger, every key that was decided, page by page; and
//! what it has counted.

use crate::error::CliError;
use bytes::Bytes;
use doorbuster_payment_simulator::routes::Happened;
use doorbuster_protocol::types::{ReservationId, Timestamp};
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

/// What the provider has under one key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Charge {
    /// Its place in the ledger.
    pub number: i64,
    /// The idempotency key.
    pub key: String,
    /// In minor units.
    pub amount: u64,
    /// Of which currency.
    pub currency: String,
    /// Taken, given back, declined, or not known yet.
    pub state: State,
    /// When it arrived, by the provider's clock.
    #[serde(deserialize_with = "milliseconds")]
    pub made_at: Timestamp,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The provider has the money.
    Succeeded,
    /// It took nothing.
    Declined,
    /// It had the money, and gave it back.
    Refunded,
    /// It does not know yet.
    InProgress,
}

#[derive(Debug, Deserialize)]
struct Page {
    charges: Vec<Charge>,
}

impl Charge {
    /// Whose it is: a gateway's key begins with the reservation's 32 hexadecimal digits. Keys of others have none.
    #[must_use]
    pub fn reservation(&self) -> Option<ReservationId> {
        let (id, _) = self.key.split_once('-').filter(|(id, _)| id.len() == 32)?;
        u128::from_str_radix(id, 16).ok().map(ReservationId)
    }
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    u64::deserialize(deserializer).map(Timestamp)
}

/// The whole ledger of the provider at `http://host:port`.
pub async fn ledger(url: &str) -> Result<Vec<Charge>, CliError> {
    let authority = authority(url)?;
    let mut all: Vec<Charge> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.number);
        let page: Page =
            get(authority, &format!("/v1/charges?after={after}&limit={PAGE}")).await.map_err(|problem| {
                CliError::unavailable(format!(
                    "--provider-url {url}: the ledger cannot be read: {problem}; is it running?"
                ))
            })?;
        if page.charges.is_empty() {
            return Ok(all);
        }
        all.extend(page.charges);
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
    fn a_page_is_read_and_keys_name_their_reservations() {
        let text = r#"{"charges":[{"number":3,"key":"000000000000000000000000000000ff-17-2","amount":500,
            "currency":"EUR","state":"in_progress","reason":null,"made_at":1800000000000}]}"#;
        let page: Page = serde_json::from_str(text).expect("it is one");
        let charge = &page.charges[0];
        assert_eq!((charge.state, charge.reservation()), (State::InProgress, Some(ReservationId(255))));
        for key in ["", "ff-17-2", "000000000000000000000000000000ff", "gggggggggggggggggggggggggggggggg-1-1"] {
            assert_eq!(Charge { key: key.to_owned(), ..charge.clone() }.reservation(), None, "{key}");
        }
    }
}
