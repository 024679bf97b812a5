//! What a run was and came to, for people and for programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_cli::error::CliError;
use doorbuster_cli::output::{facts, table};
use serde_json::{Value, json};

use super::Settings;
use super::judged::Judged;
use super::money::Money;
use super::proxy::Traffic;
use super::record::{Ends, ends};
use super::stage::Stage;
use crate::checkers::linearizability;
use crate::history::History;
use crate::sim::cli::document::replace;

/// Everything there is to tell.
#[derive(Debug)]
pub struct Report {
    /// The seed of its schedule.
    pub seed: u64,
    /// For how long things went wrong.
    pub time: Duration,
    /// From the first client to the last judge.
    pub took: Duration,
    /// How long it took to be whole again after the last fault.
    pub healed: Option<Duration>,
    /// How long it then took until every payment was at its end.
    pub settled: Option<Duration>,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// What came of them, where it is not always the same.
    pub effects: BTreeMap<&'static str, u64>,
    /// How the operations of each kind ended.
    pub operations: BTreeMap<&'static str, Ends>,
    /// Products put on sale.
    pub products: u64,
    /// Connections through the proxies, and those that they broke.
    pub connections: (u64, u64),
    /// What the linearizability checker had to judge, and did not come to the end of.
    pub judged: Judged,
    /// What the audit says of the orders.
    pub audit: Value,
    /// What the provider's books say beside it.
    pub money: Money,
    /// What the provider has counted.
    pub provider: BTreeMap<String, u64>,
    /// What could not be done on this machine.
    pub left_out: Vec<String>,
    /// Promises that were not kept.
    pub problems: Vec<String>,
    folder: PathBuf,
}

impl Report {
    /// Of a run that begins.
    pub fn new(settings: &Settings, stage: &Stage) -> Self {
        Self {
            seed: settings.seed,
            time: settings.time,
            took: Duration::ZERO,
            healed: None,
            settled: None,
            faults: BTreeMap::new(),
            effects: BTreeMap::new(),
            operations: BTreeMap::new(),
            products: 0,
            connections: (0, 0),
            judged: Judged::default(),
            audit: Value::Null,
            money: Money::default(),
            provider: BTreeMap::new(),
            left_out: stage.left_out.clone(),
            problems: Vec::new(),
            folder: settings.folder.clone(),
        }
    }

    /// Counts what clients did.
    pub fn account(&mut self, history: &History, traffic: &Traffic) {
        self.operations = ends(history);
        self.connections = (traffic.connections.load(Ordering::Relaxed), traffic.broken.load(Ordering::Relaxed));
    }

    /// Takes what the linearizability checker says.
    pub fn judge(&mut self, judged: &linearizability::Report) {
        self.judged = Judged::of(judged);
        self.problems.extend(self.judged.violations.iter().cloned());
    }

    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        self.problems.is_empty()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let operation = |ends: &Ends| json!({ "ok": ends.ok, "refused": ends.refused, "not_done": ends.not_done, "unknown": ends.unknown });
        let operations: BTreeMap<_, _> = self.operations.iter().map(|(kind, ends)| (*kind, operation(ends))).collect();
        json!({
            "ok": self.holds(),
            "seed": self.seed,
            "seconds_of_faults": self.time.as_secs_f64(),
            "seconds": self.took.as_secs_f64(),
            "seconds_to_heal": self.healed.map(|healed| healed.as_secs_f64()),
            "seconds_to_settle": self.settled.map(|settled| settled.as_secs_f64()),
            "faults": self.faults,
            "effects": self.effects,
            "faults_total": self.faults.values().sum::<u64>(),
            "operations": operations,
            "operations_total": operation(&self.total()),
            "products": self.products,
            "connections": self.connections.0,
            "connections_broken": self.connections.1,
            "linearizable": self.judged.json(),
            "orders": self.audit,
            "payments": self.money.json(),
            "provider": self.provider,
            "left_out": self.left_out,
            "problems": self.problems,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut faults = table(["fault", "struck"]);
        for (name, count) in &self.faults {
            faults.add_row([(*name).to_owned(), count.to_string()]);
        }
        let mut operations = table(["operation", "ok", "refused", "not done", "unknown"]);
        let total = self.total();
        for (kind, ends) in self.operations.iter().chain([(&"all", &total)]) {
            let counts = [ends.ok, ends.refused, ends.not_done, ends.unknown].map(|count| count.to_string());
            operations.add_row([vec![(*kind).to_owned()], counts.to_vec()].concat());
        }
        let mut whole = facts();
        whole.add_row(["seed", &self.seed.to_string()]);
        whole
            .add_row(["faults", &format!("{} in {:.0} s", self.faults.values().sum::<u64>(), self.time.as_secs_f64())]);
        whole.add_row(["products", &self.products.to_string()]);
        whole.add_row(["connections, broken", &format!("{}, {}", self.connections.0, self.connections.1)]);
        whole.add_row(["whole again after", &seconds(self.healed)]);
        whole.add_row(["payments at their end after another", &seconds(self.settled)]);
        whole.add_row(["judged for linearizability", &self.judged.line()]);
        whole.add_row(["orders", &self.audit.to_string()]);
        for (name, value) in self.of_money() {
            whole.add_row([name, &value]);
        }
        for (effect, count) in &self.effects {
            whole.add_row([*effect, &count.to_string()]);
        }
        for left_out in &self.left_out {
            whole.add_row(["left out here", left_out]);
        }
        let problems: String = self.problems.iter().map(|problem| format!("WRONG: {problem}\n")).collect();
        let verdict = match self.holds() {
            true => "Every promise was kept.".to_owned(),
            false => self.how_to_look(),
        };
        format!("{faults}\n{operations}\n{whole}\n{problems}{verdict}")
    }

    /// Writes the figures into a document, where it is marked.
    pub fn write_into(&self, document: &Path) -> Result<(), CliError> {
        replace(document, "chaos", &self.figures()).map_err(CliError::failed)
    }

    fn figures(&self) -> String {
        let total = self.total();
        let Ends { ok, refused, not_done, unknown } = total;
        let mut rows = vec![
            ("seed", self.seed.to_string()),
            ("promises broken", self.problems.len().to_string()),
            ("faults", format!("{} in {:.0} s", self.faults.values().sum::<u64>(), self.time.as_secs_f64())),
            ("whole again after", seconds(self.healed)),
            ("payments at their end after another", seconds(self.settled)),
            ("products", self.products.to_string()),
            ("operations ok, refused, not done, unknown", format!("{ok}, {refused}, {not_done}, {unknown}")),
            ("connections, broken", format!("{}, {}", self.connections.0, self.connections.1)),
            ("judged for linearizability", self.judged.line()),
            ("orders", self.audit.to_string()),
        ];
        rows.extend(self.of_money());
        let counts = self.faults.iter().chain(&self.effects);
        rows.extend(counts.map(|(name, count)| (*name, count.to_string())));
        rows.extend(self.left_out.iter().map(|left_out| ("left out", left_out.clone())));
        let rows: String = rows.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
        format!("| what | figure |\n| --- | --- |\n{rows}")
    }

    /// Books and provider, a line each.
    fn of_money(&self) -> Vec<(&'static str, String)> {
        let count = |name: &str| self.provider.get(name).copied().unwrap_or(0);
        let line = |names: &[&str]| names.iter().map(|name| count(name).to_string()).collect::<Vec<_>>().join(", ");
        let mut rows = self.money.rows();
        rows.push((
            "the provider's charges, declined, decided late, closed before a charge came",
            line(&["charges", "declined", "late", "cancelled"]),
        ));
        rows.push(("requests and answers that it lost", line(&["lost_requests", "lost_answers"])));
        let told = ["events", "delivered", "repeated", "held_back", "failed"].map(|name| format!("webhooks_{name}"));
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        rows.push(("webhooks, delivered, repeated, held back, not acknowledged", line(&told)));
        rows
    }

    fn how_to_look(&self) -> String {
        format!(
            "Look at it: {folder}/events.txt (what struck when), history.txt (what clients did and heard, one operation a \
             line; chaos --judge judges history.recording again), audit.json, node*/log.txt, gateway*/log.txt, provider/log.txt, postgres.log.\n\
             The same schedule again: ./chaos --seed {} --minutes {}",
            self.seed,
            self.time.as_secs_f64() / 60.0,
            folder = self.folder.display(),
        )
    }

    fn total(&self) -> Ends {
        self.operations.values().fold(Ends::default(), |sum, ends| Ends {
            ok: sum.ok + ends.ok,
            refused: sum.refused + ends.refused,
            not_done: sum.not_done + ends.not_done,
            unknown: sum.unknown + ends.unknown,
        })
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
}

/// Tells on stderr how it goes.
pub fn progress(what: &str) {
    use std::io::Write as _;
    // Nobody is left to tell if stderr is closed.
    let _ = writeln!(std::io::stderr(), "{what}");
}
