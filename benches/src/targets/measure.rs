//! The measuring: command after command, a round after the other. What a command gave is kept before the next one begins.

use super::kept::{Kept, Run, without_plots};
use super::options::{Options, Programs};
use super::peers::by_name;
use super::probes::{Probe, Program};
use crate::peers::busy::busy;
use doorbuster_cli::demo::process::{Process, log_tail};
use doorbuster_cli::error::CliError;
use doorbuster_cli::{clock, names};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A command that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(600);
/// One that was asked to end has so long to put its servers away.
const ENDING: Duration = Duration::from_secs(30);
/// How often it is looked whether a command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A command, and which of its runs is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What.
    pub probe: &'static Probe,
    /// From 1 on.
    pub number: u16,
}

/// Whose turn it is, from the first to the last, if so many runs of each command are kept already.
#[must_use]
pub fn turns(probes: &[&'static Probe], times: u16, kept: impl Fn(&Probe) -> usize) -> Vec<Turn> {
    let rounds = 1..=times;
    let turns = rounds.flat_map(|number| probes.iter().map(move |probe| Turn { probe, number }));
    turns.filter(|turn| turn.number <= turn.probe.times && usize::from(turn.number) > kept(turn.probe)).collect()
}

/// Whether a command that took so long the last time ends in time; of one that was never run nothing is known.
fn fits(elapsed: Duration, took: Option<Duration>, within: Duration) -> bool {
    elapsed.saturating_add(took.unwrap_or_default()) <= within
}

/// What is measured, with what, and where it is kept.
pub struct Session<'a> {
    options: &'a Options,
    programs: Programs,
    commit: String,
    folder: PathBuf,
    scratch: TempDir,
    begun: Instant,
    /// How long each command took last.
    took: BTreeMap<&'static str, Duration>,
}

impl<'a> Session<'a> {
    /// Measures nothing yet.
    ///
    /// # Errors
    /// A program is missing, or there is no temporary folder.
    pub fn new(options: &'a Options, folder: PathBuf, commit: String) -> Result<Self, CliError> {
        let scratch = tempfile::tempdir().map_err(|error| CliError::failed(format!("no temporary folder: {error}")))?;
        let (programs, begun) = (Programs::find()?, clock::now());
        Ok(Self { options, programs, commit, folder, scratch, begun, took: BTreeMap::new() })
    }

    /// Measures what is to be measured; after each round, `told` is called.
    ///
    /// # Errors
    /// It was stopped, or a result cannot be kept. A command that failed is a result.
    pub async fn measure(
        &mut self,
        stop: &CancellationToken,
        told: impl Fn() -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut kept = BTreeMap::new();
        let probes = self.options.probes()?;
        for probe in &probes {
            let command = probe.command(self.options.quick);
            let before = if self.options.merge { Kept::read(&self.folder, probe)? } else { Kept::default() };
            kept.insert(probe.name.as_ref(), before.continued(&command, &self.commit));
        }
        let turns = turns(&probes, self.options.times(), |probe| kept[probe.name.as_ref()].runs.len());
        for (at, turn) in turns.iter().enumerate() {
            if self.has_time_for(turn.probe) {
                say(&format!("{}/{} {} {}", at + 1, turns.len(), turn.probe.name, turn.number));
                let run = self.run(turn.probe, stop).await?;
                if let Some(failed) = &run.failed {
                    say(&format!("   failed: {failed}"));
                }
                let kept = kept.entry(turn.probe.name.as_ref()).or_default();
                kept.runs.push(run);
                kept.write(&self.folder, turn.probe)?;
            } else {
                say(&format!("{}/{} {}: left out, there is no time", at + 1, turns.len(), turn.probe.name));
            }
            if turns.get(at + 1).is_none_or(|next| next.number > turn.number) {
                told()?;
            }
        }
        Ok(())
    }

    fn has_time_for(&self, probe: &Probe) -> bool {
        let took = self.took.get(probe.name.as_ref()).copied();
        fits(clock::now().saturating_duration_since(self.begun), took, self.options.within())
    }

    async fn run(&mut self, probe: &'static Probe, stop: &CancellationToken) -> Result<Run, CliError> {
        let [out, said, file] = ["out", "said", "list.json"].map(|name| self.scratch.path().join(name));
        for stale in [&out, &said, &file] {
            // There is none in the first run.
            let _ = std::fs::remove_file(stale);
        }
        let (begun, all, ours) = (clock::now(), busy(), children());
        let command = self.command(probe, &file);
        let mut process = Process::spawn_apart(&probe.name, command, &out, &said)?;
        let ended = end_of(&mut process, stop).await?;
        let elapsed = clock::now().saturating_duration_since(begun);
        self.took.insert(&probe.name, elapsed);
        let (all, ours) = (busy().saturating_sub(all), children().saturating_sub(ours));
        let machine = std::thread::available_parallelism().map_or(1, usize::from);
        let whole = elapsed.as_secs_f64() * machine as f64;
        let others = (all.saturating_sub(ours).as_secs_f64() / whole.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        let output = match probe.program {
            Program::Bench | Program::Orders => read(&out).map(without_plots),
            Program::Peers => read(&file).and_then(|list| by_name(&list)),
        };
        let failed = match (&output, ended) {
            (Ok(_), true) => None,
            (Err(error), true) => Some(error.message.clone()),
            (_, false) => Some(reason(&said)),
        };
        let others = (others * 1000.0).round() / 1000.0;
        let at = names::time_text(clock::wall());
        Ok(Run { at, commit: self.commit.clone(), others, failed, output: output.unwrap_or_default() })
    }

    fn command(&self, probe: &Probe, file: &Path) -> Command {
        let mut command = match probe.program {
            Program::Bench => {
                let mut command = Command::new(&self.programs.doorbuster);
                command.arg("bench");
                command
            }
            Program::Peers => Command::new(&self.programs.peers),
            Program::Orders => Command::new(&self.programs.orders),
        };
        command.args(probe.words(self.options.quick)).arg("--json");
        if probe.program == Program::Peers {
            command.arg(file);
        }
        if let Some(data) = &self.options.data {
            command.arg("--data").arg(data);
        }
        command
    }
}

/// Waits until it has ended, and whether it did so with success.
async fn end_of(process: &mut Process, stop: &CancellationToken) -> Result<bool, CliError> {
    let late = clock::now() + LONGEST;
    let mut given_up = None;
    loop {
        if let Some(status) = process.ended() {
            return if stop.is_cancelled() {
                Err(CliError::failed("stopped: the run that was under way is not kept; --merge goes on with it"))
            } else {
                Ok(status.success())
            };
        }
        let now = clock::now();
        match given_up {
            None if stop.is_cancelled() || now > late => {
                process.terminate()?;
                given_up = Some(now + ENDING);
            }
            Some(deadline) if now > deadline => process.kill()?,
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The document in a command's output.
fn read(out: &Path) -> Result<Value, CliError> {
    let text = std::fs::read_to_string(out).unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| CliError::failed(format!("it printed no JSON document: {error}")))
}

/// Why it failed, from what it said last: a JSON document of its own, or plain text.
fn reason(said: &Path) -> String {
    let last = log_tail(said, 1);
    let message = serde_json::from_str::<Value>(&last).ok();
    let message = message.as_ref().and_then(|error| error.pointer("/error/message")?.as_str()).unwrap_or(&last);
    if message.is_empty() { "it said nothing".to_owned() } else { without_paths(message) }
}

/// The same without names of this machine's files, which mean nothing to others.
fn without_paths(text: &str) -> String {
    let is_path = |word: &str| word.trim_start_matches(['(', '\'', '"', '`']).starts_with('/');
    let words = text.split(' ').map(|word| if is_path(word) { "FILE" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Processor time of all that this process has started and that has ended, and of what that had started.
fn children() -> Duration {
    std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(parse).unwrap_or_default()
}

/// From `/proc/.../stat` (proc(5)): `cutime` and `cstime`, in ticks of 10 ms.
fn parse(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

fn say(text: &str) {
    // Nobody is left to tell if stderr is closed.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_turn_before_any_has_its_next() {
        let probes = ["live-1k", "live-10m"].map(|name| Probe::named(name).expect("it is one"));
        let told = |times, kept: &dyn Fn(&Probe) -> usize| -> Vec<(&str, u16)> {
            turns(&probes, times, kept).iter().map(|turn| (turn.probe.name.as_ref(), turn.number)).collect()
        };
        let (few, many) = ("live-10m", "live-1k");
        let wanted = [(many, 1), (few, 1), (many, 2), (few, 2), (many, 3), (few, 3), (many, 4), (many, 5)];
        assert_eq!(told(5, &|_| 0), wanted, "what takes long has fewer");
        let kept = |probe: &Probe| if probe.name == few { 3 } else { 4 };
        assert_eq!(told(5, &kept), [(many, 5)], "what is there is not measured again");
    }

    #[test]
    fn what_would_not_end_in_time_is_not_begun() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert!(fits(minutes(24), Some(minutes(1)), minutes(25)));
        assert!(!fits(minutes(24), Some(minutes(2)), minutes(25)));
        assert!(fits(minutes(24), None, minutes(25)) && !fits(minutes(26), None, minutes(25)));
        assert!(fits(minutes(999), Some(minutes(9)), Duration::MAX), "nobody said how long it may take");
    }

    #[test]
    fn the_time_of_children_is_read() {
        let stat = "77 (log ) writer) S 1 77 77 0 -1 4194304 100 0 0 0 250 50 30 12 20 0 9 0 100 0 0";
        assert_eq!(parse(stat), Some(Duration::from_millis(420)));
        assert_eq!(parse("garbage"), None);
    }

    #[test]
    fn the_reason_is_what_was_said_last() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let said = folder.path().join("said");
        assert_eq!(reason(&said), "it said nothing");
        std::fs::write(&said, "a\nplain words\n").expect("it takes a file");
        assert_eq!(reason(&said), "plain words");
        let error = CliError::wrong("no file (/tmp/x/y) and 7 unanswered").json();
        std::fs::write(&said, format!("a\n{error}\n")).expect("it takes a file");
        assert_eq!(reason(&said), "no file FILE and 7 unanswered");
    }
}
