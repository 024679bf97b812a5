//! Feed entries that the database refused as orders, kept beside them, with the reason, until somebody has removed it.

use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::{ShardId, Timestamp};
use serde::Serialize;

use super::row::{self, hex};
use super::sieve::Refused;
use super::store::StoreError;
use super::written;

/// An entry that is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Whose feed it came from.
    pub shard: ShardId,
    /// The entry as the feed had it.
    pub entry: FeedEntry,
    /// Why the database refused it, last.
    pub error: String,
    /// How often it was refused.
    pub tries: u64,
    /// When it was parked, by the database's clock.
    pub parked_at: Timestamp,
}

/// What a retry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// Entries that are orders now.
    pub stored: u64,
    /// Entries that are still parked.
    pub parked: u64,
}

/// A parked row as it is read.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct ParkedRow {
    pub shard: i64,
    pub entry: String,
    pub error: String,
    pub tries: i64,
    pub parked_at_ms: i64,
}

/// A row about to be parked.
#[derive(Debug, Serialize)]
pub(super) struct NewParked {
    pub position: i64,
    pub reservation: String,
    pub entry: String,
    pub error: String,
}

impl NewParked {
    /// # Errors
    /// If its position does not fit the database's integers.
    pub fn of(refused: &Refused) -> Result<Self, StoreError> {
        let Refused { entry, error } = refused;
        Ok(Self {
            position: row::fit("position", entry.position.get(), entry.position)?,
            reservation: hex(entry.reservation.get()),
            entry: written::text(entry),
            // PostgreSQL's text has no NUL.
            error: error.replace('\0', ""),
        })
    }
}

impl TryFrom<ParkedRow> for Parked {
    type Error = StoreError;

    fn try_from(row: ParkedRow) -> Result<Self, StoreError> {
        let entry = written::read(&row.entry)?;
        let read = || {
            Some(Self {
                shard: ShardId(row.shard.try_into().ok()?),
                entry,
                error: row.error.clone(),
                tries: row.tries.try_into().ok()?,
                parked_at: Timestamp(row.parked_at_ms.try_into().ok()?),
            })
        };
        read().ok_or_else(|| unreadable(&format!("{row:?}")))
    }
}

fn unreadable(what: &str) -> StoreError {
    StoreError::Refused { problem: format!("a parked order in the database cannot be read: {what}") }
}
