//! What comes next in a payment: a pure function of the step that was taken and what came of it.
//!
//! RULE: once the provider may have taken the money, only two ways lead out: the units are sold, or a refund is owed. Once
//! it has declined, the reservation goes back to being held. An unclear answer to anything repeats the same step, which is
//! idempotent.

use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::ReservationState;

use super::provider::Charged;

/// A step to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the provider for the money.
    Charge,
    /// The money is taken: sell the units.
    Confirm,
    /// The money is taken, and the reservation gone: take units again, or owe a refund.
    TakeLate,
    /// The provider declined: back to held.
    Fail(&'static str),
    /// Nothing is left to do.
    End(Outcome),
}

/// How a payment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Paid and sold.
    Confirmed,
    /// Not paid, for the provider's reason.
    Declined(&'static str),
    /// Paid, nothing left to sell: the refund is owed, and recorded in the log.
    RefundDue,
    /// Paid, and the cluster refuses both to sell and to record a refund: somebody must look.
    Unsettled,
    /// The gateway shut down, or the provider never answered clearly while the reservation was pinned. Whoever posts the
    /// payment again takes it up.
    Unresolved,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The provider's answer.
    Charged(Charged),
    /// The cluster did it; the reservation is now in this state.
    Done(ReservationState),
    /// The cluster refused.
    Refused(Refusal),
    /// Nobody knows: no answer, no leader, a queue full.
    Unclear,
    /// The provider has not answered clearly for as long as the reservation could be pinned.
    OutOfTime,
}

impl Step {
    /// The step after this one.
    #[must_use]
    pub fn next(self, event: Event) -> Self {
        match (self, event) {
            (Self::End(_), _) | (_, Event::Unclear | Event::Charged(Charged::Unclear)) => self,
            (Self::Charge, Event::OutOfTime) => Self::End(Outcome::Unresolved),
            (Self::Charge, Event::Charged(Charged::Succeeded)) => Self::Confirm,
            (Self::Charge, Event::Charged(Charged::Declined(reason))) => Self::Fail(reason),
            (Self::Confirm, event) => after_confirm(event),
            (Self::TakeLate, event) => after_late(event),
            (Self::Fail(reason), event) => after_fail(reason, event),
            // The cluster has no say in a charge.
            (Self::Charge, Event::Done(_) | Event::Refused(_)) => self,
        }
    }
}

fn after_confirm(event: Event) -> Step {
    match event {
        Event::Done(ReservationState::Confirmed) | Event::Refused(Refusal::AlreadyConfirmed) => {
            Step::End(Outcome::Confirmed)
        }
        Event::Refused(Refusal::Refunding) | Event::Done(ReservationState::RefundDue | ReservationState::Refunded) => {
            Step::End(Outcome::RefundDue)
        }
        // Expired, released, forgotten: the money is taken and must lead somewhere.
        _ => Step::TakeLate,
    }
}

fn after_late(event: Event) -> Step {
    Step::End(match event {
        Event::Done(ReservationState::Confirmed) | Event::Refused(Refusal::AlreadyConfirmed) => Outcome::Confirmed,
        Event::Done(ReservationState::RefundDue | ReservationState::Refunded) | Event::Refused(Refusal::Refunding) => {
            Outcome::RefundDue
        }
        _ => Outcome::Unsettled,
    })
}

fn after_fail(reason: &'static str, event: Event) -> Step {
    match event {
        // Another gateway's charge of the same attempt went through first.
        Event::Refused(Refusal::AlreadyConfirmed) => Step::End(Outcome::Confirmed),
        _ => Step::End(Outcome::Declined(reason)),
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::types::Timestamp;

    use super::*;

    const EXPIRED: Event = Event::Refused(Refusal::ReservationExpired { expired_at: Timestamp(1) });

    #[test]
    fn the_table() {
        use ReservationState as State;
        let declined = Step::End(Outcome::Declined("why"));
        let confirmed = Step::End(Outcome::Confirmed);
        let refund = Step::End(Outcome::RefundDue);
        for (step, event, next) in [
            (Step::Charge, Event::Charged(Charged::Succeeded), Step::Confirm),
            (Step::Charge, Event::Charged(Charged::Declined("why")), Step::Fail("why")),
            (Step::Charge, Event::Charged(Charged::Unclear), Step::Charge),
            (Step::Charge, Event::OutOfTime, Step::End(Outcome::Unresolved)),
            (Step::Confirm, Event::Unclear, Step::Confirm),
            (Step::Confirm, Event::Done(State::Confirmed), confirmed),
            (Step::Confirm, Event::Refused(Refusal::AlreadyConfirmed), confirmed),
            (Step::Confirm, EXPIRED, Step::TakeLate),
            (Step::Confirm, Event::Refused(Refusal::ReservationReleased), Step::TakeLate),
            (Step::Confirm, Event::Refused(Refusal::UnknownReservation), Step::TakeLate),
            (Step::Confirm, Event::Refused(Refusal::Refunding), refund),
            (Step::TakeLate, Event::Unclear, Step::TakeLate),
            (Step::TakeLate, Event::Done(State::Confirmed), confirmed),
            (Step::TakeLate, Event::Done(State::RefundDue), refund),
            (Step::TakeLate, Event::Done(State::Refunded), refund),
            (Step::TakeLate, Event::Refused(Refusal::UnknownProduct), Step::End(Outcome::Unsettled)),
            (Step::Fail("why"), Event::Unclear, Step::Fail("why")),
            (Step::Fail("why"), Event::Done(State::Held), declined),
            (Step::Fail("why"), EXPIRED, declined),
            (Step::Fail("why"), Event::Refused(Refusal::PaymentNotInProgress { attempts: 2 }), declined),
            (Step::Fail("why"), Event::Refused(Refusal::AlreadyConfirmed), confirmed),
            (confirmed, EXPIRED, confirmed),
        ] {
            assert_eq!(step.next(event), next, "{step:?} {event:?}");
        }
    }

    #[test]
    fn money_taken_is_sold_or_owed_whatever_the_cluster_says() {
        let states = [State::Held, State::Paying, State::Confirmed, State::Released, State::Expired, State::RefundDue];
        use ReservationState as State;
        let refusals = [Refusal::SoldOut, Refusal::ReservationReleased, Refusal::UnknownReservation, Refusal::Paused];
        let events = states.map(Event::Done).into_iter().chain(refusals.map(Event::Refused));
        for event in events {
            let after = Step::Confirm.next(event);
            assert!(
                matches!(after, Step::TakeLate | Step::End(Outcome::Confirmed | Outcome::RefundDue)),
                "{event:?} {after:?}"
            );
        }
    }
}
