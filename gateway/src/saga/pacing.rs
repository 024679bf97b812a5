//! An account's turns: who waits, how fast they go, and when nobody does. The parts decide, purely; this brings them time,
//! chance and tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_protocol::types::{Millis, UserId};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use self::breaker::{Breaker, Heard, State};
use self::queue::{Queue, RANKS, Rank, Ticket};
use self::rate::Rate;
use crate::clock::Stopwatch;
use crate::entropy::jittered;

pub mod breaker;
pub mod queue;
pub mod rate;

/// Most who wait for an account at once; more are told at once that there is no turn.
const MAX_QUEUED: usize = 4096;
/// Requests of a call of each rank, in the order of [`Rank::index`]: a charge makes an intent and confirms it; what settles
/// makes it, looks, and cancels or gives back.
const REQUESTS: [u32; 2] = [2, 3];

/// What became of requests, by name, in the order of [`What`].
pub const RESULTS: [&str; 4] = ["answered", "busy", "failed", "forbidden"];

/// An account's turns. `Clone` shares them.
#[derive(Clone)]
pub struct Pacer(Arc<Shared>);

struct Shared {
    start: Stopwatch,
    core: Mutex<Core>,
    /// Something may be possible earlier than it was.
    changed: Notify,
}

struct Core {
    queue: Queue,
    rate: Rate,
    breaker: Breaker,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
    results: [u64; 4],
    /// A task gives out turns.
    is_served: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// There was an answer to rely on.
    Answered,
    /// 429, 5xx and their like, with the `Retry-After`.
    Busy(Option<Duration>),
    /// No answer.
    Failed,
    /// 401 or 403.
    Forbidden,
}

/// What is told of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountReport {
    /// Its name.
    pub account: String,
    /// How many wait: buyers, and what is to be settled.
    pub queued: [usize; 2],
    /// How long the one has waited who has waited longest.
    pub oldest: Duration,
    /// Its breaker.
    pub breaker: State,
    /// Requests so far: answered, busy, failed, forbidden.
    pub results: [u64; 4],
}

/// Leaves the queue when its future is dropped.
struct Place<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

enum Next {
    Turn(oneshot::Sender<()>),
    Wait(Duration),
    Nobody,
}

impl Pacer {
    /// An account with so many requests a second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let core = Core {
            queue: Queue::default(),
            rate: Rate::new(per_second),
            breaker: Breaker::default(),
            waiting: HashMap::new(),
            results: [0; 4],
            is_served: false,
        };
        Self(Arc::new(Shared { start: Stopwatch::start(), core: Mutex::new(core), changed: Notify::new() }))
    }

    /// Waits for a turn; `false` at once if too many wait. Cancelled, the place in the queue is lost.
    pub async fn turn(&self, user: UserId, rank: Rank) -> bool {
        let shared = &self.0;
        let (tell, told) = oneshot::channel();
        let place = {
            let mut core = shared.core.lock();
            if core.waiting.len() >= MAX_QUEUED {
                return false;
            }
            let ticket = core.queue.push(rank, user, shared.start.elapsed());
            core.waiting.insert(ticket, tell);
            if !core.is_served {
                core.is_served = true;
                tokio::spawn(serve(Arc::clone(shared)));
            }
            Place { shared, ticket }
        };
        let has_turn = told.await.is_ok();
        drop(place);
        has_turn
    }

    /// How long a charge of this user's that comes now would wait for its turn, as far as one can tell: everybody who is
    /// ahead takes as many requests as a charge does, and what is settled has its share.
    #[must_use]
    pub fn wait(&self, user: UserId) -> Duration {
        let (core, now) = (self.0.core.lock(), self.0.start.elapsed());
        let ahead = u32::try_from(core.queue.ahead(Rank::Buyer, user)).unwrap_or(u32::MAX);
        let settling = u32::try_from(core.queue.len(Rank::Settling)).unwrap_or(u32::MAX).min(ahead / 4);
        let [charge, settle] = REQUESTS;
        let requests = ahead.saturating_mul(charge).saturating_add(settling.saturating_mul(settle));
        core.rate.wait(now).max(core.breaker.wait(now)) + core.rate.time_of(requests)
    }

    /// Whether a call that has had its turn may send a request, which is counted then.
    #[must_use]
    pub fn send(&self) -> bool {
        let (mut core, now) = (self.0.core.lock(), self.0.start.elapsed());
        let passes = core.breaker.lets_pass(now);
        if passes {
            core.rate.sent(now);
        }
        passes
    }

    /// What became of a request.
    pub fn heard(&self, what: What) {
        let (mut core, now) = (self.0.core.lock(), self.0.start.elapsed());
        let (index, heard) = match what {
            What::Answered => (0, Heard::Answer),
            What::Busy(after) => (1, Heard::Failure(after)),
            What::Failed => (2, Heard::Failure(None)),
            What::Forbidden => (3, Heard::Failure(None)),
        };
        core.results[index] += 1;
        core.breaker.heard(now, heard, |time| {
            let millis = Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            Duration::from_millis(jittered(millis).0)
        });
        self.0.changed.notify_one();
    }

    /// What is told of it.
    #[must_use]
    pub fn report(&self, account: &str) -> AccountReport {
        let (core, now) = (self.0.core.lock(), self.0.start.elapsed());
        AccountReport {
            account: account.to_owned(),
            queued: RANKS.map(|(rank, _)| core.queue.len(rank)),
            oldest: core.queue.oldest().map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            breaker: core.breaker.state(),
            results: core.results,
        }
    }
}

impl Core {
    fn next(&mut self, now: Duration) -> Next {
        let Some(rank) = self.queue.next() else { return Next::Nobody };
        let wait = self.rate.wait(now).max(self.breaker.wait(now));
        if !wait.is_zero() {
            return Next::Wait(wait);
        }
        let Some(tell) = self.queue.pop().and_then(|(_, ticket)| self.waiting.remove(&ticket)) else {
            return Next::Nobody;
        };
        self.rate.begin(now, REQUESTS[rank.index()]);
        self.breaker.begin(now);
        Next::Turn(tell)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut core = self.shared.core.lock();
        core.queue.leave(self.ticket);
        core.waiting.remove(&self.ticket);
    }
}

/// Gives out turns until nobody waits.
async fn serve(shared: Arc<Shared>) {
    loop {
        let wait = {
            let mut core = shared.core.lock();
            match core.next(shared.start.elapsed()) {
                // Who has just left loses a turn to nobody.
                Next::Turn(tell) => {
                    let _ = tell.send(());
                    continue;
                }
                Next::Wait(wait) => wait,
                Next::Nobody => {
                    core.is_served = false;
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(wait, shared.changed.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn no_more_wait_than_may() {
        let pacer = Pacer::new(1);
        let turns = (0..MAX_QUEUED as u128).map(|user| pacer.turn(UserId(user), Rank::Settling));
        tokio::select! {
            biased;
            _ = join_all(turns) => panic!("all have had their turn at once"),
            has_turn = pacer.turn(UserId(0), Rank::Buyer) => assert!(!has_turn),
        }
        assert_eq!(pacer.report("main").queued, [0, 0], "nobody waits whose future is gone");
    }
}
