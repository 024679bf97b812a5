//! From one raft `Ready` to effects: what may happen at once, what waits for the disk, and why.
//!
//! ```text
//!                  ┌─ leader's messages ──────────────────────────────► network
//! raft ─ ready() ──┤
//!                  ├─ entries, hard state ─► view ─► log ─ durable() ─┬─► follower's messages ─► network
//!                  │                                                  └─► raft counts this disk ─► commit
//!                  └─ committed entries (on this disk already) ───────► machine ─► answers
//! ```

use std::collections::VecDeque;

use raft::eraftpb::{Entry as RaftEntry, EntryType, Message, MessageType};
use raft::{Ready, StateRole};

use super::Node;
use crate::effects::{Applied, Effects, RoleChange, SnapshotSend};
use crate::machine::StateMachine;
use crate::message::{PeerMessage, is_contiguous, merge};
use crate::storage::{from_raft, weight};
use crate::types::{Append, HardState, SnapshotMark};

/// Messages that wait for one write.
const MAX_WAITING_MESSAGES: usize = 1024;

/// What waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    /// The last ticket handed out.
    submitted: u64,
    /// The last ticket reported durable.
    durable: u64,
    /// Readies in raft's order.
    waiting: VecDeque<Waiting>,
    /// Messages whose wait is over.
    outbox: Vec<Message>,
    /// Tickets that are not durable, with the bytes of their entries.
    unsynced: VecDeque<(u64, u64)>,
    unsynced_bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    number: u64,
    messages: Vec<Message>,
}

impl Pipeline {
    /// The ticket of an append that leaves now, with entries of so many bytes.
    pub(super) fn next_ticket(&mut self, bytes: u64) -> u64 {
        self.submitted += 1;
        self.unsynced.push_back((self.submitted, bytes));
        self.unsynced_bytes += bytes;
        self.submitted
    }

    /// Bytes of the entries that are on their way to the disk.
    pub(super) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// Everything up to `ticket` is on disk. The number of the last ready that was waiting for it.
    pub(super) fn durable(&mut self, ticket: u64) -> Option<u64> {
        assert!(ticket <= self.submitted, "ticket {ticket} was never handed out, the last was {}", self.submitted);
        self.durable = self.durable.max(ticket);
        while let Some((_, bytes)) = self.unsynced.pop_front_if(|(waiting, _)| *waiting <= ticket) {
            self.unsynced_bytes -= bytes;
        }
        let mut last = None;
        while self.waiting.front().is_some_and(|waiting| waiting.ticket <= self.durable) {
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.outbox.extend(waiting.messages);
            last = Some(waiting.number);
        }
        last
    }

    pub(super) fn has_outbox(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The ready `number` and its messages wait for everything submitted so far. True: there is nothing to wait for.
    /// While the disk hangs peers go on asking: of what they would be told, only the first is kept; any message may be lost.
    fn wait(&mut self, number: u64, messages: Vec<Message>) -> bool {
        if self.durable == self.submitted {
            self.outbox.extend(messages);
            return true;
        }
        match self.waiting.back_mut().filter(|last| last.ticket == self.submitted) {
            Some(last) => {
                last.number = number;
                let room = MAX_WAITING_MESSAGES.saturating_sub(last.messages.len());
                last.messages.extend(messages.into_iter().take(room));
            }
            None => self.waiting.push_back(Waiting { ticket: self.submitted, number, messages }),
        }
        false
    }
}

impl<S: StateMachine> Node<S> {
    /// Sends what the disk has released.
    pub(super) fn release(&mut self, effects: &mut Effects<S::Outcome>) {
        let released = std::mem::take(&mut self.pipeline.outbox);
        self.send(released, effects);
    }

    /// Reads requested since the last poll ask the quorum together.
    pub(super) fn ask_reads(&mut self) {
        if self.raw.raft.state != StateRole::Leader {
            return self.reads.give_up();
        }
        if let Some(number) = self.reads.ask() {
            self.raw.read_index(number.to_le_bytes().to_vec());
        }
    }

    /// Handles one `Ready`. Nothing is stepped or proposed between `ready()` and `advance_append_async()`.
    pub(super) fn take_ready(&mut self, effects: &mut Effects<S::Outcome>) {
        let mut ready = self.raw.ready();
        // First of all, so that whoever answers for the old role stops before anything of this ready gets out.
        self.change_role(effects);
        // A leader's messages overtake its own disk: it counts itself only when `durable` comes (thesis 10.2.1).
        let immediate = ready.take_messages();
        // Anybody else's messages promise what this ready holds (a vote, entries): they follow the disk.
        let after_disk = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        for state in ready.take_read_states() {
            let number = state.request_ctx.try_into().map(u64::from_le_bytes);
            self.reads.confirm(number.expect("contexts are the eight bytes that ask_reads sent"), state.index);
        }
        let number = ready.number();
        let mark = self.write(&mut ready, effects);
        // What was written must be visible in storage by now: raft reads it from there from here on.
        self.raw.advance_append_async(ready);
        // Each ready reaches on_persist_ready, also one that wrote nothing.
        if self.pipeline.wait(number, after_disk) {
            self.raw.on_persist_ready(number);
        }
        if let Some(mark) = mark {
            // The snapshot was made durable before it was given to `install`, and a restart finds it even if the log has
            // not noted the mark yet. Raft is told at once: until then it would look for entries that are gone.
            self.raw.on_persist_ready(number);
            self.raw.advance_apply_to(mark.index);
        }
        self.apply(&committed, effects);
        self.send(immediate, effects);
        self.release(effects);
        self.reads.take(self.applied.index, &mut effects.reads);
    }

    /// Gives the log what must survive. Returns the mark of a snapshot that takes the log's place.
    fn write(&mut self, ready: &mut Ready, effects: &mut Effects<S::Outcome>) -> Option<SnapshotMark> {
        let metadata = ready.snapshot().get_metadata();
        let mark = SnapshotMark { index: metadata.index, term: metadata.term };
        let mark = Some(mark).filter(|mark| mark.index > 0);
        if let Some(mark) = mark {
            // Before the entries: they continue it.
            self.raw.mut_store().restore(mark);
        }
        if let Some(state) = ready.hs() {
            let state = HardState { term: state.term, vote: state.vote, commit: state.commit };
            self.raw.mut_store().set_hard_state(state);
        }
        let entries = ready.take_entries();
        self.raw.mut_store().append(&entries);
        // A commit index alone is not worth a write: it travels with the next one, and a restart learns it again.
        if ready.must_sync() {
            let bytes = entries.iter().map(weight).sum();
            effects.persist = Some(Append {
                shard: self.config.shard,
                ticket: self.pipeline.next_ticket(bytes),
                entries: entries.iter().map(from_raft).collect(),
                hard_state: Some(self.raw.store().hard_state()),
                mark,
            });
        }
        mark
    }

    /// Only what is on this disk and committed gets here.
    fn apply(&mut self, committed: &[RaftEntry], effects: &mut Effects<S::Outcome>) {
        for entry in committed {
            assert_eq!(entry.index, self.applied.index + 1, "entries are applied without gaps");
            assert_eq!(entry.entry_type, EntryType::EntryNormal, "membership is static");
            self.applied = SnapshotMark { index: entry.index, term: entry.term };
            if !entry.data.is_empty() {
                let outcome = self.machine.apply(entry.index, &entry.data);
                effects.applied.push(Applied { term: entry.term, index: entry.index, outcome });
            }
        }
        if !committed.is_empty() {
            self.raw.advance_apply_to(self.applied.index);
        }
    }

    fn change_role(&mut self, effects: &mut Effects<S::Outcome>) {
        let raft = &self.raw.raft;
        let role = RoleChange { leader: self.leader(), term: raft.term, leading: raft.state == StateRole::Leader };
        if role == self.role {
            return;
        }
        if role.leading != self.role.leading || role.term != self.role.term {
            self.reads.give_up();
            self.preference.follow();
        }
        if role.leading && role.term != self.lease.term() {
            self.lease.lead(role.term);
        }
        self.role = role;
        effects.role = Some(role);
    }

    /// Stamps messages and sorts out snapshots.
    fn send(&mut self, messages: Vec<Message>, effects: &mut Effects<S::Outcome>) {
        for message in merged(messages, self.config.max_message_bytes) {
            assert!(is_contiguous(&message), "shard {}: entries out of place: {message:?}", self.config.shard);
            let to = message.to;
            let message = self.stamped(message);
            match message.snapshot_mark() {
                Some(mark) => effects.send_snapshot.push(SnapshotSend { to, mark, message }),
                None => effects.send.push((to, message)),
            }
        }
    }

    fn stamped(&mut self, message: Message) -> PeerMessage {
        let stamp = match message.msg_type {
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot => self.lease.stamp(self.now),
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse => self.promise.echo(message.term),
            MessageType::MsgTimeoutNow => {
                self.lease.give_up();
                0
            }
            _ => 0,
        };
        PeerMessage::new(message, stamp)
    }

    /// Gives raft the message of a received snapshot; if raft takes it, the machine takes the state.
    pub(super) fn install_now(&mut self, mut message: PeerMessage, snapshot: &[u8]) {
        let Some(mark) = message.snapshot_mark() else { return };
        // Membership is static: what a peer says about it is not listened to.
        let conf_state = self.raw.store().conf_state();
        message.raft.mut_snapshot().mut_metadata().set_conf_state(conf_state);
        if let Some(leader) = self.leader().filter(|_| message.raft.term < self.raw.raft.term && !self.role.leading) {
            // Its sender was deposed while it travelled. What it covers is committed all the same, and our own store holds
            // it already: as good as if the present leader had sent it.
            (message.raft.from, message.raft.term, message.stamp) = (leader, self.raw.raft.term, 0);
        }
        self.deliver(message);
        if self.raw.snap().is_none() {
            self.stored = self.stored.max(Some(mark));
            return;
        }
        if let Err(problem) = self.machine.restore(snapshot) {
            panic!(
                "shard {}: the snapshot up to index {} cannot be restored: {problem}",
                self.config.shard, mark.index
            );
        }
        self.applied = mark;
    }

    /// A process may have ended after a snapshot was durable and before the log noted its mark: the log hears it first.
    pub(super) fn note_recovered_mark(&mut self) -> Option<Append> {
        let noted = std::mem::replace(&mut self.mark_noted, true);
        (!noted).then(|| self.mark_append())
    }

    /// Tells the log the newest mark.
    pub(super) fn mark_append(&mut self) -> Append {
        let store = self.raw.store();
        let (hard_state, mark) = (store.hard_state(), store.mark());
        let ticket = self.pipeline.next_ticket(0);
        Append { shard: self.config.shard, ticket, entries: Vec::new(), hard_state: Some(hard_state), mark: Some(mark) }
    }

    /// A peer's snapshot has replaced our own on disk although raft had no use for it. Once we have applied as much, it is
    /// as good as our own: the log can be cut there, and followers can get it.
    pub(super) fn adopt_stored(&mut self, effects: &mut Effects<S::Outcome>) {
        let Some(mark) = self.stored.filter(|mark| mark.index <= self.applied.index) else { return };
        if effects.persist.is_some() {
            return;
        }
        self.stored = None;
        if mark.index > self.raw.store().mark().index {
            effects.persist = Some(self.snapshot_written(mark));
        }
    }
}

/// Appends for the same follower that continue each other, in one. Nothing else changes places.
fn merged(messages: Vec<Message>, limit: u64) -> Vec<Message> {
    let mut merged: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        let before = merged.iter_mut().rev().find(|before| before.to == message.to);
        let left = match before {
            Some(before) => merge(before, message, limit),
            None => Some(message),
        };
        merged.extend(left);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_disk_that_hangs_is_bounded() {
        let mut pipeline = Pipeline::default();
        assert!(pipeline.wait(1, vec![Message::default()]));
        let ticket = pipeline.next_ticket(100);
        for number in 2..=10_000 {
            assert!(!pipeline.wait(number, vec![Message::default()]));
        }
        assert_eq!((pipeline.waiting.len(), pipeline.waiting[0].messages.len()), (1, MAX_WAITING_MESSAGES));
        assert_eq!(pipeline.durable(ticket), Some(10_000), "all of raft's readies are accounted for");
        assert_eq!((pipeline.outbox.len(), pipeline.unsynced_bytes()), (1 + MAX_WAITING_MESSAGES, 0));
    }
}
