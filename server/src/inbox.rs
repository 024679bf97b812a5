//! What reaches a shard thread: requests, peers' messages, the log's notices, snapshots.
//!
//! Each sender pushes what it has in one go; the thread takes everything out in one go. Requests and
//! peers' messages are bounded (requests come back to be answered `busy`, Raft repeats its messages);
//! the rest is bounded by what the thread itself has started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_protocol::types::ShardId;
use doorbuster_raft::PeerMessage;
use parking_lot::{Condvar, Mutex};

use crate::shard::{Call, Event};

/// Most batches of peers' messages that wait for a shard thread.
const MAX_PEER_BATCHES: usize = 4096;
/// Most bytes of them; one batch more, which a frame bounds.
const MAX_PEER_BYTES: usize = 64 << 20;

/// The one place where a shard thread hears of anything.
#[derive(Debug)]
pub struct Inbox {
    contents: Mutex<Contents>,
    wake: Condvar,
    max_calls: usize,
    drained: AtomicBool,
}

/// Everything that came since the thread looked last.
#[derive(Debug, Default)]
pub struct Contents {
    /// Requests, in the order of arrival.
    pub calls: Vec<(ShardId, Call)>,
    /// Peers' messages, as they came together.
    pub peers: Vec<Vec<(ShardId, PeerMessage)>>,
    /// About as many bytes as they have.
    peer_bytes: usize,
    /// Log writes that are on disk: shard and ticket.
    pub durable: Vec<(ShardId, u64)>,
    /// Rare things: snapshots, audits.
    pub events: Vec<(ShardId, Event)>,
    /// The node shuts down.
    pub draining: bool,
    /// The thread shall end at once.
    pub stop: bool,
}

impl Contents {
    /// Whether nothing came; whatever the flags say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.peers.is_empty() && self.durable.is_empty() && self.events.is_empty()
    }
}

impl Inbox {
    /// An empty inbox that holds at most `max_calls` requests.
    #[must_use]
    pub fn new(max_calls: usize) -> Self {
        Self {
            contents: Mutex::new(Contents::default()),
            wake: Condvar::new(),
            max_calls,
            drained: AtomicBool::new(false),
        }
    }

    /// Moves requests in, as many as fit; the rest stays in `calls`.
    pub fn push_calls(&self, calls: &mut Vec<(ShardId, Call)>) {
        let mut contents = self.contents.lock();
        let room = self.max_calls.saturating_sub(contents.calls.len());
        let fits = calls.len().min(room);
        contents.calls.extend(calls.drain(..fits));
        drop(contents);
        self.wake.notify_one();
    }

    /// Moves a peer's messages in, or drops them when too many wait.
    pub fn push_peer(&self, batch: Vec<(ShardId, PeerMessage)>) {
        let bytes = batch.iter().map(|(_, message)| message.encoded_len()).sum::<usize>();
        let mut contents = self.contents.lock();
        if contents.peers.len() < MAX_PEER_BATCHES && contents.peer_bytes < MAX_PEER_BYTES {
            contents.peer_bytes += bytes;
            contents.peers.push(batch);
        }
        drop(contents);
        self.wake.notify_one();
    }

    /// A log write is on disk.
    pub fn push_durable(&self, shard: ShardId, ticket: u64) {
        self.contents.lock().durable.push((shard, ticket));
        self.wake.notify_one();
    }

    /// Something rare happened.
    pub fn push_event(&self, shard: ShardId, event: Event) {
        self.contents.lock().events.push((shard, event));
        self.wake.notify_one();
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contents.lock().is_empty()
    }

    /// Requests that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.contents.lock().calls.len()
    }

    /// From now on: refuse new requests, finish what is under way, hand leaderships over.
    pub fn drain(&self) {
        self.contents.lock().draining = true;
        self.wake.notify_one();
    }

    /// The thread has finished what was under way since [`Self::drain`].
    pub fn set_drained(&self) {
        self.drained.store(true, Ordering::Release);
    }

    /// Whether the thread has finished what was under way.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    /// The thread shall end at its next look.
    pub fn stop(&self) {
        self.contents.lock().stop = true;
        self.wake.notify_one();
    }

    /// Swaps everything that came with `taken`, whose lists must be empty; waits for something to come
    /// for at most `patience`. The flags are copied, not reset.
    pub fn take(&self, taken: &mut Contents, patience: Duration) {
        debug_assert!(taken.is_empty(), "what was taken before would be put back");
        let mut contents = self.contents.lock();
        if contents.is_empty() && !contents.stop && !patience.is_zero() {
            self.wake.wait_for(&mut contents, patience);
        }
        taken.draining = contents.draining;
        taken.stop = contents.stop;
        std::mem::swap(&mut *contents, taken);
        contents.peer_bytes = 0;
    }
}

/// The inboxes of all shard threads: shard `s` belongs to thread `s` modulo their number. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inboxes {
    threads: Arc<[Inbox]>,
}

impl Inboxes {
    /// For so many threads, each holding at most `max_calls` requests.
    #[must_use]
    pub fn new(threads: usize, max_calls: usize) -> Self {
        Self { threads: (0..threads.max(1)).map(|_| Inbox::new(max_calls)).collect() }
    }

    /// How many threads there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // there is always one
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// Which thread owns a shard.
    #[must_use]
    pub fn thread_of(&self, shard: ShardId) -> usize {
        usize::from(shard.0) % self.threads.len()
    }

    /// Deals shards, or whatever comes in their order, out to the threads.
    #[must_use]
    pub fn deal<T>(&self, shards: Vec<T>) -> Vec<Vec<T>> {
        let mut threads: Vec<Vec<T>> = Vec::new();
        threads.resize_with(self.len(), Vec::new);
        for (shard, item) in (0..).map(ShardId).zip(shards) {
            threads[self.thread_of(shard)].push(item);
        }
        threads
    }

    /// Peers' messages for any shards.
    pub fn push_peer(&self, batch: Vec<(ShardId, PeerMessage)>) {
        let mut batches: Vec<Vec<(ShardId, PeerMessage)>> = Vec::new();
        batches.resize_with(self.len(), Vec::new);
        for (shard, message) in batch {
            batches[self.thread_of(shard)].push((shard, message));
        }
        for (thread, messages) in batches.into_iter().enumerate().filter(|(_, messages)| !messages.is_empty()) {
            self.thread(thread).push_peer(messages);
        }
    }

    /// A thread's inbox.
    #[must_use]
    pub fn thread(&self, thread: usize) -> &Inbox {
        &self.threads[thread]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Inbox> {
        self.threads.iter()
    }

    /// Something rare happened to a shard.
    pub fn push_event(&self, shard: ShardId, event: Event) {
        self.thread(self.thread_of(shard)).push_event(shard, event);
    }

    /// A shard's log write is on disk.
    pub fn push_durable(&self, shard: ShardId, ticket: u64) {
        self.thread(self.thread_of(shard)).push_durable(shard, ticket);
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::request::RequestBody;
    use doorbuster_protocol::types::RequestId;
    use doorbuster_raft::Monotonic;

    use super::*;
    use crate::mailbox::{Mailbox, ReplyTo};

    fn calls(count: u64) -> Vec<(ShardId, Call)> {
        let mailbox = Arc::new(Mailbox::default());
        (0..count)
            .map(|id| {
                let to = ReplyTo { mailbox: Arc::clone(&mailbox), id: RequestId(id) };
                let body = RequestBody::Query(Query::Status);
                (ShardId(0), Call { to, body, until: Monotonic(0), ticket: None })
            })
            .collect()
    }

    #[test]
    fn what_does_not_fit_stays_with_the_sender() {
        let inbox = Inbox::new(5);
        let mut first = calls(3);
        inbox.push_calls(&mut first);
        assert!(first.is_empty());
        let mut second = calls(4);
        inbox.push_calls(&mut second);
        assert_eq!(second.iter().map(|(_, call)| call.to.id.0).collect::<Vec<_>>(), [2, 3]);
        let mut taken = Contents::default();
        inbox.take(&mut taken, Duration::ZERO);
        assert_eq!(taken.calls.len(), 5);
    }

    #[test]
    fn peers_messages_are_bounded_in_number_and_bytes() {
        let note = || vec![(ShardId(0), PeerMessage::of_note(2, 1, vec![0; 60].into()))];
        let large = || (0..400_000).flat_map(|_| note()).collect::<Vec<_>>();
        let inbox = Inbox::new(5);
        (0..5000).for_each(|_| inbox.push_peer(note()));
        let mut taken = Contents::default();
        inbox.take(&mut taken, Duration::ZERO);
        assert_eq!(taken.peers.drain(..).count(), MAX_PEER_BATCHES);
        (0..5).for_each(|_| inbox.push_peer(large()));
        inbox.take(&mut taken, Duration::ZERO);
        assert_eq!(taken.peers.drain(..).count(), 3, "of 24.8 MB each");
        inbox.push_peer(note());
        inbox.take(&mut taken, Duration::ZERO);
        assert_eq!(taken.peers.len(), 1, "what was taken counts no more");
    }

    #[test]
    fn flags_stay_up() {
        let inbox = Inbox::new(5);
        inbox.drain();
        let mut taken = Contents::default();
        inbox.take(&mut taken, Duration::ZERO);
        assert!(taken.draining && !taken.stop);
        inbox.stop();
        inbox.take(&mut taken, Duration::from_secs(60));
        assert!(taken.draining && taken.stop, "an inbox that is stopped does not wait");
    }

    #[test]
    fn a_push_wakes_the_thread() {
        let inbox = Arc::new(Inbox::new(5));
        let pusher = Arc::clone(&inbox);
        let thread = std::thread::spawn(move || pusher.push_durable(ShardId(3), 9));
        let mut taken = Contents::default();
        inbox.take(&mut taken, Duration::from_secs(60));
        assert_eq!(taken.durable, [(ShardId(3), 9)]);
        thread.join().expect("the pusher ended");
    }
}
