//! One product and its reservations as the search knows them, with an undo for every change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use doorbuster_protocol::command::{Cancellation, Command, ProductSpec};
use doorbuster_protocol::reply::{ProductView, ReservationState, ReservationView, SaleState};
use doorbuster_protocol::types::{ReservationId, Timestamp, UserId};

use ReservationState::{Confirmed, Expired};

/// What is on sale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sale<'a> {
    pub spec: &'a ProductSpec,
    pub stock: i64,
    pub state: SaleState,
}

/// A reservation. Times that nobody was told are guesses: of the deadline, the earliest that it can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Made {
    pub view: ReservationView,
    /// The TTL of its reserve; none if a late payment made it.
    pub ttl: Option<u64>,
    /// Deadline of the hold, below a payment's pin.
    pub hold: Option<u64>,
    pub knows_created: bool,
    pub knows_expires: bool,
    pub knows_changed: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Object<'a> {
    pub sale: Option<Sale<'a>>,
    pub made: BTreeMap<ReservationId, Made>,
    pub held: i64,
    pub sold: i64,
    users: BTreeMap<UserId, i64>,
    /// Deadlines of live reservations.
    pub live: BTreeSet<(Timestamp, ReservationId)>,
    pub done: BTreeMap<u128, &'a Command>,
    hash: u64,
    undo: Vec<Undo<'a>>,
}

enum Undo<'a> {
    Sale(Option<Sale<'a>>),
    Made(ReservationId, Option<Made>),
    Done(u128),
}

impl<'a> Object<'a> {
    /// How far the changes have come.
    pub(super) fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Undoes all changes since the mark.
    pub(super) fn back_to(&mut self, mark: usize) {
        while self.undo.len() > mark {
            match self.undo.pop() {
                Some(Undo::Sale(sale)) => self.replace_sale(sale),
                Some(Undo::Made(id, made)) => self.replace_made(id, made),
                Some(Undo::Done(id)) => {
                    self.done.remove(&id);
                    self.hash = self.hash.wrapping_sub(mixed(&[7, low(id), high(id)]));
                }
                None => return,
            }
        }
    }

    /// A digest of everything.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn set_sale(&mut self, sale: Sale<'a>) {
        self.undo.push(Undo::Sale(self.sale));
        self.replace_sale(Some(sale));
    }

    pub(super) fn put(&mut self, made: Made) {
        let id = made.view.reservation;
        if self.made.get(&id) != Some(&made) {
            self.undo.push(Undo::Made(id, self.made.get(&id).copied()));
            self.replace_made(id, Some(made));
        }
    }

    pub(super) fn note_done(&mut self, id: u128, command: &'a Command) {
        self.undo.push(Undo::Done(id));
        self.done.insert(id, command);
        self.hash = self.hash.wrapping_add(mixed(&[7, low(id), high(id)]));
    }

    /// A live reservation expires, at a time that only an answer can tell.
    pub(super) fn expire(&mut self, id: ReservationId, at: Option<u64>) {
        if let Some(made) = self.made.get(&id) {
            let mut made = *made;
            made.view.state = Expired;
            made.knows_changed = at.is_some();
            made.view.changed_at = Timestamp(at.unwrap_or(0));
            self.put(made);
        }
    }

    pub(super) fn available(&self) -> i64 {
        self.sale.map_or(0, |sale| sale.stock) - self.held - self.sold
    }

    pub(super) fn units_of(&self, user: UserId) -> i64 {
        self.users.get(&user).copied().unwrap_or(0)
    }

    /// Whether the product may be told like this.
    pub(super) fn looks_like(&self, view: &ProductView) -> bool {
        let Some(sale) = self.sale else { return false };
        let numbers = (i64::from(view.available.0), i64::from(view.held.0), i64::from(view.sold.0));
        let spec = ProductSpec { stock: sale.spec.stock, ..view.spec.clone() };
        i64::from(view.spec.stock.0) == sale.stock
            && spec == *sale.spec
            && view.sale == sale.state
            && numbers == (self.available(), self.held, self.sold)
            && self.may_expire_next(view.next_expiry)
    }

    /// Whether this may be the earliest deadline of all that live; 0 if none does.
    pub(super) fn may_expire_next(&self, next: Timestamp) -> bool {
        let known = self.live.iter().find(|(_, id)| self.made.get(id).is_some_and(|made| made.knows_expires));
        let of_unknown = || {
            let before = self.live.iter().take_while(|(earliest, _)| *earliest <= next);
            before.into_iter().any(|(_, id)| self.made.get(id).is_some_and(|made| !made.knows_expires))
        };
        match known {
            None if self.live.is_empty() => next.0 == 0,
            None => of_unknown(),
            Some((first, _)) => *first == next || (next < *first && of_unknown()),
        }
    }

    fn replace_sale(&mut self, sale: Option<Sale<'a>>) {
        self.hash = self.hash.wrapping_sub(self.sale.map_or(0, |sale| hash_of_sale(&sale)));
        self.hash = self.hash.wrapping_add(sale.map_or(0, |sale| hash_of_sale(&sale)));
        self.sale = sale;
    }

    fn replace_made(&mut self, id: ReservationId, made: Option<Made>) {
        if let Some(old) = self.made.remove(&id) {
            self.count(&old, -1);
            self.live.remove(&(old.view.expires_at, id));
        }
        if let Some(new) = made {
            self.count(&new, 1);
            if new.view.state.is_live() {
                self.live.insert((new.view.expires_at, id));
            }
            self.made.insert(id, new);
        }
    }

    fn count(&mut self, made: &Made, sign: i64) {
        let units = sign * i64::from(made.view.quantity.0);
        let hash = hash_of(made);
        self.hash = if sign > 0 { self.hash.wrapping_add(hash) } else { self.hash.wrapping_sub(hash) };
        match made.view.state {
            state if state.is_live() => self.held += units,
            Confirmed => self.sold += units,
            _ => return,
        }
        *self.users.entry(made.view.user).or_insert(0) += units;
    }
}

impl Made {
    /// Whether the reservation may be told like this; what was not known before is known then.
    pub(super) fn told(mut self, view: &ReservationView) -> Option<Self> {
        let own = &mut self.view;
        if !self.knows_created {
            (own.created_at, own.first_expires_at) = (view.created_at, view.first_expires_at);
        }
        if !self.knows_expires && view.expires_at >= own.expires_at {
            own.expires_at = view.expires_at;
        }
        if !self.knows_changed {
            own.changed_at = view.changed_at;
        }
        (self.knows_created, self.knows_expires, self.knows_changed) = (true, true, true);
        (self.view == *view).then_some(self)
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (available, next) = (self.available(), self.live.first());
        write!(f, "{available} available, {} held, {} sold, next deadline {next:?}", self.held, self.sold)
    }
}

fn hash_of_sale(sale: &Sale<'_>) -> u64 {
    mixed(&[3, sale.stock.cast_unsigned(), sale.state as u64])
}

fn hash_of(made: &Made) -> u64 {
    let view = &made.view;
    let known = u64::from(made.knows_created) | u64::from(made.knows_expires) << 1 | u64::from(made.knows_changed) << 2;
    let times = [view.created_at.0, view.first_expires_at.0, view.expires_at.0, view.changed_at.0];
    let cancelled = u64::from(view.cancelled.map_or(0, Cancellation::number));
    let flags = cancelled << 24 | u64::from(view.late) << 16;
    let small = u64::from(view.payment_attempts) << 32 | flags | view.state as u64;
    let id = view.reservation.0;
    mixed(&[5, low(id), high(id), times[0], times[1], times[2], times[3], small, known, made.hold.unwrap_or(1)])
}

#[allow(clippy::cast_possible_truncation)] // both halves are taken
fn low(wide: u128) -> u64 {
    wide as u64
}

#[allow(clippy::cast_possible_truncation)] // both halves are taken
fn high(wide: u128) -> u64 {
    (wide >> 64) as u64
}

/// A digest of some words (the finalizer of splitmix64, word by word).
pub(super) fn mixed(words: &[u64]) -> u64 {
    words.iter().fold(0, |hash, word| {
        let mut z = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
