//! What somebody must still bring to its end: payments whose end nobody has told, and refunds that are due. Follows from
//! the reservations, so it is no part of digest or snapshot, and is built anew when one is read.

use std::collections::BTreeSet;
use std::ops::Bound;

use doorbuster_protocol::query::{Changed, Unsettled as Kind};

use crate::record::Reservation;

/// See the module. In the order in which they changed last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsettled {
    payments: BTreeSet<Changed>,
    refunds: BTreeSet<Changed>,
}

impl Unsettled {
    /// A reservation is there.
    pub(crate) fn add(&mut self, reservation: &Reservation) {
        let Some(kind) = reservation.unsettled() else { return };
        let is_new = self.of_mut(kind).insert(place(reservation));
        assert!(is_new, "reservation {} was unsettled already", reservation.id);
    }

    /// A reservation is no more what it was.
    pub(crate) fn remove(&mut self, reservation: &Reservation) {
        let Some(kind) = reservation.unsettled() else { return };
        let was_there = self.of_mut(kind).remove(&place(reservation));
        assert!(was_there, "reservation {} was not known to be unsettled", reservation.id);
    }

    /// How many there are.
    pub(crate) fn len(&self, kind: Kind) -> usize {
        self.of(kind).len()
    }

    /// Those behind this one.
    pub(crate) fn behind(&self, kind: Kind, after: Changed) -> impl Iterator<Item = &Changed> {
        self.of(kind).range((Bound::Excluded(after), Bound::Unbounded))
    }

    fn of(&self, kind: Kind) -> &BTreeSet<Changed> {
        match kind {
            Kind::Payments => &self.payments,
            Kind::Refunds => &self.refunds,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeSet<Changed> {
        match kind {
            Kind::Payments => &mut self.payments,
            Kind::Refunds => &mut self.refunds,
        }
    }
}

fn place(reservation: &Reservation) -> Changed {
    Changed { at: reservation.changed, reservation: reservation.id }
}
