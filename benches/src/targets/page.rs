//! The document: written whole, from what is kept and from prose in files of its own, so that writing it again loses nothing.

use super::book::Book;
use super::figure::{Aim, Figure};
use super::kept::{Kept, Run};
use super::peers::Comparison;
use super::probes::{PROBES, Probe};
use super::rows::{Part, ROWS, Row};
use super::samples::Samples;
use doorbuster_cli::output::grouped;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

const HEAD: &str = "# Performance

<!-- Written by benches/targets/run. Do not edit: prose is in docs/performance/prose, figures are in docs/performance/runs. -->
";

const HOW: &str = "Each figure is the median of several runs, with the least and the most. Commands took turns, a round after the other, so that what \
    happened to the machine meanwhile happened to all of them. One node: the server is kept to one processor, the generator to \
    another. Three nodes: all three and the generator share what there is. Latency is that of every operation; with a \
    `--rate` it counts from when each was due. An aim is met if the median is within it, and no run of its command failed.
";

const SLOW_SYNC: &str = "## With syncs that take a millisecond longer

A cloud disk, as `--sync-delay 1ms`. Throughput must hold by batching: at least nine tenths of what it is without. Who waits must wait for one sync more, not for
several: at most 1.25 ms.
";

/// From this share of the machine on, what others had is more than figures can bear.
const NOTABLE: f64 = 0.1;

/// Prose by the name of its file without `.md`: of a row; `limits`, which stands at the end; `capacity`, which is another document.
pub type Prose = BTreeMap<String, String>;

/// The prose in this folder, and files that stand nowhere in the document.
#[must_use]
pub fn prose(folder: &Path) -> (Prose, Vec<String>) {
    let mut prose = Prose::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let (Some("md"), Ok(text)) =
            (path.extension().and_then(|extension| extension.to_str()), std::fs::read_to_string(&path))
        {
            prose.insert(name, text);
        }
    }
    let known = |name: &str| ["limits", "capacity"].contains(&name) || ROWS.iter().any(|row| row.name == name);
    let lost = prose.keys().filter(|name| !known(name)).cloned().collect();
    (prose, lost)
}

/// The document as text.
#[must_use]
pub fn document(book: &Book, prose: &Prose, quick: bool) -> String {
    let mut page = HEAD.to_owned();
    if quick {
        page.push_str("\n**A quick run, to see whether everything works: these are no figures.**\n");
    }
    let _ = write!(page, "\n{}\n{HOW}\n## Aims\n\n", circumstances(book, PROBES.iter()));
    page.push_str(&summary(book, Part::Aims));
    let _ = write!(page, "\n{SLOW_SYNC}\n");
    page.push_str(&summary(book, Part::SlowSync));
    if let Some(peers) = &book.peers {
        page.push_str(&comparison(peers));
    }
    page.push_str("\n## Each of them\n");
    for row in ROWS {
        page.push_str(&details(book, row, prose.get(row.name)));
    }
    if let Some(limits) = prose.get("limits") {
        let _ = write!(page, "\n{}\n", limits.trim());
    }
    page
}

/// On what, when, of what it was measured, and who was there besides.
#[must_use]
pub fn circumstances<'a>(book: &Book, probes: impl Iterator<Item = &'a Probe>) -> String {
    let runs: Vec<&Run> =
        probes.filter_map(|probe| book.kept.get(probe.name.as_ref())).flat_map(|kept| &kept.runs).collect();
    let dates: BTreeSet<&str> = runs.iter().map(|run| run.at.as_str()).collect();
    let (Some(first), Some(last)) = (dates.first(), dates.last()) else {
        return "Nothing has been measured yet.\n".to_owned();
    };
    let distinct =
        |texts: Vec<&str>| texts.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("; ");
    let machines = distinct(runs.iter().filter_map(|run| run.output.get("machine").and_then(Value::as_str)).collect());
    let commits = distinct(runs.iter().map(|run| run.commit.as_str()).collect());
    let others = Samples::of(runs.iter().map(|run| run.others)).map_or(0.0, |others| others.median);
    let most = runs.iter().map(|run| run.others).fold(0.0, f64::max);
    format!(
        "Machine: {machines}. Measured {first} to {last}, at commit {commits}. Meanwhile others had {:.0}% of the machine's processors in the median \
         run, {:.0}% in the worst.{}\n",
        others * 100.0,
        most * 100.0,
        if others >= NOTABLE { " **On a quiet machine all figures are better.**" } else { "" }
    )
}

/// A line for each row: what it must be, what it is.
fn summary(book: &Book, part: Part) -> String {
    let mut table = String::from(
        "| row | work on one hot product | must be | is | met | others |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for row in ROWS.iter().filter(|row| row.part == part) {
        let aims: Vec<(&Figure, Aim)> = row.figures.iter().filter_map(|figure| Some((figure, figure.aim?))).collect();
        let wanted: Vec<String> =
            aims.iter().map(|(figure, aim)| format!("{} {}", figure.label, aim.show(figure.unit))).collect();
        let found: Vec<String> = aims.iter().map(|(figure, _)| measured(book, figure)).collect();
        let _ = writeln!(
            table,
            "| [{name}](#{name}) | {} | {} | {} | {} | {} |",
            row.work,
            wanted.join("<br>"),
            found.join("<br>"),
            book.row_verdict(row).word(),
            row.peers,
            name = row.name
        );
    }
    table
}

fn measured(book: &Book, figure: &Figure) -> String {
    book.samples(figure).map_or_else(|| "not measured".to_owned(), |samples| figure.unit.show(samples.median))
}

fn details(book: &Book, row: &Row, prose: Option<&String>) -> String {
    let title = match row.part {
        Part::Aims => row.work.to_owned(),
        Part::SlowSync => format!("{}, syncs 1 ms slower", row.work),
    };
    let mut text = format!("\n<a id=\"{name}\"></a>\n### {name}: {title}\n\n", name = row.name);
    let empty = Kept::default();
    for probe in row.probes().into_iter().filter_map(Probe::named) {
        let kept = book.kept.get(probe.name.as_ref()).unwrap_or(&empty);
        let command = if kept.command.is_empty() { probe.command(false) } else { kept.command.clone() };
        let _ = writeln!(text, "    {command}");
    }
    text.push_str(
        "\n| figure | median | least | most | runs | must be | met |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for figure in row.figures {
        let samples = book.samples(figure);
        let show = |pick: fn(&Samples) -> f64| {
            samples.as_ref().map_or_else(String::new, |samples| figure.unit.show(pick(samples)))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            figure.label,
            samples.as_ref().map_or("not measured".to_owned(), |_| show(|samples| samples.median)),
            show(|samples| samples.least),
            show(|samples| samples.most),
            samples.as_ref().map_or(0, |samples| samples.count),
            figure.aim.map_or_else(String::new, |aim| aim.show(figure.unit)),
            book.verdict(figure).map_or("", super::book::Verdict::word)
        );
    }
    for name in row.probes() {
        for failure in book.failures(name) {
            let _ = write!(text, "\nA run of `{name}` failed: {failure}\n");
        }
    }
    if let Some(full) = full(book, row) {
        let _ = write!(text, "\nFull: {full}.\n");
    }
    if let Some(prose) = prose {
        let _ = write!(text, "\n{}\n", prose.trim());
    }
    text
}

/// Who had no processor time left, in how many runs.
fn full(book: &Book, row: &Row) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for kept in row.probes().into_iter().filter_map(|name| book.kept.get(name)) {
        for name in kept.runs.iter().filter_map(|run| run.output.pointer("/processors/full")?.as_str()) {
            *counts.entry(name).or_default() += 1;
        }
    }
    let texts: Vec<String> = counts.into_iter().map(|(name, count)| format!("{name} in {count}")).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn comparison(peers: &Comparison) -> String {
    let mut text = format!(
        "\n## Beside others\n\n`benches/peers/run --json FILE`, at commit {}, taken over {}. One generator, in turn, pinned the same way; medians.\n\n\
         | work | system | operations/s | p50 | p99 | Doorbuster is |\n| --- | --- | --- | --- | --- | --- |\n",
        peers.commit, peers.at
    );
    for line in &peers.lines {
        let advantage = peers.advantage(&line.work, &line.system).filter(|_| line.system != "doorbuster");
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} ms | {:.2} ms | {} |",
            line.work,
            line.system,
            grouped(line.ops_per_second),
            line.p50_us / 1e3,
            line.p99_us / 1e3,
            advantage.map_or_else(String::new, |times| match line.system.as_str() {
                "echo" => format!("{:.0}% of it", times * 100.0),
                _ => format!("{times:.1}x"),
            })
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::book;
    use super::*;

    #[test]
    fn a_row_is_told_with_its_command_figures_and_verdict() {
        let book = book(&[("reserve-3-nodes", &[510_000.0, 490_000.0, 600_000.0])]);
        let page = document(&book, &Prose::new(), false);
        let line = page.lines().find(|line| line.starts_with("| [reserve-3-nodes](#")).expect("it has a line");
        assert!(
            line.ends_with("| rate ≥ 500,000/s | 510,000/s | yes | TigerBeetle 147K, Valkey 20K to 23K |"),
            "{line}"
        );
        assert!(page.contains("    doorbuster bench reserve --spawn 3 --depth 64 --duration 4s --warm-up 1s --json\n"));
        assert!(page.contains("| rate | 510,000/s | 490,000/s | 600,000/s | 3 | ≥ 500,000/s | yes |\n"));
        assert!(page.contains("| p99 | 0.900 ms | 0.900 ms | 0.900 ms | 3 |  |  |\n"));
        assert!(page.contains("\nFull: servers in 3.\n"));
        assert!(
            page.contains("Machine: 2 x Chip. Measured 2026-11-23T16:00:00Z to 2026-11-23T16:00:00Z, at commit abc.")
        );
        assert!(page.contains("others had 1% of the machine's processors in the median run, 1% in the worst.\n"));
        assert!(!page.contains("A quick run") && document(&book, &Prose::new(), true).contains("A quick run"));
    }

    #[test]
    fn what_was_missed_or_not_measured_is_said() {
        let mut book = book(&[("reserve-3-nodes", &[499_000.0]), ("confirm", &[500_000.0, 500_000.0])]);
        book.kept.get_mut("confirm").expect("it is there").runs[1].failed = Some("7 unanswered".to_owned());
        book.kept.get_mut("reserve-3-nodes").expect("it is there").runs[0].others = 0.4;
        let page = document(&book, &Prose::new(), false);
        assert!(
            page.contains("1% of the machine's processors in the median run, 40% in the worst.\n"),
            "the worst is told"
        );
        let of = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(&format!("| [{name}](#"))).expect("it has a line");
            line.split('|').map(str::trim).nth(5).map(str::to_owned)
        };
        assert_eq!(of("reserve-3-nodes").as_deref(), Some("**no**"));
        assert_eq!(of("confirm").as_deref(), Some("**no**"));
        assert_eq!(of("idle").as_deref(), Some("not measured"));
        assert!(page.contains("\nA run of `confirm` failed: 7 unanswered\n"));
        assert!(document(&Book::default(), &Prose::new(), false).contains("Nothing has been measured yet."));
    }

    #[test]
    fn prose_stands_where_its_file_says() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in [("idle.md", "Why idle.\n"), ("limits.md", "## Limits\n"), ("other.md", "?"), ("x.txt", "")]
        {
            std::fs::write(folder.path().join(name), text).expect("it takes a file");
        }
        let (prose, lost) = prose(folder.path());
        assert_eq!(lost, ["other"]);
        let page = document(&Book::default(), &prose, false);
        assert!(page.ends_with("\n## Limits\n") && !page.contains('?'));
        let (idle, next) = (page.find("Why idle."), page.find("### confirm:"));
        assert!(idle.is_some() && idle < next && idle > page.find("### idle:"));
    }

    #[test]
    fn others_are_compared() {
        let line = |system: &str, rate: f64| super::super::peers::Line {
            work: "refuse-d16".to_owned(),
            system: system.to_owned(),
            ops_per_second: rate,
            p50_us: 500.0,
            p99_us: 1500.0,
            ratio_to_doorbuster: Some(rate / 1.6e6),
        };
        let lines = vec![line("doorbuster", 1.6e6), line("valkey", 2e5), line("echo", 2e6)];
        let peers = Comparison { at: "now".to_owned(), commit: "abc".to_owned(), lines };
        let book = Book { peers: Some(peers), ..book(&[("refuse-d16", &[1.6e6])]) };
        let page = document(&book, &Prose::new(), false);
        assert!(page.contains("| refuse-d16 | valkey | 200,000 | 0.50 ms | 1.50 ms | 8.0x |\n"));
        assert!(page.contains("| refuse-d16 | echo | 2,000,000 | 0.50 ms | 1.50 ms | 80% of it |\n"));
        assert!(page.contains("| times as fast as Valkey in the same run | 8.0x | 8.0x | 8.0x | 1 | ≥ 6.0x | yes |\n"));
    }
}
