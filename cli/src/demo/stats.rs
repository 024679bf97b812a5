//! What the buyers counted and measured. An attempt counts once it is answered; its latency runs from the
//! moment it was meant to be sent, so that a crowd held up by a slow answer does not hide it.

use crate::clock;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Complaints beyond these are counted only.
const MAX_COMPLAINTS: usize = 20;
/// Longest latency that is told apart, in µs.
const LONGEST_US: u64 = 600_000_000;

/// How an attempt was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A reservation was made.
    Granted,
    /// Refused, with this code.
    Refused(String),
}

/// Everything counted so far; updated by all buyers.
#[derive(Debug, Default)]
pub struct Stats {
    attempts: AtomicU64,
    granted: AtomicU64,
    refused: AtomicU64,
    confirmed: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    refusals: BTreeMap<String, u64>,
    granted_us: Histogram<u64>,
    refused_us: Histogram<u64>,
    longest: Duration,
    last: Option<Instant>,
    counts: BTreeMap<&'static str, u64>,
    complaints: Vec<String>,
    complained: u64,
}

/// What was counted in the end.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Attempts that were answered.
    pub attempts: u64,
    /// Of these, reservations made.
    pub granted: u64,
    /// Of these, refusals by code.
    pub refusals: BTreeMap<String, u64>,
    /// Latency of what was granted.
    pub granted_us: Percentiles,
    /// Latency of what was refused.
    pub refused_us: Percentiles,
    /// The longest any attempt waited for its answer.
    pub longest: Duration,
    /// When the last attempt was answered.
    pub last: Option<Instant>,
    /// What else happened, by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// What should not have happened, in words.
    pub complaints: Vec<String>,
}

/// Points of a latency distribution, in µs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Percentiles {
    /// Median.
    pub p50: u64,
    /// 99 of 100 are no slower.
    pub p99: u64,
    /// 999 of 1000 are no slower.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            refusals: BTreeMap::new(),
            granted_us: histogram(),
            refused_us: histogram(),
            longest: Duration::ZERO,
            last: None,
            counts: BTreeMap::new(),
            complaints: Vec::new(),
            complained: 0,
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("1 < the longest, and 3 digits are within 0..=5")
}

impl Stats {
    /// An attempt that was meant to be sent then is answered now.
    pub fn answered(&self, meant: Instant, answer: &Answered) {
        let now = clock::now();
        let waited = now.saturating_duration_since(meant);
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let mut inner = self.inner.lock();
        inner.longest = inner.longest.max(waited);
        inner.last = Some(now);
        match answer {
            Answered::Granted => {
                self.granted.fetch_add(1, Ordering::Relaxed);
                inner.granted_us.saturating_record(us);
            }
            Answered::Refused(code) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                inner.refused_us.saturating_record(us);
                match inner.refusals.get_mut(code) {
                    Some(count) => *count += 1,
                    None => {
                        inner.refusals.insert(code.clone(), 1);
                    }
                }
            }
        }
    }

    /// Something else happened.
    pub fn count(&self, what: &'static str) {
        *self.inner.lock().counts.entry(what).or_default() += 1;
    }

    /// A buyer was told: sold.
    pub fn confirmed(&self) {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
    }

    /// Something that should not have happened did.
    pub fn complain(&self, what: impl Into<String>) {
        let mut inner = self.inner.lock();
        inner.complained += 1;
        if inner.complaints.len() < MAX_COMPLAINTS {
            inner.complaints.push(what.into());
        }
    }

    /// Attempts answered so far.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Refusals so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Confirmations heard so far.
    #[must_use]
    pub fn sold(&self) -> u64 {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// Everything so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let inner = self.inner.lock();
        let mut complaints = inner.complaints.clone();
        let more = inner.complained - complaints.len() as u64;
        if more > 0 {
            complaints.push(format!("and {more} more like these"));
        }
        Totals {
            attempts: self.attempts(),
            granted: self.granted.load(Ordering::Relaxed),
            refusals: inner.refusals.clone(),
            granted_us: percentiles(&inner.granted_us),
            refused_us: percentiles(&inner.refused_us),
            longest: inner.longest,
            last: inner.last,
            counts: inner.counts.clone(),
            complaints,
        }
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    Percentiles {
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_runs_from_when_it_was_meant_to_be_sent() {
        let stats = Stats::default();
        let meant = clock::now().checked_sub(Duration::from_millis(200)).expect("the machine is up that long");
        stats.answered(meant, &Answered::Granted);
        for _ in 0..3 {
            stats.answered(clock::now(), &Answered::Refused("sold_out".to_owned()));
        }
        let totals = stats.totals();
        assert_eq!((totals.attempts, totals.granted, stats.refused()), (4, 1, 3));
        assert_eq!(totals.refusals, BTreeMap::from([("sold_out".to_owned(), 3)]));
        assert!(totals.granted_us.p50 >= 200_000 && totals.longest >= Duration::from_millis(200));
        assert!(totals.refused_us.p50 < 200_000);
    }

    #[test]
    fn complaints_are_bounded_and_all_counted() {
        let stats = Stats::default();
        for number in 0..30 {
            stats.complain(format!("{number}"));
        }
        let complaints = stats.totals().complaints;
        assert_eq!(complaints.len(), MAX_COMPLAINTS + 1);
        assert_eq!(complaints.last().map(String::as_str), Some("and 10 more like these"));
    }
}
