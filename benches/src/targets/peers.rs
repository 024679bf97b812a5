//! What the comparison with others said: the list that `benches/peers/run --json` writes, and when.

use doorbuster_cli::error::CliError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Its file, among what is kept.
const FILE: &str = "peers.json";

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What was done.
    pub work: String,
    /// By whom.
    pub system: String,
    /// How often.
    pub ops_per_second: f64,
    /// Latency.
    pub p50_us: f64,
    /// Latency.
    pub p99_us: f64,
    /// Its rate divided by Doorbuster's.
    pub ratio_to_doorbuster: Option<f64>,
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// When it was taken over.
    pub at: String,
    /// Of which sources.
    pub commit: String,
    /// Lines in the order of works.
    pub lines: Vec<Line>,
}

impl Comparison {
    /// That in this file, which `benches/peers/run` wrote.
    ///
    /// # Errors
    /// It cannot be read, or is no such list.
    pub fn taken_over(file: &Path, at: String, commit: String) -> Result<Self, CliError> {
        let wrong = |problem: String| {
            CliError::usage(format!("--peers {}: {problem}; give what benches/peers/run --json wrote", file.display()))
        };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let lines = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { at, commit, lines })
    }

    /// That which is kept in this folder.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read(folder: &Path) -> Result<Option<Self>, CliError> {
        let path = folder.join(FILE);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        let found = serde_json::from_str(&text);
        found.map_err(|error| CliError::failed(format!("{} is damaged ({error}): remove it", path.display())))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), CliError> {
        let path = folder.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::from);
        let written = std::fs::create_dir_all(folder).and(text).and_then(|text| std::fs::write(&path, text + "\n"));
        written.map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
    }

    /// How many times as fast as that system Doorbuster did that work.
    #[must_use]
    pub fn advantage(&self, work: &str, system: &str) -> Option<f64> {
        let line = self.lines.iter().find(|line| line.work == work && line.system == system)?;
        line.ratio_to_doorbuster.filter(|ratio| *ratio > 0.0).map(|ratio| 1.0 / ratio)
    }
}

/// The list as a document with a place for each work and system, so that figures can be found in it.
///
/// # Errors
/// It is no such list.
pub fn by_name(list: &Value) -> Result<Value, CliError> {
    let lines: Vec<Line> = Deserialize::deserialize(list)
        .map_err(|error| CliError::failed(format!("benches/peers/run wrote no list of figures: {error}")))?;
    let mut works: Map<String, Value> = Map::new();
    for Line { work, system, ops_per_second, p50_us, p99_us, .. } in lines {
        let of_work = works.entry(work).or_insert_with(|| json!({}));
        of_work[system] = json!({ "ops_per_second": ops_per_second, "p50_us": p50_us, "p99_us": p99_us });
    }
    Ok(Value::Object(works))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Value {
        let line = |system: &str, rate: f64| json!({ "work": "refuse-d1", "system": system, "ops_per_second": rate, "p50_us": 1.0, "p99_us": 2.0, "ratio_to_doorbuster": rate / 800.0 });
        json!([line("doorbuster", 800.0), line("valkey", 100.0)])
    }

    #[test]
    fn the_advantage_is_what_the_ratio_leaves() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("list.json");
        std::fs::write(&file, list().to_string()).expect("it takes a file");
        let read = |path: &Path| Comparison::taken_over(path, "now".to_owned(), "x".to_owned());
        let comparison = read(&file).expect("it is a list");
        assert_eq!(comparison.advantage("refuse-d1", "valkey"), Some(8.0));
        assert_eq!(comparison.advantage("refuse-d16", "valkey"), None);
        let under = folder.path().join("performance");
        assert_eq!(Comparison::read(&under).expect("nothing is there"), None);
        comparison.write(&under).expect("it is kept");
        assert_eq!(Comparison::read(&under).expect("it is there"), Some(comparison));
        assert!(read(&under).is_err_and(|error| error.message.contains("benches/peers/run --json")));
    }

    #[test]
    fn figures_are_found_by_work_and_system() {
        let found = by_name(&list()).expect("it is a list");
        assert_eq!(found.pointer("/refuse-d1/valkey/ops_per_second"), Some(&json!(100.0)));
        assert!(by_name(&json!({})).is_err());
    }
}
