//! A payment provider that takes no money, for demonstrations and tests. What it answers to a charge depends only on the
//! reservation, the attempt, the card token and the configuration, so it is the same on any gateway; what it has answered
//! it keeps, in memory, for those who ask by key. The one that outlives gateways is a process: see `remote`.
//!
//! `tok_declined` and `tok_insufficient_funds` are always declined; `tok_unreachable` never arrives, and `tok_lost_answer`
//! is charged without an answer; any other token is declined at the configured rate.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::provider::{Answering, Charge, Charged, Key, Known, PaymentProvider, Purchase};
use crate::config::SimulatorConfig;

/// Keys remembered at once; beyond it, the oldest are forgotten.
const MAX_KEYS: usize = 1 << 20;
/// Why a charge is declined whose key was closed before it arrived.
const CANCELLED: &str = "cancelled";

/// The simulated provider.
#[derive(Debug)]
pub struct Simulator {
    config: SimulatorConfig,
    ledger: Mutex<Ledger>,
    is_down: AtomicBool,
}

#[derive(Debug, Default)]
struct Ledger {
    entries: HashMap<Key, Entry>,
    /// Oldest first.
    order: VecDeque<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Taken,
    Declined(&'static str),
    Refunded,
}

impl Simulator {
    /// A provider with this latency and rate of declines.
    #[must_use]
    pub fn new(config: SimulatorConfig) -> Self {
        Self { config, ledger: Mutex::default(), is_down: AtomicBool::new(false) }
    }

    /// From now on nothing arrives, or everything does again.
    pub fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// What is asked of the ledger, if it can be reached.
    fn ask(&self, question: impl FnOnce(&mut Ledger) -> Known + Send) -> Known {
        if self.is_down.load(Ordering::Relaxed) { Known::Unclear } else { question(&mut self.ledger.lock()) }
    }

    /// Every key with what is known of it, oldest first.
    #[must_use]
    pub fn ledger(&self) -> Vec<(Key, Known)> {
        let ledger = self.ledger.lock();
        ledger.order.iter().map(|key| (*key, ledger.known(*key))).collect()
    }

    fn answer(&self, charge: &Charge, draw: f64) -> Charged {
        if self.is_down.load(Ordering::Relaxed) {
            return Charged::Unclear;
        }
        let decision = match charge.card_token.as_str() {
            "tok_unreachable" => return Charged::Unclear,
            "tok_declined" => Entry::Declined("card_declined"),
            "tok_insufficient_funds" => Entry::Declined("insufficient_funds"),
            _ if draw < self.config.decline_rate => Entry::Declined("card_declined"),
            _ => Entry::Taken,
        };
        match self.ledger.lock().decide(charge.purchase.key, decision) {
            _ if charge.card_token == "tok_lost_answer" => Charged::Unclear,
            Entry::Taken | Entry::Refunded => Charged::Succeeded,
            Entry::Declined(reason) => Charged::Declined(reason),
        }
    }
}

impl PaymentProvider for Simulator {
    fn charge<'a>(&'a self, charge: &'a Charge) -> Answering<'a, Charged> {
        Box::pin(async move {
            let (latency, decline) = draws(charge.purchase.key);
            let (least, most) = (self.config.min_latency_ms, self.config.max_latency_ms);
            let span = Duration::from_millis(most.saturating_sub(least)).mul_f64(latency);
            tokio::time::sleep(Duration::from_millis(least) + span).await;
            self.answer(charge, decline)
        })
    }

    fn outcome(&self, purchase: Purchase) -> Answering<'_, Known> {
        Box::pin(async move { self.ask(|ledger| ledger.known(purchase.key)) })
    }

    fn cancel(&self, Purchase { key, .. }: Purchase) -> Answering<'_, Known> {
        Box::pin(async move {
            self.ask(|ledger| {
                ledger.decide(key, Entry::Declined(CANCELLED));
                ledger.known(key)
            })
        })
    }

    fn refund(&self, Purchase { key, .. }: Purchase) -> Answering<'_, Known> {
        Box::pin(async move {
            self.ask(|ledger| {
                if let Some(entry) = ledger.entries.get_mut(&key).filter(|entry| **entry == Entry::Taken) {
                    *entry = Entry::Refunded;
                }
                ledger.known(key)
            })
        })
    }
}

impl Ledger {
    fn known(&self, key: Key) -> Known {
        match self.entries.get(&key) {
            None => Known::NotFound,
            Some(Entry::Taken) => Known::Succeeded,
            Some(Entry::Declined(reason)) => Known::Declined(reason),
            Some(Entry::Refunded) => Known::Refunded,
        }
    }

    /// What was decided first.
    fn decide(&mut self, key: Key, decision: Entry) -> Entry {
        if let Some(entry) = self.entries.get(&key) {
            return *entry;
        }
        if self.order.len() >= MAX_KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(key);
        self.entries.insert(key, decision);
        decision
    }
}

/// Two numbers in 0.0..1.0 that are always the same for a reservation and an attempt.
fn draws(key: Key) -> (f64, f64) {
    let mut hasher = Sha256::new();
    hasher.update(b"doorbuster/simulator");
    hasher.update(key.reservation.0.to_be_bytes());
    hasher.update(key.attempt.to_be_bytes());
    let digest = hasher.finalize();
    let fraction = |at: usize| {
        let bytes = [digest[at], digest[at + 1], digest[at + 2], digest[at + 3]];
        f64::from(u32::from_be_bytes(bytes)) / 4_294_967_296.0
    };
    (fraction(0), fraction(4))
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::types::{Currency, Money, ProductId, ReservationId, Timestamp, UserId};

    use super::*;

    fn key(reservation: u128, attempt: u16) -> Key {
        Key { reservation: ReservationId(reservation), made_at: Timestamp(1), attempt }
    }

    fn of(key: Key) -> Purchase {
        let amount = Money { minor: 100, currency: Currency(*b"EUR") };
        Purchase { key, user: UserId(1), product: ProductId(1), amount }
    }

    fn charge(key: Key, token: &str) -> Charge {
        Charge { purchase: of(key), card_token: token.into() }
    }

    fn simulator(decline_rate: f64) -> Simulator {
        Simulator::new(SimulatorConfig {
            min_latency_ms: 1,
            max_latency_ms: 3,
            decline_rate,
            ..SimulatorConfig::default()
        })
    }

    #[tokio::test]
    async fn tokens_decide_and_the_ledger_knows() {
        let simulator = simulator(0.0);
        for (id, (token, expected, known)) in (1..).zip([
            ("tok_visa", Charged::Succeeded, Known::Succeeded),
            ("tok_declined", Charged::Declined("card_declined"), Known::Declined("card_declined")),
            ("tok_insufficient_funds", Charged::Declined("insufficient_funds"), Known::Declined("insufficient_funds")),
            ("tok_unreachable", Charged::Unclear, Known::NotFound),
            ("tok_lost_answer", Charged::Unclear, Known::Succeeded),
        ]) {
            let key = key(id, 1);
            assert_eq!(simulator.outcome(of(key)).await, Known::NotFound, "{token}");
            assert_eq!(simulator.charge(&charge(key, token)).await, expected, "{token}");
            assert_eq!(simulator.outcome(of(key)).await, known, "{token}");
        }
    }

    #[tokio::test]
    async fn a_closed_key_takes_nothing_and_a_decided_one_cannot_be_closed() {
        let simulator = simulator(0.0);
        let (closed, paid) = (key(1, 1), key(2, 1));
        let late = charge(closed, "tok_visa");
        let under_way = simulator.charge(&late);
        assert_eq!(simulator.cancel(of(closed)).await, Known::Declined(CANCELLED));
        assert_eq!(under_way.await, Charged::Declined(CANCELLED));
        assert_eq!(simulator.refund(of(closed)).await, Known::Declined(CANCELLED));
        assert_eq!(simulator.charge(&charge(paid, "tok_visa")).await, Charged::Succeeded);
        assert_eq!(simulator.cancel(of(paid)).await, Known::Succeeded);
        assert_eq!(simulator.refund(of(paid)).await, Known::Refunded);
        assert_eq!(simulator.refund(of(paid)).await, Known::Refunded);
        assert_eq!(simulator.cancel(of(paid)).await, Known::Refunded);
        assert_eq!(simulator.refund(of(key(3, 1))).await, Known::NotFound);
        assert_eq!(simulator.ledger(), [(closed, Known::Declined(CANCELLED)), (paid, Known::Refunded)]);
    }

    #[tokio::test]
    async fn one_that_is_down_hears_nothing() {
        let simulator = simulator(0.0);
        simulator.set_down(true);
        assert_eq!(simulator.charge(&charge(key(1, 1), "tok_visa")).await, Charged::Unclear);
        for answer in
            [simulator.outcome(of(key(1, 1))), simulator.cancel(of(key(1, 1))), simulator.refund(of(key(1, 1)))]
        {
            assert_eq!(answer.await, Known::Unclear);
        }
        simulator.set_down(false);
        assert_eq!(simulator.outcome(of(key(1, 1))).await, Known::NotFound);
    }

    #[test]
    fn declines_come_at_the_rate_and_the_same_each_time() {
        let simulator = simulator(0.3);
        let declined = |attempt| {
            (1..=10_000u128)
                .filter(|id| {
                    let key = key(*id, attempt);
                    let (_, draw) = draws(key);
                    assert_eq!(draws(key).1.to_bits(), draw.to_bits());
                    simulator.answer(&charge(key, "tok_visa"), draw) != Charged::Succeeded
                })
                .collect::<Vec<_>>()
        };
        let (first, second) = (declined(1), declined(2));
        assert!((2700..3300).contains(&first.len()), "{}", first.len());
        assert_ne!(first, second, "another attempt is drawn anew");
    }
}
