//! What time does: reservations expire, what is over is forgotten. An `Expire` command does a bounded
//! amount of it; a command that names a reservation past its deadline expires that one first.

use doorbuster_protocol::reply::ReservationState;
use doorbuster_protocol::types::Timestamp;

use super::Inventory;
use crate::record::{Claim, Reservation};
use crate::wheel::Budget;

/// Timers that may be moved within the wheel for each one that may fire. Moving costs a fraction of firing.
const SORTED_PER_FIRED: usize = 4;

impl Inventory {
    /// Earliest cluster time at which an `Expire` command has work to do. Never late; it may be early, when
    /// timers have to be sorted.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let forgotten = self.operations.next_forgotten(self.limits.retention);
        self.reservations.next_due().into_iter().chain(forgotten).min()
    }

    /// Expires and forgets what is due. Says how many expired.
    pub(super) fn expire(&mut self) -> u32 {
        let limit = self.limits.expiries_per_entry.max(1);
        let mut budget = Budget { fire: limit, sort: limit.saturating_mul(SORTED_PER_FIRED) };
        let mut expired = 0;
        while let Some(slot) = self.reservations.pop_due(self.time, &mut budget) {
            let reservation = self.reservations.get(slot);
            if reservation.state.is_live() {
                self.expire_one(slot, &reservation);
                expired += 1;
            } else {
                self.forget(slot, &reservation);
            }
        }
        self.operations.forget(self.time, self.limits.retention, limit);
        expired
    }

    /// Expires the reservation if its deadline has passed. Gives what it is then.
    pub(super) fn expire_if_due(&mut self, slot: u32) -> Reservation {
        let reservation = self.reservations.get(slot);
        if reservation.state.is_live() && reservation.expires <= self.time {
            self.expire_one(slot, &reservation)
        } else {
            reservation
        }
    }

    fn expire_one(&mut self, slot: u32, reservation: &Reservation) -> Reservation {
        assert!(reservation.expires <= self.time, "a reservation expires before its deadline");
        let abandoned = reservation.state == ReservationState::Paying;
        self.enter(slot, &Reservation { abandoned, ..*reservation }, ReservationState::Expired)
    }

    pub(super) fn forget(&mut self, slot: u32, reservation: &Reservation) {
        if reservation.claim() == Claim::Sold {
            self.change_product(reservation.product, |product| {
                product.units.sold_and_forgotten += reservation.quantity;
            });
        }
        let product = self.product_of(reservation).spec.product;
        self.reservations.remove(slot, product.get());
    }
}
