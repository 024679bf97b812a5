//! Several shards that take turns: what a turn does, without whoever takes it (see `turns.rs`).
//!
//! A round takes what came ([`Contents`]), lets the shards work, and leaves what they want in a [`Round`]. It reads no
//! clock and waits for nothing: a thread drives it in a server, a simulator drives it in virtual time.

use std::time::Duration;

use doorbuster_protocol::types::ShardId;
use doorbuster_raft::Monotonic;
use doorbuster_raft::log::LogUsage;

use crate::inbox::Contents;
use crate::shard::{Event, Round, Shard};

/// How often the size of the log on disk is looked at.
const LOG_CHECK: Duration = Duration::from_secs(1);

/// The shards of one thread.
pub struct ShardGroup {
    shards: Vec<Shard>,
    tick: Duration,
    log_bound: u64,
    next_tick: Monotonic,
    next_log_check: Monotonic,
    draining: bool,
}

impl ShardGroup {
    /// Every n-th shard of a node, in order. A shard that keeps the oldest of more than `log_bound` bytes of log writes a
    /// snapshot.
    #[must_use]
    pub fn new(shards: Vec<Shard>, tick: Duration, log_bound: u64, now: Monotonic) -> Self {
        Self { shards, tick, log_bound, next_tick: now, next_log_check: now, draining: false }
    }

    /// The shards.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// One round: empties `taken`. `round` holds the time, read after `taken` was taken, and gathers what is to be done.
    pub fn turn(&mut self, taken: &mut Contents, round: &mut Round, usage: impl FnOnce() -> LogUsage) {
        if taken.draining && !self.draining {
            self.draining = true;
            self.shards.iter_mut().for_each(Shard::drain);
        }
        self.distribute(taken, round);
        if round.now >= self.next_tick {
            self.shards.iter_mut().for_each(|shard| shard.tick(round));
            self.next_tick = round.now.after(self.tick);
        }
        if round.now >= self.next_log_check {
            self.check_log(usage(), round);
            self.next_log_check = round.now.after(LOG_CHECK);
        }
        for shard in &mut self.shards {
            if shard.is_stirred() || shard.is_due(round.now) {
                shard.advance(round);
            }
        }
    }

    /// When the next round is due if nothing comes before.
    #[must_use]
    pub fn wake_at(&self, now: Monotonic) -> Monotonic {
        if self.shards.iter().any(Shard::is_stirred) {
            return now;
        }
        self.shards.iter().filter_map(|shard| shard.wake_at(now)).fold(self.next_tick, Monotonic::min)
    }

    /// Whether what was under way when draining began is finished.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.shards.iter().all(Shard::is_drained)
    }

    fn distribute(&mut self, taken: &mut Contents, round: &mut Round) {
        for (shard, message) in taken.peers.drain(..).flatten() {
            if let Some(shard) = find(&mut self.shards, shard) {
                shard.step(message, round.now);
            }
        }
        // After what came over the connection while it stood.
        for peer in taken.lost.drain(..) {
            self.shards.iter_mut().for_each(|shard| shard.peer_lost(peer, round.now));
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
    fn check_log(&mut self, usage: LogUsage, round: &mut Round) {
        let Some(pin) = usage.pin.filter(|_| usage.bytes > self.log_bound) else { return };
        if let Some(shard) = find(&mut self.shards, ShardId(pin.shard)) {
            shard.event(Event::CutLog, round);
        }
    }
}

fn find(shards: &mut [Shard], id: ShardId) -> Option<&mut Shard> {
    // A group has every n-th shard, in order, so that the position follows from the number.
    let first = shards.first()?.id().0;
    let stride = shards.get(1).map_or(1, |second| second.id().0 - first);
    let at = usize::from(id.0.checked_sub(first)? / stride);
    shards.get_mut(at).filter(|shard| shard.id() == id)
}
