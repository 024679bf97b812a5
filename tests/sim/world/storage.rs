//! A node's log and archive at work on its disk: how long they take, and what becomes of their errors.

use doorbuster_protocol::types::ShardId;

use super::super::disk::{Happening, Operation};
use super::super::net::MS;
use super::events::Event;
use super::life::End;
use super::run::Run;
use crate::observation::Observation;

impl Run {
    /// If the log or the archive has something to do, it will be done in a while.
    pub(super) fn see_to_disk(&mut self, at: usize) {
        let Some(solo) = &self.nodes[at].solo else { return };
        let (log, archive, life) = (solo.log_pending(), solo.archive_pending(), self.nodes[at].life);
        if log && !self.nodes[at].flushing {
            self.nodes[at].flushing = true;
            let delay = self.disk_delay(at);
            self.schedule.after(delay, Event::Flush { node: at, life });
        }
        if archive && !self.nodes[at].archiving {
            self.nodes[at].archiving = true;
            let slow = if self.pace.percent(5) { 400 * MS } else { 5 * MS };
            let delay = self.disk_delay(at) + self.pace.below(slow);
            self.schedule.after(delay, Event::Archive { node: at, life });
        }
    }

    pub(super) fn disk_delay(&mut self, at: usize) -> u64 {
        if self.nodes[at].slow_disk {
            self.marks.reach("slow_disk");
            return 10 * MS + self.pace.below(250 * MS);
        }
        200_000 + self.pace.below(1_500_000)
    }

    /// The log thread's round ends.
    pub(super) fn flush(&mut self, at: usize, life: u64) {
        if !self.nodes[at].lives(life) {
            return;
        }
        self.nodes[at].flushing = false;
        let segments = self.nodes[at].solo.as_ref().map(|solo| solo.log_usage().segments);
        let flushed = self.call(at, "the log", |node| node.solo.as_mut().map(doorbuster_server::solo::Solo::flush_log));
        self.counters.count("log_rounds");
        let happened = self.nodes[at].disk.take_happened();
        if self.ended_by_disk(at, &happened, "sync_failed_in_log") {
            return;
        }
        match flushed.flatten() {
            None => self.ends(at, End::Killed),
            Some(Err(said)) if happened.is_empty() => {
                self.violated("fatal", format!("node {} ended without a reason: {said}", at + 1));
            }
            Some(Err(said)) => self.ends(at, End::Said(said)),
            Some(Ok(())) => self.flushed(at, segments),
        }
    }

    fn flushed(&mut self, at: usize, segments: Option<usize>) {
        let node = &mut self.nodes[at];
        let Some(solo) = &node.solo else { return };
        if segments.is_some_and(|before| solo.log_usage().segments > before) {
            self.marks.reach("log_segment_rolled");
        }
        if !solo.log_pending() {
            node.shadows.iter_mut().for_each(super::shadow::Shadow::synced);
            let id = node.id;
            self.see(Observation::Synced { node: id });
        }
        self.see_to_disk(at);
        self.stir(at);
    }

    /// The archive's next job ends.
    pub(super) fn archive(&mut self, at: usize, life: u64) {
        if !self.nodes[at].lives(life) {
            return;
        }
        self.nodes[at].archiving = false;
        let archived =
            self.call(at, "the archive", |node| node.solo.as_mut().map(doorbuster_server::solo::Solo::archive));
        self.counters.count("archive_jobs");
        let happened = self.nodes[at].disk.take_happened();
        if self.nodes[at].disk.stopped_in().is_some() {
            self.marks.reach("crash_while_snapshot_is_written");
        }
        if self.ended_by_disk(at, &happened, "sync_failed_in_snapshot") {
            return;
        }
        match archived {
            None => self.ends(at, End::Killed),
            Some(written) => {
                if let Some((shard, mark)) = written.flatten() {
                    self.snapshot_written(at, shard, mark.index);
                }
                self.see_to_disk(at);
                self.stir(at);
            }
        }
    }

    fn snapshot_written(&mut self, at: usize, shard: ShardId, index: u64) {
        self.marks.reach("snapshot_written");
        self.counters.count("snapshots_written");
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != at);
        let mut lasts = others.filter_map(|(_, node)| Some(node.solo.as_ref()?.shard(shard)?.raft().last));
        // What it lacks is cut off, or soon will be.
        if self.nodes[at].leads(shard).is_some() && lasts.any(|last| last < index) {
            self.marks.reach("snapshot_while_lagging");
        }
    }

    /// After anything that may have reached the disk. True: the process is gone, or must not be there any more.
    pub(super) fn ended_by_disk(&mut self, at: usize, happened: &[Happening], sync_mark: &'static str) -> bool {
        self.count_happened(happened);
        let sync_failed = happened.iter().any(|happening| matches!(happening, Happening::SyncFailed(_)));
        if sync_failed {
            self.marks.reach(sync_mark);
        }
        if self.stopped(at) {
            return true;
        }
        let must_end = self.nodes[at].solo.as_ref().and_then(|solo| solo.must_end().map(ToOwned::to_owned));
        match must_end {
            Some(said) => self.ends(at, End::Said(said)),
            None if sync_failed => {
                self.violated("sync_error", format!("node {} goes on after a sync has failed", at + 1));
            }
            None => return false,
        }
        true
    }

    /// The machine has stopped in the middle of what was just done: the process is gone.
    pub(super) fn stopped(&mut self, at: usize) -> bool {
        let Some((operation, _)) = self.nodes[at].disk.stopped_in() else { return self.synced_twice(at) };
        self.marks.reach(match operation {
            Operation::Write => "crash_in_write",
            Operation::Sync => "crash_in_sync",
            Operation::SyncDir => "crash_in_sync_dir",
            Operation::Create | Operation::CreateDir => "crash_in_create",
            Operation::Rename => "crash_in_rename",
            Operation::Remove => "crash_in_remove",
        });
        self.counters.count("crashes_at_io");
        let end = if self.plague.percent(30) { End::Killed } else { End::PowerLost };
        if end == End::Killed {
            self.marks.reach("crash_of_process_only");
        }
        self.ends(at, end);
        true
    }

    fn synced_twice(&mut self, at: usize) -> bool {
        if let Some(what) = self.nodes[at].disk.retried_sync() {
            self.violated("sync_retried", format!("node {}: {what}", at + 1));
            return true;
        }
        false
    }

    pub(super) fn count_happened(&mut self, happened: &[Happening]) {
        for happening in happened {
            match happening {
                Happening::SyncFailed(_) => self.counters.count("syncs_failed"),
                Happening::ShortWrite(_) => {
                    self.marks.reach("short_write");
                    self.counters.count("short_writes");
                }
                Happening::Full(_) => {
                    self.marks.reach("disk_full");
                    self.counters.count("disk_full_errors");
                }
            }
        }
    }

    /// All shards of the cluster.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.scenario.shards).map(ShardId)
    }
}
