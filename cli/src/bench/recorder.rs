//! What a generator's thread counts and measures, without a lock: threads add their recorders up at the end.
//!
//! Latency runs from the moment an operation was meant to be sent. Operations meant inside the window are measured, however
//! late they are answered, so that a stall at its end is seen; throughput counts the answers that came inside the window.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longest latency that is told apart, in ns.
const LONGEST_NS: u64 = 600_000_000_000;
/// The window is cut into slices of this length for what happened when.
pub const SLICE: Duration = Duration::from_millis(500);
/// Slices that are kept; what comes later goes into the last.
const MAX_SLICES: usize = 7_200;

/// The time that counts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// From here on.
    pub from: Instant,
    /// Until here.
    pub until: Instant,
}

impl Window {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.until.saturating_duration_since(self.from)
    }

    fn holds(&self, instant: Instant) -> bool {
        (self.from..self.until).contains(&instant)
    }
}

/// Counts and latencies of one thread, or of all.
#[derive(Clone, Debug)]
pub struct Recorder {
    window: Window,
    latency: Histogram<u64>,
    answered: u64,
    wrong: BTreeMap<&'static str, u64>,
    unanswered: u64,
    resent: u64,
    lost_connections: u64,
    slices: Vec<Slice>,
    /// Latencies of answers of several kinds, apart.
    kinds: BTreeMap<&'static str, Histogram<u64>>,
}

/// A part of the window.
#[derive(Clone, Debug)]
struct Slice {
    answered: u64,
    latency: Histogram<u64>,
}

impl Recorder {
    /// Of nothing yet.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self {
            window,
            latency: histogram(3),
            answered: 0,
            wrong: BTreeMap::new(),
            unanswered: 0,
            resent: 0,
            lost_connections: 0,
            slices: Vec::new(),
            kinds: BTreeMap::new(),
        }
    }

    /// An operation that was meant to be sent at `meant` was answered at `now`; `wrong` names an answer that the workload
    /// is not about.
    pub fn answered(&mut self, meant: Instant, now: Instant, wrong: Option<&'static str>) {
        if let Some(name) = wrong {
            *self.wrong.entry(name).or_default() += 1;
            return;
        }
        let ns = u64::try_from(now.saturating_duration_since(meant).as_nanos()).unwrap_or(u64::MAX);
        let counts = self.window.holds(now);
        self.answered += u64::from(counts);
        if self.window.holds(meant) {
            self.latency.saturating_record(ns);
        }
        if counts {
            let slice = self.slice(now);
            slice.answered += 1;
            slice.latency.saturating_record(ns);
        }
    }

    /// The answer at `now` was of this kind.
    pub fn of_kind(&mut self, name: &'static str, meant: Instant, now: Instant) {
        if self.window.holds(meant) {
            let ns = u64::try_from(now.saturating_duration_since(meant).as_nanos()).unwrap_or(u64::MAX);
            self.kinds.entry(name).or_insert_with(|| histogram(3)).saturating_record(ns);
        }
    }

    /// An operation was never answered: its latency is what it has waited so far, or more.
    pub fn gave_up(&mut self, meant: Instant, now: Instant) {
        self.unanswered += 1;
        let ns = u64::try_from(now.saturating_duration_since(meant).as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record(ns);
    }

    /// An operation has to be sent again, under its own id.
    pub fn resent(&mut self) {
        self.resent += 1;
    }

    /// A connection ended before its time.
    pub fn lost_connection(&mut self) {
        self.lost_connections += 1;
    }

    /// Adds what another thread has recorded in the same window.
    pub fn add(&mut self, other: &Self) {
        // Histograms of the same bounds always add up.
        let _ = self.latency.add(&other.latency);
        self.answered += other.answered;
        self.unanswered += other.unanswered;
        self.resent += other.resent;
        self.lost_connections += other.lost_connections;
        for (name, count) in &other.wrong {
            *self.wrong.entry(name).or_default() += count;
        }
        for (name, theirs) in &other.kinds {
            let _ = self.kinds.entry(name).or_insert_with(|| histogram(3)).add(theirs);
        }
        for (at, theirs) in other.slices.iter().enumerate() {
            self.grow_to(at);
            let ours = &mut self.slices[at];
            ours.answered += theirs.answered;
            let _ = ours.latency.add(&theirs.latency);
        }
    }

    /// Adds what was recorded in another window, as if that one had followed this one.
    pub fn append(&mut self, other: &Self) {
        let whole = self.window.length().as_nanos().div_ceil(SLICE.as_nanos());
        self.grow_to(usize::try_from(whole).unwrap_or(MAX_SLICES).clamp(1, MAX_SLICES) - 1);
        let slices = std::mem::take(&mut self.slices);
        self.add(other);
        let theirs = std::mem::replace(&mut self.slices, slices);
        self.slices.extend(theirs);
        self.window.until += other.window.length();
    }

    /// Answers that the workload is about, in the window, a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.window.length().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Latency that so many of 1 do not exceed, in ns.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.latency.value_at_quantile(quantile)
    }

    /// The longest latency, in ns.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.latency.max()
    }

    /// Operations measured.
    #[must_use]
    pub fn measured(&self) -> u64 {
        self.latency.len()
    }

    /// Answers that the workload is not about, and operations never answered.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        let mut all = self.wrong.clone();
        if self.unanswered > 0 {
            all.insert("unanswered", self.unanswered);
        }
        all
    }

    /// Operations sent again, and connections lost.
    #[must_use]
    pub fn troubles(&self) -> (u64, u64) {
        (self.resent, self.lost_connections)
    }

    /// Kinds of answers: how many, and quantiles of their latency in ns.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, u64, [u64; 3])> {
        let of = |(name, latency): (&&'static str, &Histogram<u64>)| {
            (*name, latency.len(), [latency.value_at_quantile(0.5), latency.value_at_quantile(0.99), latency.max()])
        };
        self.kinds.iter().map(of)
    }

    /// Everything, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let slices = self.slices.iter().enumerate().map(|(at, slice)| {
            json!({
                "from_ms": at as u64 * millis(SLICE), "ops_per_second": slice.answered as f64 / SLICE.as_secs_f64(),
                "p50_us": us(slice.latency.value_at_quantile(0.5)), "p99_us": us(slice.latency.value_at_quantile(0.99)),
                "max_us": us(slice.latency.max()),
            })
        });
        json!({
            "operations": self.answered, "measured": self.measured(), "ops_per_second": self.per_second().round(),
            "latency_us": {
                "p50": us(self.quantile(0.5)), "p90": us(self.quantile(0.9)), "p99": us(self.quantile(0.99)),
                "p999": us(self.quantile(0.999)), "p9999": us(self.quantile(0.9999)), "max": us(self.longest()),
            },
            "percentiles": self.percentiles(), "other_answers": self.failures(), "resent": self.resent, "connections_lost": self.lost_connections,
            "kinds": self.kinds_json(), "slices": slices.collect::<Vec<_>>(),
        })
    }

    fn kinds_json(&self) -> Value {
        let kind = |(name, count, [p50, p99, max]): (&str, u64, [u64; 3])| {
            (
                name.replace(' ', "_"),
                json!({ "measured": count, "p50_us": us(p50), "p99_us": us(p99), "max_us": us(max) }),
            )
        };
        Value::Object(self.kinds().map(kind).collect())
    }

    /// `[n, latency in us]`: all but one of `n` operations took no longer.
    #[must_use]
    pub fn percentiles(&self) -> Vec<[f64; 2]> {
        let beyond = |n: &f64| *n <= self.measured() as f64;
        let steps = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 1e2, 2e2, 5e2, 1e3, 2e3, 5e3, 1e4, 1e5, 1e6, 1e7];
        steps.into_iter().filter(beyond).map(|n| [n, us(self.quantile(1.0 - 1.0 / n))]).collect()
    }

    fn slice(&mut self, now: Instant) -> &mut Slice {
        let since = now.saturating_duration_since(self.window.from);
        let at = usize::try_from(since.as_nanos() / SLICE.as_nanos()).unwrap_or(MAX_SLICES).min(MAX_SLICES - 1);
        self.grow_to(at);
        &mut self.slices[at]
    }

    fn grow_to(&mut self, at: usize) {
        while self.slices.len() <= at {
            self.slices.push(Slice { answered: 0, latency: histogram(2) });
        }
    }
}

/// Nanoseconds as microseconds with their fraction.
#[must_use]
pub fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(100, LONGEST_NS, digits).expect("100 < the longest, and the digits are within 0..=5")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn recorder() -> Recorder {
        let from = clock::now() + SECOND;
        Recorder::new(Window { from, until: from + 2 * SECOND })
    }

    #[test]
    fn what_is_meant_in_the_window_is_measured_and_what_is_answered_in_it_counts() {
        let mut recorder = recorder();
        let Window { from, until } = recorder.window;
        recorder.answered(from - SECOND / 10, from + SECOND / 10, None); // counts, is not measured
        recorder.answered(from, from + SECOND / 100, None);
        recorder.answered(until - SECOND / 10, until + SECOND, None); // is measured, does not count
        recorder.answered(from, from, Some("busy"));
        assert_eq!((recorder.measured(), recorder.per_second()), (2, 1.0));
        assert!(recorder.longest() >= 1_100_000_000, "a stall at the end is seen");
        assert_eq!(recorder.failures(), BTreeMap::from([("busy", 1)]));
    }

    #[test]
    fn windows_one_after_the_other_are_one() {
        let mut one = recorder();
        let from = one.window.from;
        one.answered(from, from + SECOND / 1000, None);
        let mut other = Recorder::new(Window { from: from + 10 * SECOND, until: from + 12 * SECOND });
        other.answered(from + 10 * SECOND, from + 11 * SECOND, None);
        other.answered(from + 10 * SECOND, from + 11 * SECOND, Some("busy"));
        one.append(&other);
        assert_eq!((one.measured(), one.per_second(), one.slices.len()), (2, 0.5, 7));
        assert_eq!(one.failures(), BTreeMap::from([("busy", 1)]));
    }

    #[test]
    fn recorders_add_up() {
        let mut one = recorder();
        let from = one.window.from;
        let mut other = one.clone();
        one.answered(from, from + SECOND / 1000, None);
        other.answered(from + SECOND, from + SECOND + SECOND / 500, None);
        other.gave_up(from, from + 10 * SECOND);
        one.add(&other);
        assert_eq!((one.measured(), one.per_second()), (3, 1.0));
        assert_eq!(one.failures(), BTreeMap::from([("unanswered", 1)]));
        let slices = one.json();
        let rates: Vec<f64> = slices["slices"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|slice| slice["ops_per_second"].as_f64())
            .collect();
        assert_eq!(rates, [2.0, 0.0, 2.0]);
    }
}
