//! The table of steps, and what must hold of every way through it.

use std::mem::{Discriminant, discriminant};

use doorbuster_protocol::types::Timestamp;

use ReservationState as State;

use super::*;

const EXPIRED: Event = Event::Refused(Refusal::ReservationExpired { expired_at: Timestamp(1) });
const DECLINED: Step = Step::End(Outcome::Declined("why"));
const CONFIRMED: Step = Step::End(Outcome::Confirmed);
const REFUND_DUE: Step = Step::End(Outcome::RefundDue);
const REFUNDED: Step = Step::End(Outcome::Refunded);
const UNSETTLED: Step = Step::End(Outcome::Unsettled);
const UNRESOLVED: Step = Step::End(Outcome::Unresolved);
/// What may come of asking the provider.
const ANSWERS: [Known; 6] =
    [Known::NotFound, Known::InProgress, Known::Succeeded, Known::Declined("why"), Known::Refunded, Known::Unclear];

fn check(table: &[(Step, Event, Step)]) {
    for (step, event, next) in table {
        assert_eq!(step.next(*event), *next, "{step:?} {event:?}");
    }
}

fn known(known: Known) -> Event {
    Event::Known(known)
}

#[test]
fn a_payment_with_a_card() {
    check(&[
        (Step::Charge, Event::Charged(Charged::Succeeded), Step::Confirm),
        (Step::Charge, Event::Charged(Charged::Declined("why")), Step::Fail("why")),
        (Step::Charge, Event::Charged(Charged::Unclear), Step::Charge),
        (Step::Charge, Event::OutOfTime, UNRESOLVED),
        (Step::Charge, known(Known::Succeeded), Step::Confirm),
        (Step::Charge, known(Known::Declined("why")), Step::Fail("why")),
        (Step::Charge, known(Known::Refunded), Step::Fail("refunded")),
        (Step::Charge, known(Known::NotFound), Step::Charge),
        (Step::Charge, known(Known::InProgress), Step::Charge),
        (Step::Charge, known(Known::Unclear), Step::Charge),
        (Step::Confirm, Event::Unclear, Step::Confirm),
        (Step::Confirm, Event::Done(State::Confirmed), CONFIRMED),
        (Step::Confirm, Event::Refused(Refusal::AlreadyConfirmed), CONFIRMED),
        (Step::Confirm, EXPIRED, Step::TakeLate),
        (Step::Confirm, Event::Refused(Refusal::ReservationReleased), Step::TakeLate),
        (Step::Confirm, Event::Refused(Refusal::UnknownReservation), Step::TakeLate),
        (Step::Confirm, Event::Refused(Refusal::Refunding), REFUND_DUE),
        (Step::TakeLate, Event::Unclear, Step::TakeLate),
        (Step::TakeLate, Event::Done(State::Confirmed), CONFIRMED),
        (Step::TakeLate, Event::Done(State::RefundDue), REFUND_DUE),
        (Step::TakeLate, Event::Done(State::Refunded), REFUND_DUE),
        (Step::TakeLate, Event::Refused(Refusal::UnknownProduct), UNSETTLED),
        (Step::Fail("why"), Event::Unclear, Step::Fail("why")),
        (Step::Fail("why"), Event::Done(State::Held), DECLINED),
        (Step::Fail("why"), EXPIRED, DECLINED),
        (Step::Fail("why"), Event::Refused(Refusal::PaymentNotInProgress { attempts: 2 }), DECLINED),
        (Step::Fail("why"), Event::Refused(Refusal::AlreadyConfirmed), CONFIRMED),
        (CONFIRMED, EXPIRED, CONFIRMED),
    ]);
}

#[test]
fn a_payment_that_somebody_else_began() {
    for step in [Step::Ask, Step::Cancel] {
        check(&[
            (step, known(Known::NotFound), Step::Cancel),
            (step, known(Known::InProgress), Step::Ask),
            (step, known(Known::Succeeded), Step::Confirm),
            (step, known(Known::Declined("why")), Step::Fail("why")),
            (step, known(Known::Refunded), Step::Fail("refunded")),
            (step, known(Known::Unclear), step),
            (step, Event::OutOfTime, UNRESOLVED),
        ]);
    }
}

#[test]
fn a_payment_that_the_provider_told_of() {
    check(&[
        (Step::Look, known(Known::NotFound), UNRESOLVED),
        (Step::Look, known(Known::InProgress), Step::Look),
        (Step::Look, known(Known::Succeeded), Step::Confirm),
        (Step::Look, known(Known::Declined("why")), Step::Fail("why")),
        (Step::Look, known(Known::Refunded), Step::Fail("refunded")),
        (Step::Look, known(Known::Unclear), Step::Look),
        (Step::Look, Event::OutOfTime, UNRESOLVED),
    ]);
    assert!(!reached(&[Step::Look]).contains(&Step::Cancel), "a charge that is under way is not closed");
}

#[test]
fn a_refund_that_is_due() {
    check(&[
        (Step::Seek(3), known(Known::Declined("why")), Step::Seek(2)),
        (Step::Seek(2), known(Known::NotFound), Step::Seek(1)),
        (Step::Seek(1), known(Known::NotFound), UNSETTLED),
        (Step::Seek(0), known(Known::NotFound), UNSETTLED),
        (Step::Seek(2), known(Known::InProgress), Step::Seek(2)),
        (Step::Seek(2), known(Known::Unclear), Step::Seek(2)),
        (Step::Seek(2), known(Known::Succeeded), Step::Refund(2)),
        (Step::Seek(2), known(Known::Refunded), Step::RefundDone),
        (Step::Seek(2), Event::OutOfTime, UNRESOLVED),
        (Step::Refund(2), known(Known::Unclear), Step::Refund(2)),
        (Step::Refund(2), known(Known::InProgress), Step::Refund(2)),
        (Step::Refund(2), known(Known::Succeeded), Step::Refund(2)),
        (Step::Refund(2), known(Known::Refunded), Step::RefundDone),
        (Step::Refund(2), known(Known::NotFound), UNSETTLED),
        (Step::Refund(2), Event::OutOfTime, UNRESOLVED),
        (Step::RefundDone, Event::Unclear, Step::RefundDone),
        (Step::RefundDone, Event::Done(State::Refunded), REFUNDED),
        (Step::RefundDone, Event::Refused(Refusal::UnknownReservation), REFUNDED),
        (Step::RefundDone, Event::Refused(Refusal::NoRefundDue), UNSETTLED),
    ]);
}

/// What can come of a step.
fn events(step: Step) -> Vec<Event> {
    let charged = [Charged::Succeeded, Charged::Declined("why"), Charged::Unclear].map(Event::Charged);
    let known = ANSWERS.map(Event::Known);
    match step {
        Step::Charge => charged.into_iter().chain(known).chain([Event::OutOfTime]).collect(),
        step if step.asks_provider() => known.into_iter().chain([Event::OutOfTime]).collect(),
        _ => {
            let states = [
                State::Held,
                State::Paying,
                State::Confirmed,
                State::Released,
                State::Expired,
                State::RefundDue,
                State::Refunded,
            ];
            let refusals = [
                Refusal::SoldOut,
                Refusal::ReservationReleased,
                Refusal::ReservationExpired { expired_at: Timestamp(1) },
                Refusal::UnknownReservation,
                Refusal::UnknownProduct,
                Refusal::AlreadyConfirmed,
                Refusal::Refunding,
                Refusal::NoRefundDue,
                Refusal::Paused,
                Refusal::PaymentInProgress,
                Refusal::PaymentNotInProgress { attempts: 1 },
                Refusal::CapacityReached { limit: 1 },
            ];
            states.map(Event::Done).into_iter().chain(refusals.map(Event::Refused)).chain([Event::Unclear]).collect()
        }
    }
}

/// Every step that can be reached from these.
fn reached(from: &[Step]) -> Vec<Step> {
    let mut all = from.to_vec();
    let mut at = 0;
    while let Some(step) = all.get(at).copied() {
        at += 1;
        for next in events(step).into_iter().map(|event| step.next(event)) {
            if !all.contains(&next) {
                all.push(next);
            }
        }
    }
    all
}

#[test]
fn the_list_has_every_step_once() {
    let kinds: Vec<Discriminant<Step>> = STEPS.iter().map(discriminant).collect();
    assert!((0..kinds.len()).all(|at| !kinds[..at].contains(&kinds[at])), "{STEPS:?}");
    let all = reached(&[Step::Charge, Step::Ask, Step::Look, Step::Seek(3)]);
    for step in all.iter().filter(|step| !matches!(step, Step::End(_))) {
        assert!(kinds.contains(&discriminant(step)), "{step:?} is not in the list");
    }
    for step in STEPS {
        assert!(all.iter().any(|known| discriminant(known) == discriminant(&step)), "nothing leads to {step:?}");
    }
}

#[test]
fn every_step_leads_to_an_end_and_none_back_to_a_charge() {
    for step in STEPS {
        let ends = reached(&[step]);
        assert!(ends.iter().any(|end| matches!(end, Step::End(_))), "{step:?}");
        assert!(step == Step::Charge || !ends.contains(&Step::Charge), "{step:?} charges without a card");
    }
}

#[test]
fn money_taken_is_sold_or_owed_whatever_the_cluster_says() {
    for step in reached(&[Step::Confirm]) {
        let expected = [Step::Confirm, Step::TakeLate, CONFIRMED, REFUND_DUE, UNSETTLED];
        assert!(expected.contains(&step), "{step:?}");
    }
    for event in events(Step::Confirm) {
        assert_ne!(Step::Confirm.next(event), UNSETTLED, "{event:?}");
    }
}

#[test]
fn only_what_the_provider_has_declined_for_good_fails() {
    for step in STEPS.into_iter().filter(|step| step.asks_provider()) {
        for event in events(step) {
            let fails = matches!(step.next(event), Step::Fail(_));
            let is_final = matches!(
                event,
                Event::Charged(Charged::Declined(_)) | Event::Known(Known::Declined(_) | Known::Refunded)
            );
            assert!(!fails || is_final, "{step:?} {event:?}");
        }
    }
}
