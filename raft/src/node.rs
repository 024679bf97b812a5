//! One replica of one shard: time, messages and proposals in, [`Effects`] out.
//!
//! The shell around raft: it admits what may reach raft, keeps its own clock-based promises and lease (see `lease`), and
//! hands elections a timeout that the seed decides. What comes out of raft is put in order in `ready`.
//!
//! Every `now` must come from one monotonic clock. It may be a little old; it never goes back (older ones are lifted to the
//! newest seen).

mod answers;
mod preference;
mod reads;
mod ready;
mod standing;
mod succession;

use bytes::Bytes;
use doorbuster_planted::{self as planted, Bug};
use raft::eraftpb::{Entry as RaftEntry, Message, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};

pub use self::answers::{NodeError, NodeStatus, PeerProgress, ProposeError, Proposed, ReadError};
use self::preference::Preference;
use self::reads::Reads;
use self::ready::Pipeline;
use self::standing::Standing;
use self::succession::Vacancy;
use crate::config::NodeConfig;
use crate::effects::{Cause, Effects, RoleChange};
use crate::lease::{Lease, Promise};
use crate::machine::{Frozen, StateMachine};
use crate::message::{PeerMessage, speakable};
use crate::storage::View;
use crate::types::{Append, Entry, Monotonic, NodeId, Recovered, SnapshotMark};

/// One replica of one shard. Does no I/O, reads no clock, owns no thread.
///
/// The caller's loop: feed it ([`tick`](Node::tick), [`step`](Node::step), [`propose`](Node::propose),
/// [`durable`](Node::durable), ...), then [`poll`](Node::poll) until [`Effects::more`] is false and carry the effects out.
///
/// A broken invariant (raft's or ours) and a state that cannot be restored panic: the process must end with it, because a
/// replica that goes on after that is worse than one that is gone.
pub struct Node<S: StateMachine> {
    config: NodeConfig,
    machine: S,
    raw: RawNode<View>,
    /// The newest time seen.
    now: Monotonic,
    /// The time by counting ticks, which nothing may rely on: a process that is paused does not tick.
    ticked: Monotonic,
    lease: Lease,
    promise: Promise,
    preference: Preference,
    standing: Standing,
    /// The place of a leader whose connection has ended.
    vacancy: Option<Vacancy>,
    /// Why a campaign began since the last poll, if one did.
    campaigned: Option<Cause>,
    reads: Reads,
    pipeline: Pipeline,
    /// What was said last in [`Effects::role`].
    role: RoleChange,
    /// The last entry that was applied; entries without data included.
    applied: SnapshotMark,
    /// The log was told the mark that this process started with.
    mark_noted: bool,
    /// A received snapshot that waits for the next poll.
    install: Option<(PeerMessage, Vec<u8>)>,
    /// A durable snapshot from a peer that raft had no use for; ours as soon as we have applied as much.
    stored: Option<SnapshotMark>,
    /// Followers whose snapshot failed, and until when they get no other.
    withheld: Vec<(NodeId, Monotonic)>,
}

impl<S: StateMachine> Node<S> {
    /// `machine` must be in the state of `recovered.mark` already; committed entries after it come out as applied.
    ///
    /// # Errors
    /// A configuration that cannot work, or a log that contradicts itself.
    pub fn new(config: NodeConfig, recovered: Recovered, machine: S) -> Result<Self, NodeError> {
        let shard = config.shard;
        config.validate().map_err(|error| NodeError::Config { shard, error })?;
        let invalid = |problem: String| NodeError::Recovered { shard, problem };
        if recovered.shard != shard {
            return Err(invalid(format!("it belongs to shard {}", recovered.shard)));
        }
        // A replica that never had a term has promised nothing; alone, there is nobody to promise to.
        let restarted = recovered.hard_state.term > 0 && config.voters.len() > 1;
        let applied = recovered.mark;
        let view = View::new(config.voters.clone(), config.trailing_bytes, recovered).map_err(invalid)?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config(&config, applied.index), view, &logger)
            .map_err(|error| invalid(error.to_string()))?;
        let timeout = config.election_timeout();
        let role = RoleChange { leader: None, term: raw.raft.term, leading: false };
        Ok(Self {
            lease: Lease::new(config.node, &config.voters, timeout - config.lease_margin),
            promise: Promise::new(timeout, restarted),
            preference: Preference::new(&config),
            standing: Standing::default(),
            vacancy: None,
            campaigned: None,
            reads: Reads::default(),
            pipeline: Pipeline::default(),
            now: Monotonic(0),
            ticked: Monotonic(0),
            role,
            applied,
            mark_noted: applied.index == 0,
            install: None,
            stored: None,
            withheld: Vec::new(),
            config,
            machine,
            raw,
        })
    }

    /// Time has passed; to be called every [`NodeConfig::tick`].
    pub fn tick(&mut self, now: Monotonic) {
        self.ticked = if self.ticked.0 == 0 { now } else { self.ticked.after(self.config.tick).min(now) };
        self.observe(now);
        if self.config.voters.len() == 1 {
            return self.lead_alone();
        }
        self.seed_election_timeout();
        let raft = &self.raw.raft;
        let campaigns =
            raft.state != StateRole::Leader && raft.election_elapsed + 1 >= raft.randomized_election_timeout();
        let held_back = self.standing.holds_back(campaigns, self.config.election_ticks);
        // Its own vote counts too: a bound replica waits with campaigning until it is free.
        let waits = campaigns && (self.promise.binds(self.now) || self.awaits_turn());
        if !(held_back || waits) {
            self.campaigned = campaigns.then_some(Cause::Silence).or(self.campaigned);
            self.raw.tick();
        }
        self.retake();
        self.retry_snapshots();
        self.prefer();
    }

    /// A message from a peer. It is ignored if it is not for this replica, or not from another one; entries are, while
    /// the disk is too far behind with those that came before.
    pub fn step(&mut self, now: Monotonic, message: PeerMessage) {
        self.observe(now);
        // A snapshot's message comes with the snapshot, through `install`.
        let kind = message.raft.msg_type;
        let too_many = self.pipeline.unsynced_bytes() >= self.config.max_unsynced_bytes;
        let has_room = !too_many || message.raft.entries.is_empty();
        if kind != MessageType::MsgSnapshot && has_room && self.admits(&message) {
            self.deliver(message);
        }
    }

    /// Appends `data` as the next entry, if this node leads. It was committed if, and only if, an entry with this very
    /// term and index is applied.
    ///
    /// # Errors
    /// See [`ProposeError`]; nothing has happened then.
    pub fn propose(&mut self, data: Bytes) -> Result<Proposed, ProposeError> {
        let (bytes, limit) = (data.len(), self.config.max_entry_bytes);
        if bytes == 0 || bytes > limit {
            return Err(ProposeError::Size { bytes, limit });
        }
        // A follower's raft would forward it without a word.
        if self.raw.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        if self.raw.raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        if self.pipeline.unsynced_bytes() >= self.config.max_unsynced_bytes {
            return Err(ProposeError::Full);
        }
        let mut message = Message { from: self.config.node, ..Message::default() };
        message.msg_type = MessageType::MsgPropose;
        message.set_entries(vec![RaftEntry { data, ..RaftEntry::default() }].into());
        match self.raw.raft.step(message) {
            Ok(()) => Ok(Proposed { term: self.raw.raft.term, index: self.raw.raft.raft_log.last_index() }),
            Err(raft::Error::ProposalDropped) => Err(ProposeError::Full),
            Err(error) => panic!("shard {}: proposing as leader: {error}", self.config.shard),
        }
    }

    /// Asks a quorum whether this node still leads; the token comes back in [`Effects::reads`]. It is lost when leadership
    /// is: keep a deadline.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn request_read(&mut self, now: Monotonic, token: u64) -> Result<(), ReadError> {
        self.observe(now);
        if self.raw.raft.state != StateRole::Leader {
            return Err(ReadError::NotLeader { leader: self.leader() });
        }
        // Raft would drop it without a word.
        if !self.raw.raft.commit_to_current_term() {
            return Err(ReadError::NotReady);
        }
        if self.reads.waiting() >= self.config.max_pending_reads {
            return Err(ReadError::Full);
        }
        self.reads.request(token);
        Ok(())
    }

    /// True: no other node can lead at `now`, and everything acknowledged by earlier leaders is applied here. `now` must
    /// have been read from the clock just before, not at the start of a round.
    #[must_use]
    pub fn lease_holds(&self, now: Monotonic) -> bool {
        // Planted: a clock that stands still while the process does.
        let now = if planted::on(Bug::LeaseByTicks) { self.ticked } else { now };
        now < self.lease_until()
    }

    /// The instant at which the lease ends; zero without one. May only grow while this node leads, except that it falls to
    /// zero when leadership is handed over: publish it after every poll, before the messages of that poll are sent.
    #[must_use]
    pub fn lease_until(&self) -> Monotonic {
        let raft = &self.raw.raft;
        let reads_everything = raft.state == StateRole::Leader && self.applied.term == raft.term;
        if !reads_everything || raft.lead_transferee.is_some() {
            return Monotonic(0);
        }
        self.lease.until(raft.term)
    }

    /// Hands leadership to `to`. False: this node does not lead, or `to` is no other replica. Until it has happened or an
    /// election timeout has passed, nothing can be proposed here; leases end at once and, if `to` was told to take over,
    /// do not come back in this term; if `to` does not, this node has itself elected in the next.
    pub fn transfer_leadership(&mut self, to: NodeId) -> bool {
        let other = to != self.config.node && self.config.voters.contains(&to);
        if !other || self.raw.raft.state != StateRole::Leader {
            return false;
        }
        self.raw.transfer_leader(to);
        true
    }

    /// Whether to leave leadership to others: this replica's state is not to be trusted. It goes on keeping the log, votes,
    /// and campaigns only when nobody else has for several election timeouts.
    pub fn stand_back(&mut self, back: bool) {
        self.standing.stand_back(back);
    }

    /// From now on leadership is not handed to these nodes by itself, preferred or not: their state is not to be trusted.
    pub fn avoid(&mut self, nodes: &[NodeId]) {
        self.standing.avoid(nodes);
    }

    /// The log says that everything up to this ticket is durable. Poll afterwards: what waited for it comes out there.
    pub fn durable(&mut self, ticket: u64) {
        if let Some(number) = self.pipeline.durable(ticket) {
            self.raw.on_persist_ready(number);
        }
    }

    /// One round: everything that raft has ready, in the order that `ready` explains.
    pub fn poll(&mut self, now: Monotonic) -> Effects<S::Outcome> {
        self.observe(now);
        if let Some(append) = self.note_recovered_mark() {
            return Effects { persist: Some(append), more: true, ..Effects::default() };
        }
        self.take_turn();
        let mut effects = Effects { campaign: self.campaigned.take(), ..Effects::default() };
        self.release(&mut effects);
        self.ask_reads();
        if self.raw.has_ready() {
            self.take_ready(&mut effects);
        } else if let Some((message, snapshot)) = self.install.take() {
            self.install_now(message, &snapshot);
            self.take_ready(&mut effects);
        }
        self.adopt_stored(&mut effects);
        effects.more = self.raw.has_ready() || self.install.is_some() || self.pipeline.has_outbox();
        effects
    }

    /// The present state for a snapshot, and the mark to store it under.
    pub fn freeze(&mut self) -> (SnapshotMark, Box<dyn Frozen>) {
        (self.applied, self.machine.freeze())
    }

    /// A snapshot of this node's own is durable: the returned append cuts the log, and is reported durable like any other.
    /// Hand it to the log in the order in which it came out among the appends of polls.
    ///
    /// # Panics
    /// If `mark` is beyond what was applied.
    pub fn snapshot_written(&mut self, mark: SnapshotMark) -> Append {
        assert!(mark.index <= self.applied.index, "shard {}: {mark:?} was not applied", self.config.shard);
        if mark.index > self.raw.store().mark().index {
            self.raw.mut_store().compact(mark);
        }
        self.mark_append()
    }

    /// How the transfer of [`Effects::send_snapshot`] ended. A follower whose transfer failed gets no other for one
    /// election timeout.
    pub fn snapshot_sent(&mut self, to: NodeId, ok: bool) {
        if !ok {
            self.raw.mut_store().withhold(to, true);
            self.withheld.push((to, self.now.after(self.config.election_timeout())));
        }
        self.raw.report_snapshot(to, if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure });
    }

    /// A snapshot was received and is durable: takes it over at the next poll, if it is ahead of what this replica has.
    /// `message` is the one that came with it.
    pub fn install(&mut self, now: Monotonic, message: PeerMessage, snapshot: &[u8]) {
        self.observe(now);
        let Some(mark) = message.snapshot_mark() else { return };
        if !self.admits(&message) {
            return;
        }
        let older = self.install.as_ref().and_then(|(waiting, _)| waiting.snapshot_mark());
        if older.is_none_or(|older| older.index < mark.index) {
            self.install = Some((message, snapshot.to_vec()));
        }
    }

    /// The state, as of the last applied entry.
    pub fn machine(&self) -> &S {
        &self.machine
    }

    /// The state, for what does not change it (caches, drained notifications): changes come from the log only.
    pub fn machine_mut(&mut self) -> &mut S {
        &mut self.machine
    }

    /// The last entry that was applied; entries without data included.
    #[must_use]
    pub fn applied(&self) -> SnapshotMark {
        self.applied
    }

    /// The term in which this node leads, if it does.
    #[must_use]
    pub fn leads_in(&self) -> Option<u64> {
        let raft = &self.raw.raft;
        (raft.state == StateRole::Leader).then_some(raft.term)
    }

    /// The entries behind `after` up to `through`, as far as they are in memory: for whoever watches.
    #[must_use]
    pub fn entries(&self, after: u64, through: u64) -> Vec<Entry> {
        self.raw.store().between(after, through)
    }

    /// All replicas of the shard, this one included.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.config.voters
    }

    /// How this replica stands.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let (raft, store) = (&self.raw.raft, self.raw.store());
        let leading = raft.state == StateRole::Leader;
        let peers = raft.prs().iter().filter(|(node, _)| leading && **node != self.config.node);
        let mut peers: Vec<_> = peers
            .map(|(&node, progress)| PeerProgress {
                node,
                matched: progress.matched,
                active: progress.recent_active,
                snapshot: progress.state == raft::ProgressState::Snapshot,
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.node);
        NodeStatus {
            term: raft.term,
            vote: raft.vote,
            leader: self.leader(),
            leading,
            commit: raft.raft_log.committed,
            applied: self.applied.index,
            first: store.first(),
            last: raft.raft_log.last_index(),
            persisted: raft.raft_log.persisted,
            snapshot: store.mark(),
            memory_bytes: store.bytes(),
            peers,
        }
    }

    fn leader(&self) -> Option<NodeId> {
        Some(self.raw.raft.leader_id).filter(|&leader| leader != raft::INVALID_ID)
    }

    fn observe(&mut self, now: Monotonic) {
        self.now = self.now.max(now);
        self.promise.observe(self.now);
        self.vacate();
    }

    /// The only replica needs no election timeout.
    fn lead_alone(&mut self) {
        if self.raw.raft.state == StateRole::Leader {
            self.raw.tick();
        } else if let Err(error) = self.raw.campaign() {
            panic!("shard {}: campaigning alone: {error}", self.config.shard);
        }
    }

    /// Raft draws its timeout from the thread's randomness at every change of state; ours replaces it before it is looked
    /// at. The preferred leader is the first to campaign.
    fn seed_election_timeout(&mut self) {
        let ticks = u64::from(self.config.election_ticks);
        let spread = if self.config.preferred == Some(self.config.node) {
            0
        } else {
            let seed = [self.config.seed, u64::from(self.config.shard), self.config.node, self.raw.raft.term];
            1 + seed.into_iter().fold(0, mix) % (ticks - 1)
        };
        // At most 2 * MAX_ELECTION_TICKS.
        self.raw.raft.set_randomized_election_timeout(usize::try_from(ticks + spread).unwrap_or(usize::MAX));
    }

    /// May this message reach raft at all?
    fn admits(&self, message: &PeerMessage) -> bool {
        let raft = &message.raft;
        let known = raft.from != self.config.node && self.config.voters.contains(&raft.from);
        known && raft.to == self.config.node && raft.term > 0 && speakable(raft.msg_type)
    }

    fn deliver(&mut self, message: PeerMessage) {
        let votes = matches!(message.raft.msg_type, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        if votes && !message.forced_vote() && (self.promise.binds(self.now) || self.lease_holds(self.now)) {
            return;
        }
        if message.raft.msg_type == MessageType::MsgTimeoutNow && self.standing.stands_back() {
            return;
        }
        let PeerMessage { mut raft, stamp, .. } = message;
        if !self.straighten(&mut raft) {
            return;
        }
        let (kind, from, term) = (raft.msg_type, raft.from, raft.term);
        if kind == MessageType::MsgRequestPreVote && !self.raw.raft.raft_log.is_up_to_date(raft.index, raft.log_term) {
            self.go_first();
        }
        match self.raw.step(raft) {
            Ok(()) | Err(raft::Error::StepPeerNotFound | raft::Error::ProposalDropped) => {}
            Err(error) => panic!("shard {}: {kind:?} from node {from}: {error}", self.config.shard),
        }
        let raft = &self.raw.raft;
        let follows = raft.state == StateRole::Follower && raft.term == term && raft.leader_id == from;
        let leads = raft.state == StateRole::Leader && raft.term == term;
        match kind {
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot if follows => {
                self.promise.bind(self.now, term, stamp);
                self.vacancy = None;
            }
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse if leads => {
                self.lease.acknowledge(term, from, stamp);
            }
            _ => {}
        }
    }

    /// Keeps raft-rs issue 555 out. A rejection that was on its way while the follower caught up may take a probing leader
    /// back to an entry at or before the one that it knows to match; the follower then answers with what is known already,
    /// which raft takes for old news, and the two go on like that. What is known to match cannot be rejected: such an
    /// answer is dropped, and a hint before it is lifted to it. False: drop the message.
    fn straighten(&mut self, message: &mut Message) -> bool {
        let raft = &mut self.raw.raft;
        let answers = message.msg_type == MessageType::MsgAppendResponse && message.term == raft.term;
        if !answers || raft.state != StateRole::Leader {
            return true;
        }
        let last = raft.raft_log.last_index();
        let Some(progress) = raft.mut_prs().get_mut(message.from) else { return false };
        if !message.reject {
            // Nobody can have more of this term's log than its leader.
            return message.index <= last;
        }
        if message.index <= progress.matched {
            progress.recent_active = true;
            return false;
        }
        if message.reject_hint < progress.matched {
            message.reject_hint = progress.matched;
            message.log_term = 0;
        }
        true
    }

    /// Gives those another try whose snapshot failed a while ago.
    fn retry_snapshots(&mut self) {
        let now = self.now;
        let store = self.raw.mut_store();
        self.withheld.retain(|&(node, until)| {
            let wait = now < until;
            store.withhold(node, wait);
            wait
        });
    }

    /// Leadership was offered to another node, which did not take it: it died, or never heard of it. The lease is given up
    /// for the rest of the term, so this node leads on in a new one. The others need not wait for that until they are free
    /// of their promise: it was made to this very node, whose lease is given up, as at any hand-over.
    fn retake(&mut self) {
        let (node, raft) = (self.config.node, &mut self.raw.raft);
        let offered = raft.state == StateRole::Leader && self.lease.is_given_up(raft.term);
        if !offered || raft.lead_transferee.is_some() || self.standing.stands_back() {
            return;
        }
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
        let take_over =
            Message { msg_type: MessageType::MsgTimeoutNow, from: node, to: node, term, ..Message::default() };
        if let Err(error) = self.raw.step(take_over) {
            panic!("shard {}: leading on in a new term: {error}", self.config.shard);
        }
    }

    fn prefer(&mut self) {
        let leading = self.raw.raft.state == StateRole::Leader && self.raw.raft.lead_transferee.is_none();
        let Some(preferred) = self.preference.other() else { return };
        let progress = self.raw.raft.prs().get(preferred).filter(|_| leading && !self.standing.avoids(preferred));
        let caught_up = progress.is_some_and(|progress| {
            let answers = self.lease.echo_of(preferred);
            let lately = answers.is_some_and(|at| self.now.since(at) < self.config.election_timeout());
            progress.state == raft::ProgressState::Replicate && lately && self.preference.keeps_up(progress.matched)
        });
        let commit = self.raw.raft.raft_log.committed;
        if self.preference.hand_over(self.now, caught_up, commit) {
            self.transfer_leadership(preferred);
        }
    }
}

fn raft_config(config: &NodeConfig, applied: u64) -> raft::Config {
    raft::Config {
        id: config.node,
        election_tick: config.election_ticks as usize,
        heartbeat_tick: config.heartbeat_ticks as usize,
        applied,
        max_size_per_msg: config.max_message_bytes,
        max_inflight_msgs: config.max_inflight_messages,
        check_quorum: true,
        pre_vote: true,
        // Lease reads are ours (`lease`): raft's look at no clock.
        read_only_option: raft::ReadOnlyOption::Safe,
        // Followers hear of it with the next entry or heartbeat: nobody waits for them, and telling them at once
        // doubles the messages of a leader with little to do.
        skip_bcast_commit: true,
        // Files entries under wrong indexes and knows no limit; see `message::merge`.
        batch_append: false,
        max_uncommitted_size: config.max_uncommitted_bytes,
        max_committed_size_per_ready: config.max_apply_bytes,
        ..raft::Config::default()
    }
}

/// One step of splitmix64: spreads close numbers far apart.
fn mix(state: u64, number: u64) -> u64 {
    let mut mixed = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
