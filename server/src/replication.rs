//! What the peer transport hands in: messages to the shards, snapshots to the archive, refusals to whoever
//! ends the process. Runs on the runtime's threads; nothing here waits.

use std::io;
use std::sync::Arc;

use crossbeam::channel::Sender;
use doorbuster_protocol::types::{ShardId, Timestamp};
use doorbuster_raft::PeerMessage;
use doorbuster_raft::snapshot::SnapshotFile;
use doorbuster_raft::transport::{Incarnation, TransferOutcome, TransportHandler};

use crate::archive::Job;
use crate::clock::{self, WallClocks};
use crate::fatal::Fatal;
use crate::identity::DataFolder;
use crate::inbox::Inboxes;
use crate::shard::{Event, node_id};

/// Jobs that may wait for the archive when a received snapshot comes: shards add one each at most.
const MAX_ARCHIVE_JOBS: usize = 1024;

/// The transport's way into the node.
pub struct Replication {
    /// The shards.
    pub inboxes: Inboxes,
    /// Installs snapshots.
    pub archive: Sender<Job>,
    /// Remembers the peers.
    pub folder: Arc<DataFolder>,
    /// Learns the peers' wall clocks.
    pub wall_clocks: Arc<WallClocks>,
    /// Ends the process.
    pub fatal: Fatal,
}

impl TransportHandler for Replication {
    fn wall_clock_ms(&self) -> u64 {
        clock::wall().0
    }

    fn messages(&self, from: u64, wall_clock_ms: u64, batch: Vec<(u16, PeerMessage)>) {
        self.wall_clocks.observe(node_id(from), Timestamp(wall_clock_ms), clock::monotonic());
        self.inboxes.push_peer(batch.into_iter().map(|(shard, message)| (ShardId(shard), message)).collect());
        self.inboxes.attend();
    }

    fn lost(&self, peer: u64) {
        self.inboxes.push_lost(node_id(peer));
    }

    fn snapshot(&self, _from: u64, shard: u16, message: PeerMessage, _stored: SnapshotFile) {
        // An archive that is so far behind has newer ones of the same shards in its queue; the leader tries again.
        if self.archive.len() < MAX_ARCHIVE_JOBS {
            let _ended = self.archive.send(Job::Install(ShardId(shard), Box::new(message)));
        }
    }

    fn snapshot_sent(&self, to: u64, shard: u16, outcome: TransferOutcome) {
        self.inboxes.push_event(ShardId(shard), Event::SnapshotSent(node_id(to), outcome));
    }

    fn known_incarnation(&self, node: u64) -> Option<Incarnation> {
        self.folder.known_peer(node_id(node))
    }

    fn remember_incarnation(&self, node: u64, incarnation: Incarnation) -> io::Result<()> {
        self.folder.remember_peer(node_id(node), incarnation)
    }

    fn refused(&self, by: u64, reason: String) {
        self.fatal.raise(format!("node {by} refuses this one: {reason}"));
    }
}
