//! How what the cluster answers reads over HTTP: each refusal and failure as a [`Problem`], with its values.

use doorbuster_client::Error;
use doorbuster_protocol::failure::{Argument, Failure, Refusal};
use doorbuster_protocol::types::{Millis, Timestamp};

use super::Problem;
use super::kinds::{self, Kind};
use crate::{clock, timestamp};

/// How soon a change of leader is usually over.
const ELECTION: Millis = Millis(500);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::OutcomeUnknown => outcome_unknown(),
            Error::Unavailable { overloaded: true, .. } => {
                overloaded("The servers' queues are full; nothing was done.")
            }
            Error::Unavailable { detail, .. } => no_leader(&detail),
            Error::Rejected(failure) => failure.into(),
            Error::Config(detail) => internal("the gateway's client is misconfigured", &detail),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::NotLeader { .. } | Failure::ShuttingDown | Failure::Diverged => {
                no_leader("the node asked does not lead")
            }
            Failure::Busy { retry_after } => {
                overloaded("The servers' queues are full; nothing was done.").retry_after(retry_after)
            }
            Failure::WaitedTooLong => {
                overloaded("The request waited too long in the servers' queues; nothing was done.")
            }
            Failure::OutcomeUnknown => outcome_unknown(),
            Failure::Malformed(detail) => internal("a server could not read the gateway's request", &detail),
            Failure::Unauthorized => internal("the servers do not accept the gateway's credential", ""),
            Failure::WrongCluster => internal("the servers belong to another cluster", ""),
            Failure::UnsupportedVersion => internal("the servers speak no protocol version of the gateway's", ""),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let problem = Self::new(kind(&refusal), refusal_detail(&refusal));
        match refusal {
            Refusal::AllHeld { next_expiry: Timestamp(0) } => problem,
            Refusal::AllHeld { next_expiry } => {
                until(problem, next_expiry).with("next_expiry", timestamp::format(next_expiry))
            }
            Refusal::NotOpen { opens_at } => until(problem, opens_at).with("opens_at", timestamp::format(opens_at)),
            Refusal::InsufficientStock { available } => problem.with("available", available.0),
            Refusal::LimitReached { limit, used } => problem.with("limit", limit.0).with("used", used.0),
            Refusal::QuantityTooLarge { limit } => problem.with("field", "quantity").with("limit", limit.0),
            Refusal::ReservationExpired { expired_at } => problem.with("expired_at", timestamp::format(expired_at)),
            Refusal::PaymentNotInProgress { attempts } => problem.with("attempts", attempts),
            Refusal::LifeLimitReached { latest } => problem.with("latest", timestamp::format(latest)),
            Refusal::StockBelowCommitted { held, sold } => problem.with("held", held.0).with("sold", sold.0),
            Refusal::StockMismatch { stock } => problem.with("stock", stock.0),
            Refusal::StockTooLarge { limit } => problem.with("limit", limit.0),
            Refusal::CapacityReached { limit } => problem.with("limit", limit).retry_after(Millis(60_000)),
            Refusal::InvalidArgument(argument) => problem.with("field", argument_name(argument)),
            _ => problem,
        }
    }
}

/// Nobody can say now whether it was done.
#[must_use]
pub fn outcome_unknown() -> Problem {
    Problem::new(
        &kinds::OUTCOME_UNKNOWN,
        "The servers did not answer in time, so this may or may not have been done. Retry with the same Idempotency-Key.",
    )
    .retry_after(ELECTION)
}

/// No server could be asked; nothing was done.
#[must_use]
pub fn no_leader(detail: &str) -> Problem {
    tracing::debug!(detail, "the cluster is unavailable");
    Problem::new(
        &kinds::NO_LEADER,
        "No server could take the request; nothing was done. Retry with the same Idempotency-Key.",
    )
    .retry_after(ELECTION)
}

fn overloaded(detail: &'static str) -> Problem {
    Problem::new(&kinds::OVERLOADED, detail)
}

/// Something is wrong that the caller can do nothing about. The log has what; the caller is spared it.
#[must_use]
pub fn internal(what: &'static str, detail: &str) -> Problem {
    tracing::error!(detail, "{what}");
    Problem::new(&kinds::INTERNAL, what)
}

/// Suggests a retry at that time. The wall clock only shapes the hint: the servers decide by cluster time.
fn until(problem: Problem, time: Timestamp) -> Problem {
    let wait = time.since(clock::wall());
    problem.retry_after(Millis(wait.0.max(1)))
}

/// The kind that a refusal reads as.
#[must_use]
pub fn kind(refusal: &Refusal) -> &'static Kind {
    match refusal {
        Refusal::SoldOut => &kinds::SOLD_OUT,
        Refusal::AllHeld { .. } => &kinds::ALL_HELD,
        Refusal::InsufficientStock { .. } => &kinds::INSUFFICIENT_STOCK,
        Refusal::LimitReached { .. } => &kinds::LIMIT_REACHED,
        Refusal::QuantityTooLarge { .. } => &kinds::QUANTITY_TOO_LARGE,
        Refusal::NotOpen { .. } => &kinds::NOT_OPEN,
        Refusal::Closed => &kinds::CLOSED,
        Refusal::Paused => &kinds::PAUSED,
        Refusal::UnknownProduct => &kinds::UNKNOWN_PRODUCT,
        Refusal::UnknownReservation => &kinds::UNKNOWN_RESERVATION,
        Refusal::ConflictingRetry => &kinds::CONFLICTING_RETRY,
        Refusal::ReservationExpired { .. } => &kinds::RESERVATION_EXPIRED,
        Refusal::ReservationReleased => &kinds::RESERVATION_RELEASED,
        Refusal::AlreadyConfirmed => &kinds::ALREADY_CONFIRMED,
        Refusal::PaymentInProgress => &kinds::PAYMENT_IN_PROGRESS,
        Refusal::PaymentNotInProgress { .. } => &kinds::PAYMENT_NOT_IN_PROGRESS,
        Refusal::Refunding => &kinds::REFUNDING,
        Refusal::NoRefundDue => &kinds::NO_REFUND_DUE,
        Refusal::NotConfirmed => &kinds::NOT_CONFIRMED,
        Refusal::ReservationCancelled => &kinds::RESERVATION_CANCELLED,
        Refusal::LifeLimitReached { .. } => &kinds::LIFE_LIMIT_REACHED,
        Refusal::StockBelowCommitted { .. } => &kinds::STOCK_BELOW_COMMITTED,
        Refusal::StockMismatch { .. } => &kinds::STOCK_MISMATCH,
        Refusal::StockTooLarge { .. } => &kinds::STOCK_TOO_LARGE,
        Refusal::ProductExists => &kinds::PRODUCT_EXISTS,
        Refusal::CapacityReached { .. } => &kinds::CAPACITY_REACHED,
        Refusal::InvalidArgument(_) => &kinds::INVALID_ARGUMENT,
        Refusal::FeedPositionUnknown => &kinds::INTERNAL,
    }
}

/// What to tell a person. Fixed texts: the hot refusals allocate for nothing but their JSON.
fn refusal_detail(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::SoldOut => "Every unit is sold and none can come back.",
        Refusal::AllHeld { .. } => "Every unit is sold or held; some may come back, at the earliest at next_expiry.",
        Refusal::InsufficientStock { .. } => "Ask for at most as many as are available.",
        Refusal::LimitReached { .. } => "You hold and have bought as many of this product as one user may.",
        Refusal::QuantityTooLarge { .. } => "Ask for at most limit units in one reservation.",
        Refusal::NotOpen { .. } => "Come back at opens_at.",
        Refusal::Closed => "The product is no longer on sale.",
        Refusal::Paused => "The seller paused the sale; it may go on at any time.",
        Refusal::UnknownProduct => "No product has this id.",
        Refusal::UnknownReservation => "You have no reservation with this id.",
        Refusal::ConflictingRetry => "An Idempotency-Key belongs to one request; use a new one for a new request.",
        Refusal::ReservationExpired { .. } => "Its time was over; its units went back on sale. Reserve again.",
        Refusal::ReservationReleased => "Its units went back on sale. Reserve again.",
        Refusal::AlreadyConfirmed => "It is paid and sold.",
        Refusal::PaymentInProgress => "Wait for the payment's end.",
        Refusal::PaymentNotInProgress { .. } => "That payment has ended, or was never begun.",
        Refusal::Refunding => {
            "The reservation was gone when the payment succeeded, or its sale was cancelled; the money goes back."
        }
        Refusal::NoRefundDue => "No money is to go back here.",
        Refusal::NotConfirmed => "Only what is sold can be cancelled; release what is held.",
        Refusal::ReservationCancelled => "Its sale was cancelled; what became of its units then stays as it is.",
        Refusal::LifeLimitReached { .. } => "It cannot be held beyond latest.",
        Refusal::StockBelowCommitted { .. } => "Stock cannot fall below held + sold.",
        Refusal::StockMismatch { .. } => "Somebody changed the stock since; look at it again.",
        Refusal::StockTooLarge { .. } => "Stock cannot exceed limit.",
        Refusal::ProductExists => "A product with this id and other settings exists.",
        Refusal::CapacityReached { .. } => "Room comes back when ended reservations leave their retention.",
        Refusal::InvalidArgument(_) => "See field.",
        Refusal::FeedPositionUnknown => "The order feed has no such position.",
    }
}

fn argument_name(argument: Argument) -> &'static str {
    match argument {
        Argument::Id => "product",
        Argument::Quantity => "quantity",
        Argument::Name => "name",
        Argument::Price => "price",
        Argument::Duration => "ttl_ms",
        Argument::Schedule => "closes_at",
        Argument::Delta => "delta",
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::types::Quantity;

    use super::*;

    /// One of each, with the status DESIGN gives it.
    fn refusals() -> Vec<(Refusal, u16)> {
        let (time, some) = (Timestamp(1), Quantity(1));
        vec![
            (Refusal::SoldOut, 409),
            (Refusal::AllHeld { next_expiry: time }, 409),
            (Refusal::InsufficientStock { available: some }, 409),
            (Refusal::LimitReached { limit: some, used: some }, 409),
            (Refusal::QuantityTooLarge { limit: some }, 422),
            (Refusal::NotOpen { opens_at: time }, 409),
            (Refusal::Closed, 409),
            (Refusal::Paused, 409),
            (Refusal::UnknownProduct, 404),
            (Refusal::UnknownReservation, 404),
            (Refusal::ConflictingRetry, 422),
            (Refusal::ReservationExpired { expired_at: time }, 409),
            (Refusal::ReservationReleased, 409),
            (Refusal::AlreadyConfirmed, 409),
            (Refusal::PaymentInProgress, 409),
            (Refusal::PaymentNotInProgress { attempts: 1 }, 409),
            (Refusal::Refunding, 409),
            (Refusal::NoRefundDue, 409),
            (Refusal::NotConfirmed, 409),
            (Refusal::ReservationCancelled, 409),
            (Refusal::LifeLimitReached { latest: time }, 409),
            (Refusal::StockBelowCommitted { held: some, sold: some }, 409),
            (Refusal::StockMismatch { stock: some }, 409),
            (Refusal::StockTooLarge { limit: some }, 422),
            (Refusal::ProductExists, 409),
            (Refusal::CapacityReached { limit: 1 }, 503),
            (Refusal::InvalidArgument(Argument::Delta), 422),
        ]
    }

    #[test]
    fn a_refusal_keeps_its_name_and_gets_its_status() {
        for (refusal, status) in refusals() {
            let problem = Problem::from(refusal);
            assert_eq!(problem.kind.status, status, "{refusal:?}");
            assert_eq!(problem.kind.code, refusal.code().name(), "{refusal:?}");
        }
    }

    #[test]
    fn failures_of_the_cluster_tell_whether_something_was_done() {
        let table = [
            (Error::OutcomeUnknown, 504, "outcome_unknown"),
            (Error::Unavailable { detail: "no leader".into(), overloaded: false }, 503, "no_leader"),
            (Error::Unavailable { detail: "busy".into(), overloaded: true }, 503, "overloaded"),
            (Error::Rejected(Failure::NotLeader { leader: None }), 503, "no_leader"),
            (Error::Rejected(Failure::ShuttingDown), 503, "no_leader"),
            (Error::Rejected(Failure::Busy { retry_after: Millis(9) }), 503, "overloaded"),
            (Error::Rejected(Failure::WaitedTooLong), 503, "overloaded"),
            (Error::Rejected(Failure::OutcomeUnknown), 504, "outcome_unknown"),
            (Error::Rejected(Failure::Unauthorized), 500, "internal"),
            (Error::Refused(Refusal::SoldOut), 409, "sold_out"),
        ];
        for (error, status, code) in table {
            let kind = Problem::from(error).kind;
            assert_eq!((kind.status, kind.code), (status, code));
            assert_eq!(kind.retryable, status >= 503, "{code}");
        }
    }
}
