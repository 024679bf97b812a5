//! Reads. They change nothing, so a reservation past its deadline reads as held until a command or an
//! `Expire` has been applied; its `expires_at` says that it is over.

use std::collections::BinaryHeap;
use std::ops::Bound;

use doorbuster_protocol::command::Target;
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::limits::MAX_PAGE;
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::reply::{FeedPage, ProductView, ReservationView, UnsettledPage};
use doorbuster_protocol::types::{FeedPosition, ProductId, Quantity, ReservationId, Timestamp};

use super::Inventory;
use crate::product::Product;
use crate::record::Reservation;
use crate::view::GateView;

impl Inventory {
    /// What the gate needs to know of a product.
    #[must_use]
    pub fn gate_view(&self, product: ProductId) -> Option<GateView> {
        let place = self.place_of(product).ok()?;
        Some(self.product_at(place).gate_view())
    }

    /// Whether the reservation is known, live or retained.
    #[must_use]
    pub fn knows(&self, reservation: ReservationId) -> bool {
        self.reservations.find(reservation).is_some()
    }

    /// The ids of all reservations, live and retained, each once and in no order that means anything. How many there
    /// are is the iterator's exact size.
    pub fn reservation_ids(&self) -> impl ExactSizeIterator<Item = ReservationId> {
        Ids { left: self.reservations.len(), ids: self.reservations.iter().map(|(_, reservation)| reservation.id) }
    }

    /// One product.
    ///
    /// # Errors
    /// [`Refusal::UnknownProduct`].
    pub fn product(&self, product: ProductId) -> Result<ProductView, Refusal> {
        self.place_of(product).map(|place| self.product_at(place).view())
    }

    /// Products with a greater id than `after`, by id, at most `limit` (and at most a page).
    #[must_use]
    pub fn products(&self, after: ProductId, limit: u32) -> Vec<ProductView> {
        let behind = self.places.range((Bound::Excluded(after), Bound::Unbounded));
        behind.take(page(limit)).map(|(_, place)| self.product_at(*place)).map(Product::view).collect()
    }

    /// One reservation, if it is the user's.
    ///
    /// # Errors
    /// [`Refusal::UnknownProduct`], [`Refusal::UnknownReservation`].
    pub fn reservation(&self, target: &Target) -> Result<ReservationView, Refusal> {
        self.locate(target).map(|slot| self.view(&self.reservations.get(slot)))
    }

    /// A reservation of whatever product.
    ///
    /// # Errors
    /// [`Refusal::UnknownReservation`].
    pub fn find(&self, reservation: ReservationId) -> Result<ReservationView, Refusal> {
        let slot = self.reservations.find(reservation).ok_or(Refusal::UnknownReservation)?;
        Ok(self.view(&self.reservations.get(slot)))
    }

    /// Reservations with a greater id than `after`, live and retained, by id, at most `limit` (and at most a page).
    ///
    /// Looks at every reservation of the shard: a listing for audits, not for a request's path.
    #[must_use]
    pub fn reservations(&self, after: ReservationId, limit: u32) -> Vec<ReservationView> {
        let limit = page(limit);
        let mut least = BinaryHeap::with_capacity(limit + 1);
        for (slot, reservation) in self.reservations.iter().filter(|(_, reservation)| reservation.id > after) {
            least.push((reservation.id, slot));
            if least.len() > limit {
                least.pop();
            }
        }
        let slots = least.into_sorted_vec();
        slots.into_iter().map(|(_, slot)| self.view(&self.reservations.get(slot))).collect()
    }

    /// What is not settled behind `after`, at most `limit` (and at most a page). Costs as much as the page is long.
    #[must_use]
    pub fn unsettled(&self, of: Unsettled, after: Changed, limit: u32, time: Timestamp) -> UnsettledPage {
        let known = |place: &Changed| {
            let slot = self.reservations.find(place.reservation);
            let slot = slot.unwrap_or_else(|| panic!("reservation {} is unsettled and unknown", place.reservation));
            self.view(&self.reservations.get(slot))
        };
        UnsettledPage {
            time,
            total: self.unsettled.len(of) as u64,
            reservations: self.unsettled.behind(of, after).take(page(limit)).map(known).collect(),
        }
    }

    /// The order feed behind `after`, at most `limit` entries (and at most a page).
    #[must_use]
    pub fn feed(&self, after: FeedPosition, limit: u32) -> FeedPage {
        self.feed.page(after, page(limit))
    }

    /// Entries of the order feed that nobody has acknowledged.
    #[must_use]
    pub fn feed_len(&self) -> usize {
        let length = self.feed.last().get() - self.feed.acknowledged().get();
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    pub(super) fn view(&self, reservation: &Reservation) -> ReservationView {
        ReservationView {
            product: self.product_of(reservation).spec.product,
            reservation: reservation.id,
            user: reservation.user,
            quantity: Quantity(reservation.quantity),
            state: reservation.state,
            payment_attempts: reservation.attempts,
            late: reservation.late,
            cancelled: reservation.cancelled,
            created_at: reservation.created,
            first_expires_at: reservation.created.plus(reservation.first_ttl),
            expires_at: reservation.expires,
            changed_at: reservation.changed,
        }
    }
}

/// An iterator over as many ids as are `left`.
struct Ids<I> {
    left: usize,
    ids: I,
}

impl<I: Iterator<Item = ReservationId>> Iterator for Ids<I> {
    type Item = ReservationId;

    fn next(&mut self) -> Option<ReservationId> {
        let id = self.ids.next()?;
        self.left -= 1;
        Some(id)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator<Item = ReservationId>> ExactSizeIterator for Ids<I> {}

fn page(limit: u32) -> usize {
    limit.min(MAX_PAGE) as usize
}
