//! `benches/targets/run`, once everything is built.

use clap::Parser as _;
use doorbuster_benches::targets::book::{Book, Verdict};
use doorbuster_benches::targets::measure::Session;
use doorbuster_benches::targets::options::Options;
use doorbuster_benches::targets::peers::Comparison;
use doorbuster_benches::targets::probes::Probe;
use doorbuster_benches::targets::rows::{ROWS, Row};
use doorbuster_benches::targets::{guide, page};
use doorbuster_cli::error::CliError;
use doorbuster_cli::output::{Output, line};
use doorbuster_cli::{clock, names, signals};
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Output::new(false).error(&CliError::failed(format!("no runtime: {error}"))),
    };
    // Commands are started from this thread, and end with it.
    match runtime.block_on(measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Output::new(false).error(&error),
    }
}

async fn measure(options: &Options) -> Result<(), CliError> {
    let rows = options.rows()?;
    if options.list {
        list(&rows, options);
        return Ok(());
    }
    let docs = options.docs();
    let (kept, runs) = (docs.join("performance"), docs.join("performance/runs"));
    if let Some(file) = &options.peers {
        Comparison::taken_over(file, names::time_text(clock::wall()), commit(&options.root))?.write(&runs)?;
    }
    let written = || write(&docs, &runs, &kept.join("prose"), options.quick);
    if options.write {
        return written().map(|book| line(&verdicts(&book)));
    }
    let stop = signals::shutdown()?;
    let measured =
        Session::new(options, runs.clone(), commit(&options.root))?.measure(&stop, || written().map(drop)).await;
    // What was measured before it was stopped is told, too.
    line(&verdicts(&written()?));
    measured
}

/// Writes the documents.
fn write(docs: &Path, runs: &Path, prose: &Path, quick: bool) -> Result<Book, CliError> {
    let book = Book::read(runs)?;
    let (prose, lost) = page::prose(prose);
    for name in lost {
        line(&format!("{name}.md is the prose of no row, and stands nowhere: name it limits.md, or like a row"));
    }
    replace(&docs.join("PERFORMANCE.md"), &page::document(&book, &prose, quick))?;
    if let Some(prose) = prose.get("capacity") {
        let guide = guide::filled(prose, &book, quick)?;
        replace(&docs.join("CAPACITY.md"), &guide.text)?;
        for (name, picture) in guide.pictures {
            replace(&docs.join("performance/curves").join(name), &picture)?;
        }
    }
    Ok(book)
}

/// In one step, so that it is whole at any time.
fn replace(path: &Path, text: &str) -> Result<(), CliError> {
    let fresh = path.with_extension("new");
    let written = std::fs::create_dir_all(path.parent().unwrap_or(path))
        .and_then(|()| std::fs::write(&fresh, text))
        .and_then(|()| std::fs::rename(&fresh, path));
    written.map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
}

fn verdicts(book: &Book) -> String {
    let of =
        |verdict| ROWS.iter().filter(|row| book.row_verdict(row) == verdict).map(|row| row.name).collect::<Vec<_>>();
    let [met, missed, unknown] = [Verdict::Met, Verdict::Missed, Verdict::Unknown].map(of);
    let told = |name: &str, rows: &[&str]| {
        format!("{name}: {}", if rows.is_empty() { "none".to_owned() } else { rows.join(", ") })
    };
    [told("met", &met), told("missed", &missed), told("not measured", &unknown)].join("\n")
}

fn list(rows: &[&Row], options: &Options) {
    if options.curves {
        Probe::of_curves().for_each(|probe| line(&probe.command(options.quick)));
        return;
    }
    for row in rows {
        line(&format!("{}: {}", row.name, row.work));
        for probe in row.probes().into_iter().filter_map(Probe::named) {
            line(&format!("    {}", probe.command(options.quick)));
        }
    }
}

/// The commit of the sources that this is run from, as far as git knows; what it writes itself is no change.
fn commit(root: &Path) -> String {
    let said = |words: &[&str]| {
        let output =
            Command::new("git").current_dir(root).args(words).output().ok().filter(|output| output.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = said(&["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs"]);
    let commit = said(&["rev-parse", "--short=10", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    if changed.is_some_and(|changed| !changed.is_empty()) { format!("{commit} and changes") } else { commit }
}
