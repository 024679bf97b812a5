//! The lease: why a leader may answer reads alone for a moment, and why no other can lead in that moment.
//!
//! A leader puts the time at which it sends (on its own monotonic clock) into every append and heartbeat. A follower that
//! accepts one *promises* not to help another leader for one election timeout, counted on its own clock from a moment
//! after it received the message, and echoes the newest stamp with its answers. The leader therefore knows: whoever echoed
//! stamp `t` helps nobody before `t + election timeout`; with a quorum of such promises nobody else can be elected until
//! then. The margin covers clocks that do not run at the same rate. Nothing here counts ticks: a paused process resumes
//! with a clock that has moved on, finds its lease over and its promises kept. (A machine whose monotonic clock stops with
//! it, a suspended virtual machine for one, is outside of this: it may believe in its lease for as long after it resumes as
//! it did when it was stopped. Its peers must not outlive it by an election timeout, or it must be stopped for good.)
//!
//! What could break a promise, and does not:
//! * A process that forgets it by restarting: after a restart a replica promises to nobody for one election timeout.
//! * A replica that votes for itself: it does not campaign while it is bound.
//! * A leader that hands over leadership makes others vote at once, bound or not. It gives its lease up for the rest of
//!   its term before the message that starts this leaves, for that message may arrive arbitrarily late. If nothing comes
//!   of it, it makes itself be elected in the next term in the same way, where such a message does not count any more.
//! * Several stamps in flight, repeated or reordered messages: only the newest stamp of the present term counts, and it is
//!   echoed only for the term in which it was heard.

use std::time::Duration;

use crate::types::{Monotonic, NodeId};

/// The leader's side.
#[derive(Debug)]
pub(crate) struct Lease {
    /// The term it is counted for; stamps of other terms do not count.
    term: u64,
    /// The newest stamp that each *other* voter has echoed in `term`.
    echoed: Vec<(NodeId, u64)>,
    /// Others needed beside the leader.
    others: usize,
    /// The newest stamp handed out: a larger one cannot be an echo.
    newest: u64,
    /// Leadership was offered to another node in `term`.
    given_up: bool,
    /// Election timeout minus margin.
    length: Duration,
}

impl Lease {
    pub(crate) fn new(node: NodeId, voters: &[NodeId], length: Duration) -> Self {
        let echoed: Vec<_> = voters.iter().filter(|&&voter| voter != node).map(|&voter| (voter, 0)).collect();
        Self { term: 0, echoed, others: voters.len() / 2, newest: 0, given_up: false, length }
    }

    /// The term it is counted for.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// Starts from nothing in a new term of this node's leadership.
    pub(crate) fn lead(&mut self, term: u64) {
        self.term = term;
        self.given_up = false;
        self.echoed.iter_mut().for_each(|(_, stamp)| *stamp = 0);
    }

    /// The stamp for messages that leave at `now`.
    pub(crate) fn stamp(&mut self, now: Monotonic) -> u64 {
        self.newest = self.newest.max(now.0).max(1);
        self.newest
    }

    /// `from` has echoed `stamp` in `term`.
    pub(crate) fn acknowledge(&mut self, term: u64, from: NodeId, stamp: u64) {
        if term != self.term || stamp > self.newest {
            return;
        }
        if let Some((_, known)) = self.echoed.iter_mut().find(|(node, _)| *node == from) {
            *known = stamp.max(*known);
        }
    }

    /// Leadership was offered to another node.
    pub(crate) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// Was it, in this term?
    pub(crate) fn is_given_up(&self, term: u64) -> bool {
        self.given_up && term == self.term
    }

    /// When the last echo of `node` was sent out as a stamp; `None` if it never echoed in this term.
    pub(crate) fn echo_of(&self, node: NodeId) -> Option<Monotonic> {
        self.echoed.iter().find(|(other, stamp)| *other == node && *stamp > 0).map(|(_, stamp)| Monotonic(*stamp))
    }

    /// The end of the lease in `term`; zero if there is none.
    pub(crate) fn until(&self, term: u64) -> Monotonic {
        if term != self.term || self.given_up {
            return Monotonic(0);
        }
        if self.others == 0 {
            return Monotonic(u64::MAX);
        }
        let mut stamps = [0; crate::config::MAX_VOTERS];
        let stamps = &mut stamps[..self.echoed.len()];
        for (slot, (_, stamp)) in stamps.iter_mut().zip(&self.echoed) {
            *slot = *stamp;
        }
        stamps.sort_unstable_by(|one, other| other.cmp(one));
        match stamps[self.others - 1] {
            0 => Monotonic(0),
            stamp => Monotonic(stamp).after(self.length),
        }
    }
}

/// The follower's side.
#[derive(Debug)]
pub(crate) struct Promise {
    timeout: Duration,
    /// The term and the newest stamp heard in it.
    heard: (u64, u64),
    /// From when the promise is counted, if there is one.
    since: Option<Monotonic>,
    /// `since` may still move: see [`Promise::observe`].
    open: bool,
    /// Nothing was observed yet: the first observation starts a promise to everybody (after a restart).
    restarted: bool,
}

impl Promise {
    pub(crate) fn new(timeout: Duration, restarted: bool) -> Self {
        Self { timeout, heard: (0, 0), since: None, open: false, restarted }
    }

    /// The clock reads `now`. A promise counts from the first reading that is *later* than the one that came with the
    /// message: a caller that reads its clock, is paused, and only then takes messages from the network would otherwise
    /// promise from before the message was sent.
    pub(crate) fn observe(&mut self, now: Monotonic) {
        if self.restarted {
            self.restarted = false;
            self.since = Some(now);
        }
        if self.open && self.since.is_some_and(|since| now > since) {
            self.since = Some(now);
            self.open = false;
        }
    }

    /// A leader's message of `term` was accepted.
    pub(crate) fn bind(&mut self, now: Monotonic, term: u64, stamp: u64) {
        if term != self.heard.0 {
            self.heard = (term, 0);
        }
        self.heard.1 = self.heard.1.max(stamp);
        self.since = self.since.max(Some(now));
        self.open = true;
    }

    /// The stamp to echo in `term`; zero for none.
    pub(crate) fn echo(&self, term: u64) -> u64 {
        if self.heard.0 == term { self.heard.1 } else { 0 }
    }

    /// True: help nobody.
    pub(crate) fn binds(&self, now: Monotonic) -> bool {
        self.restarted || self.since.is_some_and(|since| self.open || now < since.after(self.timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_nanos(100);

    fn leader(voters: &[NodeId]) -> Lease {
        let mut lease = Lease::new(1, voters, TIMEOUT);
        lease.lead(5);
        lease
    }

    #[test]
    fn counts_from_the_quorums_stamp() {
        let mut lease = leader(&[1, 2, 3, 4, 5]);
        for now in [10, 20, 30] {
            lease.stamp(Monotonic(now));
        }
        lease.acknowledge(5, 2, 30);
        assert_eq!(lease.until(5), Monotonic(0), "two of five are no quorum");
        lease.acknowledge(5, 3, 10);
        assert_eq!(lease.until(5), Monotonic(110));
        lease.acknowledge(5, 4, 20);
        assert_eq!(lease.until(5), Monotonic(120));
        lease.acknowledge(5, 4, 15);
        assert_eq!(lease.until(5), Monotonic(120), "an old echo changes nothing");
    }

    #[test]
    fn foreign_echoes_do_not_count() {
        let mut lease = leader(&[1, 2, 3]);
        lease.stamp(Monotonic(50));
        lease.acknowledge(4, 2, 50);
        lease.acknowledge(5, 9, 50);
        lease.acknowledge(5, 2, 51);
        assert_eq!(lease.until(5), Monotonic(0));
        lease.acknowledge(5, 2, 50);
        assert_eq!((lease.until(5), lease.until(6)), (Monotonic(150), Monotonic(0)));
        lease.give_up();
        assert_eq!(lease.until(5), Monotonic(0));
        lease.lead(7);
        assert_eq!(lease.until(7), Monotonic(0), "a new term starts from nothing");
    }

    #[test]
    fn alone_it_never_ends() {
        assert_eq!(leader(&[1]).until(5), Monotonic(u64::MAX));
    }

    #[test]
    fn a_promise_counts_from_a_later_reading() {
        let mut promise = Promise::new(TIMEOUT, false);
        promise.observe(Monotonic(10));
        assert!(!promise.binds(Monotonic(10)));
        promise.bind(Monotonic(10), 3, 7);
        assert!(promise.binds(Monotonic(10)));
        promise.observe(Monotonic(500));
        assert!(promise.binds(Monotonic(599)));
        assert!(!promise.binds(Monotonic(600)));
        assert_eq!((promise.echo(3), promise.echo(4)), (7, 0));
    }

    #[test]
    fn a_restarted_replica_is_bound_for_one_timeout() {
        let mut promise = Promise::new(TIMEOUT, true);
        assert!(promise.binds(Monotonic(0)));
        promise.observe(Monotonic(40));
        assert!(promise.binds(Monotonic(139)));
        assert!(!promise.binds(Monotonic(140)));
    }
}
