//! What is still to be published, as the order database keeps it, and how far it is published: the publisher's half of
//! `outgoing_events` and `event_positions`. Who writes the other half is the order writer, see `orders`.
//!
//! Every call may be cancelled at any await: it has done all or nothing. Any number of gateways call at once.

use std::time::Duration;

use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::{FeedPosition, ShardId, Timestamp};

use crate::orders::{Connections, OrderStore, StoreError, position, written};

/// The entries that wait. `Clone` shares its connections.
#[derive(Clone, Debug)]
pub struct Outbox {
    orders: OrderStore,
}

/// Entries of a shard that wait, from the first on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Up to here the feed is published.
    pub published: FeedPosition,
    /// In the order of the feed. Where one is missing, whoever stored it did not know of this table.
    pub entries: Vec<FeedEntry>,
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Entries, over all shards.
    pub events: u64,
    /// When the oldest was stored, by the database's clock.
    pub since: Option<Timestamp>,
    /// Until when somebody has last said that it publishes, by the same clock; 0 if nobody has.
    pub claimed_until: Timestamp,
}

/// The same on either pool; `$1`, `$2` are understood by both.
macro_rules! on_pool {
    ($self:ident, $pool:ident => $call:expr) => {
        match $self.orders.connections().await? {
            Connections::Sqlite($pool) => $call,
            Connections::Postgres($pool) => $call,
        }
    };
}

impl Outbox {
    /// In the database of these orders.
    #[must_use]
    pub fn beside(orders: &OrderStore) -> Self {
        Self { orders: orders.clone() }
    }

    /// From now on entries of these shards are written down, whichever gateway stores them; those that are stored already
    /// are not. Idempotent.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn subscribe(&self, shards: u16) -> Result<(), StoreError> {
        for shard in 0..i32::from(shards) {
            match self.orders.connections().await? {
                Connections::Sqlite(pool) => {
                    sqlx::query(FIRST).bind(shard).execute(pool).await?;
                    sqlx::query(SUBSCRIBE_SQLITE).bind(shard).execute(pool).await?;
                }
                Connections::Postgres(pool) => {
                    sqlx::query(FIRST).bind(shard).execute(pool).await?;
                    sqlx::query(SUBSCRIBE_POSTGRES).bind(shard).execute(pool).await?;
                }
            }
        }
        Ok(())
    }

    /// Makes `publisher` the one who publishes a shard's events, until so long from now. Whether it is; else somebody else
    /// still is.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn claim(&self, shard: ShardId, publisher: &str, lasts: Duration) -> Result<bool, StoreError> {
        let (shard, lasts) = (i32::from(shard.get()), i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX));
        let claimed = match self.orders.connections().await? {
            Connections::Sqlite(pool) => {
                let claim = sqlx::query(CLAIM_SQLITE).bind(shard).bind(publisher).bind(lasts);
                claim.execute(pool).await?.rows_affected()
            }
            Connections::Postgres(pool) => {
                let claim = sqlx::query(CLAIM_POSTGRES).bind(shard).bind(publisher).bind(lasts);
                claim.execute(pool).await?.rows_affected()
            }
        };
        Ok(claimed == 1)
    }

    /// Anybody may publish the shard's events, if it was `publisher` who did.
    ///
    /// # Errors
    /// A database that cannot be reached; the claim then ends by itself.
    pub async fn release(&self, shard: ShardId, publisher: &str) -> Result<(), StoreError> {
        on_pool!(self, pool => {
            sqlx::query(RELEASE).bind(i32::from(shard.get())).bind(publisher).execute(pool).await?;
        });
        Ok(())
    }

    /// The first entries of a shard that wait, at most `limit`.
    ///
    /// # Errors
    /// A database that cannot be reached, or an entry in it that cannot be read.
    pub async fn read(&self, shard: ShardId, limit: u32) -> Result<Page, StoreError> {
        let rows: Vec<(i64, i64, String)> = on_pool!(self, pool => {
            sqlx::query_as(READ).bind(i32::from(shard.get())).bind(i64::from(limit)).fetch_all(pool).await?
        });
        let published = position(rows.first().map_or(0, |(published, ..)| *published));
        let entries = rows.iter().map(|(.., entry)| written::read(entry)).collect::<Result<_, _>>()?;
        Ok(Page { published, entries })
    }

    /// Everything up to `through` is published: no longer waits. Never moves back.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn advance(&self, shard: ShardId, through: FeedPosition) -> Result<(), StoreError> {
        let shard = i32::from(shard.get());
        let through = i64::try_from(through.get()).unwrap_or(i64::MAX);
        on_pool!(self, pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(ADVANCE).bind(shard).bind(through).execute(&mut *transaction).await?;
            sqlx::query(REMOVE).bind(shard).bind(through).execute(&mut *transaction).await?;
            transaction.commit().await?;
        });
        Ok(())
    }

    /// How much waits. Looks at a row or two of each shard, however much it is.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn waiting(&self) -> Result<Waiting, StoreError> {
        let (events, since, claimed_until): (i64, Option<i64>, i64) =
            on_pool!(self, pool => sqlx::query_as(WAITING).fetch_one(pool).await?);
        let since = since.and_then(|since| since.try_into().ok()).map(Timestamp);
        let claimed_until = Timestamp(claimed_until.try_into().unwrap_or(0));
        Ok(Waiting { events: events.try_into().unwrap_or(0), since, claimed_until })
    }
}

/// There is a row to lock.
const FIRST: &str = "INSERT INTO feed_positions (shard, position) VALUES ($1, 0) ON CONFLICT DO NOTHING";
const SUBSCRIBE_SQLITE: &str = "
    INSERT INTO event_positions (shard, position) SELECT shard, position FROM feed_positions WHERE shard = $1
    ON CONFLICT DO NOTHING";
/// Waits for a writer's transaction to end, and has the next one wait: its entries are counted as stored, or written down.
const SUBSCRIBE_POSTGRES: &str = "
    INSERT INTO event_positions (shard, position) SELECT shard, position FROM feed_positions WHERE shard = $1 FOR UPDATE
    ON CONFLICT DO NOTHING";
const CLAIM_SQLITE: &str = "
    UPDATE event_positions SET publisher = $2, claimed_until_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3
    WHERE shard = $1 AND (publisher = $2 OR claimed_until_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER))";
const CLAIM_POSTGRES: &str = "
    UPDATE event_positions SET publisher = $2, claimed_until_ms = extract(epoch FROM clock_timestamp()) * 1000 + $3::bigint
    WHERE shard = $1 AND (publisher = $2 OR claimed_until_ms <= extract(epoch FROM clock_timestamp()) * 1000)";
const RELEASE: &str = "UPDATE event_positions SET claimed_until_ms = 0 WHERE shard = $1 AND publisher = $2";
const READ: &str = "
    SELECT event_positions.position, outgoing_events.position, entry
    FROM event_positions JOIN outgoing_events ON outgoing_events.shard = event_positions.shard
    WHERE event_positions.shard = $1 ORDER BY outgoing_events.position LIMIT $2";
const ADVANCE: &str = "UPDATE event_positions SET position = $2 WHERE shard = $1 AND position < $2";
const REMOVE: &str = "DELETE FROM outgoing_events WHERE shard = $1 AND position <= $2";
/// Entries are consecutive, so their number is a difference of positions.
const WAITING: &str = "
    SELECT CAST(coalesce(sum(feed_positions.position - event_positions.position), 0) AS bigint),
           min((SELECT stored_at_ms FROM outgoing_events WHERE outgoing_events.shard = event_positions.shard
                ORDER BY outgoing_events.position LIMIT 1)),
           coalesce(max(claimed_until_ms), 0)
    FROM event_positions JOIN feed_positions ON feed_positions.shard = event_positions.shard";
