//! `benches/peers/run`, once everything is built and installed.

use clap::Parser as _;
use doorbuster_benches::folder;
use doorbuster_benches::peers::contest::{Setting, System};
use doorbuster_benches::peers::options::{Options, Programs};
use doorbuster_benches::peers::{round, table};
use doorbuster_cli::bench::machine;
use doorbuster_cli::error::CliError;
use doorbuster_cli::output::{Output, line, pretty};
use doorbuster_cli::signals;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Output::new(false).error(&CliError::failed(format!("no runtime: {error}"))),
    };
    // Systems are started from this thread, and end with it.
    let done = runtime.block_on(async {
        let stop = signals::shutdown()?;
        tokio::select! {
            done = compare(&options) => done,
            () = stop.cancelled() => Err(CliError::failed("stopped before the end: nothing was compared")),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Output::new(false).error(&error),
    }
}

async fn compare(options: &Options) -> Result<(), CliError> {
    let programs = Programs::find(options)?;
    let (systems, missing) = options.systems(&programs)?;
    for why in &missing {
        line(&format!("left out: {why}"));
    }
    let synced = options.chosen_works()?.iter().any(|work| work.setting != Setting::Memory);
    let folder = folder::temporary(options.data.as_deref(), synced)?;
    let entries = round::contest(options, &programs, &systems, folder.path()).await?;
    line(&table::people(&entries));
    let (repeats, seconds, connections) = (options.repeats(), options.length().as_secs_f64(), options.connections);
    line(&format!("Medians of {repeats} times {seconds} s, in turn; {connections} connections. {}", machine()));
    line(&versions(&systems, &programs));
    if let Some(text) = table::disturbance(&entries) {
        line(&text);
    }
    if let Some(path) = &options.json {
        let text = pretty(&table::programs(&entries));
        std::fs::write(path, text + "\n")
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
    }
    match table::wrong(&entries)[..] {
        [] => Ok(()),
        [ref first, ..] => Err(CliError::wrong(format!("answered otherwise than the work expects: {first}"))),
    }
}

/// What the peers say that they are.
fn versions(systems: &[System], programs: &Programs) -> String {
    let postgres = programs.initdb.as_ref().map(|initdb| initdb.with_file_name("postgres"));
    let program = |system: &System| match system {
        System::Valkey => programs.valkey.clone(),
        System::Redis => programs.redis.clone(),
        System::Postgres => postgres.clone(),
        System::Doorbuster | System::Echo => None,
    };
    let said = |program: PathBuf| Command::new(program).arg("--version").output().ok();
    let texts = systems.iter().filter_map(program).filter_map(said);
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    texts.map(|output| first(String::from_utf8_lossy(&output.stdout).into_owned())).collect::<Vec<_>>().join("; ")
}
