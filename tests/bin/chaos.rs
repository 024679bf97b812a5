//! `./chaos`: real servers, real disks, a real database, and everything goes wrong. See `doorbuster_tests::chaos`.
//!
//! Exit code 0: every promise was kept; 1: one was not; 2: usage; 6: the run itself failed.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use doorbuster_cli::error::{CliError, EXIT_WRONG};
use doorbuster_cli::output::{Output, line};
use doorbuster_cli::{entropy, signals};
use doorbuster_tests::chaos::judged::Judged;
use doorbuster_tests::chaos::recording::Recording;
use doorbuster_tests::chaos::{self, Settings, report::progress};
use tempfile::TempDir;

/// Runs a small Doorbuster on this machine while killing, stopping, cutting and filling everything it stands on, and
/// checks at the end that every promise was kept.
#[derive(Parser, Debug)]
#[command(name = "chaos", max_term_width = 110)]
struct Args {
    /// For how many minutes things go wrong
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    minutes: f64,
    /// Seed of the schedule [default: a fresh one]
    #[arg(long)]
    seed: Option<u64>,
    /// Write the figures into this document, between its marks <!-- chaos --> and <!-- /chaos -->
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Run nothing: judge the history that an earlier run left in this file (history.recording)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["minutes", "seed", "data", "report", "planted"])]
    judge: Option<PathBuf>,
    /// Let the gateways make this mistake, by its name in `sim planted`, to see whether it is noticed
    #[arg(long, value_name = "NAME")]
    planted: Option<String>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// Keep data, logs and history in this folder (new or empty) [default: a temporary one, removed if all went well]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.error(&CliError::failed(format!("cannot start the runtime: {error}"))),
    };
    // On this thread, which starts all processes and so must live as long as they.
    match runtime.block_on(run(&args, output)) {
        Ok(code) => code,
        Err(error) => output.error(&error),
    }
}

/// Judges again what was recorded.
fn judge(path: &Path, output: Output) -> Result<ExitCode, CliError> {
    let judged = Judged::of(&chaos::judge(&Recording::read(path)?));
    output.print(|| judged.text(), || judged.json());
    Ok(if judged.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_WRONG) })
}

async fn run(args: &Args, output: Output) -> Result<ExitCode, CliError> {
    if let Some(path) = &args.judge {
        return judge(path, output);
    }
    let stop = signals::shutdown()?;
    if !(0.0..=1440.0).contains(&args.minutes) {
        return Err(CliError::usage("--minutes: from 0 to 1440"));
    }
    let temporary = match args.data {
        Some(_) => None,
        None => Some(temporary_folder()?),
    };
    let folder = match (&args.data, &temporary) {
        (Some(folder), _) => new_folder(folder)?,
        (None, temporary) => temporary.as_ref().map(|folder| folder.path().to_owned()).unwrap_or_default(),
    };
    let seed = args.seed.unwrap_or_else(entropy::number);
    let time = Duration::from_secs_f64(args.minutes * 60.0);
    let settings = Settings { time, seed, folder, planted: args.planted.clone() };
    progress(&format!("seed {seed}, {} minutes, in {}", args.minutes, settings.folder.display()));
    let ran = tokio::select! {
        ran = Box::pin(chaos::run(&settings)) => ran,
        () = stop.cancelled() => Err(CliError::failed("interrupted; everything it started is ended")),
    };
    let holds = ran.as_ref().is_ok_and(chaos::report::Report::holds);
    if let Some(folder) = temporary.filter(|_| !holds && !stop.is_cancelled()) {
        progress(&format!("kept: {}", folder.keep().display()));
    }
    let report = ran?;
    output.print(|| report.text(), || report.json());
    if let Some(document) = &args.report {
        report.write_into(document)?;
    }
    if holds && args.data.is_some() && !args.json {
        line(&format!("Data, logs and history are in {}.", settings.folder.display()));
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(EXIT_WRONG) })
}

fn temporary_folder() -> Result<TempDir, CliError> {
    let made = tempfile::Builder::new().prefix("doorbuster-chaos-").tempdir();
    let folder = made.map_err(|error| CliError::failed(format!("cannot make a temporary folder: {error}")))?;
    // PostgreSQL runs as another user and has to get through to its own folder.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).map_err(|error| CliError::failed(error.to_string()))?;
    Ok(folder)
}

fn new_folder(path: &std::path::Path) -> Result<PathBuf, CliError> {
    let wrong = |error: std::io::Error| CliError::usage(format!("--data {}: {error}", path.display()));
    std::fs::create_dir_all(path).map_err(wrong)?;
    match std::fs::read_dir(path).map_err(wrong)?.next() {
        None => path.canonicalize().map_err(wrong),
        Some(_) => Err(CliError::usage(format!("--data {}: the folder is not empty; name a new one", path.display()))),
    }
}
