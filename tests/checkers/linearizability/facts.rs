//! Looking ahead: what any answer of the history tells of a reservation.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster_protocol::reply::{Reply, ReservationState, ReservationView};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{ProductId, ReservationId};

use crate::history::{Heard, History};

/// What is known of a reservation from all answers together.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// It was made like this; state and what changes with it are of no meaning here.
    pub made: Option<ReservationView>,
    /// An answer says that it was made now.
    pub making_was_told: bool,
    /// Changes that an answer says were made just then.
    pub told: BTreeSet<Change>,
    /// It was confirmed in time, or released: then it did not expire.
    pub never_expired: bool,
    /// It expired at this time.
    pub expired_at: Option<u64>,
    /// It was confirmed by a late payment after it had been over.
    pub confirmed_late: bool,
    /// A payment was begun before it was sold, if it was.
    pub payment_began: bool,
    /// It was sold, and nobody had told of a payment by then.
    pub sold_unpaid: bool,
    /// Its sale was cancelled.
    pub cancelled: bool,
    /// These changes were made, at these times.
    pub made_at: BTreeMap<Change, u64>,
}

/// What changed a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// The payment of this number began.
    Began(u16),
    /// It failed.
    Failed(u16),
    /// It came to this state in another way.
    Became(ReservationState),
}

impl Change {
    /// The last one before it looked like this; none if it is as it was made.
    fn last_of(view: &ReservationView) -> Option<Self> {
        match (view.state, view.payment_attempts) {
            (ReservationState::Held, 0) => None,
            (ReservationState::Held, attempt) => Some(Self::Failed(attempt)),
            (ReservationState::Paying, attempt) => Some(Self::Began(attempt)),
            (state, _) => Some(Self::Became(state)),
        }
    }
}

impl Facts {
    /// Whether its money came too late, and went back: then it was never sold.
    pub(super) fn never_sold(&self) -> bool {
        let was = |state| self.made_at.contains_key(&Change::Became(state));
        !self.cancelled && (was(ReservationState::RefundDue) || was(ReservationState::Refunded))
    }
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
                        facts.told.extend(Change::last_of(view));
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
    if let Some(change) = Change::last_of(view) {
        facts.made_at.entry(change).or_insert(view.changed_at.0);
    }
    facts.payment_began |= view.state.is_live() && view.payment_attempts > 0;
    facts.sold_unpaid |= view.state == ReservationState::Confirmed && view.payment_attempts == 0 && !view.late;
    facts.cancelled |= view.cancelled.is_some();
    match view.state {
        ReservationState::Confirmed if view.late => facts.confirmed_late = true,
        ReservationState::Confirmed | ReservationState::Released => facts.never_expired = true,
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
