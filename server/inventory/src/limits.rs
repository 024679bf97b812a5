//! What one shard may hold. Replicas of a shard must be given equal limits: they decide refusals.

use doorbuster_protocol::limits as protocol;
use doorbuster_protocol::types::Millis;

/// Bounds of one shard's state. The default is the protocol's; tests use smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most products.
    pub products: usize,
    /// Most reservations, live and retained.
    pub reservations: usize,
    /// Most remembered operations.
    pub operations: usize,
    /// Reservations that one `Expire` may expire or forget; the rest wait for the next one.
    pub expiries_per_entry: usize,
    /// Terminal reservations and operations stay known this long.
    pub retention: Millis,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            products: protocol::MAX_PRODUCTS_PER_SHARD,
            reservations: protocol::MAX_RESERVATIONS_PER_SHARD,
            operations: protocol::MAX_OPERATIONS_PER_SHARD,
            expiries_per_entry: protocol::MAX_EXPIRIES_PER_ENTRY,
            retention: protocol::RETENTION,
        }
    }
}
