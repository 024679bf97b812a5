//! What the comparison says: a table for people, a list for programs.

use super::contest::System;
use super::round::{Entry, Sample};
use doorbuster_cli::bench::recorder::us;
use doorbuster_cli::output::{grouped, table};
use serde_json::{Value, json};

/// From this share of the machine on, it is said what others used.
const NOTABLE: f64 = 0.1;

/// Medians of one system at one work.
#[derive(Clone, Debug)]
struct Line<'a> {
    entry: &'a Entry,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Its rate divided by Doorbuster's, if that was measured.
    ratio: Option<f64>,
    /// The repeat whose rate is the median.
    middle: &'a Sample,
}

/// For people.
#[must_use]
pub fn people(entries: &[Entry]) -> String {
    let heads =
        ["work", "system", "operations/s", "p50 ms", "p99 ms", "doorbuster is", "server CPU", "generator CPU", "full"];
    let mut table = table(heads);
    for line in lines(entries) {
        let percent = |share: f64| format!("{:.0}%", share * 100.0);
        let shares = &line.middle.shares;
        table.add_row([
            line.entry.work.name.to_owned(),
            line.entry.system.to_string(),
            grouped(line.per_second),
            format!("{:.3}", line.p50_us / 1e3),
            format!("{:.3}", line.p99_us / 1e3),
            line.ratio.map_or_else(String::new, |ratio| advantage(line.entry.system, ratio)),
            shares.servers().map_or_else(String::new, percent),
            percent(shares.generator()),
            shares.full().to_owned(),
        ]);
    }
    table.to_string()
}

/// For programs.
#[must_use]
pub fn programs(entries: &[Entry]) -> Value {
    let tenth = |us: f64| (us * 10.0).round() / 10.0;
    let list = lines(entries).map(|line| {
        json!({
            "work": line.entry.work.name, "system": line.entry.system.to_string(),
            "ops_per_second": line.per_second.round(), "p50_us": tenth(line.p50_us), "p99_us": tenth(line.p99_us),
            "ratio_to_doorbuster": line.ratio.map(|ratio| (ratio * 1e6).round() / 1e6),
        })
    });
    Value::Array(list.collect())
}

/// Whether others had more of the machine than figures can bear, in words.
#[must_use]
pub fn disturbance(entries: &[Entry]) -> Option<String> {
    let others = median(entries.iter().flat_map(|entry| &entry.samples).map(|sample| sample.others))?;
    (others >= NOTABLE).then(|| {
        format!(
            "Others used {:.0}% of this machine's processors meanwhile: on a quiet one all figures are higher.",
            others * 100.0
        )
    })
}

/// What was answered otherwise than the work expects; empty if nothing was.
#[must_use]
pub fn wrong(entries: &[Entry]) -> Vec<String> {
    let samples = entries.iter().flat_map(|entry| entry.samples.iter().map(move |sample| (entry, sample)));
    let wrong = samples.filter(|(_, sample)| !sample.failures.is_empty());
    wrong.map(|(entry, sample)| format!("{}, {}: {:?}", entry.work.name, entry.system, sample.failures)).collect()
}

fn lines(entries: &[Entry]) -> impl Iterator<Item = Line<'_>> {
    let rate = |entry: &Entry| median(entry.samples.iter().map(|sample| sample.per_second));
    entries.iter().filter_map(move |entry| {
        let ours = |other: &&Entry| other.work == entry.work && other.system == System::Doorbuster;
        let (ours, per_second) = (entries.iter().find(ours).and_then(rate), rate(entry)?);
        let distance = |sample: &&Sample| (sample.per_second - per_second).abs();
        let middle = entry.samples.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)))?;
        let ratio = ours.filter(|ours| *ours > 0.0).map(|ours| per_second / ours);
        let p50_us = median(entry.samples.iter().map(|sample| us(sample.p50)))?;
        let p99_us = median(entry.samples.iter().map(|sample| us(sample.p99)))?;
        Some(Line { entry, per_second, p50_us, p99_us, ratio, middle })
    })
}

/// How many times as fast Doorbuster is; of the limit, the share that it reaches.
fn advantage(system: System, ratio: f64) -> String {
    match system {
        System::Doorbuster => String::new(),
        System::Echo => format!("{:.0}% of it", 100.0 / ratio.max(f64::MIN_POSITIVE)),
        _ => format!("{:.1}x", 1.0 / ratio.max(f64::MIN_POSITIVE)),
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().saturating_sub(1) / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::contest::WORKS;
    use doorbuster_cli::bench::cpu::Shares;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn entry(system: System, rates: &[f64]) -> Entry {
        let shares = Shares {
            machine: 2,
            elapsed: Duration::from_secs(1),
            generator: (1, Duration::from_millis(500)),
            servers: None,
        };
        let sample = |rate: &f64| Sample {
            per_second: *rate,
            p50: 1_000_000,
            p99: 3_000_000,
            shares: shares.clone(),
            others: 0.3,
            failures: BTreeMap::new(),
        };
        Entry { work: WORKS[0], system, samples: rates.iter().map(sample).collect() }
    }

    #[test]
    fn medians_are_compared_with_doorbusters() {
        let entries = [
            entry(System::Doorbuster, &[600.0, 1.0, 500.0]),
            entry(System::Valkey, &[100.0, 90.0, 4000.0]),
            entry(System::Echo, &[900.0, 1100.0]),
        ];
        let list = programs(&entries);
        let of = |at: usize| (list[at]["ops_per_second"].as_f64(), list[at]["ratio_to_doorbuster"].as_f64());
        assert_eq!(
            [of(0), of(1), of(2)],
            [(Some(500.0), Some(1.0)), (Some(100.0), Some(0.2)), (Some(1000.0), Some(2.0))]
        );
        let wanted = json!({ "work": "refuse-d1", "system": "valkey", "ops_per_second": 100.0, "p50_us": 1000.0,
            "p99_us": 3000.0, "ratio_to_doorbuster": 0.2 });
        assert_eq!(list[1], wanted);
        let shown = people(&entries);
        assert!(shown.contains("5.0x") && shown.contains("50% of it"), "{shown}");
    }

    #[test]
    fn without_doorbuster_there_is_nothing_to_compare_with() {
        assert_eq!(programs(&[entry(System::Valkey, &[1.0])])[0]["ratio_to_doorbuster"], Value::Null);
    }

    #[test]
    fn a_busy_machine_is_told() {
        let mut entries = [entry(System::Valkey, &[1.0, 2.0, 3.0])];
        assert!(disturbance(&entries).is_some_and(|text| text.contains("30%")));
        entries[0].samples[..2].iter_mut().for_each(|sample| sample.others = 0.09);
        assert_eq!(disturbance(&entries), None);
    }

    #[test]
    fn wrong_answers_are_told() {
        let mut entries = [entry(System::Redis, &[1.0, 2.0])];
        assert!(wrong(&entries).is_empty());
        entries[0].samples[1].failures.insert("sold_out", 3);
        assert_eq!(wrong(&entries), ["refuse-d1, redis: {\"sold_out\": 3}"]);
    }
}
