//! One product's tickets and committed numbers, on a cache line of their own.
//!
//! `tickets = available − in flight`. Both halves live in one word, so that a compare-exchange can never
//! take what is not there. The committed numbers are published by one writer, the shard's thread, under
//! a sequence count: a reader sees all of one publication or none of it.

use crate::sync::{AtomicU64, Ordering, fence};

/// A reader that was overtaken so often by publications gives up and leaves the decision to the shard.
const READ_ATTEMPTS: usize = if cfg!(loom) { 1 } else { 4 };

/// Where a product's sale is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sale {
    /// Sells, within its opening and closing time.
    #[default]
    Active,
    /// Paused by an operator.
    Paused,
    /// Closed by an operator.
    Closed,
}

/// What is fixed when a product is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Most units in one reservation; 0 for no limit.
    pub limit_per_reservation: u32,
    /// Cluster time from which it sells, in ms; 0 for always.
    pub opens_at: u64,
    /// Cluster time from which it sells no more, in ms; 0 for never.
    pub closes_at: u64,
}

/// A product's committed numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Units nobody claims.
    pub available: u32,
    /// Units in live reservations.
    pub held: u32,
    /// Whether it sells.
    pub sale: Sale,
    /// Requests wait in the shard for units of it: new ones must queue behind them.
    pub waiters: bool,
    /// Earliest deadline of a live reservation, in ms; 0 if there is none.
    pub next_expiry: u64,
}

/// One product's tickets and committed numbers.
#[derive(Debug)]
#[repr(align(64))]
pub struct Turnstile {
    terms: Terms,
    /// Odd while the writer is at it.
    version: AtomicU64,
    /// Available in the upper half, in flight in the lower.
    tickets: AtomicU64,
    /// Held in the upper half, [`Sale`] and [`WAITERS`] in the lower.
    claims: AtomicU64,
    next_expiry: AtomicU64,
}

impl Turnstile {
    /// With these numbers, and nothing in flight.
    #[must_use]
    pub fn new(terms: Terms, numbers: Numbers) -> Self {
        Self {
            terms,
            version: AtomicU64::new(0),
            tickets: AtomicU64::new(pack(numbers.available, 0)),
            claims: AtomicU64::new(claims_of(&numbers)),
            next_expiry: AtomicU64::new(numbers.next_expiry),
        }
    }

    /// What was fixed when the product was created.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Makes newly committed numbers visible. Only ever called by the one thread that owns the shard.
    ///
    /// Units in flight stay in flight: a reserve that was granted must be given back *after* the
    /// publication that took its units out of `available`, never before.
    pub fn publish(&self, numbers: Numbers) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Whoever sees a number stored below also sees the odd version.
        fence(Ordering::Release);
        self.update_tickets(|_, in_flight| Some((numbers.available, in_flight)));
        self.claims.store(claims_of(&numbers), Ordering::Relaxed);
        self.next_expiry.store(numbers.next_expiry, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The numbers of one publication, whole. `None` if the writer was at it whenever we looked.
    #[must_use]
    pub fn read(&self) -> Option<Numbers> {
        (0..READ_ATTEMPTS).find_map(|_| self.try_read())
    }

    fn try_read(&self) -> Option<Numbers> {
        let before = self.version.load(Ordering::Acquire);
        let (available, _) = unpack(self.tickets.load(Ordering::Relaxed));
        let (held, flags) = unpack(self.claims.load(Ordering::Relaxed));
        let next_expiry = self.next_expiry.load(Ordering::Relaxed);
        // Pairs with the writer's fence: had we read a number of a later publication, we would see its version.
        fence(Ordering::Acquire);
        let after = self.version.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then(|| Numbers {
            available,
            held,
            sale: sale_of(flags),
            waiters: flags & WAITERS != 0,
            next_expiry,
        })
    }

    /// Takes `quantity` tickets, if so many are free.
    #[must_use]
    pub fn take(&self, quantity: u32) -> bool {
        self.update_tickets(|available, in_flight| {
            let taken = in_flight.checked_add(quantity)?;
            (taken <= available).then_some((available, taken))
        })
    }

    /// Gives tickets back that were taken. For a granted reserve: after the publication of its effect.
    ///
    /// # Panics
    /// If more comes back than was out: a count went wrong, and selling on would be worse.
    pub fn give_back(&self, quantity: u32) {
        let before = self.tickets.fetch_sub(u64::from(quantity), Ordering::AcqRel);
        let (_, in_flight) = unpack(before);
        assert!(in_flight >= quantity, "{quantity} tickets came back, but only {in_flight} were out");
    }

    /// Units in flight: tickets taken and not yet given back.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        unpack(self.tickets.load(Ordering::Acquire)).1
    }

    fn update_tickets(&self, change: impl Fn(u32, u32) -> Option<(u32, u32)>) -> bool {
        let mut seen = self.tickets.load(Ordering::Relaxed);
        loop {
            let (available, in_flight) = unpack(seen);
            let Some((available, in_flight)) = change(available, in_flight) else { return false };
            let wanted = pack(available, in_flight);
            match self.tickets.compare_exchange_weak(seen, wanted, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }
}

const WAITERS: u32 = 1 << 8;

fn claims_of(numbers: &Numbers) -> u64 {
    let sale = match numbers.sale {
        Sale::Active => 0,
        Sale::Paused => 1,
        Sale::Closed => 2,
    };
    pack(numbers.held, if numbers.waiters { sale | WAITERS } else { sale })
}

fn sale_of(flags: u32) -> Sale {
    match flags & 0xff {
        0 => Sale::Active,
        1 => Sale::Paused,
        _ => Sale::Closed,
    }
}

const fn pack(upper: u32, lower: u32) -> u64 {
    ((upper as u64) << 32) | lower as u64
}

#[allow(clippy::cast_possible_truncation)] // each half of a u64 fits a u32
const fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
