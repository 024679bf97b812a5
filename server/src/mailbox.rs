//! Where the answers for one connection gather until its task writes them.
//!
//! Shard threads put answers in, many at a time; the connection's task takes all of them out and writes
//! them in one go. Bounded by the requests the connection may have in flight: it hands on no request
//! whose answer would not fit. An answer for a connection that is gone is dropped.

use std::sync::Arc;

use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::types::RequestId;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The answers of one connection that have not been written yet.
#[derive(Debug, Default)]
pub struct Mailbox {
    letters: Mutex<Letters>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Letters {
    answers: Vec<(RequestId, Answer)>,
    closed: bool,
}

impl Mailbox {
    /// Moves answers in. The task that waits in [`Self::wait`] wakes up.
    pub fn put(&self, answers: impl Iterator<Item = (RequestId, Answer)>) {
        let mut letters = self.letters.lock();
        if letters.closed {
            return;
        }
        letters.answers.extend(answers);
        drop(letters);
        self.wake.notify_one();
    }

    /// Swaps what has gathered with `taken`, which must be empty: two buffers take turns, so that
    /// nothing is allocated in the long run.
    pub fn take(&self, taken: &mut Vec<(RequestId, Answer)>) {
        debug_assert!(taken.is_empty(), "answers would be put back");
        std::mem::swap(&mut self.letters.lock().answers, taken);
    }

    /// Returns when answers may have come since the last [`Self::take`]. Cancellation-safe.
    pub async fn wait(&self) {
        self.wake.notified().await;
    }

    /// The connection is gone: answers are dropped from now on.
    pub fn close(&self) {
        let mut letters = self.letters.lock();
        letters.closed = true;
        letters.answers = Vec::new();
    }
}

/// To whom an answer goes.
#[derive(Clone, Debug)]
pub struct ReplyTo {
    /// The connection's answers.
    pub mailbox: Arc<Mailbox>,
    /// The request it answers.
    pub id: RequestId,
}

/// Answers of one round of a shard thread, on their way to their connections.
#[derive(Debug, Default)]
pub struct Outgoing {
    answers: Vec<(ReplyTo, Answer)>,
}

impl Outgoing {
    /// Adds an answer.
    pub fn push(&mut self, to: ReplyTo, answer: Answer) {
        self.answers.push((to, answer));
    }

    /// How many wait to be delivered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether none waits to be delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Delivers all, in order. What one connection asked together is answered together as a rule, so it is locked and woken
    /// once for all that follow each other; sorting them by connection costs more than it saves.
    pub fn deliver(&mut self) {
        let mut rest = self.answers.drain(..).peekable();
        while let Some((to, answer)) = rest.next() {
            let mailbox = to.mailbox;
            let more = std::iter::from_fn(|| {
                rest.next_if(|(next, _)| Arc::ptr_eq(&next.mailbox, &mailbox)).map(|(next, answer)| (next.id, answer))
            });
            mailbox.put(std::iter::once((to.id, answer)).chain(more));
        }
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::failure::Failure;

    use super::*;

    fn to(mailbox: &Arc<Mailbox>, id: u64) -> ReplyTo {
        ReplyTo { mailbox: Arc::clone(mailbox), id: RequestId(id) }
    }

    #[test]
    fn answers_reach_their_own_connection_in_order() {
        let (a, b) = (Arc::new(Mailbox::default()), Arc::new(Mailbox::default()));
        let mut outgoing = Outgoing::default();
        for id in 0..10 {
            outgoing.push(to(if id % 2 == 0 { &a } else { &b }, id), Err(Failure::OutcomeUnknown));
        }
        outgoing.deliver();
        let mut taken = Vec::new();
        a.take(&mut taken);
        assert_eq!(taken.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
        taken.clear();
        b.take(&mut taken);
        assert_eq!(taken.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
        assert!(outgoing.is_empty());
    }

    #[test]
    fn a_closed_mailbox_keeps_nothing() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.close();
        mailbox.put(std::iter::once((RequestId(1), Err(Failure::OutcomeUnknown))));
        let mut taken = Vec::new();
        mailbox.take(&mut taken);
        assert!(taken.is_empty());
    }
}
