//! One shard's state and the one function that changes it.
//!
//! What a command does is in the files beside this one, by subject; here is what they share: the
//! entrance, the clock that is handed in, and the step by which a reservation becomes something else,
//! which moves its units, its user's count, its deadline and the digests together.
//!
//! Assertions stay on in production. Whatever breaks one would have made a count wrong, on every replica
//! alike, and is better met by a process that stops than by a product sold twice.

mod anticipate;
mod audit;
mod cancel;
mod expiry;
mod hold;
mod payment;
mod queries;
mod reserve;
mod sale;
mod state;

use std::collections::BTreeMap;
use std::fmt;

use doorbuster_protocol::command::{Command, Target};
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::reply::{Reply, ReservationReply, ReservationState};
use doorbuster_protocol::types::{LogIndex, OperationId, ProductId, ShardId, StateHash, Timestamp};

use crate::feed::Feed;
use crate::limits::Limits;
use crate::operations::{Operation, Operations};
use crate::product::Product;
use crate::record::{Claim, Reservation};
use crate::reservations::Reservations;
use crate::unsettled::Unsettled;
use crate::users::Users;
use crate::wheel::END_OF_TIME;

pub use anticipate::AHEAD;
pub(crate) use state::State;

/// One shard's state.
pub struct Inventory {
    shard: ShardId,
    limits: Limits,
    applied: LogIndex,
    time: Timestamp,
    /// In the order they were created; a product's place never changes.
    products: Vec<Product>,
    places: BTreeMap<ProductId, u32>,
    /// Sum of the products' digests.
    products_digest: u64,
    reservations: Reservations,
    users: Users,
    operations: Operations,
    feed: Feed,
    unsettled: Unsettled,
    /// Places of the products that changed since the last drain, each once.
    touched: Vec<u32>,
}

impl Inventory {
    /// An empty shard.
    #[must_use]
    pub fn new(shard: ShardId, limits: Limits) -> Self {
        Self::from(State::empty(shard, limits))
    }

    /// Applies one command of the log entry at `index`, stamped `time`. Many commands of one entry share both.
    ///
    /// # Errors
    /// A refusal: nothing changed, except that a reservation the command names, and whose deadline has passed, has
    /// expired.
    ///
    /// # Panics
    /// When `index` or `time` go back, or a count is about to be wrong.
    pub fn apply(&mut self, index: LogIndex, time: Timestamp, command: &Command) -> Result<Reply, Refusal> {
        self.advance(index, time);
        match command {
            Command::CreateProduct(spec) => self.create_product(spec),
            Command::AdjustStock(adjust) => self.adjust_stock(adjust),
            Command::SetStock(set) => self.set_stock(set),
            Command::ChangeSale(change) => self.change_sale(change),
            Command::Reserve(reserve) => self.reserve(reserve),
            Command::BeginPayment(payment) => self.begin_payment(payment),
            Command::PaymentFailed(payment) => self.payment_failed(payment),
            Command::Confirm(target) => self.confirm(target),
            Command::Release(target) => self.release(target),
            Command::Extend(extend) => self.extend(extend),
            Command::LatePayment(late) => self.late_payment(late),
            Command::RefundDone(target) => self.refund_done(target),
            Command::Cancel(cancel) => self.cancel(cancel),
            Command::AcknowledgeFeed { shard: _, through } => {
                self.feed.acknowledge(*through).map(Reply::FeedAcknowledged)
            }
            Command::Expire => Ok(Reply::Expired(self.expire())),
        }
    }

    /// Log index of the last command applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Stamp of the last command applied.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Digest of the whole state, kept incrementally. Does not depend on the index.
    #[must_use]
    pub fn state_hash(&self) -> StateHash {
        let parts = [self.reservations.digest(), self.users.digest(), self.operations.digest(), self.feed.digest()];
        StateHash(parts.into_iter().fold(self.products_digest, u64::wrapping_add))
    }

    /// Hands over the products that changed since the last call.
    pub fn drain_touched(&mut self, sink: &mut dyn FnMut(ProductId)) {
        for place in self.touched.drain(..) {
            let product = &mut self.products[place as usize];
            product.touched = false;
            sink(product.spec.product);
        }
    }

    fn advance(&mut self, index: LogIndex, time: Timestamp) {
        assert!(index >= self.applied, "log index went back from {} to {index}", self.applied);
        assert!(time >= self.time, "cluster time went back from {} to {time}", self.time);
        assert!(time.get() < END_OF_TIME / 2, "cluster time {time} is out of range");
        self.applied = index;
        if time > self.time {
            self.time = time;
            self.reservations.advance(time);
        }
    }

    fn place_of(&self, product: ProductId) -> Result<u32, Refusal> {
        self.places.get(&product).copied().ok_or(Refusal::UnknownProduct)
    }

    fn product_at(&self, place: u32) -> &Product {
        &self.products[place as usize]
    }

    fn product_of(&self, reservation: &Reservation) -> &Product {
        self.product_at(reservation.product)
    }

    /// Finds the reservation that a command names. Another user's is as good as none.
    fn locate(&self, target: &Target) -> Result<u32, Refusal> {
        let place = self.place_of(target.product)?;
        let slot = self.reservations.find(target.reservation).ok_or(Refusal::UnknownReservation)?;
        let found = self.reservations.get(slot);
        let owned = target.user.get() == 0 || target.user == found.user;
        if found.product == place && owned { Ok(slot) } else { Err(Refusal::UnknownReservation) }
    }

    /// Finds the reservation that a command names; if its deadline has passed, it expires first.
    fn locate_now(&mut self, target: &Target) -> Result<(u32, Reservation), Refusal> {
        let slot = self.locate(target)?;
        Ok((slot, self.expire_if_due(slot)))
    }

    /// Changes a product and what is kept of it elsewhere.
    fn change_product(&mut self, place: u32, change: impl FnOnce(&mut Product)) {
        let product = &mut self.products[place as usize];
        let before = product.digest();
        change(product);
        self.products_digest = self.products_digest.wrapping_sub(before).wrapping_add(product.digest());
        if !product.touched {
            product.touched = true;
            self.touched.push(place);
        }
    }

    /// A reservation comes into being.
    fn add(&mut self, reservation: &Reservation) -> u32 {
        self.account(None, reservation);
        let product = self.product_of(reservation).spec.product;
        self.reservations.insert(reservation, product.get())
    }

    /// A reservation becomes something else.
    fn replace(&mut self, slot: u32, new: &Reservation) {
        let old = self.reservations.get(slot);
        self.account(Some(&old), new);
        let product = self.product_of(new).spec.product;
        self.reservations.replace(slot, new, product.get());
    }

    /// Moves what a reservation counts for: units, its user's units, its deadline, what is left to settle.
    fn account(&mut self, before: Option<&Reservation>, after: &Reservation) {
        let from = before.map_or(Claim::Nothing, Reservation::claim);
        let to = after.claim();
        self.change_product(after.product, |product| {
            if from != to {
                product.units.shift(from, to, after.quantity);
            }
            if let Some(before) = before.filter(|before| before.state.is_live()) {
                product.deadlines.remove(before.expires);
            }
            if after.state.is_live() {
                product.deadlines.add(after.expires);
            }
        });
        if let Some(before) = before {
            self.unsettled.remove(before);
        }
        self.unsettled.add(after);
        if !self.product_of(after).limits_users() {
            return;
        }
        match (from, to) {
            (Claim::Nothing, Claim::Held | Claim::Sold) => self.users.add(after.user, after.product, after.quantity),
            (Claim::Held | Claim::Sold, Claim::Nothing) => {
                self.users.subtract(after.user, after.product, after.quantity);
            }
            (Claim::Nothing, Claim::Nothing) | (Claim::Held | Claim::Sold, Claim::Held | Claim::Sold) => {}
        }
    }

    /// Whether an operation has been done before; refuses those that cannot be remembered.
    fn check_operation(&self, id: OperationId, fingerprint: u64) -> Result<bool, Refusal> {
        if id.get() == 0 {
            return Err(Refusal::InvalidArgument(Argument::Id));
        }
        self.operations.is_replay(id, fingerprint)
    }

    fn check_room_for_operation(&self) -> Result<(), Refusal> {
        check_room(self.operations.len(), self.limits.operations)
    }

    fn remember(&mut self, id: OperationId, fingerprint: u64) {
        self.operations.remember(Operation { id, fingerprint, at: self.time });
    }

    fn reservation_reply(&self, slot: u32, replayed: bool) -> Reply {
        let reservation = self.view(&self.reservations.get(slot));
        Reply::Reservation(ReservationReply { replayed, time: self.time, reservation })
    }
}

/// Says how much there is; the state itself is far too much to be told.
impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inventory")
            .field("shard", &self.shard)
            .field("applied", &self.applied)
            .field("time", &self.time)
            .field("products", &self.products.len())
            .field("reservations", &self.reservations.len())
            .finish_non_exhaustive()
    }
}

/// Refuses what would be one more than there is room for.
fn check_room(len: usize, limit: usize) -> Result<(), Refusal> {
    if len < limit { Ok(()) } else { Err(Refusal::CapacityReached { limit: limit as u64 }) }
}

/// Why a reservation in this state does not take a command that wants another state.
fn why_not(reservation: &Reservation) -> Refusal {
    match reservation.state {
        ReservationState::Held => Refusal::PaymentNotInProgress { attempts: reservation.attempts },
        ReservationState::Paying => Refusal::PaymentInProgress,
        ReservationState::Confirmed => Refusal::AlreadyConfirmed,
        ReservationState::Released => Refusal::ReservationReleased,
        ReservationState::Expired => Refusal::ReservationExpired { expired_at: reservation.expires },
        ReservationState::RefundDue | ReservationState::Refunded => Refusal::Refunding,
        ReservationState::Cancelled => Refusal::ReservationCancelled,
    }
}
