//! What can be said of a run from its end: no unit sold twice, what was acknowledged is there, what was refused is not, one
//! answer an id, nothing expired early. Whether the whole history makes sense is the linearizability checker's question.

use std::collections::BTreeMap;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Reply, ReservationState, ReservationView};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{ProductId, ReservationId, Timestamp};

use super::inspection::Found;
use crate::history::{Heard, History, Operation};

/// Violations beyond these are counted only.
const MOST_NAMED: usize = 12;

type Id = (ProductId, ReservationId);

/// Everything that is wrong, in words.
pub fn check(history: &History, found: &Found) -> Vec<String> {
    let checks: [(&str, Vec<String>); 5] = [
        ("units", units(found)),
        ("acknowledged", acknowledged(history, found)),
        ("nothing unasked", nothing_unasked(history, found)),
        ("one answer", one_answer(history)),
        ("never early", never_early(history, found)),
    ];
    let mut problems = Vec::new();
    for (name, mut wrong) in checks {
        let more = wrong.len().saturating_sub(MOST_NAMED);
        wrong.truncate(MOST_NAMED);
        problems.extend(wrong.into_iter().map(|what| format!("{name}: {what}")));
        if more > 0 {
            problems.push(format!("{name}: and {more} more"));
        }
    }
    problems
}

/// Stock is available, held and sold; sold is what the confirmed reservations have.
fn units(found: &Found) -> Vec<String> {
    let mut sold: BTreeMap<ProductId, u64> = BTreeMap::new();
    for view in found.listed.iter().filter(|view| view.state == ReservationState::Confirmed) {
        *sold.entry(view.product).or_default() += u64::from(view.quantity.0);
    }
    let mut wrong = Vec::new();
    for (product, view) in &found.products {
        let confirmed = sold.get(product).copied().unwrap_or(0);
        let adds_up = view.spec.stock.0 == view.available.0 + view.held.0 + view.sold.0;
        if !adds_up || u64::from(view.sold.0) != confirmed || view.held.0 != 0 {
            wrong.push(format!("product {product}: {confirmed} units in confirmed reservations, {view:?}"));
        }
    }
    wrong
}

/// What a client was told of a reservation still holds, or has become what it may become.
fn acknowledged(history: &History, found: &Found) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, operation) in history.operations.iter().enumerate() {
        let Some(told) = told(operation) else { continue };
        let id = (told.product, told.reservation);
        let now = found.reservations.get(&id).copied().flatten();
        if !now.is_some_and(|now| may_become(told, &now) && is_same(told, &now)) {
            wrong.push(format!("operation {number} heard {told:?}; at the end there is {now:?}"));
        }
    }
    wrong
}

fn is_same(told: &ReservationView, now: &ReservationView) -> bool {
    told.user == now.user && told.quantity == now.quantity && told.created_at == now.created_at
}

fn may_become(told: &ReservationView, end: &ReservationView) -> bool {
    use ReservationState as State;
    let now = end.state;
    match told.state {
        State::Held | State::Paying => true,
        State::Confirmed if end.cancelled.is_some() => matches!(now, State::RefundDue | State::Refunded),
        State::Confirmed => now == State::Confirmed,
        State::Released | State::Expired => {
            now == told.state || matches!(now, State::Confirmed | State::RefundDue | State::Refunded)
        }
        State::RefundDue => matches!(now, State::RefundDue | State::Refunded),
        State::Refunded => now == State::Refunded,
        // Nobody cancels what was not paid for.
        State::Cancelled => false,
    }
}

/// A reservation that there is was asked for by somebody who was not told *no*.
fn nothing_unasked(history: &History, found: &Found) -> Vec<String> {
    let mut asked: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
    let mut maybe: BTreeMap<Id, bool> = BTreeMap::new();
    for (number, operation) in history.operations.iter().enumerate() {
        let RequestBody::Command(command) = &operation.body else { continue };
        let id = match command {
            Command::Reserve(reserve) => (reserve.product, reserve.reservation),
            Command::LatePayment(late) => (late.target.product, late.target.reservation),
            _ => continue,
        };
        asked.entry(id).or_default().push(number);
        *maybe.entry(id).or_default() |= matches!(operation.heard, Heard::Reply(_) | Heard::Unknown);
    }
    let mut wrong = Vec::new();
    for view in &found.listed {
        let id = (view.product, view.reservation);
        if !maybe.get(&id).copied().unwrap_or(false) {
            let heard: Vec<_> =
                asked.get(&id).into_iter().flatten().map(|n| (n, &history.operations[*n].heard)).collect();
            wrong.push(format!("there is {view:?}, but who asked for it heard {heard:?}"));
        }
    }
    wrong
}

/// Whatever is asked of an id, and how often: it was made once, then and for so long.
fn one_answer(history: &History) -> Vec<String> {
    let mut first: BTreeMap<Id, (usize, Timestamp)> = BTreeMap::new();
    let mut fresh: BTreeMap<Id, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (number, operation) in history.operations.iter().enumerate() {
        let Some(told) = told(operation) else { continue };
        let id = (told.product, told.reservation);
        let (by, made) = *first.entry(id).or_insert((number, told.created_at));
        if made != told.created_at {
            wrong.push(format!("operation {by} heard that it was made at {made}, operation {number} {told:?}"));
        }
        let is_reserve = matches!(operation.body, RequestBody::Command(Command::Reserve(_)));
        if is_reserve
            && !replayed(operation)
            && let Some(earlier) = fresh.insert(id, number)
        {
            wrong.push(format!("operations {earlier} and {number} were both told that they made {told:?}"));
        }
    }
    wrong
}

/// An expired reservation had reached its deadline.
fn never_early(history: &History, found: &Found) -> Vec<String> {
    let told = history.operations.iter().filter(|operation| has_deadline(operation)).filter_map(told);
    let all = told.chain(&found.listed).filter(|view| view.state == ReservationState::Expired);
    all.filter(|view| view.changed_at < view.expires_at).map(|view| format!("{view:?}")).collect()
}

/// A gateway does not show the deadline of what is over; such answers say `expires_at = changed_at`.
fn has_deadline(operation: &Operation) -> bool {
    told(operation).is_some_and(|view| view.expires_at != view.changed_at)
}

fn told(operation: &Operation) -> Option<&ReservationView> {
    match (&operation.heard, &operation.body) {
        (
            Heard::Reply(Reply::Reservation(reply)),
            RequestBody::Command(_) | RequestBody::Query(Query::Reservation(_)),
        ) => Some(&reply.reservation),
        _ => None,
    }
}

fn replayed(operation: &Operation) -> bool {
    matches!(&operation.heard, Heard::Reply(Reply::Reservation(reply)) if reply.replayed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;
    use doorbuster_protocol::command::{LatePaymentPolicy, ProductSpec, Reserve};
    use doorbuster_protocol::failure::Refusal;
    use doorbuster_protocol::reply::{ProductView, ReservationReply, SaleState};
    use doorbuster_protocol::types::{Currency, Millis, Money, Quantity, UserId};

    fn view(state: ReservationState) -> ReservationView {
        ReservationView {
            product: ProductId(1),
            reservation: ReservationId(2),
            user: UserId(3),
            quantity: Quantity(1),
            state,
            payment_attempts: 0,
            late: false,
            cancelled: None,
            created_at: Timestamp(10),
            first_expires_at: Timestamp(20),
            expires_at: Timestamp(20),
            changed_at: Timestamp(21),
        }
    }

    fn reserve(heard: Heard) -> Operation {
        let body = RequestBody::Command(Command::Reserve(Reserve {
            product: ProductId(1),
            reservation: ReservationId(2),
            user: UserId(3),
            quantity: Quantity(1),
            ttl: Millis(0),
        }));
        Operation { client: 1, called: Moment(1), returned: Some(Moment(2)), body, heard }
    }

    fn granted(view: ReservationView) -> Operation {
        reserve(Heard::Reply(Reply::Reservation(ReservationReply {
            replayed: false,
            time: Timestamp(10),
            reservation: view,
        })))
    }

    fn found(sold: u32, views: &[ReservationView]) -> Found {
        let spec = ProductSpec {
            product: ProductId(1),
            name: "one".to_owned(),
            stock: Quantity(2),
            price: Money { minor: 1, currency: Currency(*b"EUR") },
            limit_per_user: Quantity(0),
            limit_per_reservation: Quantity(0),
            ttl: Millis(10),
            max_life: Millis(10),
            payment_cap: Millis(10),
            opens_at: Timestamp(0),
            closes_at: Timestamp(0),
            late_payment: LatePaymentPolicy::RetakeOrRefund,
        };
        let product = ProductView {
            spec,
            sale: SaleState::Active,
            available: Quantity(2 - sold),
            held: Quantity(0),
            sold: Quantity(sold),
            next_expiry: Timestamp(0),
        };
        Found {
            products: BTreeMap::from([(ProductId(1), product)]),
            reservations: views.iter().map(|view| ((view.product, view.reservation), Some(*view))).collect(),
            listed: views.to_vec(),
        }
    }

    fn problems(operations: Vec<Operation>, found: &Found) -> Vec<String> {
        check(&History { operations }, found)
    }

    #[test]
    fn what_agrees_is_accepted_and_each_lie_is_named() {
        let confirmed = view(ReservationState::Confirmed);
        let held = view(ReservationState::Held);
        assert_eq!(
            problems(vec![granted(held), granted(held)].split_off(1), &found(1, &[confirmed])),
            Vec::<String>::new()
        );

        let early = ReservationView { changed_at: Timestamp(19), ..view(ReservationState::Expired) };
        let other = ReservationView { created_at: Timestamp(11), ..held };
        for (operations, end, name) in [
            (vec![granted(confirmed)], found(0, &[view(ReservationState::Expired)]), "acknowledged"),
            (vec![granted(held)], found(0, &[]), "acknowledged"),
            (vec![granted(held)], found(2, &[confirmed]), "units"),
            (vec![reserve(Heard::Refused(Refusal::SoldOut))], found(1, &[confirmed]), "nothing unasked"),
            (vec![reserve(Heard::NotDone(String::new()))], found(1, &[confirmed]), "nothing unasked"),
            (vec![granted(held), granted(held)], found(1, &[confirmed]), "one answer"),
            (vec![granted(held), granted(other)], found(1, &[confirmed]), "one answer"),
            (vec![granted(held)], found(0, &[early]), "never early"),
        ] {
            let problems = problems(operations, &end);
            assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:?}");
        }
    }
}
