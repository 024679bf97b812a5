//! Where orders are kept: SQLite, embedded, or PostgreSQL. Same tables, same promises, same tests.

use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId};

use super::postgres::Postgres;
use super::row::NewRow;
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
    /// Sold, or its money goes or went back.
    pub state: FeedKind,
    /// Whether a late payment took its units again.
    pub late: bool,
    /// Cluster time at which it came to be.
    pub created_at: Timestamp,
    /// Cluster time at which its state last changed.
    pub changed_at: Timestamp,
}

/// What [`OrderStore::store`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Everything up to here is stored now, whoever did it: may be acknowledged.
    pub position: FeedPosition,
    /// Entries that this call stored; the others had been stored before.
    pub entries: u64,
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
}

/// Orders and feed positions in a database. `Clone` shares its connections.
#[derive(Clone, Debug)]
pub struct OrderStore {
    database: Database,
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
    /// position's row. What another writer stored in the meantime is left as it is.
    ///
    /// Cancelled at any await, it has stored all or nothing.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is stored then.
    pub async fn store(&self, shard: ShardId, entries: &[FeedEntry]) -> Result<Stored, StoreError> {
        let rows = entries.iter().map(NewRow::of).collect::<Result<Vec<_>, _>>()?;
        on_database!(self, database => database.store(shard, &rows))
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

    /// How many orders there are.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let count = on_database!(self, database => database.count())?;
        Ok(u64::try_from(count).unwrap_or(0))
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
pub(super) fn beyond(shard: ShardId, rows: &[NewRow], stored: i64) -> Result<&[NewRow], StoreError> {
    let known = rows.partition_point(|row| row.position <= stored);
    let rest = &rows[known..];
    let consecutive = rest.iter().zip(stored + 1..).find(|(row, expected)| row.position != *expected);
    match consecutive {
        None => Ok(rest),
        Some((row, expected)) => {
            Err(StoreError::Gap { shard, stored: position(expected - 1), next: position(row.position) })
        }
    }
}

/// A feed position as the database keeps it; its columns admit no negative ones.
pub(super) fn position(stored: i64) -> FeedPosition {
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
            sqlx::Error::Database(said) => {
                // Classes 22 and 23 of SQLSTATE: data exception, integrity constraint violation.
                let class = said
                    .code()
                    .is_some_and(|code| code.len() == 5 && (code.starts_with("22") || code.starts_with("23")));
                class || !matches!(said.kind(), sqlx::error::ErrorKind::Other)
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => true,
            _ => false,
        };
        if refused { Self::Refused { problem } } else { Self::Unavailable { problem } }
    }
}
