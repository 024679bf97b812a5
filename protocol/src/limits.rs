//! Every bound on what may travel or be asked for, in one place.

use crate::types::Millis;

/// Largest frame, header included, in bytes.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// Most requests in one batch frame.
pub const MAX_BATCH_REQUESTS: usize = 4096;
/// Requests that may await their reply on one connection; more are answered `busy`.
pub const MAX_IN_FLIGHT_PER_CONNECTION: usize = 16_384;
/// Longest product name, in bytes of UTF-8.
pub const MAX_PRODUCT_NAME_BYTES: usize = 200;
/// Longest cluster name, in bytes of ASCII.
pub const MAX_CLUSTER_NAME_BYTES: usize = 64;
/// Longest credential (shared secret), in bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 256;
/// Most units of one product.
pub const MAX_STOCK: u32 = 1_000_000_000;
/// Most units in one reservation, whatever the product allows.
pub const MAX_RESERVATION_QUANTITY: u32 = 10_000;
/// Highest price, in minor units.
pub const MAX_PRICE_MINOR: u64 = 1_000_000_000_000;
/// Shortest reservation TTL.
pub const MIN_TTL: Millis = Millis(100);
/// Longest reservation TTL, total life and payment cap.
pub const MAX_TTL: Millis = Millis(7 * 24 * 3600 * 1000);
/// Terminal reservations and operation outcomes stay known this long.
pub const RETENTION: Millis = Millis(24 * 3600 * 1000);
/// Most products on one shard.
pub const MAX_PRODUCTS_PER_SHARD: usize = 100_000;
/// Most reservations, live and retained, on one shard.
pub const MAX_RESERVATIONS_PER_SHARD: usize = 50_000_000;
/// Most remembered operations on one shard.
pub const MAX_OPERATIONS_PER_SHARD: usize = 1_000_000;
/// Most items in one page of a listing or of the order feed.
pub const MAX_PAGE: u32 = 4096;
/// Most shards in a cluster.
pub const MAX_SHARDS: u16 = 256;
/// Most nodes in a cluster.
pub const MAX_NODES: usize = 5;
/// Reservations that one command entry may expire; the rest wait for the next entry.
pub const MAX_EXPIRIES_PER_ENTRY: usize = 4096;
/// Longest time a request may say that its caller will wait.
pub const MAX_WAIT: Millis = Millis(60_000);
