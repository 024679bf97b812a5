//! A cluster in virtual time: a millisecond at a time, everything that happens is drawn from one seed.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use doorbuster_raft::{Effects, NodeConfig, NodeId, PeerMessage, SnapshotMark};

use crate::checks::Checks;
use crate::replica::{MS, Replica};

/// What the network and the disks do.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Of 1000 messages.
    pub lost: u64,
    pub doubled: u64,
    /// Milliseconds.
    pub slowest_message: u64,
    pub slowest_write: u64,
}

pub const CALM: Weather = Weather { lost: 0, doubled: 0, slowest_message: 1, slowest_write: 1 };
pub const ROUGH: Weather = Weather { lost: 50, doubled: 50, slowest_message: 40, slowest_write: 30 };

#[allow(clippy::large_enum_variant)] // a few at a time
enum Event {
    Message {
        to: usize,
        from: NodeId,
        bytes: Vec<u8>,
    },
    /// A snapshot that arrives (or does not: no bytes).
    Snapshot {
        to: usize,
        from: usize,
        message: PeerMessage,
        bytes: Option<Vec<u8>>,
    },
    Restart {
        node: usize,
    },
    /// The connection over which `from` spoke closes.
    Closed {
        to: usize,
        from: NodeId,
    },
    /// A snapshot of the node's own is written; if it is still the same process.
    Written {
        node: usize,
        life: u64,
        mark: SnapshotMark,
        bytes: Vec<u8>,
    },
}

pub struct World {
    pub replicas: Vec<Replica>,
    pub checks: Checks,
    pub weather: Weather,
    pub now: u64,
    random: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    /// Messages from the first to the second are lost.
    cut: HashSet<(usize, usize)>,
    /// Which life a node is in: processes do not answer for their predecessors.
    lives: Vec<u64>,
    /// Proposals that wait: (node, life, term, index) to word.
    waiting: HashMap<(usize, u64, u64, u64), u64>,
    /// Reads that wait: (node, life, token) to what was acknowledged before.
    reads: HashMap<(usize, u64, u64), u64>,
    pub reads_answered: u64,
    words: u64,
}

impl World {
    pub fn new(seed: u64, size: usize, weather: Weather, adjust: impl Fn(&mut NodeConfig)) -> Self {
        let voters: Vec<NodeId> = (1..=size as u64).collect();
        let mut random = seed;
        let replicas = voters.iter().map(|&id| {
            let mut config = NodeConfig::new(id, 0, voters.clone());
            config.seed = seed;
            adjust(&mut config);
            Replica::new(config, 0, 980 + next(&mut random) % 41)
        });
        let replicas = replicas.collect();
        Self {
            replicas,
            checks: Checks::default(),
            weather,
            now: 0,
            random,
            events: BTreeMap::new(),
            sequence: 0,
            cut: HashSet::new(),
            lives: vec![0; size],
            waiting: HashMap::new(),
            reads: HashMap::new(),
            reads_answered: 0,
            words: 0,
        }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        next(&mut self.random) % bound
    }

    /// Passes `milliseconds`; `every_ms` happens in each.
    pub fn run(&mut self, milliseconds: u64, mut every_ms: impl FnMut(&mut Self)) {
        for _ in 0..milliseconds {
            self.now += MS;
            every_ms(self);
            while self.events.first_key_value().is_some_and(|((at, _), _)| *at <= self.now) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            }
            for node in 0..self.replicas.len() {
                let stale = self.below(2) == 0;
                let effects = self.replicas[node].advance(self.now, stale);
                effects.into_iter().for_each(|effects| self.carry_out(node, effects));
            }
            self.checks.leases_exclude(&self.replicas, self.now);
        }
    }

    /// The node that leads in the newest term, if it runs.
    pub fn leader(&self) -> Option<usize> {
        let leading = (0..self.replicas.len()).filter(|&node| self.replicas[node].is_running());
        let status = |node: usize| self.replicas[node].node.as_ref().unwrap().status();
        leading.filter(|&node| status(node).leading).max_by_key(|&node| status(node).term)
    }

    /// Every node that believes to lead gets a proposal.
    pub fn propose(&mut self, size: usize) {
        for node in 0..self.replicas.len() {
            let replica = &mut self.replicas[node];
            if !replica.is_running() {
                continue;
            }
            let mut data = (self.words + 1).to_le_bytes().to_vec();
            data.resize(8 + size, 0);
            if let Ok(at) = replica.node.as_mut().unwrap().propose(Bytes::from(data)) {
                self.words += 1;
                let waits = self.waiting.insert((node, self.lives[node], at.term, at.index), self.words);
                assert_eq!(waits, None, "two proposals at one place");
            }
        }
    }

    /// Every node that believes to lead gets a read.
    pub fn read(&mut self) {
        for node in 0..self.replicas.len() {
            let time = self.replicas[node].clock(self.now);
            let token = self.now + node as u64;
            let replica = &mut self.replicas[node];
            if replica.is_running() && replica.node.as_mut().unwrap().request_read(time, token).is_ok() {
                self.reads.insert((node, self.lives[node], token), self.checks.acknowledged);
            }
        }
    }

    pub fn snapshot(&mut self, node: usize) {
        let life = self.lives[node];
        let Some(raft) = self.replicas[node].node.as_mut().filter(|_| true) else { return };
        let (mark, frozen) = raft.freeze();
        let mut bytes = Vec::new();
        frozen.write_to(&mut bytes).unwrap();
        if mark.index > 0 {
            let delay = self.below(100);
            self.later(delay, Event::Written { node, life, mark, bytes });
        }
    }

    pub fn crash(&mut self, node: usize, down_ms: u64) {
        if self.replicas[node].node.is_none() {
            return;
        }
        let pending = self.replicas[node].pending_writes() as u64;
        let written = self.below(pending + 1);
        self.replicas[node].crash(written as usize);
        self.checks.logs_match(&self.replicas[node]);
        self.lives[node] += 1;
        self.later(down_ms, Event::Restart { node });
        self.close(node);
    }

    /// The connections over which `node` speaks close, whether or not it lives. A cut network does not tell.
    pub fn close(&mut self, node: usize) {
        let from = self.replicas[node].id();
        for to in (0..self.replicas.len()).filter(|&to| to != node) {
            let delay = self.below(self.weather.slowest_message);
            if !self.cut.contains(&(node, to)) {
                self.later(delay, Event::Closed { to, from });
            }
        }
    }

    pub fn pause(&mut self, node: usize, milliseconds: u64) {
        let now = self.now;
        self.replicas[node].pause(now, now + milliseconds * MS);
    }

    /// Cuts `node` off; `one_way`: it can still send.
    pub fn isolate(&mut self, node: usize, one_way: bool) {
        for other in (0..self.replicas.len()).filter(|&other| other != node) {
            self.cut.insert((other, node));
            if !one_way {
                self.cut.insert((node, other));
            }
        }
    }

    /// What `from` says to `to` is lost.
    pub fn deafen(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// One of everything that can go wrong.
    pub fn mishap(&mut self) {
        let node = self.below(self.replicas.len() as u64) as usize;
        match self.below(13) {
            0 | 1 => {
                let down = 10 + self.below(2000);
                self.crash(node, down);
            }
            2 | 3 => {
                let milliseconds = 20 + self.below(1500);
                self.pause(node, milliseconds);
            }
            4 => self.isolate(node, false),
            5 => self.isolate(node, true),
            6 => self.heal(),
            7 | 8 => self.snapshot(node),
            9 => {
                let to = 1 + self.below(self.replicas.len() as u64);
                if let Some(leader) = self.leader() {
                    self.replicas[leader].node.as_mut().unwrap().transfer_leadership(to);
                }
            }
            12 => {
                let closing = self.leader().filter(|_| self.below(2) == 0).unwrap_or(node);
                self.close(closing);
            }
            _ => {
                // The leader itself, which is where it hurts.
                let milliseconds = 200 + self.below(600);
                if let Some(leader) = self.leader() {
                    self.pause(leader, milliseconds);
                }
            }
        }
    }

    /// Good weather for a while, everybody up: the cluster must agree and take proposals again.
    pub fn settle(&mut self) {
        self.heal();
        self.weather = CALM;
        self.run(6000, |_| {});
        let before = self.checks.acknowledgements;
        self.propose(0);
        self.run(1000, |_| {});
        assert!(self.checks.acknowledgements > before, "nobody takes proposals: {:?}", self.statuses());
        let applied = *self.checks.applied.last_key_value().unwrap().0;
        let whole: Vec<_> = self.checks.applied.iter().map(|(index, word)| (*index, *word)).collect();
        for replica in &self.replicas {
            let node = replica.node.as_ref().unwrap();
            assert_eq!(node.status().applied, applied, "node {} lags: {:?}", replica.id(), node.status());
            assert_eq!(node.machine().0, whole, "node {} differs", replica.id());
            self.checks.logs_match(replica);
        }
    }

    fn statuses(&self) -> Vec<Option<doorbuster_raft::NodeStatus>> {
        self.replicas.iter().map(|replica| replica.node.as_ref().map(doorbuster_raft::Node::status)).collect()
    }

    fn later(&mut self, milliseconds: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + milliseconds * MS, self.sequence), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Message { to, from, bytes } => {
                let id = self.replicas[to].id();
                let message = PeerMessage::decode(&mut &bytes[..], from, id).unwrap();
                self.replicas[to].receive(message);
            }
            Event::Snapshot { to, from, message, bytes } => {
                let mark = message.snapshot_mark().unwrap();
                let running = self.replicas[to].is_running();
                let arrived = bytes.filter(|_| running && !self.cut.contains(&(from, to)));
                let stored = arrived.filter(|bytes| self.replicas[to].disk.keep(mark, bytes.clone()));
                let ok = stored.is_some();
                if let Some(bytes) = stored {
                    self.replicas[to].install(self.now, message, &bytes);
                }
                let id = self.replicas[to].id();
                if let Some(node) = self.replicas[from].node.as_mut() {
                    node.snapshot_sent(id, ok);
                }
            }
            Event::Closed { to, from } => self.replicas[to].lose(from),
            Event::Restart { node } => {
                let base = 1 + self.below(1 << 40);
                self.replicas[node].start(self.now, base);
            }
            Event::Written { node, life, mark, bytes } => {
                if life != self.lives[node] || !self.replicas[node].disk.keep(mark, bytes) {
                    return;
                }
                // Sometimes the process ends before its log can note the mark.
                if self.below(10) == 0 {
                    return self.crash(node, 50);
                }
                let append = self.replicas[node].node.as_mut().unwrap().snapshot_written(mark);
                let due = self.now + self.below(self.weather.slowest_write) * MS;
                self.replicas[node].submit(due, append);
            }
        }
    }

    fn carry_out(&mut self, node: usize, effects: Effects<u64>) {
        let id = self.replicas[node].id();
        if let Some(role) = effects.role {
            self.checks.one_leader_a_term(id, role);
        }
        if let Some(append) = effects.persist {
            let due = self.now + self.below(self.weather.slowest_write) * MS;
            self.replicas[node].submit(due, append);
        }
        for applied in effects.applied {
            self.checks.same_entry_everywhere(applied.index, applied.outcome);
            let key = (node, self.lives[node], applied.term, applied.index);
            if let Some(word) = self.waiting.remove(&key) {
                assert_eq!(word, applied.outcome, "a caller heard another one's result");
                self.checks.acknowledged = self.checks.acknowledged.max(applied.index);
                self.checks.acknowledgements += 1;
            }
        }
        for read in effects.reads {
            let before = self.reads.remove(&(node, self.lives[node], read.token)).expect("an answer to nothing");
            assert!(read.index >= before, "a read at {} misses {before}", read.index);
            self.reads_answered += 1;
        }
        for (to, message) in effects.send {
            self.post(node, to, &message);
        }
        for send in effects.send_snapshot {
            let (delay, arrives) = (self.below(80), self.below(10) > 1);
            let newest = self.replicas[node].disk.snapshot.clone().filter(|(mark, _)| *mark == send.mark);
            let bytes = newest.map(|(_, bytes)| bytes).filter(|_| arrives);
            let to = send.to as usize - 1;
            self.later(delay, Event::Snapshot { to, from: node, message: send.message, bytes });
        }
    }

    fn post(&mut self, node: usize, to: NodeId, message: &PeerMessage) {
        let from = self.replicas[node].id();
        let to = to as usize - 1;
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let copies = if self.below(1000) < self.weather.doubled { 2 } else { 1 };
        for _ in 0..copies {
            let delay = self.below(self.weather.slowest_message);
            if self.below(1000) >= self.weather.lost && !self.cut.contains(&(node, to)) {
                self.later(delay, Event::Message { to, from, bytes: bytes.clone() });
            }
        }
    }
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
