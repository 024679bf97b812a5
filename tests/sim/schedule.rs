//! What will happen when: by time, and for equal times in the order in which it was scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::history::Moment;

/// Events to come.
pub struct Schedule<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    sequence: u64,
    now: Moment,
}

struct Entry<E> {
    key: (Moment, u64),
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0, now: Moment(0) }
    }
}

impl<E> Schedule<E> {
    /// The moment of the last event.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Something will happen at this moment; at once if that is past.
    pub fn at(&mut self, at: Moment, event: E) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { key: (at.max(self.now), self.sequence), event }));
    }

    /// Something will happen in so many nanoseconds.
    pub fn after(&mut self, nanos: u64, event: E) {
        self.at(Moment(self.now.0.saturating_add(nanos)), event);
    }

    /// The next event; it is now.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse(Entry { key, event }) = self.heap.pop()?;
        self.now = key.0;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_then_by_order() {
        let mut schedule = Schedule::default();
        schedule.at(Moment(5), "b");
        schedule.at(Moment(3), "a");
        schedule.at(Moment(5), "c");
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop()).collect();
        assert_eq!((order, schedule.now()), (vec!["a", "b", "c"], Moment(5)));
        schedule.at(Moment(1), "late");
        schedule.after(2, "later");
        assert_eq!((schedule.pop(), schedule.now()), (Some("late"), Moment(5)));
        assert_eq!((schedule.pop(), schedule.now()), (Some("later"), Moment(7)));
    }
}
