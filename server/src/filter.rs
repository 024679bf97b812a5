//! Which reservation ids a shard may know: guards the gate's fast refusals, so that the retry of a granted
//! reserve is never told "sold out". Errs only towards "maybe", never towards "no".
//!
//! Layers of [`Bloom`] filters, each twice as large as the one before, so that it grows without a stall.
//! Ids are never taken out; [`Filter::rebuild`] starts anew from the reservations that are known, and
//! [`Filter::wants_rebuild`] says when that is worth it (retention has let go of most of what it holds).
//! Written by the shard's turns, one at a time, read by every connection, without locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use doorbuster_gate::Bloom;
use doorbuster_protocol::types::ReservationId;

/// Ids that the first layer of an empty filter is sized for: 32 KiB.
const SMALLEST_LAYER: usize = 1 << 14;
/// A rebuild is worth it when the filter holds this many times the ids that are known.
const REBUILD_FACTOR: usize = 2;

/// The ids that one shard may know.
#[derive(Debug)]
pub struct Filter {
    layers: ArcSwap<Vec<Arc<Layer>>>,
}

#[derive(Debug)]
struct Layer {
    bloom: Bloom,
    capacity: usize,
    noted: AtomicUsize,
}

impl Filter {
    /// Knows no id.
    #[must_use]
    pub fn new() -> Self {
        Self { layers: ArcSwap::from_pointee(vec![Layer::with_capacity(SMALLEST_LAYER)]) }
    }

    /// Adds an id that is new: noted again, it would count again and make the filter grow. Only a turn of the shard may, and
    /// before it publishes the numbers that the grant changed.
    pub fn note(&self, id: ReservationId) {
        let layers = self.layers.load();
        match layers.last() {
            Some(last) if last.noted.load(Ordering::Relaxed) < last.capacity => last.note(id),
            last => {
                let larger = Layer::with_capacity(last.map_or(SMALLEST_LAYER, |last| last.capacity * 2));
                larger.note(id);
                let mut grown = Vec::clone(&layers);
                grown.push(larger);
                self.layers.store(Arc::new(grown));
            }
        }
    }

    /// Whether the id may be known; `false` is certain.
    #[must_use]
    pub fn maybe_knows(&self, id: ReservationId) -> bool {
        self.layers.load().iter().any(|layer| layer.bloom.contains(id.get()))
    }

    /// Starts anew with these ids, sized for `expected` of them and as many again. Only a turn of the shard may.
    /// Readers see the old filter until the new one is whole.
    pub fn rebuild(&self, expected: usize, ids: impl Iterator<Item = ReservationId>) {
        let layer = Layer::with_capacity(expected.saturating_mul(2).max(SMALLEST_LAYER));
        ids.for_each(|id| layer.note(id));
        self.layers.store(Arc::new(vec![layer]));
    }

    /// Whether it holds so much more than the `known` reservations that a rebuild is worth it.
    #[must_use]
    pub fn wants_rebuild(&self, known: usize) -> bool {
        self.noted() > known.saturating_mul(REBUILD_FACTOR).max(SMALLEST_LAYER)
    }

    /// Ids noted since the last rebuild.
    #[must_use]
    pub fn noted(&self) -> usize {
        self.layers.load().iter().map(|layer| layer.noted.load(Ordering::Relaxed)).sum()
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.load().iter().map(|layer| layer.bloom.bytes()).sum()
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    fn with_capacity(capacity: usize) -> Arc<Self> {
        Arc::new(Self { bloom: Bloom::with_capacity(capacity), capacity, noted: AtomicUsize::new(0) })
    }

    fn note(&self, id: ReservationId) {
        self.bloom.insert(id.get());
        self.noted.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ReservationId {
        ReservationId(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    #[test]
    fn grows_and_forgets_nothing() {
        let filter = Filter::new();
        (1..=200_000).for_each(|n| filter.note(id(n)));
        assert_eq!(filter.noted(), 200_000);
        assert!((1..=200_000).all(|n| filter.maybe_knows(id(n))));
        assert!(filter.layers.load().len() > 1);
    }

    #[test]
    fn few_strangers_are_maybes_even_after_growth() {
        let filter = Filter::new();
        (1..=200_000).for_each(|n| filter.note(id(n)));
        let wrong = (1_000_000..1_200_000).filter(|n| filter.maybe_knows(id(*n))).count();
        assert!(wrong < 2_000, "{wrong} of 200000 strangers: more than 1 %");
    }

    #[test]
    fn rebuild_lets_go_of_the_rest() {
        let filter = Filter::new();
        (1..=100_000).for_each(|n| filter.note(id(n)));
        assert!(!filter.wants_rebuild(60_000));
        assert!(filter.wants_rebuild(40_000));
        filter.rebuild(40_000, (1..=40_000).map(id));
        assert!((1..=40_000).all(|n| filter.maybe_knows(id(n))));
        let left = (40_001..=100_000).filter(|n| filter.maybe_knows(id(*n))).count();
        assert!(left < 600, "{left} of 60000 forgotten ids are still maybes");
        assert!(!filter.wants_rebuild(40_000));
        assert!(filter.bytes() <= 40_000 * 2 * 2 + 64);
    }
}
