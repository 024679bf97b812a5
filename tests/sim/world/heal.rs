//! Everything heals: faults end, whoever can starts again, and within a bounded time the cluster must serve, every client
//! must be answered, and the replicas must be equal.

use doorbuster_protocol::types::ShardId;

use super::super::net::MS;
use super::super::port::Happened;
use super::events::Event;
use super::node::{Fate, Replaced};
use super::run::Run;
use crate::history::Moment;
use crate::observation::Observation;

/// So long after the healing everything must be quiet.
const BOUND: u64 = 40_000 * MS;
/// How often it is looked whether it is.
const LOOK: u64 = 50 * MS;

impl Run {
    pub(super) fn heal(&mut self) {
        let now = self.now();
        self.trace.line(now, || "everything heals".into());
        self.healed = Some(now);
        self.net.calm();
        self.partitions.clear();
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                while self.net.is_cut(from, to) {
                    self.net.mend(&[(from, to)]);
                }
                if from != to {
                    self.release(from, to);
                }
            }
        }
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            node.disk.disarm();
            (node.slow_disk, node.slow_node, node.loops) = (false, false, 0);
            if node.paused_until > now {
                node.paused_until = now;
                let life = node.life;
                self.resume(at, life);
            }
            self.schedule.after((1 + self.pace.below(300)) * MS, Event::Start { node: at });
        }
        for actor in 0..self.actors.len() {
            self.tell(actor, Happened::WindDown);
        }
        self.schedule.after(LOOK, Event::Look);
    }

    /// Is everything quiet? If not, look again, until it takes too long.
    pub(super) fn look(&mut self) {
        let now = self.now();
        let waits = self.waits_for();
        match waits {
            None => {
                self.counters.add("heal_ms", (now.0 - self.healed.unwrap_or(now).0) / MS);
                self.counters.most("most_heal_ms", (now.0 - self.healed.unwrap_or(now).0) / MS);
                self.trace.line(now, || "everything is quiet".into());
                self.see(Observation::Quiescent);
                self.over = true;
            }
            Some(what) if now.0 > self.healed.unwrap_or(now).0 + BOUND => {
                self.violated("liveness", format!("{} s after everything healed: {what}", BOUND / MS / 1000));
            }
            Some(_) => self.schedule.after(LOOK, Event::Look),
        }
    }

    /// What is not quiet.
    fn waits_for(&self) -> Option<String> {
        let down = self.nodes.iter().find(|node| node.fate == Fate::Returns && !node.is_up());
        if let Some(node) = down {
            return Some(format!("node {} does not run", node.id));
        }
        if let Some((actor, _)) = self.actors.iter().find(|(actor, _)| !actor.is_done()) {
            return Some(format!("{} is not done", actor.name()));
        }
        self.shards().find_map(|shard| self.is_unequal(shard))
    }

    fn is_unequal(&self, shard: ShardId) -> Option<String> {
        let now = self.now();
        let serving = self.nodes.iter().any(|node| {
            let monotonic = node.clocks.monotonic(now);
            let replica = node.solo.as_ref().and_then(|solo| solo.shard(shard));
            replica.is_some_and(|replica| replica.status(monotonic).leading)
        });
        if !serving {
            return Some(format!("nobody leads shard {shard}"));
        }
        let voting = self.nodes.iter().filter(|node| node.replaced == Replaced::No);
        let replicas = voting.filter_map(|node| Some((node.id, node.solo.as_ref()?.shard(shard)?)));
        let states: Vec<_> = replicas
            .map(|(id, replica)| (id, replica.applied(), replica.raft().last, replica.inventory().state_hash()))
            .collect();
        let (_, applied, ..) = states.first()?;
        let unequal = states.iter().any(|state| state.1 != *applied || state.2 != *applied || state.3 != states[0].3);
        unequal.then(|| format!("the replicas of shard {shard} are not equal: {states:?}"))
    }

    /// When everything heals.
    pub(super) fn plan_healing(&mut self) {
        let span = u64::try_from(self.scenario.span.as_nanos()).unwrap_or(u64::MAX);
        self.schedule.at(Moment(span), Event::Heal);
    }
}
