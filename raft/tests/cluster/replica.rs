//! One process of the simulated cluster: a node, the disk it leaves behind, its clock, and what happens to it.

use std::collections::VecDeque;

use doorbuster_raft::{
    Append, Effects, HardState, Monotonic, Node, NodeConfig, NodeId, PeerMessage, Recovered, SnapshotMark,
};

use crate::machine::Words;

pub const MS: u64 = 1_000_000;

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub mark: SnapshotMark,
    pub entries: Vec<doorbuster_raft::Entry>,
    /// The snapshot store: durable at once, noted in the log later.
    pub snapshot: Option<(SnapshotMark, Vec<u8>)>,
}

impl Disk {
    /// What [`Append`] promises.
    pub fn write(&mut self, append: &Append) {
        assert!(append.mark.is_none() || append.entries.is_empty(), "never both");
        if let Some(mark) = append.mark.filter(|mark| mark.index > self.mark.index) {
            let holds = self.entries.iter().any(|entry| (entry.index, entry.term) == (mark.index, mark.term));
            self.entries.retain(|entry| holds && entry.index > mark.index);
            self.mark = mark;
        }
        if let Some(first) = append.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            let before = self.entries.last().map_or(self.mark.index, |entry| entry.index);
            assert_eq!(first.index, before + 1, "the log has a gap");
            self.entries.extend(append.entries.iter().cloned());
        }
        if let Some(hard_state) = append.hard_state {
            assert!(hard_state.term >= self.hard_state.term);
            self.hard_state = hard_state;
        }
    }

    /// Keeps a snapshot unless a newer one is there.
    pub fn keep(&mut self, mark: SnapshotMark, bytes: Vec<u8>) -> bool {
        let newer = self.snapshot.as_ref().is_none_or(|(kept, _)| kept.index <= mark.index);
        if newer {
            self.snapshot = Some((mark, bytes));
        }
        newer
    }

    fn recover(&self) -> (Recovered, Words) {
        let mut recovered = Recovered::empty(0);
        recovered.hard_state = self.hard_state;
        recovered.mark = self.mark;
        recovered.entries.clone_from(&self.entries);
        match &self.snapshot {
            Some((mark, bytes)) => (recovered.with_snapshot(*mark), Words::from_bytes(bytes)),
            None => (recovered, Words::default()),
        }
    }
}

/// A clock that runs at its own rate from its own zero.
#[derive(Clone, Copy)]
struct Clock {
    base: u64,
    from: u64,
    per_mille: u64,
}

impl Clock {
    fn read(&self, now: u64) -> Monotonic {
        Monotonic(self.base + (now - self.from) / 1000 * self.per_mille)
    }
}

pub struct Replica {
    pub config: NodeConfig,
    pub node: Option<Node<Words>>,
    pub disk: Disk,
    /// Handed to the log, not durable yet: when it will be, and what.
    writes: VecDeque<(u64, Append)>,
    clock: Clock,
    /// Stopped until then (the process exists, but nothing in it runs), and its clock when it stopped.
    paused: Option<(u64, Monotonic)>,
    inbox: Vec<PeerMessage>,
    /// Peers whose connections have closed.
    lost: Vec<NodeId>,
    next_tick: u64,
    pub installed: u64,
}

impl Replica {
    pub fn new(config: NodeConfig, now: u64, per_mille: u64) -> Self {
        let clock = Clock { base: 1, from: now, per_mille };
        let mut replica = Self {
            config,
            node: None,
            disk: Disk::default(),
            writes: VecDeque::new(),
            clock,
            paused: None,
            inbox: Vec::new(),
            lost: Vec::new(),
            next_tick: now,
            installed: 0,
        };
        replica.start(now, 1);
        replica
    }

    pub fn start(&mut self, now: u64, base: u64) {
        let (recovered, machine) = self.disk.recover();
        self.clock = Clock { base, from: now, per_mille: self.clock.per_mille };
        self.node = Some(Node::new(self.config.clone(), recovered, machine).unwrap());
        self.next_tick = now + u64::from(self.config.node.to_le_bytes()[0]) * MS;
    }

    /// The process ends; `written` of its pending writes have reached the disk.
    pub fn crash(&mut self, written: usize) {
        self.node = None;
        self.paused = None;
        self.inbox.clear();
        self.lost.clear();
        for (_, append) in self.writes.drain(..).take(written) {
            self.disk.write(&append);
        }
    }

    pub fn pause(&mut self, now: u64, until: u64) {
        if self.node.is_some() && self.paused.is_none() {
            self.paused = Some((until, self.clock.read(now)));
        }
    }

    pub fn is_running(&self) -> bool {
        self.node.is_some() && self.paused.is_none()
    }

    pub fn clock(&self, now: u64) -> Monotonic {
        self.clock.read(now)
    }

    pub fn receive(&mut self, message: PeerMessage) {
        if self.node.is_some() && self.inbox.len() < 10_000 {
            self.inbox.push(message);
        }
    }

    /// The connection over which `peer` spoke to it has closed.
    pub fn lose(&mut self, peer: NodeId) {
        if self.node.is_some() {
            self.lost.push(peer);
        }
    }

    pub fn submit(&mut self, due: u64, append: Append) {
        let due = self.writes.back().map_or(due, |(last, _)| due.max(*last));
        self.writes.push_back((due, append));
    }

    pub fn pending_writes(&self) -> usize {
        self.writes.len()
    }

    /// Everything due by `now`. `stale`: a process that resumes steps the messages that came meanwhile with the time at
    /// which it stopped, as a loop does that reads its clock first.
    pub fn advance(&mut self, now: u64, stale: bool) -> Vec<Effects<u64>> {
        let time = self.clock.read(now);
        let mut effects = Vec::new();
        let resumed = match self.paused {
            Some((until, _)) if now < until => return effects,
            resumed => resumed,
        };
        self.paused = None;
        let Some(node) = self.node.as_mut() else { return effects };
        let stepped = resumed.map(|(_, stopped)| stopped).filter(|_| stale).unwrap_or(time);
        for message in self.inbox.drain(..) {
            node.step(stepped, message);
        }
        for peer in self.lost.drain(..) {
            node.peer_lost(stepped, peer);
        }
        poll(node, stepped, &mut effects);
        while self.writes.front().is_some_and(|(due, _)| *due <= now) {
            let (_, append) = self.writes.pop_front().unwrap();
            self.disk.write(&append);
            node.durable(append.ticket);
        }
        // A loop that missed ticks makes up for all of them at once.
        while self.next_tick <= now {
            node.tick(time);
            self.next_tick += self.config.tick.as_nanos() as u64;
        }
        poll(node, time, &mut effects);
        effects
    }

    pub fn install(&mut self, now: u64, message: PeerMessage, bytes: &[u8]) {
        let time = self.clock.read(now);
        if let Some(node) = &mut self.node {
            node.install(time, message, bytes);
            self.installed += 1;
        }
    }

    pub fn id(&self) -> NodeId {
        self.config.node
    }
}

fn poll(node: &mut Node<Words>, time: Monotonic, effects: &mut Vec<Effects<u64>>) {
    loop {
        effects.push(node.poll(time));
        if !effects.last().unwrap().more {
            break;
        }
    }
}
