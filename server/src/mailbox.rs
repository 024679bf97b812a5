//! Where the answers for one connection gather until its task writes them.
//!
//! Shards' turns put answers in, many at a time; the connection's task takes all of them out and writes
//! them in one go. Bounded by the requests the connection may have in flight: it hands on no request
//! whose answer would not fit. An answer for a connection that is gone is dropped.
//!
//! A lone answer to a connection with nothing to do is written by the turn itself: waking the task would
//! take longer than the write does. With more to write, tasks do it beside each other.

use std::sync::Arc;

use doorbuster_protocol::frame::encode_answer;
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::types::RequestId;
use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

/// If a shard group's turn has no more answers than this, it writes them itself.
const FEW: usize = 8;

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
    /// While its task waits and has nothing to write: the connection.
    line: Option<Arc<OwnedWriteHalf>>,
    /// What was written to it, and is news for the task.
    written: Vec<RequestId>,
    /// What it did not take of that.
    rest: Vec<u8>,
}

/// What has come since a connection's task looked last.
#[derive(Debug, Default)]
pub struct Taken {
    /// Answers to be written.
    pub answers: Vec<(RequestId, Answer)>,
    /// Requests whose answers were written.
    pub written: Vec<RequestId>,
    /// The end of such an answer, to be written before anything else.
    pub rest: Vec<u8>,
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

    /// The same with a lone answer, which is written at once if the task has nothing to do and the connection takes it.
    fn put_alone(&self, id: RequestId, answer: Answer) {
        let mut letters = self.letters.lock();
        let line = letters.line.as_ref().filter(|_| letters.answers.is_empty() && letters.rest.is_empty());
        let Some(line) = line.map(Arc::clone) else {
            drop(letters);
            return self.put(std::iter::once((id, answer)));
        };
        encode_answer(id, &answer, &mut letters.rest);
        letters.written.push(id);
        // An error is one of the connection's, which its task meets too, or says that there is no room now.
        let written = line.try_write(&letters.rest).unwrap_or(0);
        letters.rest.drain(..written);
        if !letters.rest.is_empty() {
            drop(letters);
            self.wake.notify_one();
        }
    }

    /// Swaps what has gathered with `taken`, which must be empty: two buffers take turns, so that
    /// nothing is allocated in the long run. From now on only the task writes.
    pub fn take(&self, taken: &mut Taken) {
        debug_assert!(taken.answers.is_empty(), "answers would be put back");
        let mut letters = self.letters.lock();
        letters.line = None;
        std::mem::swap(&mut letters.answers, &mut taken.answers);
        std::mem::swap(&mut letters.written, &mut taken.written);
        std::mem::swap(&mut letters.rest, &mut taken.rest);
    }

    /// Until the next [`Self::take`] the task has nothing to write: a shard's turn may.
    pub fn lend(&self, line: &Arc<OwnedWriteHalf>) {
        let mut letters = self.letters.lock();
        letters.line = Some(Arc::clone(line)).filter(|_| !letters.closed);
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
        letters.line = None;
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

/// Answers of one turn of a shard group, on their way to their connections.
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
        if self.answers.len() <= FEW {
            for (to, answer) in self.answers.drain(..) {
                to.mailbox.put_alone(to.id, answer);
            }
            return;
        }
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
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

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
        assert_eq!(taken_ids(&a), [0, 2, 4, 6, 8]);
        assert_eq!(taken_ids(&b), [1, 3, 5, 7, 9]);
        assert!(outgoing.is_empty());
    }

    fn taken_ids(mailbox: &Mailbox) -> Vec<u64> {
        let mut taken = Taken::default();
        mailbox.take(&mut taken);
        taken.answers.iter().map(|(id, _)| id.0).collect()
    }

    /// A connection and its other end.
    async fn line() -> (Arc<OwnedWriteHalf>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (here, there) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (_never_read, here) = here.unwrap().into_split();
        // It knows that it can be written to once it was asked.
        here.writable().await.unwrap();
        (Arc::new(here), there.unwrap().0)
    }

    fn one(to: ReplyTo) {
        let mut outgoing = Outgoing::default();
        outgoing.push(to, Err(Failure::OutcomeUnknown));
        outgoing.deliver();
    }

    #[tokio::test]
    async fn a_lone_answer_is_written_only_while_the_task_has_nothing_to_do() {
        let mailbox = Arc::new(Mailbox::default());
        let (line, mut there) = line().await;
        one(to(&mailbox, 1));
        assert_eq!(taken_ids(&mailbox), [1], "the task was never waiting");
        mailbox.lend(&line);
        one(to(&mailbox, 2));
        let mut expected = Vec::new();
        encode_answer(RequestId(2), &Err(Failure::OutcomeUnknown), &mut expected);
        let mut read = vec![0; expected.len()];
        there.read_exact(&mut read).await.unwrap();
        assert_eq!(read, expected);
        let mut taken = Taken::default();
        mailbox.take(&mut taken);
        assert_eq!((taken.answers.len(), taken.written, taken.rest.len()), (0, vec![RequestId(2)], 0));
        one(to(&mailbox, 3));
        assert_eq!(taken_ids(&mailbox), [3], "it has begun to write by itself");
    }

    #[tokio::test]
    async fn what_a_client_does_not_take_is_the_tasks() {
        let mailbox = Arc::new(Mailbox::default());
        let (line, mut there) = line().await;
        mailbox.lend(&line);
        let mut given = 0;
        while mailbox.letters.lock().rest.is_empty() {
            given += 1;
            one(to(&mailbox, given));
        }
        one(to(&mailbox, given + 1));
        mailbox.wait().await;
        let mut taken = Taken::default();
        mailbox.take(&mut taken);
        assert_eq!(taken.written.len() as u64, given);
        assert_eq!(taken.answers.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [given + 1], "behind it");
        // With the rest, all of it is whole answers in their order.
        let mut expected = Vec::new();
        (1..=given).for_each(|id| encode_answer(RequestId(id), &Err(Failure::OutcomeUnknown), &mut expected));
        let mut read = vec![0; expected.len() - taken.rest.len()];
        there.read_exact(&mut read).await.unwrap();
        read.extend_from_slice(&taken.rest);
        assert!(read == expected);
    }

    #[test]
    fn a_closed_mailbox_keeps_nothing() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.close();
        mailbox.put(std::iter::once((RequestId(1), Err(Failure::OutcomeUnknown))));
        assert!(taken_ids(&mailbox).is_empty());
    }
}
