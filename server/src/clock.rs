//! Time. The only module of this crate that reads a clock; everything else is given the time.
//!
//! Replicated state never reads one at all: the leader of a shard stamps each entry from its [`ClusterClock`], and
//! stamps never go back. A stamp is the last one plus the leader's own monotonic delta, steered gently towards the
//! lower median of the replicas' wall clocks ([`WallClocks`]), which arrive with the peers' messages.
//!
//! What follows from it, and is tested below: one node's wall clock, wrong by any amount, moves nothing early (it is
//! never the lower median on the high side); a step of a wall clock never shows in the stamps; time spent without a
//! leader counts, because a new leader starts at the median if that is ahead.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use doorbuster_protocol::types::{NodeId, Timestamp};
use doorbuster_raft::Monotonic;

const NANOS_PER_MILLI: u64 = 1_000_000;
/// Steering changes the pace by at most 1 part in this: 500 parts per million, as much as NTP slews.
/// A hold of ten minutes can so end 0.3 s away from its time, and only while the clocks disagree.
const SLEW_DIVISOR: u64 = 2_000;
/// Marks a wall clock that was never heard of.
const UNHEARD: i64 = i64::MIN;
/// A peer's clock that seems slower than before is believed after so long: until then its messages may just be late.
const BELIEVED_AFTER: Duration = Duration::from_secs(5);
/// For so long after a clock was heard of, later messages may show that the first one was late.
const SETTLES_IN: Duration = Duration::from_secs(2);

/// Nanoseconds since this process first asked.
#[must_use]
#[allow(clippy::disallowed_methods)] // this is the module the ban points to
pub fn monotonic() -> Monotonic {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    // One second ahead, so that zero is always in the past.
    Monotonic(1_000_000_000 + u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX / 2))
}

/// The machine's wall clock: UTC milliseconds.
#[must_use]
#[allow(clippy::disallowed_methods)] // this is the module the ban points to
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The wall clocks of all nodes, as this one knows them. Shared by the transport, which observes, and the shard
/// threads, which ask; no locks.
///
/// A peer's clock is kept as its distance from our monotonic clock, so it stays good while the peer is silent. What a
/// message says is old by the time that it took, so of the newest the one that was quickest counts: a late message, or
/// a pause of ours, makes no clock slow.
#[derive(Debug)]
pub struct WallClocks {
    peers: Vec<PeerClock>,
}

#[derive(Debug)]
struct PeerClock {
    node: NodeId,
    /// The distance that counts.
    best: AtomicI64,
    /// When it was heard, in ns of our monotonic clock.
    since: AtomicU64,
    /// The largest since then.
    next: AtomicI64,
}

impl WallClocks {
    /// Of these other nodes, none heard of so far.
    #[must_use]
    pub fn new(peers: impl IntoIterator<Item = NodeId>) -> Self {
        Self { peers: peers.into_iter().map(PeerClock::new).collect() }
    }

    /// A message of `node` said so when it was sent; it is now `now`. Unknown nodes are ignored.
    pub fn observe(&self, node: NodeId, wall: Timestamp, now: Monotonic) {
        if let Some(peer) = self.peers.iter().find(|peer| peer.node == node) {
            peer.observe(distance_of(wall, now), now);
        }
    }

    /// The lower median of the clocks known, our own `wall` included. `None` until a majority of all nodes is known:
    /// before that one wrong clock could decide alone.
    #[must_use]
    pub fn median(&self, now: Monotonic, wall: Timestamp) -> Option<Timestamp> {
        let nodes = self.peers.len() + 1;
        let mut known: Vec<i64> = self.heard().collect();
        known.push(distance_of(wall, now));
        if known.len() <= nodes / 2 {
            return None;
        }
        known.sort_unstable();
        Some(at_distance(known[(known.len() - 1) / 2], now))
    }

    /// How many clocks are known, our own included.
    #[must_use]
    pub fn known(&self) -> usize {
        1 + self.heard().count()
    }

    /// Each peer's wall clock minus ours, in ms; `None` of those never heard of.
    pub fn offsets(&self, now: Monotonic, wall: Timestamp) -> impl Iterator<Item = (NodeId, Option<i64>)> + '_ {
        let own = distance_of(wall, now);
        self.peers.iter().map(move |peer| {
            let distance = peer.best.load(Ordering::Relaxed);
            (peer.node, (distance != UNHEARD).then(|| distance.saturating_sub(own) / NANOS_PER_MILLI.cast_signed()))
        })
    }

    fn heard(&self) -> impl Iterator<Item = i64> + '_ {
        self.peers.iter().map(|peer| peer.best.load(Ordering::Relaxed)).filter(|distance| *distance != UNHEARD)
    }
}

impl PeerClock {
    fn new(node: NodeId) -> Self {
        Self { node, best: AtomicI64::new(UNHEARD), since: AtomicU64::new(0), next: AtomicI64::new(UNHEARD) }
    }

    fn observe(&self, distance: i64, now: Monotonic) {
        let next = self.next.load(Ordering::Relaxed).max(distance);
        let old = now.0.saturating_sub(self.since.load(Ordering::Relaxed)) >= nanos_of(BELIEVED_AFTER);
        if distance >= self.best.load(Ordering::Relaxed) || old {
            self.best.store(next, Ordering::Relaxed);
            self.since.store(now.0, Ordering::Relaxed);
            self.next.store(UNHEARD, Ordering::Relaxed);
        } else {
            self.next.store(next, Ordering::Relaxed);
        }
    }
}

/// A shard's cluster time on one replica. Pure: every clock reading is an argument.
#[derive(Clone, Debug)]
pub struct ClusterClock {
    /// Cluster time at `at`, in ns; a lower bound of it while following.
    reading: u64,
    at: Monotonic,
    /// The newest stamp seen or given.
    last: Timestamp,
    leading: bool,
    /// How many wall clocks this leadership has learned of.
    clocks: usize,
    /// Until then a median ahead is taken over at once.
    settled: Monotonic,
}

impl ClusterClock {
    /// Of a replica whose newest applied stamp is `last`.
    #[must_use]
    pub fn new(last: Timestamp, now: Monotonic) -> Self {
        Self { reading: nanos(last), at: now, last, leading: false, clocks: 0, settled: now }
    }

    /// An entry with this stamp was applied here.
    pub fn applied(&mut self, stamp: Timestamp, now: Monotonic) {
        self.last = self.last.max(stamp);
        if self.leading {
            self.advance(now);
            self.reading = self.reading.max(nanos(stamp));
        } else {
            // The leader's clock is at least so late by now: a follower's own pace between entries never runs ahead of it.
            self.reading = nanos(stamp);
            self.at = now;
        }
    }

    /// This replica leads now. It goes on from the newest stamp plus the time since, or from the median of the wall
    /// clocks if that is ahead: time that passed without a leader, or while everything was down, is not lost.
    pub fn lead(&mut self, now: Monotonic, median: Option<Timestamp>) {
        self.advance(now);
        self.leading = true;
        self.clocks = 0;
        self.settled = now.after(SETTLES_IN);
        self.reading = self.reading.max(nanos(self.last)).max(median.map_or(0, nanos));
    }

    /// So many wall clocks are known now. If they are more than before, and for a while after, a median ahead is taken
    /// over at once: that of a bare majority may be a wrong clock's that is behind, that of a first message may be late,
    /// and what was lost with them would take steering for ever to make up. Clocks that step later are steered towards
    /// like any others.
    pub fn learn(&mut self, now: Monotonic, clocks: usize, median: Option<Timestamp>) {
        let Some(median) = median.filter(|_| self.leading) else { return };
        if clocks > self.clocks {
            self.clocks = clocks;
            self.settled = now.after(SETTLES_IN);
        }
        if now < self.settled {
            self.advance(now);
            self.reading = self.reading.max(nanos(median));
        }
    }

    /// This replica leads no more.
    pub fn follow(&mut self) {
        self.leading = false;
    }

    /// The stamp for an entry proposed now. Never before an earlier one.
    pub fn stamp(&mut self, now: Monotonic, median: Option<Timestamp>) -> Timestamp {
        let passed = self.advance(now);
        let most = passed / SLEW_DIVISOR;
        match median.map(nanos) {
            Some(median) if median > self.reading => self.reading += most.min(median - self.reading),
            // Runs slower, never back: `most` is a small part of what was just added.
            Some(median) => self.reading -= most.min(self.reading - median),
            None => {}
        }
        self.last = self.last.max(Timestamp(self.reading / NANOS_PER_MILLI));
        self.last
    }

    /// Cluster time at `now` as far as this replica knows, without giving a stamp: never ahead of the next stamp by
    /// more than the steering, 0.5 ms a second since the last one.
    #[must_use]
    pub fn read(&self, now: Monotonic) -> Timestamp {
        let reading = self.reading.saturating_add(now.0.saturating_sub(self.at.0));
        self.last.max(Timestamp(reading / NANOS_PER_MILLI))
    }

    fn advance(&mut self, now: Monotonic) -> u64 {
        let passed = now.0.saturating_sub(self.at.0);
        self.reading = self.reading.saturating_add(passed);
        self.at = self.at.max(now);
        passed
    }
}

/// A shard's cluster time for the threads of connections: one word, refreshed by the shard's turns.
#[derive(Debug)]
pub struct SharedTime {
    distance: AtomicI64,
}

impl SharedTime {
    /// Not set: reads as 0, before every opening time.
    #[must_use]
    pub fn new() -> Self {
        Self { distance: AtomicI64::new(UNHEARD) }
    }

    /// Cluster time is `time` at `now`. Shard thread, at least every tick.
    pub fn set(&self, time: Timestamp, now: Monotonic) {
        self.distance.store(distance_of(time, now), Ordering::Relaxed);
    }

    /// Cluster time at `now`.
    #[must_use]
    pub fn at(&self, now: Monotonic) -> Timestamp {
        match self.distance.load(Ordering::Relaxed) {
            UNHEARD => Timestamp(0),
            distance => at_distance(distance, now),
        }
    }
}

impl Default for SharedTime {
    fn default() -> Self {
        Self::new()
    }
}

fn nanos(time: Timestamp) -> u64 {
    time.get().saturating_mul(NANOS_PER_MILLI)
}

/// How far a time is ahead of the monotonic clock, in ns: fits until the year 2262.
fn distance_of(time: Timestamp, now: Monotonic) -> i64 {
    i64::try_from(nanos(time)).unwrap_or(i64::MAX).saturating_sub(signed(now))
}

fn at_distance(distance: i64, now: Monotonic) -> Timestamp {
    Timestamp(u64::try_from(distance.saturating_add(signed(now))).unwrap_or(0) / NANOS_PER_MILLI)
}

fn nanos_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn signed(now: Monotonic) -> i64 {
    i64::try_from(now.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
