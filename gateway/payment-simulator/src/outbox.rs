//! Events in the ledger: written down in the transaction of the decision that they tell of, taken to be sent, acknowledged.
//! Who takes one has it for `LEASE`; if nothing is heard of it by then, it is sent again. So whatever ends the process, an
//! event is sent at least once.

use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, SqliteConnection};

use crate::clock;
use crate::faults::Telling;
use crate::ledger::{Entry, Ledger};

/// How long who took an event has it.
const LEASE: Duration = Duration::from_secs(15);
/// Between the repetitions of one that is repeated.
const REPEAT: Duration = Duration::from_millis(30);
/// First and longest pause after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// An event that is to be sent now.
#[derive(Clone, Debug, FromRow)]
pub struct Due {
    /// Its number.
    pub number: i64,
    /// What is sent.
    pub body: String,
    /// How often in a row that failed.
    pub failures: i64,
}

/// An event as it is shown.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Shown {
    /// Its place in the order in which events were made.
    pub number: i64,
    /// Its id.
    pub id: String,
    /// How often it has still to be acknowledged.
    pub remaining: i64,
    /// How often it was sent.
    pub deliveries: i64,
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
    created: i64,
    data: &'a Entry,
}

/// Writes down that this was decided, at `at` in ms since 1970.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    entry: &Entry,
    at: i64,
    telling: Telling,
) -> Result<(), sqlx::Error> {
    let type_name = format!("charge.{}", entry.state);
    // Each comes about once under a key, so that makes its id.
    let digest =
        Sha256::new().chain_update(entry.key.as_bytes()).chain_update(b"/").chain_update(&type_name).finalize();
    let id = digest[..16].iter().fold("evt_".to_owned(), |id, byte| format!("{id}{byte:02x}"));
    let body = Body { id: &id, type_name: &type_name, created: at, data: entry };
    let body = serde_json::to_string(&body).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let statement = "INSERT INTO events (id, body, remaining, due_at) VALUES (?1, ?2, ?3, ?4)";
    let query = sqlx::query(statement).bind(&id).bind(body).bind(telling.times).bind(at + millis(telling.after));
    query.execute(connection).await.map(drop)
}

impl Ledger {
    /// Takes events that are due, the oldest first.
    ///
    /// # Errors
    /// The database's, as of all the others.
    pub async fn take_due(&self, most: u32) -> Result<Vec<Due>, sqlx::Error> {
        let statement = "UPDATE events SET due_at = ?1 + ?2, deliveries = deliveries + 1 WHERE number IN \
            (SELECT number FROM events WHERE remaining > 0 AND due_at <= ?1 ORDER BY due_at, number LIMIT ?3) \
            RETURNING number, body, failures";
        let query = sqlx::query_as(statement).bind(clock::wall()).bind(millis(LEASE)).bind(most);
        self.writer.write(|connection| Box::pin(query.fetch_all(connection))).await
    }

    /// How long nothing is due yet; `None` if nothing ever is.
    #[allow(clippy::missing_errors_doc)] // as above
    pub async fn next_due(&self) -> Result<Option<Duration>, sqlx::Error> {
        let due: Option<i64> =
            sqlx::query_scalar("SELECT min(due_at) FROM events WHERE remaining > 0").fetch_one(&self.pool).await?;
        Ok(due.map(|due| Duration::from_millis(u64::try_from(due - clock::wall()).unwrap_or(0))))
    }

    /// An event was acknowledged. How often it has been by now, this time included.
    #[allow(clippy::missing_errors_doc)] // as above
    pub async fn acknowledged(&self, number: i64) -> Result<i64, sqlx::Error> {
        let statement = "UPDATE events SET remaining = max(remaining - 1, 0), acknowledged = acknowledged + 1, \
            failures = 0, due_at = ?2 WHERE number = ?1 RETURNING acknowledged";
        let query = sqlx::query_scalar(statement).bind(number).bind(clock::wall() + millis(REPEAT));
        self.writer.write(|connection| Box::pin(query.fetch_one(connection))).await
    }

    /// It was not, and is sent again after a pause that doubles each time.
    #[allow(clippy::missing_errors_doc)] // as above
    pub async fn failed(&self, due: &Due) -> Result<(), sqlx::Error> {
        let doublings = u32::try_from(due.failures).unwrap_or(u32::MAX).min(16);
        let pause = (BACKOFF.0 * 2_u32.pow(doublings)).min(BACKOFF.1);
        let statement = "UPDATE events SET failures = failures + 1, due_at = ?2 WHERE number = ?1";
        let query = sqlx::query(statement).bind(due.number).bind(clock::wall() + millis(pause));
        self.writer.write(|connection| Box::pin(async { query.execute(connection).await.map(drop) })).await
    }

    /// Events that have still to be acknowledged.
    #[allow(clippy::missing_errors_doc)] // as above
    pub async fn waiting(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE remaining > 0").fetch_one(&self.pool).await
    }

    /// Events behind a number.
    #[allow(clippy::missing_errors_doc)] // as above
    pub async fn events(&self, after: i64, limit: i64) -> Result<Vec<Shown>, sqlx::Error> {
        let statement =
            "SELECT number, id, remaining, deliveries FROM events WHERE number > ?1 ORDER BY number LIMIT ?2";
        sqlx::query_as(statement).bind(after).bind(limit).fetch_all(&self.pool).await
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}
