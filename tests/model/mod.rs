//! The inventory as one would write it on a blackboard: plain maps, every reply computed from the records. Easy to
//! believe, and nothing of the product's in it but its limits and the words of the protocol.
//!
//! Shared by path: the inventory's own tests compare it with the product command by command; the checkers replay logs
//! with it.

mod payment;
mod sale;
mod tallies;

use std::collections::{BTreeMap, BTreeSet};

use doorbuster_protocol::command::{Command, Extend, ProductSpec, Reserve, Target};
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::{MAX_RESERVATION_QUANTITY, MAX_TTL, MIN_TTL};
use doorbuster_protocol::reply::{
    FeedEntry, FeedKind, ProductReply, ProductView, Reply, ReservationReply, ReservationState, ReservationView,
    SaleState,
};
use doorbuster_protocol::types::{FeedPosition, ProductId, Quantity, ReservationId, Timestamp, UserId};

use ReservationState::{Cancelled, Confirmed, Expired, Held, Paying, RefundDue, Refunded, Released};
use doorbuster_inventory::Limits;

use tallies::Tallies;

/// What a command comes to.
pub type Outcome = Result<Reply, Refusal>;

/// A product.
#[derive(Clone, Debug)]
pub struct Product {
    created_as: ProductSpec,
    stock: i64,
    sale: SaleState,
}

/// A reservation.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    /// As it is told.
    pub view: ReservationView,
    /// TTL the reserve came to; none if a late payment made it.
    ttl: Option<u64>,
    hold_until: u64,
    /// It expired while it was being paid, and nobody has told since how that ended.
    abandoned: bool,
}

#[derive(Clone, Debug)]
struct Operation {
    id: u128,
    command: Command,
    at: u64,
}

/// A confirmed reservation that is known no more.
#[derive(Clone, Copy, Debug)]
struct Forgotten {
    product: ProductId,
    user: UserId,
    quantity: i64,
}

/// One shard's state.
#[derive(Clone, Debug)]
pub struct Naive {
    /// What it may hold.
    pub limits: Limits,
    /// Stamp of the last command.
    pub now: u64,
    /// By id.
    pub products: BTreeMap<ProductId, Product>,
    /// By id, live and retained.
    pub reservations: BTreeMap<ReservationId, Reservation>,
    operations: Vec<Operation>,
    forgotten: Vec<Forgotten>,
    /// The whole feed from its beginning, acknowledged or not.
    pub feed: Vec<FeedEntry>,
    /// The last position that is acknowledged.
    pub acknowledged: u64,
    tallies: Tallies,
    touched: Touched,
}

/// What has changed.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// Products: themselves, or a reservation of theirs.
    pub products: BTreeSet<ProductId>,
    /// Reservations.
    pub reservations: BTreeSet<ReservationId>,
    /// Users whose units of a product changed.
    pub users: BTreeSet<(ProductId, UserId)>,
}

impl Naive {
    /// Nothing is there.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: 0,
            products: BTreeMap::new(),
            reservations: BTreeMap::new(),
            operations: Vec::new(),
            forgotten: Vec::new(),
            feed: Vec::new(),
            acknowledged: 0,
            tallies: Tallies::default(),
            touched: Touched::default(),
        }
    }

    /// Every command. Of `Expire`, which may leave some of those due for the next one, this does as much as it may, by
    /// deadline; for another choice there is [`Naive::expire`].
    ///
    /// # Errors
    /// A refusal.
    pub fn apply(&mut self, now: u64, command: &Command) -> Outcome {
        self.now = now;
        match command {
            Command::CreateProduct(spec) => self.create(spec),
            Command::AdjustStock(adjust) => self.adjust(command, adjust),
            Command::SetStock(set) => self.set(command, set),
            Command::ChangeSale(change) => self.change_sale(command, change),
            Command::Reserve(reserve) => self.reserve(reserve),
            Command::BeginPayment(payment) => self.begin(payment),
            Command::PaymentFailed(payment) => self.failed(payment),
            Command::Confirm(target) => self.confirm(target),
            Command::Release(target) => self.release(target),
            Command::Extend(extend) => self.extend(extend),
            Command::LatePayment(late) => self.late(late),
            Command::RefundDone(target) => self.refunded(target),
            Command::Cancel(cancel) => self.cancel(cancel),
            Command::AcknowledgeFeed { through, .. } => self.acknowledge(*through),
            Command::Expire => {
                let (mut live, mut over) = self.due(now);
                live.truncate(self.limits.expiries_per_entry);
                over.truncate(self.limits.expiries_per_entry - live.len());
                self.expire(now, &live, &over);
                Ok(Reply::Expired(u32::try_from(live.len()).unwrap_or(u32::MAX)))
            }
        }
    }

    // What is counted.

    /// Units in its live reservations.
    #[must_use]
    pub fn held(&self, product: ProductId) -> i64 {
        self.tallies.held(product)
    }

    /// Units sold.
    #[must_use]
    pub fn sold(&self, product: ProductId) -> i64 {
        self.tallies.sold(product)
    }

    /// Units nobody claims.
    ///
    /// # Panics
    /// If there is no such product.
    #[must_use]
    pub fn available(&self, product: ProductId) -> i64 {
        self.products[&product].stock - self.held(product) - self.sold(product)
    }

    /// Units that a user holds and has bought.
    #[must_use]
    pub fn units_of(&self, user: UserId, product: ProductId) -> i64 {
        self.tallies.of_user(product, user)
    }

    /// Whether every number that is kept is what a scan of all records gives.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        let mut counted = Tallies::default();
        self.reservations.values().for_each(|made| counted.add(made));
        self.forgotten.iter().for_each(|gone| counted.add_sold(gone.product, gone.user, gone.quantity));
        counted == self.tallies && self.products.keys().all(|id| self.available(*id) >= 0)
    }

    /// A product as it is told.
    ///
    /// # Panics
    /// If there is no such product.
    #[must_use]
    pub fn product_view(&self, id: ProductId) -> ProductView {
        let product = &self.products[&id];
        ProductView {
            spec: ProductSpec { stock: units(product.stock), ..product.created_as.clone() },
            sale: product.sale,
            available: units(self.available(id)),
            held: units(self.held(id)),
            sold: units(self.sold(id)),
            next_expiry: self.next_expiry(id),
        }
    }

    fn next_expiry(&self, product: ProductId) -> Timestamp {
        self.tallies.first_deadline(product).unwrap_or(Timestamp(0))
    }

    fn about_product(&self, id: ProductId, replayed: bool) -> Outcome {
        let product = self.product_view(id);
        Ok(Reply::Product(Box::new(ProductReply { replayed, time: Timestamp(self.now), product })))
    }

    fn about(&self, id: ReservationId, replayed: bool) -> Outcome {
        let reservation = self.reservations[&id].view;
        Ok(Reply::Reservation(ReservationReply { replayed, time: Timestamp(self.now), reservation }))
    }

    // Reservations.

    fn reserve(&mut self, reserve: &Reserve) -> Outcome {
        if let Some(refusal) = self.refuse(self.now, reserve) {
            return Err(refusal);
        }
        if self.reservations.contains_key(&reserve.reservation) {
            self.pass_deadline(reserve.reservation);
            return self.about(reserve.reservation, true);
        }
        let target = Target { product: reserve.product, reservation: reserve.reservation, user: reserve.user };
        let ttl = ttl_of(reserve, &self.products[&reserve.product].created_as);
        self.make(&target, reserve.quantity, Held, Some(ttl));
        self.about(reserve.reservation, false)
    }

    /// Why a reserve is refused at this time; `None` if it is granted or made already.
    #[must_use]
    pub fn refuse(&self, now: u64, reserve: &Reserve) -> Option<Refusal> {
        self.consider(now, reserve).err()
    }

    fn consider(&self, now: u64, reserve: &Reserve) -> Result<(), Refusal> {
        let product = self.products.get(&reserve.product).ok_or(Refusal::UnknownProduct)?;
        let spec = &product.created_as;
        let ttl = ttl_of(reserve, spec);
        if let Some(made) = self.reservations.get(&reserve.reservation) {
            let asked = (reserve.product, reserve.user, reserve.quantity);
            let same = (made.view.product, made.view.user, made.view.quantity) == asked;
            let conflicts = !same || made.ttl.is_some_and(|made| made != ttl);
            return if conflicts { Err(Refusal::ConflictingRetry) } else { Ok(()) };
        }
        if product.sale == SaleState::Closed || (spec.closes_at.0 > 0 && spec.closes_at.0 <= now) {
            return Err(Refusal::Closed);
        }
        if product.sale == SaleState::Paused {
            return Err(Refusal::Paused);
        }
        if now < spec.opens_at.0 {
            return Err(Refusal::NotOpen { opens_at: spec.opens_at });
        }
        check_arguments(reserve, spec, ttl)?;
        let limit = i64::from(spec.limit_per_user.0);
        let used = self.units_of(reserve.user, reserve.product);
        let asked = i64::from(reserve.quantity.0);
        if limit > 0 && used + asked > limit {
            return Err(Refusal::LimitReached { limit: units(limit), used: units(used) });
        }
        let available = self.available(reserve.product);
        if available < asked {
            return Err(if available > 0 {
                Refusal::InsufficientStock { available: units(available) }
            } else if self.held(reserve.product) > 0 {
                Refusal::AllHeld { next_expiry: self.next_expiry(reserve.product) }
            } else {
                Refusal::SoldOut
            });
        }
        self.room_for_reservation()
    }

    fn room_for_reservation(&self) -> Result<(), Refusal> {
        let limit = self.limits.reservations;
        if self.reservations.len() < limit { Ok(()) } else { Err(Refusal::CapacityReached { limit: limit as u64 }) }
    }

    fn make(&mut self, target: &Target, quantity: Quantity, state: ReservationState, ttl: Option<u64>) {
        let now = Timestamp(self.now);
        let expires_at = Timestamp(self.now + ttl.unwrap_or(0));
        let view = ReservationView {
            product: target.product,
            reservation: target.reservation,
            user: target.user,
            quantity,
            state,
            payment_attempts: 0,
            late: ttl.is_none(),
            cancelled: None,
            created_at: now,
            first_expires_at: expires_at,
            expires_at,
            changed_at: now,
        };
        self.put(Reservation { view, ttl, hold_until: expires_at.0, abandoned: false });
    }

    /// The only way in which a reservation comes to be, or becomes something else.
    fn put(&mut self, reservation: Reservation) {
        if let Some(before) = self.reservations.insert(reservation.view.reservation, reservation) {
            self.tallies.subtract(&before);
        }
        self.tallies.add(&reservation);
        self.touch(&reservation.view);
    }

    fn touch(&mut self, view: &ReservationView) {
        self.touched.products.insert(view.product);
        self.touched.reservations.insert(view.reservation);
        self.touched.users.insert((view.product, view.user));
    }

    /// What has changed since the last call.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    fn change(&mut self, id: ReservationId, change: impl FnOnce(&mut Reservation)) {
        let mut reservation = self.reservations[&id];
        change(&mut reservation);
        self.put(reservation);
    }

    /// A live reservation whose deadline has passed expires.
    fn pass_deadline(&mut self, id: ReservationId) {
        let view = self.reservations[&id].view;
        if matches!(view.state, Held | Paying) && view.expires_at.0 <= self.now {
            self.enter(id, Expired);
        }
    }

    /// Finds a reservation for a command, which lets it expire first.
    fn named(&mut self, target: &Target) -> Result<Reservation, Refusal> {
        if !self.products.contains_key(&target.product) {
            return Err(Refusal::UnknownProduct);
        }
        let found = self.reservations.get(&target.reservation).ok_or(Refusal::UnknownReservation)?;
        let users_own = target.user.0 == 0 || target.user == found.view.user;
        if found.view.product != target.product || !users_own {
            return Err(Refusal::UnknownReservation);
        }
        self.pass_deadline(target.reservation);
        Ok(self.reservations[&target.reservation])
    }

    fn enter(&mut self, id: ReservationId, state: ReservationState) {
        let now = Timestamp(self.now);
        self.change(id, |made| {
            made.abandoned = made.view.state == Paying && state == Expired;
            (made.view.state, made.view.changed_at) = (state, now);
        });
        let kind = match state {
            Confirmed => FeedKind::Confirmed,
            RefundDue => FeedKind::RefundDue,
            Refunded => FeedKind::Refunded,
            Cancelled => FeedKind::Cancelled,
            Held | Paying | Released | Expired => return,
        };
        let view = self.reservations[&id].view;
        self.tell(kind, &view);
    }

    fn tell(&mut self, kind: FeedKind, view: &ReservationView) {
        self.feed.push(FeedEntry {
            position: FeedPosition(self.feed.len() as u64 + 1),
            kind,
            product: view.product,
            reservation: view.reservation,
            user: view.user,
            quantity: view.quantity,
            price: self.products[&view.product].created_as.price,
            at: view.changed_at,
            late: view.late,
            cancelled: view.cancelled,
        });
    }

    fn confirm(&mut self, target: &Target) -> Outcome {
        let Reservation { view, .. } = self.named(target)?;
        match view.state {
            Held | Paying => self.enter(target.reservation, Confirmed),
            Confirmed => return self.about(target.reservation, true),
            _ => return Err(over(&view)),
        }
        self.about(target.reservation, false)
    }

    fn release(&mut self, target: &Target) -> Outcome {
        let Reservation { view, .. } = self.named(target)?;
        match view.state {
            Held => self.enter(target.reservation, Released),
            Released => return self.about(target.reservation, true),
            Paying => return Err(Refusal::PaymentInProgress),
            _ => return Err(over(&view)),
        }
        self.about(target.reservation, false)
    }

    fn extend(&mut self, extend: &Extend) -> Outcome {
        let id = extend.target.reservation;
        let Reservation { view, .. } = self.named(&extend.target)?;
        // Who asks is not part of what is asked.
        let asked = Extend { target: Target { user: UserId(0), ..extend.target }, ..*extend };
        let command = Command::Extend(asked);
        if self.done(extend.operation.0, &command)? {
            return self.about(id, true);
        }
        if extend.by.0 == 0 || extend.by > MAX_TTL {
            return Err(Refusal::InvalidArgument(Argument::Duration));
        }
        match view.state {
            Held => {}
            Paying => return Err(Refusal::PaymentInProgress),
            _ => return Err(over(&view)),
        }
        let latest = view.created_at.0 + self.products[&view.product].created_as.max_life.0;
        let until = view.expires_at.0 + extend.by.0;
        if until > latest {
            return Err(Refusal::LifeLimitReached { latest: Timestamp(latest) });
        }
        self.room_for_operation()?;
        self.change(id, |made| (made.hold_until, made.view.expires_at) = (until, Timestamp(until)));
        self.note(extend.operation.0, &command);
        self.about(id, false)
    }

    fn acknowledge(&mut self, through: FeedPosition) -> Outcome {
        if through.0 > self.feed.len() as u64 {
            return Err(Refusal::FeedPositionUnknown);
        }
        self.acknowledged = self.acknowledged.max(through.0);
        Ok(Reply::FeedAcknowledged(FeedPosition(self.acknowledged)))
    }

    // Time.

    /// What an `Expire` may do at this time: live reservations that may expire, and others that may be forgotten, each
    /// by time.
    #[must_use]
    pub fn due(&self, now: u64) -> (Vec<ReservationId>, Vec<ReservationId>) {
        (self.tallies.live_until(now), self.tallies.over_until(now.checked_sub(self.limits.retention.0)))
    }

    /// The live reservation that is to expire first, and when.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Timestamp, ReservationId)> {
        self.tallies.next()
    }

    /// Lets these expire and forgets those, and forgets as many operations as one `Expire` may.
    pub fn expire(&mut self, now: u64, expired: &[ReservationId], forgotten: &[ReservationId]) {
        self.now = now;
        for id in expired {
            self.enter(*id, Expired);
        }
        for id in forgotten {
            self.forget(*id);
        }
        for _ in 0..self.limits.expiries_per_entry {
            if self.operations.first().is_some_and(|operation| operation.at + self.limits.retention.0 <= now) {
                self.operations.remove(0);
            }
        }
    }

    fn forget(&mut self, id: ReservationId) {
        let Some(gone) = self.reservations.remove(&id) else { return };
        self.tallies.subtract(&gone);
        let view = gone.view;
        self.touch(&view);
        if view.state == Confirmed {
            let quantity = i64::from(view.quantity.0);
            self.tallies.add_sold(view.product, view.user, quantity);
            self.forgotten.push(Forgotten { product: view.product, user: view.user, quantity });
        }
    }

    /// Whether an operation's retention is over.
    #[must_use]
    pub fn operation_due(&self, now: u64) -> bool {
        self.operations.iter().any(|operation| operation.at + self.limits.retention.0 <= now)
    }
}

fn over(view: &ReservationView) -> Refusal {
    match view.state {
        Confirmed => Refusal::AlreadyConfirmed,
        Released => Refusal::ReservationReleased,
        Expired => Refusal::ReservationExpired { expired_at: view.expires_at },
        RefundDue | Refunded => Refusal::Refunding,
        Cancelled => Refusal::ReservationCancelled,
        Held | Paying => unreachable!("it is not over"),
    }
}

fn units(count: i64) -> Quantity {
    Quantity(u32::try_from(count).expect("counts are never negative"))
}

/// How long a reserve holds.
fn ttl_of(reserve: &Reserve, spec: &ProductSpec) -> u64 {
    if reserve.ttl.0 == 0 { spec.ttl.0 } else { reserve.ttl.0 }
}

fn check_arguments(reserve: &Reserve, spec: &ProductSpec, ttl: u64) -> Result<(), Refusal> {
    let wrong = |argument| Err(Refusal::InvalidArgument(argument));
    if reserve.reservation.0 == 0 || reserve.user.0 == 0 {
        return wrong(Argument::Id);
    }
    if reserve.quantity.0 == 0 || reserve.quantity.0 > MAX_RESERVATION_QUANTITY {
        return wrong(Argument::Quantity);
    }
    if spec.limit_per_reservation.0 > 0 && reserve.quantity > spec.limit_per_reservation {
        return Err(Refusal::QuantityTooLarge { limit: spec.limit_per_reservation });
    }
    if ttl < MIN_TTL.0 || ttl > spec.ttl.0 { wrong(Argument::Duration) } else { Ok(()) }
}
