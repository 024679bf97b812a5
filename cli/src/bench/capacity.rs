//! The search for the highest rate that meets an objective: doubling until one does not, then halving the gap. Pure.

use crate::output::grouped;
use serde_json::{Value, json};
use std::fmt;

/// The search ends when the rate that meets the objective and the one that does not are this close.
const CLOSE: f64 = 1.05;
/// Rates below this are not looked for.
const LOWEST: f64 = 10.0;
/// Nor above this.
const HIGHEST: f64 = 50_000_000.0;

/// What is known so far.
#[derive(Clone, Debug)]
pub struct Search {
    next: f64,
    good: Option<f64>,
    bad: Option<f64>,
}

impl Search {
    /// Begins at this rate.
    #[must_use]
    pub const fn from(rate: f64) -> Self {
        Self { next: rate, good: None, bad: None }
    }

    /// The rate to try next; `None` when it is found, or none meets the objective.
    #[must_use]
    pub fn next(&self) -> Option<f64> {
        let found = self.good.zip(self.bad).is_some_and(|(good, bad)| bad / good <= CLOSE);
        (!found && (LOWEST..=HIGHEST).contains(&self.next)).then_some(self.next)
    }

    /// The rate that was tried met the objective, or did not.
    pub fn tell(&mut self, met: bool) {
        if met {
            self.good = Some(self.next);
        } else {
            self.bad = Some(self.next);
        }
        self.next = match (self.good, self.bad) {
            (Some(good), Some(bad)) => (good * bad).sqrt(),
            (Some(good), None) => good * 2.0,
            (None, Some(bad)) => bad / 4.0,
            (None, None) => self.next,
        };
    }
}

/// One rate that was tried.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Offered, a second.
    pub rate: f64,
    /// Answered, a second.
    pub answered: f64,
    /// Latency, in ns.
    pub p50: u64,
    /// Latency, in ns.
    pub p99: u64,
    /// Whether it met the objective.
    pub met: bool,
}

impl Step {
    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "rate": self.rate.round(), "ops_per_second": self.answered.round(), "p50_us": self.p50 as f64 / 1e3,
            "p99_us": self.p99 as f64 / 1e3, "met": self.met,
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met { "met" } else { "NOT met" };
        let (rate, answered) = (grouped(self.rate), grouped(self.answered));
        write!(f, "{rate}/s offered: {answered}/s answered, p99 {:.3} ms: {verdict}", self.p99 as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(first: f64, capacity: f64) -> (Option<f64>, usize) {
        let (mut search, mut best, mut steps) = (Search::from(first), None, 0);
        while let Some(rate) = search.next() {
            steps += 1;
            search.tell(rate <= capacity);
            best = if rate <= capacity { Some(rate) } else { best };
            assert!(steps < 60, "it does not end");
        }
        (best, steps)
    }

    #[test]
    fn the_capacity_is_found_from_either_side() {
        for capacity in [100.0, 12_345.0, 99_999.0, 1_500_000.0] {
            for first in [50.0, 10_000.0, 2_000_000.0] {
                let (found, steps) = search(first, capacity);
                let found = found.expect("some rate meets it");
                assert!(found <= capacity && found * CLOSE >= capacity, "{first}: {found} of {capacity}");
                assert!(steps <= 25, "{steps} steps from {first} to {capacity}");
            }
        }
    }

    #[test]
    fn where_nothing_meets_the_objective_or_everything_does_it_ends() {
        assert_eq!(search(10_000.0, 0.0).0, None);
        assert!(search(10_000.0, f64::MAX).0.is_some_and(|rate| rate > HIGHEST / 2.1));
    }
}
