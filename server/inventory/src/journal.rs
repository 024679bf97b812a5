//! A queue whose items keep their position: appended at the back, dropped at the front, read by
//! position in between. Pages are shared copy-on-write, so a clone costs one pointer a page.

use std::collections::VecDeque;
use std::sync::Arc;

/// Items in a page.
const PAGE: usize = 256;

/// See the module. Positions count from the `first` it was made with.
#[derive(Clone, Debug)]
pub(crate) struct Journal<T> {
    /// Position of the front item.
    first: u64,
    /// Position the next item will have.
    next: u64,
    /// Items at the start of the front page that have been dropped.
    dropped: usize,
    /// All full but the last.
    pages: VecDeque<Arc<Vec<T>>>,
}

impl<T: Clone> Journal<T> {
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { first, next: first, dropped: 0, pages: VecDeque::new() }
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    #[allow(clippy::cast_possible_truncation)] // as many items as are in memory
    pub(crate) fn len(&self) -> usize {
        (self.next - self.first) as usize
    }

    pub(crate) fn get(&self, position: u64) -> Option<&T> {
        if position < self.first || position >= self.next {
            return None;
        }
        let at = self.offset(position);
        self.pages.get(at / PAGE)?.get(at % PAGE)
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.get(self.first)
    }

    /// Items from `position` on, or from the front if that was dropped.
    pub(crate) fn iter_from(&self, position: u64) -> impl Iterator<Item = &T> {
        (position.max(self.first)..self.next).filter_map(|position| self.get(position))
    }

    pub(crate) fn push(&mut self, item: T) {
        if self.pages.back().is_none_or(|page| page.len() == PAGE) {
            self.pages.push_back(Arc::new(Vec::with_capacity(PAGE)));
        }
        if let Some(page) = self.pages.back_mut() {
            Arc::make_mut(page).push(item);
        }
        self.next += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.front()?.clone();
        self.first += 1;
        self.dropped += 1;
        if self.dropped == PAGE {
            self.pages.pop_front();
            self.dropped = 0;
        }
        Some(item)
    }

    #[allow(clippy::cast_possible_truncation)] // as many items as are in memory
    fn offset(&self, position: u64) -> usize {
        (position - self.first) as usize + self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_what_is_dropped_in_front() {
        let mut journal = Journal::starting_at(1);
        for item in 1..=2000_u64 {
            journal.push(item);
            if item % 3 == 0 {
                journal.pop();
            }
        }
        assert_eq!((journal.first(), journal.next(), journal.len()), (667, 2001, 1334));
        assert_eq!(
            (journal.get(666), journal.get(667), journal.get(2000), journal.get(2001)),
            (None, Some(&667), Some(&2000), None)
        );
        assert!(journal.iter_from(0).copied().eq(667..=2000));
        assert!(journal.iter_from(1990).copied().eq(1990..=2000));
    }

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut journal = Journal::starting_at(0);
        (0..300).for_each(|item| journal.push(item));
        let frozen = journal.clone();
        (300..600).for_each(|item| journal.push(item));
        assert!((0..500).all(|item| journal.pop() == Some(item)));
        assert!(frozen.iter_from(0).copied().eq(0..300));
        assert!(journal.iter_from(0).copied().eq(500..600));
    }
}
