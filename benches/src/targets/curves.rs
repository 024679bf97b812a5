//! The curves that the capacity guide rests on: one command at many depths, connections, delays, rates and sizes. Each point is a
//! command like any other, kept in a file of its own.

use super::book::Book;
use super::figure::Unit;
use super::probes::{Probe, Program};
use super::samples::Samples;
use doorbuster_cli::bench::page::{Axes, BLACK, BLUE, Line, ORANGE, RED, plot};
use doorbuster_cli::error::CliError;
use std::fmt::Write as _;
use std::sync::LazyLock;

const RATE: Column = Column { label: "a second", unit: Unit::PerSecond, pointer: "/result/ops_per_second" };
const P50: Column = Column { label: "p50", unit: Unit::Micros, pointer: "/result/latency_us/p50" };
const P99: Column = Column { label: "p99", unit: Unit::Micros, pointer: "/result/latency_us/p99" };
const EACH: Column = Column { label: "each", unit: Unit::Bytes, pointer: "/live/bytes_each" };

/// What is told of each point.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub label: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Where it stands in the output.
    pub pointer: &'static str,
}

/// One thing against another.
#[derive(Debug)]
pub struct Curve {
    /// Its name, and that of its picture.
    pub name: &'static str,
    /// What changes from point to point.
    pub x: &'static str,
    /// What is told; the first is drawn, and all of them if there is one line.
    pub columns: &'static [Column],
    /// What is compared.
    pub lines: Vec<Series>,
}

/// One line.
#[derive(Debug)]
pub struct Series {
    /// What it is of.
    pub name: &'static str,
    /// From left to right.
    pub points: Vec<Point>,
}

/// One point.
#[derive(Debug)]
pub struct Point {
    /// Where.
    pub x: u32,
    /// The command.
    pub probe: Probe,
}

/// All curves.
pub static CURVES: LazyLock<Vec<Curve>> = LazyLock::new(|| {
    const PINNED: &str = "--server-cpus 0 --generator-cpus 1";
    vec![
        Curve {
            name: "depth",
            x: "requests under way on each of 50 connections",
            columns: &[RATE, P50],
            lines: vec![
                series(
                    "depth",
                    "refused, one node",
                    &[1, 4, 16, 64],
                    &format!("refuse --spawn 1 --depth {{}} {PINNED}"),
                ),
                series(
                    "depth",
                    "granted, one node",
                    &[1, 4, 16, 64, 256],
                    &format!("reserve --spawn 1 --depth {{}} {PINNED}"),
                ),
                series("depth", "granted, three nodes", &[1, 4, 16, 64, 256], "reserve --spawn 3 --depth {}"),
            ],
        },
        Curve {
            name: "connections",
            x: "connections, one request under way on each",
            columns: &[RATE, P50],
            lines: vec![
                series(
                    "connections",
                    "refused, one node",
                    &[1, 10, 50, 200, 1000],
                    &format!("refuse --spawn 1 --connections {{}} {PINNED}"),
                ),
                series(
                    "connections",
                    "granted, three nodes",
                    &[1, 10, 50, 200, 1000],
                    "reserve --spawn 3 --connections {}",
                ),
            ],
        },
        Curve {
            name: "sync-delay",
            x: "milliseconds added to each sync",
            columns: &[RATE, P50],
            lines: vec![
                series(
                    "sync-delay",
                    "three nodes, depth 64",
                    &[0, 1, 2, 5, 10],
                    "reserve --spawn 3 --depth 64 --sync-delay {}ms",
                ),
                series("sync-delay", "three nodes, depth 1", &[0, 1, 2, 5, 10], "reserve --spawn 3 --sync-delay {}ms"),
            ],
        },
        Curve {
            name: "rate",
            x: "granted reserves offered a second, three nodes",
            columns: &[P50, P99],
            lines: vec![series(
                "rate",
                "three nodes",
                &[10_000, 50_000, 100_000, 200_000, 300_000, 400_000],
                "reserve --spawn 3 --rate {}",
            )],
        },
        Curve {
            name: "live",
            x: "live reservations",
            columns: &[EACH],
            lines: vec![series(
                "live",
                "one node",
                &[100_000, 1_000_000, 3_000_000, 10_000_000],
                "reserve --spawn 1 --depth 64 --live {}",
            )],
        },
    ]
});

/// A command at each of these values, which take the place of `{}`.
fn series(curve: &str, name: &'static str, values: &[u32], words: &str) -> Series {
    let slug = name.replace(", ", "-").replace(' ', "-");
    let point = |x: &u32| {
        let words = format!("{} --duration 2s --warm-up 500ms", words.replace("{}", &x.to_string()));
        let name = format!("curve-{curve}-{slug}-{x}").into();
        Point { x: *x, probe: Probe { name, program: Program::Bench, words: words.into(), times: u16::MAX } }
    };
    Series { name, points: values.iter().map(point).collect() }
}

impl Curve {
    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        CURVES.iter().find(|curve| curve.name == name)
    }

    /// As a table.
    #[must_use]
    pub fn table(&self, book: &Book) -> String {
        let mut xs: Vec<u32> = self.lines.iter().flat_map(|line| line.points.iter().map(|point| point.x)).collect();
        xs.sort_unstable();
        xs.dedup();
        let columns = || self.lines.iter().flat_map(|line| self.columns.iter().map(move |column| (line, column)));
        let heads: Vec<String> = columns().map(|(line, column)| format!("{}: {}", line.name, column.label)).collect();
        let mut table = format!("| {} | {} |\n|{}\n", self.x, heads.join(" | "), " --- |".repeat(heads.len() + 1));
        for x in xs {
            let cells = columns().map(|(line, column)| {
                let point = line.points.iter().find(|point| point.x == x);
                point.map_or_else(String::new, |point| {
                    let value = value(book, point, column);
                    value.map_or_else(|| "not measured".to_owned(), |value| column.unit.show(value))
                })
            });
            let _ = writeln!(
                table,
                "| {} | {} |",
                doorbuster_cli::output::grouped(f64::from(x)),
                cells.collect::<Vec<_>>().join(" | ")
            );
        }
        table
    }

    /// As a picture; `None` if nothing of it was measured.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn picture(&self, book: &Book) -> Result<Option<String>, CliError> {
        let drawn = if self.lines.len() == 1 { self.columns } else { &self.columns[..1] };
        let colors = [BLUE, ORANGE, RED, BLACK].into_iter().cycle();
        let pairs = self.lines.iter().flat_map(|line| drawn.iter().map(move |column| (line, column)));
        let lines: Vec<Line> = pairs
            .zip(colors)
            .map(|((line, column), color)| {
                let points = line.points.iter().filter_map(|point| {
                    let scale = if column.unit == Unit::Micros { 1e-3 } else { 1.0 };
                    Some((f64::from(point.x), value(book, point, column)? * scale))
                });
                let name = if self.lines.len() == 1 { column.label } else { line.name };
                Line { name, color, points: points.collect() }
            })
            .collect();
        if lines.iter().all(|line| line.points.is_empty()) {
            return Ok(None);
        }
        let from_nothing = self.lines.iter().any(|line| line.points.iter().any(|point| point.x == 0));
        plot(&lines, Axes { log_x: !from_nothing, log_y: self.columns[0].unit == Unit::Micros }).map(Some)
    }
}

fn value(book: &Book, point: &Point, column: &Column) -> Option<f64> {
    let kept = book.kept.get(point.probe.name.as_ref())?;
    Samples::of(kept.values(column.pointer).map(|(_, value)| value)).map(|samples| samples.median)
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::book;
    use super::*;

    #[test]
    fn a_curve_is_a_table_and_a_picture() {
        let name = |x: u32| -> &'static str {
            let curve = Curve::named("connections").expect("it is one");
            &curve.lines[1].points.iter().find(|point| point.x == x).expect("it is a point").probe.name
        };
        let book = book(&[(name(1), &[2000.0]), (name(50), &[60_000.0, 61_000.0, 62_000.0])]);
        let curve = Curve::named("connections").expect("it is one");
        let table = curve.table(&book);
        assert!(table.contains("| 50 | not measured | not measured | 61,000/s | 0.200 ms |\n"), "{table}");
        assert!(table.starts_with("| connections, one request under way on each | refused, one node: a second | "));
        assert_eq!(table.lines().nth(1).map(|line| line.matches("---").count()), Some(5));
        let picture = curve.picture(&book).expect("it can be drawn").expect("there are points");
        assert!(picture.contains("<svg") && picture.contains("granted, three nodes"));
        assert_eq!(Curve::named("live").map(|live| live.picture(&book).expect("it is nothing")), Some(None));
    }

    #[test]
    fn points_are_commands_of_their_own() {
        let depth = Curve::named("depth").expect("it is one");
        let probe = &depth.lines[2].points[3].probe;
        assert_eq!(probe.name, "curve-depth-granted-three-nodes-64");
        assert_eq!(probe.words, "reserve --spawn 3 --depth 64 --duration 2s --warm-up 500ms");
    }
}
