//! What has happened since the process started, counted: what was decided, what went wrong because that was asked for, and
//! what was told. Whoever shows that a shop survives all this shows by it that it came.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::faults::{Fate, Telling};
use crate::ledger::{Decision, Made};

/// The counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Charges that were decided, each key once.
    pub charges: u64,
    /// Of these, declined.
    pub declined: u64,
    /// Of these, taken, and not said to be before `late_ms` had passed.
    pub late: u64,
    /// Keys that were closed before anything was charged under them.
    pub cancelled: u64,
    /// Charges that were given back.
    pub refunded: u64,
    /// Requests that were lost before they took effect.
    pub lost_requests: u64,
    /// Requests that took effect, and whose answer was lost.
    pub lost_answers: u64,
    /// What was told by webhook.
    pub webhooks: Told,
}

/// What was told by webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Events that were made.
    pub events: u64,
    /// Of these, held back so that later ones overtake them.
    pub held_back: u64,
    /// How often one was sent and acknowledged.
    pub delivered: u64,
    /// Of these, of an event that was acknowledged before.
    pub repeated: u64,
    /// How often one was sent and not acknowledged.
    pub failed: u64,
}

/// Counts as things happen.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

impl Tally {
    /// As it stands.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.0.lock()
    }

    /// A charge was decided, now or before.
    pub(crate) fn charged(&self, made: Made, decision: Decision, fate: &Fate, telling: Option<Telling>) {
        if made == Made::Before {
            return;
        }
        let mut counts = self.0.lock();
        counts.charges += 1;
        match decision {
            Decision::Declined(_) => counts.declined += 1,
            Decision::Taken => counts.late += u64::from(fate.is_late),
        }
        counts.event(telling);
    }

    /// A key was closed, or had been decided before.
    pub(crate) fn cancelled(&self, made: Made, telling: Option<Telling>) {
        if made == Made::Now {
            let mut counts = self.0.lock();
            counts.cancelled += 1;
            counts.event(telling);
        }
    }

    /// A charge was given back, now or before or never.
    pub(crate) fn refunded(&self, made: Made, telling: Option<Telling>) {
        if made == Made::Now {
            let mut counts = self.0.lock();
            counts.refunded += 1;
            counts.event(telling);
        }
    }

    /// A request is lost.
    pub(crate) fn lost_request(&self) {
        self.0.lock().lost_requests += 1;
    }

    /// An answer is lost.
    pub(crate) fn lost_answer(&self) {
        self.0.lock().lost_answers += 1;
    }

    /// An event was sent.
    pub(crate) fn sent(&self, is_acknowledged: bool, is_first: bool) {
        let told = &mut self.0.lock().webhooks;
        match is_acknowledged {
            true => {
                told.delivered += 1;
                told.repeated += u64::from(!is_first);
            }
            false => told.failed += 1,
        }
    }
}

impl Counts {
    fn event(&mut self, telling: Option<Telling>) {
        if let Some(telling) = telling {
            self.webhooks.events += 1;
            self.webhooks.held_back += u64::from(telling.is_held_back);
        }
    }
}
