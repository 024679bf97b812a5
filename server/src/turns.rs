//! A shard group's turns, one at a time, by whoever has something for it.
//!
//! Everything crosses threads in batches, once a turn: one push to the log for all shards, one to the transport a peer, one to
//! each connection. Where little has come, whoever brought it lets the shards work at once, on its own thread: a connection's
//! task with a request, a peer's with an acknowledgement, the log's thread with what is durable. To wake the group's own
//! thread for it would take longer than the work does. Much is that thread's, and so is what comes by time.

use std::fmt;

use crossbeam::channel::Sender;
use doorbuster_raft::log::Log;
use doorbuster_raft::transport::Transport;
use parking_lot::Mutex;

use crate::archive::Job;
use crate::clock;
use crate::fatal::Fatal;
use crate::inbox::{Contents, Inbox};
use crate::metrics::Metrics;
use crate::shard::Round;
use crate::shard_group::ShardGroup;

/// Who helps takes so many turns at a time: it has work of its own.
const MAX_HELP: usize = 8;

/// Where a turn's effects go.
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
    /// Raised by a turn that panics: what it leaves cannot be trusted. Nobody takes a turn of a node that must end.
    pub fatal: Fatal,
}

/// A shard group and all that its turns need.
pub struct Turns {
    work: Mutex<Work>,
}

struct Work {
    group: ShardGroup,
    outlets: Outlets,
    taken: Contents,
    round: Round,
}

impl Turns {
    /// Of this group.
    #[must_use]
    pub fn new(group: ShardGroup, outlets: Outlets) -> Self {
        Self { work: Mutex::new(Work { group, outlets, taken: Contents::default(), round: Round::default() }) }
    }

    /// One turn, by the group's thread. `false`: it shall end.
    pub fn take(&self, inbox: &Inbox) -> bool {
        self.work.lock().turn(inbox)
    }

    /// Turns as long as little waits and nobody else takes them; whoever does looks again.
    pub fn help(&self, inbox: &Inbox) {
        for _ in 0..MAX_HELP {
            let Some(mut work) = self.work.try_lock() else { return };
            work.turn(inbox);
            drop(work);
            if !inbox.has_little() {
                break;
            }
        }
        if !inbox.is_empty() {
            inbox.summon(|_| {});
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl Work {
    fn turn(&mut self, inbox: &Inbox) -> bool {
        inbox.take(&mut self.taken);
        if self.taken.stop || self.outlets.fatal.reason().is_some() {
            // Whoever else was about to take a turn finds it as it should be.
            self.taken = Contents::default();
            return false;
        }
        let _guard = self.outlets.fatal.on_panic("shard");
        (self.round.now, self.round.wall) = (clock::monotonic(), clock::wall());
        self.group.turn(&mut self.taken, &mut self.round, || self.outlets.log.usage());
        self.hand_on();
        if self.group.is_drained() {
            inbox.set_drained();
        }
        let now = clock::monotonic();
        inbox.turned(self.round.now, now, self.group.wake_at(now));
        true
    }

    fn hand_on(&mut self) {
        let Self { outlets, round, .. } = self;
        if !round.appends.is_empty() {
            outlets.log.submit(std::mem::take(&mut round.appends));
        }
        if let Some(transport) = &outlets.transport {
            for (to, messages) in round.sends.drain(..) {
                let messages = messages.into_iter().map(|(shard, message)| (shard.0, message)).collect();
                transport.send(u64::from(to.0), messages);
            }
            for (shard, send) in round.snapshot_sends.drain(..) {
                outlets.metrics.snapshots_sent.increment(1);
                transport.send_snapshot(send.to, shard.0, send.message);
            }
        }
        round.answers.deliver();
        for job in round.snapshot_jobs.drain(..).map(Job::Write) {
            // The archive ends after the shard threads; without it the process is ending.
            let _ended = outlets.archive.send(job);
        }
    }
}
