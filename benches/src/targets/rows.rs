//! The aims: each work on one hot product, and the figures that decide whether it is as fast as it must be.

use super::figure::{Figure, Place, Source, Unit};

const OPS: &str = "/result/ops_per_second";
const P50: &str = "/result/latency_us/p50";
const P99: &str = "/result/latency_us/p99";
const MAX: &str = "/result/latency_us/max";

/// Where a row stands in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// On this machine's disk as it is.
    Aims,
    /// With syncs that take a millisecond longer.
    SlowSync,
}

/// One aim.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, for `--only`.
    pub name: &'static str,
    /// What is done.
    pub work: &'static str,
    /// What others do of it on such a machine, as measured before.
    pub peers: &'static str,
    /// Its figures.
    pub figures: &'static [Figure],
    /// Where it stands.
    pub part: Part,
}

/// All of them.
pub const ROWS: &[Row] = &[
    Row {
        name: "refuse-d16",
        work: "sold-out refusal, 50 connections, depth 16",
        peers: "Valkey 220K, TigerBeetle 727K",
        figures: &[rate("refuse-d16").at_least(1.5e6), p99("refuse-d16"), peer("refuse-d16", "valkey").at_least(6.0)],
        part: Part::Aims,
    },
    Row {
        name: "refuse-d1",
        work: "sold-out refusal, 50 connections, depth 1",
        peers: "Valkey 75K to 107K",
        figures: &[
            Figure {
                label: "of the echo server in the same run",
                unit: Unit::Part,
                source: Source::Over(
                    Place { probe: "refuse-d1", pointer: "/refuse-d1/doorbuster/ops_per_second" },
                    Place { probe: "refuse-d1", pointer: "/refuse-d1/echo/ops_per_second" },
                ),
                aim: None,
            }
            .at_least(0.9),
            Figure::at("refusals", Unit::PerSecond, "refuse-d1", "/refuse-d1/doorbuster/ops_per_second"),
            Figure::at("echo server", Unit::PerSecond, "refuse-d1", "/refuse-d1/echo/ops_per_second"),
            peer("refuse-d1", "valkey"),
        ],
        part: Part::Aims,
    },
    Row {
        name: "reserve-memory",
        work: "reserve granted, in memory, one node, depth 64",
        peers: "Valkey 70K to 93K",
        figures: &[
            rate("reserve-memory").at_least(1e6),
            p99("reserve-memory"),
            peer("reserve-memory-d64", "valkey").at_least(10.0),
        ],
        part: Part::Aims,
    },
    Row {
        name: "reserve-synced",
        work: "reserve granted, synced, one node, depth 64",
        peers: "TigerBeetle 314K, Valkey 40K to 64K",
        figures: &[
            rate("reserve-synced").at_least(1e6),
            p99("reserve-synced"),
            peer("reserve-disk-d64", "valkey"),
            peer("reserve-disk-d64", "postgres"),
        ],
        part: Part::Aims,
    },
    Row {
        name: "reserve-3-nodes",
        work: "reserve granted, three nodes, quorum synced, depth 64",
        peers: "TigerBeetle 147K, Valkey 20K to 23K",
        figures: &[
            rate("reserve-3-nodes").at_least(5e5),
            p99("reserve-3-nodes"),
            peer("reserve-3-nodes-d64", "valkey"),
        ],
        part: Part::Aims,
    },
    Row {
        name: "reserve-50",
        work: "the same, 50 callers with one request each in flight",
        peers: "Valkey 8.6K, TigerBeetle at most 9K",
        figures: &[
            rate("reserve-50").at_least(6e4),
            p50("reserve-50"),
            p99("reserve-50").at_most(5e3),
            Figure::at("through the client library", Unit::PerSecond, "reserve-50-callers", OPS),
            Figure::at("its p99", Unit::Micros, "reserve-50-callers", P99),
            peer("reserve-3-nodes-d1", "valkey"),
        ],
        part: Part::Aims,
    },
    Row {
        name: "idle",
        work: "one idle caller, three nodes, synced",
        peers: "Valkey 0.53 / 1.3 ms, TigerBeetle 0.64 / 5.5 ms",
        figures: &[p50("idle").at_most(350.0), p99("idle").at_most(1e3), rate("idle")],
        part: Part::Aims,
    },
    Row {
        name: "confirm",
        work: "confirm, three nodes",
        peers: "TigerBeetle 60K",
        figures: &[rate("confirm").at_least(4e5), p99("confirm")],
        part: Part::Aims,
    },
    Row {
        name: "storm",
        work: "a million reservations expire in one second, 50,000 reserves a second meanwhile",
        peers: "TigerBeetle 180K/s, idle",
        figures: &[
            Figure::at("units back, three nodes", Unit::PerSecond, "storm", "/came_back/units_per_second")
                .at_least(5e5),
            Figure::at("reserve p99 meanwhile, three nodes", Unit::Micros, "storm", P99).at_most(1e4),
            Figure::at("units back, one node", Unit::PerSecond, "storm-1-node", "/came_back/units_per_second")
                .at_least(5e5),
            Figure::at("reserve p99 meanwhile, one node", Unit::Micros, "storm-1-node", P99).at_most(1e4),
        ],
        part: Part::Aims,
    },
    Row {
        name: "failover",
        work: "leader killed, three nodes, 20,000 reserves a second",
        peers: "0.3 to 1.3 s",
        figures: &[Figure::at("longest wait of any caller", Unit::Micros, "failover", MAX).at_most(5e5)],
        part: Part::Aims,
    },
    Row {
        name: "memory",
        work: "a live reservation among 10 million, everything included",
        peers: "Valkey 200 bytes",
        figures: &[Figure::at("resident memory each", Unit::Bytes, "live-10m", "/live/bytes_each").at_most(128.0)],
        part: Part::Aims,
    },
    Row {
        name: "live-10m",
        work: "10 million live reservations, one node, synced",
        peers: "one rehash of 0.98 s in a plain hash map",
        figures: &[
            Figure {
                label: "throughput of that with a thousand",
                unit: Unit::Part,
                source: Source::Over(
                    Place { probe: "live-10m", pointer: OPS },
                    Place { probe: "live-1k", pointer: OPS },
                ),
                aim: None,
            }
            .at_least(0.8),
            Figure::at("with 10 million", Unit::PerSecond, "live-10m", OPS),
            Figure::at("with a thousand", Unit::PerSecond, "live-1k", OPS),
            Figure::at("longest of 10 million inserts, 200,000 offered a second", Unit::Micros, "inserts", MAX)
                .at_most(1e4),
            Figure::at("their p99.9", Unit::Micros, "inserts", "/result/latency_us/p999"),
        ],
        part: Part::Aims,
    },
    Row {
        name: "snapshot",
        work: "snapshot of a million live reservations, 50,000 reserves a second meanwhile, three nodes",
        peers: "",
        figures: &[
            Figure::at("p99.9 grows by, while taken", Unit::Millis, "snapshot", "/snapshots/p999_growth_ms")
                .at_most(5.0),
            Figure::at(
                "p99.9 grows by, while installed",
                Unit::Millis,
                "snapshot",
                "/snapshots/p999_growth_installing_ms",
            ),
            Figure::at("p99.9 without", Unit::Micros, "snapshot", "/snapshots/without/p999_us"),
            Figure::at("p99.9 with", Unit::Micros, "snapshot", "/snapshots/with/p999_us"),
        ],
        part: Part::Aims,
    },
    Row {
        name: "http",
        work: "refused reserve over HTTP, one core",
        peers: "",
        figures: &[
            Figure::at("of a trivial hyper server in the same run", Unit::Part, "http", "/http/ratio").at_least(0.6),
            Figure::at("gateway", Unit::PerSecond, "http", "/http/gateway_per_second"),
            Figure::at("hyper", Unit::PerSecond, "http", "/http/hyper_per_second"),
        ],
        part: Part::Aims,
    },
    Row {
        name: "orders",
        work: "orders into PostgreSQL, from the feed of one node",
        peers: "",
        figures: &[
            Figure::at(
                "of bare UNNEST batches of the same rows in the same run",
                Unit::Part,
                "orders",
                "/ratio_to_bare",
            )
            .at_least(0.8),
            Figure::at("the same from a feed in memory", Unit::Part, "orders", "/ratio_from_memory_to_bare"),
            Figure::at("of bare batches of orders without payments", Unit::Part, "orders", "/ratio_to_bare_orders"),
            Figure::at("orders with payments", Unit::PerSecond, "orders", "/ways/writer/orders_per_second"),
            Figure::at("bare batches of them", Unit::PerSecond, "orders", "/ways/bare/orders_per_second"),
            Figure::at(
                "bare batches of orders alone",
                Unit::PerSecond,
                "orders",
                "/ways/bare-orders/orders_per_second",
            ),
        ],
        part: Part::Aims,
    },
    Row {
        name: "catch-up",
        work: "a follower that missed a million reservations, 50,000 a second meanwhile",
        peers: "",
        figures: &[
            Figure::at("caught up after", Unit::Seconds, "catch-up", "/caught_up/caught_up_seconds").at_most(5.0),
            Figure::at("reserve p99 meanwhile", Unit::Micros, "catch-up", P99),
        ],
        part: Part::Aims,
    },
    Row {
        name: "delay-synced",
        work: "reserve granted, synced, one node, depth 64",
        peers: "",
        figures: &[
            rate("delay-synced").at_least(1e6),
            ratio("of that without the delay", "delay-synced", "reserve-synced").at_least(0.9),
            p50("delay-synced"),
            p99("delay-synced"),
        ],
        part: Part::SlowSync,
    },
    Row {
        name: "delay-3-nodes",
        work: "reserve granted, three nodes, quorum synced, depth 64",
        peers: "",
        figures: &[
            rate("delay-3-nodes").at_least(5e5),
            ratio("of that without the delay", "delay-3-nodes", "reserve-3-nodes").at_least(0.9),
            p50("delay-3-nodes"),
            p99("delay-3-nodes"),
        ],
        part: Part::SlowSync,
    },
    Row {
        name: "delay-50",
        work: "the same, 50 callers with one request each in flight",
        peers: "",
        figures: &[
            later("delay-50", "reserve-50").at_most(1_250.0),
            rate("delay-50"),
            p50("delay-50"),
            p99("delay-50"),
        ],
        part: Part::SlowSync,
    },
    Row {
        name: "delay-idle",
        work: "one idle caller, three nodes, synced",
        peers: "",
        figures: &[later("delay-idle", "idle").at_most(1_250.0), p50("delay-idle"), p99("delay-idle")],
        part: Part::SlowSync,
    },
];

const fn rate(probe: &'static str) -> Figure {
    Figure::at("rate", Unit::PerSecond, probe, OPS)
}

const fn p50(probe: &'static str) -> Figure {
    Figure::at("p50", Unit::Micros, probe, P50)
}

const fn p99(probe: &'static str) -> Figure {
    Figure::at("p99", Unit::Micros, probe, P99)
}

const fn peer(work: &'static str, system: &'static str) -> Figure {
    let label = match system.as_bytes() {
        b"valkey" => "times as fast as Valkey in the same run",
        _ => "times as fast as PostgreSQL in the same run",
    };
    Figure { label, unit: Unit::Times, source: Source::Peer { work, system }, aim: None }
}

const fn ratio(label: &'static str, one: &'static str, other: &'static str) -> Figure {
    let (one, other) = (Place { probe: one, pointer: OPS }, Place { probe: other, pointer: OPS });
    Figure { label, unit: Unit::Part, source: Source::Over(one, other), aim: None }
}

/// By how much the middle caller waits longer than without the delay: one sync, where all replicas sync at once.
const fn later(one: &'static str, other: &'static str) -> Figure {
    let (one, other) = (Place { probe: one, pointer: P50 }, Place { probe: other, pointer: P50 });
    Figure {
        label: "p50 above that without the delay",
        unit: Unit::Micros,
        source: Source::Minus(one, other),
        aim: None,
    }
}

impl Row {
    /// The commands that it needs, each once.
    #[must_use]
    pub fn probes(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for name in self.figures.iter().flat_map(|figure| figure.source.probes()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// The rows of these names; all if none is named.
///
/// # Errors
/// The name that none has, with those that there are.
pub fn chosen(names: &[String]) -> Result<Vec<&'static Row>, String> {
    if let Some(unknown) = names.iter().find(|name| !ROWS.iter().any(|row| row.name == **name)) {
        let known: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        return Err(format!("--only {unknown}: there is no such row; there are {}", known.join(", ")));
    }
    Ok(ROWS.iter().filter(|row| names.is_empty() || names.iter().any(|name| row.name == *name)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::probes::{PROBES, Probe};
    use super::*;
    use crate::peers::contest::works;

    #[test]
    fn every_row_has_an_aim_and_every_command_a_row() {
        for row in ROWS {
            assert!(row.figures.iter().any(|figure| figure.aim.is_some()), "{}: nothing to reach", row.name);
            for name in row.probes() {
                assert!(Probe::named(name).is_some(), "{}: there is no command {name}", row.name);
            }
        }
        let used: Vec<_> = ROWS.iter().flat_map(Row::probes).collect();
        let idle: Vec<_> = PROBES.iter().filter(|probe| !used.contains(&probe.name.as_ref())).collect();
        assert!(idle.is_empty(), "measured for nothing: {idle:?}");
    }

    #[test]
    fn peers_are_asked_for_what_they_do() {
        let figures = ROWS.iter().flat_map(|row| row.figures);
        for (work, system) in figures.filter_map(|figure| match figure.source {
            Source::Peer { work, system } => Some((work, system)),
            _ => None,
        }) {
            let found = works(&[work.to_owned()]).expect("there is such work");
            let other = clap::ValueEnum::from_str(system, false).expect("there is such a system");
            assert!(found.iter().any(|found| found.name == work && found.is_done_by(other)), "{work}, {system}");
        }
    }

    #[test]
    fn rows_are_chosen_by_name() {
        let names = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            chosen(&wanted).map(|rows| rows.iter().map(|row| row.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["storm", "idle"]), Ok(vec!["idle", "storm"]));
        assert_eq!(names(&[]).map(|all| all.len()), Ok(ROWS.len()));
        assert!(names(&["reserve"]).is_err_and(|error| error.contains("reserve-synced")));
    }
}
