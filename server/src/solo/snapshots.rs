//! Snapshots of a node that somebody drives: taken, sent, received and installed a step at a time.
//!
//! A transfer goes: [`Turn::snapshot_sends`](super::Turn::snapshot_sends) at the leader → [`Solo::offer_snapshot`] there, whose offer and chunks
//! travel → [`Solo::begin_snapshot`] at the follower, a [`SnapshotReceipt::chunk`] a piece, [`SnapshotReceipt::finish`] →
//! [`Solo::snapshot_received`] there → [`Solo::snapshot_sent`] at the leader, also if anything on the way failed.

use std::io;

use doorbuster_raft::snapshot::SnapshotReader;
use doorbuster_raft::transport::{SnapshotOffer, SnapshotReceipt, TransferOutcome};
use doorbuster_raft::{SnapshotMark, SnapshotSend};

use super::{Job, NodeId, ShardId, Solo};
use crate::shard::Event;

impl Solo {
    /// Whether a snapshot waits to be written or installed.
    #[must_use]
    pub fn archive_pending(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// What the archive's thread does: writes one snapshot, or reads one that was received. The next turn learns of it,
    /// and says what failed. Gives what was written, for whoever watches.
    pub fn archive(&mut self) -> Option<(ShardId, SnapshotMark)> {
        let (shard, event) = self.archive.perform(self.jobs.pop_front()?)?;
        let written = if let Event::SnapshotWritten(mark, Some(_)) = &event { Some((shard, *mark)) } else { None };
        self.desk.inboxes.push_event(shard, event);
        written
    }

    /// Opens the snapshot that a follower needs.
    ///
    /// # Errors
    /// It is gone or damaged: the transfer has failed.
    pub fn offer_snapshot(&self, shard: ShardId, send: &SnapshotSend) -> io::Result<(SnapshotOffer, SnapshotReader)> {
        SnapshotOffer::of(self.archive.store(shard)?, shard.0, &send.message)
    }

    /// Makes room for a snapshot that a peer offers.
    ///
    /// # Errors
    /// There is no such shard, a newer one is stored already, or the disk refuses: the transfer has failed.
    pub fn begin_snapshot(&self, offer: &SnapshotOffer) -> io::Result<SnapshotReceipt> {
        SnapshotReceipt::begin(self.archive.store(ShardId(offer.shard))?, offer)
    }

    /// What was offered is durable in the shard's store: the archive will install it.
    pub fn snapshot_received(&mut self, offer: SnapshotOffer) {
        self.jobs.push_back(Job::Install(ShardId(offer.shard), Box::new(offer.message)));
    }

    /// How a transfer has ended.
    pub fn snapshot_sent(&mut self, to: NodeId, shard: ShardId, outcome: TransferOutcome) {
        self.desk.inboxes.push_event(shard, Event::SnapshotSent(to, outcome));
    }
}
