//! What the linearizability checker said of a history, for people and for programs.

use doorbuster_cli::output::facts;
use serde_json::{Value, json};

use crate::checkers::linearizability;

/// Histories judged, product by product.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Products.
    pub products: usize,
    /// Operations on them, and those of them whose outcome nobody knows.
    pub operations: (usize, usize),
    /// Steps that the search took.
    pub steps: u64,
    /// Products whose search was given up: neither passed nor failed.
    pub undecided: Vec<u64>,
    /// What no order explains.
    pub violations: Vec<String>,
}

impl Judged {
    /// What was said.
    pub fn of(report: &linearizability::Report) -> Self {
        Self {
            products: report.products,
            operations: (report.operations, report.given_up),
            steps: report.steps,
            undecided: report.undecided.iter().map(|product| product.0).collect(),
            violations: report.violations.iter().map(ToString::to_string).collect(),
        }
    }

    /// In a line.
    pub fn line(&self) -> String {
        let Self { products, operations: (asked, given_up), steps, undecided, violations } = self;
        let undecided = match undecided.as_slice() {
            [] => "none undecided".to_owned(),
            some => format!("{} UNDECIDED: products {some:?}", some.len()),
        };
        let violations = violations.len();
        format!(
            "{products} products, {asked} operations ({given_up} with unknown outcome), {violations} violated, {undecided}, \
             {steps} steps"
        )
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut whole = facts();
        whole.add_row(["judged for linearizability", &self.line()]);
        let violations: String = self.violations.iter().map(|violation| format!("\nWRONG: {violation}")).collect();
        format!("{whole}{violations}")
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "products": self.products, "operations": self.operations.0, "operations_unknown": self.operations.1,
            "steps": self.steps, "undecided": self.undecided, "violations": self.violations.len(),
        })
    }
}

/// A product's history as a run recorded it (`chaos --seed 12 --minutes 1`, product 89), and lies told in it.
#[cfg(test)]
mod tests {
    use std::ops::Range;

    use doorbuster_protocol::command::{Command, Reserve};
    use doorbuster_protocol::failure::Refusal;
    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::reply::{Reply, ReservationReply, ReservationState};
    use doorbuster_protocol::request::RequestBody;
    use doorbuster_protocol::types::{Millis, ReservationId, Timestamp};

    use super::Judged;
    use crate::chaos::judge;
    use crate::chaos::recording::Recording;
    use crate::history::{Heard, Moment, Operation};

    fn recorded() -> Recording {
        Recording::parse(include_str!("recordings/product_89.txt")).expect("it was written by a run")
    }

    #[track_caller]
    fn assert_violated(recording: &Recording) {
        let judged = Judged::of(&judge(recording));
        assert_eq!((judged.violations.len(), judged.undecided.as_slice()), (1, [].as_slice()));
    }

    fn places(recording: &Recording, is: impl Fn(&Operation) -> bool) -> Vec<usize> {
        let operations = recording.history.operations.iter().enumerate();
        operations.filter(|(_, operation)| is(operation)).map(|(at, _)| at).collect()
    }

    fn reply(operation: &Operation) -> Option<&ReservationReply> {
        match &operation.heard {
            Heard::Reply(Reply::Reservation(reply)) => Some(reply),
            _ => None,
        }
    }

    fn reserve(operation: &Operation) -> Option<Reserve> {
        match &operation.body {
            RequestBody::Command(Command::Reserve(reserve)) => Some(*reserve),
            _ => None,
        }
    }

    fn is_granted(operation: &Operation) -> bool {
        reserve(operation).is_some() && reply(operation).is_some_and(|reply| !reply.replayed)
    }

    fn is_product_read(operation: &Operation) -> bool {
        matches!((&operation.body, &operation.heard), (RequestBody::Query(Query::Product(_)), Heard::Reply(_)))
    }

    fn time(operation: &Operation) -> Range<u64> {
        operation.called.0..operation.returned.map_or(u64::MAX, |returned| returned.0)
    }

    #[test]
    fn what_was_recorded_is_linearizable_and_decided() {
        let judged = Judged::of(&judge(&recorded()));
        assert_eq!((judged.products, judged.violations.len(), judged.undecided.len()), (1, 0, 0));
        assert!(judged.operations.1 > 5, "some outcomes are unknown: {judged:?}");
    }

    #[test]
    fn a_stale_read_is_found() {
        let recorded = recorded();
        let changes = places(&recorded, |operation| {
            let done = reply(operation).filter(|reply| !reply.replayed);
            matches!(operation.body, RequestBody::Command(_))
                && done.is_some_and(|reply| reply.reservation.state == ReservationState::Confirmed)
        });
        let reads = places(&recorded, is_product_read);
        let mut lies = 0;
        for change in changes {
            let operations = &recorded.history.operations;
            let changed = time(&operations[change]);
            let before = reads.iter().rfind(|read| time(&operations[**read]).end < changed.start);
            let after = reads.iter().find(|read| time(&operations[**read]).start > changed.end);
            let (Some(before), Some(after)) = (before, after) else { continue };
            let mut lie = recorded.clone();
            lie.history.operations[*after].heard = operations[*before].heard.clone();
            assert_violated(&lie);
            lies += 1;
        }
        assert!(lies > 0, "nothing was read before and after a sale");
    }

    #[test]
    fn a_sold_out_that_was_never_true_is_found() {
        let recorded = recorded();
        let made = recorded.history.operations[0].returned.expect("the product was made");
        let first = places(&recorded, |operation| reserve(operation).is_some())[0];
        let heard = Heard::Refused(Refusal::SoldOut);
        // Before anybody came.
        let unlucky = reserve(&recorded.history.operations[first]).expect("a reserve");
        let body = RequestBody::Command(Command::Reserve(Reserve { reservation: ReservationId(7), ..unlucky }));
        let mut lie = recorded.clone();
        lie.history.operations.push(Operation {
            client: 99,
            called: made,
            returned: Some(made),
            body,
            heard: heard.clone(),
        });
        assert_violated(&lie);
        // Instead of a reservation that was made, and seen later.
        for granted in places(&recorded, is_granted) {
            let mut lie = recorded.clone();
            lie.history.operations[granted].heard = heard.clone();
            assert_violated(&lie);
        }
    }

    #[test]
    fn a_lost_reservation_is_found() {
        let recorded = recorded();
        let granted = places(&recorded, is_granted);
        assert!(granted.len() > 5);
        for granted in granted {
            let id = reserve(&recorded.history.operations[granted]).map(|reserve| reserve.reservation);
            let is_look = |operation: &Operation| {
                let RequestBody::Query(Query::Reservation(target)) = &operation.body else { return false };
                Some(target.reservation) == id
            };
            let last = *places(&recorded, is_look).last().expect("everything is looked at in the end");
            let mut lie = recorded.clone();
            lie.history.operations[last].heard = Heard::Refused(Refusal::UnknownReservation);
            assert_violated(&lie);
        }
    }

    #[test]
    fn a_reservation_that_was_made_twice_is_found() {
        let recorded = recorded();
        for granted in places(&recorded, is_granted) {
            let mut again = recorded.history.operations[granted].clone();
            let (begun, ended) = (again.called, again.returned.expect("it was answered"));
            (again.called.0, again.returned) = (ended.0 + 1, Some(Moment(2 * ended.0 - begun.0)));
            if let Heard::Reply(Reply::Reservation(reply)) = &mut again.heard {
                let later = |time: Timestamp| Timestamp(time.0 + 1);
                let view = &mut reply.reservation;
                reply.time = later(reply.time);
                (view.created_at, view.changed_at) = (later(view.created_at), later(view.changed_at));
                (view.first_expires_at, view.expires_at) = (later(view.first_expires_at), later(view.expires_at));
            }
            let mut lie = recorded.clone();
            lie.history.operations.push(again);
            assert_violated(&lie);
        }
    }

    #[test]
    fn a_unit_that_was_granted_twice_is_found() {
        let recorded = recorded();
        let out = places(&recorded, |operation| operation.heard == Heard::Refused(Refusal::SoldOut));
        assert!(!out.is_empty(), "somebody came too late");
        let pattern = places(&recorded, is_granted)[0];
        let pattern = *reply(&recorded.history.operations[pattern]).expect("it was granted");
        for out in out {
            let mut lie = recorded.clone();
            let Some(wanted) = reserve(&lie.history.operations[out]) else { continue };
            let operation = &mut lie.history.operations[out];
            let now = Timestamp(recorded.epoch.0 + operation.called.0 / 1_000_000);
            let until = Timestamp(now.0 + 300);
            let mut granted = pattern;
            granted.time = now;
            let view = &mut granted.reservation;
            (view.reservation, view.user, view.quantity) = (wanted.reservation, wanted.user, wanted.quantity);
            (view.created_at, view.changed_at) = (now, now);
            (view.first_expires_at, view.expires_at) = (until, until);
            operation.heard = Heard::Reply(Reply::Reservation(granted));
            operation.body = RequestBody::Command(Command::Reserve(Reserve { ttl: Millis(300), ..wanted }));
            // Whatever else is known of it would give the lie away.
            let others = |place: usize, operation: &Operation| place == out || !names(operation, wanted.reservation);
            let operations = std::mem::take(&mut lie.history.operations);
            let kept = operations.into_iter().enumerate().filter(|(place, operation)| others(*place, operation));
            lie.history.operations = kept.map(|(_, operation)| operation).collect();
            assert_violated(&lie);
        }
    }

    fn names(operation: &Operation, id: ReservationId) -> bool {
        match &operation.body {
            RequestBody::Query(Query::Reservation(target)) => target.reservation == id,
            _ => reserve(operation).is_some_and(|reserve| reserve.reservation == id),
        }
    }
}
