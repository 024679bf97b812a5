//! Orders in SQLite: write-ahead log, each commit synced to disk, one `json_each` statement a batch.
//!
//! SQLite has one write lock, taken at the start of each transaction here (`BEGIN IMMEDIATE`): that decides who writes.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::{FeedPosition, ReservationId, ShardId};
use serde::Serialize;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Sqlite as Driver, Transaction};
use tokio::sync::OnceCell;

use super::money::PaymentRow;
use super::parked::{NewParked, ParkedRow, Retried};
use super::row::{NewRow, STAGES, Stage, StoredRow, fit, hex};
use super::sieve::{Refused, Sieve, Sifted};
use super::store::{StoreError, Stored, beyond, position, url_error};
use super::written;

mod money;
mod outgoing;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");
/// How long a writer waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTIONS: u32 = 4;
/// Two gateways that create the same file at once: the later one sees the other's migration at its next try.
const MIGRATION_TRIES: u32 = 5;

#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    pool: SqlitePool,
    migrated: Arc<OnceCell<()>>,
}

impl Sqlite {
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url).map_err(|error| url_error(url, &error))?;
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        // A database in memory belongs to one connection, and goes with it.
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        let pool = if in_memory {
            pool.max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None)
        } else {
            pool.max_connections(CONNECTIONS)
        };
        Ok(Self { pool: pool.connect_lazy_with(options), migrated: Arc::default() })
    }

    pub async fn ready(&self) -> Result<(), StoreError> {
        self.pool().await.map(drop)
    }

    pub async fn pool(&self) -> Result<&SqlitePool, StoreError> {
        self.migrated.get_or_try_init(|| self.migrate()).await?;
        Ok(&self.pool)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let mut tries = 1;
        loop {
            match MIGRATIONS.run(&self.pool).await {
                Ok(()) => return Ok(()),
                Err(error) if tries == MIGRATION_TRIES => {
                    return Err(StoreError::Unavailable { problem: format!("its tables cannot be set up: {error}") });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50) * tries).await,
            }
            tries += 1;
        }
    }

    pub async fn position(&self, shard: ShardId) -> Result<FeedPosition, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT position FROM feed_positions WHERE shard = ?1")
            .bind(i64::from(shard.get()))
            .fetch_optional(self.pool().await?)
            .await?;
        Ok(position(found.unwrap_or(0)))
    }

    pub async fn store(&self, shard: ShardId, entries: &[FeedEntry]) -> Result<Stored, StoreError> {
        let mut transaction = self.pool().await?.begin_with("BEGIN IMMEDIATE").await?;
        let stored: Option<i64> = sqlx::query_scalar("SELECT position FROM feed_positions WHERE shard = ?1")
            .bind(i64::from(shard.get()))
            .fetch_optional(&mut *transaction)
            .await?;
        let stored = stored.unwrap_or(0);
        let entries = beyond(shard, entries, stored)?;
        let Some(last) = entries.last().map(|entry| entry.position) else {
            transaction.rollback().await?;
            return Ok(Stored { position: position(stored), entries: 0, parked: 0 });
        };
        let Sifted { stored, refused } = sift(&mut transaction, shard, entries).await?;
        park(&mut transaction, shard, &refused).await?;
        outgoing::insert(&mut transaction, shard, entries).await?;
        sqlx::query(
            "INSERT INTO feed_positions (shard, position) VALUES (?1, ?2)
             ON CONFLICT (shard) DO UPDATE SET position = excluded.position",
        )
        .bind(i64::from(shard.get()))
        .bind(fit("position", last.get(), last)?)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Stored { position: last, entries: stored.len() as u64, parked: refused.len() as u64 })
    }

    pub async fn retry(&self, shard: ShardId, positions: &[i64]) -> Result<Retried, StoreError> {
        let mut transaction = self.pool().await?.begin_with("BEGIN IMMEDIATE").await?;
        let found: Vec<String> = sqlx::query_scalar(PARKED_AT)
            .bind(i64::from(shard.get()))
            .bind(json(positions)?)
            .fetch_all(&mut *transaction)
            .await?;
        let entries = found.iter().map(|entry| written::read(entry)).collect::<Result<Vec<_>, _>>()?;
        let Sifted { stored, refused } = sift(&mut transaction, shard, &entries).await?;
        park(&mut transaction, shard, &refused).await?;
        let done: Vec<i64> = stored.iter().map(|at| fit("position", at.get(), *at)).collect::<Result<_, _>>()?;
        sqlx::query(UNPARK).bind(i64::from(shard.get())).bind(json(&done)?).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Retried { stored: stored.len() as u64, parked: refused.len() as u64 })
    }

    pub async fn find(&self, shard: ShardId, reservation: ReservationId) -> Result<Vec<i64>, StoreError> {
        let query = sqlx::query_scalar(FIND).bind(i64::from(shard.get())).bind(hex(reservation.get()));
        Ok(query.fetch_all(self.pool().await?).await?)
    }

    pub async fn parked(&self, shard: ShardId, position: i64, limit: u32) -> Result<Vec<ParkedRow>, StoreError> {
        let query = sqlx::query_as(PARKED_PAGE).bind(i64::from(shard.get())).bind(position).bind(i64::from(limit));
        Ok(query.fetch_all(self.pool().await?).await?)
    }

    pub async fn parked_count(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM parked_orders").fetch_one(self.pool().await?).await?)
    }

    pub async fn order(&self, reservation: ReservationId) -> Result<Option<StoredRow>, StoreError> {
        let query = sqlx::query_as("SELECT * FROM orders WHERE reservation = ?1").bind(hex(reservation.get()));
        Ok(query.fetch_optional(self.pool().await?).await?)
    }

    pub async fn orders(&self, after: ReservationId, limit: u32) -> Result<Vec<StoredRow>, StoreError> {
        let query = sqlx::query_as("SELECT * FROM orders WHERE reservation > ?1 ORDER BY reservation LIMIT ?2")
            .bind(hex(after.get()))
            .bind(i64::from(limit));
        Ok(query.fetch_all(self.pool().await?).await?)
    }

    pub async fn payments(&self, after: ReservationId, limit: u32) -> Result<Vec<PaymentRow>, StoreError> {
        money::page(self.pool().await?, after, limit).await
    }

    pub async fn count(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(self.pool().await?).await?)
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Stores what the database takes of the entries, and says what it refuses.
async fn sift(
    transaction: &mut Transaction<'_, Driver>,
    shard: ShardId,
    entries: &[FeedEntry],
) -> Result<Sifted, StoreError> {
    let place = |entry: &FeedEntry| {
        let position = fit("position", entry.position.get(), entry.position)?;
        Ok(serde_json::json!({ "reservation": hex(entry.reservation.get()), "position": position }))
    };
    let places = entries.iter().map(place).collect::<Result<Vec<_>, StoreError>>()?;
    let parked: Vec<(String, i64)> = sqlx::query_as(PARKED_BEFORE)
        .bind(i64::from(shard.get()))
        .bind(json(&places)?)
        .fetch_all(&mut **transaction)
        .await?;
    let mut sieve = Sieve::of(entries, parked.into_iter().collect());
    while let Some(rows) = sieve.next() {
        let mut attempt = transaction.begin().await?;
        match insert(&mut attempt, shard, rows).await {
            Ok(()) => {
                attempt.commit().await?;
                sieve.passed();
            }
            Err(error) if error.is_of_contents() => {
                attempt.rollback().await?;
                sieve.refused(&error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sieve.end())
}

async fn park(
    transaction: &mut Transaction<'_, Driver>,
    shard: ShardId,
    refused: &[Refused],
) -> Result<(), StoreError> {
    if refused.is_empty() {
        return Ok(());
    }
    let rows = refused.iter().map(NewParked::of).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(PARK).bind(i64::from(shard.get())).bind(json(&rows)?).execute(&mut **transaction).await?;
    Ok(())
}

/// Orders, and the money that was paid for them.
async fn insert(transaction: &mut Transaction<'_, Driver>, shard: ShardId, rows: &[NewRow]) -> Result<(), StoreError> {
    insert_orders(transaction, shard, rows).await?;
    money::insert(transaction, &rows.iter().collect::<Vec<_>>()).await
}

/// Stage by stage, as a reservation's life goes.
async fn insert_orders(
    transaction: &mut Transaction<'_, Driver>,
    shard: ShardId,
    rows: &[NewRow],
) -> Result<(), StoreError> {
    let mut written = 0;
    for stage in STAGES {
        let rows: Vec<&NewRow> = rows.iter().filter(|row| row.stage() == stage).collect();
        written += execute(transaction, shard, &rows, statement(stage)).await?;
    }
    if written == rows.len() as u64 {
        return Ok(());
    }
    let found: Option<(String, i64, i64)> = sqlx::query_as(CONFLICT)
        .bind(i64::from(shard.get()))
        .bind(json(&rows.iter().collect::<Vec<_>>())?)
        .fetch_optional(&mut **transaction)
        .await?;
    match found {
        None => Ok(()),
        Some((reservation, shard, position)) => Err(StoreError::Conflict { reservation, shard, position }),
    }
}

async fn execute(
    transaction: &mut Transaction<'_, Driver>,
    shard: ShardId,
    rows: &[&NewRow],
    statement: String,
) -> Result<u64, StoreError> {
    if rows.is_empty() {
        return Ok(0);
    }
    let query = sqlx::query(AssertSqlSafe(statement)).bind(i64::from(shard.get())).bind(json(rows)?);
    Ok(query.execute(&mut **transaction).await?.rows_affected())
}

fn json<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| StoreError::Refused { problem: error.to_string() })
}

fn statement(stage: Stage) -> String {
    format!("{INSERT} ON CONFLICT (reservation) {}", stage.on_conflict())
}

// `WHERE true` keeps SQLite from reading ON CONFLICT as a join's.
const INSERT: &str = "
    INSERT INTO orders (reservation, shard, position, product, user_id, quantity, price_minor, currency, state, late,
                        created_at_ms, changed_at_ms, cancelled_at_ms, cancel_reason, stock_returned)
    SELECT value ->> 'reservation', ?1, value ->> 'position', value ->> 'product', value ->> 'user_id',
           value ->> 'quantity', value ->> 'price_minor', value ->> 'currency', value ->> 'state', value ->> 'late',
           value ->> 'at_ms', value ->> 'at_ms', iif(value ->> 'cancel_reason' IS NULL, NULL, value ->> 'at_ms'),
           value ->> 'cancel_reason', value ->> 'stock_returned'
    FROM json_each(?2) WHERE true";
const FIND: &str = "
    SELECT position FROM orders WHERE shard = ?1 AND reservation = ?2
    UNION ALL SELECT position FROM parked_orders WHERE shard = ?1 AND reservation = ?2";
const PARKED_PAGE: &str = "
    SELECT shard, entry, error, tries, parked_at_ms
    FROM parked_orders WHERE (shard, position) > (?1, ?2) ORDER BY shard, position LIMIT ?3";
const PARKED_AT: &str = "
    SELECT entry FROM parked_orders WHERE shard = ?1 AND position IN (SELECT value FROM json_each(?2)) ORDER BY position";
/// Reservations of the entries ?2 of which something is parked that comes before and is none of these entries.
const PARKED_BEFORE: &str = "
    SELECT parked_orders.reservation, min(parked_orders.position)
    FROM json_each(?2) AS entry
    JOIN parked_orders ON parked_orders.reservation = entry.value ->> 'reservation'
                      AND parked_orders.position < entry.value ->> 'position'
    WHERE parked_orders.shard = ?1
      AND parked_orders.position NOT IN (SELECT value ->> 'position' FROM json_each(?2))
    GROUP BY parked_orders.reservation";
const PARK: &str = "
    INSERT INTO parked_orders (shard, position, reservation, entry, error, parked_at_ms)
    SELECT ?1, value ->> 'position', value ->> 'reservation', value ->> 'entry', value ->> 'error',
           CAST(unixepoch('subsec') * 1000 AS INTEGER)
    FROM json_each(?2) WHERE true
    ON CONFLICT (shard, position) DO UPDATE SET error = excluded.error, tries = parked_orders.tries + 1";
const UNPARK: &str = "
    DELETE FROM parked_orders WHERE shard = ?1 AND position IN (SELECT value FROM json_each(?2))";
/// Of the rows that were not written: one that is somebody else's order.
const CONFLICT: &str = "
    SELECT orders.reservation, orders.shard, orders.position
    FROM json_each(?2) JOIN orders ON orders.reservation = value ->> 'reservation'
    WHERE orders.shard <> ?1 OR orders.product <> value ->> 'product' OR orders.user_id <> value ->> 'user_id'
       OR orders.quantity <> value ->> 'quantity' OR orders.state <> value ->> 'state'
       OR (value ->> 'state' <> 'refunded' AND value ->> 'cancel_reason' IS NULL
           AND orders.position <> value ->> 'position')
    LIMIT 1";
