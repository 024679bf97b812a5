//! Admission: who may queue for a product, decided on the connection's thread without a lock or an allocation.
//!
//! The core, with its proofs, is the crate `doorbuster-gate`; here it gets the server's types, a table of
//! products that is read without locks, and tickets that cannot be lost ([`Ticket`] comes back when dropped).
//!
//! What the shard's turns owe it, for every refusal to be true (all of it on every replica, leading or not,
//! except `lead` and `renew`):
//! 1. After each applied entry: first [`Gate::note_granted`] each new reservation, then [`Gate::publish`]
//!    each touched product, then drop the tickets of that entry, then send its replies.
//! 2. [`Gate::lead`] only once an entry of its own term is applied and published; [`Gate::follow`] as soon as it
//!    is no longer leader. Then [`Gate::renew`] whenever its lease moves, also to an earlier time.
//! 3. After start or a restored snapshot: [`Gate::rebuild_filter`] and publish every product.
//!
//! Tickets outlive a change of leader: what is in flight stays counted until its `Ticket` is dropped, whoever
//! leads, so that a stale one can never make room that is not there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use doorbuster_gate::{Asked, Lease, Numbers, Sale, Terms, Turnstile, Verdict};
use doorbuster_inventory::GateView;
use doorbuster_protocol::command::Reserve;
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::MAX_RESERVATION_QUANTITY;
use doorbuster_protocol::reply::SaleState;
use doorbuster_protocol::types::{ProductId, Quantity, ReservationId, ShardId, Timestamp, shard_of};
use doorbuster_raft::Monotonic;

use crate::filter::Filter;

/// Chains in a shard's table of products. With more products than this a look-up walks a short list.
const CHAINS: usize = 1 << 12;

/// What becomes of a reserve.
#[derive(Debug)]
pub enum Admission {
    /// It may be proposed; the ticket travels with it until its entry is applied, or it is dropped.
    Ticket(Ticket),
    /// The shard decides: units are in flight, it may be a retry, the product is unknown, or we are not sure.
    Wait,
    /// Refused, from committed state under a valid lease.
    Refuse(Refusal),
    /// This node does not lead the shard.
    NotHere,
}

/// The right to propose a reserve of so many units. Dropping it gives the units back to the gate, so it must be
/// kept until the effect of the reserve has been published.
#[derive(Debug)]
#[must_use = "dropping a ticket gives its units back"]
pub struct Ticket {
    seat: Arc<Seat>,
    quantity: u32,
}

/// The admission gate of a node.
#[derive(Debug)]
pub struct Gate {
    shards: Box<[ShardGate]>,
}

#[derive(Debug)]
struct ShardGate {
    lease: Lease,
    filter: Filter,
    chains: Box<[OnceLock<Link>]>,
}

/// Products are never removed, so the table only grows, and readers need no lock.
#[derive(Debug)]
struct Link {
    product: ProductId,
    seat: Arc<Seat>,
    next: Box<OnceLock<Link>>,
}

#[derive(Debug)]
struct Seat {
    turnstile: Turnstile,
    waiters: AtomicBool,
}

impl Gate {
    /// Of a node that follows every shard and knows no product.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self { shards: (0..shards.max(1)).map(|_| ShardGate::new()).collect() }
    }

    /// Admits, refuses, or leaves it to the shard. Any thread.
    ///
    /// `now` must have been read after the request arrived; `time` is cluster time, at most as late as the shard's
    /// next stamp will be.
    pub fn admit(&self, reserve: &Reserve, now: Monotonic, time: Timestamp) -> Admission {
        let shard = self.shard_of(reserve.product);
        let Some(seat) = shard.seat(reserve.product) else {
            return if shard.lease.until().is_none() { Admission::NotHere } else { Admission::Wait };
        };
        let asked = Asked { quantity: reserve.quantity.get(), now: now.0, time: time.get() };
        let maybe_known = || shard.filter.maybe_knows(reserve.reservation);
        match doorbuster_gate::admit(&shard.lease, &seat.turnstile, asked, maybe_known) {
            Verdict::Ticket => Admission::Ticket(Ticket { seat: Arc::clone(seat), quantity: asked.quantity }),
            Verdict::Wait => Admission::Wait,
            Verdict::NotLeading => Admission::NotHere,
            Verdict::SoldOut => Admission::Refuse(Refusal::SoldOut),
            Verdict::AllHeld { next_expiry } => {
                Admission::Refuse(Refusal::AllHeld { next_expiry: Timestamp(next_expiry) })
            }
            Verdict::NotOpen { opens_at } => Admission::Refuse(Refusal::NotOpen { opens_at: Timestamp(opens_at) }),
            Verdict::Closed => Admission::Refuse(Refusal::Closed),
            Verdict::Paused => Admission::Refuse(Refusal::Paused),
            // Above the protocol's own limit the inventory says so before it looks at the product's.
            Verdict::QuantityTooLarge { .. } if asked.quantity > MAX_RESERVATION_QUANTITY => {
                Admission::Refuse(Refusal::InvalidArgument(Argument::Quantity))
            }
            Verdict::QuantityTooLarge { limit } => {
                Admission::Refuse(Refusal::QuantityTooLarge { limit: Quantity(limit) })
            }
        }
    }

    /// This node leads the shard, has applied an entry of its own term and published what that touched. The lease
    /// comes with [`Gate::renew`]. Shard thread.
    pub fn lead(&self, shard: ShardId) {
        self.shard(shard).lease.lead();
    }

    /// This node does not lead the shard any more. Shard thread.
    pub fn follow(&self, shard: ShardId) {
        self.shard(shard).lease.follow();
    }

    /// The lease holds until then; ignored while following. Shard thread.
    pub fn renew(&self, shard: ShardId, until: Monotonic) {
        self.shard(shard).lease.renew(until.0);
    }

    /// Makes a product's newly committed numbers visible. Shard thread.
    ///
    /// # Panics
    /// If the product's schedule or limit is another than at first: those are fixed when it is created.
    pub fn publish(&self, product: ProductId, view: &GateView) {
        let shard = self.shard_of(product);
        let (terms, numbers) = (terms_of(view), numbers_of(view));
        let Some(seat) = shard.seat(product) else { return shard.add(product, Turnstile::new(terms, numbers)) };
        assert_eq!(*seat.turnstile.terms(), terms, "the terms of product {product} changed");
        seat.turnstile.publish(Numbers { waiters: seat.waiters.load(Ordering::Relaxed), ..numbers });
    }

    /// While requests wait in the shard for units of the product, newcomers get no tickets but queue behind them.
    /// Shard thread. Without effect on a product that was never published.
    pub fn queue_behind_waiters(&self, product: ProductId, waiters: bool) {
        let Some(seat) = self.shard_of(product).seat(product) else { return };
        if seat.waiters.swap(waiters, Ordering::Relaxed) != waiters
            && let Some(numbers) = seat.turnstile.read()
        {
            seat.turnstile.publish(Numbers { waiters, ..numbers });
        }
    }

    /// Takes tickets for a request that waited, if they are free. Shard thread.
    pub fn take(&self, product: ProductId, quantity: Quantity) -> Option<Ticket> {
        let seat = self.shard_of(product).seat(product)?;
        seat.turnstile.take(quantity.get()).then(|| Ticket { seat: Arc::clone(seat), quantity: quantity.get() })
    }

    /// Units of tickets that are out.
    #[must_use]
    pub fn in_flight(&self, product: ProductId) -> u64 {
        self.shard_of(product).seat(product).map_or(0, |seat| u64::from(seat.turnstile.in_flight()))
    }

    /// A reservation was made; its retry must reach the shard. Before the publication that shows its effect, and once: see
    /// [`Filter::note`]. Shard thread.
    pub fn note_granted(&self, shard: ShardId, reservation: ReservationId) {
        self.shard(shard).filter.note(reservation);
    }

    /// Starts the shard's filter anew from the reservations it knows, about `expected` of them. Shard thread.
    pub fn rebuild_filter(&self, shard: ShardId, expected: usize, known: impl Iterator<Item = ReservationId>) {
        self.shard(shard).filter.rebuild(expected, known);
    }

    /// Whether retention has let go of so much that [`Gate::rebuild_filter`] is worth it.
    #[must_use]
    pub fn filter_wants_rebuild(&self, shard: ShardId, known: usize) -> bool {
        self.shard(shard).filter.wants_rebuild(known)
    }

    /// Memory of the filters of all shards.
    #[must_use]
    pub fn filter_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.filter.bytes()).sum()
    }

    fn shard(&self, shard: ShardId) -> &ShardGate {
        &self.shards[usize::from(shard.get())]
    }

    fn shard_of(&self, product: ProductId) -> &ShardGate {
        // `new` was given the number of shards as a u16.
        #[allow(clippy::cast_possible_truncation)]
        let shards = self.shards.len() as u16;
        self.shard(shard_of(product, shards))
    }
}

impl ShardGate {
    fn new() -> Self {
        Self {
            lease: Lease::new(),
            filter: Filter::new(),
            chains: std::iter::repeat_with(OnceLock::new).take(CHAINS).collect(),
        }
    }

    /// The low bits of a product's shard hash are the same for all products of a shard; a multiplication's high bits are not.
    fn chain(&self, product: ProductId) -> &OnceLock<Link> {
        let hash = product.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - CHAINS.trailing_zeros());
        &self.chains[usize::try_from(hash).unwrap_or(0)]
    }

    fn seat(&self, product: ProductId) -> Option<&Arc<Seat>> {
        let mut link = self.chain(product).get();
        while let Some(here) = link {
            if here.product == product {
                return Some(&here.seat);
            }
            link = here.next.get();
        }
        None
    }

    fn add(&self, product: ProductId, turnstile: Turnstile) {
        let seat = Arc::new(Seat { turnstile, waiters: AtomicBool::new(false) });
        let mut end = self.chain(product);
        while let Some(link) = end.get() {
            end = &link.next;
        }
        let added = end.set(Link { product, seat, next: Box::default() });
        assert!(added.is_ok(), "two threads published products of one shard");
    }
}

impl Ticket {
    /// Units it stands for.
    #[must_use]
    pub fn quantity(&self) -> Quantity {
        Quantity(self.quantity)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.seat.turnstile.give_back(self.quantity);
    }
}

fn terms_of(view: &GateView) -> Terms {
    Terms {
        limit_per_reservation: view.limit_per_reservation.get(),
        opens_at: view.opens_at.get(),
        closes_at: view.closes_at.get(),
    }
}

fn numbers_of(view: &GateView) -> Numbers {
    Numbers {
        available: view.available.get(),
        held: view.held.get(),
        sale: match view.sale {
            SaleState::Active => Sale::Active,
            SaleState::Paused => Sale::Paused,
            SaleState::Closed => Sale::Closed,
        },
        waiters: false,
        next_expiry: view.next_expiry.get(),
    }
}

#[cfg(test)]
mod tests;
