//! What reaches a shard group: requests, peers' messages, the log's notices, snapshots.
//!
//! Each sender pushes what it has in one go; a turn takes everything out in one go. Whoever has pushed attends to it
//! ([`Inbox::attend`]): where little waits by taking the turn, else by waking the group's thread. Requests and peers'
//! messages are bounded (requests come back to be answered `busy`, Raft repeats its messages); the rest is bounded by what the
//! group itself has started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_protocol::types::{NodeId, ShardId};
use doorbuster_raft::{Monotonic, PeerMessage};
use parking_lot::{Condvar, Mutex, RwLock};

use crate::clock;
use crate::shard::{Call, Event};
use crate::turns::Turns;

/// Most batches of peers' messages that wait for a shard group.
const MAX_PEER_BATCHES: usize = 4096;
/// Most bytes of them; one batch more, which a frame bounds.
const MAX_PEER_BYTES: usize = 64 << 20;

/// Whoever brings no more than so many requests lets the shards work at once; more are the thread's.
const FEW_CALLS: usize = 128;
/// The same with bytes of peers' messages.
const FEW_BYTES: usize = 64 << 10;
/// After a turn that took longer...
const LONG: Duration = Duration::from_micros(200);
/// ...turns are the thread's for so long.
const LABORIOUS: Duration = Duration::from_millis(10);

/// The one place where the shards of a thread hear of anything.
#[derive(Debug)]
pub struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    max_calls: usize,
    drained: AtomicBool,
    /// Who lets the shards work when little has come; nobody before the node has started.
    turns: RwLock<Option<Arc<Turns>>>,
}

#[derive(Debug, Default)]
struct State {
    contents: Contents,
    /// The thread shall look.
    summoned: bool,
    /// When it looks by itself.
    wake_at: Monotonic,
    /// It sleeps until then.
    asleep_until: Option<Monotonic>,
    /// Until then turns are the thread's.
    laborious_until: Monotonic,
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
    /// Nodes whose connection to this one has ended, each once.
    pub lost: Vec<NodeId>,
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
        let quiet = self.calls.is_empty() && self.peers.is_empty() && self.lost.is_empty();
        quiet && self.durable.is_empty() && self.events.is_empty()
    }
}

impl Inbox {
    /// An empty inbox that holds at most `max_calls` requests.
    #[must_use]
    pub fn new(max_calls: usize) -> Self {
        Self {
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
            max_calls,
            drained: AtomicBool::new(false),
            turns: RwLock::new(None),
        }
    }

    /// Moves requests in, as many as fit; the rest stays in `calls`. Whoever does calls [`Self::attend`] then.
    pub fn push_calls(&self, calls: &mut Vec<(ShardId, Call)>) {
        let contents = &mut self.state.lock().contents;
        let room = self.max_calls.saturating_sub(contents.calls.len());
        let fits = calls.len().min(room);
        contents.calls.extend(calls.drain(..fits));
    }

    /// Moves a peer's messages in, or drops them when too many wait. Whoever does calls [`Self::attend`] then.
    pub fn push_peer(&self, batch: Vec<(ShardId, PeerMessage)>) {
        let bytes = batch.iter().map(|(_, message)| message.encoded_len()).sum::<usize>();
        let contents = &mut self.state.lock().contents;
        if contents.peers.len() < MAX_PEER_BATCHES && contents.peer_bytes < MAX_PEER_BYTES {
            contents.peer_bytes += bytes;
            contents.peers.push(batch);
        }
    }

    /// A peer's connection to this node has ended: the thread looks.
    pub fn push_lost(&self, peer: NodeId) {
        self.summon(|contents| {
            if !contents.lost.contains(&peer) {
                contents.lost.push(peer);
            }
        });
    }

    /// A log write is on disk. Whoever says so calls [`Self::attend`] then.
    pub fn push_durable(&self, shard: ShardId, ticket: u64) {
        self.state.lock().contents.durable.push((shard, ticket));
    }

    /// Something rare happened: the thread looks.
    pub fn push_event(&self, shard: ShardId, event: Event) {
        self.summon(|contents| contents.events.push((shard, event)));
    }

    /// Something was brought: where it is little the shards work now, on this thread, unless they do already; otherwise their
    /// thread looks. What nobody attends to waits for the next tick.
    pub fn attend(&self) {
        let turns = self.turns.read().clone();
        match turns.filter(|_| self.has_little()) {
            Some(turns) => turns.help(self),
            None => self.summon(|_| {}),
        }
    }

    /// From now on whoever brings little lets the shards work at once; or not any more.
    pub fn employ(&self, turns: Option<Arc<Turns>>) {
        *self.turns.write() = turns;
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.lock().contents.is_empty()
    }

    /// Whether something waits, and is little work, as far as one can tell.
    #[must_use]
    pub fn has_little(&self) -> bool {
        let now = clock::monotonic();
        let state = self.state.lock();
        let contents = &state.contents;
        let few = contents.calls.len() <= FEW_CALLS && contents.peer_bytes <= FEW_BYTES && contents.events.is_empty();
        few && !contents.is_empty() && now >= state.laborious_until
    }

    /// Requests that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.state.lock().contents.calls.len()
    }

    /// From now on: refuse new requests, finish what is under way, hand leaderships over.
    pub fn drain(&self) {
        self.summon(|contents| contents.draining = true);
    }

    /// The shards have finished what was under way since [`Self::drain`].
    pub fn set_drained(&self) {
        self.drained.store(true, Ordering::Release);
    }

    /// Whether the shards have finished what was under way.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    /// The thread shall end at its next look.
    pub fn stop(&self) {
        self.summon(|contents| contents.stop = true);
    }

    /// The thread looks.
    pub fn summon(&self, why: impl FnOnce(&mut Contents)) {
        let mut state = self.state.lock();
        why(&mut state.contents);
        state.summoned = true;
        drop(state);
        self.wake.notify_one();
    }

    /// A turn was taken from `began` to `ended`: the thread looks at `wake_at` at the latest. Behind a long one, turns are the
    /// thread's for a while: as much work is to be expected, whatever little brings it about.
    pub fn turned(&self, began: Monotonic, ended: Monotonic, wake_at: Monotonic) {
        let mut state = self.state.lock();
        state.wake_at = wake_at;
        if ended.since(began) > LONG {
            state.laborious_until = ended.after(LABORIOUS);
        }
        let early = state.asleep_until.is_some_and(|until| wake_at < until);
        drop(state);
        if early {
            self.wake.notify_one();
        }
    }

    /// Returns when the thread shall look: it was summoned, something waits, or it is time.
    pub fn wait(&self) {
        let mut state = self.state.lock();
        loop {
            let patience = state.wake_at.since(clock::monotonic());
            if state.summoned || state.contents.stop || !state.contents.is_empty() || patience.is_zero() {
                break;
            }
            state.asleep_until = Some(state.wake_at);
            self.wake.wait_for(&mut state, patience);
            state.asleep_until = None;
        }
        state.summoned = false;
    }

    /// Swaps everything that came with `taken`, whose lists must be empty. The flags are copied, not reset.
    pub fn take(&self, taken: &mut Contents) {
        debug_assert!(taken.is_empty(), "what was taken before would be put back");
        let contents = &mut self.state.lock().contents;
        taken.draining = contents.draining;
        taken.stop = contents.stop;
        std::mem::swap(contents, taken);
        contents.peer_bytes = 0;
    }
}

/// The inboxes of all shard groups: shard `s` belongs to thread `s` modulo their number. Cheap to clone.
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

    /// Peers' messages for any shards. The inboxes that got some are attended to with [`Self::attend`].
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

    /// A peer's connection to this node has ended: all shards are told.
    pub fn push_lost(&self, peer: NodeId) {
        self.iter().for_each(|inbox| inbox.push_lost(peer));
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

    /// A shard's log write is on disk. The inboxes that heard of one are attended to with [`Self::attend`].
    pub fn push_durable(&self, shard: ShardId, ticket: u64) {
        self.thread(self.thread_of(shard)).push_durable(shard, ticket);
    }

    /// Something was brought to some of them: see [`Inbox::attend`].
    pub fn attend(&self) {
        self.iter().filter(|inbox| !inbox.is_empty()).for_each(Inbox::attend);
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
        inbox.take(&mut taken);
        assert_eq!(taken.calls.len(), 5);
    }

    #[test]
    fn peers_messages_are_bounded_in_number_and_bytes() {
        let note = || vec![(ShardId(0), PeerMessage::of_note(2, 1, vec![0; 60].into()))];
        let large = || (0..400_000).flat_map(|_| note()).collect::<Vec<_>>();
        let inbox = Inbox::new(5);
        (0..5000).for_each(|_| inbox.push_peer(note()));
        let mut taken = Contents::default();
        inbox.take(&mut taken);
        assert_eq!(taken.peers.drain(..).count(), MAX_PEER_BATCHES);
        (0..5).for_each(|_| inbox.push_peer(large()));
        inbox.take(&mut taken);
        assert_eq!(taken.peers.drain(..).count(), 3, "of 24.8 MB each");
        inbox.push_peer(note());
        inbox.take(&mut taken);
        assert_eq!(taken.peers.len(), 1, "what was taken counts no more");
    }

    #[test]
    fn flags_stay_up() {
        let inbox = Inbox::new(5);
        inbox.drain();
        let mut taken = Contents::default();
        inbox.take(&mut taken);
        assert!(taken.draining && !taken.stop);
        inbox.stop();
        inbox.turned(Monotonic(0), Monotonic(0), clock::monotonic().after(Duration::from_secs(60)));
        inbox.wait();
        inbox.wait();
        inbox.take(&mut taken);
        assert!(taken.draining && taken.stop, "an inbox that is stopped does not wait");
    }

    #[test]
    fn little_is_little_no_more_behind_a_long_turn() {
        let inbox = Inbox::new(1000);
        assert!(!inbox.has_little(), "nothing waits");
        inbox.push_durable(ShardId(3), 9);
        assert!(inbox.has_little());
        inbox.push_calls(&mut calls(FEW_CALLS as u64 + 1));
        assert!(!inbox.has_little());
        let mut taken = Contents::default();
        inbox.take(&mut taken);
        inbox.push_durable(ShardId(3), 10);
        let began = clock::monotonic();
        inbox.turned(began, began.after(LONG * 2), began);
        assert!(!inbox.has_little());
        std::thread::sleep(LABORIOUS + LONG * 2);
        assert!(inbox.has_little());
    }

    #[test]
    fn the_thread_sleeps_until_it_is_needed() {
        let later = || clock::monotonic().after(Duration::from_secs(60));
        let inbox = Arc::new(Inbox::new(5));
        let asleep = |work: fn(&Inbox)| {
            inbox.turned(Monotonic(0), Monotonic(0), later());
            let sleeper = Arc::clone(&inbox);
            let thread = std::thread::spawn(move || sleeper.wait());
            while inbox.state.lock().asleep_until.is_none() {
                std::thread::yield_now();
            }
            work(&inbox);
            thread.join().expect("it woke up");
        };
        asleep(|inbox| inbox.push_event(ShardId(3), Event::CutLog));
        let mut taken = Contents::default();
        inbox.take(&mut taken);
        assert_eq!(taken.events.drain(..).count(), 1);
        asleep(|inbox| inbox.turned(Monotonic(0), Monotonic(0), clock::monotonic()));
        // Nobody is employed to help.
        asleep(|inbox| {
            inbox.push_durable(ShardId(3), 9);
            inbox.attend();
        });
        inbox.wait();
    }
}
