//! Feed entries as the database keeps them, and back. SQL integers have 63 bits and a sign: what may have more travels
//! as text.

use doorbuster_protocol::command::{CancelReason, Cancellation};
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{
    Currency, FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};
use serde::Serialize;

use super::store::{Cancelled, Order, StoreError};

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
    /// Both of one that is cancelled.
    pub cancel_reason: Option<&'static str>,
    pub stock_returned: Option<bool>,
}

/// What a row does to the orders. A reservation's rows are written in this order, whatever batch they come in: so its feed
/// has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is an order now.
    Begin,
    /// It is cancelled, and nothing is owed.
    Cancel,
    /// It is cancelled, and its money goes back.
    CancelDue,
    /// Its money went back.
    Refund,
}

/// Every stage, in the order of a reservation's life.
pub(super) const STAGES: [Stage; 4] = [Stage::Begin, Stage::Cancel, Stage::CancelDue, Stage::Refund];

impl Stage {
    /// What becomes of the order that is there, in SQL that both databases understand.
    pub const fn on_conflict(self) -> &'static str {
        match self {
            Self::Begin => "DO NOTHING",
            Self::Cancel | Self::CancelDue => CANCELLED,
            Self::Refund => REFUNDED,
        }
    }
}

/// Money may come for what is cancelled already.
const CANCELLED: &str = "
    DO UPDATE SET state = excluded.state, late = excluded.late, changed_at_ms = excluded.changed_at_ms,
        cancelled_at_ms = coalesce(orders.cancelled_at_ms, excluded.cancelled_at_ms),
        cancel_reason = excluded.cancel_reason, stock_returned = excluded.stock_returned
    WHERE orders.state IN ('confirmed', 'cancelled') AND orders.state <> excluded.state
      AND orders.shard = excluded.shard AND orders.product = excluded.product";
const REFUNDED: &str = "
    DO UPDATE SET state = 'refunded', changed_at_ms = excluded.changed_at_ms
    WHERE orders.state = 'refund_due' AND orders.shard = excluded.shard AND orders.product = excluded.product";

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
    pub cancelled_at_ms: Option<i64>,
    pub cancel_reason: Option<String>,
    pub stock_returned: Option<bool>,
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
            cancel_reason: entry.cancelled.map(|how| how.reason.name()),
            stock_returned: entry.cancelled.map(|how| how.return_stock),
        })
    }

    pub fn stage(&self) -> Stage {
        match self.entry.kind {
            FeedKind::Confirmed => Stage::Begin,
            FeedKind::RefundDue if self.cancel_reason.is_none() => Stage::Begin,
            FeedKind::RefundDue => Stage::CancelDue,
            FeedKind::Refunded => Stage::Refund,
            FeedKind::Cancelled => Stage::Cancel,
        }
    }
}

impl StoredRow {
    fn cancelled(&self) -> Option<Option<Cancelled>> {
        match (self.cancelled_at_ms, &self.cancel_reason, self.stock_returned) {
            (None, None, None) => Some(None),
            (Some(at), Some(reason), Some(return_stock)) => {
                let how = Cancellation { reason: CancelReason::named(reason)?, return_stock };
                Some(Some(Cancelled { at: Timestamp(at.try_into().ok()?), how }))
            }
            _ => None,
        }
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
                cancelled: row.cancelled()?,
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
        FeedKind::Cancelled => "cancelled",
    }
}

pub(super) fn kind(name: &str) -> Option<FeedKind> {
    let all = [FeedKind::Confirmed, FeedKind::RefundDue, FeedKind::Refunded, FeedKind::Cancelled];
    all.into_iter().find(|kind| self::name(*kind) == name)
}
