//! Everything that is known: what was kept of each command, and the comparison with others; and what figures follow.

use super::figure::{Aim, Figure, Place, Source};
use super::kept::Kept;
use super::peers::Comparison;
use super::probes::Probe;
use super::rows::Row;
use super::samples::Samples;
use doorbuster_cli::error::CliError;
use std::collections::BTreeMap;
use std::path::Path;

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// By command.
    pub kept: BTreeMap<&'static str, Kept>,
    /// If there is one.
    pub peers: Option<Comparison>,
}

/// Whether an aim was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The median is within it.
    Met,
    /// It is not, or a run of its command failed.
    Missed,
    /// There is nothing to judge by.
    Unknown,
}

impl Verdict {
    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Met => "yes",
            Self::Missed => "**no**",
            Self::Unknown => "not measured",
        }
    }
}

impl Book {
    /// That which is kept in this folder.
    ///
    /// # Errors
    /// A file is damaged.
    pub fn read(folder: &Path) -> Result<Self, CliError> {
        let read = |probe: &'static Probe| Ok((probe.name.as_ref(), Kept::read(folder, probe)?));
        let kept = Probe::all().map(read).collect::<Result<_, CliError>>()?;
        Ok(Self { kept, peers: Comparison::read(folder)? })
    }

    /// What a figure was.
    #[must_use]
    pub fn samples(&self, figure: &Figure) -> Option<Samples> {
        match figure.source {
            Source::At(place) => Samples::of(self.at(place).into_values()),
            Source::Over(one, other) => Samples::of(self.paired(one, other).map(|(one, other)| one / other)),
            Source::Minus(one, other) => Samples::of(self.paired(one, other).map(|(one, other)| one - other)),
            Source::Peer { work, system } => Samples::of(self.peers.as_ref()?.advantage(work, system)),
        }
    }

    /// Whether a figure is what it must be; `None` if it need not be anything.
    #[must_use]
    pub fn verdict(&self, figure: &Figure) -> Option<Verdict> {
        let aim: Aim = figure.aim?;
        let failed = figure.source.probes().iter().any(|name| self.failures(name).next().is_some());
        Some(match self.samples(figure) {
            _ if failed => Verdict::Missed,
            None => Verdict::Unknown,
            Some(samples) if aim.is_met(samples.median) => Verdict::Met,
            Some(_) => Verdict::Missed,
        })
    }

    /// Whether all figures of a row are.
    #[must_use]
    pub fn row_verdict(&self, row: &Row) -> Verdict {
        let verdicts: Vec<Verdict> = row.figures.iter().filter_map(|figure| self.verdict(figure)).collect();
        let any = |wanted| verdicts.contains(&wanted);
        match (any(Verdict::Missed), any(Verdict::Unknown)) {
            (true, _) => Verdict::Missed,
            (false, true) => Verdict::Unknown,
            (false, false) => Verdict::Met,
        }
    }

    /// What was wrong with the runs of a command.
    pub fn failures(&self, probe: &str) -> impl Iterator<Item = &str> {
        self.kept.get(probe).into_iter().flat_map(Kept::failures)
    }

    /// By the number of the run.
    fn at(&self, place: Place) -> BTreeMap<usize, f64> {
        self.kept.get(place.probe).into_iter().flat_map(|kept| kept.values(place.pointer)).collect()
    }

    /// Two figures of the same round each.
    fn paired(&self, one: Place, other: Place) -> impl Iterator<Item = (f64, f64)> {
        let (one, other) = (self.at(one), self.at(other));
        one.into_iter().filter_map(move |(at, value)| Some((value, *other.get(&at)?)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::figure::Unit;
    use super::super::kept::Run;
    use super::*;
    use serde_json::json;

    /// A command whose runs gave these rates.
    pub fn kept(name: &str, rates: &[f64]) -> Kept {
        let run = |rate: &f64| Run {
            at: "2026-11-23T16:00:00Z".to_owned(),
            commit: "abc".to_owned(),
            others: 0.01,
            failed: None,
            output: json!({ "machine": "2 x Chip", "processors": { "full": "servers" }, "result": {
                "ops_per_second": rate, "latency_us": { "p50": 200.0, "p99": 900.0, "p999": 950.0, "max": 999.0 } } }),
        };
        let command = Probe::named(name).map(|probe| probe.command(false)).unwrap_or_default();
        Kept { command, runs: rates.iter().map(run).collect() }
    }

    /// What is known of these commands.
    pub fn book(rates: &[(&'static str, &[f64])]) -> Book {
        let kept = rates.iter().map(|(name, rates)| (*name, kept(name, rates))).collect();
        Book { kept, peers: None }
    }

    const fn place(probe: &'static str) -> Place {
        Place { probe, pointer: "/result/ops_per_second" }
    }

    fn figure(source: Source) -> Figure {
        Figure { label: "x", unit: Unit::Part, source, aim: None }
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let book = book(&[("live-10m", &[50.0, 80.0]), ("live-1k", &[100.0, 100.0, 1.0])]);
        let ratio = figure(Source::Over(place("live-10m"), place("live-1k")));
        let samples = book.samples(&ratio).expect("there are two");
        assert_eq!((samples.median, samples.least, samples.most, samples.count), (0.65, 0.5, 0.8, 2));
        let gap = figure(Source::Minus(place("live-10m"), place("live-1k")));
        assert_eq!(book.samples(&gap).map(|samples| samples.least), Some(-50.0));
    }

    #[test]
    fn the_median_decides_unless_a_run_failed() {
        let mut book = book(&[("idle", &[1.0, 9.0, 9.0])]);
        let figure = figure(Source::At(place("idle"))).at_least(9.0);
        assert_eq!(book.verdict(&figure), Some(Verdict::Met));
        assert_eq!(book.verdict(&figure.at_least(9.1)), Some(Verdict::Missed));
        assert_eq!(book.verdict(&Figure { aim: None, ..figure }), None);
        let runs = book.kept.get_mut("idle").map(|kept| &mut kept.runs).expect("it is there");
        runs[0].failed = Some("no leader".to_owned());
        assert_eq!(book.verdict(&figure), Some(Verdict::Missed), "a run that failed is not forgotten");
        assert_eq!(Book::default().verdict(&figure), Some(Verdict::Unknown));
    }

    #[test]
    fn a_row_is_met_when_all_its_figures_are() {
        let row = |aims: &[f64]| {
            let figures: Vec<Figure> =
                aims.iter().map(|aim| figure(Source::At(place("idle"))).at_least(*aim)).collect();
            let unknown = figure(Source::Peer { work: "refuse-d1", system: "valkey" }).at_least(1.0);
            let figures = if aims.is_empty() { vec![unknown] } else { figures };
            Row { figures: figures.leak(), ..super::super::rows::ROWS[0] }
        };
        let book = book(&[("idle", &[5.0])]);
        assert_eq!(book.row_verdict(&row(&[5.0, 4.0])), Verdict::Met);
        assert_eq!(book.row_verdict(&row(&[5.0, 6.0])), Verdict::Missed);
        assert_eq!(book.row_verdict(&row(&[])), Verdict::Unknown);
    }
}
