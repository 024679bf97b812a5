//! Why a request was not done, and what its caller can do about it.

use crate::types::{Millis, NodeId, Quantity, Timestamp};

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The inventory says no; nothing changed.
    Refused(Refusal),
    /// This node does not lead the shard; nothing changed here.
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// A queue is full; nothing changed.
    Busy {
        /// When to try again.
        retry_after: Millis,
    },
    /// The leader changed while the command was under way: it may or may not have been applied.
    OutcomeUnknown,
    /// It had waited longer than its caller would; it was never proposed.
    WaitedTooLong,
    /// The node is shutting down; nothing changed.
    ShuttingDown,
    /// This replica's state differs from the others' and it serves no more.
    Diverged,
    /// The request could not be read or breaks a limit; the text says what and which.
    Malformed(String),
    /// The credentials were not accepted, or are missing.
    Unauthorized,
    /// The client belongs to another cluster.
    WrongCluster,
    /// No protocol version in common.
    UnsupportedVersion,
}

/// Why the inventory says no. Nothing changed, and nothing is remembered of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Everything is sold; nothing can come back.
    SoldOut,
    /// Nothing is available, but some is held and may come back.
    AllHeld {
        /// Earliest deadline of a live reservation.
        next_expiry: Timestamp,
    },
    /// Fewer are available than asked for.
    InsufficientStock {
        /// How many are.
        available: Quantity,
    },
    /// The user holds and has bought as many as allowed.
    LimitReached {
        /// The limit per user.
        limit: Quantity,
        /// How many the user holds and has bought.
        used: Quantity,
    },
    /// More units than one reservation may have.
    QuantityTooLarge {
        /// The limit per reservation.
        limit: Quantity,
    },
    /// The sale has not begun.
    NotOpen {
        /// When it will.
        opens_at: Timestamp,
    },
    /// The sale is over.
    Closed,
    /// An operator paused the sale.
    Paused,
    /// There is no such product.
    UnknownProduct,
    /// There is no such reservation, or it is another user's.
    UnknownReservation,
    /// The id was used before with other contents.
    ConflictingRetry,
    /// The reservation's time is over.
    ReservationExpired {
        /// Since when.
        expired_at: Timestamp,
    },
    /// The reservation was given back.
    ReservationReleased,
    /// The reservation is sold.
    AlreadyConfirmed,
    /// A payment has pinned the reservation.
    PaymentInProgress,
    /// No such payment is under way: it ended, or a later one began.
    PaymentNotInProgress {
        /// Payments begun so far.
        attempts: u16,
    },
    /// The reservation has a refund due or done.
    Refunding,
    /// No refund is due.
    NoRefundDue,
    /// It would live longer than the product allows.
    LifeLimitReached {
        /// The latest deadline it can have.
        latest: Timestamp,
    },
    /// The stock would be less than what is held and sold.
    StockBelowCommitted {
        /// Units held.
        held: Quantity,
        /// Units sold.
        sold: Quantity,
    },
    /// The stock is not what the caller thought.
    StockMismatch {
        /// What it is.
        stock: Quantity,
    },
    /// The stock would exceed the limit.
    StockTooLarge {
        /// The limit.
        limit: Quantity,
    },
    /// There is a product with this id and other contents.
    ProductExists,
    /// The shard holds as many as it can: products, reservations or remembered operations.
    CapacityReached {
        /// How many it can.
        limit: u64,
    },
    /// The product's settings contradict each other or break a limit.
    InvalidArgument(Argument),
    /// The feed has no such position yet.
    FeedPositionUnknown,
}

/// Which argument was not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// An id was 0.
    Id,
    /// The quantity was 0 or above the protocol's limit.
    Quantity,
    /// The name was empty or too long.
    Name,
    /// The price was too high, or its currency no currency.
    Price,
    /// A TTL, life, cap or extension was out of range.
    Duration,
    /// Closing is not after opening.
    Schedule,
    /// The change was 0.
    Delta,
}

/// Stable number of a [`Failure`] or [`Refusal`], as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl Code {
    /// Its stable name, e.g. `sold_out`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        todo!()
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn retryable(self) -> bool {
        todo!()
    }

    /// Whether a retry must carry the same id, because the first attempt may have had its effect.
    #[must_use]
    pub const fn same_id(self) -> bool {
        todo!()
    }
}

impl Failure {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        todo!()
    }

    /// When a retry makes sense; `None` if the answer does not say.
    #[must_use]
    pub fn retry_after(&self) -> Option<Millis> {
        todo!()
    }
}

impl Refusal {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        todo!()
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

impl std::error::Error for Refusal {}
impl std::error::Error for Failure {}
