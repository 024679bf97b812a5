//! Payments, and what of them is not settled.

use doorbuster_protocol::command::{Cancel, LatePayment, LatePaymentPolicy, Payment, Target};
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::MAX_RESERVATION_QUANTITY;
use doorbuster_protocol::query::Unsettled;
use doorbuster_protocol::reply::{ReservationState, ReservationView};
use doorbuster_protocol::types::Timestamp;

use ReservationState::{Cancelled, Confirmed, Expired, Held, Paying, RefundDue, Refunded, Released};

use super::{Naive, Outcome, Reservation, over};

impl Naive {
    pub(super) fn begin(&mut self, payment: &Payment) -> Outcome {
        let id = payment.target.reservation;
        let Reservation { view, .. } = self.named(&payment.target)?;
        let (attempt, attempts) = (u32::from(payment.attempt), u32::from(view.payment_attempts));
        match view.state {
            Held if attempt == attempts + 1 => {
                let spec = self.products[&view.product].created_as.clone();
                let last_end = view.created_at.0 + spec.max_life.0 + spec.payment_cap.0;
                let pin = (self.now + spec.payment_cap.0).min(last_end);
                self.change(id, |made| {
                    made.view.payment_attempts = payment.attempt;
                    made.view.expires_at = Timestamp(view.expires_at.0.max(pin));
                });
                self.enter(id, Paying);
                self.about(id, false)
            }
            Paying if attempt == attempts => self.about(id, true),
            Paying if attempt == attempts + 1 => Err(Refusal::PaymentInProgress),
            Held | Paying => Err(Refusal::PaymentNotInProgress { attempts: view.payment_attempts }),
            _ => Err(over(&view)),
        }
    }

    pub(super) fn failed(&mut self, payment: &Payment) -> Outcome {
        let id = payment.target.reservation;
        let Reservation { view, hold_until, abandoned, .. } = self.named(&payment.target)?;
        let known = payment.attempt != 0 && payment.attempt == view.payment_attempts;
        match view.state {
            Paying if known => {
                let spec = self.products[&view.product].created_as.clone();
                let grace = spec.ttl.0.min(60_000);
                let end_of_life = view.created_at.0 + spec.max_life.0;
                let pinned_past_it = view.expires_at.0 > end_of_life;
                let bound = if pinned_past_it { end_of_life + spec.payment_cap.0 + grace } else { end_of_life };
                let until = hold_until.max(bound.min(self.now + grace));
                self.change(id, |made| (made.hold_until, made.view.expires_at) = (until, Timestamp(until)));
                self.enter(id, Held);
                self.about(id, false)
            }
            Held if known => self.about(id, true),
            Held | Paying => Err(Refusal::PaymentNotInProgress { attempts: view.payment_attempts }),
            Expired if known && abandoned => {
                self.change(id, |made| made.abandoned = false);
                if view.changed_at.0 + self.limits.retention.0 <= self.now {
                    self.forget(id);
                }
                Err(over(&view))
            }
            _ => Err(over(&view)),
        }
    }

    pub(super) fn late(&mut self, late: &LatePayment) -> Outcome {
        let Target { product, reservation: id, user } = late.target;
        let spec = self.products.get(&product).ok_or(Refusal::UnknownProduct)?.created_as.clone();
        if id.0 == 0 || user.0 == 0 {
            return Err(Refusal::InvalidArgument(Argument::Id));
        }
        if late.quantity.0 == 0 || late.quantity.0 > MAX_RESERVATION_QUANTITY {
            return Err(Refusal::InvalidArgument(Argument::Quantity));
        }
        let known = self.reservations.contains_key(&id);
        if known {
            let Reservation { view, .. } = self.named(&late.target)?;
            if view.quantity != late.quantity {
                return Err(Refusal::ConflictingRetry);
            }
            match view.state {
                Held | Paying => {
                    self.change(id, paid_somewhere);
                    self.enter(id, Confirmed);
                    return self.about(id, false);
                }
                Confirmed | RefundDue | Refunded => return self.about(id, true),
                Released | Expired => self.change(id, |made| made.view.late = true),
                Cancelled => {
                    self.change(id, |made| made.view.late = true);
                    self.enter(id, RefundDue);
                    return self.about(id, false);
                }
            }
        } else {
            self.room_for_reservation()?;
        }
        let honoured = spec.late_payment == LatePaymentPolicy::RetakeOrRefund
            && self.available(product) >= i64::from(late.quantity.0);
        if !known {
            self.make(&late.target, late.quantity, Released, None);
        }
        self.enter(id, if honoured { Confirmed } else { RefundDue });
        self.about(id, false)
    }

    pub(super) fn refunded(&mut self, target: &Target) -> Outcome {
        let Reservation { view, .. } = self.named(target)?;
        match view.state {
            RefundDue => self.enter(target.reservation, Refunded),
            Refunded => return self.about(target.reservation, true),
            _ => return Err(Refusal::NoRefundDue),
        }
        self.about(target.reservation, false)
    }

    pub(super) fn cancel(&mut self, cancel: &Cancel) -> Outcome {
        let id = cancel.target.reservation;
        let Reservation { view, .. } = self.named(&cancel.target)?;
        match (view.cancelled, view.state) {
            (Some(how), _) if how.return_stock == cancel.how.return_stock => return self.about(id, true),
            (Some(_), _) => return Err(Refusal::ReservationCancelled),
            (None, Held) => return Err(Refusal::NotConfirmed),
            (None, Paying) => return Err(Refusal::PaymentInProgress),
            (None, Confirmed) => {}
            (None, _) => return Err(over(&view)),
        }
        self.change(id, |made| made.view.cancelled = Some(cancel.how));
        if !cancel.how.return_stock {
            let product = self.products.get_mut(&view.product).expect("it was named");
            product.stock -= i64::from(view.quantity.0);
        }
        let paid = view.late || view.payment_attempts > 0;
        self.enter(id, if paid { RefundDue } else { Cancelled });
        self.about(id, false)
    }

    /// What is not settled, of one kind, in the order of the last change.
    #[must_use]
    pub fn unsettled(&self, of: Unsettled) -> Vec<ReservationView> {
        let is_of = |made: &&Reservation| match of {
            Unsettled::Payments => made.view.state == Paying || made.abandoned,
            Unsettled::Refunds => made.view.state == RefundDue,
        };
        let mut found: Vec<_> = self.reservations.values().filter(is_of).map(|made| made.view).collect();
        found.sort_by_key(|view| (view.changed_at, view.reservation));
        found
    }
}

/// Money that is told of was paid once at least.
fn paid_somewhere(made: &mut Reservation) {
    if made.view.payment_attempts == 0 && !made.view.late {
        made.view.payment_attempts = 1;
    }
}
