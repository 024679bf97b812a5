//! The naive inventory's numbers, kept so that a log of thousands of entries is replayed in moments. All of them can be
//! counted afresh from the records, and are: see `Naive::adds_up`.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster_protocol::reply::{ReservationState, ReservationView};
use doorbuster_protocol::types::{ProductId, ReservationId, Timestamp, UserId};

use super::Reservation;
use ReservationState::{Cancelled, Confirmed, Expired, Held, Paying, RefundDue, Refunded, Released};

/// See the module. Numbers of zero are not kept, so that two tallies of the same records are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tallies {
    held: BTreeMap<ProductId, i64>,
    sold: BTreeMap<ProductId, i64>,
    users: BTreeMap<(ProductId, UserId), i64>,
    /// Deadlines of live reservations, by product and over all.
    of_product: BTreeSet<(ProductId, Timestamp, ReservationId)>,
    deadlines: BTreeSet<(Timestamp, ReservationId)>,
    /// Those that may be forgotten, by when they ended.
    over: BTreeSet<(Timestamp, ReservationId)>,
}

impl Tallies {
    pub(super) fn held(&self, product: ProductId) -> i64 {
        self.held.get(&product).copied().unwrap_or(0)
    }

    pub(super) fn sold(&self, product: ProductId) -> i64 {
        self.sold.get(&product).copied().unwrap_or(0)
    }

    pub(super) fn of_user(&self, product: ProductId, user: UserId) -> i64 {
        self.users.get(&(product, user)).copied().unwrap_or(0)
    }

    pub(super) fn first_deadline(&self, product: ProductId) -> Option<Timestamp> {
        let from = (product, Timestamp(0), ReservationId(0));
        self.of_product.range(from..).next().filter(|first| first.0 == product).map(|first| first.1)
    }

    /// The earliest deadline of all.
    pub(super) fn next(&self) -> Option<(Timestamp, ReservationId)> {
        self.deadlines.first().copied()
    }

    /// Live reservations whose deadline is `now` or before.
    pub(super) fn live_until(&self, now: u64) -> Vec<ReservationId> {
        until(&self.deadlines, now)
    }

    /// Reservations that ended at `then` or before.
    pub(super) fn over_until(&self, then: Option<u64>) -> Vec<ReservationId> {
        then.map_or_else(Vec::new, |then| until(&self.over, then))
    }

    pub(super) fn add(&mut self, made: &Reservation) {
        let view = &made.view;
        self.shift(view, 1);
        if matches!(view.state, Held | Paying) {
            self.of_product.insert((view.product, view.expires_at, view.reservation));
            self.deadlines.insert((view.expires_at, view.reservation));
        }
        if matches!(view.state, Confirmed | Released | Expired | Refunded | Cancelled) && !made.abandoned {
            self.over.insert((view.changed_at, view.reservation));
        }
    }

    pub(super) fn subtract(&mut self, made: &Reservation) {
        let view = &made.view;
        self.shift(view, -1);
        if matches!(view.state, Held | Paying) {
            self.of_product.remove(&(view.product, view.expires_at, view.reservation));
            self.deadlines.remove(&(view.expires_at, view.reservation));
        }
        if matches!(view.state, Confirmed | Released | Expired | Refunded | Cancelled) && !made.abandoned {
            self.over.remove(&(view.changed_at, view.reservation));
        }
    }

    /// Units that are sold, of a reservation that is known no more.
    pub(super) fn add_sold(&mut self, product: ProductId, user: UserId, units: i64) {
        bump(&mut self.sold, product, units);
        bump(&mut self.users, (product, user), units);
    }

    fn shift(&mut self, view: &ReservationView, sign: i64) {
        let units = sign * i64::from(view.quantity.0);
        match view.state {
            Held | Paying => bump(&mut self.held, view.product, units),
            Confirmed => bump(&mut self.sold, view.product, units),
            Released | Expired | RefundDue | Refunded | Cancelled => return,
        }
        bump(&mut self.users, (view.product, view.user), units);
    }
}

fn bump<K: Ord + Copy>(counts: &mut BTreeMap<K, i64>, key: K, by: i64) {
    let count = counts.entry(key).or_insert(0);
    *count += by;
    if *count == 0 {
        counts.remove(&key);
    }
}

fn until(times: &BTreeSet<(Timestamp, ReservationId)>, last: u64) -> Vec<ReservationId> {
    let due = times.iter().take_while(|(at, _)| at.0 <= last);
    due.map(|(_, id)| *id).collect()
}
