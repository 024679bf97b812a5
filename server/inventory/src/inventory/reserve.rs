//! Claiming units for a user: the one step that checks everything and takes at once.

use doorbuster_protocol::command::Reserve;
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::MAX_RESERVATION_QUANTITY;
use doorbuster_protocol::reply::{Reply, ReservationState};
use doorbuster_protocol::types::{Millis, Quantity, Timestamp};

use super::{Inventory, check_room};
use crate::product::Product;
use crate::record::Reservation;

/// What a reserve that is not refused comes to.
enum Outcome {
    /// It was made before, and is in this slot.
    Replay(u32),
    /// It is to be made.
    New(Reservation),
}

impl Inventory {
    pub(super) fn reserve(&mut self, reserve: &Reserve) -> Result<Reply, Refusal> {
        match self.consider(self.time, reserve)? {
            Outcome::Replay(slot) => {
                self.expire_if_due(slot);
                Ok(self.reservation_reply(slot, true))
            }
            Outcome::New(reservation) => {
                let slot = self.add(&reservation);
                Ok(self.reservation_reply(slot, false))
            }
        }
    }

    /// The refusal that `apply` would give at `time`; `None` if it would grant or replay.
    #[must_use]
    pub fn refuse_reserve(&self, time: Timestamp, reserve: &Reserve) -> Option<Refusal> {
        self.consider(time, reserve).err()
    }

    fn consider(&self, time: Timestamp, reserve: &Reserve) -> Result<Outcome, Refusal> {
        let place = self.place_of(reserve.product)?;
        let product = self.product_at(place);
        if let Some(slot) = self.reservations.find(reserve.reservation) {
            let same = is_same(&self.reservations.get(slot), place, product, reserve);
            return if same { Ok(Outcome::Replay(slot)) } else { Err(Refusal::ConflictingRetry) };
        }
        product.check_open(time)?;
        let ttl = check_arguments(product, reserve)?;
        self.check_user(place, product, reserve)?;
        let Quantity(quantity) = reserve.quantity;
        product.check_stock(quantity)?;
        check_room(self.reservations.len(), self.limits.reservations)?;
        let expires = time.plus(ttl);
        Ok(Outcome::New(Reservation {
            id: reserve.reservation,
            user: reserve.user,
            product: place,
            quantity,
            state: ReservationState::Held,
            late: false,
            abandoned: false,
            cancelled: None,
            attempts: 0,
            created: time,
            first_ttl: ttl,
            hold_until: expires,
            expires,
            changed: time,
        }))
    }

    fn check_user(&self, place: u32, product: &Product, reserve: &Reserve) -> Result<(), Refusal> {
        if !product.limits_users() {
            return Ok(());
        }
        let limit = product.spec.limit_per_user;
        let used = self.users.units(reserve.user, place);
        if u64::from(used) + u64::from(reserve.quantity.get()) > u64::from(limit.get()) {
            return Err(Refusal::LimitReached { limit, used: Quantity(used) });
        }
        Ok(())
    }
}

/// Whether a reservation is what this reserve asked for when it was first made.
fn is_same(made: &Reservation, place: u32, product: &Product, reserve: &Reserve) -> bool {
    // One that a late payment made remembers no TTL: any will do.
    let same_ttl = made.first_ttl == Millis(0) || product.ttl(reserve.ttl) == Ok(made.first_ttl);
    made.product == place && made.user == reserve.user && made.quantity == reserve.quantity.get() && same_ttl
}

/// Checks what needs no state but the product's settings; gives the TTL.
fn check_arguments(product: &Product, reserve: &Reserve) -> Result<Millis, Refusal> {
    if reserve.reservation.get() == 0 || reserve.user.get() == 0 {
        return Err(Refusal::InvalidArgument(Argument::Id));
    }
    let Quantity(quantity) = reserve.quantity;
    if quantity == 0 || quantity > MAX_RESERVATION_QUANTITY {
        return Err(Refusal::InvalidArgument(Argument::Quantity));
    }
    let limit = product.limit_per_reservation();
    if quantity > limit {
        return Err(Refusal::QuantityTooLarge { limit: Quantity(limit) });
    }
    product.ttl(reserve.ttl)
}
