//! One shard on this node: its replica of the log and the state, and everybody who waits for it.
//!
//! Owned by one shard group, which takes one turn at a time. A turn goes: take the inbox, tell the shards, [`Shard::advance`]
//! each that has something to do, then hand on what gathered in the [`Round`]. What holds at any time:
//! - An answer to a command comes from the log entry it was proposed in, found by (term, index).
//! - A refusal that did not go through the log, and every read, rests on applied entries under a lease that holds
//!   (or a quorum's confirmation), and never overtakes a reserve of the same product that is on its way.
//! - Nothing is answered from a state that a majority of the replicas may not have.
//! - Whatever is held for a caller is bounded and ends by the time the caller waits no more.

mod advance;
mod agreement;
mod backlog;
mod call;
mod dispute;
pub mod entry;
mod feed;
mod machine;
mod observe;
mod pending;
mod reads;
mod role;
mod snapshots;
mod vote;
mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, NodeId, ProductId, ShardId, Timestamp};
use doorbuster_raft::transport::TransferOutcome;
use doorbuster_raft::{Append, Monotonic, Node, PeerMessage, SnapshotMark, SnapshotSend};

pub use call::Call;
pub use machine::Machine;
pub use observe::{QueueLength, QueueLengths};
pub use snapshots::{SnapshotJob, SnapshotPolicy};

use crate::clock::{ClusterClock, WallClocks};
use crate::cluster::ClusterView;
use crate::gate::Gate;
use crate::mailbox::{Outgoing, ReplyTo};
use crate::metrics::Metrics;
use backlog::Backlog;
use dispute::Dispute;
use pending::Pending;
use reads::Reads;
use role::Role;
use snapshots::Snapshots;
use waiting::Waiting;

/// When a caller that was told `busy` may try again.
pub const BUSY_RETRY: Millis = Millis(50);

/// What a shard is given to work with, shared with the rest of the node.
#[derive(Clone)]
pub struct Surroundings {
    /// The node's admission gate.
    pub gate: Arc<Gate>,
    /// What the node knows of the cluster.
    pub view: Arc<ClusterView>,
    /// The wall clocks of the cluster.
    pub wall_clocks: Arc<WallClocks>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Bounds of one shard's queues, in requests.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Commands waiting to be proposed.
    pub backlog: usize,
    /// Reserves waiting for units.
    pub waiting: usize,
    /// Reads waiting for a quorum's confirmation.
    pub reads: usize,
    /// Commands in one log entry.
    pub batch: usize,
    /// Entries of the order feed. Beyond it nothing begins that would add to it: see `feed.rs`.
    pub feed: usize,
}

/// Something rare that a shard is told.
#[derive(Debug)]
pub enum Event {
    /// A snapshot taken here is durable and takes so many bytes, or was not written.
    SnapshotWritten(SnapshotMark, Option<u64>),
    /// A snapshot has reached a follower, or why it has not.
    SnapshotSent(NodeId, TransferOutcome),
    /// A snapshot from the leader is durable here.
    Install(Box<PeerMessage>, Bytes),
    /// The log on disk is too large, and this shard keeps the oldest part of it.
    CutLog,
}

/// What one turn of a shard group gathers from its shards.
#[derive(Default)]
pub struct Round {
    /// Read after the inbox was taken.
    pub now: Monotonic,
    /// The node's wall clock, read with `now`.
    pub wall: Timestamp,
    /// Answers on their way to connections.
    pub answers: Outgoing,
    /// Messages for peers.
    pub sends: Vec<(NodeId, Vec<(ShardId, PeerMessage)>)>,
    /// Writes for the log.
    pub appends: Vec<Append>,
    /// Followers that need a snapshot.
    pub snapshot_sends: Vec<(ShardId, SnapshotSend)>,
    /// Snapshots to be written.
    pub snapshot_jobs: Vec<SnapshotJob>,
}

impl Round {
    /// Adds a message for a peer.
    pub fn send(&mut self, to: NodeId, shard: ShardId, message: PeerMessage) {
        match self.sends.iter_mut().find(|(peer, _)| *peer == to) {
            Some((_, messages)) => messages.push((shard, message)),
            None => self.sends.push((to, vec![(shard, message)])),
        }
    }
}

/// One shard on this node.
pub struct Shard {
    id: ShardId,
    node: Node<Machine>,
    around: Surroundings,
    clock: ClusterClock,
    role: Role,
    backlog: Backlog,
    pending: Pending,
    waiting: Waiting,
    reads: Reads,
    snapshots: Snapshots,
    /// Something came that [`Self::advance`] has not seen.
    stirred: bool,
    draining: bool,
    /// The term in which leadership was first handed over because of draining.
    handed_over_in: Option<u64>,
    /// When leadership may be offered to another node again.
    handover_after: Monotonic,
    /// The replica has stopped, as far as the others were told.
    diverged: bool,
    dispute: Dispute,
    /// The gate answers for this shard.
    serving: bool,
    /// Answers from entries that were applied while the state is in doubt; no more than were in flight.
    withheld: Vec<(ReplyTo, Answer)>,
    /// Last log index applied.
    applied: u64,
    /// Most commands in one log entry.
    batch: usize,
    /// Most entries of the order feed before nothing begins that adds to it.
    max_feed: usize,
    /// The log took no entry: the next one is offered no sooner.
    propose_after: Monotonic,
    /// Writes that are on their way to disk, and since when.
    unsynced: VecDeque<(u64, Monotonic)>,
    /// Reused lists.
    touched: Vec<ProductId>,
    queued: Vec<ProductId>,
}

impl Shard {
    /// A shard whose node is in the state that was recovered.
    #[must_use]
    pub fn new(
        id: ShardId,
        node: Node<Machine>,
        around: Surroundings,
        limits: QueueLimits,
        policy: SnapshotPolicy,
        now: Monotonic,
    ) -> Self {
        let clock = ClusterClock::new(node.machine().inventory().time(), now);
        let status = node.status();
        let (applied, snapshots) = (status.applied, Snapshots::new(policy, status.snapshot.index));
        let own = around.view.node();
        let others = node.voters().iter().map(|voter| node_id(*voter)).filter(|voter| *voter != own).collect();
        Self {
            id,
            node,
            around,
            clock,
            role: Role::default(),
            backlog: Backlog::new(limits.backlog),
            pending: Pending::default(),
            waiting: Waiting::new(limits.waiting),
            reads: Reads::new(limits.reads),
            snapshots,
            stirred: true,
            draining: false,
            handed_over_in: None,
            handover_after: Monotonic(0),
            diverged: false,
            dispute: Dispute::new(others),
            serving: false,
            withheld: Vec::new(),
            applied,
            batch: limits.batch,
            max_feed: limits.feed,
            propose_after: Monotonic(0),
            unsynced: VecDeque::new(),
            touched: Vec::new(),
            queued: Vec::new(),
        }
    }

    /// Which shard it is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Takes a request in: answers, queues or refuses it.
    pub fn accept(&mut self, call: Call, round: &mut Round) {
        if let RequestBody::Query(Query::Audit { .. }) = call.body {
            return round.answers.push(call.to, Ok(self.audit()));
        }
        if self.is_stuck(round.now) {
            return round.answers.push(call.to, Err(Failure::Diverged));
        }
        if !self.role.leads() {
            return round.answers.push(call.to, Err(self.not_leader()));
        }
        if self.draining {
            return round.answers.push(call.to, Err(Failure::ShuttingDown));
        }
        if self.feed_is_full() && self.would_add_to_feed(&call) {
            self.around.metrics.feed_full.increment(1);
            return round.answers.push(call.to, Err(feed::FULL));
        }
        self.stirred = true;
        let refused = match &call.body {
            RequestBody::Query(_) => self.reads.push(call),
            RequestBody::Command(Command::Reserve(reserve)) if call.ticket.is_none() => {
                let product = reserve.product;
                self.wait_for_units(product, call)
            }
            RequestBody::Command(_) => self.enter(call),
        };
        if let Err(call) = refused {
            round.answers.push(call.to, Err(Failure::Busy { retry_after: BUSY_RETRY }));
        }
    }

    /// A message came from a peer.
    pub fn step(&mut self, message: PeerMessage, now: Monotonic) {
        self.stirred = true;
        match message.note() {
            Some(note) => self.hear(node_id(message.from()), note, now),
            None => self.node.step(now, message),
        }
    }

    /// A peer's connection to this node has ended.
    pub fn peer_lost(&mut self, peer: NodeId, now: Monotonic) {
        self.stirred = true;
        self.node.peer_lost(now, u64::from(peer.0));
    }

    /// A log write is on disk.
    pub fn durable(&mut self, ticket: u64, now: Monotonic) {
        while self.unsynced.front().is_some_and(|(waiting, _)| *waiting <= ticket) {
            let Some((_, since)) = self.unsynced.pop_front() else { break };
            self.around.metrics.log_sync_seconds.record(now.since(since).as_secs_f64());
        }
        self.node.durable(ticket);
        self.stirred = true;
    }

    /// Something rare happened.
    pub fn event(&mut self, event: Event, round: &mut Round) {
        self.stirred = true;
        match event {
            Event::SnapshotWritten(mark, Some(size)) => {
                self.snapshots.written(mark, size);
                round.appends.push(self.node.snapshot_written(mark));
            }
            Event::SnapshotWritten(_, None) => self.snapshots.failed(round.now),
            Event::SnapshotSent(to, outcome) => {
                self.node.snapshot_sent(u64::from(to.0), outcome == TransferOutcome::Stored);
                if outcome == TransferOutcome::Unreadable {
                    tracing::error!(
                        shard = self.id.0,
                        "this node's snapshot on disk cannot be read: it is written anew from memory; check the disk"
                    );
                    self.snapshots.spoilt();
                }
            }
            Event::Install(message, bytes) => {
                if let Some(mark) = message.snapshot_mark() {
                    self.snapshots.written(mark, bytes.len() as u64);
                }
                self.node.install(round.now, *message, &bytes);
            }
            Event::CutLog => self.snapshots.wanted(),
        }
    }

    /// Time for the node's own affairs: elections, heartbeats; and for callers that wait no more.
    pub fn tick(&mut self, round: &mut Round) {
        self.node.tick(round.now);
        self.stirred = true;
        let (now, answers, metrics) = (round.now, &mut round.answers, &self.around.metrics);
        let mut ended = |call: Call| {
            metrics.waited_too_long.increment(1);
            answers.push(call.to, Err(Failure::WaitedTooLong));
        };
        self.backlog.overdue(now, &mut ended);
        self.waiting.overdue(now, &mut ended);
        self.reads.overdue(now, &mut ended);
        self.waiting.prune(self.backlog.settled_through(&self.pending));
        self.avoid_the_wrong(now);
        self.trim_filter();
        self.around.view.set_status(self.status(now), self.counts());
    }

    /// From now on no new requests; what is under way is finished, then leadership handed over.
    pub fn drain(&mut self) {
        self.draining = true;
        self.stirred = true;
    }

    /// Whether nobody is left to answer, and the shard is led elsewhere, can only be led here, or was given back.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let answered = self.waiting.is_empty() && self.reads.is_empty() && self.withheld.is_empty();
        let idle = self.backlog.is_empty() && self.pending.is_empty() && answered;
        idle && (!self.role.leads() || self.node.status().peers.is_empty() || self.was_given_back())
    }

    /// Whether [`Self::advance`] has something to do before the next message or tick.
    #[must_use]
    pub fn is_stirred(&self) -> bool {
        self.stirred
    }

    fn not_leader(&self) -> Failure {
        Failure::NotLeader { leader: self.around.view.leader(self.id) }
    }

    /// Puts a command into the line for the log.
    #[allow(clippy::result_large_err)]
    fn enter(&mut self, call: Call) -> Result<(), Call> {
        // Without a ticket it is a retry of what is known, and takes no units.
        let product = call.ticket.as_ref().and(call.reserve()).map(|reserve| reserve.product);
        let number = self.backlog.push(call)?;
        if let Some(product) = product {
            self.waiting.entered(product, number);
        }
        Ok(())
    }

    /// A reserve without a ticket: a retry of a known reservation goes to the log, which has its answer; others queue.
    #[allow(clippy::result_large_err)]
    fn wait_for_units(&mut self, product: ProductId, call: Call) -> Result<(), Call> {
        if call.reserve().is_some_and(|reserve| self.node.machine().inventory().knows(reserve.reservation)) {
            return self.enter(call);
        }
        self.waiting.push(product, call)?;
        self.around.gate.queue_behind_waiters(product, true);
        Ok(())
    }
}

/// The cluster's node numbers are 16 bits wide; Raft's are wider, and only ever carry those.
#[must_use]
pub fn node_id(node: doorbuster_raft::NodeId) -> NodeId {
    NodeId(u16::try_from(node).unwrap_or(u16::MAX))
}
