//! Orders in PostgreSQL: one `UNNEST` statement a batch. The lock of a shard's position row decides who writes.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::{FeedPosition, ReservationId, ShardId};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::query::{Query, QueryAs};
use sqlx::{AssertSqlSafe, Connection, Executor, FromRow, Transaction};
use tokio::sync::OnceCell;

use super::money::PaymentRow;
use super::parked::{NewParked, ParkedRow, Retried};
use super::row::{NewRow, STAGES, Stage, StoredRow, fit, hex};
use super::sieve::{Refused, Sieve, Sifted};
use super::store::{StoreError, Stored, beyond, position, url_error};
use super::written;

mod money;
mod outgoing;

type Driver = sqlx::Postgres;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");
/// How long a call waits for a connection, a new one included.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTIONS: u32 = 8;
/// A gateway that hangs must not keep the others from writing; a database must not lose what it said it committed.
const SESSION: &str = "
    SET lock_timeout = '10s';
    SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '30s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';";

#[derive(Clone, Debug)]
pub(super) struct Postgres {
    pool: PgPool,
    migrated: Arc<OnceCell<()>>,
}

impl Postgres {
    pub fn open(url: &str) -> Result<Self, StoreError> {
        // The address may hold a password, so it is not shown.
        let options = PgConnectOptions::from_str(url).map_err(|error| url_error("postgres://...", &error))?;
        let options = options.application_name("doorbuster-gateway");
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(drop) }));
        Ok(Self { pool: pool.connect_lazy_with(options), migrated: Arc::default() })
    }

    pub async fn ready(&self) -> Result<(), StoreError> {
        self.pool().await.map(drop)
    }

    pub async fn pool(&self) -> Result<&PgPool, StoreError> {
        let migrate = || async {
            let migrated = MIGRATIONS.run(&self.pool).await;
            migrated
                .map_err(|error| StoreError::Unavailable { problem: format!("its tables cannot be set up: {error}") })
        };
        self.migrated.get_or_try_init(migrate).await?;
        Ok(&self.pool)
    }

    pub async fn position(&self, shard: ShardId) -> Result<FeedPosition, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT position FROM feed_positions WHERE shard = $1")
            .bind(i32::from(shard.get()))
            .fetch_optional(self.pool().await?)
            .await?;
        Ok(position(found.unwrap_or(0)))
    }

    pub async fn store(&self, shard: ShardId, entries: &[FeedEntry]) -> Result<Stored, StoreError> {
        let mut transaction = self.pool().await?.begin().await?;
        let stored = lock(&mut transaction, shard).await?;
        let entries = beyond(shard, entries, stored)?;
        let Some(last) = entries.last().map(|entry| entry.position) else {
            transaction.rollback().await?;
            return Ok(Stored { position: position(stored), entries: 0, parked: 0 });
        };
        let Sifted { stored, refused } = sift(&mut transaction, shard, entries).await?;
        park(&mut transaction, shard, &refused).await?;
        outgoing::insert(&mut transaction, shard, entries).await?;
        sqlx::query("UPDATE feed_positions SET position = $2 WHERE shard = $1")
            .bind(i32::from(shard.get()))
            .bind(fit("position", last.get(), last)?)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Stored { position: last, entries: stored.len() as u64, parked: refused.len() as u64 })
    }

    pub async fn retry(&self, shard: ShardId, positions: &[i64]) -> Result<Retried, StoreError> {
        let mut transaction = self.pool().await?.begin().await?;
        lock(&mut transaction, shard).await?;
        let found: Vec<String> = sqlx::query_scalar(PARKED_AT)
            .bind(i32::from(shard.get()))
            .bind(positions)
            .fetch_all(&mut *transaction)
            .await?;
        let entries = found.iter().map(|entry| written::read(entry)).collect::<Result<Vec<_>, _>>()?;
        let Sifted { stored, refused } = sift(&mut transaction, shard, &entries).await?;
        park(&mut transaction, shard, &refused).await?;
        let done: Vec<i64> = stored.iter().map(|at| fit("position", at.get(), *at)).collect::<Result<_, _>>()?;
        sqlx::query("DELETE FROM parked_orders WHERE shard = $1 AND position = ANY($2)")
            .bind(i32::from(shard.get()))
            .bind(done)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Retried { stored: stored.len() as u64, parked: refused.len() as u64 })
    }

    pub async fn find(&self, shard: ShardId, reservation: ReservationId) -> Result<Vec<i64>, StoreError> {
        let query = sqlx::query_scalar(FIND).bind(i32::from(shard.get())).bind(hex(reservation.get()));
        Ok(query.fetch_all(self.pool().await?).await?)
    }

    pub async fn parked(&self, shard: ShardId, position: i64, limit: u32) -> Result<Vec<ParkedRow>, StoreError> {
        let query = sqlx::query_as(PARKED_PAGE).bind(i32::from(shard.get())).bind(position).bind(i64::from(limit));
        Ok(query.fetch_all(self.pool().await?).await?)
    }

    pub async fn parked_count(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM parked_orders").fetch_one(self.pool().await?).await?)
    }

    pub async fn order(&self, reservation: ReservationId) -> Result<Option<StoredRow>, StoreError> {
        let query = sqlx::query_as(ONE).bind(hex(reservation.get()));
        Ok(query.fetch_optional(self.pool().await?).await?)
    }

    pub async fn orders(&self, after: ReservationId, limit: u32) -> Result<Vec<StoredRow>, StoreError> {
        let query = sqlx::query_as(PAGE).bind(hex(after.get())).bind(i64::from(limit));
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

/// Locks the shard's position row until the transaction ends, and reads it. From then on constraints of the shop's own that
/// could be checked at the commit are checked with each statement: only so can it be told which entry they refuse.
async fn lock(transaction: &mut Transaction<'_, Driver>, shard: ShardId) -> Result<i64, StoreError> {
    sqlx::query("SET CONSTRAINTS ALL IMMEDIATE").execute(&mut **transaction).await?;
    sqlx::query("INSERT INTO feed_positions (shard, position) VALUES ($1, 0) ON CONFLICT DO NOTHING")
        .bind(i32::from(shard.get()))
        .execute(&mut **transaction)
        .await?;
    let locked = sqlx::query_scalar("SELECT position FROM feed_positions WHERE shard = $1 FOR UPDATE")
        .bind(i32::from(shard.get()))
        .fetch_one(&mut **transaction)
        .await?;
    Ok(locked)
}

/// Stores what the database takes of the entries, and says what it refuses.
async fn sift(
    transaction: &mut Transaction<'_, Driver>,
    shard: ShardId,
    entries: &[FeedEntry],
) -> Result<Sifted, StoreError> {
    let (reservations, positions): (Vec<String>, Vec<i64>) = entries
        .iter()
        .map(|entry| Ok((hex(entry.reservation.get()), fit("position", entry.position.get(), entry.position)?)))
        .collect::<Result<Vec<_>, StoreError>>()?
        .into_iter()
        .unzip();
    let parked: Vec<(String, i64)> = sqlx::query_as(PARKED_BEFORE)
        .bind(i32::from(shard.get()))
        .bind(reservations)
        .bind(positions)
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
    let (mut positions, mut reservations, mut entries, mut errors) = (vec![], vec![], vec![], vec![]);
    for refused in refused {
        let NewParked { position, reservation, entry, error } = NewParked::of(refused)?;
        positions.push(position);
        reservations.push(reservation);
        entries.push(entry);
        errors.push(error);
    }
    let query = sqlx::query(PARK).bind(i32::from(shard.get()));
    let query = query.bind(positions).bind(reservations).bind(entries).bind(errors);
    query.execute(&mut **transaction).await?;
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
        if !rows.is_empty() {
            let query = Columns::of(&rows).bind(sqlx::query(AssertSqlSafe(statement(stage))), shard);
            written += query.execute(&mut **transaction).await?.rows_affected();
        }
    }
    if written == rows.len() as u64 {
        return Ok(());
    }
    let columns = Columns::of(&rows.iter().collect::<Vec<_>>());
    let found = columns.bind_as::<(String, i64, i64)>(sqlx::query_as(CONFLICT), shard);
    match found.fetch_optional(&mut **transaction).await? {
        None => Ok(()),
        Some((reservation, shard, position)) => Err(StoreError::Conflict { reservation, shard, position }),
    }
}

/// A batch, column by column, as `UNNEST` wants it.
#[derive(Default)]
struct Columns {
    reservation: Vec<String>,
    position: Vec<i64>,
    product: Vec<String>,
    user_id: Vec<String>,
    quantity: Vec<i64>,
    price_minor: Vec<i64>,
    currency: Vec<String>,
    state: Vec<String>,
    late: Vec<bool>,
    at_ms: Vec<i64>,
    cancel_reason: Vec<Option<String>>,
    stock_returned: Vec<Option<bool>>,
}

impl Columns {
    fn of(rows: &[&NewRow]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.reservation.push(row.reservation.clone());
            columns.position.push(row.position);
            columns.product.push(row.product.clone());
            columns.user_id.push(row.user_id.clone());
            columns.quantity.push(row.quantity);
            columns.price_minor.push(row.price_minor);
            columns.currency.push(row.currency.clone());
            columns.state.push(row.state.to_owned());
            columns.late.push(row.late);
            columns.at_ms.push(row.at_ms);
            columns.cancel_reason.push(row.cancel_reason.map(str::to_owned));
            columns.stock_returned.push(row.stock_returned);
        }
        columns
    }

    fn bind<'q>(self, query: Query<'q, Driver, PgArguments>, shard: ShardId) -> Query<'q, Driver, PgArguments> {
        query
            .bind(i32::from(shard.get()))
            .bind(self.reservation)
            .bind(self.position)
            .bind(self.product)
            .bind(self.user_id)
            .bind(self.quantity)
            .bind(self.price_minor)
            .bind(self.currency)
            .bind(self.state)
            .bind(self.late)
            .bind(self.at_ms)
            .bind(self.cancel_reason)
            .bind(self.stock_returned)
    }

    /// The columns that [`CONFLICT`] compares.
    fn bind_as<'q, T: for<'r> FromRow<'r, sqlx::postgres::PgRow>>(
        self,
        query: QueryAs<'q, Driver, T, PgArguments>,
        shard: ShardId,
    ) -> QueryAs<'q, Driver, T, PgArguments> {
        query
            .bind(i32::from(shard.get()))
            .bind(self.reservation)
            .bind(self.position)
            .bind(self.product)
            .bind(self.user_id)
            .bind(self.quantity)
            .bind(self.state)
            .bind(self.cancel_reason)
    }
}

fn statement(stage: Stage) -> String {
    format!("{INSERT} ON CONFLICT (reservation) {}", stage.on_conflict())
}

const ONE: &str = "
    SELECT reservation, shard::bigint AS shard, position, product, user_id, quantity, price_minor, currency, state, late,
           created_at_ms, changed_at_ms, cancelled_at_ms, cancel_reason, stock_returned
    FROM orders WHERE reservation = $1";
const PAGE: &str = "
    SELECT reservation, shard::bigint AS shard, position, product, user_id, quantity, price_minor, currency, state, late,
           created_at_ms, changed_at_ms, cancelled_at_ms, cancel_reason, stock_returned
    FROM orders WHERE reservation > $1 ORDER BY reservation LIMIT $2";
const INSERT: &str = "
    INSERT INTO orders (reservation, shard, position, product, user_id, quantity, price_minor, currency, state, late,
                        created_at_ms, changed_at_ms, cancelled_at_ms, cancel_reason, stock_returned)
    SELECT reservation, $1, position, product, user_id, quantity, price_minor, currency, state, late, at_ms, at_ms,
           CASE WHEN cancel_reason IS NOT NULL THEN at_ms END, cancel_reason, stock_returned
    FROM UNNEST($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[],
                $10::boolean[], $11::bigint[], $12::text[], $13::boolean[])
        AS entry (reservation, position, product, user_id, quantity, price_minor, currency, state, late, at_ms,
                  cancel_reason, stock_returned)";
const FIND: &str = "
    SELECT position FROM orders WHERE shard = $1 AND reservation = $2
    UNION ALL SELECT position FROM parked_orders WHERE shard = $1 AND reservation = $2";
const PARKED_PAGE: &str = "
    SELECT shard::bigint AS shard, entry, error, tries, parked_at_ms
    FROM parked_orders WHERE (shard, position) > ($1, $2) ORDER BY parked_orders.shard, position LIMIT $3";
const PARKED_AT: &str = "
    SELECT entry FROM parked_orders WHERE shard = $1 AND position = ANY($2) ORDER BY position";
/// Reservations of the entries $2 and $3 of which something is parked that comes before and is none of these entries.
const PARKED_BEFORE: &str = "
    SELECT parked_orders.reservation, min(parked_orders.position)
    FROM UNNEST($2::text[], $3::bigint[]) AS entry (reservation, position)
    JOIN parked_orders ON parked_orders.reservation = entry.reservation AND parked_orders.position < entry.position
    WHERE parked_orders.shard = $1 AND parked_orders.position <> ALL($3)
    GROUP BY parked_orders.reservation";
const PARK: &str = "
    INSERT INTO parked_orders (shard, position, reservation, entry, error, parked_at_ms)
    SELECT $1, position, reservation, entry, error, extract(epoch FROM clock_timestamp()) * 1000
    FROM UNNEST($2::bigint[], $3::text[], $4::text[], $5::text[]) AS refused (position, reservation, entry, error)
    ON CONFLICT (shard, position) DO UPDATE SET error = excluded.error, tries = parked_orders.tries + 1";
/// Of the rows that were not written: one that is somebody else's order.
const CONFLICT: &str = "
    SELECT orders.reservation, orders.shard::bigint, orders.position
    FROM UNNEST($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[])
        AS entry (reservation, position, product, user_id, quantity, state, cancel_reason)
    JOIN orders ON orders.reservation = entry.reservation
    WHERE orders.shard <> $1 OR orders.product <> entry.product OR orders.user_id <> entry.user_id
       OR orders.quantity <> entry.quantity OR orders.state <> entry.state
       OR (entry.state <> 'refunded' AND entry.cancel_reason IS NULL AND orders.position <> entry.position)
    LIMIT 1";
