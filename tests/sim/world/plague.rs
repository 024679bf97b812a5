//! Faults strike: when, whom, for how long. Each draws from the run's own chance for faults; its intensity says how often.
//!
//! The budget: what a disk must not do by the fault model (lose or change what was synced) is done to the victims only, a
//! minority of the nodes, and to no more of them; one node's wall clock is wrong. Everything else strikes anybody.

use doorbuster_protocol::types::ShardId;
use doorbuster_raft::transport::Incarnation;
use doorbuster_server::solo::{self, Solo};

use super::super::disk::Damage;
use super::super::faults::Fault;
use super::super::net::MS;
use super::super::port::Link;
use super::super::rng::Rng;
use super::events::Event;
use super::life::End;
use super::node::{Fate, Replaced};
use super::run::Run;
use crate::history::Moment;

/// Faults that strike by themselves, and every how many milliseconds at their highest rate.
const STRIKES: &[(Fault, u64)] = &[
    (Fault::ConnectionBreak, 300),
    (Fault::PartitionSymmetric, 2500),
    (Fault::PartitionOneWay, 2000),
    (Fault::PartitionLeader, 2500),
    (Fault::Pause, 1200),
    (Fault::Crash, 1500),
    (Fault::CrashLoop, 5000),
    (Fault::CrashAll, 7000),
    (Fault::SyncError, 3000),
    (Fault::BitRotLog, 4000),
    (Fault::BitRotHardState, 5000),
    (Fault::BitRotSnapshot, 5000),
    (Fault::StaleBlock, 5000),
    (Fault::MisdirectedBlock, 5000),
    (Fault::DiskFull, 4000),
    (Fault::ShortWrite, 3000),
    (Fault::SlowDisk, 2500),
    (Fault::SlowFollower, 3000),
    (Fault::DiskLost, 9000),
    (Fault::DiskFormatted, 9000),
    (Fault::WallClockJump, 2500),
    (Fault::Restart, 2500),
];

/// How often it is looked whether a process that is to end has finished.
const DRAIN_CHECK: u64 = 10 * MS;
/// A wall clock jumps by this.
const HOUR_MS: i64 = 3_600_000;

impl Run {
    /// Plans the first strike of every fault that is on.
    pub(super) fn plan_strikes(&mut self) {
        for (fault, _) in STRIKES {
            self.plan_strike(*fault);
        }
    }

    fn plan_strike(&mut self, fault: Fault) {
        let intensity = self.scenario.faults.of(fault);
        let every = STRIKES.iter().find(|(one, _)| *one == fault).map(|(_, every)| *every);
        if let Some(every) = every.filter(|_| intensity > 0 && self.healed.is_none()) {
            let mean = every * MS * 100 / intensity;
            let delay = self.plague.between(mean / 4, mean * 7 / 4);
            self.schedule.after(delay, Event::Strike { fault });
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        if self.healed.is_some() {
            return;
        }
        self.plan_strike(fault);
        let now = self.now();
        self.trace.line(now, || format!("{} strikes", fault.name()));
        self.counters.count(fault.name());
        match fault {
            Fault::ConnectionBreak => self.break_something(),
            Fault::PartitionSymmetric => self.split(),
            Fault::PartitionOneWay => self.cut_one_way(),
            Fault::PartitionLeader => self.isolate_leader(),
            Fault::Pause => self.strike_pause(),
            Fault::Crash => self.strike_crash(),
            Fault::CrashLoop => self.strike_crash_loop(),
            Fault::CrashAll => self.strike_all(),
            Fault::SyncError | Fault::ShortWrite => self.arm_disk(fault),
            Fault::DiskFull | Fault::SlowDisk | Fault::SlowFollower => self.burden(fault),
            Fault::BitRotLog => self.damage(Damage::Log, "bit_rot_in_log"),
            Fault::BitRotHardState => self.damage(Damage::HardState, "bit_rot_in_hard_state"),
            Fault::BitRotSnapshot => self.damage(Damage::Snapshot, "bit_rot_in_snapshot"),
            Fault::StaleBlock => self.damage(Damage::Stale, "stale_block"),
            Fault::MisdirectedBlock => self.damage(Damage::Misdirected, "misdirected_block"),
            Fault::DiskLost => self.lose_disk(false),
            Fault::DiskFormatted => self.lose_disk(true),
            Fault::WallClockJump => self.jump_clock(),
            Fault::Restart => self.strike_restart(),
            _ => {}
        }
    }

    /// One of the nodes that run; now and then a leader by preference.
    fn anybody(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].is_up()).collect();
        let leaders: Vec<usize> = up.iter().copied().filter(|at| self.nodes[*at].leads_any()).collect();
        let from = if self.plague.percent(50) && !leaders.is_empty() { leaders } else { up };
        self.plague.pick(&from).copied()
    }

    fn break_something(&mut self) {
        let links: Vec<Link> = self.lines.keys().copied().collect();
        if self.plague.percent(60)
            && let Some(link) = self.plague.pick(&links).copied()
        {
            return self.break_line(link);
        }
        let nodes = self.nodes.len();
        let (from, to) = (self.plague.index(nodes), self.plague.index(nodes));
        if from != to {
            self.break_way(from, to);
        }
    }

    fn partition(&mut self, ways: Vec<(usize, usize)>, mark: &'static str) {
        if ways.is_empty() {
            return;
        }
        let now = self.now();
        self.trace.line(now, || format!("cut: {:?}", ways.iter().map(|(a, b)| (a + 1, b + 1)).collect::<Vec<_>>()));
        self.marks.reach(mark);
        self.counters.count("partitions");
        self.net.cut(&ways);
        let number = self.number();
        self.partitions.push(number);
        let lasts = [100, 800, 2500, 4500][self.plague.index(4)];
        let delay = (20 + self.plague.below(lasts)) * MS;
        self.schedule.after(delay, Event::Mend { ways, number });
    }

    pub(super) fn mend(&mut self, ways: &[(usize, usize)], number: u64) {
        let Some(place) = self.partitions.iter().position(|one| *one == number) else { return };
        if place > 0 {
            self.marks.reach("partitions_healed_out_of_order");
        }
        self.partitions.remove(place);
        let now = self.now();
        self.trace.line(now, || format!("mended: {:?}", ways.iter().map(|(a, b)| (a + 1, b + 1)).collect::<Vec<_>>()));
        for (from, to) in self.net.mend(ways) {
            self.release(from, to);
        }
    }

    fn split(&mut self) {
        let mut nodes: Vec<usize> = (0..self.nodes.len()).collect();
        self.plague.shuffle(&mut nodes);
        let (one, other) = nodes.split_at(1 + self.plague.index(nodes.len() - 1));
        let ways = one.iter().flat_map(|a| other.iter().flat_map(move |b| [(*a, *b), (*b, *a)])).collect();
        self.partition(ways, "partition_symmetric");
    }

    fn cut_one_way(&mut self) {
        let nodes = self.nodes.len();
        let from = self.plague.index(nodes);
        let ways = if self.plague.percent(50) {
            let to = (from + 1 + self.plague.index(nodes - 1)) % nodes;
            vec![(from, to)]
        } else {
            (0..nodes).filter(|to| *to != from).map(|to| (from, to)).collect()
        };
        self.partition(ways, "partition_one_way");
    }

    fn isolate_leader(&mut self) {
        let shard = ShardId(u16::try_from(self.plague.below(u64::from(self.scenario.shards))).unwrap_or(0));
        let Some(leader) = self.leader_of(shard) else { return };
        let others = (0..self.nodes.len()).filter(|at| *at != leader);
        let ways = others.flat_map(|at| [(leader, at), (at, leader)]).collect();
        self.partition(ways, "partition_isolates_leader");
    }

    fn strike_pause(&mut self) {
        let Some(at) = self.anybody() else { return };
        let election = u64::try_from(self.scenario.election.as_nanos()).unwrap_or(u64::MAX);
        let nanos = match self.plague.index(4) {
            0 => self.plague.between(5 * MS, 100 * MS),
            1 => self.plague.between(election / 2, election * 2),
            2 => self.plague.between(election, election * 6),
            _ => self.plague.between(500 * MS, 4000 * MS),
        };
        if self.nodes[at].leads_any() {
            self.marks.reach("paused_leader");
        }
        if nanos > election {
            self.marks.reach("paused_beyond_lease");
        }
        if nanos > 2 * election {
            self.marks.reach("paused_beyond_election");
        }
        self.pause(at, nanos);
    }

    fn strike_crash(&mut self) {
        if let Some(at) = self.anybody() {
            self.crash_soon(at);
        }
    }

    /// The machine stops in one of its next operations; if it has too few, in a while.
    fn crash_soon(&mut self, at: usize) {
        let most = [3, 12, 60][self.plague.index(3)];
        let operations = self.plague.between(1, most);
        self.nodes[at].disk.crash_after(operations);
        let life = self.nodes[at].life;
        let delay = (5 + self.plague.below(400)) * MS;
        self.schedule.after(delay, Event::Stop { node: at, life });
    }

    fn strike_restart(&mut self) {
        let Some(at) = self.anybody() else { return };
        if self.nodes[at].leads_any() {
            self.marks.reach("leader_drained");
        }
        let longest = self.now().0 + [50, 1000, 3000][self.plague.index(3)] * MS;
        let node = &mut self.nodes[at];
        if let Some(solo) = &mut node.solo {
            solo.drain();
        }
        let (life, until) = (node.life, Moment(longest));
        self.stir(at);
        self.schedule.after(DRAIN_CHECK, Event::Drain { node: at, life, until });
    }

    /// Whether a process that is to end in good order can end now.
    pub(super) fn drained(&mut self, at: usize, life: u64, until: Moment) {
        if !self.nodes[at].lives(life) {
            return;
        }
        let drained = self.nodes[at].solo.as_ref().is_some_and(Solo::is_drained);
        if drained {
            self.marks.reach("restarted_in_good_order");
        }
        if drained || self.now() >= until {
            self.ends(at, End::InOrder);
        } else {
            self.schedule.after(DRAIN_CHECK, Event::Drain { node: at, life, until });
        }
    }

    fn strike_crash_loop(&mut self) {
        let Some(at) = self.anybody() else { return };
        self.nodes[at].loops = self.plague.between(2, 5);
        self.marks.reach("crash_loop");
        self.crash_soon(at);
    }

    fn strike_all(&mut self) {
        self.marks.reach("crash_of_all_nodes");
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_up() {
                self.crash_soon(at);
            }
        }
    }

    fn arm_disk(&mut self, fault: Fault) {
        let Some(at) = self.anybody() else { return };
        let count = self.plague.between(1, 20);
        let disk = &self.nodes[at].disk;
        if fault == Fault::SyncError { disk.fail_sync_after(count) } else { disk.short_write_after(count) }
    }

    /// Syncs may fail when a node makes its peers' acquaintance, too: that is the first thing it does, once in its life, and
    /// no strike comes so early.
    pub(super) fn arm_first_meeting(&mut self, at: usize) {
        let mut rng = Rng::new(self.scenario.seed).stream("first meeting").numbered(at as u64);
        if self.scenario.faults.on(Fault::SyncError) && rng.percent(10) {
            self.nodes[at].disk.fail_sync_after(rng.between(1, 4));
        }
    }

    /// Something that lasts for a while.
    fn burden(&mut self, fault: Fault) {
        let Some(at) = self.anybody() else { return };
        let node = &mut self.nodes[at];
        match fault {
            Fault::DiskFull => node.disk.set_full(true),
            Fault::SlowDisk => node.slow_disk = true,
            _ => {
                node.slow_node = true;
                self.marks.reach("slow_follower");
            }
        }
        let delay = (100 + self.plague.below(2500)) * MS;
        self.schedule.after(delay, Event::Recover { node: at, fault });
    }

    pub(super) fn recover(&mut self, at: usize, fault: Fault) {
        let node = &mut self.nodes[at];
        match fault {
            Fault::DiskFull => node.disk.set_full(false),
            Fault::SlowDisk => node.slow_disk = false,
            _ => node.slow_node = false,
        }
    }

    /// Damages a victim's disk; it soon has reason to look at it.
    fn damage(&mut self, kind: Damage, mark: &'static str) {
        let victims: Vec<usize> = self.victims.iter().copied().filter(|at| self.is_intact(*at)).collect();
        let Some(at) = self.plague.pick(&victims).copied() else { return };
        let Some(place) = self.nodes[at].disk.damage(kind) else { return };
        let now = self.now();
        self.trace
            .line(now, || format!("n{}: {kind:?} damage in {} at {}", at + 1, place.file.display(), place.offset));
        self.marks.reach(mark);
        self.counters.count("damages");
        self.nodes[at].damaged.push(place);
        if self.plague.percent(70) {
            let life = self.nodes[at].life;
            let delay = self.plague.below(1500) * MS;
            self.schedule.after(delay, Event::Stop { node: at, life });
        }
    }

    fn is_intact(&self, at: usize) -> bool {
        self.nodes[at].fate == Fate::Returns && self.nodes[at].replaced == Replaced::No
    }

    /// The disk of a victim whom all its peers have met is gone.
    fn lose_disk(&mut self, formatted: bool) {
        let id = |at: usize| self.nodes[at].id;
        let met = |at: usize| {
            let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != at);
            others.filter_map(|(_, node)| node.solo.as_ref()).filter(|solo| solo.known_peer(id(at)).is_some()).count()
        };
        let known = |at: &usize| met(*at) + 1 == self.nodes.len();
        let victims = self.victims.iter().copied().filter(|at| self.is_intact(*at) && self.nodes[*at].is_up());
        let victims: Vec<usize> = victims.filter(known).collect();
        let Some(at) = self.plague.pick(&victims).copied() else { return };
        self.marks.reach("disk_lost");
        self.ends(at, End::PowerLost);
        self.nodes[at].disk.replace();
        self.nodes[at].damaged.clear();
        self.nodes[at].replaced = Replaced::Empty;
        if formatted {
            self.marks.reach("disk_formatted_again");
            let incarnation = Incarnation(self.plague.next_u128().to_le_bytes());
            let node = &mut self.nodes[at];
            node.disk.start_process();
            node.incarnation = incarnation;
            let made = solo::format(&node.disk, &node.config, incarnation);
            node.disk.stop();
            match made {
                Ok(_) => self.nodes[at].replaced = Replaced::Formatted,
                Err(error) => self.violated("format", format!("an empty disk cannot be formatted: {error}")),
            }
        }
    }

    fn jump_clock(&mut self) {
        // Always the same node's.
        let Some(at) = self.victims.first().copied() else { return };
        let forward = self.plague.percent(50);
        self.marks.reach(if forward { "wall_clock_jumped_forward" } else { "wall_clock_jumped_back" });
        let node = &mut self.nodes[at];
        let jump = if forward { HOUR_MS } else { -HOUR_MS };
        node.clocks.offset_ms = (node.clocks.offset_ms + jump).clamp(-48 * HOUR_MS, 48 * HOUR_MS);
    }
}
