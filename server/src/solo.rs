//! One node's process with time, randomness, disk and network as input: no threads, no sockets, no clocks.
//!
//! It is the code of a server: the same recovery, shards, gate, router, log and snapshots; what a server has threads
//! for, here somebody calls. Whoever drives it (a simulator) owes it what a server's threads owe each other:
//! * `now` never goes back within a life, and is read when the call is made, not before;
//! * [`Solo::turn`] no later than [`Solo::wake_at`] says, [`Solo::flush_log`] while [`Solo::log_pending`],
//!   [`Solo::archive`] while [`Solo::archive_pending`], in any order and as late as threads may be;
//! * after an error of [`Solo::flush_log`], and when [`Solo::must_end`] says why, the process has ended: nothing of it is
//!   used any more.
//!
//! To end a process, drop it: what its disk has is what is left of it. A panic is the end of the process too.

mod line;
mod snapshots;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use doorbuster_protocol::frame::FrameError;
use doorbuster_protocol::reply::NodeAddress;
use doorbuster_protocol::types::{NodeId, ShardId, Timestamp};
use doorbuster_raft::disk::{Disk, WatchedDisk};
use doorbuster_raft::log::{LogCore, LogUsage};
use doorbuster_raft::transport::Incarnation;
use doorbuster_raft::{Append, Monotonic, PeerMessage, SnapshotSend};

use crate::archive::{Archive, Job};
use crate::clock::WallClocks;
use crate::cluster::ClusterView;
use crate::desk::Desk;
use crate::error::ServerError;
use crate::fatal::Fatal;
use crate::gate::Gate;
use crate::identity::{DataFolder, Identity};
use crate::inbox::{Contents, Inboxes};
use crate::metrics::Metrics;
pub use crate::recovery::format;
use crate::recovery::{self, Recovery};
pub use crate::settings::NodeSettings as SoloConfig;
use crate::shard::{Round, Shard};
use crate::shard_group::ShardGroup;
pub use line::ConnectionId;
use line::Line;

/// One node's process.
pub struct Solo {
    fatal: Fatal,
    folder: Arc<DataFolder>,
    log: LogCore,
    archive: Archive,
    jobs: VecDeque<Job>,
    desk: Arc<Desk>,
    groups: Vec<ShardGroup>,
    taken: Contents,
    round: Round,
    lines: BTreeMap<ConnectionId, Line>,
    next_line: u64,
    wall: Timestamp,
}

/// What a round wants from the rest of the world. What it wrote is in the log's buffer already, and what it answered
/// is in the connections.
#[derive(Debug, Default)]
pub struct Turn {
    /// Messages for peers, a batch each. Any may be lost.
    pub sends: Vec<(NodeId, Vec<(ShardId, PeerMessage)>)>,
    /// Followers that need this node's newest snapshot of a shard: see [`Solo::offer_snapshot`].
    pub snapshot_sends: Vec<(ShardId, SnapshotSend)>,
    /// What is on its way to the log, not durable yet; for whoever watches.
    pub appended: Vec<Append>,
}

impl Solo {
    /// Starts a node on a folder that was formatted for it: reads everything that it needs.
    ///
    /// # Errors
    /// The folder is missing, another's or damaged: the node must not serve from it.
    pub fn start(
        disk: Arc<dyn Disk>,
        config: &SoloConfig,
        now: Monotonic,
        wall: Timestamp,
    ) -> Result<Self, ServerError> {
        let fatal = Fatal::default();
        let raise = fatal.clone();
        let disk: Arc<dyn Disk> = Arc::new(WatchedDisk::new(disk, Arc::new(move |reason| raise.raise(reason))));
        let Recovery { folder, stores, log, replicas } = recovery::recover(disk, config, LogCore::open)?;
        let inboxes = Inboxes::new(config.groups, config.inbox);
        let addresses = config.voters.iter().map(|node| NodeAddress { node: *node, address: format!("node-{node}:1") });
        let desk = Arc::new(Desk {
            gate: Arc::new(Gate::new(config.shards)),
            view: Arc::new(ClusterView::new(config.node, addresses.collect(), config.shards)),
            inboxes,
            metrics: Metrics::silent(),
            wall_clocks: Arc::new(WallClocks::new(config.others())),
            durable: config.durable,
            started: now,
            default_wait: config.default_wait,
        });
        let shards = recovery::shards(config, replicas, &desk.surroundings(), now)?;
        let group = |shards| ShardGroup::new(shards, config.tick, config.log_bound(), now);
        Ok(Self {
            fatal,
            folder,
            log,
            archive: Archive { stores, metrics: desk.metrics.clone() },
            jobs: VecDeque::new(),
            groups: desk.inboxes.deal(shards).into_iter().map(group).collect(),
            desk,
            taken: Contents::default(),
            round: Round::default(),
            lines: BTreeMap::new(),
            next_line: 1,
            wall,
        })
    }

    /// Whose data folder it runs on.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.folder.identity()
    }

    /// The incarnation in which a peer was met first, if ever.
    #[must_use]
    pub fn known_peer(&self, node: NodeId) -> Option<Incarnation> {
        self.folder.known_peer(node)
    }

    /// What a connection's handshake decides about a peer: the first incarnation that is met is remembered, durably,
    /// and any other refused from then on. `Ok(Err(reason))`: it is refused, and must end.
    ///
    /// # Errors
    /// Those of the disk: the connection is closed, and may be tried again.
    pub fn meet(&self, node: NodeId, incarnation: Incarnation) -> io::Result<Result<(), String>> {
        match doorbuster_raft::transport::recognise(u64::from(node.0), self.known_peer(node), incarnation) {
            Ok(true) => Ok(Ok(())),
            Ok(false) => self.folder.remember_peer(node, incarnation).map(Ok),
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// Messages came from a peer, in one frame with its wall clock. An empty batch brings the clock only.
    pub fn peer_messages(
        &mut self,
        from: NodeId,
        wall_clock: Timestamp,
        batch: Vec<(ShardId, PeerMessage)>,
        now: Monotonic,
    ) {
        self.desk.wall_clocks.observe(from, wall_clock, now);
        self.desk.inboxes.push_peer(batch);
    }

    /// The connection over which a peer sent its messages has ended, and no newer one stands.
    pub fn peer_lost(&mut self, peer: NodeId) {
        self.desk.inboxes.push_lost(peer);
    }

    /// One round of all shards.
    pub fn turn(&mut self, now: Monotonic, wall: Timestamp) -> Turn {
        self.wall = wall;
        let mut turn = Turn::default();
        (self.round.now, self.round.wall) = (now, wall);
        for (thread, group) in self.groups.iter_mut().enumerate() {
            let inbox = self.desk.inboxes.thread(thread);
            inbox.take(&mut self.taken);
            group.turn(&mut self.taken, &mut self.round, || self.log.usage());
            if group.is_drained() {
                inbox.set_drained();
            }
            for append in &self.round.appends {
                self.log.append(append).expect("what a shard appends fits what it has appended before");
            }
            turn.appended.append(&mut self.round.appends);
            turn.sends.append(&mut self.round.sends);
            turn.snapshot_sends.append(&mut self.round.snapshot_sends);
            self.round.answers.deliver();
            self.jobs.extend(self.round.snapshot_jobs.drain(..).map(Job::Write));
        }
        turn
    }

    /// When the next turn is due: now if there is something to do, else when something falls due by time.
    #[must_use]
    pub fn wake_at(&self, now: Monotonic) -> Monotonic {
        if self.desk.inboxes.iter().any(|inbox| !inbox.is_empty()) {
            return now;
        }
        self.groups.iter().map(|group| group.wake_at(now)).min().unwrap_or(now)
    }

    /// Whether something waits to be written to the log.
    #[must_use]
    pub fn log_pending(&self) -> bool {
        self.log.is_pending()
    }

    /// What the log thread does: writes and syncs one round, prepares the next segment, deletes obsolete ones. The next
    /// turn learns what is durable.
    ///
    /// # Errors
    /// The log has failed, and the process must end.
    pub fn flush_log(&mut self) -> Result<(), String> {
        self.log.flush_round().map_err(|error| error.to_string())?;
        for (shard, ticket) in self.log.take_durable() {
            self.desk.inboxes.push_durable(ShardId(shard), ticket);
        }
        self.log.maintain().map_err(|error| error.to_string())
    }

    /// Why the process must end, if it must: to be asked after every call that may reach the disk.
    #[must_use]
    pub fn must_end(&self) -> Option<&str> {
        self.fatal.reason()
    }

    /// What the log takes on disk.
    #[must_use]
    pub fn log_usage(&self) -> LogUsage {
        self.log.usage()
    }

    /// From now on no new requests; what is under way is finished, then leadership handed over.
    pub fn drain(&mut self) {
        self.desk.inboxes.iter().for_each(crate::inbox::Inbox::drain);
    }

    /// Whether what was under way at [`Self::drain`] is finished.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.desk.inboxes.iter().all(crate::inbox::Inbox::is_drained)
    }

    /// The node's replicas.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.groups.iter().flat_map(ShardGroup::shards)
    }

    /// One of the node's replicas.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.groups[self.desk.inboxes.thread_of(shard)].shards().iter().find(|one| one.id() == shard)
    }

    /// What the connections and shards share.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.desk
    }
}
