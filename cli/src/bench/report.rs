//! What a bench prints: a table for people, one document for programs.

use super::capacity::Step;
use super::cpu::Shares;
use super::event::{Aftermath, Curve};
use super::options::{Durability, LoadArgs, PlaceArgs};
use super::page::{Axes, BLACK, BLUE, Line, ORANGE, Page, RED, plot, plots_of};
use super::recorder::Recorder;
use crate::error::CliError;
use crate::output::{Output, facts, grouped};
use doorbuster_protocol::types::Millis;
use serde_json::{Value, json};
use std::path::Path;

/// A rate was kept up with if so much of it was answered in the time that was measured.
const KEPT_UP: f64 = 0.97;

/// A bench's figures and what they were measured with.
pub struct Report {
    work: String,
    load: LoadArgs,
    place: PlaceArgs,
    recorder: Recorder,
    shares: Shares,
    aftermath: Aftermath,
    /// Rates that were tried, if the capacity was looked for.
    steps: Vec<Step>,
}

impl Report {
    /// Of one run.
    #[must_use]
    pub fn new(work: &str, load: &LoadArgs, place: &PlaceArgs, recorder: Recorder, shares: Shares) -> Self {
        Self {
            work: work.to_owned(),
            load: load.clone(),
            place: place.clone(),
            recorder,
            shares,
            aftermath: Aftermath::default(),
            steps: Vec::new(),
        }
    }

    /// What was counted and measured.
    #[must_use]
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What happened meanwhile.
    #[must_use]
    pub fn into_aftermath(self) -> Aftermath {
        self.aftermath
    }

    /// The same, in which something happened, too.
    #[must_use]
    pub fn with(self, aftermath: Aftermath) -> Self {
        Self { aftermath: self.aftermath.and(aftermath), ..self }
    }

    /// The same after these rates were tried.
    #[must_use]
    pub fn with_steps(self, steps: Vec<Step>) -> Self {
        Self { steps, ..self }
    }

    /// How this rate did against an objective for p99.
    #[must_use]
    pub fn step(&self, rate: f64, slo: Millis) -> Step {
        let (p50, p99) = (self.recorder.quantile(0.5), self.recorder.quantile(0.99));
        let answered = self.recorder.per_second();
        let met = self.verdict().is_ok() && p99 <= slo.0 * 1_000_000 && answered >= rate * KEPT_UP;
        Step { rate, answered, p50, p99, met }
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
        if let Some(wrong) = &self.aftermath.wrong {
            return Err(CliError::wrong(wrong.clone()));
        }
        if !self.steps.is_empty() && !self.steps.iter().any(|step| step.met) {
            return Err(CliError::wrong(format!("no rate had a p99 of at most {} ms", self.load.slo_p99.0)));
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
        let (rate, p99) = (grouped(self.recorder.per_second()), milliseconds(self.recorder.quantile(0.99)));
        let mut plots = plots_of(&self.recorder.json())?;
        if !self.steps.is_empty() {
            plots.insert(0, ("p99 in ms, by operations a second that were offered".to_owned(), self.capacity_curve()?));
        }
        if !self.aftermath.curves.is_empty() {
            plots.insert(
                0,
                ("Latency in ms, of all but one in so many operations, by part".to_owned(), self.compared()?),
            );
        }
        let title = format!("doorbuster bench {}", self.work);
        Page { title, lead: format!("{rate} operations/s, p99 {p99}"), facts: self.facts(), plots }.write(path)
    }

    fn capacity_curve(&self) -> Result<String, CliError> {
        let mut steps = self.steps.clone();
        steps.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        let line = |name, color, pick: fn(&Step) -> u64| {
            let points = steps.iter().map(|step| (step.rate, pick(step) as f64 / 1e6)).collect();
            Line { name, color, points }
        };
        let lines = [line("p50", BLUE, |step| step.p50), line("p99", ORANGE, |step| step.p99)];
        plot(&lines, Axes { log_x: true, log_y: true })
    }

    fn compared(&self) -> Result<String, CliError> {
        let colors = [BLUE, ORANGE, RED, BLACK].into_iter().cycle();
        let line = |((name, points), color): (&Curve, _)| {
            let points = points.iter().map(|[n, latency]| (*n, latency / 1000.0)).collect();
            Line { name, color, points }
        };
        let lines: Vec<Line> = self.aftermath.curves.iter().zip(colors).map(line).collect();
        plot(&lines, Axes { log_x: true, log_y: true })
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
        facts.extend(recorder.kinds().map(|(name, count, latency)| {
            let [p50, p99, longest] = latency.map(milliseconds);
            (name.to_owned(), format!("{}, p50 {p50}, p99 {p99}, longest {longest}", grouped(count as f64)))
        }));
        facts.extend(recorder.failures().into_iter().map(|(name, count)| (name.to_owned(), count.to_string())));
        let (resent, lost) = recorder.troubles();
        if resent + lost > 0 {
            facts.push(("sent again".to_owned(), format!("{resent}, {lost} connections lost")));
        }
        facts.extend(self.aftermath.rows.clone());
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
        let mut report = json!({
            "work": self.work,
            "settings": {
                "spawned_nodes": place.spawn, "cluster": self.cluster(), "connections": load.callers.is_none().then_some(load.connections),
                "callers": load.callers,
                "depth": (load.rate.is_none() && load.callers.is_none()).then_some(load.depth), "rate": load.rate,
                "seconds": load.duration().as_secs_f64(), "warm_up_seconds": load.warm_up().as_secs_f64(),
                "live": load.live, "threads": load.threads, "sync_delay_ms": place.sync_delay.0,
                "durability": place.spawn.map(|_| match place.durability { Durability::Disk => "disk", Durability::Memory => "memory" }),
                "server_cpus": place.server_cpus.as_ref().map(ToString::to_string),
                "generator_cpus": load.generator_cpus.as_ref().map(ToString::to_string),
            },
            "result": self.recorder.json(),
            "capacity": self.steps.iter().map(Step::json).collect::<Vec<_>>(),
            "processors": self.shares.json(), "machine": machine(),
        });
        for (name, value) in &self.aftermath.fields {
            report[*name] = value.clone();
        }
        report
    }
}

/// Processors, kernel and build.
#[must_use]
pub fn machine() -> String {
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

/// Nanoseconds, for people.
pub fn milliseconds(ns: u64) -> String {
    format!("{:.3} ms", ns as f64 / 1e6)
}
