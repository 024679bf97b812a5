//! A model of who takes the money, with the promises of the gateway's `PaymentProvider` and everything that may go wrong
//! beside them: slow, sometimes declining, requests and answers lost, charges that arrive long after they were sent, and
//! charges that are not decided for a while. For one key it takes money at most once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use doorbuster_gateway::{Charged, Key, Known};

use crate::history::Moment;
use crate::sim::Rng;
use crate::sim::port::Port;

/// See the module.
#[derive(Debug, Default)]
pub struct Provider {
    charges: BTreeMap<Key, Charge>,
    /// Requests under way, and charges that are not decided: when they are, and how.
    pending: Vec<(Moment, Key, bool)>,
}

/// What stands under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charge {
    Undecided,
    Taken,
    Declined(&'static str),
    GivenBack,
}

/// A provider that several gateways use.
pub type Shared = Rc<RefCell<Provider>>;

/// How a request fares.
enum Fate {
    Answered,
    RequestLost,
    AnswerLost,
    RequestLate,
}

impl Provider {
    /// Charges, or says again what came of it; and how long that takes.
    pub fn charge(&mut self, key: Key, port: &mut Port<'_>) -> (Charged, Duration) {
        self.catch_up(port);
        let (fate, takes) = fate(port.rng());
        let pays = !port.rng().percent(25);
        match fate {
            Fate::RequestLost => return (Charged::Unclear, takes),
            Fate::RequestLate => {
                self.later(key, pays, port);
                return (Charged::Unclear, takes);
            }
            Fate::Answered | Fate::AnswerLost if port.rng().percent(10) => {
                self.charges.entry(key).or_insert(Charge::Undecided);
                self.later(key, pays, port);
            }
            Fate::Answered | Fate::AnswerLost => self.decide(key, pays, port),
        }
        let charged = match self.charges.get(&key) {
            Some(Charge::Taken | Charge::GivenBack) => Charged::Succeeded,
            Some(Charge::Declined(reason)) => Charged::Declined(reason),
            Some(Charge::Undecided) | None => Charged::Unclear,
        };
        (if matches!(fate, Fate::Answered) { charged } else { Charged::Unclear }, takes)
    }

    /// What came of a charge.
    pub fn outcome(&mut self, key: Key, port: &mut Port<'_>) -> (Known, Duration) {
        self.catch_up(port);
        let (fate, takes) = fate(port.rng());
        (if matches!(fate, Fate::Answered) { self.known(key) } else { Known::Unclear }, takes)
    }

    /// Closes a key under which nothing is known.
    pub fn cancel(&mut self, key: Key, port: &mut Port<'_>) -> (Known, Duration) {
        self.catch_up(port);
        let (fate, takes) = fate(port.rng());
        if matches!(fate, Fate::Answered | Fate::AnswerLost) && !self.charges.contains_key(&key) {
            self.charges.insert(key, Charge::Declined("cancelled"));
            port.reached("charge_cancelled");
        }
        (if matches!(fate, Fate::Answered) { self.known(key) } else { Known::Unclear }, takes)
    }

    /// Gives back what was taken.
    pub fn refund(&mut self, key: Key, port: &mut Port<'_>) -> (Known, Duration) {
        self.catch_up(port);
        let (fate, takes) = fate(port.rng());
        if matches!(fate, Fate::Answered | Fate::AnswerLost) && self.charges.get(&key) == Some(&Charge::Taken) {
            self.charges.insert(key, Charge::GivenBack);
            port.gave_back(key);
        }
        (if matches!(fate, Fate::Answered) { self.known(key) } else { Known::Unclear }, takes)
    }

    /// Nobody asks any more: what is under way arrives.
    pub fn ends(&mut self, port: &mut Port<'_>) {
        for (_, key, pays) in std::mem::take(&mut self.pending) {
            self.arrived(key, pays, port);
        }
    }

    fn catch_up(&mut self, port: &mut Port<'_>) {
        let now = port.now();
        let (due, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(at, ..)| *at <= now);
        self.pending = pending;
        for (_, key, pays) in due {
            self.arrived(key, pays, port);
        }
    }

    fn later(&mut self, key: Key, pays: bool, port: &mut Port<'_>) {
        let millis = port.rng().between(50, 15_000);
        self.pending.push((Moment(port.now().0 + millis * 1_000_000), key, pays));
    }

    fn arrived(&mut self, key: Key, pays: bool, port: &mut Port<'_>) {
        let closed = self.charges.get(&key) == Some(&Charge::Declined("cancelled"));
        port.reached(if closed { "late_charge_after_cancel" } else { "late_charge" });
        if self.charges.get(&key) == Some(&Charge::Undecided) {
            self.charges.remove(&key);
        }
        self.decide(key, pays, port);
    }

    fn decide(&mut self, key: Key, pays: bool, port: &mut Port<'_>) {
        if self.charges.contains_key(&key) {
            return;
        }
        self.charges.insert(key, if pays { Charge::Taken } else { Charge::Declined("card_declined") });
        if pays {
            port.took(key);
        }
    }

    fn known(&self, key: Key) -> Known {
        match self.charges.get(&key) {
            None => Known::NotFound,
            Some(Charge::Undecided) => Known::InProgress,
            Some(Charge::Taken) => Known::Succeeded,
            Some(Charge::Declined(reason)) => Known::Declined(reason),
            Some(Charge::GivenBack) => Known::Refunded,
        }
    }
}

fn fate(rng: &mut Rng) -> (Fate, Duration) {
    let millis = if rng.percent(80) { rng.between(5, 150) } else { rng.between(150, 3_000) };
    let fate = match rng.below(100) {
        0..75 => Fate::Answered,
        75..80 => Fate::RequestLost,
        80..85 => Fate::AnswerLost,
        _ => Fate::RequestLate,
    };
    (fate, Duration::from_millis(millis))
}
