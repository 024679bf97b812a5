//! What a bench prints: a table for people, one document for programs.

use super::cpu::Shares;
use super::options::{Durability, LoadArgs, PlaceArgs};
use super::page::{Page, plots_of};
use super::recorder::Recorder;
use crate::error::CliError;
use crate::output::{Output, facts};
use serde_json::{Value, json};
use std::path::Path;

/// A bench's figures and what they were measured with.
pub struct Report {
    work: String,
    load: LoadArgs,
    place: PlaceArgs,
    recorder: Recorder,
    shares: Shares,
}

impl Report {
    /// Of one run.
    #[must_use]
    pub fn new(work: &str, load: &LoadArgs, place: &PlaceArgs, recorder: Recorder, shares: Shares) -> Self {
        Self { work: work.to_owned(), load: load.clone(), place: place.clone(), recorder, shares }
    }

    /// Prints it.
    pub fn print(&self, output: Output) {
        output.print(|| self.table(), || self.json());
    }

    /// Whether everything was answered as the workload expects.
    ///
    /// # Errors
    /// What was not, or that nothing was answered.
    pub fn verdict(&self) -> Result<(), CliError> {
        let failures = self.recorder.failures();
        if !failures.is_empty() {
            let list: Vec<String> = failures.iter().map(|(name, count)| format!("{count} {name}")).collect();
            return Err(CliError::wrong(format!("not everything was answered as expected: {}", list.join(", "))));
        }
        if self.recorder.measured() == 0 {
            return Err(CliError::wrong("nothing was answered in the time that was measured"));
        }
        Ok(())
    }

    /// Writes the page with plots.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_page(&self, path: &Path) -> Result<(), CliError> {
        let page = Page {
            title: format!("doorbuster bench {}", self.work),
            lead: format!(
                "{} operations/s, p99 {}",
                grouped(self.recorder.per_second()),
                milliseconds(self.recorder.quantile(0.99))
            ),
            facts: self.facts(),
            plots: plots_of(&self.recorder.json())?,
        };
        page.write(path)
    }

    fn table(&self) -> String {
        let mut table = facts();
        for (name, value) in self.facts() {
            table.add_row([name, value]);
        }
        table.to_string()
    }

    fn facts(&self) -> Vec<(String, String)> {
        let recorder = &self.recorder;
        let mut facts = vec![
            ("work".to_owned(), self.work.clone()),
            ("cluster".to_owned(), self.cluster()),
            ("load".to_owned(), self.load.describe()),
            (
                "measured".to_owned(),
                format!(
                    "{} s, after {} s of the same",
                    self.load.duration().as_secs_f64(),
                    self.load.warm_up().as_secs_f64()
                ),
            ),
            ("operations/s".to_owned(), grouped(recorder.per_second())),
        ];
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            facts.push((name.to_owned(), milliseconds(recorder.quantile(quantile))));
        }
        facts.push(("longest".to_owned(), milliseconds(recorder.longest())));
        facts.extend(recorder.failures().into_iter().map(|(name, count)| (name.to_owned(), count.to_string())));
        let (resent, lost) = recorder.troubles();
        if resent + lost > 0 {
            facts.push(("sent again".to_owned(), format!("{resent}, {lost} connections lost")));
        }
        facts.extend(self.shares.rows());
        facts.push(("machine".to_owned(), machine()));
        facts
    }

    fn cluster(&self) -> String {
        let place = &self.place;
        match place.spawn {
            None => place.connection.nodes.join(", "),
            Some(nodes) => {
                let durability = match place.durability {
                    Durability::Disk => "on disk",
                    Durability::Memory => "in memory",
                };
                let delay = if place.sync_delay.0 > 0 {
                    format!(", syncs {} ms slower", place.sync_delay.0)
                } else {
                    String::new()
                };
                format!("{nodes} node(s) here, {durability}{delay}")
            }
        }
    }

    fn json(&self) -> Value {
        let (load, place) = (&self.load, &self.place);
        json!({
            "work": self.work,
            "settings": {
                "spawned_nodes": place.spawn, "cluster": self.cluster(), "connections": load.connections,
                "depth": if load.rate.is_none() { Some(load.depth) } else { None }, "rate": load.rate,
                "seconds": load.duration().as_secs_f64(), "warm_up_seconds": load.warm_up().as_secs_f64(),
                "live": load.live, "threads": load.threads, "sync_delay_ms": place.sync_delay.0,
                "durability": place.spawn.map(|_| match place.durability { Durability::Disk => "disk", Durability::Memory => "memory" }),
                "server_cpus": place.server_cpus.as_ref().map(ToString::to_string),
                "generator_cpus": load.generator_cpus.as_ref().map(ToString::to_string),
            },
            "result": self.recorder.json(),
            "processors": self.shares.json(), "machine": machine(),
        })
    }
}

/// Processors, kernel and build.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let information = read("/proc/cpuinfo");
    let model = information
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("processors", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let build = if cfg!(debug_assertions) { "debug build: NOT for measuring" } else { "release build" };
    format!(
        "{processors} x {model}, Linux {}, doorbuster {}, {build}",
        read("/proc/sys/kernel/osrelease").trim(),
        env!("CARGO_PKG_VERSION")
    )
}

fn milliseconds(ns: u64) -> String {
    format!("{:.3} ms", ns as f64 / 1e6)
}

/// A whole number with its thousands set apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([7.4, 1_000.0, 1_234_567.0].map(grouped), ["7", "1,000", "1,234,567"]);
    }
}
