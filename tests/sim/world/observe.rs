//! What is shown to the checkers.

use doorbuster_protocol::types::{LogIndex, ShardId};
use doorbuster_raft::{Append, Entry};

use super::run::Run;
use crate::observation::{LogEntry, Observation, Queues, Seen};

impl Run {
    /// Shows it to every checker.
    pub(super) fn see(&mut self, what: Observation<'_>) {
        let seen = Seen { at: self.now(), what };
        let mut checkers = std::mem::take(&mut self.checkers);
        let shown = checkers.iter_mut().try_for_each(|checker| checker.see(&seen));
        shown.unwrap_or_else(|violation| self.note_violation(violation));
        self.checkers = checkers;
    }

    /// After a node's turn (or start): what it wrote, whom it leads, what it applied, how full it is.
    pub(super) fn observe_shards(&mut self, at: usize, appended: &[Append]) {
        self.observe_clocks(at);
        for append in appended {
            self.observe_append(at, append);
        }
        for shard in 0..self.scenario.shards {
            self.observe_role(at, ShardId(shard));
            self.observe_state(at, ShardId(shard));
        }
    }

    fn observe_clocks(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(heard) = node.solo.as_ref().map(|solo| solo.desk().wall_clocks.known()) else { return };
        let (id, before) = (node.id, std::mem::replace(&mut node.clocks_heard, heard));
        if heard > before {
            self.see(Observation::Clocks { node: id, heard });
        }
        if heard < 3 && self.nodes[at].leads_any() {
            self.marks.reach("leader_heard_two_clocks");
            self.counters.count("turns_of_leaders_that_heard_two_clocks");
        }
    }

    fn observe_append(&mut self, at: usize, append: &Append) {
        let now = self.now();
        let entries: Vec<LogEntry> = append.entries.iter().map(log_entry).collect();
        let (first, last) = (entries.first().map_or(0, |e| e.index.0), entries.last().map_or(0, |e| e.index.0));
        let (term, commit) = append.hard_state.map_or((0, 0), |hard| (hard.term, hard.commit));
        self.trace.event(now, 4, &[at as u64, u64::from(append.shard), append.ticket, first, last, term, commit]);
        self.trace.line(now, || {
            let (hard, mark) = (append.hard_state, append.mark);
            format!("n{} s{} appends {first}..={last} {hard:?} {mark:?}", at + 1, append.shard)
        });
        if self.nodes[at].shadows[usize::from(append.shard)].append(append) {
            self.marks.reach("entries_replaced");
        }
        let (node, shard, hard_state) = (self.nodes[at].id, ShardId(append.shard), append.hard_state);
        if let Some(mark) = append.mark {
            self.see(Observation::Covered { node, shard, index: LogIndex(mark.index), term: mark.term });
        }
        self.see(Observation::Appends { node, shard, entries: &entries, hard_state });
    }

    fn observe_role(&mut self, at: usize, shard: ShardId) {
        let now = self.now();
        let leads = self.nodes[at].leads(shard);
        let led = std::mem::replace(&mut self.nodes[at].led[usize::from(shard.0)], leads);
        let node = self.nodes[at].id;
        if leads.is_none() && led.is_some() {
            self.trace.line(now, || format!("n{} s{shard} leads no more", at + 1));
            self.see(Observation::Follows { node, shard });
        }
        let Some(term) = leads.filter(|_| leads != led) else { return };
        self.trace.line(now, || format!("n{} s{shard} leads in term {term}", at + 1));
        self.trace.event(now, 5, &[at as u64, u64::from(shard.0), term]);
        self.counters.count("elections");
        self.marks.reach("leader_elected");
        if term > 1 && self.counters.get("elections") > u64::from(self.scenario.shards) {
            self.marks.reach("leader_changed");
        }
        if self.nodes.iter().enumerate().any(|(other, node)| other != at && node.leads(shard).is_some()) {
            self.marks.reach("two_believe_to_lead");
        }
        self.see(Observation::Leads { node, shard, term });
    }

    fn observe_state(&mut self, at: usize, shard: ShardId) {
        let (now, cluster_time) = (self.now(), self.cluster_time());
        let Some(solo) = self.nodes[at].solo.take() else { return };
        if let Some(replica) = solo.shard(shard) {
            let node = self.nodes[at].id;
            let before = self.nodes[at].applied[usize::from(shard.0)];
            let applied = replica.applied();
            if applied != before {
                self.nodes[at].applied[usize::from(shard.0)] = applied;
                let entries: Vec<LogEntry> = replica.entries(before, applied).iter().map(log_entry).collect();
                let whole = entries.first().is_some_and(|first| first.index.0 == before + 1)
                    && entries.len() as u64 == applied.saturating_sub(before);
                let inventory = replica.inventory();
                self.trace.event(now, 6, &[at as u64, u64::from(shard.0), applied, inventory.state_hash().0]);
                self.trace.line(now, || format!("n{} s{shard} applied {before}..={applied}", at + 1));
                let entries = if whole { &entries[..] } else { &[] };
                if !whole && before > 0 {
                    self.marks.reach("snapshot_installed");
                    self.counters.count("snapshots_installed");
                }
                // A snapshot of what was there already (but for Raft's own entries) has moved nothing.
                if whole || inventory.applied().0 > before || before == 0 {
                    self.see(Observation::Applied { node, shard, entries, inventory, cluster_time });
                }
            }
            let lengths = replica.queues();
            let pair = |queue: doorbuster_server::shard::QueueLength| (queue.length, queue.bound);
            let queues = Queues {
                backlog: pair(lengths.backlog),
                waiting: pair(lengths.waiting),
                reads: pair(lengths.reads),
                in_flight: pair(lengths.in_flight),
            };
            self.counters.most("most_waiting", queues.waiting.0 as u64);
            self.counters.most("most_backlog", queues.backlog.0 as u64);
            self.see(Observation::Queues { node, shard, queues });
            if let Some(why) = replica.diverged() {
                self.violated("diverged", format!("node {}, shard {shard}: {why}", at + 1));
            }
        }
        self.nodes[at].solo = Some(solo);
    }
}

fn log_entry(entry: &Entry) -> LogEntry {
    LogEntry { index: LogIndex(entry.index), term: entry.term, payload: entry.data.clone() }
}
