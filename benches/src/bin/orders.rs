//! `benches/orders/run`, once everything is built and installed.

use clap::Parser as _;
use doorbuster_benches::folder;
use doorbuster_benches::orders::options::Options;
use doorbuster_benches::orders::round::{Database, round};
use doorbuster_benches::orders::told::Told;
use doorbuster_cli::error::CliError;
use doorbuster_cli::output::Output;
use doorbuster_cli::signals;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let output = Output::new(options.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.error(&CliError::failed(format!("no runtime: {error}"))),
    };
    // Servers are started from this thread, and end with it.
    let done = runtime.block_on(async {
        let stop = signals::shutdown()?;
        tokio::select! {
            told = compare(&options) => told,
            () = stop.cancelled() => Err(CliError::failed("stopped before the end: nothing was compared")),
        }
    });
    match done {
        Ok(told) => {
            output.print(|| told.people(), || told.programs());
            ExitCode::SUCCESS
        }
        Err(error) => output.error(&error),
    }
}

async fn compare(options: &Options) -> Result<Told, CliError> {
    let own = std::env::current_exe()
        .map_err(|error| CliError::failed(format!("cannot find this program's file: {error}")))?;
    let (binary, folder) = (own.with_file_name("doorbuster"), folder::temporary(options.data.as_deref(), true)?);
    let database = Database::start(&folder.path().join("postgres")).await?;
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        rounds.push(round(&binary, folder.path(), &database, number, options.orders).await?);
    }
    Ok(Told { orders: options.orders, postgres: database.version().await?, rounds })
}
