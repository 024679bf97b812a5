//! An event as other systems read it. `gateway/EVENTS.md` describes it and `gateway/event.schema.json` defines it: what is added
//! must be optional for readers; anything else is a new [`Event::SCHEMA`].

use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{Money, ShardId};
use serde::Serialize;

use crate::{ids, timestamp};

/// An event, to be written as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// The same however often it is published.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    cluster: &'a str,
    shard: u16,
    position: u64,
    at: String,
    reservation: String,
    product: u64,
    user: String,
    quantity: u32,
    price: Price,
    amount: Price,
    late: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<Cancelled>,
}

#[derive(Clone, Debug, Serialize)]
struct Price {
    minor: u64,
    currency: String,
}

#[derive(Clone, Debug, Serialize)]
struct Cancelled {
    reason: &'static str,
    stock_returned: bool,
}

impl<'a> Event<'a> {
    /// Version of the shape, in the header `schema`.
    pub const SCHEMA: &'static str = "1";

    /// What an entry of this shard's feed tells.
    #[must_use]
    pub fn of(cluster: &'a str, shard: ShardId, entry: &FeedEntry) -> Self {
        Self {
            id: format!("{cluster}/{shard}/{}", entry.position),
            type_name: type_name(entry.kind),
            cluster,
            shard: shard.get(),
            position: entry.position.get(),
            at: timestamp::format(entry.at),
            reservation: ids::format(entry.product, entry.reservation),
            product: entry.product.get(),
            user: format!("{:032x}", entry.user.get()),
            quantity: entry.quantity.get(),
            price: entry.price.into(),
            // Both factors are bounded by the protocol, their product far below 2^64.
            amount: Money { minor: entry.price.minor.saturating_mul(entry.quantity.get().into()), ..entry.price }
                .into(),
            late: entry.late,
            cancelled: entry
                .cancelled
                .map(|how| Cancelled { reason: how.reason.name(), stock_returned: how.return_stock }),
        }
    }

    /// What decides on the partition, so that a product's events stay in order.
    #[must_use]
    pub fn key(&self) -> String {
        self.product.to_string()
    }

    /// The event as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        // Writing JSON into memory cannot fail for this type: it has no maps.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<Money> for Price {
    fn from(money: Money) -> Self {
        Self { minor: money.minor, currency: money.currency.to_string() }
    }
}

const fn type_name(kind: FeedKind) -> &'static str {
    match kind {
        FeedKind::Confirmed => "order.confirmed",
        FeedKind::RefundDue => "order.refund_due",
        FeedKind::Refunded => "order.refunded",
        FeedKind::Cancelled => "order.cancelled",
    }
}

#[cfg(test)]
mod tests;
