//! The commands. Each is short enough that all of them fit into half an hour five times over; what takes long is done less
//! often.

use super::curves::CURVES;
use std::borrow::Cow;
use std::fmt;

/// Which program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `doorbuster bench`.
    Bench,
    /// `benches/peers/run`, for what needs another system in the same run.
    Peers,
    /// `benches/orders/run`, for the order writer.
    Orders,
}

/// A command that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its name, and that of the file in which its results are kept.
    pub name: Cow<'static, str>,
    /// What it runs.
    pub program: Program,
    /// With these arguments, to which `--json` is added.
    pub words: Cow<'static, str>,
    /// How often at most, however many rounds there are.
    pub times: u16,
}

/// All of them.
pub const PROBES: &[Probe] = &[
    bench("refuse-d16", "refuse --spawn 1 --depth 16 --duration 4s --warm-up 1s --server-cpus 0 --generator-cpus 1"),
    bench("refuse-d1", "--only doorbuster,echo --works refuse-d1 --repeats 1 --seconds 3").by(Program::Peers),
    bench(
        "reserve-memory",
        "reserve --spawn 1 --durability memory --depth 64 --duration 4s --warm-up 1s --server-cpus 0 --generator-cpus 1",
    ),
    bench(
        "reserve-synced",
        "reserve --spawn 1 --depth 64 --duration 4s --warm-up 1s --server-cpus 0 --generator-cpus 1",
    ),
    bench("reserve-3-nodes", "reserve --spawn 3 --depth 64 --duration 4s --warm-up 1s"),
    bench("reserve-50", "reserve --spawn 3 --connections 50 --depth 1 --duration 4s --warm-up 1s"),
    bench("reserve-50-callers", "reserve --spawn 3 --callers 50 --duration 4s --warm-up 1s"),
    bench("idle", "reserve --spawn 3 --connections 1 --depth 1 --duration 4s --warm-up 1s"),
    bench("confirm", "confirm --spawn 3 --prepared 3000000 --depth 64 --duration 3s --warm-up 1s"),
    bench("storm", "expiry-storm --spawn 3 --due 1000000 --due-rate 125000 --rate 50000 --duration 5s --warm-up 1s"),
    bench(
        "storm-1-node",
        "expiry-storm --spawn 1 --due 1000000 --due-rate 200000 --rate 50000 --duration 5s --warm-up 1s --server-cpus 0 --generator-cpus 1",
    )
    .at_most(3),
    bench("failover", "failover --spawn 3 --rate 20000 --duration 5s --warm-up 1s"),
    bench(
        "live-1k",
        "reserve --spawn 1 --live 1000 --depth 64 --duration 4s --warm-up 1s --server-cpus 0 --generator-cpus 1",
    ),
    bench(
        "live-10m",
        "reserve --spawn 1 --live 10000000 --depth 64 --duration 4s --warm-up 1s --server-cpus 0 --generator-cpus 1",
    )
    .at_most(3),
    bench(
        "inserts",
        "reserve --spawn 1 --rate 200000 --duration 50s --warm-up 1s --server-cpus 0 --generator-cpus 1",
    )
    .at_most(2),
    bench("snapshot", "snapshot --spawn 3 --live 1000000 --rate 50000 --duration 6s --warm-up 1s").at_most(3),
    bench(
        "http",
        "http --spawn 1 --connections 50 --duration 4s --warm-up 1s --gateway-cpus 0 --server-cpus 1 --generator-cpus 1",
    ),
    bench("catch-up", "catch-up --spawn 3 --missed 1000000 --rate 50000 --duration 8s --warm-up 1s").at_most(3),
    bench("orders", "--orders 50000 --rounds 1").by(Program::Orders),
    bench(
        "delay-synced",
        "reserve --spawn 1 --sync-delay 1ms --depth 64 --duration 4s --warm-up 1s --server-cpus 0 --generator-cpus 1",
    ),
    bench("delay-3-nodes", "reserve --spawn 3 --sync-delay 1ms --depth 64 --duration 4s --warm-up 1s"),
    bench("delay-50", "reserve --spawn 3 --sync-delay 1ms --connections 50 --depth 1 --duration 4s --warm-up 1s"),
    bench("delay-idle", "reserve --spawn 3 --sync-delay 1ms --connections 1 --depth 1 --duration 4s --warm-up 1s"),
];

const fn bench(name: &'static str, words: &'static str) -> Probe {
    Probe { name: Cow::Borrowed(name), program: Program::Bench, words: Cow::Borrowed(words), times: u16::MAX }
}

impl Probe {
    const fn by(mut self, program: Program) -> Self {
        self.program = program;
        self
    }

    const fn at_most(mut self, times: u16) -> Self {
        self.times = times;
        self
    }

    /// Those of rows and curves.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        PROBES.iter().chain(Self::of_curves())
    }

    /// Those of curves, point after point.
    pub fn of_curves() -> impl Iterator<Item = &'static Self> {
        let lines = CURVES.iter().flat_map(|curve| &curve.lines);
        lines.flat_map(|line| line.points.iter().map(|point| &point.probe))
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PROBES.iter().find(|probe| probe.name == name)
    }

    /// Its arguments; `quick` ones measure nothing that counts, but everything is run.
    #[must_use]
    pub fn words(&self, quick: bool) -> Vec<String> {
        let mut words: Vec<String> = self.words.split_whitespace().map(str::to_owned).collect();
        if quick {
            // A storm of expiries alone lasts a second.
            let seconds = if words[0] == "expiry-storm" { "3s" } else { "1s" };
            for at in 1..words.len() {
                if let Some(shorter) = shorter(&words[at - 1], &words[at], seconds) {
                    words[at] = shorter;
                }
            }
        }
        words
    }

    /// The command, as one would type it.
    #[must_use]
    pub fn command(&self, quick: bool) -> String {
        format!("{} {} --json{}", self.program, self.words(quick).join(" "), self.program.json_file())
    }
}

impl Program {
    /// A file takes the peers' list; the others print their documents.
    const fn json_file(self) -> &'static str {
        match self {
            Self::Bench | Self::Orders => "",
            Self::Peers => " FILE",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bench => "doorbuster bench",
            Self::Peers => "benches/peers/run",
            Self::Orders => "benches/orders/run",
        })
    }
}

/// What a flag's value is in a quick run, if another.
fn shorter(flag: &str, value: &str, seconds: &str) -> Option<String> {
    let fewer = |at_least: u64| {
        let count = value.parse::<u64>().ok().filter(|count| *count > at_least)?;
        Some((count / 50).max(at_least).to_string())
    };
    match flag {
        "--duration" => Some(seconds.to_owned()),
        "--warm-up" => Some("300ms".to_owned()),
        "--seconds" => Some("0.8".to_owned()),
        "--live" | "--due" | "--missed" => fewer(20_000),
        "--orders" => Some("5000".to_owned()),
        "--prepared" => Some("400000".to_owned()),
        "--rate" => Some("5000".to_owned()),
        "--due-rate" => Some("10000".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::options as orders;
    use crate::peers::options::Options;
    use clap::Parser;
    use doorbuster_cli::bench::BenchArgs;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    #[test]
    fn every_command_can_be_given() {
        for (probe, quick) in Probe::all().flat_map(|probe| [(probe, false), (probe, true)]) {
            let words = probe.words(quick);
            let line = ["it"].into_iter().chain(words.iter().map(String::as_str));
            let wrong = match probe.program {
                Program::Bench => {
                    Line::try_parse_from(line.chain(["--json"])).map(|line| assert!(line.bench.wants_json())).err()
                }
                Program::Peers => Options::try_parse_from(line).map(drop).err(),
                Program::Orders => orders::Options::try_parse_from(line.chain(["--json"])).map(drop).err(),
            };
            assert!(wrong.is_none(), "{}: {}", probe.name, wrong.map(|wrong| wrong.to_string()).unwrap_or_default());
        }
    }

    #[test]
    fn names_differ() {
        let mut names: Vec<_> = Probe::all().map(|probe| &probe.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Probe::all().count());
    }

    #[test]
    fn a_quick_run_is_short_and_says_so_in_its_command() {
        let probe = Probe::named("live-10m").expect("it is one");
        assert!(probe.command(false).ends_with(
            "--live 10000000 --depth 64 --duration 4s --warm-up 1s --server-cpus 0 --generator-cpus 1 --json"
        ));
        let quick = probe.command(true);
        assert!(quick.starts_with("doorbuster bench reserve --spawn 1 --live 200000 "), "{quick}");
        assert!(quick.contains("--duration 1s --warm-up 300ms"), "{quick}");
        let few = Probe::named("live-1k").expect("it is one");
        assert!(few.command(true).contains("--live 1000 "), "few stay as they are");
    }
}
