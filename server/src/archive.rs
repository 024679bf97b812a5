//! Snapshots between shard threads, disk and peers, on a thread of their own: a snapshot takes as long as
//! it takes, and the sale goes on meanwhile.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use crossbeam::channel::Receiver;
use doorbuster_protocol::types::ShardId;
use doorbuster_raft::snapshot::{SnapshotReader, SnapshotStore, SnapshotWriter};
use doorbuster_raft::transport::{SnapshotReceiver, SnapshotSink, SnapshotSource, Transport};
use doorbuster_raft::{PeerMessage, SnapshotMark, SnapshotSend};

use crate::inbox::Inboxes;
use crate::metrics::Metrics;
use crate::shard::{Event, SnapshotJob, node_id};

/// Something to be done with a snapshot.
pub enum Job {
    /// A frozen state is to be made durable.
    Write(SnapshotJob),
    /// A follower needs the stored one.
    Send(ShardId, Box<SnapshotSend>),
    /// One from the leader is durable here, and is to be installed.
    Install(ShardId, Box<PeerMessage>),
}

/// The thread's surroundings.
pub struct Archive {
    /// One store a shard.
    pub stores: Arc<[SnapshotStore]>,
    /// The shards.
    pub inboxes: Inboxes,
    /// The connections to the peers.
    pub transport: Option<Transport>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Archive {
    /// Works until nobody can send a job any more.
    pub fn run(&self, jobs: &Receiver<Job>) {
        for job in jobs {
            match job {
                Job::Write(job) => self.write(job),
                Job::Send(shard, send) => self.send(shard, *send),
                Job::Install(shard, message) => self.install(shard, *message),
            }
        }
    }

    fn write(&self, job: SnapshotJob) {
        let SnapshotJob { shard, mark, frozen } = job;
        let store = &self.stores[usize::from(shard.0)];
        let written = store.write_with(mark, |out| frozen.write_to(out));
        let result = written.map(|file| {
            self.metrics.snapshots_written.increment(1);
            tracing::info!(shard = shard.0, index = mark.index, bytes = file.length, "snapshot written");
        });
        self.inboxes.push_event(shard, Event::SnapshotWritten(mark, result.map_err(|error| error.to_string())));
    }

    fn send(&self, shard: ShardId, send: SnapshotSend) {
        let SnapshotSend { to, mark, message } = send;
        let reader = self.stores[usize::from(shard.0)].read();
        match (reader, &self.transport) {
            (Ok(Some(reader)), Some(transport)) if reader.file().mark == mark => {
                tracing::info!(shard = shard.0, index = mark.index, to, "sending a snapshot");
                self.metrics.snapshots_sent.increment(1);
                let length = reader.file().length;
                let reader = Box::new(Pieces { reader, piece: Bytes::new() });
                transport.send_snapshot(to, shard.0, message, SnapshotSource { reader, length });
            }
            (found, _) => {
                let error = found.err().map(|error| error.to_string());
                tracing::warn!(shard = shard.0, index = mark.index, to, error, "that snapshot is not there to be sent");
                self.inboxes.push_event(shard, Event::SnapshotSent(node_id(to), false));
            }
        }
    }

    fn install(&self, shard: ShardId, message: PeerMessage) {
        match self.stores[usize::from(shard.0)].load() {
            Ok(Some((file, bytes))) if Some(file.mark) == message.snapshot_mark() => {
                tracing::info!(shard = shard.0, index = file.mark.index, bytes = bytes.len(), "installing a snapshot");
                self.metrics.snapshots_installed.increment(1);
                self.inboxes.push_event(shard, Event::Install(message, bytes.into()));
            }
            // A newer one has come meanwhile, with its own message; or none that can be read: the leader tries again.
            Ok(_) => {}
            Err(error) => tracing::error!(shard = shard.0, %error, "a snapshot that was just received cannot be read"),
        }
    }
}

/// Receives snapshots from peers into the stores.
pub struct Arrivals {
    /// One store a shard.
    pub stores: Arc<[SnapshotStore]>,
}

impl SnapshotSink for Arrivals {
    fn begin(&self, shard: u16, mark: SnapshotMark, length: u64) -> io::Result<Box<dyn SnapshotReceiver>> {
        let unknown = || io::Error::new(io::ErrorKind::InvalidInput, format!("there is no shard {shard}"));
        let store = self.stores.get(usize::from(shard)).ok_or_else(unknown)?;
        let writer = store.begin(mark).map_err(io::Error::other)?;
        Ok(Box::new(Arrival { writer, length }))
    }
}

struct Arrival {
    writer: SnapshotWriter,
    length: u64,
}

impl SnapshotReceiver for Arrival {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.writer.write_all(chunk)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let written = self.writer.written();
        if written != self.length {
            let text = format!("{written} bytes of a snapshot came, {} were announced", self.length);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.writer.finish(None).map(drop).map_err(io::Error::other)
    }
}

/// A stored snapshot as a plain stream of bytes.
struct Pieces {
    reader: SnapshotReader,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.reader.next_chunk().map_err(io::Error::other)? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let taken = out.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut out[..taken]);
        Ok(taken)
    }
}
