//! A thread that owns several shards: takes its inbox, lets the shards work, hands on what they want.
//!
//! Everything crosses threads in batches, once a round: one push to the log for all shards, one to the
//! transport a peer, one to each connection. The thread sleeps until something comes, a tick is due, or a
//! reservation falls due.

use std::time::Duration;

use crossbeam::channel::Sender;
use doorbuster_raft::log::Log;
use doorbuster_raft::transport::Transport;

use crate::archive::Job;
use crate::clock;
use crate::inbox::{Contents, Inboxes};
use crate::metrics::Metrics;
use crate::shard::Round;
use crate::shard_group::ShardGroup;

/// Where a shard thread's effects go.
#[derive(Clone)]
pub struct Outlets {
    /// The node's log.
    pub log: Log,
    /// The connections to the peers; none in a cluster of one.
    pub transport: Option<Transport>,
    /// The thread that writes and reads snapshots.
    pub archive: Sender<Job>,
    /// What is counted.
    pub metrics: Metrics,
}

/// A shard thread before and while it runs.
pub struct ShardThread {
    /// The shards it owns.
    pub group: ShardGroup,
    /// Where the threads hear of anything.
    pub inboxes: Inboxes,
    /// Which thread this is.
    pub thread: usize,
    /// Where its effects go.
    pub outlets: Outlets,
}

impl ShardThread {
    /// Runs until the inbox says stop.
    pub fn run(mut self) {
        let (mut taken, mut round) = (Contents::default(), Round::default());
        loop {
            self.inboxes.thread(self.thread).take(&mut taken, self.patience());
            if taken.stop {
                return;
            }
            (round.now, round.wall) = (clock::monotonic(), clock::wall());
            self.group.turn(&mut taken, &mut round, || self.outlets.log.usage());
            self.hand_on(&mut round);
            if self.group.is_drained() {
                self.inboxes.thread(self.thread).set_drained();
            }
        }
    }

    fn patience(&self) -> Duration {
        let now = clock::monotonic();
        self.group.wake_at(now).since(now)
    }

    fn hand_on(&self, round: &mut Round) {
        if !round.appends.is_empty() {
            self.outlets.log.submit(std::mem::take(&mut round.appends));
        }
        if let Some(transport) = &self.outlets.transport {
            for (to, messages) in round.sends.drain(..) {
                let messages = messages.into_iter().map(|(shard, message)| (shard.0, message)).collect();
                transport.send(u64::from(to.0), messages);
            }
            for (shard, send) in round.snapshot_sends.drain(..) {
                self.outlets.metrics.snapshots_sent.increment(1);
                transport.send_snapshot(send.to, shard.0, send.message);
            }
        }
        round.answers.deliver();
        for job in round.snapshot_jobs.drain(..).map(Job::Write) {
            // The archive ends after the shard threads; without it the process is ending.
            let _ended = self.outlets.archive.send(job);
        }
    }
}
