//! The requests of one connection that await their answer: a slab, so that a request costs no allocation
//! once the slab has grown. Pure: no lock, no clock, no I/O.
//!
//! A request id is a slot's number and how often the slot was used before; an answer to a request whose
//! caller has gone finds another use of its slot, or none, and is dropped.

use std::task::Waker;

use doorbuster_protocol::types::RequestId;

use crate::clock::Instant;
use crate::decision::Outcome;

#[derive(Debug, Default)]
pub(crate) struct Pending {
    slots: Vec<Slot>,
    /// Slots that are free, the last used first.
    free: Vec<u32>,
    /// Writes handed to the socket so far: what was queued in an earlier round may have been sent.
    round: u64,
    waiting: usize,
    /// Nothing expires before.
    earliest: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    uses: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting { waker: Option<Waker>, queued_at: Instant, until: Instant, round: u64 },
    Done(Outcome),
}

impl Pending {
    /// How many await an answer.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Everything queued so far is on its way to the socket.
    pub(crate) const fn taken(&mut self) {
        self.round += 1;
    }

    /// Takes a slot for a request that is being queued.
    pub(crate) fn insert(&mut self, now: Instant, until: Instant) -> RequestId {
        let state = State::Waiting { waker: None, queued_at: now, until, round: self.round };
        self.waiting += 1;
        self.earliest = Some(self.earliest.map_or(until, |earliest| earliest.min(until)));
        if let Some(number) = self.free.pop() {
            let slot = &mut self.slots[number as usize];
            slot.state = state;
            return request_id(number, slot.uses);
        }
        let number = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        assert!(number < u32::MAX, "the number of requests in flight is bounded far below");
        self.slots.push(Slot { uses: 0, state });
        request_id(number, 0)
    }

    /// Records an outcome. Returns whom to wake; `None` also if nobody waits for it any more.
    pub(crate) fn settle(&mut self, id: RequestId, outcome: Outcome) -> Option<Waker> {
        let slot = self.slot(id)?;
        let State::Waiting { waker, .. } = &mut slot.state else { return None };
        let waker = waker.take();
        slot.state = State::Done(outcome);
        self.waiting -= 1;
        waker
    }

    /// Takes the outcome and gives the slot back, or remembers whom to wake.
    pub(crate) fn poll(&mut self, id: RequestId, waker: &Waker) -> Option<Outcome> {
        let slot = self.slot(id)?;
        match &mut slot.state {
            State::Waiting { waker: stored, .. } => {
                if !stored.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
                    *stored = Some(waker.clone());
                }
                None
            }
            State::Done(_) => {
                let State::Done(outcome) = std::mem::replace(&mut slot.state, State::Free) else { return None };
                self.release(id);
                Some(outcome)
            }
            State::Free => None,
        }
    }

    /// The caller has gone: gives the slot back.
    pub(crate) fn abandon(&mut self, id: RequestId) {
        let Some(slot) = self.slot(id) else { return };
        if matches!(std::mem::replace(&mut slot.state, State::Free), State::Waiting { .. }) {
            self.waiting -= 1;
        }
        self.release(id);
    }

    /// Ends what has waited too long. Returns when the oldest of them was queued. Looks at the slots only
    /// if something may be due. What is still queued may be sent yet, so all of them may have been.
    pub(crate) fn expire(&mut self, now: Instant, wake: &mut Vec<Waker>) -> Option<Instant> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return None;
        }
        let (mut oldest, mut next) = (None, None);
        self.end(wake, |queued_at, until, _| {
            let least = if until <= now { &mut oldest } else { &mut next };
            let time = if until <= now { queued_at } else { until };
            *least = Some(least.map_or(time, |least: Instant| least.min(time)));
            (until <= now).then_some(Outcome::TimedOut { sent: true })
        });
        self.earliest = next;
        oldest
    }

    /// The connection has ended: ends everything.
    pub(crate) fn lose(&mut self, wake: &mut Vec<Waker>) {
        self.end(wake, |_, _, sent| Some(Outcome::Lost { sent }));
    }

    fn end(&mut self, wake: &mut Vec<Waker>, mut outcome: impl FnMut(Instant, Instant, bool) -> Option<Outcome>) {
        if self.waiting == 0 {
            return;
        }
        for slot in &mut self.slots {
            let State::Waiting { waker, queued_at, until, round } = &mut slot.state else { continue };
            let Some(outcome) = outcome(*queued_at, *until, *round < self.round) else { continue };
            wake.extend(waker.take());
            slot.state = State::Done(outcome);
            self.waiting -= 1;
        }
    }

    fn slot(&mut self, id: RequestId) -> Option<&mut Slot> {
        let (number, uses) = split(id);
        let slot = self.slots.get_mut(number as usize)?;
        (slot.uses == uses && !matches!(slot.state, State::Free)).then_some(slot)
    }

    fn release(&mut self, id: RequestId) {
        let (number, _) = split(id);
        let slot = &mut self.slots[number as usize];
        slot.uses = slot.uses.wrapping_add(1);
        self.free.push(number);
    }
}

const fn request_id(number: u32, uses: u32) -> RequestId {
    RequestId((uses as u64) << 32 | number as u64)
}

#[allow(clippy::cast_possible_truncation)] // taking the two halves is the point
const fn split(id: RequestId) -> (u32, u32) {
    (id.0 as u32, (id.0 >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use doorbuster_protocol::failure::Failure;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answer() -> Outcome {
        Outcome::Answered(Err(Failure::ShuttingDown))
    }

    fn insert(pending: &mut Pending) -> RequestId {
        let now = crate::clock::now();
        pending.insert(now, now + Duration::from_secs(1))
    }

    #[test]
    fn an_answer_reaches_its_caller_and_frees_the_slot() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut pending = Pending::default();
        let id = insert(&mut pending);
        assert_eq!(pending.poll(id, &waker), None);
        pending.settle(id, answer()).expect("a waker was left").wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(pending.poll(id, &waker), Some(answer()));
        assert_eq!((pending.waiting(), pending.free.len()), (0, 1));
    }

    #[test]
    fn an_answer_before_the_first_poll_is_not_lost() {
        let mut pending = Pending::default();
        let id = insert(&mut pending);
        assert!(pending.settle(id, answer()).is_none());
        assert_eq!(pending.poll(id, Waker::noop()), Some(answer()));
    }

    #[test]
    fn a_late_answer_does_not_reach_the_slots_next_user() {
        let mut pending = Pending::default();
        let gone = insert(&mut pending);
        pending.abandon(gone);
        let next = insert(&mut pending);
        assert_eq!(split(gone).0, split(next).0, "the slot is used again");
        pending.settle(gone, answer());
        assert_eq!(pending.poll(next, Waker::noop()), None);
        pending.settle(RequestId(u64::MAX), answer());
        assert_eq!(pending.waiting(), 1);
    }

    #[test]
    fn callers_that_go_leave_nothing_behind() {
        let mut pending = Pending::default();
        for _ in 0..1000 {
            let (unanswered, answered) = (insert(&mut pending), insert(&mut pending));
            pending.settle(answered, answer());
            pending.abandon(answered);
            pending.abandon(unanswered);
        }
        assert_eq!((pending.waiting(), pending.slots.len(), pending.free.len()), (0, 2, 2));
    }

    #[test]
    fn what_was_never_taken_was_never_sent() {
        let mut pending = Pending::default();
        let sent = insert(&mut pending);
        pending.taken();
        let queued = insert(&mut pending);
        pending.lose(&mut Vec::new());
        assert_eq!(pending.poll(sent, Waker::noop()), Some(Outcome::Lost { sent: true }));
        assert_eq!(pending.poll(queued, Waker::noop()), Some(Outcome::Lost { sent: false }));
    }

    #[test]
    fn only_what_is_due_expires() {
        let mut pending = Pending::default();
        let now = crate::clock::now();
        let second = Duration::from_secs(1);
        let early = pending.insert(now, now + second);
        let late = pending.insert(now, now + second * 2);
        assert_eq!(pending.expire(now + second, &mut Vec::new()), Some(now));
        assert_eq!(pending.poll(early, Waker::noop()), Some(Outcome::TimedOut { sent: true }));
        assert_eq!(pending.poll(late, Waker::noop()), None);
        assert_eq!(pending.expire(now + second, &mut Vec::new()), None);
    }
}
