//! What comes next in a payment: a pure function of the step that was taken and what came of it.
//!
//! RULE: once the provider may have taken the money, only two ways lead out: the units are sold, or a refund is owed. Once
//! it has declined, the reservation goes back to being held. An unclear answer to anything repeats the same step, which is
//! idempotent.
//!
//! A payment begins with a charge. Who finds one that somebody else began has no card, and begins by asking. A refund that
//! is due begins by asking which attempt took the money, from the last one down. What a provider tells by itself, in
//! webhooks, is no more than a reason to ask: what it answers then decides, in whatever order it told.
//!
//! Why a payment that the provider does not know may end as failed: the charge of a gateway that is slow, or dead and its
//! request still under way, may arrive after our question; no pause is long enough to exclude it. So we do not wait, we
//! close: [`Step::Cancel`] makes the provider decline the key from then on, in one order with every charge under it. Either
//! the charge was first, and we are told; or the cancellation was, and the charge takes nothing, whenever it comes. Only
//! then is the cluster told that the payment failed, and only then can another attempt begin, under another key. So at most
//! one attempt of a reservation ever takes money. Two gateways that do this at once ask the same and are told the same.

use doorbuster_planted::{self as planted, Bug};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::ReservationState;

use super::provider::{Charged, Known};

/// A step to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the provider for the money.
    Charge,
    /// Ask the provider what came of a charge that somebody else may have sent.
    Ask,
    /// The provider has told by itself that something came of the charge: ask what. What is not decided is left alone.
    Look,
    /// The provider knows of no charge: see to it that it never takes one.
    Cancel,
    /// The money is taken: sell the units.
    Confirm,
    /// The money is taken, and the reservation gone: take units again, or owe a refund.
    TakeLate,
    /// The provider declined: back to held.
    Fail(&'static str),
    /// A refund is due: ask the provider whether it was this attempt that took the money.
    Seek(u16),
    /// It was: ask the provider to give it back.
    Refund(u16),
    /// It is given back: tell the cluster.
    RefundDone,
    /// Nothing is left to do.
    End(Outcome),
}

/// Every step but the end, for whoever has to do something at each. A step that is not here, and comes up, fails a test.
pub const STEPS: [Step; 10] = [
    Step::Charge,
    Step::Ask,
    Step::Look,
    Step::Cancel,
    Step::Confirm,
    Step::TakeLate,
    Step::Fail("card_declined"),
    Step::Seek(1),
    Step::Refund(1),
    Step::RefundDone,
];

/// How a payment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Paid and sold.
    Confirmed,
    /// Not paid, for the provider's reason.
    Declined(&'static str),
    /// Paid, nothing left to sell: the refund is owed, and recorded in the log.
    RefundDue,
    /// What was owed has been given back, and the log says so.
    Refunded,
    /// Paid, and the cluster refuses both to sell and to record a refund; or a refund is due, and the provider knows of
    /// nothing that was taken. Somebody must look.
    Unsettled,
    /// The gateway shut down, or the provider did not answer clearly for as long as it was waited for. Whoever posts the
    /// payment again takes it up, and so does the sweeper.
    Unresolved,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The provider's answer to a charge.
    Charged(Charged),
    /// The provider's answer to everything else.
    Known(Known),
    /// The cluster did it; the reservation is now in this state.
    Done(ReservationState),
    /// The cluster refused.
    Refused(Refusal),
    /// Nobody knows: no answer, no leader, a queue full.
    Unclear,
    /// The provider has not answered clearly for as long as it is waited for.
    OutOfTime,
}

impl Step {
    /// The step after this one.
    #[must_use]
    pub fn next(self, event: Event) -> Self {
        match (self, event) {
            (Self::End(_), _)
            | (_, Event::Unclear | Event::Charged(Charged::Unclear) | Event::Known(Known::Unclear)) => self,
            (Self::Confirm, event) => after_confirm(event),
            (Self::TakeLate, event) => after_late(event),
            (Self::Fail(reason), event) => after_fail(reason, event),
            (Self::RefundDone, event) => after_refund_done(event),
            (Self::Charge, Event::OutOfTime) if planted::on(Bug::TimeoutTakenForFailure) => Self::Fail("timeout"),
            (_, Event::OutOfTime) => Self::End(Outcome::Unresolved),
            (Self::Charge, Event::Charged(Charged::Succeeded)) => Self::Confirm,
            (Self::Charge, Event::Charged(Charged::Declined(reason))) => Self::Fail(reason),
            (Self::Charge, Event::Known(known)) => after_word(known),
            (Self::Ask | Self::Cancel, Event::Known(known)) => after_ask(known),
            (Self::Look, Event::Known(known)) => after_look(known),
            (Self::Seek(attempt), Event::Known(known)) => after_seek(attempt, known),
            (Self::Refund(attempt), Event::Known(known)) => after_refund(attempt, known),
            // The cluster has no say in what the provider is asked, and the other way round.
            (Self::Charge, Event::Done(_) | Event::Refused(_))
            | (
                Self::Ask | Self::Look | Self::Cancel | Self::Seek(_) | Self::Refund(_),
                Event::Charged(_) | Event::Done(_) | Event::Refused(_),
            ) => self,
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Ask => "ask",
            Self::Look => "look",
            Self::Cancel => "cancel",
            Self::Confirm => "confirm",
            Self::TakeLate => "take-late",
            Self::Fail(_) => "fail",
            Self::Seek(_) => "seek",
            Self::Refund(_) => "refund",
            Self::RefundDone => "refund-done",
            Self::End(_) => "end",
        }
    }

    /// Whether it is the provider that is asked.
    #[must_use]
    pub const fn asks_provider(self) -> bool {
        matches!(self, Self::Charge | Self::Ask | Self::Look | Self::Cancel | Self::Seek(_) | Self::Refund(_))
    }
}

/// What the provider knows of a charge that is under way to it.
fn after_word(known: Known) -> Step {
    match known {
        Known::NotFound | Known::InProgress | Known::Unclear => Step::Charge,
        Known::Succeeded => Step::Confirm,
        Known::Declined(reason) => Step::Fail(reason),
        Known::Refunded => Step::Fail("refunded"),
    }
}

fn after_look(known: Known) -> Step {
    match known {
        // Its charge may be under way, in better hands than ours.
        Known::NotFound => Step::End(Outcome::Unresolved),
        Known::InProgress | Known::Unclear => Step::Look,
        Known::Succeeded | Known::Declined(_) | Known::Refunded => after_ask(known),
    }
}

fn after_ask(known: Known) -> Step {
    match known {
        Known::NotFound if planted::on(Bug::UnknownChargeNotClosed) => Step::Fail("unknown"),
        Known::NotFound => Step::Cancel,
        Known::InProgress | Known::Unclear => Step::Ask,
        Known::Succeeded => Step::Confirm,
        Known::Declined(reason) => Step::Fail(reason),
        // Somebody gave it back by hand: it buys nothing any more.
        Known::Refunded => Step::Fail("refunded"),
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

fn after_seek(attempt: u16, known: Known) -> Step {
    match known {
        Known::Succeeded => Step::Refund(attempt),
        Known::Refunded => Step::RefundDone,
        Known::InProgress | Known::Unclear => Step::Seek(attempt),
        Known::NotFound | Known::Declined(_) if attempt > 1 => Step::Seek(attempt - 1),
        Known::NotFound | Known::Declined(_) => Step::End(Outcome::Unsettled),
    }
}

fn after_refund(attempt: u16, known: Known) -> Step {
    match known {
        Known::Refunded => Step::RefundDone,
        Known::Succeeded | Known::InProgress | Known::Unclear => Step::Refund(attempt),
        Known::NotFound | Known::Declined(_) => Step::End(Outcome::Unsettled),
    }
}

fn after_refund_done(event: Event) -> Step {
    Step::End(match event {
        Event::Refused(Refusal::NoRefundDue) => Outcome::Unsettled,
        // Done before, and perhaps forgotten since.
        _ => Outcome::Refunded,
    })
}

#[cfg(test)]
mod tests;
