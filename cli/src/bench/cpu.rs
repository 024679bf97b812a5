//! Who ran where, and for how long: processors are given to servers and to the generator, and at the end it is said which
//! of them had no time left. A bench whose generator was full has measured its generator.

use crate::error::CliError;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// From this share of its processors on, something was full.
const FULL: f64 = 0.93;

/// Some of this machine's processors, as `taskset -c` names them: `0`, `0,2`, `0-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    numbers: Vec<usize>,
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' names no processors; give numbers and ranges, like 0 or 0,2 or 0-3");
        let mut numbers = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let ends = (first.trim().parse::<usize>(), last.trim().parse::<usize>());
            let (Ok(first), Ok(last)) = ends else { return Err(wrong()) };
            if first > last || last >= CpuSet::MAX_CPU {
                return Err(wrong());
            }
            numbers.extend(first..=last);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(Self { numbers })
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

impl Cpus {
    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.numbers.len()
    }

    fn set(&self) -> CpuSet {
        let mut set = CpuSet::new();
        self.numbers.iter().for_each(|number| set.set(*number));
        set
    }
}

/// This thread, and what it starts, runs on these processors; until dropped, then where it ran before.
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Moves this thread there. Drop it on the same thread.
    ///
    /// # Errors
    /// If the machine has none of these processors, or forbids it.
    pub fn to(cpus: &Cpus) -> Result<Self, CliError> {
        let wrong = |error| CliError::usage(format!("cannot run on processors {cpus}: {error}; see `nproc`"));
        let before = sched_getaffinity(None).map_err(wrong)?;
        sched_setaffinity(None, &cpus.set()).map_err(wrong)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It ran there before, so it may again.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// Processor time that processes have used so far.
#[derive(Clone, Debug, Default)]
pub struct Used {
    whole: Duration,
    busiest: Vec<(String, Duration)>,
}

impl Used {
    /// By these processes and their threads; those that are gone count nothing.
    #[must_use]
    pub fn by(pids: &[u32]) -> Self {
        let mut used = Self::default();
        for pid in pids {
            let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.flatten() {
                let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { continue };
                let Some((name, time)) = parse_stat(&stat) else { continue };
                used.whole += time;
                used.busiest.push((format!("{pid}/{}/{name}", thread.file_name().display()), time));
            }
        }
        used
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let at_first =
            |id: &str| before.busiest.iter().find(|(known, _)| known == id).map_or(Duration::ZERO, |(_, time)| *time);
        let spent = self.busiest.iter().map(|(id, time)| (id.clone(), time.saturating_sub(at_first(id))));
        Self { whole: self.whole.saturating_sub(before.whole), busiest: spent.collect() }
    }

    fn busiest_thread(&self) -> Option<(&str, Duration)> {
        let (id, time) = self.busiest.iter().max_by_key(|(_, time)| *time)?;
        Some((id.rsplit('/').next().unwrap_or(id), *time))
    }
}

/// Name and processor time of a thread, from its `/proc/.../stat` (proc(5)); in ticks of 10 ms, as on every Linux today.
fn parse_stat(stat: &str) -> Option<(String, Duration)> {
    let (front, rest) = stat.rsplit_once(')')?;
    let name = front.split_once('(')?.1;
    let mut fields = rest.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some((name.to_owned(), Duration::from_millis(ticks * 10)))
}

/// Who had how much of the processors, while a window lasted.
#[derive(Clone, Debug)]
pub struct Shares {
    /// Processors of the machine.
    pub machine: usize,
    /// How long it was.
    pub elapsed: Duration,
    /// The generator's threads: how many, and what they used together.
    pub generator: (usize, Duration),
    /// What the servers used, if they run here, and the processors they were kept to.
    pub servers: Option<(Used, Option<usize>)>,
}

impl Shares {
    /// The generator's share of the processors it could use: one a thread.
    #[must_use]
    pub fn generator(&self) -> f64 {
        share(self.generator.1, self.elapsed, self.generator.0)
    }

    /// The servers' share of the processors they could use.
    #[must_use]
    pub fn servers(&self) -> Option<f64> {
        let (used, pinned) = self.servers.as_ref()?;
        Some(share(used.whole, self.elapsed, pinned.unwrap_or(self.machine)))
    }

    /// Who had no time left, as a name for programs.
    #[must_use]
    pub fn full(&self) -> &'static str {
        let thread = self.busiest_thread().map_or(0.0, |(_, share)| share);
        let servers = self.servers().unwrap_or_default();
        let all = self.servers.as_ref().map_or(Duration::ZERO, |(used, _)| used.whole) + self.generator.1;
        match (self.generator() >= FULL, servers >= FULL || thread >= FULL) {
            (true, true) => "both",
            (true, false) => "generator",
            (false, true) => "servers",
            (false, false) if share(all, self.elapsed, self.machine) >= FULL => "machine",
            (false, false) => "neither",
        }
    }

    /// The same as a sentence.
    #[must_use]
    pub fn verdict(&self) -> String {
        match self.full() {
            "both" => "generator and servers were both full".to_owned(),
            "generator" => {
                "the GENERATOR was full: these figures are its own; give it more --threads and processors".to_owned()
            }
            "servers" => "the servers were full: these are their figures".to_owned(),
            "machine" => "the machine's processors were full, shared by generator and servers".to_owned(),
            _ if self.servers.is_none() => {
                "the generator was not full; of the servers' processors nothing is known".to_owned()
            }
            _ => "nobody was full: the rate, the depth, or the disk decided".to_owned(),
        }
    }

    fn busiest_thread(&self) -> Option<(&str, f64)> {
        let (used, _) = self.servers.as_ref()?;
        used.busiest_thread().map(|(name, time)| (name, share(time, self.elapsed, 1)))
    }

    /// For people.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, String)> {
        let percent = |share: f64| format!("{:.0}%", share * 100.0);
        let mut rows =
            vec![("generator".to_owned(), format!("{} of {} thread(s)", percent(self.generator()), self.generator.0))];
        if let Some(share) = self.servers() {
            let busiest =
                self.busiest_thread().map(|(name, share)| format!(", busiest thread `{name}` {}", percent(share)));
            let processors = self.servers.as_ref().and_then(|(_, pinned)| *pinned).unwrap_or(self.machine);
            let text = format!("{} of {processors} processor(s){}", percent(share), busiest.unwrap_or_default());
            rows.push(("servers".to_owned(), text));
        }
        rows.push(("full".to_owned(), self.verdict()));
        rows
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "full": self.full(), "generator_share": round(self.generator()), "generator_threads": self.generator.0,
            "servers_share": self.servers().map(round), "machine_processors": self.machine,
            "busiest_server_thread": self.busiest_thread().map(|(name, share)| json!({ "name": name, "share": round(share) })),
        })
    }
}

fn share(used: Duration, elapsed: Duration, processors: usize) -> f64 {
    used.as_secs_f64() / (elapsed.as_secs_f64() * processors as f64).max(f64::MIN_POSITIVE)
}

fn round(share: f64) -> f64 {
    (share * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named_as_taskset_does() {
        let numbers = |text: &str| text.parse::<Cpus>().map(|cpus| cpus.to_string());
        assert_eq!(numbers("1"), Ok("1".to_owned()));
        assert_eq!(numbers("3,0-1,1"), Ok("0,1,3".to_owned()));
        for wrong in ["", "a", "1-", "2-1", "0,,1", "99999999"] {
            assert!(numbers(wrong).is_err_and(|error| error.contains("like 0 or")), "{wrong}");
        }
    }

    #[test]
    fn a_thread_with_a_strange_name_is_read() {
        let stat = "77 (log ) writer) S 1 77 77 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 0 0";
        assert_eq!(parse_stat(stat), Some(("log ) writer".to_owned(), Duration::from_secs(3))));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn this_process_is_found() {
        let used = Used::by(&[std::process::id()]);
        assert!(used.busiest_thread().is_some());
        assert!(used.since(&used).whole.is_zero());
    }

    #[test]
    fn who_was_full_is_said() {
        let second = Duration::from_secs(1);
        let servers = |used: u64, pinned| {
            let used = Duration::from_millis(used);
            Some((Used { whole: used, busiest: vec![("1/2/shard".to_owned(), used / 4)] }, pinned))
        };
        let shares = |generator: u64, servers| Shares {
            machine: 4,
            elapsed: second,
            generator: (1, Duration::from_millis(generator)),
            servers,
        };
        assert_eq!(shares(990, servers(200, Some(1))).full(), "generator");
        assert_eq!(shares(500, servers(980, Some(1))).full(), "servers");
        assert_eq!(shares(500, servers(3_720, None)).full(), "servers");
        assert_eq!(shares(900, servers(2_900, None)).full(), "machine");
        assert_eq!(shares(990, servers(990, Some(1))).full(), "both");
        assert_eq!(shares(500, servers(100, Some(1))).full(), "neither");
        assert!(shares(100, None).verdict().contains("nothing is known"));
    }
}
