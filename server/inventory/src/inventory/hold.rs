//! What a reservation's holder does with it: confirm, release, extend.

use doorbuster_planted::{self as planted, Bug};
use doorbuster_protocol::command::{Extend, Target};
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::MAX_TTL;
use doorbuster_protocol::reply::{FeedKind, Reply, ReservationState};

use super::sale::fingerprint;
use super::{Inventory, why_not};
use crate::record::Reservation;

impl Inventory {
    /// Sells the units: from `held` for those who take the money themselves, from `paying` for the saga.
    pub(super) fn confirm(&mut self, target: &Target) -> Result<Reply, Refusal> {
        // Planted: a hold counts until somebody has come to end it.
        let (slot, reservation) = if planted::on(Bug::ConfirmAfterExpiry) {
            self.locate(target).map(|slot| (slot, self.reservations.get(slot)))?
        } else {
            self.locate_now(target)?
        };
        match reservation.state {
            ReservationState::Held | ReservationState::Paying => {
                self.sell(slot, &reservation);
                Ok(self.reservation_reply(slot, false))
            }
            ReservationState::Confirmed => Ok(self.reservation_reply(slot, true)),
            _ => Err(why_not(&reservation)),
        }
    }

    /// Gives units back by request. A payment under way has to end first, or it could charge for nothing.
    pub(super) fn release(&mut self, target: &Target) -> Result<Reply, Refusal> {
        let (slot, reservation) = self.locate_now(target)?;
        match reservation.state {
            ReservationState::Held => {
                self.enter(slot, &reservation, ReservationState::Released);
                Ok(self.reservation_reply(slot, false))
            }
            ReservationState::Released => Ok(self.reservation_reply(slot, true)),
            _ => Err(why_not(&reservation)),
        }
    }

    /// Moves a deadline later, as far as asked or not at all.
    pub(super) fn extend(&mut self, extend: &Extend) -> Result<Reply, Refusal> {
        let (slot, reservation) = self.locate_now(&extend.target)?;
        let named = fingerprint(4).word(extend.target.product.get()).wide(extend.target.reservation.get());
        let fingerprint = named.word(extend.by.get()).finish();
        if self.check_operation(extend.operation, fingerprint)? {
            return Ok(self.reservation_reply(slot, true));
        }
        if extend.by.get() == 0 || extend.by > MAX_TTL {
            return Err(Refusal::InvalidArgument(Argument::Duration));
        }
        if reservation.state != ReservationState::Held {
            return Err(why_not(&reservation));
        }
        let expires = reservation.expires.plus(extend.by);
        let latest = self.product_of(&reservation).latest_deadline(reservation.created);
        if expires > latest {
            return Err(Refusal::LifeLimitReached { latest });
        }
        self.check_room_for_operation()?;
        self.replace(slot, &Reservation { expires, hold_until: expires, ..reservation });
        self.remember(extend.operation, fingerprint);
        Ok(self.reservation_reply(slot, false))
    }

    /// A reservation is sold, and the feed tells.
    pub(super) fn sell(&mut self, slot: u32, reservation: &Reservation) {
        let sold = self.enter(slot, reservation, ReservationState::Confirmed);
        self.tell(FeedKind::Confirmed, &sold);
    }

    /// A reservation enters another state, now.
    pub(super) fn enter(&mut self, slot: u32, reservation: &Reservation, state: ReservationState) -> Reservation {
        let entered = Reservation { state, changed: self.time, ..*reservation };
        self.replace(slot, &entered);
        entered
    }

    /// Puts a reservation on the order feed.
    pub(super) fn tell(&mut self, kind: FeedKind, reservation: &Reservation) {
        let product = &self.products[reservation.product as usize];
        self.feed.tell(kind, &product.spec, reservation);
    }
}
