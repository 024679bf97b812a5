//! What waits for one peer: bounded in messages and bytes. Pushed to by any thread, drained by the connection's task.
//!
//! Where nothing waits, whoever pushes a little writes it to the connection at once: waking the task for it would take longer
//! than the write does. What the connection does not take then, and whatever is large, is the task's.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::QueueLimits;
use super::frame;
use crate::message::PeerMessage;
use crate::types::ShardId;

/// Counted for every message beside its encoding.
const OVERHEAD: usize = 128;
/// What waits is written by whoever pushes if it is no more than this.
const DIRECT_BYTES: usize = 32 << 10;

pub(super) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    /// The connection that carries what is pushed.
    line: Option<Arc<OwnedWriteHalf>>,
    /// The connection's task writes: nobody else may.
    writing: bool,
    /// The end of a frame that the connection has not taken yet.
    rest: Vec<u8>,
    messages: VecDeque<(ShardId, PeerMessage)>,
    bytes: usize,
    dropped: u64,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { limits, state: Mutex::new(State::default()), filled: Notify::new() }
    }

    /// From now on what is pushed goes over this connection.
    pub(super) fn open(&self, line: Arc<OwnedWriteHalf>) {
        self.state.lock().line = Some(line);
    }

    /// Drops everything: messages of a broken connection are old news when the next one stands.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.line = None;
        state.writing = false;
        state.rest.clear();
        state.dropped += state.messages.len() as u64;
        state.messages.clear();
        state.bytes = 0;
    }

    /// Adds what fits. `wall_clock_ms` goes out with it if it goes out at once.
    pub(super) fn push(&self, batch: Vec<(ShardId, PeerMessage)>, wall_clock_ms: u64) {
        let mut state = self.state.lock();
        for item in batch {
            let size = size(&item.1);
            let fits = state.messages.len() < self.limits.messages && state.bytes + size <= self.limits.bytes;
            if state.line.is_some() && fits {
                state.bytes += size;
                state.messages.push_back(item);
            } else {
                state.dropped += 1;
            }
        }
        if state.write_now(wall_clock_ms) {
            return;
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until there may be something to take. Cancellation-safe.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// The end of a frame, and messages behind it up to `limit` bytes, for the connection's task: until
    /// [`Self::written`] it alone writes.
    pub(super) fn take(&self, limit: usize, rest: &mut Vec<u8>, out: &mut Vec<(ShardId, PeerMessage)>) {
        let mut state = self.state.lock();
        state.writing = true;
        rest.append(&mut state.rest);
        let mut taken = 0;
        while taken < limit {
            let Some(item) = state.messages.pop_front() else { break };
            let size = size(&item.1);
            taken += size;
            state.bytes -= size;
            out.push(item);
        }
    }

    /// The task has written what it took.
    pub(super) fn written(&self) {
        self.state.lock().writing = false;
    }

    /// Connected, messages waiting, messages dropped.
    pub(super) fn describe(&self) -> (bool, usize, u64) {
        let state = self.state.lock();
        (state.line.is_some(), state.messages.len(), state.dropped)
    }
}

impl State {
    /// Writes everything, if it is little and nobody else writes. Whether nothing is left for the task.
    fn write_now(&mut self, wall_clock_ms: u64) -> bool {
        let Some(line) = self.line.as_ref().filter(|_| !self.writing && self.rest.is_empty()) else { return false };
        if self.messages.is_empty() || self.bytes > DIRECT_BYTES {
            return self.messages.is_empty();
        }
        frame::write_messages(&mut self.rest, wall_clock_ms, self.messages.make_contiguous());
        self.messages.clear();
        self.bytes = 0;
        // An error is one of the connection's, which its task meets too, or says that there is no room now.
        let written = line.try_write(&self.rest).unwrap_or(0);
        self.rest.drain(..written);
        self.rest.is_empty()
    }
}

fn size(message: &PeerMessage) -> usize {
    message.encoded_len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Message;
    use tokio::io::AsyncReadExt;
    use tokio::net::tcp::OwnedReadHalf;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn message(bytes: usize) -> (ShardId, PeerMessage) {
        let entry = raft::eraftpb::Entry { data: vec![0; bytes].into(), ..Default::default() };
        let mut raft = Message::default();
        raft.set_entries(vec![entry].into());
        (0, PeerMessage::new(raft, 0))
    }

    /// Both ends of a connection, one direction of it.
    async fn line() -> (Arc<OwnedWriteHalf>, OwnedReadHalf) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (here, there) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (there, far) = there.unwrap().0.into_split();
        far.forget();
        let (near, here) = here.unwrap().into_split();
        drop(near);
        // It knows that it can be written to once it was asked.
        here.writable().await.unwrap();
        (Arc::new(here), there)
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let queue = Queue::new(QueueLimits { messages: 3, bytes: 10_000 });
        let mut rest = Vec::new();
        queue.push(vec![message(0)], 0);
        assert_eq!(queue.describe(), (false, 0, 1));
        let (line, _there) = line().await;
        queue.open(Arc::clone(&line));
        let mut out = Vec::new();
        queue.take(1, &mut rest, &mut out);
        queue.push(vec![message(0), message(20_000), message(0), message(0), message(0)], 0);
        assert_eq!(queue.describe(), (true, 3, 3));
        queue.take(1, &mut rest, &mut out);
        assert_eq!((out.len(), queue.describe().1), (1, 2));
        queue.close();
        assert_eq!(queue.describe(), (false, 0, 5));
        queue.open(line);
        queue.push(vec![message(9_000)], 0);
        assert_eq!(queue.describe(), (true, 0, 5), "a closed queue counts no bytes, and nobody writes any more");
    }

    #[tokio::test]
    async fn a_little_goes_out_at_once_and_nothing_overtakes_or_cuts_what_the_task_writes() {
        let queue = Queue::new(QueueLimits { messages: 1000, bytes: 64 << 20 });
        let (line, mut there) = line().await;
        queue.open(Arc::clone(&line));
        let (mut expected, mut rest, mut out) = (Vec::new(), Vec::new(), Vec::new());
        queue.push(vec![message(10)], 7);
        frame::write_messages(&mut expected, 7, &[message(10)]);
        let mut read = vec![0; expected.len()];
        there.read_exact(&mut read).await.unwrap();
        assert_eq!((read, queue.describe().1), (expected, 0), "without a task");
        // Much is left to the task, and while it writes, a little is.
        queue.push(vec![message(DIRECT_BYTES)], 7);
        queue.take(1, &mut rest, &mut out);
        queue.push(vec![message(10)], 7);
        assert_eq!((rest.len(), out.len(), queue.describe().1), (0, 1, 1));
        queue.written();
        queue.push(vec![message(11)], 8);
        let mut expected = Vec::new();
        frame::write_messages(&mut expected, 8, &[message(10), message(11)]);
        let mut read = vec![0; expected.len()];
        there.read_exact(&mut read).await.unwrap();
        assert_eq!(read, expected, "what waited goes first");
        // The peer reads no more: some frame is cut, and its end is the task's.
        while queue.describe().1 == 0 {
            queue.push(vec![message(DIRECT_BYTES / 2)], 9);
        }
        out.clear();
        queue.take(usize::MAX, &mut rest, &mut out);
        assert!(!rest.is_empty() && !out.is_empty());
        let mut frame = Vec::new();
        frame::write_messages(&mut frame, 9, &[message(DIRECT_BYTES / 2)]);
        assert_eq!(rest, frame[frame.len() - rest.len()..]);
    }
}
