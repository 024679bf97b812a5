//! What answers show not to have happened yet: an operation that was given up, whose effect an answer would show and does
//! not, had no effect before that answer's question.
//!
//! Of most commands the effect never goes away again (RULE: a reservation is made once, sold once, refunded once, its
//! payment attempts are counted). So a look at the end, when nothing is under way any more, leaves few in doubt.

use std::collections::BTreeMap;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{ReservationState, ReservationView};
use doorbuster_protocol::types::{ReservationId, UserId};

use ReservationState::{Cancelled, Confirmed, Expired, Held, Paying, RefundDue, Refunded};

use super::asked::{Ask, Asked, Told};

/// A reservation as an answer showed it; none: there was no such one, of that user.
struct Sighting<'a> {
    at: u64,
    user: UserId,
    view: Option<&'a ReservationView>,
}

/// Lets each operation that was given up begin no earlier than answers allow.
pub(super) fn bound(asks: &mut [Ask<'_>]) {
    let mut seen: BTreeMap<ReservationId, Vec<Sighting<'_>>> = BTreeMap::new();
    for ask in asks.iter() {
        if let (Some(id), Some(sighting)) = (ask.reservation(), sighting(ask)) {
            seen.entry(id).or_default().push(sighting);
        }
    }
    for ask in asks.iter_mut().filter(|ask| ask.is_given_up()) {
        let (Some(id), Asked::Command(command)) = (ask.reservation(), ask.asked) else { continue };
        let sightings = seen.get(&id).into_iter().flatten();
        let not_yet = sightings.filter(|sighting| is_not_done(command, sighting)).map(|sighting| sighting.at);
        ask.called = not_yet.fold(ask.called, u64::max);
    }
}

fn sighting<'a>(ask: &Ask<'a>) -> Option<Sighting<'a>> {
    let view = match (ask.asked, ask.told) {
        (_, Told::Reservation { view, .. }) => Some(view),
        (Asked::Reservation(..), Told::Refused(Refusal::UnknownReservation)) => None,
        _ => return None,
    };
    let user = match ask.asked {
        Asked::Reservation(_, user) => user,
        _ => UserId(0),
    };
    Some(Sighting { at: ask.called, user, view })
}

fn is_not_done(command: &Command, sighting: &Sighting<'_>) -> bool {
    let Some(view) = sighting.view else {
        let of = owner(command);
        return sighting.user == of || sighting.user == UserId(0);
    };
    let (state, attempts) = (view.state, view.payment_attempts);
    match command {
        // What is cancelled had been sold.
        Command::Confirm(_) => state != Confirmed && view.cancelled.is_none(),
        Command::Cancel(_) => view.cancelled.is_none(),
        // A late payment hides what was before it.
        Command::Release(_) => matches!(state, Held | Paying | Expired) || (state == Confirmed && !view.late),
        Command::LatePayment(_) => !matches!(state, Confirmed | RefundDue | Refunded | Cancelled),
        Command::RefundDone(_) => state != Refunded,
        Command::BeginPayment(payment) => attempts < payment.attempt,
        Command::PaymentFailed(payment) => {
            attempts < payment.attempt || (attempts == payment.attempt && state == Paying)
        }
        _ => false,
    }
}

fn owner(command: &Command) -> UserId {
    match command {
        Command::Reserve(reserve) => reserve.user,
        Command::BeginPayment(payment) | Command::PaymentFailed(payment) => payment.target.user,
        Command::Confirm(target) | Command::Release(target) | Command::RefundDone(target) => target.user,
        Command::Extend(extend) => extend.target.user,
        Command::Cancel(cancel) => cancel.target.user,
        Command::LatePayment(late) => late.target.user,
        _ => UserId(0),
    }
}
