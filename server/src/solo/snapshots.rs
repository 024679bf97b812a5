//! Snapshots of a node that somebody drives: taken, sent, received and installed a step at a time.

use super::{Job, NodeId, PeerMessage, ShardId, Solo};
use crate::shard::Event;

impl Solo {
    /// Whether a snapshot waits to be written or installed.
    #[must_use]
    pub fn archive_pending(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// What the archive's thread does: writes one snapshot, or reads one that was received. The next turn learns of it.
    pub fn archive(&mut self) {
        let Some(job) = self.jobs.pop_front() else { return };
        if let Some((shard, event)) = self.archive.perform(job) {
            self.desk.inboxes.push_event(shard, event);
        }
    }

    /// A snapshot that came with `message` is durable in the shard's store: the archive will install it.
    pub fn snapshot_received(&mut self, shard: ShardId, message: PeerMessage) {
        self.jobs.push_back(Job::Install(shard, Box::new(message)));
    }

    /// How a transfer that [`Turn::snapshot_sends`](super::Turn::snapshot_sends) asked for has ended; `ok`: it is durable there.
    pub fn snapshot_sent(&mut self, to: NodeId, shard: ShardId, ok: bool) {
        self.desk.inboxes.push_event(shard, Event::SnapshotSent(to, ok));
    }
}
