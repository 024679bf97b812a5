//! What a gateway's answer means in the words of the history.

use doorbuster_cli::names::{When, parse_when};
use doorbuster_protocol::command::{CancelReason, Cancellation, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{Reply, ReservationReply, ReservationState, ReservationView};
use doorbuster_protocol::types::{Quantity, Timestamp};
use serde_json::Value;

use crate::history::Heard;

/// An answer that was received whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Whether it says that it is a replay.
    pub replayed: bool,
    /// Its body.
    pub body: Value,
}

impl Answer {
    /// The problem's code; empty if it is no problem.
    pub fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or_default()
    }

    /// What it says of the reservation that was asked for.
    pub fn heard(&self, target: Target) -> Heard {
        if self.status < 300 {
            return self.reservation(target).map_or(Heard::Unknown, |reply| Heard::Reply(Reply::Reservation(reply)));
        }
        match (refusal(self.code(), &self.body), self.status) {
            (Some(refusal), _) => Heard::Refused(refusal),
            (None, 429 | 503) => Heard::NotDone(self.code().to_owned()),
            _ => Heard::Unknown,
        }
    }

    /// The reservation as it is now.
    fn reservation(&self, target: Target) -> Option<ReservationReply> {
        let now = self.body.get("now").unwrap_or(&self.body);
        let time = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).and_then(parse_time);
        let (created_at, changed_at) = (time(now, "created_at")?, time(now, "changed_at")?);
        // What is over has no deadline to show.
        let expires_at = time(now, "expires_at").unwrap_or(changed_at);
        let remaining = now.get("expires_in").and_then(Value::as_f64).map(|seconds| (seconds * 1000.0).round());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some seconds, never negative
        let time_now = remaining.map_or(changed_at, |left| Timestamp(expires_at.0.saturating_sub(left as u64)));
        let attempts = now.pointer("/payment/attempts").and_then(Value::as_u64).unwrap_or(0);
        let reservation = ReservationView {
            product: target.product,
            reservation: target.reservation,
            user: target.user,
            quantity: Quantity(u32::try_from(now.get("quantity")?.as_u64()?).ok()?),
            state: state(now.get("state")?.as_str()?)?,
            payment_attempts: u16::try_from(attempts).ok()?,
            late: false,
            cancelled: cancelled(now),
            created_at,
            first_expires_at: time(&self.body, "expires_at").unwrap_or(expires_at),
            expires_at,
            changed_at,
        };
        Some(ReservationReply { replayed: self.replayed, time: time_now, reservation })
    }
}

fn cancelled(now: &Value) -> Option<Cancellation> {
    let how = now.get("cancelled")?;
    let reason = CancelReason::named(how.get("reason")?.as_str()?)?;
    Some(Cancellation { reason, return_stock: how.get("stock_returned")?.as_bool()? })
}

fn parse_time(text: &str) -> Option<Timestamp> {
    match parse_when(text) {
        Ok(When::At(time)) => Some(time),
        _ => None,
    }
}

fn state(name: &str) -> Option<ReservationState> {
    use ReservationState as State;
    let all = [
        State::Held,
        State::Paying,
        State::Confirmed,
        State::Released,
        State::Expired,
        State::RefundDue,
        State::Refunded,
        State::Cancelled,
    ];
    all.into_iter().find(|state| state.name() == name)
}

/// The refusal of that name, as far as the gateway tells it.
fn refusal(code: &str, body: &Value) -> Option<Refusal> {
    let time = |field: &str| body.get(field).and_then(Value::as_str).and_then(parse_time).unwrap_or_default();
    let number = |field: &str| body.get(field).and_then(Value::as_u64).unwrap_or(0);
    let units = |field: &str| Quantity(u32::try_from(number(field)).unwrap_or(u32::MAX));
    Some(match code {
        "sold_out" => Refusal::SoldOut,
        "all_held" => Refusal::AllHeld { next_expiry: time("next_expiry") },
        "insufficient_stock" => Refusal::InsufficientStock { available: units("available") },
        "limit_reached" => Refusal::LimitReached { limit: units("limit"), used: units("used") },
        "quantity_too_large" => Refusal::QuantityTooLarge { limit: units("limit") },
        "not_open" => Refusal::NotOpen { opens_at: time("opens_at") },
        "closed" => Refusal::Closed,
        "paused" => Refusal::Paused,
        "unknown_product" => Refusal::UnknownProduct,
        "unknown_reservation" => Refusal::UnknownReservation,
        "conflicting_retry" => Refusal::ConflictingRetry,
        "reservation_expired" => Refusal::ReservationExpired { expired_at: time("expired_at") },
        "reservation_released" => Refusal::ReservationReleased,
        "already_confirmed" => Refusal::AlreadyConfirmed,
        "payment_in_progress" => Refusal::PaymentInProgress,
        "payment_not_in_progress" => {
            Refusal::PaymentNotInProgress { attempts: u16::try_from(number("attempts")).unwrap_or(u16::MAX) }
        }
        "refunding" => Refusal::Refunding,
        "life_limit_reached" => Refusal::LifeLimitReached { latest: time("latest") },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_protocol::types::{ProductId, ReservationId, UserId};
    use serde_json::json;

    #[test]
    fn answers_say_what_the_cluster_said() {
        let target = Target { product: ProductId(7), reservation: ReservationId(8), user: UserId(9) };
        let answer = |status, body| Answer { status, replayed: false, body };
        let held = json!({
            "id": "7-8", "product": 7, "quantity": 2, "state": "held", "created_at": "2026-11-27T12:00:00.000Z",
            "expires_at": "2026-11-27T12:00:01.500Z", "expires_in": 1.25, "changed_at": "2026-11-27T12:00:00.000Z",
        });
        let Heard::Reply(Reply::Reservation(reply)) = answer(201, held).heard(target) else { panic!("no reservation") };
        assert_eq!(reply.reservation.state, ReservationState::Held);
        assert_eq!(reply.reservation.expires_at.0 - reply.time.0, 1250);
        assert_eq!(answer(409, json!({ "code": "sold_out" })).heard(target), Heard::Refused(Refusal::SoldOut));
        assert_eq!(answer(503, json!({ "code": "no_leader" })).heard(target), Heard::NotDone("no_leader".to_owned()));
        assert_eq!(answer(504, json!({ "code": "outcome_unknown" })).heard(target), Heard::Unknown);
    }
}
