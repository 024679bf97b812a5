//! `doorbuster` with one of the mistakes of `doorbuster_planted` in it, the one that `DOORBUSTER_PLANTED` names: what
//! `chaos --planted` starts its gateways from, to see that it would notice. The binary `doorbuster` has no way to it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use doorbuster_cli::error::CliError;
use doorbuster_cli::output::Output;
use doorbuster_tests::sim::cli::planted::plant;

fn main() -> ExitCode {
    let bug = std::env::var("DOORBUSTER_PLANTED").unwrap_or_default();
    match plant(Some(&bug)) {
        Ok(()) => doorbuster_cli::main(),
        Err(error) => Output::new(false).error(&CliError::usage(format!("DOORBUSTER_PLANTED: {error}"))),
    }
}
