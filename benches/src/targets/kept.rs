//! What was measured, one file a command, written anew after each run: whoever cuts a session off loses the run that is
//! under way, no more. A file is replaced in one step, so it is whole at any time.

use super::probes::Probe;
use doorbuster_cli::error::CliError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Parts of a bench's document that are plots, and longer than all the rest together.
const PLOTS: [&str; 2] = ["slices", "percentiles"];

/// One run of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it ended.
    pub at: String,
    /// Of which sources.
    pub commit: String,
    /// Which share of the machine others had meanwhile.
    pub others: f64,
    /// What was wrong with it; its figures do not count then.
    pub failed: Option<String>,
    /// What it printed.
    pub output: Value,
}

/// All runs of a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The command, as one would type it.
    pub command: String,
    /// In the order they were made.
    pub runs: Vec<Run>,
}

impl Kept {
    /// What is in the file; nothing if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no such file.
    pub fn read(folder: &Path, probe: &Probe) -> Result<Self, CliError> {
        let path = path(folder, probe);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CliError::failed(format!("cannot read {}: {error}", path.display()))),
            Ok(text) => text,
        };
        serde_json::from_str(&text)
            .map_err(|error| CliError::failed(format!("{} is damaged ({error}): remove it", path.display())))
    }

    /// Writes it, a line a run.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path, probe: &Probe) -> Result<(), CliError> {
        let path = path(folder, probe);
        let wrong = |error: std::io::Error| CliError::failed(format!("cannot write {}: {error}", path.display()));
        let line = |run: &Run| serde_json::to_string(run).map_err(|error| wrong(error.into()));
        let runs: Vec<String> = self.runs.iter().map(line).collect::<Result<_, _>>()?;
        let command = Value::from(self.command.as_str());
        let text = format!("{{\"command\": {command}, \"runs\": [\n{}\n]}}\n", runs.join(",\n"));
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let fresh = path.with_extension("json.new");
        std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, &path)).map_err(wrong)
    }

    /// What of it goes on: runs of the same command and the same sources that did not fail.
    #[must_use]
    pub fn continued(self, command: &str, commit: &str) -> Self {
        if self.command != command {
            return Self { command: command.to_owned(), runs: Vec::new() };
        }
        let runs = self.runs.into_iter().filter(|run| run.commit == commit && run.failed.is_none());
        Self { command: self.command, runs: runs.collect() }
    }

    /// The figures at this place, of runs that did not fail, and the numbers of those runs.
    pub fn values(&self, pointer: &str) -> impl Iterator<Item = (usize, f64)> {
        let good = self.runs.iter().enumerate().filter(|(_, run)| run.failed.is_none());
        good.filter_map(move |(at, run)| Some((at, run.output.pointer(pointer)?.as_f64()?)))
    }

    /// What was wrong with its runs.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().filter_map(|run| run.failed.as_deref())
    }
}

/// A bench's document without what is only there to be plotted.
#[must_use]
pub fn without_plots(mut output: Value) -> Value {
    if let Some(result) = output.get_mut("result").and_then(Value::as_object_mut) {
        PLOTS.iter().for_each(|plot| drop(result.remove(*plot)));
    }
    output
}

fn path(folder: &Path, probe: &Probe) -> PathBuf {
    folder.join(format!("{}.json", probe.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(commit: &str, rate: f64, failed: Option<&str>) -> Run {
        let output = json!({ "result": { "ops_per_second": rate } });
        let (at, commit) = ("2026-11-23T16:00:00Z".to_owned(), commit.to_owned());
        Run { at, commit, others: 0.02, failed: failed.map(str::to_owned), output }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let probe = Probe::named("idle").expect("it is one");
        let under = folder.path().join("runs");
        assert_eq!(Kept::read(&under, probe).expect("nothing is there"), Kept::default());
        let kept = Kept { command: "a \"b\"".to_owned(), runs: vec![run("x", 1.5, None), run("x", 2.0, Some("no"))] };
        kept.write(&under, probe).expect("it takes a file");
        assert_eq!(Kept::read(&under, probe).expect("it is there"), kept);
        std::fs::write(under.join("idle.json"), "{").expect("it takes a file");
        assert!(Kept::read(&under, probe).is_err_and(|error| error.message.contains("idle.json is damaged")));
    }

    #[test]
    fn what_failed_or_is_of_other_sources_is_measured_again() {
        let runs = vec![run("x", 1.0, None), run("y", 2.0, None), run("x", 3.0, Some("no"))];
        let kept = Kept { command: "a".to_owned(), runs };
        assert_eq!(kept.values("/result/ops_per_second").collect::<Vec<_>>(), [(0, 1.0), (1, 2.0)]);
        assert_eq!(kept.values("/nothing").count(), 0);
        assert_eq!(kept.clone().continued("a", "x").runs, [run("x", 1.0, None)]);
        assert_eq!(kept.continued("b", "x"), Kept { command: "b".to_owned(), runs: Vec::new() });
    }

    #[test]
    fn plots_are_not_kept() {
        let output = json!({ "work": "x", "result": { "slices": [1], "percentiles": [2], "operations": 3 } });
        assert_eq!(without_plots(output), json!({ "work": "x", "result": { "operations": 3 } }));
        assert_eq!(without_plots(json!([1])), json!([1]));
    }
}
