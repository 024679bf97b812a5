//! Looking ahead: what any answer of the history tells of a reservation.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster_protocol::command::Command;
use doorbuster_protocol::reply::{Reply, ReservationState, ReservationView};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{ProductId, ReservationId};

use super::asked::{Ask, Asked};
use crate::history::{Heard, History};

/// What is known of a reservation from all answers together.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// It was made like this; state and what changes with it are of no meaning here.
    pub made: Option<ReservationView>,
    /// An answer says that it was made now.
    pub making_was_told: bool,
    /// An answer says that it entered this state now.
    pub entering_was_told: BTreeSet<ReservationState>,
    /// It was confirmed in time, or released: then it did not expire.
    pub never_expired: bool,
    /// It expired at this time.
    pub expired_at: Option<u64>,
    /// It was in this state since this time.
    pub since: BTreeMap<ReservationState, u64>,
}

/// By product and reservation.
pub(super) type AllFacts = BTreeMap<(ProductId, ReservationId), Facts>;

/// Reads them off the answers.
pub(super) fn gather(history: &History) -> AllFacts {
    let mut all = AllFacts::new();
    for operation in &history.operations {
        match &operation.heard {
            Heard::Reply(Reply::Reservation(reply)) => {
                let facts = note(&mut all, &reply.reservation);
                let view = &reply.reservation;
                if matches!(operation.body, RequestBody::Command(_)) && !reply.replayed {
                    facts.making_was_told |= view.created_at == reply.time;
                    if view.changed_at == reply.time {
                        facts.entering_was_told.insert(view.state);
                    }
                }
            }
            Heard::Reply(Reply::Reservations(page)) => page.iter().for_each(|view| {
                note(&mut all, view);
            }),
            _ => {}
        }
    }
    all
}

fn note<'a>(all: &'a mut AllFacts, view: &ReservationView) -> &'a mut Facts {
    let facts = all.entry((view.product, view.reservation)).or_default();
    facts.made.get_or_insert(*view);
    facts.since.entry(view.state).or_insert(view.changed_at.0);
    match view.state {
        ReservationState::Confirmed if !view.late => facts.never_expired = true,
        ReservationState::Released => facts.never_expired = true,
        ReservationState::Expired => facts.expired_at = Some(view.changed_at.0),
        _ => {}
    }
    facts
}

/// Ids of reservations and operations that are used with more than one product.
pub(super) fn shared_ids(history: &History) -> BTreeSet<u128> {
    let mut products: BTreeMap<u128, ProductId> = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for operation in &history.operations {
        let RequestBody::Command(command) = &operation.body else { continue };
        let (Some(product), (_, id)) = (command.product(), super::super::ledger::key(command)) else { continue };
        if *products.entry(id).or_insert(product) != product {
            shared.insert(id);
        }
    }
    shared
}

/// What became of an operation that was given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// It had no effect.
    None,
    /// It took effect with this stamp.
    At(u64),
    /// Nobody knows.
    Open,
}

/// The fates of a product's operations, those that were given up: decided where just one of them can have done what
/// later answers show.
pub(super) fn fates(asks: &[Ask<'_>], facts: &AllFacts) -> Vec<Fate> {
    let mut fates = vec![Fate::Open; asks.len()];
    let mut doers: BTreeMap<(ReservationId, Option<ReservationState>), Vec<usize>> = BTreeMap::new();
    for (at, ask) in asks.iter().enumerate().filter(|(_, ask)| ask.is_given_up()) {
        let Some(id) = ask.reservation() else { continue };
        for effect in effects(ask) {
            doers.entry((id, *effect)).or_default().push(at);
        }
    }
    for ((id, effect), doers) in doers {
        let Some(facts) = product_of(asks).and_then(|product| facts.get(&(product, id))) else { continue };
        let (told, stamp) = match effect {
            None => (facts.making_was_told, facts.made.map(|made| made.created_at.0)),
            Some(state) => (facts.entering_was_told.contains(&state), facts.since.get(&state).copied()),
        };
        let (Some(stamp), Some(first)) = (stamp, doers.first()) else { continue };
        let alike = doers.iter().all(|at| same(&asks[*at], &asks[*first]) && effects(&asks[*at]).len() == 1);
        if !alike {
            continue;
        }
        doers.iter().for_each(|at| fates[*at] = Fate::None);
        if !told {
            // Whoever of them had been called by then; the first, for they are all the same.
            fates[*first] = Fate::At(stamp);
        }
    }
    fates
}

/// The states that a given-up operation may have brought about, the making of the reservation being none.
fn effects(ask: &Ask<'_>) -> &'static [Option<ReservationState>] {
    use ReservationState::{Confirmed, RefundDue, Refunded, Released};
    let Asked::Command(command) = ask.asked else { return &[] };
    match command {
        Command::Reserve(_) => &[None],
        Command::Confirm(_) => &[Some(Confirmed)],
        Command::Release(_) => &[Some(Released)],
        Command::RefundDone(_) => &[Some(Refunded)],
        Command::LatePayment(_) => &[None, Some(Confirmed), Some(RefundDue)],
        _ => &[],
    }
}

fn same(one: &Ask<'_>, other: &Ask<'_>) -> bool {
    match (one.asked, other.asked) {
        (Asked::Command(one), Asked::Command(other)) => one == other,
        _ => false,
    }
}

fn product_of(asks: &[Ask<'_>]) -> Option<ProductId> {
    asks.iter().find_map(|ask| match ask.asked {
        Asked::Command(command) => command.product(),
        _ => None,
    })
}
