//! Why a request was not done, and what its caller can do about it.

use std::fmt;

pub use crate::code::Code;
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
    /// The client asked for another cluster.
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
    /// An argument is 0, out of range, or contradicts another.
    InvalidArgument(Argument),
    /// The feed has no such position yet.
    FeedPositionUnknown,
    /// The reservation is not sold.
    NotConfirmed,
    /// The reservation was sold, and that was cancelled.
    ReservationCancelled,
}

/// Which argument was not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// An id was 0.
    Id,
    /// The quantity was 0, or it or a limit per reservation was above the protocol's limit.
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

impl Failure {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::NotLeader { .. } => Code::NOT_LEADER,
            Self::Busy { .. } => Code::BUSY,
            Self::OutcomeUnknown => Code::OUTCOME_UNKNOWN,
            Self::WaitedTooLong => Code::WAITED_TOO_LONG,
            Self::ShuttingDown => Code::SHUTTING_DOWN,
            Self::Diverged => Code::DIVERGED,
            Self::Malformed(_) => Code::MALFORMED,
            Self::Unauthorized => Code::UNAUTHORIZED,
            Self::WrongCluster => Code::WRONG_CLUSTER,
            Self::UnsupportedVersion => Code::UNSUPPORTED_VERSION,
        }
    }

    /// How long to wait before a retry: what the answer says, else what its code suggests. `None` if a
    /// retry is of no use, or if the answer tells a time instead (`all_held`, `not_open`).
    #[must_use]
    pub const fn retry_after(&self) -> Option<Millis> {
        match self {
            Self::Busy { retry_after } => Some(*retry_after),
            Self::NotLeader { leader: Some(_) } => Some(Millis(0)),
            other => other.code().retry_after(),
        }
    }
}

impl Refusal {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::SoldOut => Code::SOLD_OUT,
            Self::AllHeld { .. } => Code::ALL_HELD,
            Self::InsufficientStock { .. } => Code::INSUFFICIENT_STOCK,
            Self::LimitReached { .. } => Code::LIMIT_REACHED,
            Self::QuantityTooLarge { .. } => Code::QUANTITY_TOO_LARGE,
            Self::NotOpen { .. } => Code::NOT_OPEN,
            Self::Closed => Code::CLOSED,
            Self::Paused => Code::PAUSED,
            Self::UnknownProduct => Code::UNKNOWN_PRODUCT,
            Self::UnknownReservation => Code::UNKNOWN_RESERVATION,
            Self::ConflictingRetry => Code::CONFLICTING_RETRY,
            Self::ReservationExpired { .. } => Code::RESERVATION_EXPIRED,
            Self::ReservationReleased => Code::RESERVATION_RELEASED,
            Self::AlreadyConfirmed => Code::ALREADY_CONFIRMED,
            Self::PaymentInProgress => Code::PAYMENT_IN_PROGRESS,
            Self::PaymentNotInProgress { .. } => Code::PAYMENT_NOT_IN_PROGRESS,
            Self::Refunding => Code::REFUNDING,
            Self::NoRefundDue => Code::NO_REFUND_DUE,
            Self::LifeLimitReached { .. } => Code::LIFE_LIMIT_REACHED,
            Self::StockBelowCommitted { .. } => Code::STOCK_BELOW_COMMITTED,
            Self::StockMismatch { .. } => Code::STOCK_MISMATCH,
            Self::StockTooLarge { .. } => Code::STOCK_TOO_LARGE,
            Self::ProductExists => Code::PRODUCT_EXISTS,
            Self::CapacityReached { .. } => Code::CAPACITY_REACHED,
            Self::InvalidArgument(_) => Code::INVALID_ARGUMENT,
            Self::FeedPositionUnknown => Code::FEED_POSITION_UNKNOWN,
            Self::NotConfirmed => Code::NOT_CONFIRMED,
            Self::ReservationCancelled => Code::RESERVATION_CANCELLED,
        }
    }
}

impl Argument {
    /// What must hold of it, in words.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Id => "an id must not be 0",
            Self::Quantity => "the quantity must be from 1 to 10000, a limit per reservation at most 10000",
            Self::Name => "the name must have from 1 to 200 bytes",
            Self::Price => "the price must be at most 10^12 minor units, its currency three upper-case letters",
            Self::Duration => {
                "TTL, life and payment cap must be from 100 ms to 7 days, an extension from 1 ms to 7 days; a reservation's \
                 TTL must be at most the product's, and that at most the life"
            }
            Self::Schedule => "the closing time must be after the opening time",
            Self::Delta => "the change must not be 0",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NotLeader { leader: Some(node) } => write!(f, "this node does not lead the shard, node {node} does"),
            Self::NotLeader { leader: None } => f.write_str("this node does not lead the shard and knows of no leader"),
            Self::Busy { retry_after } => write!(f, "the queue is full; try again in {retry_after} ms"),
            Self::OutcomeUnknown => f.write_str("the outcome is unknown; ask again with the same id"),
            Self::WaitedTooLong => f.write_str("it waited longer than its caller would, and was not done"),
            Self::ShuttingDown => f.write_str("the node is shutting down"),
            Self::Diverged => f.write_str("this replica differs from the others and serves no more"),
            Self::Malformed(detail) => write!(f, "malformed request: {detail}"),
            Self::Unauthorized => f.write_str("the credential is missing or wrong"),
            Self::WrongCluster => f.write_str("this is another cluster"),
            Self::UnsupportedVersion => f.write_str("no protocol version in common"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SoldOut => f.write_str("everything is sold"),
            Self::AllHeld { next_expiry } => {
                write!(f, "all units are held; the next hold ends at {next_expiry} (UTC ms)")
            }
            Self::InsufficientStock { available } => write!(f, "only {available} units are available"),
            Self::LimitReached { limit, used } => {
                write!(f, "the user has {used} units, and {limit} is the limit per user")
            }
            Self::QuantityTooLarge { limit } => write!(f, "more than {limit} units in one reservation"),
            Self::NotOpen { opens_at } => write!(f, "the sale opens at {opens_at} (UTC ms)"),
            Self::Closed => f.write_str("the sale is over"),
            Self::Paused => f.write_str("the sale is paused"),
            Self::UnknownProduct => f.write_str("there is no such product"),
            Self::UnknownReservation => f.write_str("there is no such reservation"),
            Self::ConflictingRetry => f.write_str("the id was used before with other contents"),
            Self::ReservationExpired { expired_at } => write!(f, "the reservation expired at {expired_at} (UTC ms)"),
            Self::ReservationReleased => f.write_str("the reservation was released"),
            Self::AlreadyConfirmed => f.write_str("the reservation is sold"),
            Self::PaymentInProgress => f.write_str("a payment of the reservation is in progress"),
            Self::PaymentNotInProgress { attempts } => {
                write!(f, "no such payment is in progress; {attempts} began so far")
            }
            Self::Refunding => f.write_str("the reservation's payment is being or was refunded"),
            Self::NoRefundDue => f.write_str("no refund is due"),
            Self::LifeLimitReached { latest } => {
                write!(f, "the reservation cannot live beyond {latest} (UTC ms)")
            }
            Self::StockBelowCommitted { held, sold } => {
                write!(f, "{held} units are held and {sold} sold; the stock cannot be less")
            }
            Self::StockMismatch { stock } => write!(f, "the stock is {stock}"),
            Self::StockTooLarge { limit } => write!(f, "a product has at most {limit} units"),
            Self::ProductExists => f.write_str("there is a product with this id and other contents"),
            Self::CapacityReached { limit } => write!(f, "the shard is full: it holds at most {limit}"),
            Self::InvalidArgument(argument) => f.write_str(argument.rule()),
            Self::FeedPositionUnknown => f.write_str("the feed has no such position yet"),
            Self::NotConfirmed => f.write_str("the reservation is not sold; what is held is released"),
            Self::ReservationCancelled => f.write_str("the reservation was sold, and that was cancelled"),
        }
    }
}

impl std::error::Error for Refusal {}
impl std::error::Error for Failure {}
