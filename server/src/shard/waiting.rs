//! Reserves that got no ticket while others' units were in flight: first come, first served, a product at a time.
//!
//! They wait until what was ahead of them has settled; then there are units for them, or a refusal that
//! rests on committed numbers. Bounded over all products of a shard.

use std::collections::{BTreeMap, VecDeque};

use doorbuster_protocol::types::ProductId;
use doorbuster_raft::Monotonic;

use super::call::Call;

/// The reserves of a shard that wait for units.
#[derive(Debug)]
pub struct Waiting {
    lanes: BTreeMap<ProductId, Lane>,
    count: usize,
    limit: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// Number, in the backlog, of the last reserve of this product that went to the log with a ticket.
    last: u64,
    queue: VecDeque<Call>,
}

impl Waiting {
    /// Nothing waits; at most `limit` will.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { lanes: BTreeMap::new(), count: 0, limit }
    }

    /// A reserve of this product went to the log with a ticket and this number: what it does is not committed yet.
    /// Those behind it in the queue can be told nothing before it is. They wait for one round of the log at most: while
    /// they wait, newcomers get no tickets.
    pub fn entered(&mut self, product: ProductId, number: u64) {
        self.lanes.entry(product).or_default().last = number;
    }

    /// Queues a reserve.
    ///
    /// # Errors
    /// Too many wait: the call comes back.
    #[allow(clippy::result_large_err)] // the call itself goes back by value, and the path is rare
    pub fn push(&mut self, product: ProductId, call: Call) -> Result<(), Call> {
        if self.count >= self.limit {
            return Err(call);
        }
        let lane = self.lanes.entry(product).or_default();
        lane.queue.push_back(call);
        self.count += 1;
        Ok(())
    }

    /// Whether reserves of this product wait.
    #[must_use]
    pub fn has(&self, product: ProductId) -> bool {
        self.lanes.get(&product).is_some_and(|lane| !lane.queue.is_empty())
    }

    /// Products that have reserves waiting, into `products`.
    pub fn products(&self, products: &mut Vec<ProductId>) {
        products.extend(self.lanes.iter().filter(|(_, lane)| !lane.queue.is_empty()).map(|(product, _)| *product));
    }

    /// The reserve at the head of a product's queue, and whether no reserve of the product is on its way through the log.
    #[must_use]
    pub fn front(&self, product: ProductId, settled_through: u64) -> Option<(&Call, bool)> {
        let lane = self.lanes.get(&product)?;
        Some((lane.queue.front()?, lane.last <= settled_through))
    }

    /// Takes the reserve at the head of a product's queue out.
    pub fn pop(&mut self, product: ProductId) -> Option<Call> {
        let call = self.lanes.get_mut(&product)?.queue.pop_front()?;
        self.count -= 1;
        Some(call)
    }

    /// Takes out those whose callers wait no more.
    pub fn overdue(&mut self, now: Monotonic, mut ended: impl FnMut(Call)) {
        for lane in self.lanes.values_mut() {
            if lane.queue.iter().all(|call| call.is_awaited(now)) {
                continue;
            }
            let before = lane.queue.len();
            for call in std::mem::take(&mut lane.queue) {
                if call.is_awaited(now) {
                    lane.queue.push_back(call);
                } else {
                    ended(call);
                }
            }
            self.count -= before - lane.queue.len();
        }
    }

    /// Forgets products of which nothing waits and nothing is in the log.
    pub fn prune(&mut self, settled_through: u64) {
        self.lanes.retain(|_, lane| !lane.queue.is_empty() || lane.last > settled_through);
    }

    /// Takes everything out: this node leads no more.
    pub fn abandon(&mut self, mut ended: impl FnMut(Call)) {
        for lane in std::mem::take(&mut self.lanes).into_values() {
            lane.queue.into_iter().for_each(&mut ended);
        }
        self.count = 0;
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// How many may wait.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::request::RequestBody;
    use doorbuster_protocol::types::RequestId;

    use super::*;
    use crate::mailbox::{Mailbox, ReplyTo};

    const PHONE: ProductId = ProductId(1);

    fn call(id: u64, until: u64) -> Call {
        Call {
            to: ReplyTo { mailbox: Arc::new(Mailbox::default()), id: RequestId(id) },
            body: RequestBody::Query(Query::Status),
            until: Monotonic(until),
            ticket: None,
        }
    }

    fn waiting(ids: impl Iterator<Item = u64>) -> Waiting {
        let mut waiting = Waiting::new(4);
        for id in ids {
            waiting.push(PHONE, call(id, id)).expect("below the limit");
        }
        waiting
    }

    #[test]
    fn the_first_to_come_is_the_first_to_leave() {
        let mut waiting = waiting(1..=4);
        assert_eq!(waiting.push(PHONE, call(5, 5)).err().map(|call| call.to.id.0), Some(5), "full");
        let left: Vec<_> = (0..3).filter_map(|_| waiting.pop(PHONE)).map(|call| call.to.id.0).collect();
        assert_eq!(left, [1, 2, 3]);
        assert_eq!(waiting.count, 1);
    }

    #[test]
    fn a_decision_waits_for_what_is_on_its_way() {
        let mut waiting = Waiting::new(4);
        let settled = |waiting: &Waiting, through| waiting.front(PHONE, through).map(|(_, settled)| settled);
        waiting.push(PHONE, call(1, 9)).expect("below the limit");
        assert_eq!(settled(&waiting, 0), Some(true));
        for number in [7, 9] {
            waiting.entered(PHONE, number);
            assert_eq!(settled(&waiting, number - 1), Some(false));
            assert_eq!(settled(&waiting, number), Some(true));
        }
        assert_eq!(waiting.front(ProductId(2), 9).map(|_| ()), None);
    }

    #[test]
    fn those_who_wait_no_more_leave_from_anywhere_in_the_queue() {
        let mut waiting = waiting([30, 10, 40, 20].into_iter());
        let mut ended = Vec::new();
        waiting.overdue(Monotonic(20), |call| ended.push(call.to.id.0));
        assert_eq!(ended, [10, 20]);
        let mut rest = Vec::new();
        waiting.abandon(|call| rest.push(call.to.id.0));
        assert_eq!(rest, [30, 40]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn products_without_business_are_forgotten() {
        let mut waiting = waiting(1..=1);
        waiting.entered(ProductId(2), 5);
        waiting.entered(ProductId(3), 9);
        waiting.prune(5);
        assert_eq!(waiting.lanes.keys().collect::<Vec<_>>(), [&PHONE, &ProductId(3)]);
    }
}
