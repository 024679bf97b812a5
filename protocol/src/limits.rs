//! Every bound on what may travel or be asked for, in one place.

use crate::types::Millis;

/// Largest request frame, header included, in bytes.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// Largest answer frame, header included, in bytes: one audit of a full shard fits.
pub const MAX_ANSWER_FRAME_BYTES: usize = 4 << 20;
/// Largest frame before a client has said who it is, in bytes.
pub const MAX_HELLO_BYTES: usize = 1024;
/// Largest first frame of a server, in bytes.
pub const MAX_WELCOME_BYTES: usize = 8192;
/// Most requests in one batch frame.
pub const MAX_BATCH_REQUESTS: usize = 4096;
/// Requests that may await their reply on one connection; more are answered `busy`.
pub const MAX_IN_FLIGHT_PER_CONNECTION: usize = 16_384;
/// Longest product name, in bytes of UTF-8.
pub const MAX_PRODUCT_NAME_BYTES: usize = 200;
/// Longest cluster name, in bytes of ASCII.
pub const MAX_CLUSTER_NAME_BYTES: usize = 64;
/// Longest name that a client calls itself, in bytes of UTF-8.
pub const MAX_CLIENT_NAME_BYTES: usize = 64;
/// Longest `host:port` of a node, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 255;
/// Longest explanation in a failure, in bytes of UTF-8; longer ones are cut.
pub const MAX_DETAIL_BYTES: usize = 512;
/// Most problems that an audit lists; further ones are left out.
pub const MAX_AUDIT_PROBLEMS: usize = 1000;
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

// What one limit promises, another must have room for.
const _: () = {
    use crate::wire::layout::{
        FEED_ENTRY_BYTES, LARGEST_HOT_REQUEST_BYTES, PRODUCT_COUNT_BYTES, PRODUCT_VIEW_MAX_BYTES, RESERVATION_BYTES,
    };
    const SLACK: usize = 1024;
    let page = MAX_PAGE as usize;
    assert!(MAX_BATCH_REQUESTS * LARGEST_HOT_REQUEST_BYTES + SLACK <= MAX_FRAME_BYTES);
    assert!(page * RESERVATION_BYTES + SLACK <= MAX_ANSWER_FRAME_BYTES);
    assert!(page * FEED_ENTRY_BYTES + SLACK <= MAX_ANSWER_FRAME_BYTES);
    assert!(page * PRODUCT_VIEW_MAX_BYTES + SLACK <= MAX_ANSWER_FRAME_BYTES);
    let audit = MAX_PRODUCTS_PER_SHARD * PRODUCT_COUNT_BYTES + MAX_AUDIT_PROBLEMS * (4 + MAX_DETAIL_BYTES);
    assert!(audit + SLACK <= MAX_ANSWER_FRAME_BYTES);
    let hello = MAX_CLUSTER_NAME_BYTES + MAX_CREDENTIAL_BYTES + MAX_CLIENT_NAME_BYTES;
    assert!(hello + 64 <= MAX_HELLO_BYTES);
    let welcome = MAX_CLUSTER_NAME_BYTES + MAX_SHARDS as usize * 2 + MAX_NODES * (4 + MAX_ADDRESS_BYTES);
    assert!(welcome + 64 <= MAX_WELCOME_BYTES && MAX_DETAIL_BYTES + 64 <= MAX_WELCOME_BYTES);
    assert!(MAX_BATCH_REQUESTS <= MAX_IN_FLIGHT_PER_CONNECTION);
    assert!(MAX_RESERVATION_QUANTITY <= MAX_STOCK && MAX_FRAME_BYTES <= MAX_ANSWER_FRAME_BYTES);
    assert!(MIN_TTL.0 < MAX_TTL.0 && MAX_WAIT.0 <= u32::MAX as u64);
    assert!(MAX_NODES % 2 == 1 && MAX_ANSWER_FRAME_BYTES <= u32::MAX as usize);
};
