//! What an operation does to the state that the search is in: one that was answered, if the answer is true of it; one
//! that was given up, as far as can be known.

use std::collections::BTreeSet;

use doorbuster_protocol::command::{Command, LatePaymentPolicy, Reserve, SaleAction};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{ReservationState, ReservationView, SaleState};
use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, Timestamp, UserId};

use ReservationState::{Cancelled, Confirmed, Expired, Held, Paying, RefundDue, Refunded, Released};

use super::asked::{Ask, Asked, Told};
use super::facts::Facts;
use super::object::{Made, Object, Sale};
use super::refusal::{Stance, is_overdue, is_same};

/// A hold lasts at most so long after a failed payment.
const GRACE: u64 = 60_000;

impl<'a> Object<'a> {
    /// Takes an answered operation, if its answer is true now. Undo whatever was done if it is not.
    pub(super) fn answer(&mut self, ask: &Ask<'a>, shared: &BTreeSet<u128>) -> bool {
        match (ask.asked, ask.told) {
            (Asked::Product, Told::Product { view, .. }) => self.looks_like(view),
            (Asked::Product, Told::Refused(refusal)) => self.sale.is_none() && *refusal == Refusal::UnknownProduct,
            (Asked::Reservation(id, user), Told::Reservation { view, .. }) => {
                self.owned(id, user).is_some_and(|made| self.learn(made, view))
            }
            (Asked::Reservation(id, user), Told::Refused(refusal)) => match self.sale {
                None => *refusal == Refusal::UnknownProduct,
                Some(_) => *refusal == Refusal::UnknownReservation && self.owned(id, user).is_none(),
            },
            (Asked::Command(command), Told::Refused(refusal)) => self.refuses(ask, command, *refusal, shared),
            (Asked::Command(Command::Reserve(reserve)), Told::Reservation { replayed, time, view }) => {
                self.reserve(reserve, replayed, time, view)
            }
            (Asked::Command(command), Told::Reservation { replayed, time, view }) => {
                self.change(ask, command, replayed, time, view)
            }
            (Asked::Command(command), Told::Product { replayed, view, .. }) => {
                let stance = self.stance(command);
                let done = match stance {
                    Stance::Replays => replayed,
                    Stance::Accepts => !replayed && self.change_sale(command),
                    Stance::Refuses(_) => false,
                };
                done && self.looks_like(view)
            }
            _ => false,
        }
    }

    /// Takes an operation that was given up; false if it has no effect now.
    pub(super) fn guess(&mut self, ask: &Ask<'a>, stamp: Option<u64>, facts: Option<&Facts>) -> bool {
        let Asked::Command(command) = ask.asked else { return false };
        if let Command::Reserve(reserve) = command {
            return !self.made.contains_key(&reserve.reservation)
                && self.grants(reserve)
                && self.make_up(ask, reserve, facts);
        }
        if self.stance(command) != Stance::Accepts {
            return false;
        }
        let Some(id) = ask.reservation() else { return self.change_sale(command) };
        let made = match (self.made.get(&id), command) {
            (Some(made), _) => *made,
            (None, Command::LatePayment(late)) => {
                let view = blank(late.target.product, id, late.target.user, late.quantity, ask.from);
                Made { view, ttl: None, hold: None, knows_created: false, knows_expires: false, knows_changed: false }
            }
            (None, _) => return false,
        };
        if is_overdue(&made, stamp.unwrap_or(ask.from)) {
            return false;
        }
        let acted = self.acted(made, command, stamp);
        if acted.view.state == Confirmed && facts.is_some_and(Facts::never_sold) {
            return false;
        }
        self.done_if_operation(command);
        self.put(acted);
        self.write_off(command, made.view.quantity);
        true
    }

    fn owned(&self, id: ReservationId, user: UserId) -> Option<Made> {
        let found = self.made.get(&id).filter(|made| user.0 == 0 || made.view.user == user);
        found.copied()
    }

    fn learn(&mut self, made: Made, view: &ReservationView) -> bool {
        let told = made.told(view);
        told.map(|told| self.put(told)).is_some()
    }

    fn reserve(&mut self, reserve: &Reserve, replayed: bool, time: u64, view: &ReservationView) -> bool {
        let Some(sale) = self.sale else { return false };
        if let Some(made) = self.made.get(&reserve.reservation).copied() {
            return replayed && is_same(&sale, &made, reserve) && !is_overdue(&made, time) && self.learn(made, view);
        }
        let (opens, closes) = (sale.spec.opens_at.0, sale.spec.closes_at.0);
        let open = time >= opens && (closes == 0 || time < closes);
        if replayed || !open || !self.grants(reserve) {
            return false;
        }
        let made = made_by(reserve, &sale, time);
        self.put(made);
        made.view == *view
    }

    fn make_up(&mut self, ask: &Ask<'a>, reserve: &Reserve, facts: Option<&Facts>) -> bool {
        let Some(sale) = self.sale else { return false };
        let made = match facts.and_then(|facts| facts.made) {
            Some(view) => made_by(reserve, &sale, view.created_at.0),
            None => {
                let made = made_by(reserve, &sale, ask.from);
                Made { hold: None, knows_created: false, knows_expires: false, knows_changed: false, ..made }
            }
        };
        self.put(made);
        true
    }

    fn change(
        &mut self,
        ask: &Ask<'a>,
        command: &'a Command,
        replayed: bool,
        time: u64,
        view: &ReservationView,
    ) -> bool {
        let stance = self.stance(command);
        let made = ask.reservation().and_then(|id| self.made.get(&id)).copied();
        if made.is_some_and(|made| is_overdue(&made, time)) {
            return false;
        }
        match (stance, made, command) {
            (Stance::Replays, Some(made), _) => replayed && self.learn(made, view),
            (Stance::Accepts, Some(made), _) if !replayed => {
                self.done_if_operation(command);
                let acted = self.acted(made, command, Some(time));
                self.write_off(command, made.view.quantity);
                self.learn(acted, view)
            }
            (Stance::Accepts, None, Command::LatePayment(late)) if !replayed => {
                let at = Timestamp(time);
                let view_then =
                    blank(late.target.product, late.target.reservation, late.target.user, late.quantity, time);
                let made = Made {
                    view: ReservationView { late: true, expires_at: at, ..view_then },
                    ttl: None,
                    hold: Some(time),
                    knows_created: true,
                    knows_expires: true,
                    knows_changed: true,
                };
                let acted = self.acted(made, command, Some(time));
                self.learn(acted, view)
            }
            _ => false,
        }
    }

    fn done_if_operation(&mut self, command: &'a Command) {
        if let Command::Extend(extend) = command {
            self.note_done(extend.operation.0, command);
        }
    }

    fn change_sale(&mut self, command: &'a Command) -> bool {
        if let Command::CreateProduct(spec) = command {
            let stock = i64::from(spec.stock.0);
            self.set_sale(Sale { spec, stock, state: SaleState::Active });
            return true;
        }
        let Some(sale) = self.sale else { return false };
        let (id, changed) = match command {
            Command::AdjustStock(adjust) => (adjust.operation.0, Sale { stock: sale.stock + adjust.delta, ..sale }),
            Command::SetStock(set) => (set.operation.0, Sale { stock: i64::from(set.stock.0), ..sale }),
            Command::ChangeSale(change) => {
                let state = match change.action {
                    SaleAction::Pause => SaleState::Paused,
                    SaleAction::Resume => SaleState::Active,
                    SaleAction::Close => SaleState::Closed,
                };
                (change.operation.0, Sale { state, ..sale })
            }
            _ => return false,
        };
        self.note_done(id, command);
        self.set_sale(changed);
        true
    }

    /// Units of a sale that is cancelled and do not go back are there no more.
    fn write_off(&mut self, command: &Command, quantity: Quantity) {
        if let (Command::Cancel(cancel), Some(sale)) = (command, self.sale)
            && !cancel.how.return_stock
        {
            self.set_sale(Sale { stock: sale.stock - i64::from(quantity.0), ..sale });
        }
    }

    /// What becomes of a reservation that accepts a command, at a stamp that may not be known.
    fn acted(&self, made: Made, command: &Command, stamp: Option<u64>) -> Made {
        let mut next = made;
        if !matches!(command, Command::Extend(_)) {
            next.knows_changed = stamp.is_some();
            next.view.changed_at = Timestamp(stamp.unwrap_or(0));
        }
        next.view.state = match command {
            Command::BeginPayment(payment) => {
                next.view.payment_attempts = payment.attempt;
                self.pin(&mut next, stamp);
                Paying
            }
            Command::PaymentFailed(_) => {
                self.unpin(&mut next, stamp);
                Held
            }
            Command::Extend(extend) => {
                next.view.expires_at = made.view.expires_at.plus(extend.by);
                next.hold = made.knows_expires.then_some(next.view.expires_at.0);
                Held
            }
            Command::Confirm(_) => Confirmed,
            Command::Release(_) => Released,
            Command::RefundDone(_) => Refunded,
            Command::Cancel(cancel) => {
                next.view.cancelled = Some(cancel.how);
                let paid = made.view.late || made.view.payment_attempts > 0;
                if paid { RefundDue } else { Cancelled }
            }
            Command::LatePayment(_) if made.view.state == Cancelled => {
                next.view.late = true;
                RefundDue
            }
            Command::LatePayment(_) if made.view.state.is_live() => {
                // Money is told of: one payment was begun, wherever.
                if !made.view.late {
                    next.view.payment_attempts = made.view.payment_attempts.max(1);
                }
                Confirmed
            }
            Command::LatePayment(late) if matches!(made.view.state, Released | Expired) => {
                next.view.late = true;
                let policy = self.sale.map(|sale| sale.spec.late_payment);
                let honoured =
                    policy == Some(LatePaymentPolicy::RetakeOrRefund) && self.available() >= i64::from(late.quantity.0);
                if honoured { Confirmed } else { RefundDue }
            }
            _ => Confirmed,
        };
        next
    }

    fn pin(&self, made: &mut Made, stamp: Option<u64>) {
        let Some(sale) = self.sale else { return };
        let last_end = made.view.created_at.0 + sale.spec.max_life.0 + sale.spec.payment_cap.0;
        match stamp {
            Some(stamp) if made.knows_created && made.knows_expires => {
                let pin = (stamp + sale.spec.payment_cap.0).min(last_end);
                made.view.expires_at = made.view.expires_at.max(Timestamp(pin));
            }
            _ => made.knows_expires = false,
        }
    }

    fn unpin(&self, made: &mut Made, stamp: Option<u64>) {
        let Some(sale) = self.sale else { return };
        let grace = sale.spec.ttl.0.min(GRACE);
        let end_of_life = made.view.created_at.0 + sale.spec.max_life.0;
        match (stamp, made.hold) {
            (Some(stamp), Some(hold)) if made.knows_created && made.knows_expires => {
                let past_it = made.view.expires_at.0 > end_of_life;
                let bound = if past_it { end_of_life + sale.spec.payment_cap.0 + grace } else { end_of_life };
                let until = hold.max(bound.min(stamp + grace));
                made.hold = Some(until);
                made.view.expires_at = Timestamp(until);
            }
            _ => {
                made.view.expires_at = Timestamp(made.hold.unwrap_or(made.view.first_expires_at.0));
                made.hold = None;
                made.knows_expires = false;
            }
        }
    }
}

fn made_by(reserve: &Reserve, sale: &Sale<'_>, time: u64) -> Made {
    let ttl = if reserve.ttl == Millis(0) { sale.spec.ttl.0 } else { reserve.ttl.0 };
    let expires = Timestamp(time + ttl);
    let view = blank(reserve.product, reserve.reservation, reserve.user, reserve.quantity, time);
    Made {
        view: ReservationView { state: Held, first_expires_at: expires, expires_at: expires, ..view },
        ttl: Some(ttl),
        hold: Some(expires.0),
        knows_created: true,
        knows_expires: true,
        knows_changed: true,
    }
}

/// A reservation as a late payment makes it.
fn blank(product: ProductId, id: ReservationId, user: UserId, quantity: Quantity, time: u64) -> ReservationView {
    let at = Timestamp(time);
    ReservationView {
        product,
        reservation: id,
        user,
        quantity,
        state: Released,
        payment_attempts: 0,
        late: false,
        cancelled: None,
        created_at: at,
        first_expires_at: at,
        expires_at: at,
        changed_at: at,
    }
}
