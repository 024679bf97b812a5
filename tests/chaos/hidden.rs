//! What a gateway does not show of a reservation, filled in from the look at everything: the deadline of one that is over,
//! the first deadline, whether a late payment took it. None of it ever changes once it is so, so that the end tells it.

use doorbuster_protocol::reply::{Reply, ReservationState, ReservationView};

use super::inspection::Found;
use crate::history::{Heard, History};

/// Completes what these clients heard.
pub fn fill_in(history: &mut History, found: &Found, over_http: impl Fn(u32) -> bool) {
    for operation in history.operations.iter_mut().filter(|operation| over_http(operation.client)) {
        let Heard::Reply(Reply::Reservation(reply)) = &mut operation.heard else { continue };
        let told = &mut reply.reservation;
        if let Some(Some(end)) = found.reservations.get(&(told.product, told.reservation)) {
            complete(told, end);
        }
    }
}

fn complete(told: &mut ReservationView, end: &ReservationView) {
    use ReservationState as State;
    told.first_expires_at = end.first_expires_at;
    if !told.state.is_live() {
        told.expires_at = end.expires_at;
    }
    told.late = end.late && matches!(told.state, State::Confirmed | State::RefundDue | State::Refunded);
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_protocol::types::{ProductId, Quantity, ReservationId, Timestamp, UserId};

    #[test]
    fn only_what_is_hidden_and_does_not_change_is_filled_in() {
        let end = ReservationView {
            product: ProductId(1),
            reservation: ReservationId(2),
            user: UserId(3),
            quantity: Quantity(1),
            state: ReservationState::Confirmed,
            payment_attempts: 1,
            late: true,
            cancelled: None,
            created_at: Timestamp(10),
            first_expires_at: Timestamp(20),
            expires_at: Timestamp(40),
            changed_at: Timestamp(50),
        };
        let told = ReservationView { late: false, first_expires_at: Timestamp(0), ..end };
        for (state, expires, late) in [
            (ReservationState::Held, 30, false),
            (ReservationState::Expired, 40, false),
            (ReservationState::Confirmed, 40, true),
        ] {
            let mut told = ReservationView { state, expires_at: Timestamp(30), changed_at: Timestamp(45), ..told };
            complete(&mut told, &end);
            let expected = (Timestamp(20), Timestamp(expires), late, Timestamp(45));
            assert_eq!((told.first_expires_at, told.expires_at, told.late, told.changed_at), expected);
        }
    }
}
