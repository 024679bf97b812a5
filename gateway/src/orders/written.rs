//! A feed entry as text, JSON with every value as wide as the feed's: whatever a feed may have in it, a table can keep it
//! (`parked_orders`, `outgoing_events`) and give it back.

use doorbuster_protocol::command::Cancellation;
use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::{
    Currency, FeedPosition, Money, ProductId, Quantity, ReservationId, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};

use super::row::{self, hex, parse_hex};
use super::store::StoreError;

/// An entry as the tables have it.
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
    /// The cancellation's number; 0 for none, as in what was written before there were any.
    #[serde(default)]
    cancelled: u8,
}

/// The entry's text.
pub(crate) fn text(entry: &FeedEntry) -> String {
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

/// The entry that [`text`] wrote.
///
/// # Errors
/// If it is no such text.
pub(crate) fn read(text: &str) -> Result<FeedEntry, StoreError> {
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
    StoreError::Refused { problem: format!("a feed entry in the database cannot be read: {what}") }
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
