//! A node's life: it starts, has its turns, stands still, ends.

use std::sync::Arc;

use doorbuster_protocol::types::{NodeId, ShardId};
use doorbuster_raft::HardState;
use doorbuster_raft::disk::Disk;
use doorbuster_server::solo::{Solo, Turn};

use super::super::disk::{Happening, Keep};
use super::super::faults::Fault;
use super::super::net::MS;
use super::events::Event;
use super::node::{Fate, Replaced};
use super::run::Run;
use super::shadow::Found;
use crate::observation::Observation;

/// Time between a node's words to peers that hear nothing else.
const KEEPALIVE: u64 = 500 * MS;

/// How a process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The process is killed; the machine goes on.
    Killed,
    /// The machine stops.
    PowerLost,
    /// It was told to end, and has finished what was under way, or has had its time.
    InOrder,
    /// It ends itself, and says why.
    Said(String),
}

impl Run {
    /// A process starts, or tries to.
    pub(super) fn start(&mut self, at: usize) {
        let now = self.now();
        let node = &mut self.nodes[at];
        if node.is_up() || node.fate == Fate::Refused {
            return;
        }
        node.life += 1;
        node.clocks.start(now);
        node.disk.start_process();
        if node.loops > 0 {
            node.loops -= 1;
            node.disk.crash_after(self.plague.between(1, 12));
        }
        if let Some((_, operation)) = self.scenario.crash_at.filter(|(place, _)| *place == at && node.life == 1) {
            node.disk.crash_after(operation);
        }
        let (monotonic, wall) = (node.clocks.monotonic(now), node.clocks.wall(now));
        self.counters.count("starts");
        self.trace.event(now, 1, &[at as u64, monotonic.0, wall.0]);
        self.trace.line(now, || format!("n{} starts", at + 1));
        let started = self.call(at, "start", |node| {
            let disk: Arc<dyn Disk> = Arc::new(node.disk.clone());
            Solo::start(disk, &node.config, monotonic, wall)
        });
        let happened = self.nodes[at].disk.take_happened();
        self.count_happened(&happened);
        match started {
            None => self.ends(at, End::PowerLost),
            Some(_) if self.nodes[at].disk.stopped_in().is_some() => {
                self.marks.reach("crash_while_starting");
                self.ends(at, End::PowerLost);
            }
            Some(Err(error)) => self.refuses(at, &describe(&error), &happened),
            Some(Ok(solo)) => self.started(at, solo),
        }
    }

    fn started(&mut self, at: usize, solo: Solo) {
        if self.nodes[at].replaced == Replaced::Empty {
            return self.violated("lost_disk", format!("node {} came back as itself on an empty disk", at + 1));
        }
        if !self.nodes[at].damaged_files().is_empty() {
            self.marks.reach("damage_harmless");
        }
        self.check_log(at, &solo);
        let now = self.now();
        let node = &mut self.nodes[at];
        node.solo = Some(solo);
        (node.turn_at, node.flushing, node.archiving) = (None, false, false);
        node.applied.iter_mut().for_each(|applied| *applied = 0);
        node.led.iter_mut().for_each(|led| *led = None);
        node.clocks_heard = 0;
        let (life, id) = (node.life, node.id);
        self.see(Observation::Started { node: id });
        self.observe_shards(at, &[]);
        self.want_turn(at, now.0);
        if life == 1 {
            self.arm_first_meeting(at);
        }
        self.schedule.after(KEEPALIVE, Event::Keepalive { node: at, life });
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.schedule.after(MS + self.pace.below(5 * MS), Event::PeerConnect { from: at, to: other, life });
        }
    }

    /// What was synced must have come back.
    fn check_log(&mut self, at: usize, solo: &Solo) {
        for shard in 0..self.scenario.shards {
            let Some(replica) = solo.shard(ShardId(shard)) else { continue };
            let status = replica.raft();
            let entries = replica.entries(status.snapshot.index, u64::MAX);
            let entries = entries.iter().map(|entry| (entry.index, entry.term)).collect();
            let hard = HardState { term: status.term, vote: status.vote, commit: status.commit };
            let found = Found::of(&status, hard, entries);
            let node = &mut self.nodes[at];
            if node.replaced == Replaced::Formatted {
                node.shadows[usize::from(shard)] = super::shadow::Shadow::default();
            }
            if let Err(what) = node.shadows[usize::from(shard)].restarted(&found) {
                self.violated("durable_log", format!("node {}, shard {shard}: {what}", at + 1));
            }
        }
    }

    /// A process could not start. That is right if its disk was damaged or lost, or failed just now.
    fn refuses(&mut self, at: usize, said: &str, happened: &[Happening]) {
        let now = self.now();
        self.trace.line(now, || format!("n{} does not start: {said}", at + 1));
        let node = &mut self.nodes[at];
        let transient = !happened.is_empty();
        if node.replaced == Replaced::Empty && said.contains("no data") {
            node.fate = Fate::Refused;
            self.marks.reach("lost_disk_refused_by_itself");
            self.counters.count("refused_lost_disk");
        } else if !node.damaged.is_empty() && node.names_a_file(said) {
            node.fate = Fate::Refused;
            self.marks.reach("damage_refused");
            self.counters.count("refused_damage");
        } else if !transient && !node.damaged.is_empty() {
            return self
                .violated("refusal", format!("node {} has damage, but its refusal names no file: {said}", at + 1));
        } else if !transient {
            return self.violated("refusal", format!("node {} refuses an intact disk: {said}", at + 1));
        }
        self.ends(at, End::Said(said.to_owned()));
    }

    /// A process has ended: everybody who was connected to it notices, and it may come back.
    #[allow(clippy::needless_pass_by_value)] // an end is told once, and over then
    pub(super) fn ends(&mut self, at: usize, end: End) {
        let now = self.now();
        let was_up = self.nodes[at].is_up();
        self.nodes[at].disk.stop();
        self.trace.line(now, || format!("n{} ends: {end:?}", at + 1));
        self.trace.event(now, 2, &[at as u64]);
        if was_up && self.nodes[at].leads_any() && !matches!(end, End::Said(_) | End::InOrder) {
            self.marks.reach("crash_of_leader");
        }
        self.streams_of_ended(at);
        self.ways_of_ended(at, &end);
        self.lines_of_ended(at);
        let node = &mut self.nodes[at];
        node.solo = None;
        node.deferred.clear();
        node.paused_until = now;
        let id = node.id;
        self.counters.count(match end {
            End::Killed => "processes_killed",
            End::PowerLost => "machines_crashed",
            End::InOrder => "processes_restarted",
            End::Said(_) => "processes_ended_themselves",
        });
        if end == End::PowerLost {
            self.lose_power(at);
        }
        if was_up {
            let said = if let End::Said(said) = &end { Some(said.as_str()) } else { None };
            self.see(Observation::Ended { node: id, said });
        }
        if self.nodes[at].fate == Fate::Returns {
            let pause = if self.healed.is_some() { 50 } else { [5, 200, 2000][self.plague.index(3)] };
            self.schedule.after((1 + self.plague.below(pause)) * MS, Event::Start { node: at });
        }
    }

    fn lose_power(&mut self, at: usize) {
        let (torn, lost) = (self.scenario.faults.on(Fault::TornWrites), self.scenario.faults.on(Fault::UnsyncedLost));
        let keep = match (torn, lost) {
            (true, true) => [Keep::Percent(50), Keep::Percent(90), Keep::Nothing][self.plague.index(3)],
            (true, false) => [Keep::Percent(50), Keep::Percent(90), Keep::Percent(20)][self.plague.index(3)],
            (false, true) => [Keep::Nothing, Keep::All][self.plague.index(2)],
            (false, false) => Keep::All,
        };
        self.marks.reach("machine_crash");
        let (fate, names) = self.nodes[at].disk.power_cycle(keep);
        let marks = [
            ("unsynced_write_lost", fate.lost > 0),
            ("unsynced_write_kept", fate.kept > 0),
            ("write_torn", fate.lost > 0 && fate.kept > 0),
            ("name_lost", names > 0),
        ];
        marks.iter().filter(|(_, is)| *is).for_each(|(mark, _)| self.marks.reach(mark));
        self.counters.add("sectors_lost", fate.lost);
    }

    /// The node's shards shall have their turn at that moment, or before.
    pub(super) fn want_turn(&mut self, at: usize, when: u64) {
        let when = crate::history::Moment(when.max(self.now().0));
        let node = &mut self.nodes[at];
        if !node.is_up() || node.turn_at.is_some_and(|planned| planned <= when) {
            return;
        }
        node.turn_at = Some(when);
        let life = node.life;
        self.schedule.at(when, Event::Turn { node: at, life });
    }

    /// Something came for the node: its shards look at it in a moment.
    pub(super) fn stir(&mut self, at: usize) {
        let slow = self.nodes[at].slow_node;
        let delay = if slow { self.pace.below(120 * MS) } else { 20_000 + self.pace.below(100_000) };
        self.want_turn(at, self.now().0 + delay);
    }

    /// One round of a node's shards.
    pub(super) fn turn(&mut self, at: usize, life: u64) {
        let now = self.now();
        let node = &mut self.nodes[at];
        if !node.lives(life) || node.turn_at.is_none_or(|planned| planned > now) {
            return;
        }
        node.turn_at = None;
        let (monotonic, wall) = (node.clocks.monotonic(now), node.clocks.wall(now));
        let shards = u64::from(self.scenario.shards);
        self.trace.event(now, 3, &[at as u64, monotonic.0, wall.0, shards]);
        let Some(turn) = self.call(at, "a turn", |node| node.solo.as_mut().map(|solo| solo.turn(monotonic, wall)))
        else {
            return self.ends(at, End::Killed);
        };
        self.counters.count("turns");
        if let Some(turn) = turn {
            self.carry_out(at, turn);
        }
    }

    fn carry_out(&mut self, at: usize, turn: Turn) {
        let now = self.now();
        self.observe_shards(at, &turn.appended);
        if self.found.is_some() {
            return;
        }
        for (to, batch) in turn.sends {
            self.send_messages(at, usize::from(to.0) - 1, &batch);
        }
        for (shard, send) in turn.snapshot_sends {
            self.send_snapshot(at, shard, send);
        }
        self.send_answers(at);
        self.see_to_disk(at);
        let node = &self.nodes[at];
        if let Some(solo) = &node.solo {
            let next = node.clocks.moment_of(solo.wake_at(node.clocks.monotonic(now)));
            let busy = if node.slow_node { now.0 + 20 * MS } else { now.0 };
            self.want_turn(at, next.0.max(busy));
        }
    }

    /// The process stands still.
    pub(super) fn pause(&mut self, at: usize, nanos: u64) {
        let now = self.now();
        let node = &mut self.nodes[at];
        if !node.is_up() || node.paused_until > now {
            return;
        }
        node.paused_until = crate::history::Moment(now.0 + nanos);
        let (life, until) = (node.life, node.paused_until);
        self.trace.line(now, || format!("n{} stands still for {} ms", at + 1, nanos / MS));
        self.counters.count("pauses");
        self.schedule.at(until, Event::Resume { node: at, life });
    }

    pub(super) fn resume(&mut self, at: usize, life: u64) {
        let now = self.now();
        let node = &mut self.nodes[at];
        if node.life != life || node.paused_until > now {
            return;
        }
        let deferred = std::mem::take(&mut node.deferred);
        self.trace.line(now, || format!("n{} goes on", at + 1));
        deferred.into_iter().for_each(|event| self.schedule.at(now, event));
    }

    /// It was to stop in the middle of an operation, and had none to do.
    pub(super) fn stop_at_last(&mut self, at: usize, life: u64) {
        if self.nodes[at].lives(life) && self.healed.is_none() {
            let end = if self.plague.percent(40) { End::Killed } else { End::PowerLost };
            if end == End::Killed {
                self.marks.reach("crash_of_process_only");
            }
            self.ends(at, end);
        }
    }
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

/// A node by its place.
pub(super) fn node_id(at: usize) -> NodeId {
    NodeId(u16::try_from(at + 1).unwrap_or(u16::MAX))
}
