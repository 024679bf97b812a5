//! Three nodes in virtual time: messages take about a millisecond, a log round half of one, a snapshot five.
//!
//! Every step is written into a running hash, so that two runs can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_inventory::Inventory;
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{decode_answers, encode_request};
use doorbuster_protocol::reply::{Answer, ShardStatus};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, NodeId, RequestId, ShardId, Timestamp};
use doorbuster_raft::snapshot::SnapshotStore;
use doorbuster_raft::transport::{Incarnation, SnapshotOffer, TransferOutcome, pack_messages, unpack_messages};
use doorbuster_raft::{Monotonic, SnapshotSend};
use doorbuster_server::shard::SnapshotPolicy;
use doorbuster_server::solo::{ConnectionId, Solo, SoloConfig, format};

use crate::disk::MemoryDisk;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
pub const SHARDS: u16 = 2;
/// Wall time at the beginning of the world.
const EPOCH: u64 = 1_700_000_000_000;

enum Event {
    Turn(NodeId),
    Flush(NodeId),
    Archive(NodeId),
    Frame { from: NodeId, to: NodeId, bytes: Vec<u8> },
    Snapshot { from: NodeId, to: NodeId, offer: Vec<u8>, contents: Vec<u8> },
    Sent { from: NodeId, to: NodeId, shard: ShardId, outcome: TransferOutcome },
}

struct Place {
    disk: MemoryDisk,
    solo: Option<Solo>,
    life: u64,
    line: Option<ConnectionId>,
    turn_at: Option<u64>,
    busy: (bool, bool),
}

pub struct World {
    now: u64,
    queue: BTreeMap<(u64, u64), (u64, Event)>,
    sequence: u64,
    dice: u64,
    places: BTreeMap<NodeId, Place>,
    cut: BTreeSet<(NodeId, NodeId)>,
    next_request: u64,
    answers: BTreeMap<RequestId, Answer>,
    pub trace: u64,
    pub turns: u64,
    pub snapshots: u64,
}

fn config(node: NodeId) -> SoloConfig {
    SoloConfig {
        shards: SHARDS,
        data: PathBuf::from(format!("/node-{node}")),
        segment_bytes: 128 << 10,
        snapshots: SnapshotPolicy { entries: 40, bytes: 1 << 20, spacing: Duration::ZERO },
        trailing_bytes: 0,
        ..SoloConfig::new(node, (1..=3).map(NodeId).collect())
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut world = Self {
            now: 1_000 * MILLI,
            queue: BTreeMap::new(),
            sequence: 0,
            dice: seed,
            places: BTreeMap::new(),
            cut: BTreeSet::new(),
            next_request: 1,
            answers: BTreeMap::new(),
            trace: 0,
            turns: 0,
            snapshots: 0,
        };
        for node in (1..=3).map(NodeId) {
            let disk = MemoryDisk::default();
            let incarnation = Incarnation([u8::try_from(node.0).unwrap(); 16]);
            format(&disk, &config(node), incarnation).unwrap();
            world
                .places
                .insert(node, Place { disk, solo: None, life: 0, line: None, turn_at: None, busy: (false, false) });
            world.start(node);
        }
        world
    }

    pub fn start(&mut self, node: NodeId) {
        let (now, wall) = (self.monotonic(), self.wall());
        let place = self.places.get_mut(&node).unwrap();
        let mut solo = Solo::start(Arc::new(place.disk.clone()), &config(node), now, wall).unwrap();
        place.line = Some(solo.connect());
        place.solo = Some(solo);
        self.plan_turn(node, self.now);
    }

    pub fn crash(&mut self, node: NodeId) {
        let place = self.places.get_mut(&node).unwrap();
        place.solo = None;
        place.life += 1;
        (place.turn_at, place.busy) = (None, (false, false));
        place.disk.crash();
    }

    /// Rewrites a stopped node's newest snapshot of shard 0: valid in every way, but of another state.
    pub fn tamper(&self, node: NodeId, change: impl FnOnce(&mut Inventory)) {
        let (store, limits) = (self.snapshot_store(node), config(node).limits);
        let (file, contents) = store.load().unwrap().expect("it has taken a snapshot");
        let mut inventory = Inventory::restore(ShardId(0), limits, &contents).unwrap();
        change(&mut inventory);
        let frozen = inventory.freeze();
        store.write_with(file.mark, |out| frozen.write_to(out)).unwrap();
    }

    /// One byte of a running node's newest snapshot of shard 0 goes wrong on its disk.
    pub fn rot(&self, node: NodeId, offset: usize) {
        let file = self.snapshot_store(node).newest().unwrap().expect("it has taken a snapshot");
        self.places[&node].disk.flip(&file.path, offset);
    }

    /// Whether a node's newest snapshot of shard 0 is whole on its disk.
    pub fn has_whole_snapshot(&self, node: NodeId) -> bool {
        matches!(self.snapshot_store(node).load(), Ok(Some(_)))
    }

    fn snapshot_store(&self, node: NodeId) -> SnapshotStore {
        let disk = Arc::new(self.places[&node].disk.clone());
        SnapshotStore::open(disk, &config(node).snapshot_folder(0), 0).unwrap()
    }

    pub fn isolate(&mut self, node: NodeId) {
        let others = (1..=3).map(NodeId).filter(|other| *other != node);
        self.cut.extend(others.flat_map(|other| [(node, other), (other, node)]));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    pub fn solo(&self, node: NodeId) -> &Solo {
        self.places[&node].solo.as_ref().expect("it runs")
    }

    pub fn status(&self, node: NodeId, shard: u16) -> ShardStatus {
        self.solo(node).shard(ShardId(shard)).expect("a shard of the cluster").status(self.monotonic())
    }

    /// Who serves a shard.
    pub fn leader(&self, shard: u16) -> Option<NodeId> {
        let running = self.places.iter().filter(|(_, place)| place.solo.is_some());
        running.map(|(node, _)| *node).find(|node| self.status(*node, shard).leading)
    }

    /// Virtual time, in seconds.
    pub fn seconds(&self) -> u64 {
        self.now / (1_000 * MILLI)
    }

    /// Lets the world go on until something is so.
    pub fn until(&mut self, what: &str, limit: Duration, mut so: impl FnMut(&Self) -> bool) {
        let end = self.now + u64::try_from(limit.as_nanos()).unwrap();
        while !so(self) {
            assert!(self.now < end, "not within {limit:?}: {what}");
            self.step();
        }
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_nanos()).unwrap();
        self.until("time passes", time * 2, |world| world.now >= end);
    }

    /// Asks a shard's leader until it answers.
    pub fn ask(&mut self, shard: u16, body: &RequestBody) -> Answer {
        loop {
            self.until("a leader", Duration::from_secs(20), |world| world.leader(shard).is_some());
            let node = self.leader(shard).expect("just looked");
            let id = self.send(node, body);
            let life = self.places[&node].life;
            self.until("an answer", Duration::from_secs(20), |world| {
                world.answers.contains_key(&id) || world.places[&node].life != life
            });
            match self.answers.remove(&id) {
                Some(Err(Failure::NotLeader { .. } | Failure::OutcomeUnknown)) | None => {}
                Some(answer) => return answer,
            }
        }
    }

    /// Asks one node once.
    pub fn ask_node(&mut self, node: NodeId, body: &RequestBody) -> Answer {
        let id = self.send(node, body);
        self.until("an answer", Duration::from_secs(20), |world| world.answers.contains_key(&id));
        self.answers.remove(&id).expect("just looked")
    }

    fn send(&mut self, node: NodeId, body: &RequestBody) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let mut bytes = Vec::new();
        encode_request(id, &Request { body: body.clone(), wait: Millis(0) }, &mut bytes);
        let now = self.monotonic();
        let place = self.places.get_mut(&node).unwrap();
        let line = place.line.expect("connected when it started");
        // In two pieces, as a network may.
        for piece in bytes.chunks(bytes.len().div_ceil(2)) {
            let answered = place.solo.as_mut().expect("it leads").receive(line, piece, now).unwrap();
            take_answers(&answered, &mut self.answers);
        }
        self.plan_turn(node, self.now + 10 * MICRO);
        id
    }

    fn step(&mut self) {
        let ((at, _), (life, event)) = self.queue.pop_first().expect("there is always a next tick");
        self.now = at;
        match event {
            Event::Turn(node) => self.on_turn(node, life),
            Event::Flush(node) => self.on_flush(node, life),
            Event::Archive(node) => self.on_archive(node, life),
            Event::Frame { from, to, bytes } => self.on_frame(from, to, &bytes),
            Event::Snapshot { from, to, offer, contents } => self.on_snapshot(from, to, &offer, &contents),
            Event::Sent { from, to, shard, outcome } => self.on_sent(from, to, shard, outcome),
        }
    }

    fn on_turn(&mut self, node: NodeId, life: u64) {
        let (now, wall) = (self.monotonic(), self.wall());
        let Some(place) = self.places.get_mut(&node).filter(|place| place.life == life && place.turn_at == Some(now.0))
        else {
            return;
        };
        place.turn_at = None;
        let (Some(solo), Some(line)) = (place.solo.as_mut(), place.line) else { return };
        let turn = solo.turn(now, wall);
        take_answers(&solo.take_answers(line), &mut self.answers);
        let (flush, archive, wake) = (solo.log_pending(), solo.archive_pending(), solo.wake_at(now).0);
        self.turns += 1;
        self.note(&[u64::from(node.0), turn.appended.len() as u64, turn.sends.len() as u64, wake]);
        for (to, batch) in turn.sends {
            let batch: Vec<_> = batch.into_iter().map(|(shard, message)| (shard.0, message)).collect();
            let bytes = pack_messages(wall.0, &batch);
            self.note(&[bytes.len() as u64, u64::from(crc(&bytes))]);
            let delay = 500 * MICRO + self.roll(MILLI);
            self.plan(delay, 0, Event::Frame { from: node, to, bytes });
        }
        for (shard, send) in turn.snapshot_sends {
            self.send_snapshot(node, shard, &send);
        }
        self.plan_io(node, flush, archive);
        self.plan_turn(node, wake.max(self.now + 10 * MICRO));
    }

    fn plan_io(&mut self, node: NodeId, flush: bool, archive: bool) {
        let place = self.places.get_mut(&node).unwrap();
        let (life, busy) = (place.life, place.busy);
        place.busy = (busy.0 || flush, busy.1 || archive);
        if flush && !busy.0 {
            self.plan(500 * MICRO, life, Event::Flush(node));
        }
        if archive && !busy.1 {
            self.plan(5 * MILLI, life, Event::Archive(node));
        }
    }

    fn on_flush(&mut self, node: NodeId, life: u64) {
        let Some(place) = self.places.get_mut(&node).filter(|place| place.life == life) else { return };
        let Some(solo) = place.solo.as_mut() else { return };
        solo.flush_log().expect("this disk never fails");
        place.busy.0 = false;
        let more = solo.log_pending();
        self.plan_io(node, more, false);
        self.plan_turn(node, self.now);
    }

    fn on_archive(&mut self, node: NodeId, life: u64) {
        let Some(place) = self.places.get_mut(&node).filter(|place| place.life == life) else { return };
        let Some(solo) = place.solo.as_mut() else { return };
        solo.archive();
        place.busy.1 = false;
        let more = solo.archive_pending();
        self.plan_io(node, false, more);
        self.plan_turn(node, self.now);
    }

    fn on_frame(&mut self, from: NodeId, to: NodeId, bytes: &[u8]) {
        let now = self.monotonic();
        let Some(solo) = self.reach(from, to) else { return };
        let (wall, batch) = unpack_messages(bytes, u64::from(from.0), u64::from(to.0), SHARDS).unwrap();
        let batch = batch.into_iter().map(|(shard, message)| (ShardId(shard), message)).collect();
        solo.peer_messages(from, Timestamp(wall), batch, now);
        self.plan_turn(to, self.now);
    }

    fn send_snapshot(&mut self, from: NodeId, shard: ShardId, send: &SnapshotSend) {
        let to = NodeId(u16::try_from(send.to).unwrap());
        let opened = self.solo(from).offer_snapshot(shard, send);
        let outcome = TransferOutcome::of(&opened);
        let Ok((offer, mut reader)) = opened else {
            return self.plan(MILLI, 0, Event::Sent { from, to, shard, outcome });
        };
        let mut contents = Vec::new();
        loop {
            match reader.next_chunk() {
                Ok(Some(chunk)) => contents.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) => {
                    let outcome = TransferOutcome::Unreadable;
                    return self.plan(MILLI, 0, Event::Sent { from, to, shard, outcome });
                }
            }
        }
        let mut bytes = Vec::new();
        offer.encode(&mut bytes);
        self.plan(10 * MILLI, 0, Event::Snapshot { from, to, offer: bytes, contents });
    }

    fn on_snapshot(&mut self, from: NodeId, to: NodeId, offer: &[u8], contents: &[u8]) {
        let offer = SnapshotOffer::decode(offer, u64::from(from.0), u64::from(to.0)).unwrap();
        let shard = ShardId(offer.shard);
        let stored = self.reach(from, to).is_some_and(|solo| {
            let Ok(mut receipt) = solo.begin_snapshot(&offer) else { return false };
            contents.chunks(1000).for_each(|chunk| receipt.chunk(chunk).unwrap());
            let stored = receipt.finish().is_ok();
            solo.snapshot_received(offer);
            stored
        });
        self.snapshots += u64::from(stored);
        self.note(&[u64::from(to.0), contents.len() as u64, u64::from(crc(contents)), u64::from(stored)]);
        let outcome = if stored { TransferOutcome::Stored } else { TransferOutcome::Failed };
        self.plan(MILLI, 0, Event::Sent { from, to, shard, outcome });
        let archive = self.places[&to].solo.as_ref().is_some_and(Solo::archive_pending);
        self.plan_io(to, false, archive);
    }

    fn on_sent(&mut self, from: NodeId, to: NodeId, shard: ShardId, outcome: TransferOutcome) {
        let Some(solo) = self.places.get_mut(&from).and_then(|place| place.solo.as_mut()) else { return };
        solo.snapshot_sent(to, shard, outcome);
        self.plan_turn(from, self.now);
    }

    /// The node at the other end, if it can be reached.
    fn reach(&mut self, from: NodeId, to: NodeId) -> Option<&mut Solo> {
        let open = !self.cut.contains(&(from, to)) && self.places[&from].solo.is_some();
        let known = Incarnation([u8::try_from(from.0).unwrap(); 16]);
        let solo = self.places.get_mut(&to)?.solo.as_mut().filter(|_| open)?;
        solo.meet(from, known).unwrap().unwrap();
        Some(solo)
    }

    fn plan_turn(&mut self, node: NodeId, at: u64) {
        let Some(place) = self.places.get_mut(&node).filter(|place| place.turn_at.is_none_or(|planned| at < planned))
        else {
            return;
        };
        place.turn_at = Some(at);
        let life = place.life;
        self.plan(at - self.now, life, Event::Turn(node));
    }

    fn plan(&mut self, delay: u64, life: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), (life, event));
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.now)
    }

    fn wall(&self) -> Timestamp {
        Timestamp(EPOCH + self.now / MILLI)
    }

    fn roll(&mut self, end: u64) -> u64 {
        self.dice = mixed(self.dice);
        self.dice % end
    }

    fn note(&mut self, what: &[u64]) {
        let now = self.now;
        self.trace = what.iter().fold(mixed(self.trace ^ now), |trace, number| mixed(trace ^ number));
    }
}

fn take_answers(bytes: &[u8], answers: &mut BTreeMap<RequestId, Answer>) {
    let taken = decode_answers(bytes, &mut |id, answer| {
        assert!(answers.insert(id, answer).is_none(), "two answers to request {id}");
    });
    assert_eq!(taken.unwrap(), bytes.len(), "whole frames");
}

fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
