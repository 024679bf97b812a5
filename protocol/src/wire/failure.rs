//! Failures: a code that is not 0, then the values that it comes with, by its number.

use crate::code::Code;
use crate::cursor::{Cursor, DecodeError};
use crate::failure::{Argument, Failure, Refusal};
use crate::limits::MAX_DETAIL_BYTES;
use crate::types::{Millis, NodeId, Quantity, Timestamp};

/// Appends the code and its values. Allocates nothing beyond `out`.
pub fn put_failure(failure: &Failure, out: &mut Vec<u8>) {
    out.extend_from_slice(&failure.code().number().to_le_bytes());
    match failure {
        Failure::Refused(refusal) => put_refusal(refusal, out),
        Failure::NotLeader { leader } => out.extend_from_slice(&leader.map_or(0, |node| node.0).to_le_bytes()),
        Failure::Busy { retry_after } => out.extend_from_slice(&retry_after.0.to_le_bytes()),
        Failure::Malformed(detail) => super::put_text(detail, MAX_DETAIL_BYTES, out),
        Failure::OutcomeUnknown
        | Failure::WaitedTooLong
        | Failure::ShuttingDown
        | Failure::Diverged
        | Failure::Unauthorized
        | Failure::WrongCluster
        | Failure::UnsupportedVersion => {}
    }
}

fn put_refusal(refusal: &Refusal, out: &mut Vec<u8>) {
    match *refusal {
        Refusal::AllHeld { next_expiry: time }
        | Refusal::NotOpen { opens_at: time }
        | Refusal::ReservationExpired { expired_at: time }
        | Refusal::LifeLimitReached { latest: time } => out.extend_from_slice(&time.0.to_le_bytes()),
        Refusal::InsufficientStock { available: units }
        | Refusal::QuantityTooLarge { limit: units }
        | Refusal::StockMismatch { stock: units }
        | Refusal::StockTooLarge { limit: units } => out.extend_from_slice(&units.0.to_le_bytes()),
        Refusal::LimitReached { limit: first, used: second }
        | Refusal::StockBelowCommitted { held: first, sold: second } => {
            out.extend_from_slice(&first.0.to_le_bytes());
            out.extend_from_slice(&second.0.to_le_bytes());
        }
        Refusal::PaymentNotInProgress { attempts } => out.extend_from_slice(&attempts.to_le_bytes()),
        Refusal::CapacityReached { limit } => out.extend_from_slice(&limit.to_le_bytes()),
        Refusal::InvalidArgument(argument) => out.push(argument_number(argument)),
        Refusal::SoldOut
        | Refusal::Closed
        | Refusal::Paused
        | Refusal::UnknownProduct
        | Refusal::UnknownReservation
        | Refusal::ConflictingRetry
        | Refusal::ReservationReleased
        | Refusal::AlreadyConfirmed
        | Refusal::PaymentInProgress
        | Refusal::Refunding
        | Refusal::NoRefundDue
        | Refusal::ProductExists
        | Refusal::FeedPositionUnknown
        | Refusal::NotConfirmed
        | Refusal::ReservationCancelled => {}
    }
}

/// Reads what follows the number of a code.
pub fn get_failure(number: u16, cursor: &mut Cursor<'_>) -> Result<Failure, DecodeError> {
    let code = Code::from_number(number).ok_or(DecodeError::Invalid { what: "failure code", value: number.into() })?;
    Ok(match code {
        Code::NOT_LEADER => {
            let leader = cursor.u16("leader's node id")?;
            Failure::NotLeader { leader: (leader != 0).then_some(NodeId(leader)) }
        }
        Code::BUSY => Failure::Busy { retry_after: Millis(cursor.u64("retry after")?) },
        Code::OUTCOME_UNKNOWN => Failure::OutcomeUnknown,
        Code::WAITED_TOO_LONG => Failure::WaitedTooLong,
        Code::SHUTTING_DOWN => Failure::ShuttingDown,
        Code::DIVERGED => Failure::Diverged,
        Code::MALFORMED => Failure::Malformed(cursor.text(MAX_DETAIL_BYTES, "detail")?.to_owned()),
        Code::UNAUTHORIZED => Failure::Unauthorized,
        Code::WRONG_CLUSTER => Failure::WrongCluster,
        Code::UNSUPPORTED_VERSION => Failure::UnsupportedVersion,
        refusal => Failure::Refused(get_refusal(refusal, cursor)?),
    })
}

fn get_refusal(code: Code, cursor: &mut Cursor<'_>) -> Result<Refusal, DecodeError> {
    Ok(match code {
        Code::SOLD_OUT => Refusal::SoldOut,
        Code::ALL_HELD => Refusal::AllHeld { next_expiry: time(cursor)? },
        Code::INSUFFICIENT_STOCK => Refusal::InsufficientStock { available: units(cursor)? },
        Code::LIMIT_REACHED => Refusal::LimitReached { limit: units(cursor)?, used: units(cursor)? },
        Code::QUANTITY_TOO_LARGE => Refusal::QuantityTooLarge { limit: units(cursor)? },
        Code::NOT_OPEN => Refusal::NotOpen { opens_at: time(cursor)? },
        Code::CLOSED => Refusal::Closed,
        Code::PAUSED => Refusal::Paused,
        Code::UNKNOWN_PRODUCT => Refusal::UnknownProduct,
        Code::UNKNOWN_RESERVATION => Refusal::UnknownReservation,
        Code::CONFLICTING_RETRY => Refusal::ConflictingRetry,
        Code::RESERVATION_EXPIRED => Refusal::ReservationExpired { expired_at: time(cursor)? },
        Code::RESERVATION_RELEASED => Refusal::ReservationReleased,
        Code::ALREADY_CONFIRMED => Refusal::AlreadyConfirmed,
        Code::PAYMENT_IN_PROGRESS => Refusal::PaymentInProgress,
        Code::PAYMENT_NOT_IN_PROGRESS => Refusal::PaymentNotInProgress { attempts: cursor.u16("attempts")? },
        Code::REFUNDING => Refusal::Refunding,
        Code::NO_REFUND_DUE => Refusal::NoRefundDue,
        Code::LIFE_LIMIT_REACHED => Refusal::LifeLimitReached { latest: time(cursor)? },
        Code::STOCK_BELOW_COMMITTED => Refusal::StockBelowCommitted { held: units(cursor)?, sold: units(cursor)? },
        Code::STOCK_MISMATCH => Refusal::StockMismatch { stock: units(cursor)? },
        Code::STOCK_TOO_LARGE => Refusal::StockTooLarge { limit: units(cursor)? },
        Code::PRODUCT_EXISTS => Refusal::ProductExists,
        Code::CAPACITY_REACHED => Refusal::CapacityReached { limit: cursor.u64("capacity")? },
        Code::INVALID_ARGUMENT => Refusal::InvalidArgument(argument(cursor.u8("argument")?)?),
        Code::FEED_POSITION_UNKNOWN => Refusal::FeedPositionUnknown,
        Code::NOT_CONFIRMED => Refusal::NotConfirmed,
        Code::RESERVATION_CANCELLED => Refusal::ReservationCancelled,
        other => return Err(DecodeError::Invalid { what: "refusal code", value: other.number().into() }),
    })
}

fn time(cursor: &mut Cursor<'_>) -> Result<Timestamp, DecodeError> {
    cursor.u64("time").map(Timestamp)
}

fn units(cursor: &mut Cursor<'_>) -> Result<Quantity, DecodeError> {
    cursor.u32("quantity").map(Quantity)
}

const fn argument_number(argument: Argument) -> u8 {
    match argument {
        Argument::Id => 1,
        Argument::Quantity => 2,
        Argument::Name => 3,
        Argument::Price => 4,
        Argument::Duration => 5,
        Argument::Schedule => 6,
        Argument::Delta => 7,
    }
}

fn argument(number: u8) -> Result<Argument, DecodeError> {
    Ok(match number {
        1 => Argument::Id,
        2 => Argument::Quantity,
        3 => Argument::Name,
        4 => Argument::Price,
        5 => Argument::Duration,
        6 => Argument::Schedule,
        7 => Argument::Delta,
        value => return Err(DecodeError::Invalid { what: "argument", value: value.into() }),
    })
}
