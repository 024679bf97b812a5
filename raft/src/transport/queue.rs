//! What waits for one peer: bounded in messages and bytes. Pushed to by any thread, drained by the connection's task.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::QueueLimits;
use crate::message::PeerMessage;
use crate::types::ShardId;

/// Counted for every message beside its encoding.
const OVERHEAD: usize = 128;

pub(super) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    /// There is a connection to carry what is pushed.
    open: bool,
    messages: VecDeque<(ShardId, PeerMessage)>,
    bytes: usize,
    dropped: u64,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { limits, state: Mutex::new(State::default()), filled: Notify::new() }
    }

    /// From now on what is pushed waits for the connection.
    pub(super) fn open(&self) {
        self.state.lock().open = true;
    }

    /// Drops everything: messages of a broken connection are old news when the next one stands.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.open = false;
        state.dropped += state.messages.len() as u64;
        state.messages.clear();
        state.bytes = 0;
    }

    pub(super) fn push(&self, batch: Vec<(ShardId, PeerMessage)>) {
        let mut state = self.state.lock();
        for item in batch {
            let size = size(&item.1);
            let fits = state.messages.len() < self.limits.messages && state.bytes + size <= self.limits.bytes;
            if state.open && fits {
                state.bytes += size;
                state.messages.push_back(item);
            } else {
                state.dropped += 1;
            }
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until there may be something to take. Cancellation-safe.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Moves messages to `out` until it holds `limit` bytes.
    pub(super) fn take(&self, limit: usize, out: &mut Vec<(ShardId, PeerMessage)>) {
        let mut state = self.state.lock();
        let mut taken = 0;
        while taken < limit {
            let Some(item) = state.messages.pop_front() else { break };
            let size = size(&item.1);
            taken += size;
            state.bytes -= size;
            out.push(item);
        }
    }

    /// Connected, messages waiting, messages dropped.
    pub(super) fn describe(&self) -> (bool, usize, u64) {
        let state = self.state.lock();
        (state.open, state.messages.len(), state.dropped)
    }
}

fn size(message: &PeerMessage) -> usize {
    message.encoded_len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::Message;

    use super::*;

    fn message(bytes: usize) -> (ShardId, PeerMessage) {
        let entry = raft::eraftpb::Entry { data: vec![0; bytes].into(), ..Default::default() };
        let mut raft = Message::default();
        raft.set_entries(vec![entry].into());
        (0, PeerMessage::new(raft, 0))
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let queue = Queue::new(QueueLimits { messages: 3, bytes: 10_000 });
        queue.push(vec![message(0)]);
        assert_eq!(queue.describe(), (false, 0, 1));
        queue.open();
        queue.push(vec![message(0), message(20_000), message(0), message(0), message(0)]);
        assert_eq!(queue.describe(), (true, 3, 3));
        let mut out = Vec::new();
        queue.take(1, &mut out);
        assert_eq!((out.len(), queue.describe().1), (1, 2));
        queue.close();
        assert_eq!(queue.describe(), (false, 0, 5));
        queue.open();
        queue.push(vec![message(9_000)]);
        assert_eq!(queue.describe(), (true, 1, 5), "a closed queue counts no bytes");
    }
}
