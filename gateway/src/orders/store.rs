//! Where orders and their money are kept: SQLite, embedded, or PostgreSQL. Same tables, same promises, same tests.

use doorbuster_protocol::command::Cancellation;
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId};

use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;

use super::money::Payment;
use super::parked::{Parked, Retried};
use super::postgres::Postgres;
use super::refusal;
use super::sqlite::Sqlite;

/// An order as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose feed it came from.
    pub shard: ShardId,
    /// Where in that feed.
    pub position: FeedPosition,
    /// Its product.
    pub product: ProductId,
    /// The reservation it was.
    pub reservation: ReservationId,
    /// Whose it is.
    pub user: UserId,
    /// Its units.
    pub quantity: Quantity,
    /// Price of a unit.
    pub price: Money,
    /// Sold, cancelled, or its money goes or went back.
    pub state: FeedKind,
    /// Whether a late payment took its units again.
    pub late: bool,
    /// Cluster time at which it came to be.
    pub created_at: Timestamp,
    /// Cluster time at which its state last changed.
    pub changed_at: Timestamp,
    /// When and how it was cancelled, if it was.
    pub cancelled: Option<Cancelled>,
}

/// When and how an order was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// Cluster time.
    pub at: Timestamp,
    /// Why, and what became of its units.
    pub how: Cancellation,
}

/// What [`OrderStore::store`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Everything up to here is stored now, whoever did it: may be acknowledged.
    pub position: FeedPosition,
    /// Entries that this call stored; the others had been stored before.
    pub entries: u64,
    /// Entries that this call parked: the database refuses them.
    pub parked: u64,
}

/// Why the database did not do it. Nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database's address cannot be used. Trying again does not help.
    #[error("database {url:?}: {problem}; write sqlite:PATH, sqlite::memory: or postgres://user:password@host/name")]
    Url {
        /// The address, without its password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be reached, or is not ready. Try again.
    #[error("the database is not available: {problem}")]
    Unavailable {
        /// What it or the driver says.
        problem: String,
    },
    /// It refuses what is to be stored, or cannot make sense of what is. Trying again helps only once somebody looked.
    #[error("the database refuses: {problem}")]
    Refused {
        /// What it says.
        problem: String,
    },
    /// The same reservation is an order already, from elsewhere.
    #[error(
        "reservation {reservation} is in the database already, from position {position} of shard {shard}, with other \
         contents; is this another cluster's database?"
    )]
    Conflict {
        /// 32 hexadecimal digits.
        reservation: String,
        /// Shard of the order that is there.
        shard: i64,
        /// Its position.
        position: i64,
    },
    /// Entries are missing between what is stored and what the feed still has.
    #[error(
        "orders are missing: shard {shard} is stored up to position {stored}, and its feed goes on at {next}; was an \
         older copy of the database restored?"
    )]
    Gap {
        /// Which shard.
        shard: ShardId,
        /// Stored up to here.
        stored: FeedPosition,
        /// The feed's next entry.
        next: FeedPosition,
    },
}

impl StoreError {
    /// Whether it may pass by itself.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether it is entries that it objects to, so that others may go through.
    #[must_use]
    pub const fn is_of_contents(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Conflict { .. })
    }
}

/// Orders and feed positions in a database. `Clone` shares its connections.
#[derive(Clone, Debug)]
pub struct OrderStore {
    database: Database,
}

/// The database's connections, for whoever keeps other things in it.
#[derive(Debug)]
pub(crate) enum Connections<'a> {
    Sqlite(&'a SqlitePool),
    Postgres(&'a PgPool),
}

#[derive(Clone, Debug)]
enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

macro_rules! on_database {
    ($self:ident, $name:ident => $call:expr) => {
        match &$self.database {
            Database::Sqlite($name) => $call.await,
            Database::Postgres($name) => $call.await,
        }
    };
}

impl OrderStore {
    /// Does not connect yet: each call does, and brings the tables up to date, as soon as the database can be reached.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let scheme = url.split(':').next().unwrap_or_default();
        let database = match scheme {
            "sqlite" => Database::Sqlite(Sqlite::open(url)?),
            "postgres" | "postgresql" => Database::Postgres(Postgres::open(url)?),
            other => return Err(url_error(other, &"its scheme is not known")),
        };
        Ok(Self { database })
    }

    /// As [`OrderStore::open`], and makes sure that the database is there and its tables are up to date.
    ///
    /// # Errors
    /// An address that cannot be used, or a database that cannot be reached or migrated.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::open(url)?;
        on_database!(store, database => database.ready())?;
        Ok(store)
    }

    /// Up to where a shard's feed is stored; 0 if nothing is.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn position(&self, shard: ShardId) -> Result<FeedPosition, StoreError> {
        on_database!(self, database => database.position(shard))
    }

    /// Stores consecutive feed entries of a shard and moves its position, in one transaction under the lock of the
    /// position's row. What another writer stored in the meantime is left as it is. Entries that the database refuses
    /// are parked in the same transaction, with what it said, and so is what comes behind them in the same reservation.
    ///
    /// Cancelled at any await, it has stored all or nothing.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is stored then.
    pub async fn store(&self, shard: ShardId, entries: &[FeedEntry]) -> Result<Stored, StoreError> {
        on_database!(self, database => database.store(shard, entries))
    }

    /// Where in the shard's feed what is kept of a reservation came from: its order, and its parked entries.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn find(&self, shard: ShardId, reservation: ReservationId) -> Result<Vec<FeedPosition>, StoreError> {
        let found = on_database!(self, database => database.find(shard, reservation))?;
        Ok(found.into_iter().map(position).collect())
    }

    /// Parked entries in the order of shards and positions, those behind `after`, at most `limit`.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn parked(&self, after: (ShardId, FeedPosition), limit: u32) -> Result<Vec<Parked>, StoreError> {
        let (shard, position) = after;
        let position = i64::try_from(position.get()).unwrap_or(i64::MAX);
        on_database!(self, database => database.parked(shard, position, limit))?
            .into_iter()
            .map(Parked::try_from)
            .collect()
    }

    /// How many entries are parked.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn parked_count(&self) -> Result<u64, StoreError> {
        let count = on_database!(self, database => database.parked_count())?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Tries parked entries of a shard again, under the lock under which they were parked: each becomes its order and is
    /// no longer parked, or stays with what the database says now. Positions where nothing is parked are passed over.
    ///
    /// Cancelled at any await, it has done all or nothing.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is changed then.
    pub async fn retry(&self, shard: ShardId, positions: &[FeedPosition]) -> Result<Retried, StoreError> {
        let positions: Vec<i64> = positions.iter().filter_map(|position| position.get().try_into().ok()).collect();
        on_database!(self, database => database.retry(shard, &positions))
    }

    /// The order of a reservation.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn order(&self, reservation: ReservationId) -> Result<Option<Order>, StoreError> {
        on_database!(self, database => database.order(reservation))?.map(Order::try_from).transpose()
    }

    /// Orders in the order of their reservation ids, those with a greater one than `after`, at most `limit`.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn orders(&self, after: ReservationId, limit: u32) -> Result<Vec<Order>, StoreError> {
        on_database!(self, database => database.orders(after, limit))?.into_iter().map(Order::try_from).collect()
    }

    /// Payments with their refunds, in the order of their reservation ids, those with a greater one than `after`, at
    /// most `limit`.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn payments(&self, after: ReservationId, limit: u32) -> Result<Vec<Payment>, StoreError> {
        on_database!(self, database => database.payments(after, limit))?.into_iter().map(Payment::try_from).collect()
    }

    /// How many orders there are.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let count = on_database!(self, database => database.count())?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Its connections, once its tables are up to date.
    ///
    /// # Errors
    /// A database that cannot be reached or migrated.
    pub(crate) async fn connections(&self) -> Result<Connections<'_>, StoreError> {
        Ok(match &self.database {
            Database::Sqlite(database) => Connections::Sqlite(database.pool().await?),
            Database::Postgres(database) => Connections::Postgres(database.pool().await?),
        })
    }

    /// Closes its connections.
    pub async fn close(&self) {
        on_database!(self, database => database.close());
    }
}

/// Entries still to be stored behind position `stored`.
///
/// # Errors
/// [`StoreError::Gap`] if the first of them is not the next one.
pub(super) fn beyond(shard: ShardId, entries: &[FeedEntry], stored: i64) -> Result<&[FeedEntry], StoreError> {
    let stored = position(stored);
    let rest = &entries[entries.partition_point(|entry| entry.position <= stored)..];
    match rest.iter().zip(stored.get() + 1..).find(|(entry, expected)| entry.position.get() != *expected) {
        None => Ok(rest),
        Some((entry, expected)) => {
            Err(StoreError::Gap { shard, stored: FeedPosition(expected - 1), next: entry.position })
        }
    }
}

/// A feed position as the database keeps it; its columns admit no negative ones.
pub(crate) fn position(stored: i64) -> FeedPosition {
    FeedPosition(u64::try_from(stored).unwrap_or(0))
}

/// The address as far as it may be shown.
pub(super) fn url_error(shown: &str, problem: &dyn std::fmt::Display) -> StoreError {
    StoreError::Url { url: shown.to_owned(), problem: problem.to_string() }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let problem = error.to_string();
        let refused = match &error {
            sqlx::Error::Database(said) => refusal::is_of_contents(&**said),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => true,
            _ => false,
        };
        if refused { Self::Refused { problem } } else { Self::Unavailable { problem } }
    }
}
