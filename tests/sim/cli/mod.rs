//! `sim`: runs seeds, replays one, stops a machine at every boundary, runs what is kept as regressions, plants bugs.
//!
//! Seeds run in worker processes of the same program, one a job, so that a panic or a run that never ends is a violation
//! like any other and takes nothing else with it.

mod args;
mod boundaries;
mod clock;
pub mod document;
mod job;
pub mod planted;
mod pool;
mod recipe;
mod regressions;
mod shrink;
mod sweep;
mod tally;
mod trace;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Task};

/// Runs the program. Exit code 1: a promise was broken, a planted bug was missed; 2: the command makes no sense.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.task {
        Some(Task::Worker { plant }) => worker::serve(plant.as_deref()),
        Some(Task::Boundaries { scenarios }) => boundaries::run(&args, *scenarios),
        Some(Task::Regressions) => regressions::run(&args),
        Some(Task::Planted { limit, only }) => planted::run(&args, *limit, only),
        None if args.seed.is_some() => trace::replay(&args),
        None => sweep::run(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::from(2)
        }
    }
}
