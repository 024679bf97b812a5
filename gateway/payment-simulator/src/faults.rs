//! What goes wrong, and when: drawn from a seed, the operation and the key, and from nothing else, so that the same keys
//! meet the same fate in every run. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What goes wrong. Shares are of keys, 0.0 to 1.0, each drawn for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// What everything is drawn from. Default 0.
    pub seed: u64,
    /// Shortest time that a charge or a refund takes, in ms. Default 50.
    pub min_latency_ms: u64,
    /// Longest time, in ms. Default 250, at least the shortest, at most 60000.
    pub max_latency_ms: u64,
    /// Charges that are declined whatever the card. Default 0.
    pub decline_rate: f64,
    /// Charges, cancellations and refunds whose first try is lost before it takes effect. Default 0.
    pub lost_before_rate: f64,
    /// Those whose first try takes effect, and whose answer is lost. Default 0.
    pub lost_after_rate: f64,
    /// Charges that are decided only `late_ms` after they arrived, and are in progress until then. Default 0.
    pub late_rate: f64,
    /// How late, in ms. Default 5000, at most 3600000.
    pub late_ms: u64,
    /// Requests a second that are answered; more get 429. 0 for no limit. Default 0.
    pub requests_per_second: u32,
    /// Everything is answered 503, and no webhook is sent. Default false.
    pub is_down: bool,
    /// Charges that are decided at once, and answered only `slow_answer_ms` later: their webhook comes first. Default 0.
    pub slow_answer_rate: f64,
    /// How much later, in ms. Default 5000, at most 3600000.
    pub slow_answer_ms: u64,
    /// How long after the decision an event is sent, in ms. Default 0, at most 3600000.
    pub webhook_delay_ms: u64,
    /// Events that are sent two to five times, although they were acknowledged. Default 0.
    pub webhook_duplicate_rate: f64,
    /// Events that are held back by `webhook_reorder_ms` more, so that later ones overtake them. Default 0.
    pub webhook_reorder_rate: f64,
    /// How long, in ms. Default 2000, at most 3600000.
    pub webhook_reorder_ms: u64,
}

/// What is asked of a provider that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Take money.
    Charge,
    /// Close a key.
    Cancel,
    /// Give money back.
    Refund,
}

/// What happens to an operation under one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fate {
    /// How long it takes.
    pub latency: Duration,
    /// It is declined.
    pub is_declined: bool,
    /// It is decided late.
    pub is_late: bool,
    /// What is lost of its first try.
    pub lost: Lost,
    /// How long its answer is held back when it is decided.
    pub answer: Duration,
    /// How its event is sent.
    pub telling: Telling,
}

/// How an event is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telling {
    /// So long after what it tells of.
    pub after: Duration,
    /// Until it was acknowledged so often.
    pub times: u8,
    /// Whether later ones are to overtake it.
    pub is_held_back: bool,
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// The request.
    Request,
    /// The answer.
    Answer,
}

/// A value of the faults that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: give {fix}")]
pub struct FaultsError {
    /// Which field.
    pub field: &'static str,
    /// What it takes.
    pub fix: &'static str,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            seed: 0,
            min_latency_ms: 50,
            max_latency_ms: 250,
            decline_rate: 0.0,
            lost_before_rate: 0.0,
            lost_after_rate: 0.0,
            late_rate: 0.0,
            late_ms: 5000,
            requests_per_second: 0,
            is_down: false,
            slow_answer_rate: 0.0,
            slow_answer_ms: 5000,
            webhook_delay_ms: 0,
            webhook_duplicate_rate: 0.0,
            webhook_reorder_rate: 0.0,
            webhook_reorder_ms: 2000,
        }
    }
}

impl Faults {
    /// Whether every value can be.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn validate(&self) -> Result<(), FaultsError> {
        let shares = [
            ("decline_rate", self.decline_rate),
            ("lost_before_rate", self.lost_before_rate),
            ("lost_after_rate", self.lost_after_rate),
            ("late_rate", self.late_rate),
            ("slow_answer_rate", self.slow_answer_rate),
            ("webhook_duplicate_rate", self.webhook_duplicate_rate),
            ("webhook_reorder_rate", self.webhook_reorder_rate),
        ];
        if let Some((field, _)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(FaultsError { field, fix: "0.0 to 1.0" });
        }
        if self.max_latency_ms < self.min_latency_ms || self.max_latency_ms > 60_000 {
            return Err(FaultsError { field: "max_latency_ms", fix: "min_latency_ms to 60000" });
        }
        let times = [
            ("late_ms", self.late_ms),
            ("slow_answer_ms", self.slow_answer_ms),
            ("webhook_delay_ms", self.webhook_delay_ms),
            ("webhook_reorder_ms", self.webhook_reorder_ms),
        ];
        if let Some((field, _)) = times.into_iter().find(|(_, time)| *time > 3_600_000) {
            return Err(FaultsError { field, fix: "0 to 3600000" });
        }
        Ok(())
    }

    /// What happens to this.
    #[must_use]
    pub fn fate(&self, operation: Operation, key: &str) -> Fate {
        let draws = Draws::of(self.seed, operation, key);
        let span = Duration::from_millis(self.max_latency_ms.saturating_sub(self.min_latency_ms));
        let is_charge = operation == Operation::Charge;
        Fate {
            latency: Duration::from_millis(self.min_latency_ms) + span.mul_f64(draws.at(0)),
            is_declined: is_charge && draws.at(1) < self.decline_rate,
            is_late: is_charge && draws.at(2) < self.late_rate,
            lost: if draws.at(3) < self.lost_before_rate {
                Lost::Request
            } else if draws.at(4) < self.lost_after_rate {
                Lost::Answer
            } else {
                Lost::Nothing
            },
            answer: Duration::from_millis(if is_charge && draws.at(5) < self.slow_answer_rate {
                self.slow_answer_ms
            } else {
                0
            }),
            telling: self.telling(&draws),
        }
    }

    fn telling(&self, draws: &Draws) -> Telling {
        let is_held_back = draws.at(7) < self.webhook_reorder_rate;
        let held = if is_held_back { self.webhook_reorder_ms } else { 0 };
        Telling {
            after: Duration::from_millis(self.webhook_delay_ms + held),
            times: if draws.at(6) < self.webhook_duplicate_rate { 2 + draws.last_bits(6) } else { 1 },
            is_held_back,
        }
    }
}

/// Eight numbers in 0.0..1.0.
struct Draws([u8; 32]);

impl Draws {
    fn of(seed: u64, operation: Operation, key: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"doorbuster/payment-simulator");
        hasher.update(seed.to_be_bytes());
        hasher.update([operation as u8]);
        hasher.update(key.as_bytes());
        Self(hasher.finalize().into())
    }

    fn at(&self, index: usize) -> f64 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[index * 4..index * 4 + 4]);
        f64::from(u32::from_be_bytes(bytes)) / 4_294_967_296.0
    }

    /// 0 to 3, which the number's size does not tell.
    fn last_bits(&self, index: usize) -> u8 {
        self.0[index * 4 + 3] % 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(faults: &Faults, operation: Operation, is_met: impl Fn(Fate) -> bool) -> usize {
        (0..10_000).filter(|key| is_met(faults.fate(operation, &key.to_string()))).count()
    }

    #[test]
    fn each_fault_comes_at_its_rate_and_the_same_each_time() {
        let faults = Faults {
            decline_rate: 0.1,
            lost_before_rate: 0.05,
            lost_after_rate: 0.2,
            late_rate: 0.03,
            slow_answer_rate: 0.04,
            webhook_duplicate_rate: 0.08,
            webhook_reorder_rate: 0.06,
            ..Faults::default()
        };
        let near = |count: usize, wanted: usize| count.abs_diff(wanted) < wanted / 5;
        assert!(near(share(&faults, Operation::Charge, |fate| fate.is_declined), 1000));
        assert!(near(share(&faults, Operation::Charge, |fate| fate.is_late), 300));
        assert!(near(share(&faults, Operation::Refund, |fate| fate.lost == Lost::Request), 500));
        assert!(near(share(&faults, Operation::Refund, |fate| fate.lost == Lost::Answer), 1900));
        assert!(near(share(&faults, Operation::Charge, |fate| !fate.answer.is_zero()), 400));
        assert!(near(share(&faults, Operation::Refund, |fate| fate.telling.after == Duration::from_secs(2)), 600));
        for times in 2..=5 {
            assert!(near(share(&faults, Operation::Cancel, |fate| fate.telling.times == times), 200), "{times} times");
        }
        let is_charges = |fate: Fate| fate.is_declined || fate.is_late || !fate.answer.is_zero();
        assert_eq!(share(&faults, Operation::Refund, is_charges), 0);
        let fate = |seed: u64| Faults { seed, ..faults.clone() }.fate(Operation::Charge, "k");
        assert_eq!(fate(7), fate(7));
        assert_ne!(fate(7), fate(8));
        let latency = fate(7).latency;
        assert!((Duration::from_millis(50)..=Duration::from_millis(250)).contains(&latency));
    }

    #[test]
    fn what_cannot_be_is_named() {
        type Spoil = fn(&mut Faults);
        let table: [(&str, Spoil); 8] = [
            ("decline_rate", |faults| faults.decline_rate = 1.1),
            ("late_rate", |faults| faults.late_rate = f64::NAN),
            ("max_latency_ms", |faults| faults.max_latency_ms = 1),
            ("max_latency_ms", |faults| faults.max_latency_ms = 60_001),
            ("late_ms", |faults| faults.late_ms = 3_600_001),
            ("slow_answer_rate", |faults| faults.slow_answer_rate = -0.1),
            ("webhook_duplicate_rate", |faults| faults.webhook_duplicate_rate = 2.0),
            ("webhook_reorder_ms", |faults| faults.webhook_reorder_ms = 3_600_001),
        ];
        assert_eq!(Faults::default().validate(), Ok(()));
        for (field, spoil) in table {
            let mut faults = Faults::default();
            spoil(&mut faults);
            assert_eq!(faults.validate().unwrap_err().field, field);
        }
    }
}
