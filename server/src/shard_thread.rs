//! A thread that owns several shards: takes its inbox, lets the shards work, hands on what they want.
//!
//! Everything crosses threads in batches, once a round: one push to the log for all shards, one to the
//! transport a peer, one to each connection. The thread sleeps until something comes, a tick is due, or a
//! reservation falls due.

use std::time::Duration;

use crossbeam::channel::Sender;
use doorbuster_protocol::types::ShardId;
use doorbuster_raft::Monotonic;
use doorbuster_raft::log::Log;
use doorbuster_raft::transport::Transport;

use crate::archive::Job;
use crate::clock;
use crate::inbox::{Contents, Inboxes};
use crate::metrics::Metrics;
use crate::shard::{Event, Round, Shard};

/// How often the size of the log on disk is looked at.
const LOG_CHECK: Duration = Duration::from_secs(1);

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
    pub shards: Vec<Shard>,
    /// Where the threads hear of anything.
    pub inboxes: Inboxes,
    /// Which thread this is.
    pub thread: usize,
    /// Where its effects go.
    pub outlets: Outlets,
    /// Time between two ticks.
    pub tick: Duration,
    /// Bytes of log on disk beyond which the shard that keeps the oldest of it writes a snapshot.
    pub log_bound: u64,
}

impl ShardThread {
    /// Runs until the inbox says stop.
    pub fn run(mut self) {
        let (mut taken, mut round) = (Contents::default(), Round::default());
        let mut next_tick = clock::monotonic();
        let mut next_log_check = next_tick;
        let mut draining = false;
        loop {
            self.inboxes.thread(self.thread).take(&mut taken, self.patience(next_tick));
            if taken.stop {
                return;
            }
            (round.now, round.wall) = (clock::monotonic(), clock::wall());
            if taken.draining && !draining {
                draining = true;
                self.shards.iter_mut().for_each(Shard::drain);
            }
            self.distribute(&mut taken, &mut round);
            if round.now >= next_tick {
                self.shards.iter_mut().for_each(|shard| shard.tick(&mut round));
                next_tick = round.now.after(self.tick);
            }
            if round.now >= next_log_check {
                self.check_log(&mut round);
                next_log_check = round.now.after(LOG_CHECK);
            }
            for shard in &mut self.shards {
                if shard.is_stirred() || shard.is_due(round.now) {
                    shard.advance(&mut round);
                }
            }
            self.hand_on(&mut round);
            if draining && self.shards.iter().all(Shard::is_drained) {
                self.inboxes.thread(self.thread).set_drained();
            }
        }
    }

    fn patience(&self, next_tick: Monotonic) -> Duration {
        if self.shards.iter().any(Shard::is_stirred) {
            return Duration::ZERO;
        }
        let now = clock::monotonic();
        let wake = self.shards.iter().filter_map(|shard| shard.wake_at(now)).fold(next_tick, Monotonic::min);
        wake.since(now)
    }

    fn distribute(&mut self, taken: &mut Contents, round: &mut Round) {
        for (shard, message) in taken.peers.drain(..).flatten() {
            if let Some(shard) = find(&mut self.shards, shard) {
                shard.step(message, round.now);
            }
        }
        for (shard, ticket) in taken.durable.drain(..) {
            if let Some(shard) = find(&mut self.shards, shard) {
                shard.durable(ticket, round.now);
            }
        }
        for (shard, event) in taken.events.drain(..) {
            if let Some(shard) = find(&mut self.shards, shard) {
                shard.event(event, round);
            }
        }
        for (shard, call) in taken.calls.drain(..) {
            if let Some(shard) = find(&mut self.shards, shard) {
                shard.accept(call, round);
            }
        }
    }

    /// A shard that is hardly used keeps old segments of the log that all shards share.
    fn check_log(&mut self, round: &mut Round) {
        let usage = self.outlets.log.usage();
        let Some(pin) = usage.pin.filter(|_| usage.bytes > self.log_bound) else { return };
        if let Some(shard) = find(&mut self.shards, ShardId(pin.shard)) {
            shard.event(Event::CutLog, round);
        }
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

fn find(shards: &mut [Shard], id: ShardId) -> Option<&mut Shard> {
    // A thread owns every n-th shard, in order, so that the position follows from the number.
    let first = shards.first()?.id().0;
    let stride = shards.get(1).map_or(1, |second| second.id().0 - first);
    let at = usize::from(id.0.checked_sub(first)? / stride);
    shards.get_mut(at).filter(|shard| shard.id() == id)
}
