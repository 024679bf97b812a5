//! What the admission gate needs to know of a product.

use doorbuster_protocol::reply::SaleState;
use doorbuster_protocol::types::{Millis, Quantity, Timestamp};

/// A product's committed numbers and sale conditions; small enough to copy after every entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateView {
    /// Units nobody claims.
    pub available: Quantity,
    /// Units in held and paying reservations.
    pub held: Quantity,
    /// Units in confirmed reservations.
    pub sold: Quantity,
    /// Whether it sells.
    pub sale: SaleState,
    /// Reserves are refused before; 0 for no opening time.
    pub opens_at: Timestamp,
    /// Reserves are refused from then on; 0 for no closing time.
    pub closes_at: Timestamp,
    /// Most units a user may hold and have bought together; 0 for no limit.
    pub limit_per_user: Quantity,
    /// Most units in one reservation; the protocol's limit where the product sets none. Never 0.
    pub limit_per_reservation: Quantity,
    /// How long a reservation is held, and the longest TTL a reserve may ask for.
    pub ttl: Millis,
    /// Earliest deadline of its live reservations; 0 if it has none.
    pub next_expiry: Timestamp,
}
