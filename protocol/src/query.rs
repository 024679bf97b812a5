//! Queries: reads, which need no log entry.

use crate::command::Target;
use crate::types::{FeedPosition, ProductId, ReservationId, ShardId, Timestamp};

/// A read.
///
/// Reads of products, reservations and the feed are linearizable: the shard's leader answers them.
/// [`Query::Audit`], [`Query::Status`] and [`Query::ShardMap`] are answered by the node that is asked, from what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// One reservation. Past its deadline it may still read as held until a command or the time entry has expired it.
    Reservation(Target),
    /// A reservation of whatever product on this shard.
    FindReservation {
        /// Where to look.
        shard: ShardId,
        /// What to look for.
        reservation: ReservationId,
    },
    /// One product.
    Product(ProductId),
    /// Products of a shard in the order of their ids.
    Products {
        /// Which shard.
        shard: ShardId,
        /// Those with a greater id than this.
        after: ProductId,
        /// At most so many: 0 gives none, and [`crate::limits::MAX_PAGE`] is the most.
        limit: u32,
    },
    /// Reservations of a shard, live and retained, in the order of their ids.
    Reservations {
        /// Which shard.
        shard: ShardId,
        /// Those with a greater id than this.
        after: ReservationId,
        /// At most so many: 0 gives none, and [`crate::limits::MAX_PAGE`] is the most.
        limit: u32,
    },
    /// The order feed of a shard.
    Feed {
        /// Which shard.
        shard: ShardId,
        /// Entries behind this position.
        after: FeedPosition,
        /// At most so many: 0 gives none, and [`crate::limits::MAX_PAGE`] is the most.
        limit: u32,
    },
    /// What is not settled on a shard, of one kind: what changed first stands first.
    Unsettled {
        /// Which shard.
        shard: ShardId,
        /// What of it.
        of: Unsettled,
        /// Those behind this one.
        after: Changed,
        /// At most so many: 0 gives none, and [`crate::limits::MAX_PAGE`] is the most.
        limit: u32,
    },
    /// Full recount of this node's replica of a shard.
    Audit {
        /// Which shard.
        shard: ShardId,
    },
    /// How this node and its replicas are.
    Status,
    /// Shards and their leaders as this node knows them.
    ShardMap,
}

/// What somebody must still bring to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// Payments whose end nobody has told: of reservations that are `paying`, or were when they expired.
    Payments,
    /// Refunds that are due.
    Refunds,
}

/// A reservation's place in the order in which reservations changed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// When its state last changed.
    pub at: Timestamp,
    /// Which it is.
    pub reservation: ReservationId,
}
