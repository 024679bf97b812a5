//! The world: what happens when, to whom, and what is seen of it.

mod events;
mod heal;
mod life;
mod lines;
mod node;
mod observe;
mod peers;
mod plague;
mod run;
mod shadow;
mod storage;
mod streams;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use doorbuster_protocol::types::NodeId;
use doorbuster_raft::transport::Incarnation;
use doorbuster_server::shard::{QueueLimits, SnapshotPolicy};
use doorbuster_server::solo::{self, SoloConfig};

use super::clocks::Clocks;
use super::counters::Counters;
use super::disk::SimDisk;
use super::faults::Fault;
use super::marks::Marks;
use super::net::Net;
use super::port::{Actor, Happened};
use super::rng::Rng;
use super::scenario::Scenario;
use super::schedule::Schedule;
use super::trace::Trace;
use crate::checkers::{Checker, Violation};
use crate::history::{History, Moment};

use events::Event;
use node::Node;
use run::Run;

/// A run that has not begun.
pub struct World {
    run: Run,
}

/// What came of a run.
pub struct Outcome {
    /// Over everything that happened, in order: equal for equal scenarios.
    pub trace_hash: u64,
    /// Virtual time that passed.
    pub lasted: Moment,
    /// What happened how often.
    pub counters: Counters,
    /// What was reached.
    pub marks: Marks,
    /// What clients did and heard.
    pub history: History,
    /// The first promise that was broken, if one was.
    pub found: Option<Found>,
}

/// A broken promise, and when.
#[derive(Clone, Debug)]
pub struct Found {
    /// The promise.
    pub violation: Violation,
    /// When it was seen.
    pub at: Moment,
    /// The last lines of the trace before it; empty unless the scenario asks for a trace.
    pub context: Vec<String>,
}

impl World {
    /// A world with these actors in it, watched by these checkers.
    #[must_use]
    pub fn new(scenario: Scenario, actors: Vec<Box<dyn Actor>>, checkers: Vec<Box<dyn Checker>>) -> Self {
        let root = Rng::new(scenario.seed);
        let mut plague = root.stream("plague");
        let count = usize::from(scenario.nodes);
        let mut order: Vec<usize> = (0..count).collect();
        plague.shuffle(&mut order);
        let victims = order[..(count - 1) / 2].to_vec();
        let nodes = (0..count).map(|at| node(&scenario, &root, at, victims.first() == Some(&at))).collect();
        let actors = (0..).zip(actors).map(|(number, actor)| (actor, root.stream("actor").numbered(number))).collect();
        let run = Run {
            schedule: Schedule::default(),
            nodes,
            actors,
            checkers,
            net: Net::new(root.stream("network"), count, scenario.faults.clone()),
            ways: (0..count * count).map(|_| peers::Way::default()).collect(),
            lines: BTreeMap::new(),
            next_link: 1,
            streams: BTreeMap::new(),
            next_number: 0,
            pace: root.stream("pace"),
            closes: root.stream("closes"),
            plague,
            victims,
            partitions: Vec::new(),
            healed: None,
            history: History::default(),
            trace: Trace::new(scenario.trace),
            counters: Counters::default(),
            marks: Marks::default(),
            found: None,
            over: false,
            scenario,
        };
        Self { run }
    }

    /// Plays it to its end, or to the first violation.
    #[must_use]
    pub fn run(self) -> Outcome {
        self.run.play()
    }
}

impl Run {
    /// The disks are formatted, the nodes start, the actors begin.
    fn begin(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            node.disk.start_process();
            let made = solo::format(&node.disk, &node.config, node.incarnation);
            node.disk.stop();
            if let Err(error) = made {
                self.violated("format", format!("an empty disk cannot be formatted: {error}"));
            }
            if self.nodes[at].clocks.offset_ms.abs() > 1000 {
                self.marks.reach("wall_clock_off");
            }
            if self.nodes[at].clocks.drift_ppm != 0 {
                self.marks.reach("clock_drifts");
            }
            self.schedule.after(self.pace.below(50_000_000), Event::Start { node: at });
        }
        if self.scenario.faults.on(Fault::BadSnapshots) {
            self.marks.reach("nothing_behind_snapshots");
            self.counters.count("runs_that_keep_nothing_behind_snapshots");
        }
        if self.nodes.len() > 3 {
            self.counters.count("runs_of_five_nodes");
        }
        for actor in 0..self.actors.len() {
            self.tell(actor, Happened::Begins);
        }
        self.plan_strikes();
        self.plan_healing();
    }
}

/// One node, its disk empty.
fn node(scenario: &Scenario, root: &Rng, at: usize, wrong_clock: bool) -> Node {
    let mut rng = root.stream("node").numbered(at as u64);
    let disk = SimDisk::new(rng.stream("disk"));
    if scenario.trace {
        disk.keep_notes();
    }
    let mut node = Node::new(config(scenario, at), disk, Incarnation(rng.next_u128().to_le_bytes()));
    node.clocks = clocks(scenario, &mut rng, wrong_clock);
    node
}

/// Small differences everywhere if clocks drift, and one clock that is wrong.
fn clocks(scenario: &Scenario, rng: &mut Rng, wrong: bool) -> Clocks {
    let mut clocks = Clocks::default();
    let drift = i64::try_from(scenario.faults.of(Fault::ClockDrift)).unwrap_or(0);
    if drift > 0 {
        clocks.drift_ppm = i64::try_from(rng.below(200)).unwrap_or(0) * drift / 100 - drift;
        clocks.offset_ms = i64::try_from(rng.below(21)).unwrap_or(0) - 10;
    }
    if wrong && scenario.faults.on(Fault::WallClockOff) {
        let most = [2_000, 60_000, 86_400_000][rng.index(3)];
        let off = i64::try_from(rng.between(1_001, most)).unwrap_or(0);
        clocks.offset_ms = if rng.percent(50) { off } else { -off };
    }
    clocks
}

fn config(scenario: &Scenario, at: usize) -> SoloConfig {
    let id = |at: usize| NodeId(u16::try_from(at + 1).unwrap_or(u16::MAX));
    let election_ticks = scenario.election.as_millis() / scenario.tick.as_millis();
    SoloConfig {
        node: id(at),
        cluster: "simulated".to_owned(),
        voters: (0..usize::from(scenario.nodes)).map(id).collect(),
        shards: scenario.shards,
        groups: usize::from(scenario.shards.min(2)),
        data: PathBuf::from("/data"),
        segment_bytes: scenario.segment_bytes,
        durable: true,
        sync_delay: Duration::ZERO,
        snapshots: SnapshotPolicy {
            entries: scenario.snapshot_entries,
            bytes: scenario.snapshot_bytes,
            spacing: Duration::ZERO,
        },
        trailing_bytes: scenario.snapshot_bytes / 16,
        queues: QueueLimits {
            backlog: scenario.queue,
            waiting: scenario.queue,
            reads: scenario.queue,
            batch: scenario.batch,
            feed: 4096,
        },
        inbox: scenario.queue,
        tick: scenario.tick,
        election_ticks: u32::try_from(election_ticks).unwrap_or(u32::MAX),
        lease_margin: scenario.election / 10,
        seed: scenario.seed.wrapping_mul(8) + at as u64,
        default_wait: Duration::from_secs(2),
        limits: doorbuster_inventory::Limits::default(),
    }
}
