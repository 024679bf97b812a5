//! The decision on one reserve, on the thread of its connection.

use crate::lease::Lease;
use crate::turnstile::{Numbers, Sale, Terms, Turnstile};

/// What is asked, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// How many units.
    pub quantity: u32,
    /// The node's monotonic clock in nanoseconds, read after the request had arrived.
    pub now: u64,
    /// Cluster time in ms.
    pub time: u64,
}

/// What becomes of a reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has its tickets, and may queue.
    Ticket,
    /// Not ours to say: the shard decides.
    Wait,
    /// This node does not lead the shard.
    NotLeading,
    /// Nothing is available, nothing held.
    SoldOut,
    /// Nothing is available, something is held.
    AllHeld {
        /// Earliest deadline of a live reservation, in ms.
        next_expiry: u64,
    },
    /// The sale has not begun.
    NotOpen {
        /// When it will, in ms.
        opens_at: u64,
    },
    /// The sale is over.
    Closed,
    /// The sale is paused.
    Paused,
    /// More units than one reservation may have.
    QuantityTooLarge {
        /// The limit.
        limit: u32,
    },
}

/// Gives a ticket, refuses, or leaves the decision to the shard. No lock, no allocation.
///
/// Why a refusal is true: the lease is loaded *before* the numbers, so the numbers are at least as new as
/// everything this leader had published when it published that lease, its predecessors' last entries
/// included (a leader publishes before it opens the lease, and before it replies). `now`, read after the
/// request arrived, lies within the lease, so no other leader had committed anything by then. Hence the
/// numbers were the shard's at `now`, or became so later, while the request was still unanswered. Loading
/// them the other way round could pair numbers from before another leader's term with the lease after it.
///
/// `maybe_known` asks the filter whether the reservation may exist already; it is asked only before a
/// refusal, and after the numbers were read: whoever grants notes the id before it publishes.
pub fn admit(lease: &Lease, seat: &Turnstile, asked: Asked, maybe_known: impl FnOnce() -> bool) -> Verdict {
    let Some(until) = lease.until() else { return Verdict::NotLeading };
    let Some(numbers) = seat.read() else { return Verdict::Wait };
    match refusal(seat.terms(), &numbers, asked) {
        Some(_) if asked.now >= until || maybe_known() => Verdict::Wait,
        Some(refusal) => refusal,
        None if asked.quantity == 0 || numbers.waiters => Verdict::Wait,
        None if seat.take(asked.quantity) => Verdict::Ticket,
        None => Verdict::Wait,
    }
}

/// In the inventory's order of checks.
fn refusal(terms: &Terms, numbers: &Numbers, asked: Asked) -> Option<Verdict> {
    let over = terms.closes_at != 0 && asked.time >= terms.closes_at;
    match numbers.sale {
        Sale::Closed => return Some(Verdict::Closed),
        _ if over => return Some(Verdict::Closed),
        Sale::Paused => return Some(Verdict::Paused),
        Sale::Active => {}
    }
    if asked.time < terms.opens_at {
        return Some(Verdict::NotOpen { opens_at: terms.opens_at });
    }
    let limit = terms.limit_per_reservation;
    if limit != 0 && asked.quantity > limit {
        return Some(Verdict::QuantityTooLarge { limit });
    }
    match (numbers.available, numbers.held) {
        _ if asked.quantity == 0 => None,
        (0, 0) => Some(Verdict::SoldOut),
        (0, _) => Some(Verdict::AllHeld { next_expiry: numbers.next_expiry }),
        _ => None,
    }
}
