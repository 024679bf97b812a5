//! Snapshots between shards and disk, on a thread of their own: a snapshot takes as long as it takes, and the sale goes
//! on meanwhile. Between peers they travel with the transport, from store to store.

use std::io;

use crossbeam::channel::Receiver;
use doorbuster_protocol::types::ShardId;
use doorbuster_raft::PeerMessage;
use doorbuster_raft::snapshot::{SnapshotError, SnapshotStore};

use crate::clock;
use crate::inbox::Inboxes;
use crate::metrics::Metrics;
use crate::shard::{Event, SnapshotJob};

/// Something to be done with a snapshot.
pub enum Job {
    /// A frozen state is to be made durable.
    Write(SnapshotJob),
    /// One from the leader is durable here, and is to be installed.
    Install(ShardId, Box<PeerMessage>),
    /// The node ends.
    End,
}

/// The thread's surroundings.
pub struct ArchiveThread {
    /// The snapshots.
    pub archive: Archive,
    /// The shards.
    pub inboxes: Inboxes,
}

impl ArchiveThread {
    /// Works until the node ends.
    pub fn run(&self, jobs: &Receiver<Job>) {
        for job in jobs {
            let (since, writes) = (clock::monotonic(), matches!(job, Job::Write(_)));
            if matches!(job, Job::End) {
                return;
            }
            if let Some((shard, event)) = self.archive.perform(job) {
                self.inboxes.push_event(shard, event);
            }
            if writes {
                self.archive.metrics.snapshot_seconds.record(clock::monotonic().since(since).as_secs_f64());
            }
        }
    }
}

/// The snapshots of a node, one job at a time.
pub struct Archive {
    /// One store a shard.
    pub stores: Vec<SnapshotStore>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Archive {
    /// Does one job. What the shard is to be told of it, if anything.
    pub fn perform(&self, job: Job) -> Option<(ShardId, Event)> {
        match job {
            Job::Write(job) => Some(self.write(job)),
            Job::Install(shard, message) => self.install(shard, message),
            Job::End => None,
        }
    }

    /// A shard's snapshots.
    ///
    /// # Errors
    /// There is no such shard.
    pub fn store(&self, shard: ShardId) -> io::Result<&SnapshotStore> {
        let store = self.stores.get(usize::from(shard.0));
        store.ok_or_else(|| io::Error::other(format!("shard {shard} does not exist, there are {}", self.stores.len())))
    }

    fn write(&self, job: SnapshotJob) -> (ShardId, Event) {
        let SnapshotJob { shard, mark, frozen } = job;
        let written = self.stores[usize::from(shard.0)].write_with(mark, |out| frozen.write_to(out));
        match &written {
            Ok(file) => {
                self.metrics.snapshots_written.increment(1);
                tracing::info!(shard = shard.0, index = mark.index, bytes = file.length, "snapshot written");
            }
            // The leader's came first and is about to be installed.
            Err(SnapshotError::Superseded { newest, .. }) => {
                tracing::info!(shard = shard.0, index = mark.index, newest, "snapshot not needed");
            }
            Err(error) => {
                tracing::error!(shard = shard.0, index = mark.index, %error, "snapshot was not written, the log stays");
            }
        }
        (shard, Event::SnapshotWritten(mark, written.ok().map(|file| file.length)))
    }

    fn install(&self, shard: ShardId, message: Box<PeerMessage>) -> Option<(ShardId, Event)> {
        match self.stores[usize::from(shard.0)].load() {
            Ok(Some((file, bytes))) if Some(file.mark) == message.snapshot_mark() => {
                tracing::info!(shard = shard.0, index = file.mark.index, bytes = bytes.len(), "installing a snapshot");
                self.metrics.snapshots_installed.increment(1);
                Some((shard, Event::Install(message, bytes.into())))
            }
            // A newer one has come meanwhile, with its own message; or none that can be read: the leader tries again.
            Ok(_) => None,
            Err(error) => {
                tracing::error!(shard = shard.0, %error, "a snapshot that was just received cannot be read");
                None
            }
        }
    }
}
