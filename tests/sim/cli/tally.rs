//! The figures of many runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use super::job::Report;
use crate::sim::marks::DECLARED;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs that came to an end, the repeated ones not counted.
    pub runs: u64,
    /// Virtual milliseconds of them.
    pub lasted_ms: u64,
    /// Runs that were repeated, to the same hash.
    pub repeated: u64,
    /// Runs that broke a promise.
    pub broken: u64,
    counters: BTreeMap<String, u64>,
    marks: BTreeSet<String>,
}

impl Tally {
    /// Counts a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.lasted_ms += report.lasted_ms;
        self.broken += u64::from(report.broken.is_some());
        self.marks.extend(report.marks.iter().cloned());
        for (name, count) in &report.counters {
            let sum = self.counters.entry(name.clone()).or_default();
            *sum = if name.starts_with("most_") { *count.max(sum) } else { *sum + *count };
        }
    }

    /// Declared marks that no run has reached.
    pub fn missing(&self) -> Vec<&'static str> {
        DECLARED.iter().copied().filter(|mark| !self.marks.contains(*mark)).collect()
    }

    /// One line for whoever waits.
    pub fn line(&self) -> String {
        let count = |name: &str| self.counters.get(name).copied().unwrap_or(0);
        format!(
            "{} runs, {} hours, {} ok, {} refused, {} unknown, {} of {} marks, {} repeated alike, {} broken",
            self.runs,
            hours(self.lasted_ms),
            count("operations_ok"),
            count("operations_refused"),
            count("operations_unknown"),
            DECLARED.len() - self.missing().len(),
            DECLARED.len(),
            self.repeated,
            self.broken
        )
    }

    /// Markdown tables of everything.
    pub fn tables(&self, took: Duration, jobs: usize) -> String {
        let mut out = String::from("| what | figure |\n| --- | --- |\n");
        let mut row = |what: &str, figure: String| {
            let _ = writeln!(out, "| {what} | {figure} |");
        };
        row("runs", thousands(self.runs));
        row("promises broken", thousands(self.broken));
        row("simulated hours", hours(self.lasted_ms));
        row("real time", format!("{} s, {jobs} at a time", took.as_secs()));
        row("runs repeated to the same trace hash", thousands(self.repeated));
        let reached = DECLARED.len() - self.missing().len();
        row("coverage marks reached of those declared", format!("{reached} of {}", DECLARED.len()));
        for (name, count) in &self.counters {
            row(&name.replace('_', " "), thousands(*count));
        }
        let missing = self.missing();
        if !missing.is_empty() {
            let _ = writeln!(out, "\nMarks not reached: `{}`.", missing.join("`, `"));
        }
        out
    }
}

fn hours(millis: u64) -> String {
    let tenths = millis / 360_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    digits.bytes().enumerate().fold(String::new(), |mut text, (place, digit)| {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(char::from(digit));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_add_up() {
        let mut tally = Tally::default();
        for _ in 0..2 {
            tally.add(&Report {
                lasted_ms: 1_800_000,
                counters: [("crashes".to_owned(), 700), ("most_pending".to_owned(), 4)].into(),
                marks: ["granted".to_owned()].into(),
                ..Report::default()
            });
        }
        let tables = tally.tables(Duration::from_secs(3), 2);
        for row in ["| runs | 2 |", "| simulated hours | 1.0 |", "| crashes | 1,400 |", "| most pending | 4 |"] {
            assert!(tables.contains(row), "{tables}");
        }
        assert_eq!(tally.missing().len(), DECLARED.len() - 1);
    }
}
