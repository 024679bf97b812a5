//! Connections between peers, one a direction, as the transport keeps them: opened after a pause that grows, with a
//! handshake in which both ends compare incarnations; what is sent while there is none is dropped. With faults that TCP
//! does not have (loss, duplication, reordering) off, what arrives is in order.

use std::collections::VecDeque;
use std::rc::Rc;

use doorbuster_protocol::types::{ShardId, Timestamp};
use doorbuster_raft::PeerMessage;
use doorbuster_raft::transport::{pack_messages, unpack_messages};

use super::super::net::{MS, Passage};
use super::events::Event;
use super::life::{End, node_id};
use super::run::Run;
use crate::history::Moment;

/// Longest and shortest pause before another attempt to connect.
const RETRY: (u64, u64) = (20 * MS, 500 * MS);
/// A connection that carries nothing for so long is given up.
const SILENCE: u64 = 3000 * MS;
/// A node speaks to its peers at least so often.
const KEEPALIVE: u64 = 500 * MS;

/// The way from one node to another.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// The connection that stands, if one does.
    connection: Option<u64>,
    /// The next attempt's pause.
    pause: u64,
    /// What was sent last arrives then.
    arrives: Moment,
    /// When something was sent last.
    spoke: Moment,
    /// What waits for a partition to end, and since when.
    held: VecDeque<Rc<Vec<u8>>>,
    held_since: Moment,
}

impl Run {
    fn way(&mut self, from: usize, to: usize) -> &mut Way {
        let nodes = self.nodes.len();
        &mut self.ways[from * nodes + to]
    }

    /// One attempt of `from` to connect to `to`. Happens at `to`.
    pub(super) fn peer_connect(&mut self, from: usize, to: usize, life: u64) {
        if !self.nodes[from].lives(life) || self.way(from, to).connection.is_some() {
            return;
        }
        let cut = self.net.is_cut(from, to) || self.net.is_cut(to, from);
        let stands_still = self.nodes[from].paused_until.max(self.nodes[to].paused_until) > self.now();
        let reached = !cut && self.nodes[to].is_up() && !stands_still;
        if !reached || !self.shake_hands(from, to) {
            return self.connect_later(from, to);
        }
        let number = self.number();
        let now = self.now();
        let way = self.way(from, to);
        *way = Way { connection: Some(number), spoke: now, arrives: now, ..Way::default() };
        self.trace.line(now, || format!("n{} is connected to n{}", from + 1, to + 1));
        self.send_messages(from, to, &[]);
    }

    fn connect_later(&mut self, from: usize, to: usize) {
        if !self.nodes[from].is_up() {
            return;
        }
        let life = self.nodes[from].life;
        let way = self.way(from, to);
        way.pause = (way.pause * 2).clamp(RETRY.0, RETRY.1);
        let pause = way.pause;
        let jitter = self.pace.below(pause / 2);
        self.schedule.after(pause / 2 + jitter, Event::PeerConnect { from, to, life });
    }

    /// Both ends compare incarnations: the opener first, then the accepter. Who is refused ends.
    fn shake_hands(&mut self, from: usize, to: usize) -> bool {
        for (one, other) in [(from, to), (to, from)] {
            let Some(incarnation) = self.nodes[other].solo.as_ref().map(|solo| solo.identity().incarnation) else {
                return false;
            };
            let met = self
                .call(one, "a handshake", |node| node.solo.as_ref().map(|solo| solo.meet(node_id(other), incarnation)));
            let happened = self.nodes[one].disk.take_happened();
            if self.ended_by_disk(one, &happened, "sync_failed_in_identity") {
                return false;
            }
            match met.flatten() {
                None | Some(Err(_)) => return false,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(reason))) => {
                    self.refused_by_peer(other, one, &reason);
                    return false;
                }
            }
        }
        true
    }

    fn refused_by_peer(&mut self, at: usize, by: usize, reason: &str) {
        if self.nodes[at].replaced == super::node::Replaced::Formatted {
            self.marks.reach("formatted_disk_refused_by_peers");
            self.counters.count("refused_formatted_disk");
            self.nodes[at].fate = super::node::Fate::Refused;
        } else {
            let what = format!("node {} refuses node {}, which has its disk: {reason}", by + 1, at + 1);
            return self.violated("refusal", what);
        }
        self.ends(at, End::Said(format!("node {} refuses this one: {reason}", by + 1)));
    }

    /// Messages leave, in one frame with the wall clock of this moment.
    pub(super) fn send_messages(&mut self, from: usize, to: usize, batch: &[(ShardId, PeerMessage)]) {
        let now = self.now();
        if self.way(from, to).connection.is_none() {
            return self.counters.add("messages_without_connection", batch.len() as u64);
        }
        let wall = self.nodes[from].clocks.wall(now);
        let batch: Vec<_> = batch.iter().map(|(shard, message)| (shard.0, message.clone())).collect();
        let frame = Rc::new(pack_messages(wall.0, &batch));
        self.counters.add("messages_sent", batch.len() as u64);
        self.way(from, to).spoke = now;
        if self.net.is_cut(from, to) {
            let way = self.way(from, to);
            if way.held.is_empty() {
                way.held_since = now;
            }
            return way.held.push_back(frame);
        }
        self.pass(from, to, &frame);
    }

    fn pass(&mut self, from: usize, to: usize, frame: &Rc<Vec<u8>>) {
        let now = self.now();
        let mut passage = self.net.passage();
        if self.nodes[from].slow_node || self.nodes[to].slow_node {
            passage = Passage::Arrives(self.pace.below(100 * MS));
        }
        let way = self.way(from, to);
        let Some(connection) = way.connection else { return };
        let arrive = |run: &mut Self, at: u64| {
            let event = Event::PeerFrame { from, to, connection, frame: Rc::clone(frame) };
            run.schedule.at(Moment(at), event);
        };
        match passage {
            Passage::Lost => {
                self.marks.reach("message_lost");
                self.counters.count("frames_lost");
            }
            Passage::Overtakes(latency) => {
                self.marks.reach("message_reordered");
                self.counters.count("frames_reordered");
                arrive(self, now.0 + latency);
            }
            Passage::Arrives(latency) | Passage::Twice(latency, _) => {
                let at = way.arrives.max(Moment(now.0 + latency));
                way.arrives = at;
                arrive(self, at.0);
                if let Passage::Twice(_, later) = passage {
                    self.marks.reach("message_duplicated");
                    self.counters.count("frames_duplicated");
                    arrive(self, at.0 + later);
                }
                if at.0 > now.0 + u64::try_from(self.scenario.election.as_nanos()).unwrap_or(u64::MAX) {
                    self.marks.reach("message_delayed_beyond_election");
                }
            }
        }
    }

    pub(super) fn peer_frame(&mut self, from: usize, to: usize, connection: u64, frame: &[u8]) {
        let now = self.now();
        if self.way(from, to).connection != Some(connection) || !self.nodes[to].is_up() {
            return;
        }
        let (sender, receiver) = (u64::from(node_id(from).0), u64::from(node_id(to).0));
        self.trace.event(now, 7, &[from as u64, to as u64]);
        self.trace.bytes(frame);
        match unpack_messages(frame, sender, receiver, self.scenario.shards) {
            Err(error) => self.violated("codec", format!("a frame of node {} does not decode: {error}", from + 1)),
            Ok((wall, batch)) => {
                let batch: Vec<_> = batch.into_iter().map(|(shard, message)| (ShardId(shard), message)).collect();
                self.trace.line(now, || describe(from, to, &batch));
                let monotonic = self.nodes[to].clocks.monotonic(now);
                let quiet = batch.is_empty();
                self.call(to, "messages", |node| {
                    if let Some(solo) = &mut node.solo {
                        solo.peer_messages(node_id(from), Timestamp(wall), batch, monotonic);
                    }
                });
                if !quiet {
                    self.stir(to);
                }
            }
        }
    }

    pub(super) fn keep_alive(&mut self, at: usize, life: u64) {
        if !self.nodes[at].lives(life) {
            return;
        }
        let now = self.now();
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            if self.way(at, other).spoke.0 + KEEPALIVE <= now.0 {
                self.send_messages(at, other, &[]);
            }
        }
        self.schedule.after(KEEPALIVE, Event::Keepalive { node: at, life });
    }

    /// A connection breaks; what was on its way is lost.
    pub(super) fn break_way(&mut self, from: usize, to: usize) {
        if self.way(from, to).connection.is_some() {
            *self.way(from, to) = Way::default();
            self.marks.reach("peer_connection_broken");
            self.counters.count("peer_connections_broken");
            self.closes(from, to);
            self.connect_later(from, to);
        }
    }

    /// A system closes the connections of a process that ended; a machine without power tells nobody.
    pub(super) fn ways_of_ended(&mut self, at: usize, end: &End) {
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            let stood = std::mem::take(self.way(at, other)).connection.is_some();
            if stood && *end != End::PowerLost {
                self.closes(at, other);
            }
            self.break_way(other, at);
        }
    }

    /// `to` will notice that the connection from `from` has ended, if the way is not cut: soon, or when it is old news.
    fn closes(&mut self, from: usize, to: usize) {
        if self.net.is_cut(from, to) {
            return;
        }
        let latency = if self.closes.percent(90) { self.closes.below(MS) } else { self.closes.below(600 * MS) };
        let life = self.nodes[to].life;
        self.schedule.after(latency, Event::PeerLost { from, to, life });
    }

    pub(super) fn peer_lost(&mut self, from: usize, to: usize, life: u64) {
        // Nobody's loss if a newer connection stands; but it may come to stand just after one has looked.
        let replaced = self.way(from, to).connection.is_some() && !self.closes.percent(10);
        if replaced || !self.nodes[to].lives(life) {
            return;
        }
        let now = self.now();
        self.trace.event(now, 8, &[from as u64, to as u64]);
        self.trace.line(now, || format!("n{} lost n{}", to + 1, from + 1));
        let led = (0..self.scenario.shards).any(|shard| self.follows(to, from, ShardId(shard)));
        if led {
            let lives = self.nodes[from].is_up();
            self.marks.reach(if lives { "living_leader_closed_connection" } else { "dead_leader_closed_connection" });
            self.counters.count("followers_that_lost_their_leader");
        }
        self.call(to, "a lost peer", |node| {
            if let Some(solo) = &mut node.solo {
                solo.peer_lost(node_id(from));
            }
        });
        self.stir(to);
    }

    fn follows(&self, follower: usize, leader: usize, shard: ShardId) -> bool {
        let replica = self.nodes[follower].solo.as_ref().and_then(|solo| solo.shard(shard));
        replica.is_some_and(|replica| replica.raft().leader == Some(u64::from(node_id(leader).0)))
    }

    /// A way is whole again: what was held arrives, unless it was for too long.
    pub(super) fn release(&mut self, from: usize, to: usize) {
        let now = self.now();
        let way = self.way(from, to);
        let held = std::mem::take(&mut way.held);
        if held.is_empty() {
            return;
        }
        if way.held_since.0 + SILENCE < now.0 {
            return self.break_way(from, to);
        }
        held.into_iter().for_each(|frame| self.pass(from, to, &frame));
    }
}

fn describe(from: usize, to: usize, batch: &[(ShardId, PeerMessage)]) -> String {
    let messages: Vec<String> = batch.iter().map(|(shard, message)| format!("s{shard} {message:?}")).collect();
    let mut text = format!("n{} -> n{}: {}", from + 1, to + 1, messages.join("; "));
    if let Some((cut, _)) = text.char_indices().nth(400) {
        text.truncate(cut);
    }
    text
}
