//! What one shard has in the log, without the data: hard state, mark, last entry, and in which segment which entries lie.
//!
//! The rules of truncation are here and only here; appending, writing and recovery all keep their own [`Extent`] by them.

use std::collections::VecDeque;

use crate::types::{HardState, SnapshotMark};

/// Entries that recovery knows of from a checkpoint only: their segment was deleted, so a later mark must cover them.
pub(super) const DELETED: u64 = 0;

/// The shape of one shard's log. Entries run from `mark.index + 1` to `last` without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) hard_state: HardState,
    pub(super) mark: SnapshotMark,
    /// Index of the last entry; of the mark if there is none after it.
    pub(super) last: u64,
    runs: VecDeque<Run>,
}

/// Consecutive entries of one term in one segment, up to the next run or the last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u64,
    term: u64,
    segment: u64,
}

impl Extent {
    /// Whether an entry may be appended with this index: it replaces one or follows the last.
    pub(super) fn accepts(&self, index: u64) -> bool {
        self.mark.index < index && index <= self.last + 1
    }

    /// Appends an entry that is accepted; it and all after it replace what was there.
    pub(super) fn append(&mut self, index: u64, term: u64, segment: u64) {
        debug_assert!(self.accepts(index), "the caller has asked");
        while self.runs.back().is_some_and(|run| run.first >= index) {
            self.runs.pop_back();
        }
        if self.runs.back().is_none_or(|run| (run.term, run.segment) != (term, segment)) {
            self.runs.push_back(Run { first: index, term, segment });
        }
        self.last = index;
    }

    /// Whether the log goes on after a snapshot up to `mark`, because it holds the very entry the snapshot ends with.
    pub(super) fn continues(&self, mark: SnapshotMark) -> bool {
        self.last_term_at(mark.index) == Some(mark.term)
    }

    /// Moves the mark forward. `continues` is the answer to the question above at the time of the append.
    pub(super) fn advance(&mut self, mark: SnapshotMark, continues: bool) {
        if mark.index <= self.mark.index {
            return;
        }
        self.mark = mark;
        if !continues || mark.index >= self.last {
            self.runs.clear();
            self.last = mark.index;
            return;
        }
        while self.runs.get(1).is_some_and(|next| next.first <= mark.index + 1) {
            self.runs.pop_front();
        }
        if let Some(front) = self.runs.front_mut() {
            front.first = front.first.max(mark.index + 1);
        }
    }

    /// The first entry and where it lies, with the last of the entries in that same segment from there on.
    pub(super) fn oldest(&self) -> Option<Oldest> {
        let front = self.runs.front()?;
        let next = self.runs.iter().find(|run| run.segment != front.segment);
        Some(Oldest { segment: front.segment, first: front.first, last: next.map_or(self.last, |next| next.first - 1) })
    }

    /// The last entry, or the mark.
    pub(super) fn end(&self) -> SnapshotMark {
        SnapshotMark { index: self.last, term: self.runs.back().map_or(self.mark.term, |run| run.term) }
    }

    /// Starts from a checkpoint: entries after the base, up to the end, are somewhere before it.
    pub(super) fn restart(&mut self, base: SnapshotMark) {
        *self = Self { hard_state: self.hard_state, mark: base, last: base.index, runs: VecDeque::new() };
    }

    /// Notes entries between base and `end` that the checkpoint knows of and that were not seen.
    pub(super) fn assume(&mut self, end: SnapshotMark) {
        if end.index > self.last {
            self.runs.push_back(Run { first: self.last + 1, term: end.term, segment: DELETED });
            self.last = end.index;
        }
    }

    fn last_term_at(&self, index: u64) -> Option<u64> {
        let inside = self.mark.index < index && index <= self.last;
        self.runs.iter().rev().find(|run| inside && run.first <= index).map(|run| run.term)
    }
}

/// See [`Extent::oldest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oldest {
    pub(super) segment: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Extent {
        let mut extent = Extent::default();
        for (index, term, segment) in [(1, 1, 1), (2, 1, 1), (3, 1, 2), (4, 2, 2), (5, 2, 3)] {
            assert!(extent.accepts(index));
            extent.append(index, term, segment);
        }
        extent
    }

    fn mark(index: u64, term: u64) -> SnapshotMark {
        SnapshotMark { index, term }
    }

    #[test]
    fn an_append_replaces_what_follows() {
        let mut extent = filled();
        extent.append(3, 3, 4);
        assert_eq!(extent.last, 3);
        assert_eq!(extent.end(), mark(3, 3));
        assert!(!extent.continues(mark(4, 2)) && extent.continues(mark(2, 1)));
        assert!(extent.accepts(4) && !extent.accepts(5));
        extent.append(1, 4, 4);
        assert_eq!(extent.oldest(), Some(Oldest { segment: 4, first: 1, last: 1 }));
    }

    #[test]
    fn a_mark_inside_lets_go_of_what_it_covers() {
        let mut extent = filled();
        extent.advance(mark(2, 1), true);
        assert_eq!(extent.oldest(), Some(Oldest { segment: 2, first: 3, last: 4 }));
        assert!(!extent.accepts(2), "what a snapshot covers is committed");
        extent.advance(mark(3, 1), true);
        assert_eq!(extent.oldest(), Some(Oldest { segment: 2, first: 4, last: 4 }));
        extent.advance(mark(1, 1), true);
        assert_eq!(extent.mark, mark(3, 1), "a mark never goes back");
        extent.advance(mark(5, 2), true);
        assert_eq!((extent.oldest(), extent.end()), (None, mark(5, 2)));
    }

    #[test]
    fn a_mark_of_another_history_ends_the_log() {
        let mut extent = filled();
        assert!(!extent.continues(mark(4, 3)) && !extent.continues(mark(9, 2)));
        extent.advance(mark(4, 3), false);
        assert_eq!((extent.last, extent.oldest()), (4, None));
        assert!(extent.accepts(5));
    }
}
