//! Commands that will be proposed, in the order in which they reached the leader, and how far they have settled.
//!
//! Every call gets a number when it enters. Calls leave in order, into entries that settle in order, so
//! one number says which of them are settled: all before the first that is neither here nor in flight.

use std::collections::VecDeque;

use doorbuster_raft::Monotonic;

use super::call::Call;
use super::pending::Pending;

/// Commands waiting to be proposed.
#[derive(Debug)]
pub struct Backlog {
    calls: VecDeque<Call>,
    /// Number of the next call to enter; the first is 1.
    next: u64,
    limit: usize,
}

impl Backlog {
    /// An empty backlog that takes at most `limit` calls.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { calls: VecDeque::new(), next: 1, limit }
    }

    /// Adds a call and gives its number.
    ///
    /// # Errors
    /// The backlog is full: the call comes back.
    #[allow(clippy::result_large_err)] // the call itself goes back by value, and the path is rare
    pub fn push(&mut self, call: Call) -> Result<u64, Call> {
        if self.calls.len() >= self.limit {
            return Err(call);
        }
        self.calls.push_back(call);
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Takes the oldest call out.
    pub fn pop(&mut self) -> Option<Call> {
        self.calls.pop_front()
    }

    /// Takes out the oldest calls, as far as their callers wait no more.
    pub fn overdue(&mut self, now: Monotonic, mut ended: impl FnMut(Call)) {
        while self.calls.front().is_some_and(|call| !call.is_awaited(now)) {
            self.calls.pop_front().into_iter().for_each(&mut ended);
        }
    }

    /// Puts the calls that were taken out last back, in their order.
    pub fn put_back(&mut self, calls: Vec<Call>) {
        for call in calls.into_iter().rev() {
            self.calls.push_front(call);
        }
    }

    /// Number of the call that [`Self::pop`] gives next.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.next - self.calls.len() as u64
    }

    /// Every call with this number or a lower one is settled: applied, refused or dropped.
    #[must_use]
    pub fn settled_through(&self, pending: &Pending) -> u64 {
        pending.first().unwrap_or_else(|| self.first()) - 1
    }

    /// How many may wait.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether nothing waits to be proposed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// How many wait to be proposed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::pending::Proposal;
    use super::*;
    use crate::mailbox::{Mailbox, ReplyTo};
    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::request::RequestBody;
    use doorbuster_protocol::types::RequestId;

    fn call() -> Call {
        Call {
            to: ReplyTo { mailbox: Arc::new(Mailbox::default()), id: RequestId(0) },
            body: RequestBody::Query(Query::Status),
            until: Monotonic(0),
            ticket: None,
        }
    }

    #[test]
    fn calls_are_settled_when_nothing_before_them_is_open() {
        let (mut backlog, mut pending) = (Backlog::new(3), Pending::default());
        assert_eq!(backlog.settled_through(&pending), 0);
        for number in 1..=3 {
            assert_eq!(backlog.push(call()).ok(), Some(number));
        }
        assert!(backlog.push(call()).is_err(), "full");
        assert_eq!(backlog.settled_through(&pending), 0);
        let first = backlog.first();
        backlog.pop();
        backlog.pop();
        pending.push(Proposal { term: 1, index: 1, expire: false, first, at: Monotonic(0), calls: Vec::new() });
        assert_eq!(backlog.settled_through(&pending), 0, "two in flight, one waits");
        pending.settle(1, 1);
        assert_eq!(backlog.settled_through(&pending), 2);
        backlog.pop();
        assert_eq!(backlog.settled_through(&pending), 3, "dropped without an entry");
    }
}
