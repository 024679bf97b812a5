//! Feed entries as the database keeps them, and back. SQL integers have 63 bits and a sign: what may have more travels
//! as text.

use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{
    Currency, FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};
use serde::Serialize;

use super::store::{Order, StoreError};

/// A row about to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct NewRow {
    /// What it is made of.
    #[serde(skip)]
    pub entry: FeedEntry,
    pub reservation: String,
    pub position: i64,
    pub product: String,
    pub user_id: String,
    pub quantity: i64,
    pub price_minor: i64,
    pub currency: String,
    pub state: &'static str,
    pub late: bool,
    pub at_ms: i64,
}

/// A row as it is read.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct StoredRow {
    pub reservation: String,
    pub shard: i64,
    pub position: i64,
    pub product: String,
    pub user_id: String,
    pub quantity: i64,
    pub price_minor: i64,
    pub currency: String,
    pub state: String,
    pub late: bool,
    pub created_at_ms: i64,
    pub changed_at_ms: i64,
}

impl NewRow {
    /// # Errors
    /// If a number does not fit the database's.
    pub fn of(entry: &FeedEntry) -> Result<Self, StoreError> {
        let fit = |what, value| fit(what, value, entry.position);
        Ok(Self {
            entry: *entry,
            reservation: hex(entry.reservation.get()),
            position: fit("position", entry.position.get())?,
            product: entry.product.to_string(),
            user_id: hex(entry.user.get()),
            quantity: i64::from(entry.quantity.get()),
            price_minor: fit("price", entry.price.minor)?,
            currency: entry.price.currency.to_string(),
            state: name(entry.kind),
            late: entry.late,
            at_ms: fit("time", entry.at.get())?,
        })
    }
}

impl TryFrom<StoredRow> for Order {
    type Error = StoreError;

    fn try_from(row: StoredRow) -> Result<Self, StoreError> {
        let read = || {
            Some(Self {
                shard: ShardId(row.shard.try_into().ok()?),
                position: FeedPosition(row.position.try_into().ok()?),
                product: ProductId(row.product.parse().ok()?),
                reservation: ReservationId(parse_hex(&row.reservation)?),
                user: UserId(parse_hex(&row.user_id)?),
                quantity: Quantity(row.quantity.try_into().ok()?),
                price: Money { minor: row.price_minor.try_into().ok()?, currency: Currency::parse(&row.currency)? },
                state: kind(&row.state)?,
                late: row.late,
                created_at: Timestamp(row.created_at_ms.try_into().ok()?),
                changed_at: Timestamp(row.changed_at_ms.try_into().ok()?),
            })
        };
        read()
            .ok_or_else(|| StoreError::Refused { problem: format!("an order in the database cannot be read: {row:?}") })
    }
}

/// A number of the feed entry at `position`, as SQL's integers have it.
pub(super) fn fit(what: &str, value: u64, position: FeedPosition) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Refused {
        problem: format!("{what} {value} of feed entry {position} is beyond the database's integers"),
    })
}

/// 32 hexadecimal digits: sorts as text the way the number does.
pub(super) fn hex(id: u128) -> String {
    format!("{id:032x}")
}

pub(super) fn parse_hex(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)
}

pub(super) const fn name(kind: FeedKind) -> &'static str {
    match kind {
        FeedKind::Confirmed => "confirmed",
        FeedKind::RefundDue => "refund_due",
        FeedKind::Refunded => "refunded",
    }
}

pub(super) fn kind(name: &str) -> Option<FeedKind> {
    [FeedKind::Confirmed, FeedKind::RefundDue, FeedKind::Refunded].into_iter().find(|kind| self::name(*kind) == name)
}
