//! Snapshots on their way from one node to another, a chunk at a time.

use bytes::Bytes;
use doorbuster_protocol::types::ShardId;
use doorbuster_raft::SnapshotSend;
use doorbuster_raft::snapshot::SnapshotReader;
use doorbuster_raft::transport::{SnapshotOffer, SnapshotReceipt, TransferOutcome};

use super::super::net::MS;
use super::events::Event;
use super::life::node_id;
use super::run::Run;

/// Snapshots that one node sends, or receives, at once.
const AT_ONCE: usize = 2;
/// A stream that gets nowhere for so many attempts is given up.
const PATIENCE: u32 = 30;

/// A transfer.
pub(super) struct Stream {
    from: usize,
    to: usize,
    shard: ShardId,
    send: SnapshotSend,
    progress: Progress,
    waited: u32,
}

enum Progress {
    /// Waits for its turn.
    Waits,
    /// The offer has been made.
    Flows(Box<SnapshotReader>, Box<SnapshotReceipt>, Box<SnapshotOffer>),
}

/// What one step came to.
enum Step {
    Again(u64),
    Failed(String),
    /// The sender cannot read what it has.
    Unreadable(String),
    Stored,
}

impl Run {
    pub(super) fn send_snapshot(&mut self, from: usize, shard: ShardId, send: SnapshotSend) {
        let to = usize::try_from(send.to).unwrap_or(1) - 1;
        let stream = self.number();
        self.counters.count("snapshots_sent");
        self.marks.reach("snapshot_sent");
        self.streams.insert(stream, Stream { from, to, shard, send, progress: Progress::Waits, waited: 0 });
        let latency = self.net.latency();
        self.schedule.after(latency, Event::Stream { stream });
    }

    pub(super) fn stream_goes_on(&mut self, number: u64) {
        let Some(mut stream) = self.streams.remove(&number) else { return };
        let step = self.step(&mut stream);
        let (to, receiver_stopped) = (stream.to, self.nodes[stream.to].disk.stopped_in().is_some());
        let happened = self.nodes[to].disk.take_happened();
        match step {
            Step::Again(delay) => {
                self.streams.insert(number, stream);
                self.schedule.after(delay, Event::Stream { stream: number });
            }
            Step::Failed(why) => self.stream_ended(stream, TransferOutcome::Failed, &why),
            Step::Unreadable(why) => {
                self.marks.reach("snapshot_unreadable");
                self.stream_ended(stream, TransferOutcome::Unreadable, &why);
            }
            Step::Stored => self.stream_ended(stream, TransferOutcome::Stored, "stored"),
        }
        if receiver_stopped {
            self.marks.reach("crash_while_snapshot_is_received");
        }
        if self.nodes[to].is_up() {
            self.ended_by_disk(to, &happened, "sync_failed_in_snapshot");
        }
    }

    fn step(&mut self, stream: &mut Stream) -> Step {
        let (from, to, now) = (stream.from, stream.to, self.now());
        let stands_still = self.nodes[from].paused_until > now || self.nodes[to].paused_until > now;
        if self.net.is_cut(from, to) || stands_still {
            stream.waited += 1;
            return if stream.waited > PATIENCE { Step::Failed("silence".into()) } else { Step::Again(100 * MS) };
        }
        if !self.nodes[to].is_up() {
            return Step::Failed("nobody there".into());
        }
        stream.waited = 0;
        match std::mem::replace(&mut stream.progress, Progress::Waits) {
            Progress::Waits => self.offer(stream),
            Progress::Flows(reader, receipt, offer) => self.chunk(stream, reader, receipt, offer),
        }
    }

    fn offer(&mut self, stream: &mut Stream) -> Step {
        let flowing = |stream: &&Stream| matches!(stream.progress, Progress::Flows(..));
        let busy = |end: usize| self.streams.values().filter(flowing).filter(|s| s.from == end || s.to == end).count();
        if busy(stream.from) >= AT_ONCE {
            return Step::Again(20 * MS);
        }
        if busy(stream.to) >= AT_ONCE {
            return Step::Failed("too many snapshots are being received".into());
        }
        let (from, to) = (u64::from(node_id(stream.from).0), u64::from(node_id(stream.to).0));
        let Some(solo) = &self.nodes[stream.from].solo else { return Step::Failed("the sender is gone".into()) };
        let offered = solo.offer_snapshot(stream.shard, &stream.send);
        let outcome = TransferOutcome::of(&offered);
        let (offer, reader) = match offered {
            Ok(offered) => offered,
            Err(error) if outcome == TransferOutcome::Unreadable => return Step::Unreadable(error.to_string()),
            Err(error) => return Step::Failed(format!("no offer: {error}")),
        };
        let mut bytes = Vec::new();
        offer.encode(&mut bytes);
        self.trace.bytes(&bytes);
        let offer = match SnapshotOffer::decode(&bytes, from, to) {
            Ok(offer) => offer,
            Err(error) => {
                self.violated("codec", format!("an offer of a snapshot does not decode: {error}"));
                return Step::Failed(error.to_string());
            }
        };
        let begun =
            self.call(stream.to, "receiving", |node| node.solo.as_ref().map(|solo| solo.begin_snapshot(&offer)));
        match begun.flatten() {
            Some(Ok(receipt)) => {
                stream.progress = Progress::Flows(Box::new(reader), Box::new(receipt), Box::new(offer));
                Step::Again(self.chunk_delay(stream.to))
            }
            Some(Err(error)) => {
                if error.to_string().contains("newer") {
                    self.marks.reach("snapshot_superseded");
                }
                Step::Failed(error.to_string())
            }
            None => Step::Failed("the receiver is gone".into()),
        }
    }

    fn chunk_delay(&mut self, to: usize) -> u64 {
        self.net.latency() + self.disk_delay(to) / 2
    }

    fn chunk(
        &mut self,
        stream: &mut Stream,
        mut reader: Box<SnapshotReader>,
        mut receipt: Box<SnapshotReceipt>,
        offer: Box<SnapshotOffer>,
    ) -> Step {
        if self.net.stream_breaks() {
            self.marks.reach("snapshot_stream_broken");
            self.counters.count("snapshot_streams_broken");
            return Step::Failed("the stream broke".into());
        }
        let chunk: Option<Bytes> = match reader.next_chunk() {
            Ok(chunk) => chunk,
            Err(error) => return Step::Unreadable(error.to_string()),
        };
        if let Some(chunk) = chunk {
            self.trace.bytes(&chunk);
            if let Err(error) = receipt.chunk(&chunk) {
                return Step::Failed(error.to_string());
            }
            stream.progress = Progress::Flows(reader, receipt, offer);
            return Step::Again(self.chunk_delay(stream.to));
        }
        match receipt.finish() {
            Ok(_) => {
                if let Some(solo) = &mut self.nodes[stream.to].solo {
                    solo.snapshot_received(*offer);
                }
                Step::Stored
            }
            Err(error) => Step::Failed(error.to_string()),
        }
    }

    fn stream_ended(&mut self, stream: Stream, outcome: TransferOutcome, why: &str) {
        let (ok, now) = (outcome == TransferOutcome::Stored, self.now());
        let Stream { from, to, shard, progress, .. } = stream;
        drop(progress);
        self.trace.event(now, 12, &[from as u64, to as u64, u64::from(shard.0), u64::from(ok)]);
        self.trace.line(now, || format!("n{} -> n{}: snapshot of s{shard}: {why}", from + 1, to + 1));
        if let Some(solo) = &mut self.nodes[from].solo {
            solo.snapshot_sent(node_id(to), shard, outcome);
            self.stir(from);
        }
        if ok {
            self.counters.count("snapshots_received");
            self.see_to_disk(to);
        }
    }

    /// Transfers from and to a process that has ended are over. Its disk is stopped already.
    pub(super) fn streams_of_ended(&mut self, at: usize) {
        let over: Vec<u64> =
            self.streams.iter().filter(|(_, s)| s.from == at || s.to == at).map(|(number, _)| *number).collect();
        for number in over {
            let Some(stream) = self.streams.remove(&number) else { continue };
            if stream.from == at {
                continue;
            }
            self.stream_ended(stream, TransferOutcome::Failed, "the receiver has ended");
        }
    }
}
