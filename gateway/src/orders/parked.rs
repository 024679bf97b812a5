//! Feed entries that the database refused as orders, kept beside them, with the reason, until somebody has removed it.

use doorbuster_protocol::command::Cancellation;
use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::{
    Currency, FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};

use super::row::{self, hex, parse_hex};
use super::sieve::Refused;
use super::store::StoreError;

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

/// An entry as the table has it. Each value as wide as the feed's, so that any can be parked.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    position: u64,
    state: String,
    product: u64,
    reservation: String,
    user_id: String,
    quantity: u32,
    price_minor: u64,
    /// A character a byte.
    currency: String,
    at_ms: u64,
    late: bool,
    /// The cancellation's number; 0 for none, as in what was parked before there were any.
    #[serde(default)]
    cancelled: u8,
}

impl NewParked {
    /// # Errors
    /// If its position does not fit the database's integers.
    pub fn of(refused: &Refused) -> Result<Self, StoreError> {
        let Refused { entry, error } = refused;
        Ok(Self {
            position: row::fit("position", entry.position.get(), entry.position)?,
            reservation: hex(entry.reservation.get()),
            entry: text(entry),
            // PostgreSQL's text has no NUL.
            error: error.replace('\0', ""),
        })
    }
}

impl TryFrom<ParkedRow> for Parked {
    type Error = StoreError;

    fn try_from(row: ParkedRow) -> Result<Self, StoreError> {
        let entry = read(&row.entry)?;
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

fn text(entry: &FeedEntry) -> String {
    let entry = Entry {
        position: entry.position.get(),
        state: row::name(entry.kind).to_owned(),
        product: entry.product.get(),
        reservation: hex(entry.reservation.get()),
        user_id: hex(entry.user.get()),
        quantity: entry.quantity.get(),
        price_minor: entry.price.minor,
        currency: entry.price.currency.to_string(),
        at_ms: entry.at.get(),
        late: entry.late,
        cancelled: entry.cancelled.map_or(0, Cancellation::number),
    };
    // Writing JSON into memory cannot fail for this type: it has no maps.
    serde_json::to_string(&entry).unwrap_or_default()
}

/// The entry that [`NewParked`] wrote.
pub(super) fn read(text: &str) -> Result<FeedEntry, StoreError> {
    let read = || {
        let entry: Entry = serde_json::from_str(text).ok()?;
        let cancelled = Cancellation::from_number(entry.cancelled);
        let currency: Vec<u8> = entry.currency.chars().map(u8::try_from).collect::<Result<_, _>>().ok()?;
        Some(FeedEntry {
            position: FeedPosition(entry.position),
            kind: row::kind(&entry.state)?,
            product: ProductId(entry.product),
            reservation: ReservationId(parse_hex(&entry.reservation)?),
            user: UserId(parse_hex(&entry.user_id)?),
            quantity: Quantity(entry.quantity),
            price: Money { minor: entry.price_minor, currency: Currency(currency.try_into().ok()?) },
            at: Timestamp(entry.at_ms),
            late: entry.late,
            cancelled: if entry.cancelled == 0 { None } else { Some(cancelled?) },
        })
    };
    read().ok_or_else(|| unreadable(text))
}

fn unreadable(what: &str) -> StoreError {
    StoreError::Refused { problem: format!("a parked order in the database cannot be read: {what}") }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::reply::FeedKind;

    use super::*;

    #[test]
    fn any_entry_is_read_as_it_was_written() {
        let entries = [
            (*b"EUR", FeedKind::Confirmed, 0),
            ([0, 255, b'"'], FeedKind::Refunded, 3),
            (*b"EUR", FeedKind::Cancelled, 9),
        ];
        for (currency, kind, cancelled) in entries {
            let entry = FeedEntry {
                position: FeedPosition(u64::MAX),
                kind,
                product: ProductId(u64::MAX),
                reservation: ReservationId(u128::MAX),
                user: UserId(1),
                quantity: Quantity(u32::MAX),
                price: Money { minor: u64::MAX, currency: Currency(currency) },
                at: Timestamp(u64::MAX),
                late: true,
                cancelled: Cancellation::from_number(cancelled),
            };
            let written = text(&entry);
            assert!(!written.contains('\0'), "{written}");
            assert_eq!(read(&written), Ok(entry));
            assert!(read(&written.replace(&format!("\"cancelled\":{cancelled}"), "\"cancelled\":200")).is_err());
            // As it was written before anything could be cancelled.
            let before = written.replace(&format!(",\"cancelled\":{cancelled}"), "");
            assert_eq!(read(&before), Ok(FeedEntry { cancelled: None, ..entry }));
        }
        assert!(read("{}").is_err());
    }
}
