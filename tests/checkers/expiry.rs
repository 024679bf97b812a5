//! No reservation expires early by cluster time, and none late by more than the outage, 20 ms and one tick.
//!
//! Source: DESIGN section 3, "a reservation never expires early, and is back in stock within 20 ms of its deadline while
//! a leader is up"; section 4, "one node with a wrong clock can neither expire a reservation early nor open a sale
//! early". Cluster time is the median of all nodes' true wall clocks, the tolerance `Config::clock_tolerance`.
//! - That nothing expires before the stamp of an entry says so is the model's to see (`conservation`). Here: no stamp is
//!   ahead of cluster time, nor behind it, by more than the tolerance when its entry is proposed.
//! - Behind it may be, with a wrong clock in the world, what a leader stamps that has heard of fewer than three clocks of
//!   three or more since it started: of two clocks that differ nobody can tell which is wrong, and the lower one is
//!   never early. That ends `CATCH_UP` after it has heard of a third.
//! - An entry that is proposed 20 ms and a tick or more after a deadline, by a leader that had applied the reservation
//!   by then, expires it, unless an `Expire` is on its way.
//! - A leader that has nothing on its way and takes its turns lets no deadline pass by more than that.
//! - At quiescence nothing is overdue.
//!
//! Does not see: how late a deadline is met by a leader that is slow, paused or without a quorum: that is outage.

use std::collections::BTreeMap;
use std::time::Duration;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::types::{NodeId, ShardId, Timestamp};

use super::ledger::{Committed, Ledger, ShardLedger, SharedLedger, index_of};
use super::{Checker, Config, Violation};
use crate::history::{History, Moment};
use crate::observation::{LogEntry, Observation, Queues, Seen};

/// Within this time of its deadline a reservation is back in stock.
const IN_TIME: Duration = Duration::from_millis(20);

/// So long after a leader has heard of enough clocks its stamps are right: a first message may have been held up.
const CATCH_UP: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Expiry {
    ledger: SharedLedger,
    judged: BTreeMap<ShardId, u64>,
    /// By index and term: who proposed it when, and whether it may have been behind.
    proposals: BTreeMap<(ShardId, u64, u64), (NodeId, Moment, bool)>,
    /// Since when a node has heard of three clocks.
    enough: BTreeMap<NodeId, Moment>,
    /// When each replica had applied what.
    applied: BTreeMap<(NodeId, ShardId), Vec<(u64, Moment)>>,
    leaders: BTreeMap<ShardId, (u64, NodeId)>,
    /// Since when a leader is idle with something due, and its last turn.
    overdue: BTreeMap<(NodeId, ShardId), (Moment, Moment)>,
}

impl Expiry {
    /// Takes deadlines from this ledger.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self {
            ledger,
            judged: BTreeMap::new(),
            proposals: BTreeMap::new(),
            enough: BTreeMap::new(),
            applied: BTreeMap::new(),
            leaders: BTreeMap::new(),
            overdue: BTreeMap::new(),
        }
    }

    fn appends(&mut self, at: Moment, node: NodeId, shard: ShardId, entries: &[LogEntry]) {
        self.overdue.remove(&(node, shard));
        let excused = self.may_be_behind(node, at);
        for entry in entries {
            self.proposals.entry((shard, entry.index.0, entry.term)).or_insert((node, at, excused));
        }
    }

    /// Whether a node may be unable to tell that a clock is wrong.
    fn may_be_behind(&self, node: NodeId, at: Moment) -> bool {
        let since = self.enough.get(&node);
        let caught_up = since.is_some_and(|since| at.0 > since.0 + nanos(CATCH_UP));
        self.ledger.borrow().config().wrong_clock && !caught_up
    }

    fn judge(&mut self, shard: ShardId) -> Result<(), String> {
        let ledger = self.ledger.borrow();
        let Some(log) = ledger.shard(shard) else { return Ok(()) };
        let judged = self.judged.entry(shard).or_insert(0);
        while let Some(entry) = log.entry(*judged + 1) {
            *judged += 1;
            let index = *judged;
            let Some((node, at, excused)) = self.proposals.remove(&(shard, index, entry.term)) else { continue };
            let before =
                index.checked_sub(1).and_then(|before| log.entry(before)).map_or(Timestamp(0), |one| one.stamp);
            if entry.stamp > before {
                honest(&ledger, entry, at, excused)
                    .map_err(|what| format!("shard {shard}, entry {index}, proposed by node {node}: {what}"))?;
            }
            let applied = self.applied.get(&(node, shard)).map_or(&[][..], Vec::as_slice);
            in_time(ledger.config(), log, index, entry, at, applied)
                .map_err(|what| format!("shard {shard}, entry {index}, proposed by node {node}: {what}"))?;
        }
        Ok(())
    }

    /// A turn of a node has ended.
    fn turn(&mut self, at: Moment, node: NodeId, shard: ShardId, queues: &Queues) -> Result<(), String> {
        let ledger = self.ledger.borrow();
        let slack = ledger.config().clock_tolerance.0 + millis(allowed(ledger.config()));
        let leads = self.leaders.get(&shard).is_some_and(|(term, leader)| {
            let open = ledger.shard(shard).and_then(|log| log.entry(log.last())).is_some_and(|last| last.term == *term);
            *leader == node && open
        });
        let applied = self.applied.get(&(node, shard)).and_then(|applied| applied.last());
        let idle = leads && queues.in_flight.0 == 0 && applied.is_some_and(|(index, _)| *index >= ledger.last(shard));
        let due = ledger.shard(shard).and_then(|log| log.model().next_deadline());
        let due = due.filter(|_| idle && !self.may_be_behind(node, at));
        let due = due.filter(|(deadline, _)| ledger.cluster_time(at).0 > deadline.0 + slack);
        let Some((deadline, id)) = due else {
            self.overdue.remove(&(node, shard));
            return Ok(());
        };
        let (since, last) = *self.overdue.entry((node, shard)).or_insert((at, at));
        // It did not get its turns: it was paused.
        let paused = at.0 - last.0 > nanos(allowed(ledger.config()));
        let since = if paused { at } else { since };
        self.overdue.insert((node, shard), (since, at));
        if at.0 - since.0 <= nanos(ledger.config().unseen_outage) {
            return Ok(());
        }
        Err(format!(
            "node {node} leads shard {shard}, is idle, and reservation {id}, which was due at {deadline}, has not expired \
             at {}",
            ledger.cluster_time(at)
        ))
    }

    fn quiescent(&self, at: Moment) -> Result<(), String> {
        let ledger = self.ledger.borrow();
        let now = ledger.cluster_time(at);
        let slack = ledger.config().clock_tolerance.0 + millis(allowed(ledger.config()));
        let strict = |shard: &ShardId| !self.leaders.get(shard).is_some_and(|(_, node)| self.may_be_behind(*node, at));
        let shards = ledger.shards().filter(|(shard, _)| strict(shard));
        let mut next = shards.filter_map(|(shard, log)| Some((shard, log.model().next_deadline()?)));
        next.find(|(_, (deadline, _))| deadline.0 + slack < now.0).map_or(Ok(()), |(shard, (deadline, id))| {
            Err(format!("at quiescence, at {now}, reservation {id} of shard {shard} lives on, due at {deadline}"))
        })
    }
}

impl Checker for Expiry {
    fn property(&self) -> &'static str {
        "expiry"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let found = match &seen.what {
            Observation::Leads { node, shard, term } => {
                let leader = self.leaders.entry(*shard).or_insert((*term, *node));
                *leader = (*leader).max((*term, *node));
                Ok(())
            }
            Observation::Follows { node, shard } => {
                self.leaders.retain(|of, (_, leader)| of != shard || leader != node);
                Ok(())
            }
            Observation::Appends { node, shard, entries, .. } => {
                self.appends(seen.at, *node, *shard, entries);
                Ok(())
            }
            Observation::Applied { node, shard, entries, inventory, .. } => {
                let judged = self.judge(*shard);
                let last = entries.last().map_or(0, |last| last.index.0).max(index_of(inventory));
                self.applied.entry((*node, *shard)).or_default().push((last, seen.at));
                judged
            }
            Observation::Clocks { node, heard } => {
                if *heard >= 3 {
                    self.enough.entry(*node).or_insert(seen.at);
                }
                Ok(())
            }
            Observation::Started { node } | Observation::Ended { node, .. } => {
                self.enough.remove(node);
                self.leaders.retain(|_, (_, leader)| leader != node);
                self.applied.retain(|(of, _), _| of != node);
                self.overdue.retain(|(of, _), _| of != node);
                Ok(())
            }
            Observation::Queues { node, shard, queues } => self.turn(seen.at, *node, *shard, queues),
            Observation::Quiescent => self.quiescent(seen.at),
            _ => Ok(()),
        };
        found.map_err(|what| Violation::of(self.property(), what))
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}

/// Whether an entry's stamp was near cluster time when it was proposed.
fn honest(ledger: &Ledger, entry: &Committed, at: Moment, excused: bool) -> Result<(), String> {
    let (now, tolerance) = (ledger.cluster_time(at), ledger.config().clock_tolerance);
    if entry.stamp.0 > now.0 + tolerance.0 {
        Err(format!("its stamp {} is ahead of cluster time {now}: what is due then is early", entry.stamp))
    } else if !excused && entry.stamp.0 + tolerance.0 < now.0 {
        Err(format!("its stamp {} is behind cluster time {now}: what is due then is late", entry.stamp))
    } else {
        Ok(())
    }
}

/// Whether an entry expires what its proposer knew to be overdue.
fn in_time(
    config: &Config,
    log: &ShardLedger,
    index: u64,
    entry: &Committed,
    at: Moment,
    applied: &[(u64, Moment)],
) -> Result<(), String> {
    let Some((deadline, id)) = entry.next_deadline else { return Ok(()) };
    let late = entry.stamp.0.saturating_sub(deadline.0);
    let expires = |entry: &Committed| entry.done.iter().any(|done| done.command == Command::Expire);
    // The entry that opens a term says nothing of the time.
    if entry.done.is_empty() || expires(entry) || late <= millis(allowed(config)) {
        return Ok(());
    }
    let has_applied = |index: u64, by: Moment| {
        let after = applied.partition_point(|(_, when)| *when <= by);
        after.checked_sub(1).is_some_and(|last| applied[last].0 >= index)
    };
    let earlier = Moment(at.0.saturating_sub(nanos(allowed(config))));
    let knew = log.changed_before(id, index).is_some_and(|brought| has_applied(brought, earlier));
    let own = (1..index).rev().map_while(|before| log.entry(before).map(|it| (before, it)));
    let mut own = own.take_while(|(_, before)| before.term == entry.term);
    // What is applied in the turn of the proposal is applied after it.
    let before_turn = Moment(at.0.saturating_sub(1));
    let on_its_way =
        own.find(|(_, before)| expires(before)).is_some_and(|(before, _)| !has_applied(before, before_turn));
    if !knew || on_its_way {
        return Ok(());
    }
    Err(format!("stamped {}, it leaves reservation {id} alive, {late} ms after its deadline {deadline}", entry.stamp))
}

fn allowed(config: &Config) -> Duration {
    IN_TIME + config.tick
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::stage::{NODES, SHARD, Stage, product, property, reserve};
    use super::*;
    use doorbuster_protocol::types::LogIndex;

    const FULL: Queues = Queues { backlog: (0, 9), waiting: (0, 9), reads: (0, 9), in_flight: (0, 16) };

    /// A reservation is due at 1000 ms, and it is 10 ms.
    fn stage() -> Stage {
        let mut stage = Stage::new(|ledger| vec![Box::new(Expiry::new(ledger))]);
        stage.show(Observation::Leads { node: NODES[0], shard: SHARD, term: 1 }).unwrap();
        stage.run(&[product(1, 5), reserve(1)]).unwrap();
        stage.pass(10);
        stage
    }

    #[test]
    fn in_time_passes() {
        let mut stage = stage();
        stage.pass(995);
        stage.run(&[reserve(2)]).unwrap();
        stage.pass(5);
        stage.run(&[Command::Expire, reserve(3)]).unwrap();
        stage.pass(500);
        stage.run(&[reserve(4)]).unwrap();
        assert_eq!(stage.show(Observation::Quiescent), Ok(()));
    }

    #[test]
    fn an_entry_that_leaves_it_alive_is_found() {
        let mut stage = stage();
        stage.pass(1100);
        assert_eq!(property(stage.run(&[reserve(2)])), "expiry");
    }

    #[test]
    fn an_expire_on_its_way_is_waited_for() {
        let mut stage = stage();
        stage.pass(980);
        let expire = stage.entry(&[Command::Expire]);
        let entries = std::slice::from_ref(&expire);
        stage.show(Observation::Appends { node: NODES[0], shard: SHARD, entries, hard_state: None }).unwrap();
        stage.log.push(expire.clone());
        stage.pass(200);
        let after = stage.entry(&[reserve(2)]);
        let entries = std::slice::from_ref(&after);
        stage.show(Observation::Appends { node: NODES[0], shard: SHARD, entries, hard_state: None }).unwrap();
        stage.log.push(after);
        let earlier = Timestamp(stage.time().0 - 200);
        stage.replicas.get_mut(&NODES[0]).unwrap().apply(LogIndex(2), earlier, &Command::Expire).unwrap();
        assert!(stage.apply(NODES[0], &[reserve(2)]).is_ok());
    }

    #[test]
    fn a_stamp_ahead_of_cluster_time_or_behind_it_is_found() {
        for (ahead, behind) in [(400, 0), (0, 400)] {
            let mut stage = stage();
            let now = stage.now;
            stage.pass(500 + ahead);
            let entry = stage.entry(&[reserve(2)]);
            stage.now = now;
            stage.pass(500 + behind);
            let entries = std::slice::from_ref(&entry);
            stage.show(Observation::Appends { node: NODES[0], shard: SHARD, entries, hard_state: None }).unwrap();
            stage.log.push(entry);
            stage.pass(400);
            assert_eq!(property(stage.apply(NODES[0], &[reserve(2)])), "expiry", "{ahead} {behind}");
        }
    }

    #[test]
    fn a_stamp_is_behind_only_where_two_clocks_of_three_decide() {
        let world = |wrong_clock| Config { wrong_clock, ..Config::default() };
        // Whether a clock is wrong, how many were heard of, how long ago, whether a stamp may be behind.
        let table = [
            (true, 2, 9000, true),
            (true, 3, 500, true),
            (true, 3, 2500, false),
            (false, 2, 9000, false),
            (false, 3, 500, false),
        ];
        for (wrong_clock, heard, before, may) in table {
            let mut stage = Stage::with(world(wrong_clock), |ledger| vec![Box::new(Expiry::new(ledger))]);
            stage.show(Observation::Leads { node: NODES[0], shard: SHARD, term: 1 }).unwrap();
            stage.show(Observation::Clocks { node: NODES[0], heard }).unwrap();
            stage.run(&[product(1, 5)]).unwrap();
            let now = stage.now;
            stage.pass(before - 300);
            let entry = stage.entry(&[reserve(2)]);
            stage.now = now;
            stage.pass(before);
            let entries = std::slice::from_ref(&entry);
            stage.show(Observation::Appends { node: NODES[0], shard: SHARD, entries, hard_state: None }).unwrap();
            stage.log.push(entry);
            assert_eq!(stage.apply(NODES[0], &[reserve(2)]).is_ok(), may, "{wrong_clock} {heard} {before}");
        }
    }

    fn turns(stage: &mut Stage, times: usize, queues: Queues) -> Result<(), Violation> {
        (0..times).try_for_each(|_| {
            stage.pass(10);
            stage.show(Observation::Queues { node: NODES[0], shard: SHARD, queues })
        })
    }

    #[test]
    fn a_leader_that_idles_over_it_is_found() {
        assert_eq!(turns(&mut stage(), 120, FULL), Ok(()), "not due for so long");
        assert_eq!(property(turns(&mut stage(), 400, FULL)), "expiry");
        let busy = Queues { in_flight: (1, 16), ..FULL };
        assert_eq!(turns(&mut stage(), 400, busy), Ok(()), "something is on its way");
    }

    #[test]
    fn nothing_is_overdue_at_quiescence() {
        let mut stage = stage();
        stage.pass(1000);
        assert_eq!(stage.show(Observation::Quiescent), Ok(()), "within the tolerance");
        stage.pass(1000);
        assert_eq!(property(stage.show(Observation::Quiescent)), "expiry");
    }
}
