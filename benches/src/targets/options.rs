//! What the measuring can be told, and which programs it runs.

use super::probes::{PROBES, Probe};
use super::rows::{Row, chosen};
use clap::Parser;
use doorbuster_cli::error::CliError;
use doorbuster_cli::names::parse_duration;
use doorbuster_protocol::types::Millis;
use std::path::{Path, PathBuf};
use std::time::Duration;

const AFTER: &str = "Rows and their commands: --list. One-node rows keep the server to processor 0 and the generator to processor 1; three nodes use \
    all there are. Commands take turns, a round after the other, so that whoever stops it early has something of every row; what takes \
    long is done less often than --times.\n\n\
    Each run's output is kept in DOCS/performance/runs, a file a command, and DOCS/PERFORMANCE.md is written from these files after each round, with the \
    prose in DOCS/performance/prose: limits.md at its end, ROW.md below a row. DOCS/CAPACITY.md is written from prose/capacity.md there, in which \
    {{curve NAME}}, {{figure ROW: LABEL}}, {{costs}}, {{examples}} and {{measured}} stand for what was measured. Ctrl-C loses the run that is under way; --merge goes on \
    where it was stopped.";

/// Measures every aim of the project, or the curves of the capacity guide, and writes docs/PERFORMANCE.md and docs/CAPACITY.md
#[derive(Parser, Clone, Debug)]
#[command(name = "targets", bin_name = "benches/targets/run", after_help = AFTER, max_term_width = 110)]
#[allow(clippy::struct_excessive_bools)] // flags are
pub struct Options {
    /// Only these rows
    #[arg(long, value_delimiter = ',', value_name = "ROW,...")]
    pub only: Vec<String>,
    /// Measure the curves of the capacity guide instead of the rows
    #[arg(long, conflicts_with = "only")]
    pub curves: bool,
    /// How often each command is run, unless it takes long; 5, of the curves 1
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub times: Option<u16>,
    /// Everything once and short, to see whether it works; the document goes into target/targets
    #[arg(long)]
    pub quick: bool,
    /// Keep what was measured of the same commit before, and make only the runs that are missing
    #[arg(long)]
    pub merge: bool,
    /// Measure nothing: write the document from what is kept
    #[arg(long)]
    pub write: bool,
    /// Begin no run that would not end, by its last time, within so long
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub within: Option<Millis>,
    /// Take over the comparison with others, which benches/peers/run --json wrote to this file
    #[arg(long, value_name = "FILE")]
    pub peers: Option<PathBuf>,
    /// The folder whose PERFORMANCE.md is written; docs, or with --quick target/targets
    #[arg(long, value_name = "FOLDER")]
    pub docs: Option<PathBuf>,
    /// Where servers' data goes: the disk that counts; without it a temporary folder
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// The project's folder
    #[arg(long, default_value = ".", hide = true)]
    pub root: PathBuf,
    /// Print the rows and their commands
    #[arg(long)]
    pub list: bool,
}

impl Options {
    /// The rows to measure.
    ///
    /// # Errors
    /// A name that no row has.
    pub fn rows(&self) -> Result<Vec<&'static Row>, CliError> {
        chosen(&self.only).map_err(CliError::usage)
    }

    /// The commands of these rows, or of the curves, each once, in their own order.
    ///
    /// # Errors
    /// A name that no row has.
    pub fn probes(&self) -> Result<Vec<&'static Probe>, CliError> {
        if self.curves {
            return Ok(Probe::of_curves().collect());
        }
        let wanted: Vec<&str> = self.rows()?.into_iter().flat_map(Row::probes).collect();
        Ok(PROBES.iter().filter(|probe| wanted.contains(&probe.name.as_ref())).collect())
    }

    /// How often each is run.
    #[must_use]
    pub fn times(&self) -> u16 {
        let usual = if self.curves { 1 } else { 5 };
        if self.quick { 1 } else { self.times.unwrap_or(usual) }
    }

    /// The folder of the document.
    #[must_use]
    pub fn docs(&self) -> PathBuf {
        let usual = if self.quick { "target/targets" } else { "docs" };
        self.docs.clone().unwrap_or_else(|| self.root.join(usual))
    }

    /// How long it may take.
    #[must_use]
    pub fn within(&self) -> Duration {
        self.within.map_or(Duration::MAX, |within| Duration::from_millis(within.0))
    }
}

/// The programs that are run, beside this one.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `doorbuster`.
    pub doorbuster: PathBuf,
    /// What `benches/peers/run` runs.
    pub peers: PathBuf,
    /// What `benches/orders/run` runs.
    pub orders: PathBuf,
}

impl Programs {
    /// Those of the same build.
    ///
    /// # Errors
    /// One is missing.
    pub fn find() -> Result<Self, CliError> {
        let own = std::env::current_exe()
            .map_err(|error| CliError::failed(format!("cannot find this program's file: {error}")))?;
        let beside = |name: &str| {
            let program = own.with_file_name(name);
            let advice = "build it: cargo build --release -p doorbuster-cli -p doorbuster-benches --bins";
            let missing = || CliError::failed(format!("{} is missing; {advice}", program.display()));
            if Path::is_file(&program) { Ok(program) } else { Err(missing()) }
        };
        Ok(Self { doorbuster: beside("doorbuster")?, peers: beside("peers")?, orders: beside("orders")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        Options::parse_from([&["run"], words].concat())
    }

    #[test]
    fn a_row_needs_its_commands_once() {
        let names = |words: &[&str]| -> Vec<&str> {
            options(words).probes().expect("there are such rows").into_iter().map(|probe| probe.name.as_ref()).collect()
        };
        assert_eq!(names(&["--only", "memory,live-10m"]), ["live-1k", "live-10m", "inserts"]);
        assert_eq!(names(&["--only", "delay-idle"]), ["idle", "delay-idle"]);
        assert_eq!(names(&[]).len(), PROBES.len());
        assert!(options(&["--only", "x"]).probes().is_err());
        assert!(names(&["--curves"]).iter().all(|name| name.starts_with("curve-")));
        assert_eq!((options(&["--curves"]).times(), options(&["--curves", "--times", "3"]).times()), (1, 3));
    }

    #[test]
    fn a_quick_run_leaves_the_document_alone() {
        assert_eq!((options(&[]).docs(), options(&[]).times()), ("./docs".into(), 5));
        let quick = options(&["--quick", "--times", "3"]);
        assert_eq!((quick.docs(), quick.times()), ("./target/targets".into(), 1));
        assert_eq!(options(&["--quick", "--docs", "x"]).docs(), PathBuf::from("x"));
    }
}
