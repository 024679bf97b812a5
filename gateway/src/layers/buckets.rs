//! A governor state store of a fixed size, without locks: sets of eight slots, each one atomic word that holds a piece
//! of the address's hash and the time at which its bucket is full again. A new address takes an empty slot or that of
//! whoever's bucket is full again soonest, so memory and time are bounded whatever arrives, and those that ask most
//! stay known longest.
//!
//! Two addresses of one set that agree in 16 more bits of the (keyed) hash share a bucket: about one in ten thousand
//! newcomers when the table is full.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;

use super::address::AddressKey;

const WAYS: usize = 8;
/// Bits of a slot that hold the time, in µs: enough for 8.9 years since start.
const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// The store.
#[derive(Debug)]
pub struct Buckets {
    slots: Box<[AtomicU64]>,
    sets: u64,
    hasher: RandomState,
}

impl Buckets {
    /// Room for at least so many addresses, 8 bytes each.
    #[must_use]
    pub fn new(addresses: usize) -> Self {
        let sets = addresses.div_ceil(WAYS).next_power_of_two();
        let slots = (0..sets * WAYS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, sets: sets as u64, hasher: RandomState::new() }
    }

    fn set_and_tag(&self, key: AddressKey) -> (&[AtomicU64], u64) {
        let hash = self.hasher.hash_one(key);
        // A remainder below the number of sets, which is a usize.
        let set = usize::try_from(hash % self.sets).unwrap_or(0) * WAYS;
        // An empty slot is 0, so no tag is.
        (&self.slots[set..set + WAYS], (hash >> TIME_BITS).max(1))
    }
}

impl StateStore for Buckets {
    type Key = AddressKey;

    fn measure_and_replace<T, F, E>(&self, key: &AddressKey, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (set, tag) = self.set_and_tag(*key);
        loop {
            let (slot, found) = choose(set, tag);
            let known = (found >> TIME_BITS == tag).then(|| Nanos::from((found & TIME_MASK) * 1000));
            let (answer, full_at) = decide(known)?;
            let time = full_at.as_u64().div_ceil(1000).min(TIME_MASK);
            let new = tag << TIME_BITS | time;
            // The word is all there is: no other memory depends on its order.
            if slot.compare_exchange(found, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(answer);
            }
        }
    }
}

/// The slot of this tag, or the one to take for it, and what is in it.
fn choose(set: &[AtomicU64], tag: u64) -> (&AtomicU64, u64) {
    let mut best = (&set[0], u64::MAX);
    for slot in set {
        let word = slot.load(Ordering::Relaxed);
        if word >> TIME_BITS == tag {
            return (slot, word);
        }
        if best.1 == u64::MAX || word & TIME_MASK < best.1 & TIME_MASK {
            best = (slot, word);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;
    use governor::middleware::NoOpMiddleware;
    use governor::{Quota, RateLimiter};

    use super::*;

    type Limiter = RateLimiter<AddressKey, Buckets, FakeRelativeClock, NoOpMiddleware<Nanos>>;

    fn limiter(addresses: usize, burst: u32) -> Limiter {
        let rate = NonZeroU32::new(10).unwrap();
        let quota = Quota::per_second(rate).allow_burst(NonZeroU32::new(burst).unwrap());
        RateLimiter::new(quota, Buckets::new(addresses), FakeRelativeClock::default())
    }

    #[test]
    fn a_burst_then_the_rate() {
        let limiter = limiter(1024, 5);
        let key = AddressKey::V4(1);
        let taken = (0..20).filter(|_| limiter.check_key(&key).is_ok()).count();
        assert_eq!(taken, 5);
        limiter.clock().advance(Duration::from_millis(201));
        let taken = (0..20).filter(|_| limiter.check_key(&key).is_ok()).count();
        assert_eq!(taken, 2);
        assert!(limiter.check_key(&AddressKey::V4(2)).is_ok(), "another address has its own bucket");
    }

    #[test]
    fn a_flood_of_addresses_takes_no_memory_and_does_not_free_the_busiest() {
        let limiter = limiter(1024, 50);
        let busy = AddressKey::V4(u32::MAX);
        while limiter.check_key(&busy).is_ok() {}
        for address in 0..100_000 {
            assert!(limiter.check_key(&AddressKey::V4(address)).is_ok());
        }
        assert!(limiter.check_key(&busy).is_err(), "its bucket is full again last, so it stays");
        assert_eq!(limiter.into_state_store().slots.len(), 1024);
    }

    #[test]
    fn threads_share_a_bucket_exactly() {
        let limiter = limiter(1024, 1000);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| limiter.check_key(&AddressKey::V6(7)).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}
