//! Proposed entries whose outcome is not known yet, by (term, index).
//!
//! Whatever is applied at an index is compared with the term it was proposed in: after a leader change
//! another entry may stand there, and its results must not reach our callers.

use std::collections::VecDeque;

use doorbuster_planted::{self as planted, Bug};
use doorbuster_raft::Monotonic;

use super::call::Call;

/// Entries proposed and not applied, in log order.
#[derive(Debug, Default)]
pub struct Pending {
    entries: VecDeque<Proposal>,
}

/// One proposed entry.
#[derive(Debug)]
pub struct Proposal {
    /// Term in which it was proposed.
    pub term: u64,
    /// Where in the log.
    pub index: u64,
    /// Whether its first command is a time entry of our own, ahead of the calls'.
    pub expire: bool,
    /// Number of the first call of this or any later entry; see [`super::backlog`].
    pub first: u64,
    /// When it was proposed.
    pub at: Monotonic,
    /// Who waits for its commands, in order.
    pub calls: Vec<Call>,
}

/// What became of proposals when an entry was applied.
#[derive(Debug, Default)]
pub struct Settled {
    /// The proposal that was applied, if it was one of ours.
    pub applied: Option<Proposal>,
    /// Proposals whose place in the log was taken by others.
    pub lost: Vec<Proposal>,
}

impl Pending {
    /// Adds a proposal, which must stand behind all others in the log.
    pub fn push(&mut self, proposal: Proposal) {
        assert!(
            self.entries.back().is_none_or(|last| last.index < proposal.index),
            "a proposal at index {} behind one at a later index",
            proposal.index
        );
        self.entries.push_back(proposal);
    }

    /// An entry was applied: takes out everything at or before it.
    pub fn settle(&mut self, term: u64, index: u64) -> Settled {
        let mut settled = Settled::default();
        while self.entries.front().is_some_and(|proposal| proposal.index <= index) {
            let Some(proposal) = self.entries.pop_front() else { break };
            // Planted: whoever waits longest is meant.
            if (proposal.term, proposal.index) == (term, index) || planted::on(Bug::WaitersFirstInFirstOut) {
                settled.applied = Some(proposal);
            } else {
                settled.lost.push(proposal);
            }
        }
        settled
    }

    /// Takes everything out: this node leads no more.
    pub fn abandon(&mut self) -> impl Iterator<Item = Proposal> + '_ {
        self.entries.drain(..)
    }

    /// How many entries are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a time entry is in flight.
    #[must_use]
    pub fn expires(&self) -> bool {
        self.entries.iter().any(|proposal| proposal.expire)
    }

    /// Number of the first call that is in flight.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|proposal| proposal.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(term: u64, index: u64) -> Proposal {
        Proposal { term, index, expire: false, first: index * 10, at: Monotonic(0), calls: Vec::new() }
    }

    #[test]
    fn only_the_same_term_at_the_same_index_is_ours() {
        let mut pending = Pending::default();
        for index in 5..9 {
            pending.push(proposal(2, index));
        }
        let settled = pending.settle(2, 5);
        assert_eq!(settled.applied.map(|proposal| proposal.index), Some(5));
        assert!(settled.lost.is_empty());
        // Another leader's entry stands at 6, and at 7.
        let settled = pending.settle(3, 7);
        assert!(settled.applied.is_none());
        assert_eq!(settled.lost.iter().map(|proposal| proposal.index).collect::<Vec<_>>(), [6, 7]);
        assert_eq!(pending.first(), Some(80));
        assert_eq!(pending.abandon().count(), 1);
        assert!(pending.is_empty());
    }

    #[test]
    fn entries_before_ours_settle_nothing() {
        let mut pending = Pending::default();
        pending.push(proposal(2, 9));
        assert!(pending.settle(1, 8).applied.is_none());
        assert_eq!(pending.len(), 1);
    }

    #[test]
    #[should_panic(expected = "behind one at a later index")]
    fn proposals_are_in_log_order() {
        let mut pending = Pending::default();
        pending.push(proposal(2, 9));
        pending.push(proposal(2, 9));
    }
}
