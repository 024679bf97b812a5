//! Payments. A payment pins its reservation, so that it cannot expire under a charge in flight; the pin
//! has an end. Money that arrives after the reservation is gone buys units that are left, or goes back.
//!
//! Deadlines stay bounded however often payments begin and fail: a pin ends no later than the hold's
//! longest life plus one payment cap, and the grace after a failure no later than one grace beyond that.

use doorbuster_protocol::command::{LatePayment, LatePaymentPolicy, Payment, Target};
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::MAX_RESERVATION_QUANTITY;
use doorbuster_protocol::reply::{FeedKind, Reply, ReservationState};
use doorbuster_protocol::types::{Millis, Timestamp};

use super::{Inventory, check_room, why_not};
use crate::record::Reservation;

impl Inventory {
    pub(super) fn begin_payment(&mut self, payment: &Payment) -> Result<Reply, Refusal> {
        let (slot, reservation) = self.locate_now(&payment.target)?;
        let is_next = u32::from(payment.attempt) == u32::from(reservation.attempts) + 1;
        match reservation.state {
            ReservationState::Held if is_next => {
                self.pin(slot, &reservation, payment.attempt);
                Ok(self.reservation_reply(slot, false))
            }
            ReservationState::Paying if payment.attempt == reservation.attempts => {
                Ok(self.reservation_reply(slot, true))
            }
            ReservationState::Paying if !is_next => {
                Err(Refusal::PaymentNotInProgress { attempts: reservation.attempts })
            }
            _ => Err(why_not(&reservation)),
        }
    }

    pub(super) fn payment_failed(&mut self, payment: &Payment) -> Result<Reply, Refusal> {
        let (slot, reservation) = self.locate_now(&payment.target)?;
        let is_last = payment.attempt == reservation.attempts && payment.attempt > 0;
        match reservation.state {
            ReservationState::Paying if is_last => {
                self.unpin(slot, &reservation);
                Ok(self.reservation_reply(slot, false))
            }
            ReservationState::Held if is_last => Ok(self.reservation_reply(slot, true)),
            ReservationState::Held | ReservationState::Paying => {
                Err(Refusal::PaymentNotInProgress { attempts: reservation.attempts })
            }
            ReservationState::Expired if is_last => {
                self.settle(slot, &reservation);
                Err(why_not(&reservation))
            }
            _ => Err(why_not(&reservation)),
        }
    }

    /// The payment that was under way when a reservation expired took no money. The refusal is what it would be
    /// without this, for nothing that a shopper sees changes; but nobody has to ask the provider any more.
    fn settle(&mut self, slot: u32, expired: &Reservation) {
        if !expired.abandoned {
            return;
        }
        let settled = Reservation { abandoned: false, ..*expired };
        self.replace(slot, &settled);
        if settled.timer(self.limits.retention).is_some_and(|over| over <= self.time) {
            // It would have been forgotten by now.
            self.forget(slot, &settled);
        }
    }

    /// The limit per user does not count here: the money has been taken.
    pub(super) fn late_payment(&mut self, late: &LatePayment) -> Result<Reply, Refusal> {
        let place = self.place_of(late.target.product)?;
        let quantity = late.quantity.get();
        if late.target.user.get() == 0 || late.target.reservation.get() == 0 {
            return Err(Refusal::InvalidArgument(Argument::Id));
        }
        if quantity == 0 || quantity > MAX_RESERVATION_QUANTITY {
            return Err(Refusal::InvalidArgument(Argument::Quantity));
        }
        if self.reservations.find(late.target.reservation).is_none() {
            return self.pay_for_forgotten(place, late);
        }
        let (slot, reservation) = self.locate_now(&late.target)?;
        if quantity != reservation.quantity {
            return Err(Refusal::ConflictingRetry);
        }
        match reservation.state {
            ReservationState::Held | ReservationState::Paying => self.sell(slot, &reservation.with_payment()),
            ReservationState::Released | ReservationState::Expired => {
                let (state, kind) = self.outcome_of_late_payment(place, quantity);
                let taken = Reservation { late: true, abandoned: false, ..reservation };
                let entered = self.enter(slot, &taken, state);
                self.tell(kind, &entered);
            }
            // Nobody wants it any more: its money goes back, whatever the policy.
            ReservationState::Cancelled => {
                let paid = Reservation { late: true, ..reservation };
                let due = self.enter(slot, &paid, ReservationState::RefundDue);
                self.tell(FeedKind::RefundDue, &due);
            }
            ReservationState::Confirmed | ReservationState::RefundDue | ReservationState::Refunded => {
                return Ok(self.reservation_reply(slot, true));
            }
        }
        Ok(self.reservation_reply(slot, false))
    }

    pub(super) fn refund_done(&mut self, target: &Target) -> Result<Reply, Refusal> {
        let (slot, reservation) = self.locate_now(target)?;
        match reservation.state {
            ReservationState::RefundDue => {
                let refunded = self.enter(slot, &reservation, ReservationState::Refunded);
                self.tell(FeedKind::Refunded, &refunded);
                Ok(self.reservation_reply(slot, false))
            }
            ReservationState::Refunded => Ok(self.reservation_reply(slot, true)),
            _ => Err(Refusal::NoRefundDue),
        }
    }

    fn pin(&mut self, slot: u32, held: &Reservation, attempt: u16) {
        let product = self.product_of(held);
        let cap = product.spec.payment_cap;
        let longest = product.latest_deadline(held.created).plus(cap);
        let pinned = self.time.plus(cap).min(longest);
        let expires = held.expires.max(pinned);
        let paying = Reservation { attempts: attempt, expires, ..*held };
        self.enter(slot, &paying, ReservationState::Paying);
    }

    fn unpin(&mut self, slot: u32, paying: &Reservation) {
        let product = self.product_of(paying);
        let latest = product.latest_deadline(paying.created);
        let was_pinned_past_it = paying.expires > latest;
        let bound =
            if was_pinned_past_it { latest.plus(product.spec.payment_cap).plus(product.grace()) } else { latest };
        let hold_until = paying.hold_until.max(self.time.plus(product.grace()).min(bound));
        let held = Reservation { hold_until, expires: hold_until, ..*paying };
        self.enter(slot, &held, ReservationState::Held);
    }

    /// Somebody paid for a reservation that has left its retention: it gets a record again.
    fn pay_for_forgotten(&mut self, place: u32, late: &LatePayment) -> Result<Reply, Refusal> {
        check_room(self.reservations.len(), self.limits.reservations)?;
        let (state, kind) = self.outcome_of_late_payment(place, late.quantity.get());
        let now: Timestamp = self.time;
        let reservation = Reservation {
            id: late.target.reservation,
            user: late.target.user,
            product: place,
            quantity: late.quantity.get(),
            state,
            late: true,
            abandoned: false,
            cancelled: None,
            attempts: 0,
            created: now,
            first_ttl: Millis(0),
            hold_until: now,
            expires: now,
            changed: now,
        };
        let slot = self.add(&reservation);
        self.tell(kind, &reservation);
        Ok(self.reservation_reply(slot, false))
    }

    fn outcome_of_late_payment(&self, place: u32, quantity: u32) -> (ReservationState, FeedKind) {
        let product = self.product_at(place);
        let retakes = product.spec.late_payment == LatePaymentPolicy::RetakeOrRefund;
        if retakes && product.units.available >= quantity {
            (ReservationState::Confirmed, FeedKind::Confirmed)
        } else {
            (ReservationState::RefundDue, FeedKind::RefundDue)
        }
    }
}
