//! What was decided under which key, in SQLite: each decision is written whole, with the event that tells it, and synced to disk
//! before it is told. A key is decided once; the schema itself makes a second decision, and a second refund, impossible.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{FromRow, SqliteConnection};

use crate::clock;
use crate::faults::{Operation, Telling};
use crate::outbox;
use crate::writer::Writer;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");
/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTIONS: u32 = 4;

/// See the module. `Clone` shares it.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) pool: SqlitePool,
    pub(crate) writer: Writer,
}

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize)]
pub struct Entry {
    /// Its place in the order of decisions.
    pub number: i64,
    /// The caller's idempotency key.
    pub key: String,
    /// In minor units; 0 of a key that was closed before anything was charged.
    pub amount: i64,
    /// Of which currency; empty then.
    pub currency: String,
    /// `succeeded`, `declined`, `refunded` or `in_progress`.
    pub state: String,
    /// Why it was declined.
    pub reason: Option<String>,
    /// When it arrived, in ms since 1970.
    pub made_at: i64,
}

/// What a charge is decided to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The money is taken.
    Taken,
    /// It is not, for this reason.
    Declined(&'static str),
}

/// Whether something was done by this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was.
    Now,
    /// It had been done before, or cannot be.
    Before,
}

/// Entries as they are told at the time `?1`.
macro_rules! entries {
    ($which:literal) => {
        concat!(
            "SELECT number, key, amount, currency, reason, made_at, ",
            "CASE WHEN decides_at > ?1 THEN 'in_progress' WHEN state = 'taken' THEN 'succeeded' ELSE state END AS state ",
            "FROM charges WHERE ",
            $which
        )
    };
}

impl Ledger {
    /// Opens `sqlite:PATH`, and creates what is not there.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(url: &str) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        // A database in memory belongs to one connection, and goes with it.
        let in_memory = url.contains(":memory:");
        let pool = SqlitePoolOptions::new();
        let pool = if in_memory {
            pool.max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None)
        } else {
            pool.max_connections(CONNECTIONS)
        };
        let pool = pool.connect_with(options).await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Self { writer: Writer::start(pool.clone()), pool })
    }

    /// How often this was asked by now, this time included.
    ///
    /// # Errors
    /// The database's, as of all the others.
    pub async fn arrive(&self, operation: Operation, key: &str) -> Result<i64, sqlx::Error> {
        let name = match operation {
            Operation::Charge => "charge",
            Operation::Cancel => "cancel",
            Operation::Refund => "refund",
        };
        let statement = "INSERT INTO arrivals (operation, key, times) VALUES (?1, ?2, 1) \
            ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times";
        let query = sqlx::query_scalar(statement).bind(name).bind(key.to_owned());
        self.writer.write(|connection| Box::pin(query.fetch_one(connection))).await
    }

    /// Decides a key, unless it is decided, and says what it is then. It is in progress for so long; then it is told, if somebody wants to know.
    #[allow(clippy::missing_errors_doc)] // as above
    pub async fn decide(
        &self,
        key: &str,
        (amount, currency): (i64, &str),
        decision: Decision,
        after: Duration,
        telling: Option<Telling>,
    ) -> Result<(Entry, Made), sqlx::Error> {
        let (state, reason) = match decision {
            Decision::Taken => ("taken", None),
            Decision::Declined(reason) => ("declined", Some(reason)),
        };
        let now = clock::wall();
        let decides_at =
            if after.is_zero() { 0 } else { now + i64::try_from(after.as_millis()).unwrap_or(i64::MAX / 2) };
        let statement = "INSERT INTO charges (key, amount, currency, state, reason, made_at, decides_at) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (key) DO NOTHING";
        let (key, currency) = (key.to_owned(), currency.to_owned());
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let decided = sqlx::query(statement)
                        .bind(&key)
                        .bind(amount)
                        .bind(currency)
                        .bind(state)
                        .bind(reason)
                        .bind(now)
                        .bind(decides_at)
                        .execute(&mut *connection)
                        .await?;
                    let made = if decided.rows_affected() == 1 { Made::Now } else { Made::Before };
                    if let Some(telling) = telling.filter(|_| made == Made::Now) {
                        tell(connection, &key, decides_at.max(now), telling).await?;
                    }
                    Ok((entry(connection, &key, clock::wall()).await?.ok_or(sqlx::Error::RowNotFound)?, made))
                })
            })
            .await
    }

    /// What is known of a key.
    #[allow(clippy::missing_errors_doc)] // as above
    pub async fn find(&self, key: &str) -> Result<Option<Entry>, sqlx::Error> {
        let query = sqlx::query_as(entries!("key = ?2"));
        query.bind(clock::wall()).bind(key).fetch_optional(&self.pool).await
    }

    /// Gives back what was taken under a key, if anything was; says what is known then, and tells it if somebody wants to know.
    #[allow(clippy::missing_errors_doc)] // as above
    pub async fn refund(&self, key: &str, telling: Option<Telling>) -> Result<(Option<Entry>, Made), sqlx::Error> {
        let statement = "UPDATE charges SET state = 'refunded', refunded_at = ?1 \
            WHERE key = ?2 AND state = 'taken' AND decides_at <= ?1";
        let now = clock::wall();
        let key = key.to_owned();
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let refunded = sqlx::query(statement).bind(now).bind(&key).execute(&mut *connection).await?;
                    let made = if refunded.rows_affected() == 1 { Made::Now } else { Made::Before };
                    if let Some(telling) = telling.filter(|_| made == Made::Now) {
                        tell(connection, &key, now, telling).await?;
                    }
                    Ok((entry(connection, &key, clock::wall()).await?, made))
                })
            })
            .await
    }

    /// Entries behind a number.
    #[allow(clippy::missing_errors_doc)] // as above
    pub async fn page(&self, after: i64, limit: i64) -> Result<Vec<Entry>, sqlx::Error> {
        let query = sqlx::query_as(entries!("number > ?2 ORDER BY number LIMIT ?3"));
        query.bind(clock::wall()).bind(after).bind(limit).fetch_all(&self.pool).await
    }

    /// Closes the database.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// What a key is at that time, in ms since 1970.
async fn entry(connection: &mut SqliteConnection, key: &str, at: i64) -> Result<Option<Entry>, sqlx::Error> {
    sqlx::query_as(entries!("key = ?2")).bind(at).bind(key).fetch_optional(connection).await
}

/// Writes the event down that tells what a key is at that time.
async fn tell(connection: &mut SqliteConnection, key: &str, at: i64, telling: Telling) -> Result<(), sqlx::Error> {
    let entry = entry(connection, key, at).await?.ok_or(sqlx::Error::RowNotFound)?;
    outbox::write(connection, &entry, at, telling).await
}
